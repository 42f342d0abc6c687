"""What the module remembers in the scene, so that a saved scene opens as it was left."""

from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import Decimals, SingleStep, WithinRange, parameterNodeWrapper


@parameterNodeWrapper
class XAIExplainParameterNode:
    """
    The user's choices.

    inputVolume - The volume whose prediction is explained; the first channel of a network with several.
    secondVolume, thirdVolume, fourthVolume - Further channels.
    model - Name of a bundled model, or path of a model file.
    method - Name of the method of explanation.
    target - Class or group that is explained; empty for the predicted class.
    methodParameters - JSON object: method name to the parameters that differ from the method's defaults.
    outputVolume - Map that is written over; None makes one for each question and updates it when asked again.
    mapVolume - Map that is shown.
    viewMode - "overlay", "map" (alone) or "volume" (alone).
    opacity - Opacity of the map over the volume.
    hiddenPercent - Share of the map's voxels, the weakest, that is not drawn.
    fullColorPercent - Percentile of strength from which the last color of the scale is used.
    colorMap - Name of a color scale, or "automatic".
    interpolate - Whether voxels are drawn smooth.
    legendVisible - Whether slice views show the color legend.
    renderedIn3D - Whether the map is volume rendered.
    memoryLimit - Gigabytes that the engine may use; 0 lets it decide.
    randomSeed - Seed of the methods that sample.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    secondVolume: vtkMRMLScalarVolumeNode
    thirdVolume: vtkMRMLScalarVolumeNode
    fourthVolume: vtkMRMLScalarVolumeNode
    model: str = "brain-lesion"
    method: str = "grad_cam"
    target: str = ""
    methodParameters: str = "{}"
    outputVolume: vtkMRMLScalarVolumeNode
    mapVolume: vtkMRMLScalarVolumeNode
    viewMode: str = "overlay"
    opacity: Annotated[float, WithinRange(0, 1), Decimals(2), SingleStep(0.05)] = 0.6
    hiddenPercent: Annotated[float, WithinRange(0, 99.9), Decimals(1), SingleStep(1)] = 90
    fullColorPercent: Annotated[float, WithinRange(50, 100), Decimals(1), SingleStep(0.5)] = 99.9
    colorMap: str = "automatic"
    interpolate: bool = True
    legendVisible: bool = True
    renderedIn3D: bool = False
    memoryLimit: Annotated[float, WithinRange(0, 512), Decimals(1), SingleStep(0.5)] = 0
    randomSeed: Annotated[int, WithinRange(0, 2147483647)] = 0

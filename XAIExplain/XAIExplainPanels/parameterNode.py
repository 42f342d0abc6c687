"""What the module remembers in the scene, so that a saved scene opens as it was left."""

from typing import Annotated

from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
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
    targetKind - "score", "probability" or "difference" of a classifier's answer; of a segmentation "score" (wherever
        the class is found), "segment", "box" or "voxel".
    otherTarget - Class or group that the target is set against, for the kind "difference".
    targetSegmentation, targetSegment - Segmentation, and ID of the segment in it, for the kind "segment".
    targetROI - Region of interest, for the kind "box".
    targetVoxel - Voxel "i,j,k" of the volume, for the kind "voxel".
    methodParameters - JSON object: method name to the parameters that differ from the method's defaults.
    outputVolume - Map that is written over; None makes one for each question and updates it when asked again.
    mapVolume - Map that is shown.
    viewMode - "overlay", "map" (alone) or "volume" (alone).
    opacity - Opacity of the map over the volume.
    thresholdMode - What is drawn: "percentile", "value" or "relevance", by the setting of that name.
    hiddenPercent - Share of the map's voxels, the weakest, that is not drawn.
    thresholdValue - The weakest value that is drawn, of either sign.
    relevancePercent - Share of the sum of all values' sizes that is drawn, the strongest voxels first.
    windowMode - "percentile": the colors begin where the drawing begins; "value": they have values of their own.
    fullColorPercent - Percentile of strength from which the last color of the scale is used.
    windowLow, windowHigh - The values, of either sign, of the first and the last color.
    colorMap, signedColorMap - Names of the color scales for maps of one sign, and of two.
    fading - Whether the map is the more transparent the weaker it is.
    cells - Whether the map is drawn in the cells in which it was computed, before it was interpolated.
    interpolate - Whether voxels are drawn smooth.
    legendVisible - Whether slice views show the color legend.
    renderedIn3D - Whether the map is volume rendered.
    contourLines, contourSurfaces - Whether the map has contours, on the slices and in 3D.
    contourLevels - How many, in each sign.
    anatomyIn3D - Whether the surface of the head or body is around the map in 3D.
    anatomyOpacity - Of that surface.
    memoryLimit - Gigabytes that the engine may use; 0 lets it decide.
    randomSeed - Seed of the methods that sample.
    reportTitle - What a report calls the case; empty for the title of a bundled case.
    reportNotes - Notes that a report shows.
    reportIn3D - Whether a report has a picture of the 3D view.
    compareOrientation - "Axial", "Sagittal" or "Coronal": how the views of a comparison cut.
    compareCommonWindow - Whether all results of a comparison have one scale.
    layoutBefore - Slicer's layout before the comparison that is on the screen; 0 where there is none.
    plotsLayoutBefore - Slicer's layout before the plots that are on the screen; 0 where there are none.
    curvesBaseline - What takes the place of what an insertion and deletion takes away: "blur", "mean" or "0".
    curvesQuantity - What their curves show: "probability" or "score".
    plottedFigure - The figure by segment that is plotted: the place of its column.
    segmentation - Segmentation whose segments figures are taken of.
    workshopActive - Whether the guide of the workshop is on.
    workshopStep - Key of its current step; empty before it was begun.
    workshopDone - Keys of the steps that were done, with commas between.
    workshopNotes - JSON object: key of a step to what was noted in it.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    secondVolume: vtkMRMLScalarVolumeNode
    thirdVolume: vtkMRMLScalarVolumeNode
    fourthVolume: vtkMRMLScalarVolumeNode
    model: str = "brain-lesion"
    method: str = "grad_cam"
    target: str = ""
    targetKind: str = "score"
    otherTarget: str = ""
    targetSegmentation: vtkMRMLSegmentationNode
    targetSegment: str = ""
    targetROI: vtkMRMLMarkupsROINode
    targetVoxel: str = ""
    methodParameters: str = "{}"
    outputVolume: vtkMRMLScalarVolumeNode
    mapVolume: vtkMRMLScalarVolumeNode
    viewMode: str = "overlay"
    opacity: Annotated[float, WithinRange(0, 1), Decimals(2), SingleStep(0.05)] = 0.6
    thresholdMode: str = "percentile"
    hiddenPercent: Annotated[float, WithinRange(0, 99.9), Decimals(1), SingleStep(1)] = 90
    thresholdValue: float = 0
    relevancePercent: Annotated[float, WithinRange(0, 100), Decimals(1), SingleStep(1)] = 80
    windowMode: str = "percentile"
    fullColorPercent: Annotated[float, WithinRange(50, 100), Decimals(1), SingleStep(0.5)] = 99.9
    windowLow: float = 0
    windowHigh: float = 0
    colorMap: str = "heat"
    signedColorMap: str = "blueRed"
    fading: bool = False
    cells: bool = False
    interpolate: bool = True
    legendVisible: bool = True
    renderedIn3D: bool = False
    contourLines: bool = False
    contourSurfaces: bool = False
    contourLevels: Annotated[int, WithinRange(1, 3)] = 1
    anatomyIn3D: bool = False
    anatomyOpacity: Annotated[float, WithinRange(0, 1), Decimals(2), SingleStep(0.05)] = 0.25
    memoryLimit: Annotated[float, WithinRange(0, 512), Decimals(1), SingleStep(0.5)] = 0
    randomSeed: Annotated[int, WithinRange(0, 2147483647)] = 0
    reportTitle: str = ""
    reportNotes: str = ""
    reportIn3D: bool = True
    compareOrientation: str = "Axial"
    compareCommonWindow: bool = False
    layoutBefore: int = 0
    plotsLayoutBefore: int = 0
    curvesBaseline: str = "blur"
    curvesQuantity: str = "probability"
    plottedFigure: int = 3
    segmentation: vtkMRMLSegmentationNode
    workshopActive: bool = False
    workshopStep: str = ""
    workshopDone: str = ""
    workshopNotes: str = "{}"

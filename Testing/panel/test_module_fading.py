"""A map that is the more transparent the weaker it is, and the user's label layer that makes room for its legend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.panel.driver import colored


def explained(panel: Any, method: str = "Grad-CAM", **volume: Any) -> Any:
    panel.addVolume(**volume)
    panel.chooseMethod(method)
    mapNode = panel.apply()
    panel.host.click(panel.desk.displayPanel.ui.peakButton)
    return mapNode


def fade(panel: Any, on: bool = True) -> None:
    box = panel.desk.displayPanel.ui.fadingCheckBox
    if box.checked != on:
        panel.host.click(box)
    made(panel)


def made(panel: Any) -> None:
    panel.host.processEvents()
    panel.wait(lambda: not panel.logic.display.pending, "the colors are not made")


def fading(mapNode: Any) -> Any:
    return mapNode.GetNodeReference("XAIExplain.Colored")


def composites() -> list[Any]:
    import slicer

    return list(slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"))


@pytest.mark.parametrize("method", ["Grad-CAM", "Occlusion"])
def test_opacity_grows_with_the_strength(panel: Any, method: str) -> None:
    """Computed again voxel by voxel: no more than one of 255 off, nothing below the threshold."""
    import slicer

    mapNode = explained(panel, method)
    fade(panel)
    colors = slicer.util.arrayFromVolume(fading(mapNode))
    values = slicer.util.arrayFromVolume(mapNode)
    display = mapNode.GetDisplayNode()
    threshold, full = display.GetLowerThreshold(), display.GetWindowLevelMax()
    assert colors.shape == (*values.shape, 4) and colors.dtype == np.uint8
    wanted = np.clip((np.abs(values) - threshold) / (full - threshold), 0, 1)
    width = 1 / 128 * full / (full - threshold)  # of one color of the table
    assert np.abs((colors[..., 3] / 255) ** 2 - wanted).max() < width + 2 / 255
    assert not colors[np.abs(values) < threshold - 0.01 * full][:, 3].any()
    assert colors[..., 3].max() == 255
    table = display.GetColorNode().GetLookupTable()
    strongest = np.unravel_index(int(np.abs(values).argmax()), values.shape)
    index = 255 if values[strongest] > 0 else 0
    assert np.abs(colors[strongest][:3] / 255 - np.array(table.GetTableValue(index)[:3])).max() < 0.01


def test_what_is_seen_and_where_the_map_stays(panel: Any) -> None:
    import slicer

    mapNode = explained(panel)
    panel.desk.displayPanel.ui.opacitySlider.value = 1.0
    panel.host.processEvents()
    before = panel.red()
    fade(panel)
    after = panel.red()
    assert {node.GetForegroundVolumeID() for node in composites()} == {fading(mapNode).GetID()}
    assert {node.GetLabelVolumeID() for node in composites()} == {mapNode.GetID()}
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(mapNode)
    assert legend.GetVisibility()
    right = (slice(None), slice(-70, None))  # where the legend stands
    assert (np.abs(after[right] - before[right]).max(axis=-1) > 40).mean() < 0.02 < (after[right] > 60).mean()
    legendBox = panel.desk.displayPanel.ui.legendCheckBox
    panel.host.click(legendBox)
    peak, weak = colored(panel.red()), colored(before)
    assert 0 < peak < weak  # the rim has faded away
    opacity = panel.desk.displayPanel.ui.opacitySlider
    opacity.value = 0.3
    panel.host.processEvents()
    assert {node.GetForegroundOpacity() for node in composites()} == {0.3}
    fade(panel, False)
    assert {node.GetForegroundVolumeID() for node in composites()} == {mapNode.GetID()}
    assert {node.GetLabelVolumeID() for node in composites()} == {None}
    assert fading(mapNode) is None


def test_it_follows_threshold_colors_and_voxels(panel: Any) -> None:
    import slicer

    mapNode = explained(panel)
    fade(panel)
    node = fading(mapNode).GetID()
    drawn = [int((slicer.util.arrayFromVolume(fading(mapNode))[..., 3] > 0).sum())]
    panel.desk.displayPanel.ui.hiddenSlider.value = 98.0
    made(panel)
    drawn.append(int((slicer.util.arrayFromVolume(fading(mapNode))[..., 3] > 0).sum()))
    assert drawn[0] > 2 * drawn[1] > 0
    colors = np.array(slicer.util.arrayFromVolume(fading(mapNode)))
    panel.host.setCombo(panel.desk.displayPanel.ui.colorMapComboBox, "Viridis")
    made(panel)
    assert (slicer.util.arrayFromVolume(fading(mapNode)) != colors).any()
    panel.host.click(panel.desk.displayPanel.ui.interpolateCheckBox)
    made(panel)
    assert not fading(mapNode).GetDisplayNode().GetInterpolate()
    panel.apply()
    made(panel)
    assert fading(mapNode).GetID() == node
    assert {one.GetForegroundVolumeID() for one in composites()} == {node}


def test_the_users_labels_come_back(panel: Any) -> None:
    import slicer

    volume = panel.addVolume()
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.util.updateVolumeFromArray(labels, np.ones((4, 4, 4), np.uint8))
    for node in composites():
        node.SetLabelVolumeID(labels.GetID())
        node.SetLabelOpacity(0.7)

    def back() -> bool:
        return {(node.GetLabelVolumeID(), node.GetLabelOpacity()) for node in composites()} == {(labels.GetID(), 0.7)}

    mapNode = panel.apply()
    assert back()
    fade(panel)
    assert not back()
    panel.host.click(panel.desk.displayPanel.ui.hideButton)
    assert back()
    panel.host.click(panel.desk.displayPanel.ui.overButton)
    made(panel)
    assert not back()
    panel.host.click(panel.desk.displayPanel.ui.aloneButton)
    assert back()
    panel.host.click(panel.desk.displayPanel.ui.overButton)
    made(panel)
    panel.host.click(panel.desk.displayPanel.ui.restoreButton)
    assert back()
    panel.host.setCombo(panel.desk.displayPanel.ui.mapSelector, mapNode.GetName())
    made(panel)
    assert {node.GetForegroundVolumeID() for node in composites()} == {fading(mapNode).GetID()}
    slicer.mrmlScene.RemoveNode(mapNode)
    panel.host.processEvents()
    assert back()
    assert not list(slicer.util.getNodesByClass("vtkMRMLVectorVolumeNode"))
    assert volume.GetImageData() is not None


def test_a_view_without_a_volume_shows_the_map_itself(panel: Any) -> None:
    """Slicer draws no colors with an opacity on nothing: it would say so with every picture."""
    import slicer

    mapNode = explained(panel)
    fade(panel)
    slicer.mrmlScene.RemoveNode(panel.node.inputVolume)
    panel.host.processEvents()
    assert {node.GetForegroundVolumeID() for node in composites()} == {mapNode.GetID()}
    assert colored(panel.red()) > 0


def test_it_comes_back_from_a_file(panel: Any, tmp_path: Path) -> None:
    import slicer

    oblique = np.array([[-1.6, 0.9, 0.0, 40.0], [-1.2, -1.2, 0.0, -20.0], [0.0, 0.0, 3.0, 7.0], [0, 0, 0, 1]])
    mapNode = explained(panel, "Occlusion", ijkToRAS=oblique)
    fade(panel)
    colors, picture = np.array(slicer.util.arrayFromVolume(fading(mapNode))), panel.red()
    panel.host.saveScene(tmp_path / "saved.mrb")
    panel.host.loadScene(tmp_path / "saved.mrb")
    mapNode = panel.node.mapVolume
    assert panel.desk.displayPanel.ui.fadingCheckBox.checked
    assert (slicer.util.arrayFromVolume(fading(mapNode)) == colors).all()
    assert (np.abs(panel.red() - picture).max(axis=-1) > 40).mean() < 0.002
    nodes = panel.count()
    panel.desk.displayPanel.ui.hiddenSlider.value = 96.0
    made(panel)
    assert panel.count() == nodes
    fade(panel, False)
    assert {node.GetForegroundVolumeID() for node in composites()} == {mapNode.GetID()}
    assert {node.GetLabelVolumeID() for node in composites()} == {None}


def test_cells(panel: Any, tmp_path: Path) -> None:
    """Each voxel has the color of the cell it lies in, also when the scene was opened."""
    import slicer

    mapNode = explained(panel)
    box = panel.desk.displayPanel.ui.cellsCheckBox
    panel.host.click(box)
    made(panel)
    values = slicer.util.arrayFromVolume(mapNode)
    display = mapNode.GetDisplayNode()
    low, full = display.GetLowerThreshold(), display.GetWindowLevelMax()
    cells = np.repeat(np.repeat(np.repeat(values[2::4, 2::4, 2::4], 4, 0), 4, 1), 4, 2)
    wanted = np.pad(cells, [(0, 0), (0, 2), (0, 0)])[:12, :14, :16]
    colors = slicer.util.arrayFromVolume(fading(mapNode))
    assert ((colors[..., 3] == 255) == (wanted >= low)).all()
    assert set(np.unique(colors[..., 3])) == {0, 255}
    table = display.GetColorNode().GetLookupTable()
    index = np.clip((wanted - low) / (full - low) * 255 + 0.5, 0, 255).astype(int)
    ramp = np.array([table.GetTableValue(entry)[:3] for entry in range(256)])
    shown = wanted >= low
    assert np.abs(colors[..., :3][shown] / 255 - ramp[index][shown]).max() < 0.02
    assert not fading(mapNode).GetDisplayNode().GetInterpolate()
    fade(panel)
    assert 0 < slicer.util.arrayFromVolume(fading(mapNode))[..., 3].max() < 255
    panel.host.saveScene(tmp_path / "saved.mrb")
    panel.host.loadScene(tmp_path / "saved.mrb")
    assert box.checked and box.enabled
    fade(panel, False)
    assert (slicer.util.arrayFromVolume(fading(panel.node.mapVolume)) == colors).all()
    panel.chooseMethod("Occlusion")
    signed = panel.apply()
    made(panel)
    assert not box.enabled  # that one has no cells, and is drawn as it is
    assert fading(signed) is None
    assert {node.GetForegroundVolumeID() for node in composites()} == {signed.GetID()}


def test_cells_of_a_real_map() -> None:
    """What the engine says of a layer's map is that map, interpolated onto the volume's grid."""
    import base64
    from types import SimpleNamespace

    from scipy.ndimage import map_coordinates

    from XAIExplainLib.geometry import Geometry
    from XAIExplainLib.native import describe_native
    from XAIExplainLib.volume import Volume

    generator = np.random.default_rng(0)
    direction = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    geometry = Geometry((24, 20, 16), (1.0, 1.5, 2.0), (5.0, -3.0, 9.0), direction)
    native = geometry.moved((1.5, 1.5, 1.5), (6, 5, 4), (4.0, 4.0, 4.0))
    cells = generator.random((4, 5, 6), np.float32)
    array = np.zeros((16, 20, 24), np.float32)
    result: Any = SimpleNamespace(array=array, geometry=geometry, native=Volume.on(native, cells))
    found = describe_native(result)
    assert found is not None and found["size"] == [6, 5, 4]
    values = np.frombuffer(base64.b64decode(found["values"]), "<f4").reshape(4, 5, 6)
    assert (values == cells).all()
    places = np.array(found["from_voxels"]) @ [[0, 9.5], [0, 9.5], [0, 9.5], [1, 1]]
    assert places[:3, 0] == pytest.approx([-0.375] * 3) and places[:3, 1] == pytest.approx([2.0] * 3)
    assert map_coordinates(values, places[2::-1, 1:]) == pytest.approx(cells[2, 2, 2])
    result.native = Volume.on(geometry, array)
    assert describe_native(result) is None


def test_it_lies_on_the_map(panel: Any) -> None:
    """Under a parent transform too."""
    import slicer
    import vtk

    mapNode = explained(panel)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    fade(panel)
    mapNode.SetAndObserveTransformNodeID(transform.GetID())
    assert fading(mapNode).GetTransformNodeID() == transform.GetID()
    matrices = [vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()]
    for node, matrix in zip((mapNode, fading(mapNode)), matrices, strict=True):
        node.GetIJKToRASMatrix(matrix)
    assert (slicer.util.arrayFromVTKMatrix(matrices[0]) == slicer.util.arrayFromVTKMatrix(matrices[1])).all()


def test_only_maps_are_listed_and_explained(panel: Any) -> None:
    """The volume of colors is no map and no case."""
    mapNode = explained(panel)
    fade(panel)
    selector = panel.desk.displayPanel.ui.mapSelector.comboBox()
    assert not [index for index in range(selector.count) if "colored" in selector.itemText(index)]
    panel.node.inputVolume = None
    panel.desk.chooseFirstVolume()
    assert panel.node.inputVolume.GetName() == "head"
    assert panel.node.mapVolume.GetID() == mapNode.GetID()

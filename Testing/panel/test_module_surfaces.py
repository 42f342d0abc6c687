"""Contours of a map and the anatomy around it: where they lie, that they go with what they are of, and come back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.panel.driver import colored

OBLIQUE = np.array([[-1.6, 0.9, 0.0, 40.0], [-1.2, -1.2, 0.0, -20.0], [0.0, 0.0, 3.0, 7.0], [0, 0, 0, 1]])


def explained(panel: Any, method: str = "Grad-CAM", **volume: Any) -> Any:
    panel.addVolume(**volume)
    panel.chooseMethod(method)
    mapNode = panel.apply()
    panel.host.click(panel.desk.displayPanel.ui.peakButton)
    panel.desk.displayPanel.ui.legendCheckBox.setChecked(False)
    section = panel.desk.surfaces.ui.surfaceSection
    if section.collapsed:
        panel.host.click(section)
    return mapNode


def made(panel: Any) -> None:
    panel.host.processEvents()
    panel.wait(lambda: not panel.logic.display.pending, "the surfaces are not made")


def contours(mapNode: Any) -> Any:
    return mapNode.GetNodeReference("XAIExplain.Contours")


def anatomy(volumeNode: Any) -> Any:
    return volumeNode.GetNodeReference("XAIExplain.Anatomy")


def points(model: Any) -> np.ndarray:
    """RAS of the model's points, before a parent transform."""
    import slicer

    return np.array(slicer.util.arrayFromModelPoints(model))


def levels(model: Any) -> list[float]:
    import slicer

    return sorted(set(np.round(slicer.util.arrayFromModelPointData(model, "Level").astype(float), 4)))


def lines(panel: Any, on: bool = True) -> None:
    box = panel.desk.surfaces.ui.linesCheckBox
    if box.checked != on:
        panel.host.click(box)
    made(panel)


def body(panel: Any) -> Any:
    """A head with a dark hollow, on a volume with long voxels."""
    import slicer

    k, j, i = np.mgrid[:30, :60, :60]
    array = np.random.default_rng(0).normal(20, 5, (30, 60, 60))
    array[((k - 15) / 11) ** 2 + ((j - 30) / 22) ** 2 + ((i - 28) / 18) ** 2 < 1] += 500
    array[((k - 15) / 4) ** 2 + ((j - 30) / 6) ** 2 + ((i - 28) / 6) ** 2 < 1] = 20
    array[1:3, 1:4, 1:4] = 600  # something else in the image
    matrix = np.diag([-1.5, 1.5, 3.0, 1.0])
    return slicer.util.addVolumeFromArray(array.astype(np.int16), matrix, "body")


# Contours


def test_lines_around_the_map_follow_the_slices_and_go(panel: Any) -> None:
    import slicer

    mapNode = explained(panel)
    nodes = panel.count()
    panel.desk.displayPanel.ui.opacitySlider.value = 0.0
    panel.host.processEvents()
    assert colored(panel.red()) == 0
    lines(panel)
    model = contours(mapNode)
    assert model.GetName() == mapNode.GetName() + " contours"
    display = model.GetDisplayNode()
    assert (display.GetVisibility2D(), display.GetVisibility3D()) == (1, 0)
    drawn = colored(panel.red())
    assert drawn > 50
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(model)) == hierarchy.GetItemParent(
        hierarchy.GetItemByDataNode(mapNode))
    logic = slicer.app.layoutManager().sliceWidget("Red").sliceLogic()
    at = logic.GetSliceOffset()
    logic.SetSliceOffset(at + 6.0)
    assert 0 < colored(panel.red()) != drawn
    logic.SetSliceOffset(at + 24.0)  # far from the spot
    assert colored(panel.red()) == 0
    lines(panel, False)
    assert contours(mapNode) is None
    assert panel.count() == nodes


@pytest.mark.parametrize("method", ["Grad-CAM", "Occlusion"])
def test_contours_lie_where_the_map_has_their_level(panel: Any, method: str) -> None:
    """On an oblique volume with mirrored axes and long voxels, read off by another program."""
    import slicer
    from scipy.ndimage import map_coordinates

    mapNode = explained(panel, method, ijkToRAS=OBLIQUE)
    if method == "Occlusion":
        slicer.util.arrayFromVolume(mapNode)[6:10, 2:6, 2:6] = -700  # what speaks against
        slicer.util.arrayFromVolumeModified(mapNode)
        panel.desk.refresh()
    panel.node.contourLevels = 3
    lines(panel)
    model = contours(mapNode)
    assert len(levels(model)) == (3 if method == "Grad-CAM" else 6)
    ijk = np.linalg.solve(OBLIQUE[:3, :3], (points(model) - OBLIQUE[:3, 3]).T)
    values = map_coordinates(slicer.util.arrayFromVolume(mapNode), ijk[::-1], order=1)
    level = slicer.util.arrayFromModelPointData(model, "Level")
    assert np.abs(values - level).max() < 0.05 * np.abs(level).max()
    assert levels(model)[-3] == pytest.approx(mapNode.GetDisplayNode().GetLowerThreshold(), rel=0.25)


def test_contours_follow_the_threshold_and_the_number(panel: Any) -> None:
    mapNode = explained(panel)
    lines(panel)
    first, model = levels(contours(mapNode)), contours(mapNode).GetID()
    panel.desk.displayPanel.ui.hiddenSlider.value = 98.0
    made(panel)
    assert levels(contours(mapNode))[0] > first[0]
    panel.desk.surfaces.ui.levelsSpinBox.setValue(2)
    made(panel)
    assert len(levels(contours(mapNode))) == 2
    assert contours(mapNode).GetID() == model
    again = panel.apply()  # the same map with other voxels
    made(panel)
    assert again.GetID() == mapNode.GetID() and contours(mapNode).GetID() == model


def test_surfaces_in_3d(panel: Any) -> None:
    mapNode = explained(panel)
    empty = np.asarray(panel.host.captureView("1"), dtype=int)
    panel.host.click(panel.desk.surfaces.ui.surfacesCheckBox)
    made(panel)
    display = contours(mapNode).GetDisplayNode()
    assert (display.GetVisibility2D(), display.GetVisibility3D()) == (0, 1)
    assert (np.asarray(panel.host.captureView("1"), dtype=int) != empty).any()
    panel.host.click(panel.desk.displayPanel.ui.hideButton)
    assert not display.GetVisibility()
    panel.host.click(panel.desk.displayPanel.ui.overButton)
    assert display.GetVisibility()


def test_contours_follow_a_transform(panel: Any) -> None:
    import slicer

    mapNode = explained(panel)
    lines(panel)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    mapNode.SetAndObserveTransformNodeID(transform.GetID())
    assert contours(mapNode).GetTransformNodeID() == transform.GetID()
    mapNode.SetAndObserveTransformNodeID(None)
    assert contours(mapNode).GetTransformNodeID() is None


def test_another_map_has_its_own_contours(panel: Any) -> None:
    first = explained(panel)
    lines(panel)
    panel.chooseMethod("Occlusion")
    second = panel.apply()
    made(panel)
    assert not contours(first).GetDisplayNode().GetVisibility()
    assert contours(second).GetDisplayNode().GetVisibility()
    panel.host.setCombo(panel.desk.displayPanel.ui.mapSelector, first.GetName())
    made(panel)
    assert contours(first).GetDisplayNode().GetVisibility()
    assert not contours(second).GetDisplayNode().GetVisibility()


def test_a_map_without_an_order_is_said_to_be_patchy(panel: Any, monkeypatch: Any) -> None:
    mapNode = explained(panel)
    monkeypatch.setattr("XAIExplainPanels.surfaces.MOST_TRIANGLES", 50)
    lines(panel)
    assert contours(mapNode) is None
    assert "patchy" in panel.desk.surfaces.ui.surfaceLabel.text
    assert panel.desk.surfaces.ui.linesCheckBox.checked
    monkeypatch.setattr("XAIExplainPanels.surfaces.MOST_TRIANGLES", 10**6)
    panel.desk.displayPanel.ui.hiddenSlider.value = 97.0
    made(panel)
    assert contours(mapNode) is not None
    assert not panel.desk.surfaces.ui.surfaceLabel.visible


def test_slabs_make_the_same_surface_as_the_whole(loaded: Any, monkeypatch: Any) -> None:
    import vtk
    from XAIExplainPanels import surfaces

    array = np.random.default_rng(0).random((23, 9, 11)).astype(np.float32)
    array = (array + np.roll(array, 1, 0) + np.roll(array, 1, 1)) / 3
    results = []
    for piece in (10**6, 300, 99):
        monkeypatch.setattr(surfaces, "PIECE", piece)
        work = surfaces.isoSurfaces(array, [0.5], vtk.vtkMatrix4x4())
        steps = 0
        while True:
            try:
                next(work)
                steps += 1
            except StopIteration as end:
                results.append((steps, end.value.GetNumberOfCells(), end.value.GetBounds()))
                break
    assert results[0][1:] == results[1][1:] == results[2][1:]
    assert results[0][0] < results[1][0] < results[2][0]


def test_no_step_holds_the_window_up(loaded: Any) -> None:
    """A map of 128^3 voxels, three levels, and the anatomy of such a volume."""
    import vtk
    from XAIExplainPanels.anatomy import anatomySurface
    from XAIExplainPanels.surfaces import isoSurfaces

    k, j, i = np.mgrid[:128, :128, :128]
    array = (np.exp(-((k - 60) ** 2 + (j - 50) ** 2 + (i - 70) ** 2) / 900.0) * 100).astype(np.float32)
    for work in (isoSurfaces(array, [10, 40, 70], vtk.vtkMatrix4x4()), anatomySurface(array, vtk.vtkMatrix4x4())):
        longest = 0.0
        while True:
            start = time.perf_counter()
            done = next(work, "done")
            longest = max(longest, time.perf_counter() - start)
            if done == "done":
                break
        assert longest < 0.15  # 50 ms on a machine that does nothing else


# Anatomy


def test_the_body_is_around_the_map(panel: Any) -> None:
    import slicer

    volume = body(panel)
    panel.node.inputVolume = volume
    panel.apply()
    panel.host.click(panel.desk.surfaces.ui.surfaceSection) if panel.desk.surfaces.ui.surfaceSection.collapsed else None
    panel.host.click(panel.desk.surfaces.ui.anatomyCheckBox)
    made(panel)
    model = anatomy(volume)
    assert model.GetName() == "body surface"
    bounds = np.array(model.GetPolyData().GetBounds()).reshape(3, 2)
    expected = np.array([[-1.5 * 46, -1.5 * 10], [1.5 * 8, 1.5 * 52], [3.0 * 4, 3.0 * 26]])
    assert np.abs(bounds - expected).max() < 3.0  # the largest voxel
    inner = points(model) - np.array([-1.5 * 28, 1.5 * 30, 3.0 * 15])
    assert (np.abs(inner / np.array([27, 33, 33])) ** 2).sum(axis=1).min() > 0.6  # the hollow has no surface
    display = model.GetDisplayNode()
    assert (display.GetVisibility(), display.GetVisibility2D(), display.GetVisibility3D()) == (1, 0, 1)
    panel.desk.surfaces.ui.anatomyOpacitySlider.value = 0.5
    panel.host.processEvents()
    assert display.GetOpacity() == 0.5
    panel.host.click(panel.desk.displayPanel.ui.aloneButton)
    assert not display.GetVisibility()
    panel.host.click(panel.desk.displayPanel.ui.overButton)
    assert display.GetVisibility()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    volume.SetAndObserveTransformNodeID(transform.GetID())
    assert model.GetTransformNodeID() == transform.GetID()


def test_a_volume_without_an_outline_is_said(panel: Any) -> None:
    import slicer

    volume = slicer.util.addVolumeFromArray(np.full((8, 9, 10), 7, np.int16), np.eye(4), "flat")
    panel.node.inputVolume = volume
    panel.apply()
    panel.node.anatomyIn3D = True
    made(panel)
    assert anatomy(volume) is None
    assert "no outline" in panel.desk.surfaces.ui.surfaceLabel.text


# The user's own things


def test_map_alone_hides_what_is_in_3d_and_gives_it_back(panel: Any, tmp_path: Path) -> None:
    import slicer
    import vtk

    explained(panel)
    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(10)
    sphere.Update()
    own = slicer.modules.models.logic().AddModel(sphere.GetOutput())
    hidden = slicer.modules.models.logic().AddModel(sphere.GetOutput())
    hidden.GetDisplayNode().SetVisibility3D(False)
    own.SetName("own")
    own.GetDisplayNode().SetVisibility2D(True)
    panel.host.click(panel.desk.displayPanel.ui.aloneButton)
    assert not own.GetDisplayNode().GetVisibility3D()
    assert own.GetDisplayNode().GetVisibility2D()
    panel.host.saveScene(tmp_path / "saved.mrb")
    panel.host.click(panel.desk.displayPanel.ui.overButton)
    assert own.GetDisplayNode().GetVisibility3D()
    assert not hidden.GetDisplayNode().GetVisibility3D()
    panel.host.loadScene(tmp_path / "saved.mrb")
    own = slicer.util.getNode("own")
    assert not own.GetDisplayNode().GetVisibility3D()
    panel.host.click(panel.desk.displayPanel.ui.overButton)
    assert own.GetDisplayNode().GetVisibility3D()


def test_restore_gives_the_3d_view_back(panel: Any) -> None:
    import slicer

    camera = slicer.app.layoutManager().threeDWidget(0).threeDView().cameraNode()
    camera.SetPosition(11.0, 222.0, 33.0)
    camera.SetFocalPoint(1.0, 2.0, 3.0)
    mapNode = explained(panel)
    panel.host.click(panel.desk.displayPanel.ui.renderCheckBox)
    panel.host.click(panel.desk.surfaces.ui.surfacesCheckBox)
    panel.host.click(panel.desk.surfaces.ui.anatomyCheckBox)
    made(panel)
    panel.host.click(panel.desk.displayPanel.ui.aloneButton)
    assert camera.GetPosition() != (11.0, 222.0, 33.0)
    panel.host.click(panel.desk.displayPanel.ui.restoreButton)
    assert camera.GetPosition() == pytest.approx((11.0, 222.0, 33.0))
    assert camera.GetFocalPoint() == pytest.approx((1.0, 2.0, 3.0))
    rendering = slicer.modules.volumerendering.logic().GetFirstVolumeRenderingDisplayNode(mapNode)
    volume = slicer.util.getNode("head")
    shown = [rendering, contours(mapNode).GetDisplayNode(), anatomy(volume).GetDisplayNode()]
    assert not any(node.GetVisibility() for node in shown)
    panel.host.setCombo(panel.desk.displayPanel.ui.mapSelector, mapNode.GetName())
    panel.host.click(panel.desk.displayPanel.ui.overButton)
    made(panel)
    assert all(node.GetVisibility() for node in shown)


# Life


def test_no_orphans(panel: Any) -> None:
    import slicer

    volume = panel.addVolume()
    nodes = panel.count()
    for name in ("contourLines", "contourSurfaces", "anatomyIn3D", "renderedIn3D"):
        setattr(panel.node, name, True)
    before = [node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")]
    for _time in range(2):
        mapNode = panel.apply()
        made(panel)
        assert contours(mapNode) is not None and anatomy(volume) is not None
        slicer.mrmlScene.RemoveNode(mapNode)
        panel.host.processEvents()
        assert panel.node.contourLines and panel.node.anatomyIn3D  # wanted of the next one
    left = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLNode") if node.GetID() not in before]
    assert panel.count() == nodes, left
    panel.apply()
    made(panel)
    slicer.mrmlScene.RemoveNode(volume)
    panel.host.processEvents()
    assert not [node for node in slicer.util.getNodesByClass("vtkMRMLModelNode") if "surface" in node.GetName()]


def test_a_surface_that_the_user_deletes_stays_away(panel: Any) -> None:
    import slicer

    mapNode = explained(panel)
    nodes = panel.count()
    lines(panel)
    slicer.mrmlScene.RemoveNode(contours(mapNode))
    panel.host.processEvents()
    assert not panel.desk.surfaces.ui.linesCheckBox.checked
    assert panel.count() == nodes
    lines(panel)
    assert contours(mapNode) is not None


def test_scene_with_surfaces_comes_back_from_a_file(panel: Any, tmp_path: Path) -> None:
    import slicer

    mapNode = explained(panel, "Occlusion", ijkToRAS=OBLIQUE)
    panel.node.contourLevels = 2
    lines(panel)
    panel.host.click(panel.desk.surfaces.ui.anatomyCheckBox)
    made(panel)
    wanted, at, picture = levels(contours(mapNode)), points(contours(mapNode)), panel.red()
    panel.host.saveScene(tmp_path / "saved.mrb")
    panel.host.loadScene(tmp_path / "saved.mrb")
    assert panel.desk.surfaces.ui.linesCheckBox.checked and panel.desk.surfaces.ui.anatomyCheckBox.checked
    mapNode = panel.node.mapVolume
    assert levels(contours(mapNode)) == pytest.approx(wanted, rel=1e-3)
    assert np.abs(points(contours(mapNode)) - at).max() < 1e-3
    logic = slicer.app.layoutManager().sliceWidget("Red").sliceLogic()
    for step in (1.0, -1.0):  # models are cut again when a slice moves; the host does not move them at once
        logic.SetSliceOffset(logic.GetSliceOffset() + step)
    again = panel.red()
    assert (np.abs(again - picture).max(axis=-1) > 40).mean() < 0.002
    nodes = panel.count()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    mapNode.SetAndObserveTransformNodeID(transform.GetID())
    assert contours(mapNode).GetTransformNodeID() == transform.GetID()
    mapNode.SetAndObserveTransformNodeID(None)
    slicer.mrmlScene.RemoveNode(transform)
    panel.desk.displayPanel.ui.hiddenSlider.value = 96.0
    made(panel)
    assert levels(contours(mapNode)) != wanted
    assert panel.count() == nodes


@pytest.mark.parametrize("event", ["close", "map", "volume", "off"])
def test_what_goes_in_the_middle(panel: Any, event: str) -> None:
    import slicer

    mapNode = explained(panel)
    panel.node.anatomyIn3D = True
    panel.node.contourLines = True
    assert panel.logic.display.pending
    panel.logic.display.step()
    if event == "close":
        panel.host.closeScene()
    elif event == "off":
        panel.node.contourLines = panel.node.anatomyIn3D = False
    else:
        slicer.mrmlScene.RemoveNode(mapNode if event == "map" else panel.node.inputVolume)
    made(panel)
    if event == "map" or event == "off":
        models = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLModelNode")
                  if node.GetAttribute("XAIExplain.Role") and node.GetDisplayNode().GetVisibility()]
        assert models == []


def test_a_script_does_it_without_a_window(panel: Any) -> None:
    volume = panel.addVolume()
    settings = panel.logic.getParameterNode()
    settings.contourLines = settings.anatomyIn3D = True
    mapNode = panel.logic.explain(volume, method="occlusion", show=True)
    assert contours(mapNode) is not None and anatomy(volume) is not None
    assert not panel.logic.display.pending

"""Figures by segment: against counting by hand on slanted grids and under transforms, and by clicks."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def part(panel: Any) -> Iterator[Any]:
    """The part of the window, open."""
    panel.desk.regions.ui.regionsSection.collapsed = False
    yield panel.desk.regions
    panel.desk.regions.ui.regionsSection.collapsed = True


def turned(angles: tuple[float, float, float], spacing: tuple[float, float, float], origin: Any) -> np.ndarray:
    """IJK to RAS of a slanted grid, axes at right angles."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        one, other = [n for n in range(3) if n != axis]
        turn = np.eye(3)
        turn[one, one] = turn[other, other] = np.cos(angle)
        turn[one, other], turn[other, one] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    found = np.eye(4)
    found[:3, :3], found[:3, 3] = matrix * np.array(spacing), origin
    return found


def segmentation(segments: dict[str, np.ndarray], ijkToRAS: np.ndarray) -> Any:
    """A segmentation of arrays (k, j, i) on a grid of its own."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Atlas")
    for name, array in segments.items():
        volume = slicer.util.addVolumeFromArray(array.astype(np.uint8), ijkToRAS, name, "vtkMRMLLabelMapVolumeNode")
        before = node.GetSegmentation().GetNumberOfSegments()
        slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(volume, node)
        node.GetSegmentation().GetNthSegment(before).SetName(name)
        slicer.mrmlScene.RemoveNode(volume)
    return node


def under(node: Any, matrix: np.ndarray) -> None:
    import slicer

    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())


def aMap(panel: Any, array: np.ndarray, ijkToRAS: np.ndarray, name: str = "map") -> Any:
    """A map and the volume that it explains, without the engine."""
    import slicer
    from XAIExplainPanels import record

    volume = slicer.util.addVolumeFromArray(np.abs(array), ijkToRAS, "case")
    node = slicer.util.addVolumeFromArray(array.astype(np.float32), ijkToRAS, name)
    record.writeRecord(node, volume, {"volume": volume.GetID(), "method": "gradient", "target": "", "model": "m",
                                      "parameters": {}}, {"display": {"signed": True, "title": name}})  # fmt: skip
    panel.host.processEvents()
    return node


def byHand(shape: tuple[int, ...], mapToWorld: np.ndarray, mask: np.ndarray, maskToWorld: np.ndarray) -> np.ndarray:
    """Which voxel centers of one grid lie in voxels of the other that are set: by matrices alone."""
    k, j, i = np.mgrid[: shape[0], : shape[1], : shape[2]]
    points = np.stack([i.ravel(), j.ravel(), k.ravel(), np.ones(i.size)])
    places = np.linalg.inv(maskToWorld) @ mapToWorld @ points
    index = np.floor(places[:3] + 0.5).astype(int)[::-1]
    inside = np.all((index >= 0) & (index < np.array(mask.shape)[:, None]), axis=0)
    found = np.zeros(i.size, bool)
    found[inside] = mask[tuple(index[:, inside])] != 0
    return found.reshape(shape)


MAP_GRID = turned((0.31, -0.22, 0.13), (0.7, 1.3, 2.9), (-11.3, 4.7, 8.1))
SEGMENT_GRID = turned((-0.17, 0.41, -0.29), (1.1, 0.6, 1.7), (-14.2, -1.3, 2.2))
MOVE_MAP = turned((0.05, 0.2, -0.12), (1, 1, 1), (1.1, -2.2, 2.7))
MOVE_SEGMENTS = turned((0.07, 0.16, -0.1), (1, 1, 1), (2.1, -1.3, 1.4))


@pytest.mark.parametrize("moved", ["nothing", "map", "segments", "both"])
def test_figures_are_those_of_counting_by_hand(panel: Any, moved: str) -> None:
    generator = np.random.default_rng(5)
    array = generator.normal(size=(11, 13, 17)).astype(np.float32)
    mapNode = aMap(panel, array, MAP_GRID)
    k, j, i = np.mgrid[:24, :30, :28]
    ball = (k - 12) ** 2 + (j - 14) ** 2 + (i - 13) ** 2 < 60
    half = j < 15  # overlaps the ball, and reaches over the map's edge
    node = segmentation({"ball": ball, "half": half}, SEGMENT_GRID)
    mapToWorld, segmentsToWorld = MAP_GRID, SEGMENT_GRID
    if moved in ("map", "both"):
        under(mapNode, MOVE_MAP)
        mapToWorld = MOVE_MAP @ MAP_GRID
    if moved in ("segments", "both"):
        under(node, MOVE_SEGMENTS)
        segmentsToWorld = MOVE_SEGMENTS @ SEGMENT_GRID
    table = panel.logic.regions.statistics([mapNode], node)
    from XAIExplainPanels import tables

    _titles, rows = tables.rowsOf(table)
    assert [row[1] for row in rows] == ["ball", "half", "(elsewhere)"]
    covered = np.zeros(array.shape, bool)
    voxel = abs(np.linalg.det(MAP_GRID[:3, :3]))
    for row, mask in zip(rows, (ball, half, None), strict=True):
        inside = ~covered if mask is None else byHand(array.shape, mapToWorld, mask, segmentsToWorld)
        covered |= inside
        values = array[inside].astype(float)
        assert values.size > 20
        assert row[2] == pytest.approx(values.size * voxel, rel=1e-9)
        assert row[3] == pytest.approx(100 * np.abs(values).sum() / np.abs(array.astype(float)).sum(), rel=1e-6)
        assert row[4] == pytest.approx(100 * values[values > 0].sum() / array[array > 0].sum(), rel=1e-5)
        assert row[5] == pytest.approx(values.mean(), rel=1e-6)
        assert row[6] == pytest.approx(values[np.abs(values).argmax()], rel=1e-6)
        assert row[7] == pytest.approx(np.abs(values).sum() / (values.size * voxel), rel=1e-6)


def test_a_segment_that_misses_the_map_has_no_figures(panel: Any) -> None:
    from XAIExplainPanels import tables

    from XAIExplainLib.errors import XAIError

    mapNode = aMap(panel, np.ones((4, 5, 6), np.float32), np.eye(4))
    far = np.eye(4)
    far[:3, 3] = 500
    node = segmentation({"far": np.ones((3, 3, 3))}, far)
    _titles, rows = tables.rowsOf(panel.logic.regions.statistics([mapNode], node))
    assert rows[0][2:5] == [0, 0, 0] and np.isnan(rows[0][5:]).all()
    assert rows[1][3] == 100
    with pytest.raises(XAIError, match="no voxel on the map"):
        panel.logic.regions.maskFile(node, node.GetSegmentation().GetNthSegmentID(0), mapNode)


def test_the_mask_for_the_engine_lies_where_the_segment_does(panel: Any) -> None:
    import SimpleITK

    mapNode = aMap(panel, np.ones((11, 13, 17), np.float32), MAP_GRID)
    under(mapNode, MOVE_MAP)
    k, j, i = np.mgrid[:24, :30, :28]
    ball = (k - 12) ** 2 + (j - 14) ** 2 + (i - 13) ** 2 < 60
    node = segmentation({"ball": ball}, SEGMENT_GRID)
    path = panel.logic.regions.maskFile(node, node.GetSegmentation().GetNthSegmentID(0), mapNode)
    image = SimpleITK.ReadImage(path)
    expected = byHand((11, 13, 17), MOVE_MAP @ MAP_GRID, ball, SEGMENT_GRID)
    assert (SimpleITK.GetArrayFromImage(image) > 0).tolist() == expected.tolist()
    corner = (MOVE_MAP @ MAP_GRID @ [16, 12, 10, 1])[:3] * [-1, -1, 1]
    assert image.TransformIndexToPhysicalPoint((16, 12, 10)) == pytest.approx(corner, abs=1e-4)


def prepared(panel: Any, *methods: str) -> tuple[list[Any], Any]:
    """Maps of a volume by clicks, and a segmentation of two halves, which have numbers for names as in many atlases."""
    panel.addVolume()
    maps = []
    for method in methods:
        panel.chooseMethod(method)
        maps.append(panel.apply())
    left = np.zeros((12, 14, 16))
    left[:, :, :8] = 1
    node = segmentation({"1": left, "2": 1 - left}, np.diag([3.0, 3.0, 3.0, 1.0]))
    panel.host.processEvents()
    return maps, node


def test_statistics_by_clicks_are_shown_saved_and_go_with_their_maps(panel: Any, part: Any, tmp_path: Path) -> None:
    import slicer

    maps, node = prepared(panel, "Grad-CAM", "Gradient")
    names = [mapNode.GetName() for mapNode in maps]
    panel.host.setCombo(part.ui.segmentationSelector, "Atlas")
    panel.host.click(part.ui.statisticsButton)
    panel.wait(lambda: part.ui.regionsTableLabel.visible, "no table")
    text = part.ui.regionsTableLabel.text
    for word in (">1&nbsp;", ">2&nbsp;", "Grad-CAM", "Gradient"):
        assert word in text
    (table,) = slicer.util.getNodesByClass("vtkMRMLTableNode")
    assert table.GetTable().GetNumberOfRows() == 4
    values = slicer.util.arrayFromVolume(maps[1])
    share = 100 * np.abs(values[:, :, 8:]).sum() / np.abs(values).sum()
    panel.host.answers.saveFile = str(tmp_path / "table")
    panel.host.click(part.ui.saveRegionsButton)
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0][:4] == ["Result", "Segment", "Volume (mm\u00b3)", "Share of relevance (%)"]
    assert lines[4][:2] == [maps[1].GetName(), "2"]
    assert float(lines[4][3]) == pytest.approx(share, rel=1e-5)
    panel.host.click(part.ui.statisticsButton)
    panel.wait(lambda: part.ui.statisticsButton.enabled, "no second table")
    assert len(slicer.util.getNodesByClass("vtkMRMLTableNode")) == 1
    panel.host.saveScene(tmp_path / "scene.mrb")
    panel.host.loadScene(tmp_path / "scene.mrb")
    panel.wait(lambda: part.ui.regionsTableLabel.visible, "no table in the scene that was opened")
    assert part.ui.regionsTableLabel.text == text
    (table,) = slicer.util.getNodesByClass("vtkMRMLTableNode")
    maps = [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if node.GetName() in names]
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    assert hierarchy.GetItemByDataNode(table)
    for mapNode in maps:
        slicer.mrmlScene.RemoveNode(mapNode)
    panel.host.processEvents()
    assert table.GetScene() is None and not part.ui.regionsTableLabel.visible


def test_results_against_a_segment(panel: Any, part: Any) -> None:
    prepared(panel, "Grad-CAM", "Gradient")
    panel.host.setCombo(part.ui.segmentationSelector, "Atlas")
    panel.host.setCombo(part.ui.segmentComboBox, "2")
    panel.host.click(part.ui.metricsButton)
    panel.wait(lambda: part.ui.regionsTableLabel.visible, "no table")
    (request,) = panel.requests("measure")
    assert len(request["maps"]) == 2 and request["mask"]
    assert not Path(request["mask"]).exists()  # it has served
    assert "0.75" in part.ui.regionsTableLabel.text and "(chance)" in part.ui.regionsTableLabel.text
    assert "lies on 2:" in part.ui.regionsMessageLabel.text


def test_a_map_or_segmentation_that_goes_in_the_middle(panel: Any, part: Any) -> None:
    import slicer

    maps, node = prepared(panel, "Grad-CAM")
    panel.host.setCombo(part.ui.segmentationSelector, "Atlas")
    panel.host.click(part.ui.statisticsButton)
    part.ui.regionsTableLabel.text = ""
    job = panel.logic.regions.steps(maps, node)
    next(job)
    slicer.mrmlScene.RemoveNode(node)
    from XAIExplainLib.errors import XAIError

    with pytest.raises(XAIError, match="deleted"):
        list(job)
    panel.host.processEvents()
    assert not part.ui.statisticsButton.enabled
    with pytest.raises(XAIError, match="no segmentation"):
        panel.logic.regions.statistics(maps, None)


def test_the_truth_of_one_case_does_not_lie_over_another(panel: Any) -> None:
    from XAIExplainPanels import regions

    from XAIExplainLib.cases import CaseEntry, cases

    known: dict[str, CaseEntry] = {case.name: case for case in cases()}
    volumes, truths = [], []
    for name in ("enhancing-ring", "shortcut-marker"):
        volumes.append(panel.logic.loadCase(known[name].describe()))
        truths.append(regions.loadTruth(known[name].describe(), volumes[-1]))
    assert [regions.segmentsOf(truth)[0][1] for truth in truths] == ["lesion", "marker"]
    assert [[regions.isTruthOf(truth, volume) for truth in truths] for volume in volumes] == [
        [True, False], [False, True]]  # fmt: skip
    own = segmentation({"mine": np.ones((3, 3, 3))}, np.eye(4))
    own.CreateDefaultDisplayNodes()

    def shown() -> list[bool]:
        panel.host.processEvents()
        return [bool(node.GetDisplayNode().GetVisibility()) for node in (*truths, own)]

    regions.showTruthOf(volumes[1])
    assert shown() == [False, True, True]
    regions.showTruthOf(volumes[0])
    assert shown() == [True, False, True]
    truths[0].GetDisplayNode().SetVisibility(False)  # by the user, who is not overruled
    regions.showTruthOf(volumes[0])
    regions.showTruthOf(None)
    assert shown() == [False, False, True]

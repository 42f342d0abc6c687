"""What is explained: classes with their probabilities, a difference, and where in the volume a segmenter is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

OBLIQUE = np.array([[2.0, -0.5, 0.0, -20.0], [0.5, 2.0, 0.0, 5.0], [0.0, 0.0, 3.0, 40.0], [0.0, 0.0, 0.0, 1.0]])


def ready(panel: Any) -> None:
    panel.wait(lambda: panel.desk.run.ui.applyButton.enabled, "not ready")


def ask(panel: Any) -> None:
    """Press "Ask the network"."""
    panel.wait(lambda: panel.desk.modelPanel.ui.predictButton.enabled, "the network cannot be asked")
    panel.host.click(panel.desk.modelPanel.ui.predictButton)
    panel.wait(lambda: panel.desk.model.prediction, "no answer")


def kind(panel: Any, title: str) -> None:
    panel.host.setCombo(panel.desk.target.ui.kindComboBox, title)


def explained(panel: Any) -> Any:
    """The target of the last request."""
    return panel.requests("explain")[-1]["target"]


@pytest.fixture
def segmenter(panel: Any) -> Iterator[Any]:
    """The panel with a network that answers with a segmentation."""
    panel.order("segmenter")
    panel.desk.restartEngine()
    panel.wait(lambda: panel.desk.model.info and panel.desk.model.info["task"] == "segmentation", "no segmenter")
    yield panel
    panel.order("")
    panel.desk.restartEngine()
    panel.wait(lambda: panel.desk.model.info and panel.desk.model.info["task"] == "classification", "no classifier")


def segmentation(volume: Any, box: tuple[slice, ...]) -> Any:
    """A segmentation with an empty segment and one that fills a box of the volume's voxels."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.GetSegmentation().AddEmptySegment("nothing", "nothing")
    identifier = node.GetSegmentation().AddEmptySegment("finding", "finding")
    array = np.zeros(slicer.util.arrayFromVolume(volume).shape, np.uint8)
    array[box] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, identifier, volume)
    return node


def region(panel: Any) -> Any:
    """The voxels of the mask that the engine was given, and the mask's place."""
    import SimpleITK

    image = SimpleITK.ReadImage(explained(panel)["region"])
    return SimpleITK.GetArrayFromImage(image), image


def chooseSegment(panel: Any, name: str) -> None:
    selector = panel.desk.target.ui.segmentSelector
    panel.host.setCombo(selector._d.nodes, "drawn")
    panel.host.setCombo(selector._d.segments, name)


# -- classifiers


def test_classes_stand_with_their_probabilities_as_bars(panel: Any) -> None:
    combo = panel.desk.target.ui.targetComboBox
    panel.addVolume()
    ready(panel)
    assert [combo.itemText(index) for index in range(combo.count)] == [
        "The network's answer", "lesion (together)", "healthy", "enhancing", "dark"]  # fmt: skip
    panel.chooseTarget("dark")
    ask(panel)
    assert [combo.itemText(index) for index in range(combo.count)] == [
        "The network's answer: enhancing", "lesion (together): 90 %", "healthy: 10 %", "enhancing: 80 %", "dark: 10 %",
    ]  # fmt: skip
    assert panel.node.target == "dark"
    assert combo.currentText == "dark: 10 %"
    bars = [barLength(combo.itemIcon(index), combo.iconSize) for index in range(combo.count)]
    assert bars[0] == 0
    np.testing.assert_allclose(bars[1:], [0.9, 0.1, 0.8, 0.1], atol=0.03)
    panel.addVolume("other")
    panel.host.setCombo(panel.desk.case.ui.inputSelector, "other")
    assert combo.currentText == "dark", "the answer about another volume is not this one's"


def barLength(icon: Any, size: Any) -> float:
    """The share of the icon's width that has its first pixel's color."""
    if icon.isNull():
        return 0.0
    image = icon.pixmap(size).toImage()
    row = [image.pixel(column, image.height() // 2) for column in range(image.width())]
    return row.count(row[0]) / len(row)


def test_probability_is_explained(panel: Any) -> None:
    panel.addVolume()
    ready(panel)
    kind(panel, "Its probability")
    panel.chooseTarget("enhancing")
    mapNode = panel.apply()
    assert explained(panel) == {"probability": "enhancing"}
    assert mapNode.GetAttribute("XAIExplain.Target") == "probability of enhancing"
    assert mapNode.GetName().endswith("probability of enhancing")
    again = panel.apply()
    assert again.GetID() == mapNode.GetID()
    kind(panel, "Its score")
    assert panel.apply().GetID() != mapNode.GetID(), "another question has a map of its own"
    assert explained(panel) == "enhancing"


def test_difference_of_two_classes(panel: Any) -> None:
    panel.addVolume()
    ready(panel)
    other = panel.desk.target.ui.otherComboBox
    assert not other.visible
    panel.chooseTarget("enhancing")
    kind(panel, "Its score less that of another")
    assert other.visible
    assert [other.itemText(index) for index in range(other.count)] == ["lesion", "healthy", "dark"]
    panel.host.setCombo(other, "dark")
    mapNode = panel.apply()
    assert explained(panel) == {"difference": ["enhancing", "dark"]}
    assert mapNode.GetAttribute("XAIExplain.Target") == "enhancing rather than dark"
    panel.chooseTarget("dark")
    assert panel.node.otherTarget != "dark", "a class is not set against itself"


def test_difference_from_the_networks_answer_needs_the_answer(panel: Any) -> None:
    panel.addVolume()
    ready(panel)
    kind(panel, "Its score less that of another")
    assert not panel.desk.run.ui.applyButton.enabled
    assert "ask the network first" in panel.message
    panel.wait(lambda: panel.desk.modelPanel.ui.predictButton.enabled, "the network cannot be asked")
    ask(panel)
    panel.host.setCombo(panel.desk.target.ui.otherComboBox, "healthy")
    panel.apply()
    assert explained(panel) == {"difference": ["enhancing", "healthy"]}


def test_a_kind_that_the_network_does_not_have_is_given_up(panel: Any) -> None:
    panel.node.targetKind = "box"
    panel.host.processEvents()
    assert panel.node.targetKind == "score"
    for name in ("segmentSelector", "roiSelector", "voxelRow", "otherComboBox"):
        assert not getattr(panel.desk.target.ui, name).visible


# -- segmenters


@pytest.mark.parametrize("moved", [False, True])
def test_a_segment_is_the_region(segmenter: Any, moved: bool) -> None:
    import slicer

    panel = segmenter
    volume = panel.addVolume(ijkToRAS=OBLIQUE)
    box = (slice(2, 6), slice(8, 11), slice(9, 14))
    node = segmentation(volume, box)
    if moved:
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        matrix = np.eye(4)
        matrix[:3, 3] = 5, -7, 11
        transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
        for one in (volume, node):
            one.SetAndObserveTransformNodeID(transform.GetID())
    kind(panel, "In a segment of the scene")
    assert not panel.desk.run.ui.applyButton.enabled
    assert "Choose the segment" in panel.message
    chooseSegment(panel, "finding")
    panel.chooseTarget("dark")
    mapNode = panel.apply()
    assert mapNode is not None, panel.message
    mask, image = region(panel)
    wanted = np.zeros_like(mask)
    wanted[box] = 1
    np.testing.assert_array_equal(mask, wanted)
    corner = OBLIQUE @ [0, 0, 0, 1] + (np.array([5, -7, 11, 0]) if moved else 0)
    np.testing.assert_allclose(image.GetOrigin(), corner[:3] * [-1, -1, 1], atol=1e-4)
    assert explained(panel)["class"] == "dark"
    assert mapNode.GetAttribute("XAIExplain.Target") == "dark in finding"


def test_an_empty_segment_is_a_sentence(segmenter: Any) -> None:
    panel = segmenter
    segmentation(panel.addVolume(), (slice(0, 2),) * 3)
    kind(panel, "In a segment of the scene")
    chooseSegment(panel, "nothing")
    assert panel.apply() is None
    assert "nothing does not touch the volume head" in panel.message


def test_a_segmentation_that_goes_takes_the_choice_along(segmenter: Any) -> None:
    import slicer

    panel = segmenter
    node = segmentation(panel.addVolume(), (slice(0, 2),) * 3)
    kind(panel, "In a segment of the scene")
    chooseSegment(panel, "finding")
    ready(panel)
    slicer.mrmlScene.RemoveNode(node)
    panel.host.processEvents()
    assert not panel.desk.run.ui.applyButton.enabled
    assert "Choose the segment" in panel.message


def test_a_box_that_is_turned_is_the_region(segmenter: Any) -> None:
    import slicer

    panel = segmenter
    volume = panel.addVolume(ijkToRAS=OBLIQUE)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.array([[0.8, -0.6, 0, 3], [0.6, 0.8, 0, -2], [0, 0, 1, 1], [0, 0, 0, 1]])
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "around it")
    toWorld = matrix @ OBLIQUE
    roi.SetCenter((toWorld @ [9, 8, 5, 1])[:3])
    roi.SetSize(11.1, 7.1, 13.1)  # no voxel's center lies on its surface
    kind(panel, "In a region of interest (box)")
    assert "Choose the region" in panel.message
    panel.host.setCombo(panel.desk.target.ui.roiSelector, "around it")
    mapNode = panel.apply()
    assert mapNode is not None, panel.message
    mask, _image = region(panel)
    k, j, i = np.mgrid[:12, :14, :16]
    world = np.einsum("rc,ckji->rkji", toWorld, np.stack([i, j, k, np.ones_like(i)]))
    wanted = np.ones(i.shape, bool)
    for axis, (middle, size) in enumerate(zip((toWorld @ [9, 8, 5, 1])[:3], (11.1, 7.1, 13.1), strict=True)):
        wanted &= np.abs(world[axis] - middle) <= size / 2
    assert 10 < wanted.sum() < wanted.size / 4
    np.testing.assert_array_equal(mask, wanted)
    assert mapNode.GetAttribute("XAIExplain.Target") == "in around it"


def test_a_box_elsewhere_is_a_sentence(segmenter: Any) -> None:
    import slicer

    panel = segmenter
    panel.addVolume()
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "far away")
    roi.SetCenter(1000, 0, 0)
    roi.SetSize(10, 10, 10)
    kind(panel, "In a region of interest (box)")
    panel.host.setCombo(panel.desk.target.ui.roiSelector, "far away")
    assert panel.apply() is None
    assert "far away does not touch the volume head" in panel.message


def test_the_voxel_under_the_crosshair(segmenter: Any) -> None:
    import slicer

    panel = segmenter
    volume = panel.addVolume(ijkToRAS=OBLIQUE)
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCrosshairRAS(*(OBLIQUE @ [11.2, 8.9, 3.3, 1])[:3])
    kind(panel, "At one voxel")
    assert panel.node.targetVoxel == "11,9,3"
    value = slicer.util.arrayFromVolume(volume)[3, 9, 11]
    assert panel.desk.target.ui.voxelLabelText.text == f"i 11, j 9, k 3 (intensity {value})"
    mapNode = panel.apply()
    assert explained(panel) == {"voxel": [11, 9, 3], "class": None}
    assert mapNode.GetAttribute("XAIExplain.Target") == "in voxel 11, 9, 3"
    crosshair.SetCrosshairRAS(*(OBLIQUE @ [2, 3, 40, 1])[:3])
    assert panel.node.targetVoxel == "11,9,3", "it is taken when the button is pressed"
    panel.host.click(panel.desk.target.ui.voxelButton)
    assert "outside of the volume" in panel.desk.target.ui.voxelLabelText.text
    count = len(panel.requests("explain"))
    panel.apply()
    assert len(panel.requests("explain")) == count
    assert "outside of the volume head" in panel.message


def test_choices_are_saved_with_the_scene(segmenter: Any, tmp_path: Any) -> None:
    import slicer

    panel = segmenter
    segmentation(panel.addVolume(), (slice(2, 6),) * 3)
    kind(panel, "In a segment of the scene")
    chooseSegment(panel, "finding")
    panel.host.saveScene(tmp_path / "saved.mrb")
    panel.host.loadScene(tmp_path / "saved.mrb")
    assert panel.node.targetKind == "segment"
    assert panel.node.targetSegmentation.GetName() == "drawn"
    selector = panel.desk.target.ui.segmentSelector
    assert selector.currentSegmentID() == panel.node.targetSegment == "finding"
    ready(panel)
    assert panel.apply() is not None, panel.message
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1


def test_the_library_understands_each_target(segmenter: Any) -> None:
    from XAIExplainLib.target import Region, Voxel
    from XAIExplainLib.target_combined import Difference, Probability
    from XAIExplainLib.target_parsing import parse_target

    targets = segmenter.logic.targets
    volume = segmenter.addVolume()
    node = segmentation(volume, (slice(2, 6),) * 3)
    made = {
        Probability: targets.probability("dark"), Difference: targets.difference("dark", "healthy"),
        Region: targets.segment(volume, node, "finding", "dark"), Voxel: targets.voxel(volume, [1, 2, 3], "dark"),
    }  # fmt: skip
    for wanted, target in made.items():
        assert isinstance(parse_target(target.value), wanted)
        assert target.title
    assert parse_target(targets.probability().value).target.which is None

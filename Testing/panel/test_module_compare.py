"""Results side by side, as one map of two and in figures; and the user's own views, which come back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.panel.driver import colored


@pytest.fixture
def compare(panel: Any) -> Iterator[Any]:
    """The part of the window, open; afterwards the views are as a user who never compared has them."""
    panel.desk.compare.ui.compareSection.collapsed = False
    yield panel.desk.compare
    panel.host.closeScene()
    panel.desk.compare.ui.compareSection.collapsed = True
    assert names() == {"Red", "Yellow", "Green"}


def names() -> set[str]:
    import slicer

    return {node.GetLayoutName() for node in slicer.util.getNodesByClass("vtkMRMLSliceNode")}


def layout() -> int:
    import slicer

    return int(slicer.app.layoutManager().layout)


def chooseLayout(number: int) -> None:
    """Choose a layout, as in Slicer's menu."""
    import slicer

    slicer.app.layoutManager().setLayout(number)


def view(number: int) -> Any:
    import slicer

    return slicer.app.layoutManager().sliceWidget(f"XAIExplain{number}")


def explained(panel: Any, *methods: str) -> list[Any]:
    """Maps of one volume."""
    if panel.node.inputVolume is None:
        panel.addVolume(size=(30, 14, 16))
    found = []
    for method in methods:
        panel.chooseMethod(method)
        found.append(panel.apply())
    return found


def check(panel: Any, compare: Any, wanted: list[Any]) -> None:
    """Click the boxes so that exactly these are checked."""
    import qt

    for row in range(compare.ui.mapList.count):
        item = compare.ui.mapList.item(row)
        state = qt.Qt.Checked if item.data(qt.Qt.UserRole) in [node.GetID() for node in wanted] else qt.Qt.Unchecked
        if item.checkState() != state:
            item.setCheckState(state)
            panel.host.processEvents()


def test_results_stand_side_by_side_over_their_volume(panel: Any, compare: Any) -> None:
    maps = explained(panel, "Grad-CAM", "Gradient", "Occlusion")
    titles = ("A method whose name has no end at all", "Gradient", "Occlusion")
    maps[0].SetAttribute("XAIExplain.Title", titles[0])
    panel.host.click(compare.ui.compareButton)
    for number, (mapNode, title) in enumerate(zip(maps, titles, strict=True), 1):
        composite = view(number).mrmlSliceCompositeNode()
        assert composite.GetForegroundVolumeID() == mapNode.GetID()
        assert composite.GetBackgroundVolumeID() == panel.node.inputVolume.GetID()
        label = view(number).mrmlSliceNode().GetLayoutLabel()
        assert title.startswith(label.rstrip("\u2026")) and len(label) > 7
        assert view(number).isVisible()
        assert colored(np.asarray(panel.host.captureView(f"XAIExplain{number}"), dtype=int)) > 100
    panel.wait(lambda: panel.logic.comparison._rounds == 0, "the views do not settle")
    sizes = {(view(number).width, view(number).height) for number in (1, 2, 3)}
    assert max(np.ptp([size[axis] for size in sizes]) for axis in (0, 1)) <= 60  # the names are not equally long
    nodes = [view(number).mrmlSliceNode() for number in (1, 2, 3)]
    pixels = [node.GetFieldOfView()[0] / node.GetDimensions()[0] for node in nodes]
    assert pixels == pytest.approx([pixels[0]] * 3)
    assert all(node.GetFieldOfView()[0] > 47.9 for node in nodes)  # nothing of the volume is cut off
    assert not panel.host.app.layoutManager().sliceWidget("Red").isVisible()
    assert view(4) is None


def test_views_begin_where_the_user_looks_and_move_together(panel: Any, compare: Any) -> None:
    import slicer

    explained(panel, "Grad-CAM", "Gradient")
    red = slicer.app.layoutManager().sliceWidget("Red").sliceLogic()
    red.SetSliceOffset(21.0)
    panel.host.click(compare.ui.compareButton)
    logics = [view(number).sliceLogic() for number in (1, 2)]
    assert [logic.GetSliceOffset() for logic in logics] == pytest.approx([21, 21])
    view(1).sliceController().sliceOffsetSlider().setValue(33.0)
    panel.host.processEvents()
    assert [logic.GetSliceOffset() for logic in logics] == pytest.approx([33, 33])
    assert red.GetSliceOffset() == pytest.approx(21)  # the user's own view is in no group with them
    first = logics[0].GetSliceNode()
    logics[0].StartSliceNodeInteraction(slicer.vtkMRMLSliceNode.FieldOfViewFlag)
    first.SetFieldOfView(*[length / 2 for length in first.GetFieldOfView()[:2]], first.GetFieldOfView()[2])
    logics[0].EndSliceNodeInteraction()
    assert logics[1].GetSliceNode().GetFieldOfView()[0] == pytest.approx(first.GetFieldOfView()[0])
    slicer.app.layoutManager().sliceWidget("Yellow").sliceLogic().SetSliceOffset(12.0)
    panel.host.setCombo(compare.ui.orientationComboBox, "Sagittal")
    assert [logic.GetSliceNode().GetOrientation() for logic in logics] == ["Sagittal", "Sagittal"]
    assert [logic.GetSliceOffset() for logic in logics] == pytest.approx([12, 12])


def test_each_has_its_own_colors_or_all_have_one(panel: Any, compare: Any) -> None:
    first, second = explained(panel, "Gradient", "Occlusion")
    import slicer

    slicer.util.updateVolumeFromArray(second, slicer.util.arrayFromVolume(first) * 7)
    panel.host.click(compare.ui.compareButton)
    tops = [node.GetDisplayNode().GetWindowLevelMax() for node in (first, second)]
    assert tops[1] == pytest.approx(7 * tops[0], rel=1e-3)
    panel.host.click(compare.ui.commonWindowCheckBox)
    shown = [node.GetDisplayNode() for node in (first, second)]
    assert shown[0].GetWindowLevelMax() == shown[1].GetWindowLevelMax() == pytest.approx(tops[1], rel=0.05)
    assert shown[0].GetWindowLevelMin() == shown[1].GetWindowLevelMin() == -shown[0].GetWindowLevelMax()
    panel.host.click(compare.ui.backButton)
    after = [node.GetDisplayNode().GetWindowLevelMax() for node in (first, second)]
    assert after == pytest.approx(tops, rel=1e-6)


def test_the_settings_of_the_map_hold_for_all_of_them(panel: Any, compare: Any) -> None:
    first, second = explained(panel, "Grad-CAM", "Gradient")
    panel.host.click(compare.ui.compareButton)
    before = [node.GetDisplayNode().GetLowerThreshold() for node in (first, second)]
    panel.desk.displayPanel.ui.hiddenSlider.value = 99.0
    panel.desk.displayPanel.ui.opacitySlider.value = 0.35
    panel.host.processEvents()
    after = [node.GetDisplayNode().GetLowerThreshold() for node in (first, second)]
    assert after[0] > before[0] and after[1] > before[1]
    assert [view(number).mrmlSliceCompositeNode().GetForegroundOpacity() for number in (1, 2)] == [0.35, 0.35]
    panel.host.setCombo(panel.desk.displayPanel.ui.mapSelector, first.GetName())  # the views have their own maps
    shown = [view(number).mrmlSliceCompositeNode().GetForegroundVolumeID() for number in (1, 2)]
    assert shown == [first.GetID(), second.GetID()]
    chooseLayout(2)
    panel.host.processEvents()
    assert names() == {"Red", "Yellow", "Green"}  # another layout ends the comparison, and stays
    assert layout() == 2
    assert panel.node.layoutBefore == 0
    chooseLayout(3)


def test_back_gives_the_users_layout_and_layers(panel: Any, compare: Any) -> None:
    import slicer

    own = panel.addVolume("own", size=(30, 14, 16))
    explained(panel, "Grad-CAM", "Gradient")
    panel.desk.displayPanel.ui.legendCheckBox.setChecked(False)
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)
    slicer.util.setSliceViewerLayers(background=own, foreground=None, label=None)
    panel.host.processEvents()
    before = [(node.GetLayoutName(), node.GetBackgroundVolumeID(), node.GetForegroundVolumeID(),
               node.GetForegroundOpacity(), node.GetLinkedControl())
              for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")]  # fmt: skip
    picture = panel.host.captureView("Red")
    nodes = panel.count()
    panel.host.click(compare.ui.compareButton)
    assert layout() != slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView
    panel.host.click(compare.ui.backButton)
    assert layout() == slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView
    after = [(node.GetLayoutName(), node.GetBackgroundVolumeID(), node.GetForegroundVolumeID(),
              node.GetForegroundOpacity(), node.GetLinkedControl())
             for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")]  # fmt: skip
    assert after == before
    assert (panel.host.captureView("Red") == picture).all()
    assert panel.count() == nodes
    assert not compare.ui.backButton.enabled
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)


def test_a_deleted_result_leaves_the_comparison(panel: Any, compare: Any) -> None:
    import slicer

    before = layout()
    maps = explained(panel, "Grad-CAM", "Gradient", "Occlusion")
    panel.host.click(compare.ui.compareButton)
    slicer.mrmlScene.RemoveNode(maps[0])
    panel.host.processEvents()
    shown = [view(number).mrmlSliceCompositeNode().GetForegroundVolumeID() for number in (1, 2)]
    assert shown == [node.GetID() for node in maps[1:]]
    assert view(3) is None
    slicer.mrmlScene.RemoveNode(maps[1])
    panel.host.processEvents()
    assert layout() == before
    assert "deleted" in compare.ui.compareMessageLabel.text


def test_what_cannot_be_compared_is_not_offered(panel: Any, compare: Any) -> None:
    from XAIExplainLib.errors import XAIError

    (only,) = explained(panel, "Grad-CAM")
    assert not compare.ui.compareButton.enabled
    assert not compare.ui.differenceButton.enabled
    other = panel.addVolume("other")
    panel.node.inputVolume = other
    of_other = panel.apply()
    assert compare.ui.mapList.count == 1
    with pytest.raises(XAIError, match="different volumes"):
        panel.logic.comparison.start([only, of_other], panel.node)
    assert not panel.logic.comparison.active


def test_closing_the_scene_in_the_middle(panel: Any, compare: Any) -> None:
    before = layout()
    explained(panel, "Grad-CAM", "Gradient")
    panel.host.click(compare.ui.compareButton)
    panel.host.closeScene()
    assert layout() == before
    assert names() == {"Red", "Yellow", "Green"}
    assert not compare.widget.visible


def test_a_saved_comparison_opens_as_it_was_and_ends(panel: Any, compare: Any, tmp_path: Path) -> None:
    before = layout()
    explained(panel, "Grad-CAM", "Gradient")
    panel.host.click(compare.ui.compareButton)
    shown = np.asarray(panel.host.captureView("XAIExplain2"), dtype=int)
    panel.host.saveScene(tmp_path / "scene.mrb")
    panel.host.closeScene()
    assert layout() == before
    panel.host.loadScene(tmp_path / "scene.mrb")
    panel.wait(lambda: compare.ui.backButton.enabled, "the comparison is not known")
    reopened = np.asarray(panel.host.captureView("XAIExplain2"), dtype=int)
    assert reopened.shape == shown.shape
    assert abs(colored(reopened) - colored(shown)) <= 0.02 * colored(shown)
    panel.host.click(compare.ui.backButton)
    assert layout() == before


def test_one_map_of_two(panel: Any, compare: Any) -> None:
    import qt
    import slicer

    first, second = explained(panel, "Grad-CAM", "Gradient")
    for button, method in (("differenceButton", "difference"), ("agreementButton", "agreement")):
        former = panel.node.mapVolume
        panel.host.click(getattr(compare.ui, button))
        panel.wait(lambda former=former: panel.node.mapVolume is not former, "no map of two")
        made = panel.node.mapVolume
        assert made.GetAttribute("XAIExplain.Method") == method
        assert "Grad-CAM" in made.GetName() and "Gradient" in made.GetName()
        assert made.GetAttribute("XAIExplain.Signed") == "true"
        values = [slicer.util.arrayFromVolume(node) for node in (first, second, made)]
        assert values[2] == pytest.approx(values[0] - values[1])  # what the small engine writes for both
        assert panel.foregrounds() == {made.GetID()}
        assert "99.9th percentile" in panel.desk.result.ui.figuresLabel.text
    assert compare.ui.mapList.item(3).checkState() == qt.Qt.Unchecked
    count = len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"))
    panel.host.click(compare.ui.agreementButton)
    panel.wait(lambda: not compare._asking, "no answer")
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == count
    assert not list(Path(panel.logic.folder.path).glob("map-*"))


def test_how_alike_results_are_is_a_table(panel: Any, compare: Any, tmp_path: Path) -> None:
    import slicer

    maps = explained(panel, "Grad-CAM", "Gradient", "Occlusion")
    check(panel, compare, maps[:2])
    panel.host.click(compare.ui.alikeButton)
    panel.wait(lambda: compare.ui.alikeLabel.visible, "no table")
    assert "Grad-CAM / Gradient" in compare.ui.alikeLabel.text
    assert "1,234" in compare.ui.compareMessageLabel.text
    (table,) = slicer.util.getNodesByClass("vtkMRMLTableNode")
    assert table.GetTable().GetNumberOfRows() == 1
    assert table.GetTable().GetValueByName(0, "Spearman").ToDouble() == 0.5
    panel.host.answers.saveFile = str(tmp_path / "alike.csv")
    panel.host.click(compare.ui.saveAlikeButton)
    lines = (tmp_path / "alike.csv").read_text(encoding="utf-8").splitlines()
    assert lines == ["Results,Spearman,Pearson,Top-10 % Dice", "Grad-CAM / Gradient,0.5,,0.25"]
    for mapNode in maps[:2]:
        assert table.GetScene() is not None
        slicer.mrmlScene.RemoveNode(mapNode)
    assert table.GetScene() is None  # it has nothing left that it is about


def test_all_classes_by_one_click(panel: Any, compare: Any) -> None:
    import slicer

    panel.addVolume()
    panel.chooseMethod("Gradient")
    panel.wait(lambda: compare.desk.model.classes, "no classes")
    panel.wait(lambda: compare.ui.classesButton.enabled, "all classes cannot be explained")
    panel.host.click(compare.ui.classesButton)
    panel.wait(lambda: not panel.logic.busy and panel.logic.comparison.active, "the classes do not end", 60)
    maps = panel.logic.comparison.maps()
    assert [node.GetAttribute("XAIExplain.Target") for node in maps] == ["healthy", "enhancing", "dark"]
    labels = [view(number).mrmlSliceNode().GetLayoutLabel() for number in (1, 2, 3)]
    assert labels == ["healthy", "enhancing", "dark"]
    assert "3 classes" in panel.message
    panel.host.click(compare.ui.classesButton)
    panel.wait(lambda: not panel.logic.busy, "the classes do not end", 60)
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 4  # asked again, written over


def test_what_goes_wrong_is_said(panel: Any, compare: Any) -> None:
    explained(panel, "Grad-CAM", "Gradient")
    panel.order("no likeness")
    panel.host.click(compare.ui.alikeButton)
    panel.wait(lambda: "cannot be compared" in compare.ui.compareMessageLabel.text, "no sentence")
    assert compare.ui.alikeButton.enabled
    panel.order("slow")
    panel.host.click(compare.ui.classesButton)
    panel.wait(lambda: "healthy (1 of 3)" in panel.message, "no progress")
    panel.host.click(panel.desk.run.ui.applyButton)
    panel.wait(lambda: not panel.logic.busy, "it does not stop")
    assert "Cancelled" in panel.message
    assert not panel.logic.comparison.active

"""A list of cases that runs unattended: added, run, stopped, failed, tried again, removed, and looked at."""

from __future__ import annotations

import csv
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.panel.driver import colored


@pytest.fixture
def cases(panel: Any) -> Iterator[Any]:
    """The panel with the section open."""
    panel.wait(lambda: panel.desk.model.info is not None, "no model")
    if panel.desk.cases.ui.casesSection.collapsed:
        panel.host.click(panel.desk.cases.ui.casesSection)
    yield panel
    panel.order("")
    panel.logic.queue.stop()
    panel.desk.cases.ui.casesSection.collapsed = True
    panel.host.processEvents()


def ui(panel: Any) -> Any:
    return panel.desk.cases.ui


def click(panel: Any, name: str) -> None:
    button = getattr(ui(panel), name + "Button")
    panel.wait(lambda: button.enabled, f"{name} stays disabled: {button.toolTip}")
    panel.host.click(button)


def lines(panel: Any) -> list[tuple[str, str]]:
    """What the list says."""
    tree = ui(panel).caseTree
    items = [tree.topLevelItem(row) for row in range(tree.topLevelItemCount)]
    return [(item.text(0), item.text(1)) for item in items]


def run(panel: Any, button: str = "runAll") -> list[tuple[str, str]]:
    click(panel, button)
    panel.wait(lambda: not panel.logic.queue.running, f"the list does not end: {lines(panel)}", 60)
    return lines(panel)


def slow(panel: Any) -> None:
    """The list runs, and its first case takes a minute."""
    panel.order("slow")
    click(panel, "runAll")
    panel.wait(lambda: panel.logic.queue.current is not None and panel.logic.queue.current.fraction > 0, "no progress")


def message(panel: Any) -> str:
    return str(ui(panel).casesMessageLabel.text)


def doubleClick(panel: Any, row: int) -> None:
    from PySide6 import QtCore, QtTest

    tree = ui(panel).caseTree
    item = tree.topLevelItem(row)
    tree.scrollToItem(item)
    panel.host.window.modulePanel().scrollArea().ensureWidgetVisible(tree)
    panel.host.processEvents()
    place = tree.visualItemRect(item).center()
    for press in (QtTest.QTest.mouseClick, QtTest.QTest.mouseDClick):
        press(tree.viewport(), QtCore.Qt.LeftButton, QtCore.Qt.NoModifier, place)
    panel.host.processEvents()


def save(panel: Any, path: Path, size: tuple[int, int, int] = (12, 14, 16)) -> str:
    """A volume as a file, which is not in the scene."""
    import slicer

    node = panel.addVolume("written", size=size)
    slicer.util.saveNode(node, str(path))
    slicer.mrmlScene.RemoveNode(node.GetStorageNode())
    slicer.mrmlScene.RemoveNode(node)
    panel.host.processEvents()
    return str(path)


def test_all_volumes_of_the_scene_are_explained_one_after_the_other(cases: Any) -> None:
    import slicer

    cases.chooseTarget("dark")
    volumes = [cases.addVolume(name) for name in ("one", "two", "three")]
    assert not ui(cases).runAllButton.enabled
    assert "Add a case" in ui(cases).runAllButton.toolTip
    click(cases, "addAll")
    assert lines(cases) == [("one", "waiting"), ("two", "waiting"), ("three", "waiting")]
    assert "Grad-CAM, dark" in ui(cases).caseQuestionLabel.text
    layers = cases.foregrounds()
    found = run(cases)
    assert [state.split(",")[0] for _name, state in found] == ["done: enhancing 80 %"] * 3
    assert "3 cases are done" in message(cases)
    assert [request["target"] for request in cases.requests("explain")] == ["dark"] * 3
    for case, volume in zip(cases.logic.queue.cases, volumes, strict=True):
        assert case.mapNode.GetNodeReferenceID("XAIExplain.Volume") == volume.GetID()
        assert case.mapNode.GetName() == f"{volume.GetName()} Grad-CAM dark"
    assert cases.foregrounds() == layers, "the views are the user's while the list runs"
    assert not ui(cases).runAllButton.enabled
    assert "All cases are done" in ui(cases).runAllButton.toolTip
    click(cases, "addAll")
    assert len(lines(cases)) == 3
    assert "already" in message(cases)
    nodes = cases.count()
    ui(cases).caseTree.selectAll()
    run(cases, "runAgain")
    assert cases.count() == nodes, "maps are written over by maps of the same question"
    assert slicer.mrmlScene.GetFirstNodeByName("three Grad-CAM dark") is not None


def test_maps_lie_under_the_patient_and_study_of_their_volume(cases: Any) -> None:
    import slicer

    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    studies = {}
    for name in ("one", "two"):
        volume = cases.addVolume(name)
        patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "patient " + name)
        studies[name] = hierarchy.CreateStudyItem(patient, "study " + name)
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), studies[name])
    click(cases, "addAll")
    run(cases)
    for case in cases.logic.queue.cases:
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(case.mapNode)) == studies[case.name]


def test_failures_are_lines_and_the_others_go_on(cases: Any, tmp_path: Path) -> None:
    import slicer

    cases.addVolume("good")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    (tmp_path / "broken.nrrd").write_text("this is no volume")
    cases.host.answers.openFile = [[str(tmp_path / "broken.nrrd"), str(tmp_path / "away.nrrd")]]
    click(cases, "addAll")
    click(cases, "addFiles")
    later = cases.addVolume("later")
    cases.node.inputVolume = later
    cases.host.processEvents()
    click(cases, "addChosen")
    found = dict(run(cases))
    cases.host.vtkErrors.clear()  # what the reader says about the broken file
    assert found["good"].startswith("done")
    assert found["later"].startswith("done")
    assert found["empty"] == "failed: The volume empty has no voxels. Load an image into it."
    assert "broken.nrrd could not be read" in found["broken"]
    assert "There is no file" in found["away"]
    assert "3 cases have failed" in message(cases)
    tree = ui(cases).caseTree
    assert "no voxels" in tree.topLevelItem(1).toolTip(1)
    assert tree.visualItemRect(tree.topLevelItem(1)).height() > tree.fontMetrics().height() * 1.9, "the whole sentence"
    # mended, and tried again: only what has failed
    slicer.util.updateVolumeFromArray(slicer.util.getNode("empty"), np.ones((4, 5, 6), np.float32))
    save(cases, tmp_path / "away.nrrd")
    before = len(cases.requests("explain"))
    found = dict(run(cases, "retry"))
    cases.host.vtkErrors.clear()
    assert found["empty"].startswith("done")
    assert found["away"].startswith("done")
    assert "could not be read" in found["broken"]
    assert len(cases.requests("explain")) == before + 2
    assert slicer.mrmlScene.GetFirstNodeByName("broken") is None


def test_files_are_loaded_when_it_is_their_turn_and_again_after_deletion(cases: Any, tmp_path: Path) -> None:
    import slicer

    paths = [save(cases, tmp_path / f"case{number}.nii.gz") for number in (1, 2)]
    cases.host.answers.openFile = [paths]
    click(cases, "addFiles")
    assert [name for name, _state in lines(cases)] == ["case1", "case2"]
    assert slicer.mrmlScene.GetFirstNodeByName("case1") is None
    doubleClick(cases, 0)
    assert "loaded when it is its turn" in message(cases)
    run(cases)
    first = cases.logic.queue.cases[0]
    assert first.volumes()[0].GetName() == "case1"
    file = Path(cases.logic.folder.path) / f"{first.volumeIDs[0]}.nrrd"
    assert not file.exists(), "a hundred cases would fill the disk"
    slicer.mrmlScene.RemoveNode(first.volumes()[0])
    cases.host.clickRow(ui(cases).caseTree, "case1")
    assert dict(run(cases, "runAgain"))["case1"].startswith("done")
    assert first.volumes()[0] is not None


def test_files_that_a_reader_would_fill_up_or_halve_are_refused(cases: Any, tmp_path: Path) -> None:
    import SimpleITK

    whole = Path(save(cases, tmp_path / "whole.nii.gz")).read_bytes()
    (tmp_path / "half.nii.gz").write_bytes(whole[: len(whole) // 2])
    frames = SimpleITK.GetImageFromArray(np.zeros((3, 4, 5, 6), np.float32), isVector=False)
    SimpleITK.WriteImage(frames, str(tmp_path / "frames.nii.gz"))
    cases.host.answers.openFile = [[str(tmp_path / f"{name}.nii.gz") for name in ("half", "frames", "whole")]]
    click(cases, "addFiles")
    found = dict(run(cases))
    assert "is cut off" in found["half"]
    assert "holds 3 frames" in found["frames"]
    assert found["whole"].startswith("done")


def test_stop_within_a_second_and_go_on(cases: Any) -> None:
    for name in ("one", "two", "three"):
        cases.addVolume(name)
    click(cases, "addAll")
    nodes = cases.count()
    slow(cases)
    assert lines(cases)[0][1].startswith("running: ")
    assert lines(cases)[1][1] == "waiting"
    cases.wait(lambda: "left" in message(cases), "no estimate")
    assert "Case 1 of 3" in message(cases)
    assert ui(cases).casesProgressBar.visible
    assert cases.desk.run.ui.applyButton.text == "Cancel"
    began = time.monotonic()
    click(cases, "stopCases")
    assert not cases.logic.busy
    assert time.monotonic() - began < 1
    assert [state for _name, state in lines(cases)] == ["waiting"] * 3
    assert "3 cases wait" in message(cases)
    assert cases.desk.run.ui.applyButton.text == "Apply"
    assert cases.count() == nodes
    cases.order("")
    assert [state[:4] for _name, state in run(cases)] == ["done"] * 3


def test_the_cancel_of_the_panel_stops_the_list(cases: Any) -> None:
    cases.addVolume("one")
    cases.addVolume("two")
    click(cases, "addAll")
    slow(cases)
    cases.wait(lambda: "Case 1 of 2" in cases.message, "the panel does not say how far it is")
    cases.host.click(cases.desk.run.ui.applyButton)
    cases.wait(lambda: not cases.logic.busy, "the list goes on", 2)
    cases.order("")
    assert cases.apply() is not None
    assert [state[:4] for _name, state in run(cases)] == ["done"] * 2


def test_the_question_stays_that_of_the_start(cases: Any) -> None:
    cases.addVolume("one")
    cases.addVolume("two")
    click(cases, "addAll")
    slow(cases)
    cases.chooseMethod("Gradient")
    cases.chooseTarget("dark")
    cases.order("")
    cases.wait(lambda: not cases.logic.queue.running, "no end", 60)
    assert {case.mapNode.GetAttribute("XAIExplain.Method") for case in cases.logic.queue.cases} == {"grad_cam"}
    assert all(state.endswith("(Grad-CAM)") for _name, state in lines(cases)), "the panel shows another question now"
    run(cases)
    assert {case.mapNode.GetAttribute("XAIExplain.Target") for case in cases.logic.queue.cases} == {"dark"}
    assert cases.count("vtkMRMLTableNode") == 2


def test_a_killed_engine_fails_one_case_and_is_started_again(cases: Any) -> None:
    cases.addVolume("one")
    cases.addVolume("two")
    click(cases, "addAll")
    slow(cases)
    cases.order("")
    os.kill(cases.logic.engine.ready["pid"], signal.SIGKILL)
    cases.wait(lambda: not cases.logic.queue.running, "no end", 60)
    (_one, first), (_two, second) = lines(cases)
    assert "killed" in first
    assert second.startswith("done")


def test_deleting_volumes_in_the_middle(cases: Any) -> None:
    import slicer

    one, two = cases.addVolume("one"), cases.addVolume("two")
    cases.addVolume("three")
    click(cases, "addAll")
    slow(cases)
    slicer.mrmlScene.RemoveNode(two)
    slicer.mrmlScene.RemoveNode(one)
    cases.order("")
    cases.wait(lambda: not cases.logic.queue.running, "no end", 60)
    assert [state for _name, state in lines(cases)][:2] == ["failed: one was deleted.", "failed: two was deleted."]
    assert lines(cases)[2][1].startswith("done")
    doubleClick(cases, 0)
    assert "was deleted" in message(cases)


def test_closing_the_scene_in_the_middle(cases: Any) -> None:
    cases.addVolume("one")
    click(cases, "addAll")
    slow(cases)
    cases.host.closeScene()
    assert not cases.logic.busy
    assert lines(cases) == []
    assert "closed" in message(cases)
    cases.order("")
    cases.addVolume("another")
    click(cases, "addAll")
    assert dict(run(cases))["another"].startswith("done")


def test_removing_cases_also_the_one_that_runs(cases: Any) -> None:
    for name in ("one", "two", "three"):
        cases.addVolume(name)
    click(cases, "addAll")
    slow(cases)
    tree = ui(cases).caseTree
    tree.topLevelItem(0).setSelected(True)
    tree.topLevelItem(1).setSelected(True)
    cases.order("")
    click(cases, "removeCase")
    cases.wait(lambda: not cases.logic.queue.running, "no end", 60)
    assert [(name, state[:4]) for name, state in lines(cases)] == [("three", "done")]
    assert cases.count("vtkMRMLScalarVolumeNode") == 4


def test_leaving_the_module_in_the_middle(cases: Any) -> None:
    cases.addVolume("one")
    cases.addVolume("two")
    click(cases, "addAll")
    slow(cases)
    cases.host.exitModule()
    cases.order("")
    cases.wait(lambda: not cases.logic.queue.running, "no end", 60)
    cases.host.enterModule()
    assert [state[:4] for _name, state in lines(cases)] == ["done"] * 2


def test_reload_in_the_middle(cases: Any) -> None:
    from Testing.panel.driver import running

    cases.addVolume("one")
    cases.addVolume("two")
    click(cases, "addAll")
    slow(cases)
    process, old = cases.logic.engine.ready["pid"], cases.logic.queue
    cases.host.reloadModule()
    cases.wait(lambda: not running(process), "the old engine lives on")
    assert not old.running
    assert lines(cases) == []
    cases.order("")
    cases.wait(lambda: cases.desk.model.info is not None, "no model")
    cases.host.click(ui(cases).casesSection)
    click(cases, "addAll")
    assert [state[:4] for _name, state in run(cases)] == ["done"] * 2


def test_double_click_shows_the_map_over_its_volume(cases: Any) -> None:
    import slicer

    cases.addVolume("one")
    second = cases.addVolume("two")
    click(cases, "addAll")
    run(cases)
    doubleClick(cases, 1)
    case = cases.logic.queue.cases[1]
    assert cases.foregrounds() == {case.mapNode.GetID()}
    assert cases.node.inputVolume.GetID() == second.GetID()
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert {node.GetBackgroundVolumeID() for node in composites} == {second.GetID()}
    assert colored(cases.red()) > 50
    assert "enhancing" in cases.desk.modelPanel.ui.answerLabel.text
    slicer.mrmlScene.RemoveNode(case.mapNode)
    cases.host.processEvents()
    doubleClick(cases, 1)
    assert "map of two was deleted" in message(cases)
    assert cases.foregrounds() == {None}


def test_table_and_file_of_the_results(cases: Any, tmp_path: Path) -> None:
    import slicer

    cases.addVolume("good")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    click(cases, "addAll")
    run(cases)
    assert cases.count("vtkMRMLTableNode") == 1
    cases.host.answers.saveFile = str(tmp_path / "results.csv")
    click(cases, "saveCases")
    assert "results.csv" in message(cases)
    with (tmp_path / "results.csv").open(encoding="utf-8") as file:
        good, empty = list(csv.DictReader(file))
    assert good["Case"] == "good"
    assert good["Answer"] == "enhancing"
    assert float(good["Probability"]) == 0.8
    assert float(good["Score"]) == 2.0
    assert float(good["Peak"]) == 1.0
    assert float(good["Seconds"]) > 0
    assert good["Problem"] == ""
    assert good["Method"] == "Grad-CAM"
    assert empty["Answer"] == empty["Probability"] == empty["Score"] == ""
    assert "no voxels" in empty["Problem"]


def test_channels_of_a_study_are_a_case(cases: Any, tmp_path: Path) -> None:
    import slicer

    cases.host.setCombo(cases.desk.modelPanel.ui.modelComboBox, "Two channels")
    cases.wait(lambda: cases.desk.model.channels == 2, "no model")
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    nodes = [cases.addVolume(name) for name in ("T1", "T2", "lonely")]
    for node in nodes[:2]:
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), study)
    click(cases, "addAll")
    assert lines(cases) == [("T1 + T2", "waiting")]
    assert "lonely: a case of this network has 2 volumes" in message(cases)
    cases.host.answers.openFile = [[save(cases, tmp_path / name) for name in (
        "b_0001.nrrd", "a_0001.nrrd", "a_0000.nrrd", "b_0000.nrrd")]]
    click(cases, "addFiles")
    run(cases)
    assert [name for name, _state in lines(cases)] == ["T1 + T2", "a_0000 + a_0001", "b_0000 + b_0001"]
    asked = [[Path(path).stem for path in request["volumes"]] for request in cases.requests("explain")]
    assert asked[0] == [node.GetID() for node in nodes[:2]]
    assert [len(volumes) for volumes in asked] == [2, 2, 2]
    cases.host.answers.openFile = [[str(tmp_path / "a_0000.nrrd")]]
    click(cases, "addFiles")
    assert "1 begin with a" in message(cases)


def test_channels_on_different_grids_are_a_sentence(cases: Any) -> None:
    cases.host.setCombo(cases.desk.modelPanel.ui.modelComboBox, "Two channels")
    cases.wait(lambda: cases.desk.model.channels == 2, "no model")
    cases.node.inputVolume = cases.addVolume("T1")
    shifted = np.diag([3.0, 3.0, 3.0, 1.0])
    shifted[2, 3] = 5
    cases.node.secondVolume = cases.addVolume("T2", shifted)
    cases.host.processEvents()
    assert "T2 does not lie on the grid of T1: origin" in cases.message
    assert "reference volume is T1" in cases.message
    assert not cases.desk.run.ui.applyButton.enabled
    click(cases, "addChosen")
    assert "does not lie on the grid" in dict(run(cases))["T1 + T2"]
    cases.node.secondVolume = cases.addVolume("T2 small", size=(4, 5, 6))
    cases.host.processEvents()
    assert "6x5x4 against 16x14x12 voxels" in cases.message


def test_from_python_without_the_window(cases: Any) -> None:
    import slicer

    from XAIExplainLib.errors import XAIError

    one = cases.addVolume("one")
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    good, bad, gone = cases.logic.runCases([one, empty, "/no/such.nrrd"], method="gradient", target="dark")
    assert (good.state, bad.state, gone.state) == ("done", "failed", "failed")
    assert good.mapNode.GetAttribute("XAIExplain.Target") == "dark"
    assert good.answer == "enhancing"
    assert "no voxels" in bad.problem
    assert cases.logic.queue.table.GetNumberOfColumns() == 13
    targets = cases.logic.targets
    (again,) = cases.logic.runCases(
        [one], target=lambda volume: targets.probability("dark"), targetText="how probable dark is")
    assert cases.requests("explain")[-1]["target"] == {"probability": "dark"}
    assert again is good
    with pytest.raises(XAIError, match="no case"):
        cases.logic.runCases([one, 7])
    assert not cases.logic.queue.running


def test_many_cases_leave_the_window_alive(cases: Any) -> None:
    from PySide6 import QtCore

    for number in range(25):
        cases.addVolume(f"case {number}", size=(4, 5, 6))
    click(cases, "addAll")
    ticks: list[float] = []
    timer = QtCore.QTimer()
    timer.timeout.connect(lambda: ticks.append(time.monotonic()))
    timer.start(5)
    found = run(cases)
    timer.stop()
    assert [state[:4] for _name, state in found] == ["done"] * 25
    gaps = np.diff(ticks)
    print(f"longest gap {1000 * gaps.max():.0f} ms, median {1000 * np.median(gaps):.0f} ms")
    assert np.median(gaps) < 0.05

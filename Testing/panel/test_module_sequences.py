"""Volumes that change with time: explained frame by frame, by maps that play along."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.panel.test_module_cases import cases, click, lines, message, run, ui  # noqa: F401 - a fixture

FRAMES = 4


def addSequence(panel: Any, name: str = "heart", size: tuple[int, int, int] = (8, 9, 10)) -> Any:
    """A bright spot that moves along i; the volume in which it plays."""
    import slicer

    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", name + " frames")
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("s")
    k, j, i = np.mgrid[: size[0], : size[1], : size[2]]
    for frame in range(FRAMES):
        node = slicer.vtkMRMLScalarVolumeNode()
        node.SetName(name)
        spot = 100 + 900 * (frame + 1) * np.exp(-((k - 3) ** 2 + (j - 4) ** 2 + (i - 2 - 2 * frame) ** 2) / 4.0)
        slicer.util.updateVolumeFromArray(node, spot.astype(np.float32))
        node.SetSpacing(2, 3, 4)
        node.SetOrigin(-7, 5, 11)
        sequence.SetDataNodeAtValue(node, f"{0.1 * frame:g}")
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", name + " browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    volume = browser.GetProxyNode(sequence)
    volume.SetName(name)
    panel.host.processEvents()
    return volume


def browserOf(volume: Any) -> Any:
    import slicer

    return slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(volume)


def play(panel: Any, volume: Any, frame: int) -> None:
    browserOf(volume).SetSelectedItemNumber(frame)
    panel.host.processEvents()


def peak(node: Any) -> tuple[int, ...]:
    import slicer

    array = slicer.util.arrayFromVolume(node)
    return tuple(int(n) for n in np.unravel_index(array.argmax(), array.shape))


def test_a_sequence_is_explained_frame_by_frame_and_its_maps_play_along(cases: Any) -> None:  # noqa: F811
    import slicer

    volume = addSequence(cases)
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    volume.SetAndObserveTransformNodeID(transform.GetID())
    cases.node.inputVolume = volume
    play(cases, volume, 2)
    nodes = cases.count()
    click(cases, "addSequence")
    found = run(cases)
    assert found[0][0] == "heart"
    assert found[0][1].startswith("done: 4 frames, enhancing in 4")
    (case,) = cases.logic.queue.cases
    mapNode = case.mapNode
    assert browserOf(volume).GetSelectedItemNumber() == 2, "the user's frame stays"
    # map, its display and storage, its frames, the table: nothing else is left
    assert cases.count() <= nodes + 5
    assert cases.count("vtkMRMLScalarVolumeNode") == 2
    assert browserOf(mapNode).GetID() == browserOf(volume).GetID()
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(mapNode)) == study
    matrix = [slicer.util.vtkMatrixFromArray(np.eye(4)) for _ in range(2)]
    for frame in (0, 3, 1, 2):
        play(cases, volume, frame)
        assert peak(mapNode) == peak(volume) == (3, 4, 2 + 2 * frame)
        assert mapNode.GetName() == "heart Grad-CAM enhancing"
        assert mapNode.GetAttribute("XAIExplain.Volume") == f"heart, time {0.1 * frame:g} s"
        assert mapNode.GetTransformNodeID() == transform.GetID()
        for node, one in zip((volume, mapNode), matrix, strict=True):
            node.GetIJKToRASMatrix(one)
        np.testing.assert_allclose(*map(slicer.util.arrayFromVTKMatrix, matrix))
    assert [outcome.name for outcome in case.outcomes][1] == "heart, time 0.1 s"
    assert cases.logic.queue.table.GetNumberOfRows() == FRAMES


def test_the_picture_and_the_figures_are_those_of_the_frame(cases: Any) -> None:  # noqa: F811
    volume = addSequence(cases)
    cases.node.inputVolume = volume
    cases.host.processEvents()
    click(cases, "addSequence")
    run(cases)
    (case,) = cases.logic.queue.cases
    cases.host.clickRow(ui(cases).caseTree, "heart")
    click(cases, "showCase")
    assert cases.foregrounds() == {case.mapNode.GetID()}
    display = case.mapNode.GetDisplayNode()
    figures = cases.desk.result.ui.figuresLabel
    windows, pictures = set(), []
    for frame in range(FRAMES):
        play(cases, volume, frame)
        words = f"time {0.1 * frame:g} s"
        cases.wait(lambda words=words: words in figures.text, "the figures are of another frame")
        windows.add((display.GetWindowLevelMin(), display.GetWindowLevelMax()))
        pictures.append(cases.red())
    assert len(windows) == 1, "one color is one value in all frames"
    assert not np.array_equal(pictures[0], pictures[3])


def test_apply_on_a_playing_volume_makes_a_map_of_its_own(cases: Any) -> None:  # noqa: F811
    volume = addSequence(cases)
    cases.node.inputVolume = volume
    cases.host.processEvents()
    click(cases, "addSequence")
    run(cases)
    (case,) = cases.logic.queue.cases
    assert cases.desk.case.ui.sequenceLabel.visible
    single = cases.apply()
    assert single.GetID() != case.mapNode.GetID()
    play(cases, volume, 1)
    assert peak(case.mapNode) == (3, 4, 4)


def test_again_replaces_the_maps_and_another_method_adds_some(cases: Any) -> None:  # noqa: F811
    volume = addSequence(cases)
    cases.node.inputVolume = volume
    cases.host.processEvents()
    click(cases, "addSequence")
    run(cases)
    nodes = cases.count()
    (case,) = cases.logic.queue.cases
    first = case.mapNode.GetID()
    cases.host.clickRow(ui(cases).caseTree, "heart")
    run(cases, "runAgain")
    assert cases.count() == nodes
    assert case.mapNode.GetID() == first
    cases.chooseMethod("Gradient")
    run(cases)
    assert case.mapNode.GetName() == "heart Gradient enhancing"
    assert cases.count("vtkMRMLSequenceNode") == 3
    play(cases, volume, 1)
    assert case.mapNode.GetAttribute("XAIExplain.Method") == "gradient"


def test_a_frame_that_fails_has_an_empty_map_that_says_why(cases: Any) -> None:  # noqa: F811
    import slicer

    volume = addSequence(cases)
    sequence = browserOf(volume).GetMasterSequenceNode()
    sequence.GetNthDataNode(1).SetAndObserveImageData(None)
    cases.node.inputVolume = volume
    cases.host.processEvents()
    click(cases, "addSequence")
    ((_name, state),) = run(cases)
    assert "done: 4 frames, enhancing in 3" in state
    assert "1 of 4 frames have no map. heart, time 0.1 s:" in state
    (case,) = cases.logic.queue.cases
    play(cases, volume, 1)
    assert not slicer.util.arrayFromVolume(case.mapNode).any()
    assert "no map" in case.mapNode.GetAttribute("XAIExplain.Record")
    play(cases, volume, 2)
    assert slicer.util.arrayFromVolume(case.mapNode).any()


def test_stop_goes_on_at_the_frame_where_it_was(cases: Any) -> None:  # noqa: F811
    volume = addSequence(cases)
    cases.node.inputVolume = volume
    cases.host.processEvents()
    click(cases, "addSequence")
    nodes = cases.count()
    click(cases, "runAll")
    cases.wait(lambda: len(cases.logic.queue.cases[0].outcomes) == 1, "no frame")
    cases.order("slow")
    cases.wait(lambda: "frame 2" in lines(cases)[0][1] or "frame 3" in lines(cases)[0][1], "no second frame")
    click(cases, "stopCases")
    done = len(cases.logic.queue.cases[0].outcomes)
    assert lines(cases)[0][1] == f"waiting: {done} of 4 frames are done"
    assert cases.count() == nodes, "no frame is left in the scene"
    cases.order("")
    (cases.folder / "requests").unlink()
    run(cases)
    assert len(cases.requests("explain")) == FRAMES - done
    for frame in range(FRAMES):
        play(cases, volume, frame)
        assert peak(cases.logic.queue.cases[0].mapNode) == (3, 4, 2 + 2 * frame)


@pytest.mark.parametrize("what", ["sequence", "volume", "scene", "engine", "browser"])
def test_what_can_go_away_in_the_middle(cases: Any, what: str) -> None:  # noqa: F811
    import slicer

    volume = addSequence(cases)
    cases.node.inputVolume = volume
    cases.host.processEvents()
    click(cases, "addSequence")
    cases.order("slow")
    click(cases, "runAll")
    cases.wait(lambda: cases.logic.queue.current is not None and cases.logic.queue.current.fraction > 0, "no progress")
    browser = browserOf(volume)
    if what == "scene":
        cases.host.closeScene()
    elif what == "engine":
        cases.wait(lambda: cases.logic.engine.ready, "no engine")
        cases.order("")
        os.kill(cases.logic.engine.ready["pid"], signal.SIGKILL)
    else:
        slicer.mrmlScene.RemoveNode(
            {"sequence": browser.GetMasterSequenceNode(), "volume": volume, "browser": browser}[what])
    cases.order("")
    cases.wait(lambda: not cases.logic.queue.running, "no end", 60)
    if what == "scene":
        assert lines(cases) == []
    elif what == "engine":
        assert "1 of 4 frames have no map. heart, time 0 s: The engine's process was killed" in lines(cases)[0][1]
    elif what == "browser":
        assert "Nothing plays heart any more" in lines(cases)[0][1]
    else:
        assert "was deleted" in lines(cases)[0][1]
    assert not [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if node.GetHideFromEditors()]


def test_deleting_the_map_takes_its_frames_along(cases: Any) -> None:  # noqa: F811
    import slicer

    volume = addSequence(cases)
    cases.node.inputVolume = volume
    cases.host.processEvents()
    nodes = cases.count()
    (case,) = cases.logic.runCases([volume and browserOf(volume)])
    slicer.mrmlScene.RemoveNode(case.mapNode)
    cases.host.processEvents()
    play(cases, volume, 2)
    assert cases.count() == nodes + 1, "the table of the list stays"


@pytest.mark.parametrize("what", ["frames", "browser", "sequence", "volume"])
def test_deleting_what_a_shown_map_plays_with(cases: Any, what: str) -> None:  # noqa: F811
    import slicer

    volume = addSequence(cases)
    cases.node.inputVolume = volume
    (case,) = cases.logic.runCases([browserOf(volume)])
    cases.desk.displayPanel.show(case.mapNode)
    cases.host.processEvents()
    browser = browserOf(volume)
    frames = case.mapNode.GetNodeReference("XAIExplain.Frames")
    slicer.mrmlScene.RemoveNode(
        {"frames": frames, "browser": browser, "sequence": browser.GetMasterSequenceNode(), "volume": volume}[what])
    cases.host.processEvents()
    cases.desk.refresh()
    cases.addVolume("another")
    assert cases.logic.runCases(["/no/file.nrrd"])[0].state == "failed"


def test_a_saved_scene_plays_again(cases: Any, tmp_path: Path) -> None:  # noqa: F811
    import slicer

    volume = addSequence(cases)
    (case,) = cases.logic.runCases([browserOf(volume).GetMasterSequenceNode()])
    cases.desk.displayPanel.show(case.mapNode)
    cases.host.saveScene(tmp_path / "heart.mrb")
    cases.host.loadScene(tmp_path / "heart.mrb")
    mapNode = slicer.mrmlScene.GetFirstNodeByName("heart Grad-CAM enhancing")
    volume = slicer.mrmlScene.GetFirstNodeByName("heart")
    assert cases.foregrounds() == {mapNode.GetID()}
    for frame in range(FRAMES):
        play(cases, volume, frame)
        assert peak(mapNode) == peak(volume) == (3, 4, 2 + 2 * frame)
        assert mapNode.GetAttribute("XAIExplain.Volume") == f"heart, time {0.1 * frame:g} s"


def test_channels_that_play_together(cases: Any) -> None:  # noqa: F811
    import slicer

    first = addSequence(cases, "one")
    second = addSequence(cases, "two")
    (case,) = cases.logic.runCases([[browserOf(node).GetMasterSequenceNode() for node in (first, second)]])
    assert case.state == "done"
    assert [len(request["volumes"]) for request in cases.requests("explain")] == [2] * FRAMES
    still = cases.addVolume("still", np.diag([2.0, 3.0, 4.0, 1.0]), size=(8, 9, 10))
    (case,) = cases.logic.runCases([[browserOf(first).GetMasterSequenceNode(), still]])
    assert "still does not lie on the grid of one, time 0 s" in case.problem
    assert slicer.mrmlScene.IsNodePresent(still)


def test_volumes_that_play_are_no_single_cases(cases: Any) -> None:  # noqa: F811
    addSequence(cases)
    cases.addVolume("still")
    click(cases, "addAll")
    assert [name for name, _state in lines(cases)] == ["still"]
    assert "heart: a sequence plays there" in message(cases)


def test_a_slicer_without_sequences_says_so(cases: Any, monkeypatch: Any) -> None:  # noqa: F811
    import slicer

    from XAIExplainLib.errors import XAIError

    volume = addSequence(cases)
    sequence = browserOf(volume).GetMasterSequenceNode()
    monkeypatch.delattr(slicer.modules, "sequences")
    with pytest.raises(XAIError, match="no module Sequences"):
        cases.logic.runCases([sequence])
    cases.node.inputVolume = volume
    cases.host.processEvents()
    click(cases, "addSequence")
    assert "No sequence plays in the chosen volume" in message(cases)

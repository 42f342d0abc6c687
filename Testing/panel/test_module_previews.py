"""Maps that are on their way: the overlay grows in one node, and a run that is not finished leaves no trace."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def started(panel: Any, stage: int = 1) -> None:
    """A run whose preview of this stage is shown."""
    panel.order("previews")
    panel.press()
    panel.wait(lambda: "Preview 1 of 3" in panel.message, "no preview")
    if stage == 2:
        panel.order("past 1")
        panel.wait(lambda: "Preview 2 of 3" in panel.message, "no second preview")


def array(node: Any) -> np.ndarray:
    import slicer

    return np.array(slicer.util.arrayFromVolume(node))


def maps() -> list[Any]:
    from XAIExplainPanels import record

    return list(record.maps())


def files(panel: Any) -> list[str]:
    return sorted(path.name for path in Path(panel.logic.folder.path).glob("map-*"))


def test_the_overlay_grows_in_one_node(panel: Any) -> None:
    import slicer

    panel.addVolume()
    panel.chooseMethod("Occlusion")
    started(panel)
    node, nodes = panel.node.mapVolume, panel.count()
    assert array(node).max() == 1
    assert panel.foregrounds() == {node.GetID()}
    assert node.GetAttribute("XAIExplain.Title") == "Occlusion, preview 1 of 3"
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(node)
    assert "preview 1 of 3" in legend.GetTitleText()
    assert "8 of 64 windows" in panel.message
    started_name = node.GetName()
    panel.order("past 1")
    panel.wait(lambda: "Preview 2 of 3" in panel.message, "no second preview")
    assert (panel.node.mapVolume.GetID(), panel.count()) == (node.GetID(), nodes)
    assert array(node).max() == 2
    assert "preview 2 of 3" in legend.GetTitleText()
    panel.order("")
    panel.wait(lambda: not panel.logic.busy, "no end")
    assert panel.node.mapVolume.GetID() == node.GetID()
    assert (panel.count(), node.GetName(), maps()) == (nodes, started_name, [node])
    assert legend.GetTitleText() == "Occlusion\nscore"
    assert array(node).max() > 2
    assert "Done" in panel.message
    assert files(panel) == []


def test_a_map_is_drawn_once_and_its_voxels_are_ranked_once(panel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from XAIExplainPanels import display

    drawn: list[str] = []
    show, look = display.MapDisplay.show, display.Strength._look
    monkeypatch.setattr(display.MapDisplay, "show", lambda *args: drawn.append("draw") or show(*args))
    monkeypatch.setattr(display.Strength, "_look", lambda *args: drawn.append("rank") or look(*args))
    panel.addVolume()
    panel.chooseMethod("Occlusion")
    started(panel)  # the map's node is new
    assert sorted(drawn) == ["draw", "rank"]
    panel.order("past 1")
    panel.wait(lambda: "Preview 2 of 3" in panel.message, "no second preview")
    assert sorted(drawn) == ["draw", "draw", "rank", "rank"]
    panel.order("")
    panel.wait(lambda: not panel.logic.busy, "no end")
    assert sorted(drawn) == ["draw"] * 3 + ["rank"] * 3
    shown = panel.node.mapVolume.GetDisplayNode()
    assert not shown.GetAutoWindowLevel() and not shown.GetAutoThreshold()
    assert shown.GetWindowLevelMax() == pytest.approx(panel.logic.display.strength(panel.node.mapVolume).at(99.9))


def test_of_a_preview_as_much_is_drawn_as_of_the_result(panel: Any) -> None:
    """All that an eighth of the windows found is within the strongest tenth of the whole, so nearly all is drawn."""
    import slicer
    from XAIExplainPanels import record

    panel.addVolume()
    panel.chooseMethod("Occlusion")
    started(panel)
    node, display = panel.node.mapVolume, panel.logic.display
    values = np.zeros((12, 14, 16), np.float32)
    values[:, :, 0] = np.linspace(1, 101, 168).reshape(12, 14)
    slicer.util.updateVolumeFromArray(node, values)
    assert record.shareDone(node) == 0.125
    assert display.threshold(node, panel.node) == pytest.approx(1 + 20, rel=1e-4)  # 10 / 0.125 percent are drawn
    panel.desk.displayPanel.ui.hiddenSlider.value = 50.0
    assert display.threshold(node, panel.node) == 1
    panel.desk.displayPanel.ui.hiddenSlider.value = 90.0
    panel.order("")
    panel.wait(lambda: not panel.logic.busy, "no end")
    assert record.shareDone(node) == 1
    size = np.abs(array(node))
    assert display.threshold(node, panel.node) == pytest.approx(np.percentile(size[size > 0], 90))


@pytest.mark.parametrize("stage", [1, 2])
def test_cancel_leaves_nothing_behind(panel: Any, stage: int) -> None:
    volume = panel.addVolume()
    panel.chooseMethod("Occlusion")
    nodes, before = panel.count(), panel.foregrounds()
    started(panel, stage)
    panel.host.click(panel.desk.run.ui.applyButton)
    panel.wait(lambda: not panel.logic.busy, "no end")
    assert (maps(), panel.count(), panel.foregrounds()) == ([], nodes, before)
    assert panel.node.mapVolume is None
    assert "Cancelled" in panel.message
    assert files(panel) == []
    assert volume.GetImageData() is not None
    panel.order("")
    assert panel.apply() is not None


@pytest.mark.parametrize("how", ["cancel", "death"])
def test_the_former_result_comes_back(panel: Any, how: str) -> None:
    panel.addVolume()
    panel.chooseMethod("Occlusion")
    node = panel.apply()
    values, nodes, record = array(node), panel.count(), node.GetAttribute("XAIExplain.Record")
    started(panel, 2)
    assert panel.node.mapVolume.GetID() == node.GetID()
    assert array(node).max() == 2
    if how == "cancel":
        panel.host.click(panel.desk.run.ui.applyButton)
    else:
        os.kill(panel.logic.engine.ready["pid"], signal.SIGKILL)
    panel.wait(lambda: not panel.logic.busy, "no end")
    panel.order("")
    assert np.array_equal(array(node), values)
    assert (maps(), panel.count(), node.GetAttribute("XAIExplain.Record")) == ([node], nodes, record)
    assert node.GetAttribute("XAIExplain.Title") == "Occlusion"
    assert panel.foregrounds() == {node.GetID()}
    assert files(panel) == []


def test_the_map_of_another_question_is_shown_again(panel: Any) -> None:
    panel.addVolume()
    other = panel.apply()
    panel.chooseMethod("Occlusion")
    started(panel)
    assert panel.node.mapVolume.GetID() != other.GetID()
    panel.host.click(panel.desk.run.ui.applyButton)
    panel.wait(lambda: not panel.logic.busy, "no end")
    assert panel.node.mapVolume.GetID() == other.GetID()
    assert panel.foregrounds() == {other.GetID()}


def test_slices_stay_where_the_user_moved_them(panel: Any) -> None:
    import slicer

    panel.addVolume()
    panel.chooseMethod("Occlusion")
    started(panel)
    logic = slicer.app.layoutManager().sliceWidget("Red").sliceLogic()
    logic.SetSliceOffset(6.0)
    panel.order("past 1")
    panel.wait(lambda: "Preview 2 of 3" in panel.message, "no second preview")
    panel.order("")
    panel.wait(lambda: not panel.logic.busy, "no end")
    assert logic.GetSliceOffset() == 6.0


def test_a_preview_that_the_user_deletes_stays_away_until_the_result(panel: Any) -> None:
    import slicer

    panel.addVolume()
    panel.chooseMethod("Occlusion")
    started(panel)
    slicer.mrmlScene.RemoveNode(panel.node.mapVolume)
    panel.order("past 1")
    polls: list[int] = []
    panel.wait(lambda: polls.append(1) or len(polls) > 30, "no time passes")
    assert maps() == []
    panel.order("")
    panel.wait(lambda: not panel.logic.busy, "no end")
    assert len(maps()) == 1


@pytest.mark.parametrize("what", ["volume", "scene"])
def test_what_it_is_about_goes_in_the_middle(panel: Any, what: str) -> None:
    import slicer

    volume = panel.addVolume()
    panel.chooseMethod("Occlusion")
    started(panel)
    if what == "volume":
        slicer.mrmlScene.RemoveNode(volume)
    else:
        panel.host.closeScene()
    panel.wait(lambda: not panel.logic.busy, "no end")
    assert maps() == []
    panel.order("")

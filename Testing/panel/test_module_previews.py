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
    assert "windows 8 voxels apart" in panel.message
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

"""Whatever happens at any moment of a run: no traceback, no hang, a sentence, nothing left, and the next run works."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from Testing.panel.driver import running

MOMENTS = ("starting", "loading", "predicting", "asked", "preview", "arriving", "placed", "done")
DISTURBANCES = ("engine killed", "volume deleted", "scene closed", "model changed", "module reloaded")
FURTHER = ("map deleted", "volume moved", "engine restarted", "panel left")


def reach(panel: Any, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bring the panel to this moment of a run, with a volume in the scene."""
    engine = panel.logic.engine
    if moment == "starting":
        panel.order("slow start")
        panel.desk.restartEngine()
        panel.addVolume()
        panel.wait(lambda: engine.alive, "no engine")
        return
    panel.addVolume()
    if moment == "loading":
        panel.order("slow load_model")
        panel.host.setCombo(panel.desk.modelPanel.ui.modelComboBox, "Two channels")
        panel.wait(lambda: panel.desk.model.loading, "no model is loaded")
    elif moment == "predicting":
        panel.order("slow predict")
        panel.desk.predict()
        panel.wait(lambda: panel.requests("predict"), "nothing is asked")
    elif moment == "asked":
        panel.order("slow")
        panel.press()
        panel.wait(lambda: "left" in panel.message, "no progress")
    elif moment == "preview":
        panel.order("previews")
        panel.chooseMethod("Occlusion")
        panel.press()
        panel.wait(lambda: "Preview 1 of 3" in panel.message, "no preview")
    elif moment in ("arriving", "placed"):
        from XAIExplainPanels import stepwise

        monkeypatch.setattr(stepwise, "SLICE", -1)  # one step at each turn
        panel.press()
        run = panel.logic.explainer.run
        while not (run.answered and (moment == "arriving" or run.node is not None)):
            assert not run.done
            panel.host.app.processEvents()
        assert panel.logic.busy
    else:
        panel.apply()


def disturb(panel: Any, what: str) -> None:
    """What the user, the system or another extension does."""
    import slicer

    volume = panel.node.inputVolume
    if what == "engine killed":
        client = panel.logic.engine.client
        if client._child is not None:
            os.kill(client._child.process.pid, signal.SIGKILL)
    elif what == "volume deleted":
        slicer.mrmlScene.RemoveNode(volume)
    elif what == "scene closed":
        panel.host.closeScene()
    elif what == "model changed":
        panel.node.model = "brain-lesion" if panel.node.model != "brain-lesion" else "two-channels"
    elif what == "module reloaded":
        panel.host.reloadModule()
    elif what == "map deleted":
        for node in maps():
            slicer.mrmlScene.RemoveNode(node)
    elif what == "volume moved":
        volume.SetOrigin(1.0, 2.0, 3.0)
    elif what == "engine restarted":
        panel.desk.restartEngine()
    elif what == "panel left":
        panel.host.exitModule()
    panel.host.processEvents()


def maps() -> list[Any]:
    from XAIExplainPanels import record

    return list(record.maps())


def leftFiles(panel: Any) -> list[str]:
    return sorted(path.name for path in Path(panel.logic.folder.path).iterdir() if path.name.startswith("map-"))


@pytest.mark.parametrize("what", [*DISTURBANCES, *(pytest.param(one, marks=pytest.mark.full) for one in FURTHER)])
@pytest.mark.parametrize("moment", MOMENTS)
def test_disturbed(panel: Any, moment: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    from Testing.panel.leaks import left

    empty = panel.count()
    reach(panel, moment, monkeypatch)
    wasBusy = panel.logic.busy
    process = panel.logic.engine.client._child.process.pid
    disturb(panel, what)
    if moment in ("asked", "preview") and what in ("model changed", "map deleted", "volume moved", "panel left"):
        assert panel.logic.busy  # it is no business of the run, or will be when its map comes
    panel.order("")
    panel.wait(lambda: not panel.logic.busy, "the run does not end")
    monkeypatch.undo()
    if what == "panel left":
        panel.host.enterModule()
    panel.wait(lambda: panel.desk.catalog.loaded or panel.desk.engineError(), "the engine does not answer")
    panel.wait(lambda: not panel.desk.model.loading and not panel.desk.model.predicting, "the model does not come")
    if wasBusy and what == "engine killed" and moment in ("asked", "preview"):
        assert "killed" in panel.message
    if wasBusy and what == "volume deleted":
        assert "was deleted while" in panel.desk.setup.ui.logText.toPlainText()
    if wasBusy and what == "volume moved" and moment != "placed":
        assert "Run it again" in panel.message
    if wasBusy and what in ("volume deleted", "scene closed", "module reloaded", "engine restarted"):
        assert maps() == []
    if what in ("engine killed", "engine restarted", "module reloaded") and moment != "done":
        panel.wait(lambda: not running(process), "the old engine lives on")
    panel.wait(lambda: not panel.logic.engine.client.busy, "the engine is not done")
    assert leftFiles(panel) == []

    # The next run works, from the panel as it is; only what is missing is given again.
    if panel.desk.engineError():
        assert "engine" in panel.message.lower()
        panel.desk.restartEngine()
        panel.wait(lambda: panel.desk.catalog.loaded, "the engine does not come back")
    if panel.node.inputVolume is None:
        panel.addVolume("another")
    panel.host.setCombo(panel.desk.modelPanel.ui.modelComboBox, "Brain lesions")
    panel.wait(lambda: panel.desk.model.info is not None or panel.desk.model.error, "no model")
    if panel.desk.model.error:
        assert panel.desk.modelPanel.ui.modelLabel.text  # the sentence, and what to do
        panel.desk.restartEngine()
        panel.wait(lambda: panel.desk.model.info is not None, "no model")
    assert panel.apply() is not None, panel.message
    assert leftFiles(panel) == []

    # Nothing is left of it in the scene.
    panel.node.mapVolume = None
    for node in [*maps(), *slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")]:
        slicer.mrmlScene.RemoveNode(node)
    panel.host.closeScene()
    assert panel.count() == empty, left()

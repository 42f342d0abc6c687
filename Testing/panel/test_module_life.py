"""Cancel, death, deletion, scenes that close and come back, reload: nothing hangs, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.panel.driver import running


def slow(panel: Any) -> None:
    """A run that takes a minute, under way."""
    panel.order("slow")
    panel.press()
    panel.wait(lambda: "left" in panel.message, "no progress")


def test_progress_and_cancel(panel: Any) -> None:
    panel.addVolume()
    nodes = panel.count()
    slow(panel)
    button, bar = panel.desk.run.ui.applyButton, panel.desk.run.ui.progressBar
    assert button.text == "Cancel"
    assert bar.visible
    panel.wait(lambda: bar.maximum == 1000 and bar.value > 0, "the bar does not move")
    began = time.monotonic()
    panel.host.click(button)
    panel.wait(lambda: not panel.logic.busy, "cancel does not end the run")
    assert time.monotonic() - began < 2
    assert "Cancelled" in panel.message
    assert button.text == "Apply"
    assert button.enabled
    assert not bar.visible
    assert panel.count() == nodes
    panel.order("")
    assert panel.apply() is not None


def test_killed_engine_is_a_sentence_and_the_next_run_works(panel: Any) -> None:
    panel.addVolume()
    slow(panel)
    os.kill(panel.logic.engine.ready["pid"], signal.SIGKILL)
    panel.wait(lambda: not panel.logic.busy, "the death is not noticed")
    assert "killed" in panel.message
    panel.order("")
    assert panel.apply() is not None


def test_no_memory_gives_advice(panel: Any) -> None:
    panel.addVolume()
    panel.order("memory")
    panel.press()
    panel.wait(lambda: not panel.logic.busy, "no end")
    assert "Choose a smaller volume." in panel.message


def test_deleting_the_volume_ends_the_run(panel: Any) -> None:
    import slicer

    volume = panel.addVolume()
    slow(panel)
    slicer.mrmlScene.RemoveNode(volume)
    panel.wait(lambda: not panel.logic.busy, "the run goes on")
    assert panel.node.mapVolume is None
    assert "head was deleted" in panel.desk.setup.ui.logText.toPlainText()
    assert not panel.desk.run.ui.applyButton.enabled
    assert "Choose a volume" in panel.message


def test_deleting_the_output_makes_a_new_one(panel: Any) -> None:
    import slicer

    panel.addVolume()
    first = panel.apply()
    run = panel.logic.explain(panel.node.inputVolume, wait=False)
    slicer.mrmlScene.RemoveNode(first)
    panel.wait(lambda: run.done, "no end")
    assert run.error is None
    assert slicer.mrmlScene.IsNodePresent(run.node)
    assert "new volume" in run.notes[0]


def test_changing_the_model_in_the_middle_keeps_the_question(panel: Any) -> None:
    panel.addVolume()
    run = panel.logic.explain(panel.node.inputVolume, wait=False)
    panel.host.setCombo(panel.desk.modelPanel.ui.modelComboBox, "Two channels")
    panel.wait(lambda: run.done, "no end")
    assert run.node.GetAttribute("XAIExplain.Model") == "brain-lesion"


def test_closing_the_scene_in_the_middle(panel: Any) -> None:
    panel.addVolume()
    slow(panel)
    panel.host.closeScene()
    assert not panel.logic.busy
    assert panel.node.inputVolume is None
    assert panel.node.method == "grad_cam"
    panel.order("")
    panel.addVolume("another")
    assert panel.apply().GetName() == "another Grad-CAM enhancing"


def test_switching_modules_in_the_middle(panel: Any) -> None:
    panel.addVolume()
    panel.order("slow")
    panel.press()
    panel.host.exitModule()
    panel.host.processEvents()
    assert panel.logic.busy
    panel.host.enterModule()
    panel.host.click(panel.desk.run.ui.applyButton)
    panel.wait(lambda: not panel.logic.busy, "no end")


def test_a_map_that_came_while_away_is_shown_on_return(panel: Any) -> None:
    panel.addVolume()
    panel.press()
    panel.host.exitModule()
    panel.wait(lambda: not panel.logic.busy, "no end")
    assert panel.foregrounds() == {None}
    panel.host.enterModule()
    assert panel.node.mapVolume is not None
    assert panel.foregrounds() == {panel.node.mapVolume.GetID()}


def test_scene_comes_back_from_a_file(panel: Any, tmp_path: Path) -> None:
    import slicer

    panel.addVolume()
    panel.chooseMethod("Occlusion")
    panel.desk.method.form.editors["window"].spins[0].setValue(5)
    panel.chooseTarget("dark")
    mapNode = panel.apply()
    panel.desk.displayPanel.ui.hiddenSlider.value = 70.0
    panel.desk.displayPanel.ui.opacitySlider.value = 0.4
    panel.host.processEvents()
    values = np.array(slicer.util.arrayFromVolume(mapNode))
    table = mapNode.GetDisplayNode().GetColorNode().GetLookupTable()
    colors = [table.GetTableValue(index) for index in (0, 60, 127, 200, 255)]
    window = mapNode.GetDisplayNode().GetWindowLevelMax()
    name = mapNode.GetName()
    panel.host.saveScene(tmp_path / "saved.mrb")
    panel.host.loadScene(tmp_path / "saved.mrb")

    assert panel.node.method == "occlusion"
    assert panel.node.target == "dark"
    assert panel.desk.method.form.values()["window"] == [5, 8, 8]
    assert panel.desk.displayPanel.ui.hiddenSlider.value == 70.0
    again = panel.node.mapVolume
    assert again.GetName() == name
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(again), values)
    display = again.GetDisplayNode()
    table = display.GetColorNode().GetLookupTable()
    for index, color in zip((0, 60, 127, 200, 255), colors, strict=True):
        np.testing.assert_allclose(table.GetTableValue(index), color, atol=1 / 255)
    assert display.GetWindowLevelMax() == pytest.approx(window, rel=1e-4)
    assert panel.foregrounds() == {again.GetID()}
    assert "Occlusion" in panel.desk.result.ui.figuresLabel.text
    nodes = panel.count()
    assert panel.apply().GetID() == again.GetID()
    assert panel.count() == nodes


def test_reload_gives_a_working_panel_and_ends_the_old_engine(panel: Any) -> None:
    panel.addVolume()
    panel.apply()
    old = panel.widget
    process = panel.logic.engine.ready["pid"]
    folder = panel.logic.folder.path
    panel.host.reloadModule()
    assert panel.widget is not old
    panel.wait(lambda: not running(process), "the old engine lives on")
    assert not Path(folder).exists()
    assert panel.apply() is not None


def test_quitting_in_the_middle_ends_the_engine_and_removes_its_files(panel: Any) -> None:
    panel.addVolume()
    slow(panel)
    process, folder = panel.logic.engine.ready["pid"], panel.logic.folder.path
    panel.widget.cleanup()  # what Slicer calls when it quits
    panel.wait(lambda: not running(process), "the engine lives on")
    assert not Path(folder).exists()
    panel.widget.cleanup()  # and may call again
    panel.order("")
    panel.host.reloadModule()
    assert panel.apply() is not None


def test_no_attributes_on_widgets(panel: Any) -> None:
    panel.addVolume()
    panel.apply()
    assert not panel.host.strayAttributes()


def test_every_control_has_a_tooltip(panel: Any) -> None:
    from PySide6 import QtWidgets

    panel.addVolume()
    panel.chooseMethod("Occlusion")
    panel.apply()
    controls = (QtWidgets.QPushButton, QtWidgets.QComboBox, QtWidgets.QCheckBox, QtWidgets.QAbstractSpinBox,
                QtWidgets.QAbstractSlider)  # fmt: skip
    silent = []
    for part in panel.desk.panels:
        for child in part.widget.findChildren(QtWidgets.QWidget):
            if isinstance(child, controls) and child.objectName and not child.objectName.startswith("qt_"):
                ancestors = [child, child.parent(), child.parent().parent() if child.parent() else None]
                if not any(one is not None and one.toolTip for one in ancestors):
                    silent.append(child.objectName)
    assert not silent


def test_shortcut_applies_and_goes_with_the_module(panel: Any) -> None:
    import qt
    import slicer

    panel.addVolume()
    panel.wait(lambda: panel.desk.run.ui.applyButton.enabled, "Apply stays disabled")
    panel.widget.shortcut.activated.emit()
    panel.wait(lambda: not panel.logic.busy, "no end")
    assert panel.node.mapVolume is not None

    def shortcuts() -> list[str]:
        return [one.key.toString() for one in slicer.util.mainWindow().findChildren(qt.QShortcut)]

    assert shortcuts().count("Ctrl+Shift+E") == 1
    panel.host.reloadModule()
    assert shortcuts().count("Ctrl+Shift+E") == 1

"""What the user gives: examples, models, parameters, and all that can be wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def test_without_a_volume_apply_says_what_is_missing(panel: Any) -> None:
    button = panel.desk.run.ui.applyButton
    assert not button.enabled
    assert "Choose a volume" in button.toolTip
    assert "Choose a volume" in panel.message


def test_first_volume_is_preselected(panel: Any) -> None:
    volume = panel.addVolume()
    assert panel.node.inputVolume.GetID() == volume.GetID()


def test_example_is_loaded_and_predicted(panel: Any) -> None:
    import slicer

    slicer.util.saveNode(panel.addVolume(), str(panel.folder / "case.nrrd"))
    panel.reset()
    panel.desk.restartEngine()
    panel.wait(lambda: panel.desk.catalog.loaded, "no lists")
    panel.wait(lambda: panel.desk.model.info is not None, "no model")
    panel.host.click(panel.desk.case.ui.exampleButton)
    assert panel.node.inputVolume.GetName().startswith("Enhancing ring")
    panel.wait(lambda: panel.desk.model.prediction is not None, "no answer")
    assert "enhancing" in panel.desk.modelPanel.ui.answerLabel.text
    from PySide6 import QtWidgets

    bars = panel.desk.modelPanel.ui.barsWidget.findChildren(QtWidgets.QProgressBar)
    assert [bar.value for bar in bars] == [800, 100, 100]


def test_missing_example_is_a_sentence(panel: Any) -> None:
    (panel.folder / "case.nrrd").unlink(missing_ok=True)
    panel.desk.restartEngine()
    panel.wait(lambda: panel.desk.catalog.loaded, "no lists")
    panel.addVolume()
    panel.wait(lambda: panel.desk.model.info is not None, "no model")
    panel.host.click(panel.desk.case.ui.exampleButton)
    assert "could not be loaded" in panel.message


def test_empty_volume_is_refused(panel: Any) -> None:
    import slicer

    panel.node.inputVolume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    panel.press()
    assert "empty has no voxels" in panel.message


def test_channels_are_asked_for(panel: Any) -> None:
    first, second = panel.addVolume("first"), panel.addVolume("second")
    panel.node.inputVolume = first
    panel.node.secondVolume = None
    assert not panel.desk.case.ui.secondSelector.visible
    panel.host.setCombo(panel.desk.modelPanel.ui.modelComboBox, "Two channels")
    panel.wait(lambda: panel.desk.case.ui.secondSelector.visible, "no second channel")
    assert not panel.desk.case.ui.thirdSelector.visible
    assert "2 volumes" in panel.message
    panel.host.setCombo(panel.desk.case.ui.secondSelector, "second")
    panel.apply()
    volumes = panel.requests("explain")[0]["volumes"]
    assert [Path(path).stem for path in volumes] == [first.GetID(), second.GetID()]


def chooseFile(panel: Any, path: Path) -> None:
    panel.host.setCombo(panel.desk.modelPanel.ui.modelComboBox, "From a file...")
    panel.desk.modelPanel.ui.modelPathEdit.currentPath = str(path)
    panel.host.processEvents()


def test_missing_model_file(panel: Any, tmp_path: Path) -> None:
    panel.addVolume()
    chooseFile(panel, tmp_path / "no.pt")
    panel.wait(lambda: panel.desk.model.error, "no error")
    assert "There is no file" in panel.desk.modelPanel.ui.modelLabel.text
    assert "Choose another" in panel.message
    assert not panel.desk.run.ui.applyButton.enabled


def test_consent_given(panel: Any, tmp_path: Path) -> None:
    panel.addVolume()
    (tmp_path / "net.pt").write_bytes(b"PK")
    chooseFile(panel, tmp_path / "net.pt")
    frame = panel.desk.modelPanel.ui.consentFrame
    panel.wait(lambda: frame.visible, "no question")
    assert "can run code" in panel.desk.modelPanel.ui.consentLabel.text
    assert not panel.desk.run.ui.applyButton.enabled
    panel.host.click(panel.desk.modelPanel.ui.allowButton)
    mapNode = panel.apply()
    assert not frame.visible
    assert mapNode.GetAttribute("XAIExplain.Model") == str(tmp_path / "net.pt")
    assert panel.requests("explain")[0]["consent"] is True


def test_consent_declined(panel: Any, tmp_path: Path) -> None:
    panel.addVolume()
    (tmp_path / "net.pt").write_bytes(b"PK")
    chooseFile(panel, tmp_path / "net.pt")
    frame = panel.desk.modelPanel.ui.consentFrame
    panel.wait(lambda: frame.visible, "no question")
    panel.host.click(panel.desk.modelPanel.ui.declineButton)
    panel.wait(lambda: panel.desk.run.ui.applyButton.enabled, "Apply stays disabled")
    assert panel.node.model == "brain-lesion"
    assert not frame.visible
    assert not any(request["consent"] for request in panel.requests("load_model"))


def test_a_scene_cannot_give_consent(panel: Any, tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(b"PK")
    panel.addVolume()
    chooseFile(panel, tmp_path / "net.pt")
    panel.wait(lambda: panel.desk.modelPanel.ui.consentFrame.visible, "no question")
    panel.host.click(panel.desk.modelPanel.ui.allowButton)
    panel.wait(lambda: panel.desk.model.info is not None, "not loaded")
    panel.host.saveScene(tmp_path / "saved.mrb")
    panel.reset()
    panel.host.loadScene(tmp_path / "saved.mrb")
    panel.wait(lambda: panel.desk.modelPanel.ui.consentFrame.visible, "not asked again")


def test_form_has_an_editor_for_every_kind(panel: Any) -> None:
    panel.addVolume()
    panel.chooseMethod("Occlusion")
    form = panel.desk.method.form
    assert form.values() == {
        "window": 8, "fill": 0.0, "batch": 4, "exact": True, "scale": 0.5, "order": "raster"
    }  # fmt: skip
    assert form.changes() == {}
    assert not form.resetButton.visible
    assert not form.editors["batch"].widget.visible
    panel.host.click(form.advancedButton)
    assert form.editors["batch"].widget.visible
    for index, value in enumerate((4, 6, 8)):
        form.editors["window"].spins[index].setValue(value)
    panel.host.setCombo(form.editors["fill"].combo, "blur")
    form.editors["batch"].widget.setValue(16)
    panel.host.click(form.editors["exact"].widget)
    form.editors["scale"].widget.setValue(0.25)
    panel.host.setCombo(form.editors["order"].widget, "random")
    wanted = {"window": [4, 6, 8], "fill": "blur", "batch": 16, "exact": False, "scale": 0.25, "order": "random"}
    assert form.changes() == wanted
    panel.apply()
    assert panel.requests("explain")[0]["parameters"] == wanted
    panel.chooseMethod("Gradient")
    panel.chooseMethod("Occlusion")
    assert panel.desk.method.form.changes() == wanted
    panel.host.click(panel.desk.method.form.resetButton)
    assert panel.desk.method.form.changes() == {}
    assert panel.node.methodParameters == "{}"


def test_lists_and_other_cases_are_typed(panel: Any) -> None:
    panel.addVolume()
    panel.chooseMethod("SHAP")
    form = panel.desk.method.form
    assert form.values() == {"background": ["blur"], "models": [], "baseline": "mean"}
    assert form.changes() == {}
    assert "Default: blur" in form.editors["background"].widget.toolTip
    assert form.editors["background"].widget.placeholderText == "Names of examples or paths, parted by commas"
    form.editors["background"].widget.text = " healthy , other.nrrd,"
    form.editors["background"].widget.editingFinished.emit()
    baseline = form.editors["baseline"]
    assert not baseline.line.visible
    panel.host.setCombo(baseline.combo, "another case")
    assert baseline.line.visible
    assert "baseline" not in form.changes()  # until it is named
    baseline.line.text = "healthy"
    baseline.line.editingFinished.emit()
    wanted = {"background": ["healthy", "other.nrrd"], "baseline": "healthy"}
    assert form.changes() == wanted
    panel.apply()
    assert panel.requests("explain")[0]["parameters"] == wanted
    panel.chooseMethod("Gradient")
    panel.chooseMethod("SHAP")
    assert panel.desk.method.form.changes() == wanted
    assert panel.desk.method.form.editors["baseline"].line.text == "healthy"
    panel.host.click(panel.desk.method.form.resetButton)
    assert panel.desk.method.form.changes() == {}


def test_bounds_and_tooltips_come_from_the_declaration(panel: Any) -> None:
    panel.addVolume()
    panel.chooseMethod("Occlusion")
    batch = panel.desk.method.form.editors["batch"].widget
    assert (batch.minimum, batch.maximum) == (1, 64)
    assert "From 1 to 64" in batch.toolTip
    assert "Default: 4" in batch.toolTip


def test_layers_are_listed_on_request(panel: Any) -> None:
    panel.addVolume()
    panel.wait(lambda: panel.desk.run.ui.applyButton.enabled, "not ready")
    editor = panel.desk.method.form.editors["layer"]
    assert editor.combo.count == 1
    panel.host.click(editor.button)
    panel.wait(lambda: editor.combo.count == 3, "no layers")
    assert editor.combo.itemText(1) == "conv1 (8 x 10 x 8)"
    panel.host.setCombo(editor.combo, "conv2 (4 x 5 x 4)")
    panel.apply()
    assert panel.requests("explain")[0]["parameters"] == {"layer": "conv2"}


def test_card_stays_closed(panel: Any) -> None:
    section = panel.desk.method.ui.cardSection
    assert not section.collapsed
    panel.host.click(section)
    panel.host.reloadModule()
    section = panel.desk.method.ui.cardSection
    assert section.collapsed
    panel.wait(lambda: panel.desk.catalog.loaded, "no lists")
    panel.host.click(section)


def test_card_says_what_the_method_is(panel: Any) -> None:
    text = panel.desk.method.ui.cardLabel.text
    for word in ("Says what it does.", "post hoc", "model-agnostic", "2 forward passes", "It is coarse.", "Nobody"):
        assert word in text


def test_without_torch_the_panel_says_so_and_opens_the_set_up(panel: Any) -> None:
    panel.order("no torch")
    panel.desk.setup.ui.setupSection.collapsed = True
    panel.desk.restartEngine()
    panel.wait(lambda: panel.desk.engineError(), "no error")
    assert "See Set-up" in panel.message
    assert not panel.desk.setup.ui.setupSection.collapsed
    assert "Install torch." in panel.desk.setup.ui.statusLabel.text
    panel.order("")
    panel.host.click(panel.desk.setup.ui.restartButton)
    panel.wait(lambda: panel.desk.catalog.loaded, "no lists")
    assert "9.9" in panel.desk.setup.ui.statusLabel.text


def test_installing_is_asked_first_and_refused_outside_of_slicer(panel: Any) -> None:
    ui = panel.desk.setup.ui
    ui.setupSection.collapsed = False
    panel.host.click(ui.installButton)
    assert "monai" in ui.installLabel.text
    panel.host.click(ui.installNoButton)
    assert not ui.installFrame.visible
    panel.addVolume()
    panel.wait(lambda: panel.desk.run.ui.applyButton.enabled, "not ready")
    panel.host.click(ui.installButton)
    panel.host.click(ui.installYesButton)
    assert "could not be installed" in panel.message


def test_log_can_be_copied(panel: Any) -> None:
    import slicer

    panel.addVolume()
    panel.apply()
    panel.desk.setup.ui.setupSection.collapsed = False
    panel.host.click(panel.desk.setup.ui.copyLogButton)
    assert "Done in" in slicer.app.clipboard().text()


def test_interpreter_is_remembered(panel: Any) -> None:
    import slicer

    from Testing.panel.driver import running

    slicer.app.settings().remove("XAIExplain/Interpreter")
    old = panel.logic.engine.ready["pid"]
    panel.desk.setup.ui.setupSection.collapsed = False
    panel.desk.setup.ui.interpreterEdit.currentPath = str(panel.fake) + ".missing"
    assert running(old)
    panel.desk.setup.ui.interpreterEdit.currentPath = str(panel.fake)
    panel.wait(lambda: panel.desk.catalog.loaded, "no lists")
    assert slicer.app.settings().value("XAIExplain/Interpreter") == str(panel.fake)
    assert not running(old)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.01234, "0.0123"), (862.4, "862"), (7354.2, "7354"), (1e-5, "1.00e-05")]
)
def test_numbers_are_readable(panel: Any, value: float, text: str) -> None:
    from XAIExplainPanels.figures import figure

    assert figure(value) == text

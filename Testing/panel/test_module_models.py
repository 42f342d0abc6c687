"""The user's own models: looked into, tried, kept, listed again, sent, changed, removed; by clicks and by scripts."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

CASE = "enhancing-ring"
RESIZE = [{"step": "orient", "axes": "RAS"}, {"step": "resize", "size": [32, 32, 32]},
          {"step": "normalize", "kind": "zscore"}]  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small case with its programs, a DenseNet121 as TorchScript, and a bundle."""
    from monai.networks.nets import DenseNet121

    from Testing.bright import make
    from Testing.test_loading import make_bundle

    folder = make(tmp_path_factory.mktemp("files"))
    make_bundle(folder / "spleen")
    torch.manual_seed(0)
    network = DenseNet121(spatial_dims=3, in_channels=1, out_channels=3, init_features=8, growth_rate=4).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(network, torch.rand(1, 1, 64, 64, 64)).save(str(folder / "dense.pt"))
    return folder


@pytest.fixture
def models(loaded: Any, tmp_path: Path) -> Iterator[Path]:
    """An empty folder of models."""
    import slicer

    folder = tmp_path / "models"
    slicer.app.settings().setValue("XAIExplain/ModelsFolder", str(folder))
    yield folder
    slicer.app.settings().remove("XAIExplain/ModelsFolder")
    if loaded.desk.modelPanel.dialog is not None:
        loaded.desk.modelPanel.dialog.close()
    loaded.node.model = "brain-lesion"
    loaded.desk.catalog.clear()  # the next test lists anew
    loaded.desk.startEngine()
    loaded.wait(lambda: loaded.desk.catalog.loaded, "no lists", 60)


@pytest.fixture
def real(loaded: Any, models: Path) -> Iterator[Any]:
    """The panel with the real engine, which stays warm from test to test."""
    if loaded.desk.catalog.cases.get("ring") or not loaded.desk.catalog.loaded:
        loaded.useInterpreter(sys.executable)
        loaded.desk.restartEngine()
    loaded.wait(lambda: loaded.desk.catalog.loaded or loaded.desk.engineError(), "no engine", 120)
    assert loaded.desk.engineError() is None
    loaded.reset()
    loaded.logic.models.setFolder(str(models))
    yield loaded
    loaded.host.assertNoErrors()


@pytest.fixture(scope="module", autouse=True)
def smallEngineAgain(loaded: Any) -> Iterator[None]:
    """Give the tests that follow their own engine back."""
    yield
    loaded.useInterpreter(str(loaded.fake))
    loaded.desk.restartEngine()


def openDialog(panel: Any, path: Path, trust: bool = True) -> Any:
    """The dialog with a file in it, loaded if it is trusted."""
    panel.host.click(panel.desk.modelPanel.ui.addModelButton)
    dialog = panel.desk.modelPanel.dialog
    assert dialog.widget.visible
    dialog.ui.filePathEdit.currentPath = str(path)
    panel.wait(lambda: settled(dialog), "the file is not looked into", 60)
    if trust and dialog.ui.consentFrame.visible:
        assert dialog.found is None
        panel.host.click(dialog.ui.allowButton)
        panel.wait(lambda: dialog.found is not None, "nothing found: " + dialog.ui.fileMessageLabel.text, 90)
    return dialog


def settled(dialog: Any) -> bool:
    waiting = dialog.working or dialog._pause.isActive()
    return not waiting and bool(dialog.found or dialog.ui.consentFrame.visible or dialog.ui.fileMessageLabel.visible)


def press(panel: Any, dialog: Any, button: Any) -> None:
    panel.host.click(button)
    panel.wait(lambda: not dialog.working, "the engine does not answer", 90)


def titles(panel: Any) -> list[str]:
    combo = panel.desk.modelPanel.ui.modelComboBox
    return [combo.itemText(index) for index in range(combo.count)]


def colorsIn(widget: Any) -> int:
    """How many different colors a widget has on the screen."""
    image = widget.grab().toImage()
    return len({image.pixel(x, y) for x in range(0, image.width(), 3) for y in range(0, image.height(), 3)})


def example(panel: Any, dialog: Any) -> None:
    """Choose the bundled case for the trial."""
    combo = dialog.trial.combos[0]
    panel.host.setCombo(combo, "Example: " + panel.desk.catalog.cases[CASE]["title"])


def loadExample(panel: Any) -> Any:
    from XAIExplainPanels.cases import caseTitle

    combo = panel.desk.case.ui.exampleComboBox
    panel.host.setCombo(combo, caseTitle(panel.desk.catalog.cases[CASE]))
    panel.host.click(panel.desk.case.ui.exampleButton)
    return panel.node.inputVolume


def sameMap(mapNode: Any, model: Any, volume: Path | str, method: str) -> None:
    import slicer

    from XAIExplainLib import explain, load_volume
    from XAIExplainLib.cases import load_case

    case = load_case(CASE).volume if volume == CASE else load_volume(volume)
    wanted = explain(model, case, method).array
    largest = float(np.abs(wanted).max())
    assert largest > 0
    np.testing.assert_allclose(slicer.util.arrayFromVolume(mapNode), wanted, atol=1e-3 * largest)


def test_a_densenet_in_torchscript_by_clicks(real: Any, files: Path, models: Path) -> None:
    """The whole way: looked into, named, prepared step by step, tried on an example, kept, asked, explained."""
    from XAIExplainLib import load_model

    dialog = openDialog(real, files / "dense.pt", trust=False)
    assert "TorchScript program: loading it can run code" in dialog.ui.consentLabel.text
    assert "finds nothing that does more than calculate" in dialog.ui.consentLabel.text
    assert not dialog.ui.keepButton.enabled
    assert not dialog.ui.aboutGroup.enabled
    press(real, dialog, dialog.ui.allowButton)
    found = dialog.ui.foundLabel.text
    for words in ("TorchScript program", "1 channel", "any size", "<b>3</b>", "Classification"):
        assert words in found, words
    assert dialog.ui.nameEdit.text == "dense"
    real.host.type(dialog.ui.nameEdit, "Dense net")
    real.host.type(dialog.ui.classesEdit, "healthy, ring")
    assert "Outputs of the network: 3; class names given: 2." in dialog.ui.aboutMessageLabel.text
    assert not dialog.ui.keepButton.enabled
    real.host.type(dialog.ui.classesEdit, "healthy, ring, dark")
    assert not dialog.ui.aboutMessageLabel.visible
    for title in ("Orient the axes", "Resize to voxels", "Normalize the intensity"):
        real.host.setCombo(dialog.ui.stepComboBox, title)
        real.host.click(dialog.ui.addStepButton)
    dialog.ui.stepsList.setCurrentRow(1)
    for spin in dialog.steps.editors["size"].spins:
        spin.setValue(32)
    assert dialog.steps.steps() == RESIZE
    example(real, dialog)
    press(real, dialog, dialog.ui.tryButton)
    said = dialog.ui.tryMessageLabel.text
    assert "The network answers" in said
    assert "32 x 32 x 32 voxels" in said
    assert colorsIn(dialog.ui.tryPicturesLabel) > 20  # the picture is drawn, and is not one gray
    assert dialog.ui.tryPicturesLabel.width > 150
    press(real, dialog, dialog.ui.keepButton)
    assert not dialog.widget.visible, dialog.ui.aboutMessageLabel.text
    path = models / "dense-net" / "model.json"
    assert json.loads(path.read_text()) == {
        "name": "Dense net", "file": "dense.pt", "task": "classification", "classes": ["healthy", "ring", "dark"],
        "channels": 1, "spatial_dims": 3, "preprocessing": RESIZE,
    }  # fmt: skip
    assert titles(real)[-3:] == ["Your models", "Dense net", "From a file..."]
    assert real.node.model == str(path)
    real.wait(lambda: real.desk.model.info is not None, "not loaded", 60)  # trusted in this session: not asked twice
    loadExample(real)
    real.wait(lambda: real.desk.model.prediction is not None, "no answer", 60)
    assert set(real.desk.model.prediction["classes"]) == {"healthy", "ring", "dark"}
    real.chooseMethod("Gradient (saliency)")
    sameMap(real.apply(), load_model(path, consent=True), CASE, "gradient")


def test_an_exported_program_is_there_after_a_restart_and_asks_again(real: Any, files: Path, models: Path) -> None:
    import slicer

    dialog = openDialog(real, files / "bright.pt2")
    assert "16 x 14 x 12 voxels" in dialog.ui.foundLabel.text
    layers = [dialog.ui.layersList.item(row).text() for row in range(dialog.ui.layersList.count)]
    assert "features: 2 maps of 16 x 14 x 12 (Grad-CAM's own choice)" in layers
    real.host.type(dialog.ui.classesEdit, "dark, bright")
    press(real, dialog, dialog.ui.keepButton)
    path = models / "bright" / "model.json"
    real.host.reloadModule()  # another session: another window, nothing agreed to
    real.wait(lambda: "bright" in titles(real), "it is not listed", 120)
    slicer.util.loadVolume(str(files / "case.nrrd"), {"name": "ball"})
    real.host.setCombo(real.desk.modelPanel.ui.modelComboBox, "bright")
    panel = real.desk.modelPanel
    real.wait(lambda: panel.ui.consentFrame.visible, "not asked again", 60)
    assert "bright.pt2" in panel.ui.consentLabel.text
    real.host.click(panel.ui.allowButton)
    real.wait(lambda: real.desk.model.info is not None, "not loaded", 60)
    assert real.desk.model.classes == ["dark", "bright"]
    real.chooseMethod("Grad-CAM")
    mapNode = real.apply()
    assert mapNode is not None, real.message
    assert mapNode.GetName().endswith(" Grad-CAM bright")
    from XAIExplainLib import load_model  # which the reload has made anew

    sameMap(mapNode, load_model(path, consent=True), files / "case.nrrd", "grad_cam")


def test_a_bundle_by_clicks_keeps_its_own_preprocessing(real: Any, files: Path, models: Path) -> None:
    real.host.click(real.desk.modelPanel.ui.addModelButton)
    dialog = real.desk.modelPanel.dialog
    real.host.answers.directory = str(files / "spleen")
    real.host.click(dialog.ui.bundleButton)
    real.wait(lambda: dialog.ui.consentFrame.visible, "no question", 60)
    assert "the expression lambda x" in dialog.ui.consentLabel.text
    press(real, dialog, dialog.ui.allowButton)
    for words in ("background, spleen", "1.2 x 2 x 1.5 mm", "tiles of 32 x 32 x 32", "Segmentation"):
        assert words in dialog.ui.foundLabel.text, words
    assert dialog.ui.ownStepsCheckBox.checked
    assert not dialog.ui.stepsWidget.visible
    example(real, dialog)
    press(real, dialog, dialog.ui.tryButton)
    assert "The largest class is" in dialog.ui.tryMessageLabel.text
    press(real, dialog, dialog.ui.keepButton)
    path = models / "spleen" / "model.json"
    assert "preprocessing" not in json.loads(path.read_text())
    assert (path.parent / "spleen" / "configs" / "inference.json").is_file()
    loadExample(real)
    real.wait(lambda: real.desk.model.info is not None, "not loaded", 60)
    real.chooseMethod("Gradient (saliency)")
    real.wait(lambda: real.desk.run.ui.applyButton.enabled, "Apply stays disabled", 60)
    assert real.apply() is not None, real.message


def test_steps_are_ordered_edited_and_taken_out(real: Any, files: Path) -> None:
    dialog = openDialog(real, files / "bright.pt")
    ui = dialog.ui
    assert "as they are" in ui.stepLabel.text
    for title in ("Window (CT)", "Orient the axes"):
        real.host.setCombo(ui.stepComboBox, title)
        real.host.click(ui.addStepButton)
    assert not ui.downButton.enabled
    real.host.click(ui.upButton)
    assert not ui.upButton.enabled
    real.host.setCombo(dialog.steps.editors["axes"].widget, "LPS")
    assert ui.stepsList.item(0).text() == "1. Orient the axes: LPS"
    ui.stepsList.setCurrentRow(1)
    dialog.steps.editors["low"].widget.setValue(-50)
    dialog.steps.editors["out_high"].widget.setValue(2)
    window = {"step": "window", "low": -50.0, "high": 240.0, "out_high": 2.0}
    assert dialog.steps.steps() == [{"step": "orient", "axes": "LPS"}, window]
    ui.stepsList.setCurrentRow(0)
    real.host.click(ui.removeStepButton)
    assert dialog.steps.steps() == [window]
    real.host.setCombo(ui.startComboBox, "The steps of Brain lesion, T1 MRI")
    assert [step["step"] for step in dialog.steps.steps()] == ["orient", "resample", "crop_or_pad", "normalize"]
    assert dialog.steps.steps() == real.desk.catalog.models["brain-lesion"]["preprocessing"]
    real.host.setCombo(ui.startComboBox, "Nothing")
    assert dialog.steps.steps() == []
    assert not ui.removeStepButton.enabled


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.write_text("hello"), "is no model"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: torch.save({"a": torch.zeros(1)}, path), "weights without their network"),
        (lambda path: None, "There is no file or folder"),
        (lambda path: path.mkdir(), "no MONAI bundle"),
    ],
)  # fmt: skip
def test_what_is_no_model_is_a_sentence(real: Any, tmp_path: Path, make: Any, says: str) -> None:
    make(tmp_path / "thing.pt")
    dialog = openDialog(real, tmp_path / "thing.pt", trust=False)
    assert says in dialog.ui.fileMessageLabel.text
    assert not dialog.ui.keepButton.enabled
    assert not dialog.ui.foundGroup.visible


def test_a_trial_that_fails_is_a_sentence(real: Any, files: Path) -> None:
    dialog = openDialog(real, files / "bright.pt2")
    example(real, dialog)  # another size than the one that it was exported for
    press(real, dialog, dialog.ui.tryButton)
    assert "exported for one size of input" in dialog.ui.tryMessageLabel.text
    real.host.setCombo(dialog.ui.taskComboBox, "Segmentation: a class for each voxel")
    assert not dialog.ui.tryMessageLabel.visible  # it was about what was said before
    press(real, dialog, dialog.ui.keepButton)
    assert "task segmentation does not fit" in dialog.ui.aboutMessageLabel.text
    assert dialog.widget.visible


def test_a_network_of_two_channels_is_tried_on_two_volumes(real: Any, tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Conv3d(2, 2, 3), torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten())
    torch.jit.script(network.eval()).save(str(tmp_path / "two.pt"))
    real.addVolume("t1")
    real.addVolume("t2")
    dialog = openDialog(real, tmp_path / "two.pt")
    assert "2 channels" in dialog.ui.foundLabel.text
    assert len(dialog.trial.combos) == 2
    real.host.setCombo(dialog.trial.combos[0], "t1")
    real.host.setCombo(dialog.trial.combos[1], "t2")
    press(real, dialog, dialog.ui.tryButton)
    assert "16 x 14 x 12 voxels" in dialog.ui.tryMessageLabel.text
    press(real, dialog, dialog.ui.keepButton)
    real.wait(lambda: real.desk.case.ui.secondSelector.visible, "the panel does not know of two channels")


def test_edited_and_removed_by_clicks(real: Any, files: Path, models: Path) -> None:
    dialog = openDialog(real, files / "bright.pt")
    press(real, dialog, dialog.ui.keepButton)
    real.wait(lambda: real.desk.model.info is not None, "not loaded", 60)
    assert real.desk.model.classes == ["class 0", "class 1"]
    real.host.click(real.desk.modelPanel.ui.editModelButton)
    real.wait(lambda: dialog.found is not None, "not looked into", 60)  # trusted already
    assert not dialog.ui.filePathEdit.enabled
    real.host.type(dialog.ui.nameEdit, "Brighter")
    real.host.type(dialog.ui.classesEdit, "no, yes")
    press(real, dialog, dialog.ui.keepButton)
    assert not dialog.widget.visible, dialog.ui.aboutMessageLabel.text
    assert "Brighter" in titles(real)
    assert "bright" not in titles(real)
    real.wait(lambda: real.desk.model.classes == ["no", "yes"], "the panel has the old names", 60)
    real.host.answers.confirm = [False, True]
    real.host.click(real.desk.modelPanel.ui.removeModelButton)
    assert (models / "bright").is_dir()
    assert str(models / "bright") in real.host.dialogs[-1]["text"]
    real.host.click(real.desk.modelPanel.ui.removeModelButton)
    real.wait(lambda: "Brighter" not in titles(real), "still listed")
    assert not (models / "bright").exists()
    assert real.node.model == "brain-lesion"
    assert not real.desk.modelPanel.ui.removeModelButton.visible


def test_a_name_that_exists_is_a_sentence_and_nothing_is_written(real: Any, files: Path, models: Path) -> None:
    dialog = openDialog(real, files / "bright.pt")
    real.host.type(dialog.ui.nameEdit, "Brain lesion, T1 MRI")
    press(real, dialog, dialog.ui.keepButton)
    assert "called Brain lesion, T1 MRI already" in dialog.ui.aboutMessageLabel.text
    assert not models.exists() or not list(models.iterdir())
    dialog.ui.nameEdit.clear()
    assert not dialog.ui.keepButton.enabled
    assert "Give the model a name" in dialog.ui.keepButton.toolTip


def test_the_folder_can_be_another_one_and_is_remembered(real: Any, files: Path, models: Path, tmp_path: Path) -> None:
    real.logic.models.add(files / "bright.pt", name="Old", consent=True)
    dialog = openDialog(real, files / "bright.pt")
    assert dialog.ui.folderEdit.currentPath == str(models)
    dialog.ui.folderEdit.currentPath = str(tmp_path / "shared")
    real.host.type(dialog.ui.nameEdit, "New")
    dialog.ui.copyCheckBox.checked = False
    press(real, dialog, dialog.ui.keepButton)
    said = json.loads((tmp_path / "shared" / "new" / "model.json").read_text())
    assert said["file"] == str(files / "bright.pt")
    assert real.logic.models.folder == str(tmp_path / "shared")
    assert "New" in titles(real)
    assert "Old" not in titles(real)


def test_models_from_elsewhere_are_listed_and_ask(real: Any, files: Path, models: Path) -> None:
    (models / "sent").mkdir(parents=True)
    shutil.copy(files / "bright.pt2", models / "sent" / "net.pt2")
    (models / "sent" / "model.json").write_text('{"name": "Sent", "file": "net.pt2", "classes": ["a", "b"]}')
    (models / "broken.json").write_text("{")
    real.logic.models.setFolder(str(models))
    real.desk.refresh()
    assert {"Sent", "broken (cannot be read)"} <= set(titles(real))
    real.host.setCombo(real.desk.modelPanel.ui.modelComboBox, "Sent")
    real.wait(lambda: real.desk.modelPanel.ui.consentFrame.visible, "not asked", 60)
    assert real.desk.model.info is None
    real.host.setCombo(real.desk.modelPanel.ui.modelComboBox, "broken (cannot be read)")
    real.wait(lambda: real.desk.model.error, "no error", 60)
    assert "broken.json is no valid JSON" in real.desk.modelPanel.ui.modelLabel.text


def test_scripts_do_all_of_it_without_the_dialog(real: Any, files: Path, models: Path) -> None:
    from XAIExplainLib.errors import XAIError

    own = real.logic.models
    with pytest.raises(XAIError, match="loading it can run code") as caught:
        own.inspect(files / "bright.pt2")
    assert caught.value.consent
    assert own.inspect(files / "bright.pt2", consent=True)["outputs"] == 2
    trial = own.inspect(
        files / "bright.pt", volumes=[real.addVolume()], consent=True, options={"classes": ["a", "b"]}, layers=False
    )["trial"]
    assert trial["prediction"]["classes"] == ["a", "b"]
    steps = [{"step": "scale_shift", "scale": 2.0}]
    path = own.add(files / "bright.pt2", name="By script", classNames=["no", "yes"], preprocessing=steps, consent=True)
    assert path == str(models / "by-script" / "model.json")
    assert list(own.all()) == [path]
    assert real.desk.catalog.models[path]["title"] == "By script"
    with pytest.raises(XAIError, match="already"):
        own.add(files / "bright.pt2", name="By script", consent=True)
    with pytest.raises(XAIError, match="2 outputs, but 1 class name"):
        own.edit(path, classNames=["only"], consent=True)
    own.edit(path, name="Other", groups={"any": ["no", "yes"]}, consent=True)
    assert json.loads(Path(path).read_text())["groups"] == {"any": ["no", "yes"]}
    volume = slicerVolume(files)
    mapNode = real.logic.explain(volume, model=path, method="gradient", consent=True)
    assert mapNode.GetAttribute("XAIExplain.Model") == path
    own.remove(path)
    assert own.all() == {}


def slicerVolume(files: Path) -> Any:
    import slicer

    return slicer.util.loadVolume(str(files / "case.nrrd"), {"name": "ball"})


# -- what can go wrong with the engine, by the small one ---------------------------------------------------------------


@pytest.fixture
def small(loaded: Any, models: Path, panel: Any, tmp_path: Path) -> Any:
    loaded.useInterpreter(str(loaded.fake))
    loaded.desk.restartEngine()
    loaded.wait(lambda: loaded.desk.catalog.loaded and loaded.desk.catalog.cases.get("ring"), "no engine")
    (tmp_path / "net.pt").write_bytes(b"PK")
    return loaded


def test_the_engine_dies_while_the_file_is_looked_into(small: Any, tmp_path: Path) -> None:
    small.order("death")
    dialog = openDialog(small, tmp_path / "net.pt", trust=False)
    assert dialog.ui.fileMessageLabel.visible
    assert dialog.ui.fileMessageLabel.text
    small.order("")
    dialog.look()
    small.wait(lambda: dialog.ui.consentFrame.visible, "the next engine is not asked")
    assert not dialog.ui.fileMessageLabel.visible


def test_closing_the_dialog_or_another_file_leaves_the_old_answer_out(small: Any, tmp_path: Path) -> None:
    dialog = openDialog(small, tmp_path / "net.pt", trust=False)
    small.order("slow inspect")
    small.host.click(dialog.ui.allowButton)
    assert dialog.ui.statusLabel.text == "Looking into the file..."
    assert not dialog.ui.keepButton.enabled
    small.host.click(dialog.ui.cancelButton)
    assert not dialog.widget.visible
    small.order("")
    small.wait(lambda: not small.logic.engine.client.busy, "the engine is still asked")
    assert dialog.found is None
    dialog = openDialog(small, tmp_path / "net.pt")
    assert dialog.ui.nameEdit.text == "net"
    (tmp_path / "other.pt").write_bytes(b"PK")
    dialog.ui.filePathEdit.currentPath = str(tmp_path / "other.pt")
    assert dialog.found is None
    assert not dialog.ui.nameEdit.text
    small.wait(lambda: dialog.ui.consentFrame.visible, "the other file does not ask")  # consent is for one file


def test_declined_is_not_loaded(small: Any, tmp_path: Path) -> None:
    dialog = openDialog(small, tmp_path / "net.pt", trust=False)
    small.host.click(dialog.ui.declineButton)
    assert dialog.ui.filePathEdit.currentPath == ""
    assert not any(request["consent"] for request in small.requests("inspect"))


def test_the_dialog_survives_scene_and_reload(small: Any, tmp_path: Path) -> None:
    small.addVolume("head")
    dialog = openDialog(small, tmp_path / "net.pt")
    assert dialog.trial.combos[0].itemText(0) == "head"
    small.host.closeScene()
    assert dialog.trial.combos[0].findText("head") < 0
    small.host.reloadModule()
    small.wait(lambda: small.desk.catalog.loaded, "no lists")
    openDialog(small, tmp_path / "net.pt")
    assert small.host.strayAttributes() == []


def test_every_control_of_the_dialog_has_a_tooltip(small: Any, tmp_path: Path) -> None:
    from PySide6 import QtWidgets

    dialog = openDialog(small, tmp_path / "net.pt")
    small.host.click(dialog.ui.addStepButton)
    kinds = (QtWidgets.QAbstractButton, QtWidgets.QComboBox, QtWidgets.QLineEdit, QtWidgets.QListWidget,
             QtWidgets.QAbstractSpinBox)  # fmt: skip
    bare = []
    for kind in kinds:
        for widget in dialog.widget.findChildren(kind):
            parents = [widget, widget.parent(), widget.parent().parent() if widget.parent() else None]
            if not any(parent is not None and getattr(parent, "toolTip", "") for parent in parents):
                bare.append(widget.objectName)
    assert bare == []


@pytest.mark.parametrize(
    ("name", "shown"),
    [("brain-lesion", "brain-lesion"), ("/home/a/net.pt", "net.pt"), ("/home/a/lungs/model.json", "lungs"), ("", "")],
)
def test_people_see_no_path(panel: Any, name: str, shown: str) -> None:
    from XAIExplainPanels.modelState import shownName

    assert shownName(name) == shown

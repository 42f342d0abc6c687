"""A folder of the user's own models: added, listed, sent, edited, removed; each is a JSON that anything loads."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from Testing.bright import make
from Testing.test_loading import Small, Touch, make_bundle, save_script, write
from XAIExplainLib import explain
from XAIExplainLib.engine import LocalEngine
from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainLib.loading import ConsentError, load_model
from XAIExplainLib.own_models import add_model, folder_name, own_models, remove_model
from XAIExplainLib.preprocessing import Preprocessing, step_classes
from XAIExplainLib.step_forms import step_forms
from XAIExplainLib.volume import load_volume

STEPS = [{"step": "scale_shift", "scale": 2.0}]


class Quiet:
    """A run that nobody watches."""

    def __init__(self, cancelled: bool = False) -> None:
        self.stop = cancelled

    def progress(self, fraction: float, message: str = "") -> None:
        assert 0 <= fraction <= 1

    def cancelled(self) -> bool:
        return self.stop


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("files"))


@pytest.fixture
def engine() -> LocalEngine:
    return LocalEngine()


def add(engine: LocalEngine, folder: Path, model: Path, name: str = "Bright ball", **fields: Any) -> Path:
    request = {"model": str(model), "folder": str(folder), "name": name, "consent": True, **fields}
    return Path(engine.add_model(request, Quiet())["path"])


@pytest.mark.parametrize("kind", ["pt", "pt2"])
def test_a_program_is_added_and_answers_as_it_did(engine: LocalEngine, files: Path, tmp_path: Path, kind: str) -> None:
    values = {"classes": ["dark", "bright"], "preprocessing": STEPS, "description": "Finds a ball."}
    path = add(engine, tmp_path / "models", files / f"bright.{kind}", values=values)
    assert path == tmp_path / "models" / "bright-ball" / "model.json"
    said = json.loads(path.read_text())
    assert said == {
        "name": "Bright ball", "description": "Finds a ball.", "file": f"bright.{kind}", "task": "classification",
        "classes": ["dark", "bright"], "channels": 1, "spatial_dims": 3, "preprocessing": STEPS,
    }  # fmt: skip
    with pytest.raises(ConsentError):
        load_model(path, consent=False)
    case = load_volume(files / "case.nrrd")
    kept, plain = load_model(path, consent=True), load_model(files / f"bright.{kind}", consent=True)
    assert kept.name == "Bright ball" and kept.information["description"] == "Finds a ball."
    assert kept.predict(case).name == "bright"
    doubled = plain.network(torch.from_numpy(2 * case.data[None]))[0].detach().numpy()
    np.testing.assert_allclose(kept.predict(case).logits, doubled, rtol=1e-5)  # type: ignore[arg-type]
    (entry,) = [model for model in engine.models({"folder": str(tmp_path / "models")}, Quiet()) if model.get("own")]
    assert (entry["title"], entry["path"]) == ("Bright ball", str(path))
    assert not any(model.get("own") for model in engine.models({}, Quiet()))


def test_a_bundle_is_added_whole_with_its_own_preprocessing(engine: LocalEngine, tmp_path: Path) -> None:
    path = add(engine, tmp_path / "models", make_bundle(tmp_path / "zoo"), "Spleen")
    shutil.rmtree(tmp_path / "zoo")
    assert "preprocessing" not in json.loads(path.read_text())
    model = load_model(path, consent=True)
    assert model.class_names == ("background", "spleen") and model.sliding is not None
    assert not isinstance(model.preprocessing, Preprocessing)
    with pytest.raises(ConsentError, match="zoo is a MONAI bundle"):
        load_model(path)


def test_a_folder_that_is_sent_works_elsewhere(engine: LocalEngine, files: Path, tmp_path: Path) -> None:
    path = add(engine, tmp_path / "models", files / "bright.pt2")
    sent = tmp_path / "elsewhere" / "received"
    shutil.move(path.parent, sent)
    assert [entry["title"] for entry in own_models(tmp_path / "elsewhere")] == ["Bright ball"]
    assert own_models(tmp_path / "models") == []
    with pytest.raises(ConsentError, match=r"bright\.pt2"):
        load_model(sent / "model.json", consent=False)
    result = explain(load_model(sent, consent=True), load_volume(files / "case.nrrd"), "gradient")
    assert np.abs(result.array).max() > 0


def test_a_file_can_stay_where_it_is(engine: LocalEngine, files: Path, tmp_path: Path) -> None:
    path = add(engine, tmp_path / "models", files / "bright.pt2", copy=False)
    assert json.loads(path.read_text())["file"] == str(files / "bright.pt2")
    assert [file.name for file in path.parent.iterdir()] == ["model.json"]
    shutil.copy(files / "bright.pt2", tmp_path / "models" / "inside.pt2")
    inside = add(engine, tmp_path / "models", tmp_path / "models" / "inside.pt2", "Inside", copy=False)
    assert json.loads(inside.read_text())["file"] == "../inside.pt2"
    for own in (path, inside):
        assert load_model(own, consent=True).predict(load_volume(files / "case.nrrd"))
        remove_model(tmp_path / "models", own)
        assert not own.parent.exists()
    assert (files / "bright.pt2").is_file() and (tmp_path / "models" / "inside.pt2").is_file()


def test_a_described_network_comes_with_its_weights(engine: LocalEngine, tmp_path: Path) -> None:
    from XAIExplainLib.resources import resources_path

    bundled = resources_path("models") / "brain-lesion" / "model.json"
    path = add(engine, tmp_path, bundled, "Mine", consent=False)
    assert json.loads(path.read_text())["weights"] == "weights.pt"
    assert load_model(path, consent=False).classes == load_model("brain-lesion").classes
    assert own_models(tmp_path)[0]["title"] == "Mine"


def test_what_is_said_is_checked_against_the_network(engine: LocalEngine, files: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    (tmp_path / "no.pt").write_text("hello")
    wrong = [
        (files / "bright.pt2", {"values": {"classes": ["a", "b", "c"]}}, "has 2 outputs, but 3 class names"),
        (files / "bright.pt", {"values": {"classes": ["a"]}}, "has 2 outputs, but 1 class name"),
        (files / "bright.pt", {"values": {"task": "segmentation"}}, "task segmentation does not fit"),
        (files / "bright.pt", {"values": {"preprocessing": [{"step": "warp"}]}}, "no preprocessing step warp"),
        (files / "bright.pt", {"values": {"colour": 1}}, "no field colour"),
        (files / "bright.pt", {"name": " "}, "has no name"), (files / "bright.pt", {"name": "x" * 70}, "70 letters"),
        (files / "bright.pt", {"name": "Brain-Lesion"}, "called Brain-Lesion already"),
        (files / "bright.pt", {"consent": False}, "finds nothing that does more than calculate"),
        (tmp_path / "no.pt", {}, "no.pt is no model"), (tmp_path / "nothing.pt", {}, "no file or folder"),
    ]  # fmt: skip
    for model, fields, says in wrong:
        with pytest.raises(XAIError, match=says) as caught:
            add(engine, folder, model, **fields)
        assert caught.value.hint
    assert not folder.exists() or not list(folder.iterdir())
    add(engine, folder, files / "bright.pt")
    with pytest.raises(XAIError, match="called BRIGHT BALL already"):
        add(engine, folder, files / "bright.pt", "BRIGHT BALL")
    with pytest.raises(XAIError, match="has a folder bright-ball already"):
        add(engine, folder, files / "bright.pt", "Bright/ball")


def test_nothing_is_left_of_a_copy_that_was_stopped_or_failed(files: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    with pytest.raises(CancelledError):
        add_model(folder, files / "bright.pt", "Stopped", run=Quiet(cancelled=True))
    assert list(folder.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(XAIError, match="could not be written"):
        add_model(tmp_path / "file", files / "bright.pt", "Nowhere")


def test_edited_and_removed(engine: LocalEngine, files: Path, tmp_path: Path) -> None:
    first = add(engine, tmp_path, files / "bright.pt", values={"classes": ["a", "b"]})
    second = add(engine, tmp_path, files / "bright.pt", "Other")
    change = {"model": str(first), "folder": str(tmp_path), "consent": True}
    engine.edit_model({**change, "values": {"name": "Renamed", "classes": ["no", "yes"], "description": "x"}}, Quiet())
    assert load_model(first, consent=True).classes == ("no", "yes")
    assert [entry["title"] for entry in own_models(tmp_path)] == ["Other", "Renamed"]
    for values, says in (
        ({"name": "other"}, "called other already"), ({"classes": ["a"]}, "2 outputs, but 1 class name"),
    ):  # fmt: skip
        before = first.read_text()
        with pytest.raises(XAIError, match=says):
            engine.edit_model({**change, "values": values}, Quiet())
        assert first.read_text() == before
    with pytest.raises(XAIError, match="none of the models"):
        engine.edit_model({**change, "folder": str(files), "values": {}}, Quiet())
    with pytest.raises(XAIError, match="none of the models"):
        engine.remove_model({"model": str(tmp_path / "nothing.json"), "folder": str(tmp_path)}, Quiet())
    (second.parent / "notes.txt").write_text("mine")
    engine.remove_model({"model": str(second), "folder": str(tmp_path)}, Quiet())
    assert [file.name for file in second.parent.iterdir()] == ["notes.txt"]
    engine.remove_model({"model": str(first), "folder": str(tmp_path)}, Quiet())
    assert not first.parent.exists() and own_models(tmp_path) == []


def test_a_file_that_two_descriptions_need_stays_with_the_other(files: Path, tmp_path: Path) -> None:
    shutil.copy(files / "bright.pt", tmp_path)
    write(tmp_path / "one.json", file="bright.pt")
    write(tmp_path / "two.json", file="bright.pt", classes=["a", "b"])
    remove_model(tmp_path, tmp_path / "one.json")
    assert (tmp_path / "bright.pt").is_file()
    remove_model(tmp_path, tmp_path / "two.json")
    assert list(tmp_path.iterdir()) == []


def test_jsons_from_elsewhere(files: Path, tmp_path: Path) -> None:
    """What can be wrong with a JSON that somebody sent is a sentence, in the list or when it is loaded."""
    (tmp_path / "broken.json").write_text("{")
    write(tmp_path / "notes.json", hello=1)
    write(tmp_path / "gone.json", file="gone.pt")
    write(tmp_path / "slip.json", file="x.pt", preprocesing=[])
    write(tmp_path / "circle.json", file="circle.json")
    write(tmp_path / "share.json", file="//host/share/net.pt")
    write(tmp_path / "number.json", file=3)
    listed = {entry["name"]: entry.get("error", "") for entry in own_models(tmp_path)}
    assert set(listed) == {"broken", "gone", "slip", "circle", "share", "number"}
    assert "no valid JSON" in listed["broken"] and "nobody reads" in listed["slip"]
    for name, says in {
        "broken": "no valid JSON", "notes": "names no network and no file", "gone": "gone.pt, which is not there",
        "slip": "preprocesing", "circle": "description too", "share": "on a network", "number": "no name of a file",
    }.items():  # fmt: skip
        with pytest.raises(XAIError, match=says) as caught:
            load_model(tmp_path / f"{name}.json", consent=True)
        assert caught.value.hint


def test_a_json_cannot_make_code_run(tmp_path: Path) -> None:
    torch.save({"a": Touch(tmp_path / "ran")}, tmp_path / "evil.pt")
    save_script(Small().eval(), tmp_path / "script.pt")
    write(tmp_path / "evil.json", file="evil.pt")
    write(tmp_path / "script.json", file="script.pt")
    with pytest.raises(XAIError, match="wants to run code"):
        load_model(tmp_path / "evil.json", consent=True)
    with pytest.raises(ConsentError):
        load_model(tmp_path / "script.json", consent=False)
    own_models(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_program_that_was_exchanged_is_loaded_anew(engine: LocalEngine, files: Path, tmp_path: Path) -> None:
    path = add(engine, tmp_path, files / "bright.pt")
    request = {"model": str(path), "consent": True, "volumes": [str(files / "case.nrrd")]}
    first = engine.predict(request, Quiet())["logits"]
    network = torch.jit.load(str(path.parent / "bright.pt"))
    with torch.no_grad():
        network.head.bias.add_(1.0)
    network.save(str(path.parent / "bright.pt"))
    np.testing.assert_allclose(np.subtract(engine.predict(request, Quiet())["logits"], first), 1.0, atol=1e-5)


# -- looking into a model ----------------------------------------------------------------------------------------------


def test_inspect_says_what_is_found(engine: LocalEngine, files: Path, tmp_path: Path) -> None:
    found = engine.inspect({"model": str(files / "bright.pt2"), "consent": True}, Quiet())
    assert (found["kind"], found["task"], found["outputs"], found["channels"]) == ("exported", "classification", 2, 1)
    assert found["size"] == [16, 14, 12] and found["layers_at"] == [12, 14, 16] and found["parameters"] == 62
    assert {"name": "features", "type": "Conv3d", "shape": [2, 12, 14, 16], "default": True} in found["layers"]
    assert found["trial"] is None
    script = engine.inspect({"model": str(files / "bright.pt"), "consent": True}, Quiet())
    assert (script["outputs"], script["channels"], script["size"], script["layers"]) == (2, 1, None, None)
    assert any("TorchScript" in note for note in script["notes"])
    bundle = engine.inspect({"model": str(make_bundle(tmp_path / "b")), "consent": True, "layers": False}, Quiet())
    assert (bundle["task"], bundle["outputs"], bundle["preprocessing"]) == ("segmentation", 2, None)
    assert bundle["spacing"] == [1.2, 2.0, 1.5]  # MONAI's axes are in reverse
    assert bundle["classes"] == ["background", "spleen"] and bundle["sliding"]["roi"] == [32, 32, 32]


def test_inspect_tries_the_model_on_a_volume(engine: LocalEngine, files: Path) -> None:
    request = {
        "model": str(files / "bright.pt"), "consent": True, "volumes": [str(files / "case.nrrd")],
        "options": {"classes": ["dark", "bright"], "preprocessing": STEPS},
    }  # fmt: skip
    trial = engine.inspect(request, Quiet())["trial"]
    assert trial["prediction"]["predicted"]["name"] == "bright"
    assert trial["input"]["size"] == [16, 14, 12] and trial["input"]["maximum"] == 2.0
    pictures = trial["input"]["pictures"]
    assert set(pictures) == {"axial", "coronal", "sagittal"}
    assert all(base64.b64decode(code).startswith(b"\x89PNG") for code in pictures.values())
    with pytest.raises(XAIError, match="cannot take|channel"):
        engine.inspect({**request, "volumes": [str(files / "case.nrrd")] * 2}, Quiet())


def test_inspect_of_2d_and_of_several_channels(engine: LocalEngine, tmp_path: Path) -> None:
    flat = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    torch.jit.script(flat.eval()).save(str(tmp_path / "flat.pt"))
    found = engine.inspect({"model": str(tmp_path / "flat.pt"), "consent": True}, Quiet())
    assert (found["spatial_dims"], found["channels"], found["outputs"]) == (2, 3, 4)
    path = add(engine, tmp_path / "models", tmp_path / "flat.pt", "Flat", values={"slice_axis": "j"})
    model = load_model(path, consent=True)
    assert (model.spatial_dims, model.channels, model.slice_axis) == (2, 3, "j")


def test_nothing_is_loaded_before_consent(engine: LocalEngine, tmp_path: Path) -> None:
    save_script(Small().eval(), tmp_path / "net.pt")
    write(tmp_path / "net.json", file="net.pt")
    for name in ("net.pt", "net.json"):
        with pytest.raises(ConsentError, match="A look into it finds nothing") as caught:
            engine.inspect({"model": str(tmp_path / name), "consent": False}, Quiet())
        assert caught.value.consent
    with pytest.raises(ConsentError, match="A look into it finds that it has the expression lambda"):
        engine.inspect({"model": str(make_bundle(tmp_path / "b")), "consent": False}, Quiet())
    assert engine._model is None


def test_every_step_has_a_form_that_makes_it() -> None:
    forms = {form["name"]: form for form in step_forms()}
    assert set(forms) == set(step_classes())
    for name, form in forms.items():
        assert form["title"] and form["help"]
        assert all(one["help"].endswith(".") for one in form["parameters"])
        values = {one["name"]: one["default"] for one in form["parameters"]}
        made = step_classes()[name].from_json({"step": name, **values})
        needed = {one["name"] for one in form["parameters"] if one["required"]}
        plain = step_classes()[name].from_json({"step": name, **{key: values[key] for key in needed}})
        assert made == plain  # the other defaults are the step's own


@pytest.mark.parametrize(
    ("name", "folder"),
    [("Lung nodules", "lung-nodules"), ("../../etc", "etc"), ("CON", "model-con"), ("…", "model-"), ("ä b", "ä-b")],
)
def test_names_of_folders(name: str, folder: str) -> None:
    assert folder_name(name) == folder


def test_the_command_line_takes_the_json(engine: LocalEngine, files: Path, tmp_path: Path) -> None:
    path = add(engine, tmp_path, files / "bright.pt2", values={"classes": ["dark", "bright"]})

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "XAIExplainLib", *words, "--model", str(path), "--volume", str(files / "case.nrrd")],
            capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1],
        )  # fmt: skip

    answer = run("predict", "--json")
    assert json.loads(answer.stdout)["predicted"]["name"] == "bright", answer.stderr
    found = run("inspect")
    assert "input:   1 channel, 16 x 14 x 12 voxels" in found.stdout and "* bright" in found.stdout, found.stderr

"""Models from names and files: what is loaded is right, what could run code asks first, what is refused says why."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import pickle
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from XAIExplainLib import loading, resources
from XAIExplainLib.errors import XAIError
from XAIExplainLib.geometry import Geometry, resample
from XAIExplainLib.loading import ConsentError, load_model
from XAIExplainLib.loading_json import build_network
from XAIExplainLib.loading_weights import read_numbers
from XAIExplainLib.volume import Volume, load_volume

DENSE = {
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 2,
    "init_features": 4,
    "growth_rate": 2,
    "block_config": [2, 2],
}
UNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2]}


class Small(torch.nn.Module):
    """A network that is quick to export."""

    def __init__(self, channels: int = 2) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv3d(channels, 3, 3)
        self.norm = torch.nn.BatchNorm3d(3)
        self.linear = torch.nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.norm(self.convolution(x)).relu().mean((2, 3, 4)))


class Touch:
    """Its pickle writes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def small() -> Small:
    torch.manual_seed(0)
    return Small().eval()


@pytest.fixture
def case() -> Volume:
    return Volume(np.random.default_rng(0).random((2, 8, 8, 8)))


@pytest.fixture
def described(tmp_path: Path) -> Path:
    """A JSON description with its weights in half precision."""
    torch.manual_seed(0)
    network = build_network({"monai": "DenseNet121", "arguments": DENSE}, "here")
    torch.save(
        {key: v.half() if v.is_floating_point() else v for key, v in network.state_dict().items()}, tmp_path / "w.pt"
    )
    write(
        tmp_path / "net.json", name="net", title="A network", network={"monai": "DenseNet121", "arguments": DENSE},
        weights="w.pt", task="classification", classes=["healthy", "lesion"], groups={"all": ["healthy", "lesion"]},
        channels=1, spatial_dims=3, preprocessing=[{"step": "normalize", "kind": "zscore"}], licence="MIT",
        source="made in a test", card="card.md", figures={"auc": 0.5},
    )  # fmt: skip
    return tmp_path / "net.json"


def write(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(values))


def change(path: Path, **values: Any) -> None:
    """Write a description anew with some fields changed; None removes."""
    merged = {**json.loads(path.read_text()), **values}
    write(path, **{key: value for key, value in merged.items() if value is not None})


def quietly(function: Any, *arguments: Any, **options: Any) -> Any:
    """torch.jit warns that it is deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **options)


def save_script(network: torch.nn.Module, path: Path) -> None:
    quietly(torch.jit.save, quietly(torch.jit.trace, network, torch.rand(1, 2, 8, 8, 8)), str(path))


# -- JSON and bundled names --------------------------------------------------------------------------------------------


def test_a_description_is_loaded_without_consent(described: Path) -> None:
    model = load_model(described)
    assert model.name == "net" and model.classes == ("healthy", "lesion") and model.task == "classification"
    assert model.information["title"] == "A network" and model.describe()["figures"] == {"auc": 0.5}
    assert model.preprocessing.to_json() == [{"step": "normalize", "kind": "zscore"}]  # type: ignore[union-attr]
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in model.network.parameters())
    weights = torch.load(described.parent / "w.pt", weights_only=True)
    for key, value in model.network.state_dict().items():
        torch.testing.assert_close(value, weights[key].to(value.dtype))
    assert model.predict(Volume(np.random.default_rng(0).random((32, 32, 32)))).probabilities is not None
    shutil.move(described, described.with_name("model.json"))
    assert load_model(described.parent).fingerprint == model.fingerprint
    other = load_model(described.with_name("model.json"), classes=["a", "b"], groups={}, preprocessing=[])
    assert other.classes == ("a", "b") and len(other.preprocessing) == 0  # type: ignore[arg-type]


def test_bundled_names(described: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "Resources" / "models" / "brain-lesion"
    home.mkdir(parents=True)
    shutil.copy(described, home / "model.json")
    shutil.copy(described.with_name("w.pt"), home)
    monkeypatch.setattr(loading, "resources_path", lambda *parts: tmp_path.joinpath("Resources", *parts))
    assert load_model("brain-lesion").classes == ("healthy", "lesion")
    assert [model.describe()["name"] for model in loading.bundled_models()] == ["brain-lesion"]
    with pytest.raises(XAIError, match="no bundled model and no file called brain-leson") as caught:
        load_model("brain-leson")
    assert "brain-lesion" in caught.value.hint
    assert resources.resources_path("models").name == "models"


def test_networks_of_the_project_and_of_monai_only() -> None:
    from XAIExplainLib.networks.lesion_network import LesionNetwork

    made = build_network({"class": "XAIExplainLib.networks.lesion_network:LesionNetwork"}, "here")
    assert isinstance(made, LesionNetwork)
    assert build_network({"monai": "resnet10", "arguments": {"spatial_dims": 3, "n_input_channels": 1}}, "here")
    arguments = {"model_name": "efficientnet-b0", "spatial_dims": 3, "in_channels": 1, "pretrained": False}
    assert build_network({"monai": "EfficientNetBN", "arguments": arguments}, "here")
    # By default this one fetches weights: it must be told not to.
    arguments.pop("pretrained")
    assert build_network({"monai": "EfficientNetBN", "arguments": arguments}, "here")
    for value, says in (
        ({"class": "os:system", "arguments": {"command": "exit 1"}}, "none of this project's networks"),
        ({"class": "XAIExplainLib.networks:os.system"}, "none of this project's networks"),
        ({"class": "XAIExplainLib.networksevil:Net"}, "none of this project's networks"),
        ({"class": "XAIExplainLib.networks.nothing:Net"}, "does not exist"),
        ({"class": "XAIExplainLib.networks.lesion_network:torch"}, "is no network"),
        ({"monai": "os"}, "no network of MONAI"), ({"monai": "torch"}, "no network of MONAI"),
        ({"monai": "Transchex"}, "no network of MONAI"), ({}, "does not say which"),
        ({"monai": "resnet10", "arguments": {"pretrained": True}}, "pretrained weights"),
        ({"monai": "UNet", "arguments": {"depth": 3}}, "cannot be made"),
        ({"monai": "UNet", "arguments": [3]}, "no object"),
    ):  # fmt: skip
        with pytest.raises(XAIError, match=says) as caught:
            build_network(value, "here")
        assert caught.value.hint


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"weights": None}, "names no weights"), ({"weights": "nothing.pt"}, "no weights .*nothing.pt"),
        ({"network": None}, "names no network"), ({"prepocessing": []}, "prepocessing"),
        ({"preprocessing": [{"step": "warp"}]}, "no preprocessing step"), ({"task": "guess"}, "task cannot be"),
        ({"groups": {"g": ["oedema"]}}, "no class oedema"),
        ({"network": {"monai": "DenseNet121", "arguments": {**DENSE, "out_channels": 3}}}, "have another shape"),
        ({"network": {"monai": "UNet", "arguments": UNET}}, "are missing .*belong to no layer"),
    ],
)  # fmt: skip
def test_wrong_descriptions(described: Path, changes: dict, says: str) -> None:
    change(described, **changes)
    with pytest.raises(XAIError, match=says) as caught:
        load_model(described)
    assert caught.value.hint and "\n" not in str(caught.value)


def test_wrong_json(tmp_path: Path) -> None:
    for text, says in (("{", "no valid JSON"), ("[1]", "does not describe"), ("", "is empty")):
        (tmp_path / "m.json").write_text(text)
        with pytest.raises(XAIError, match=says):
            load_model(tmp_path / "m.json")


def test_weights_are_numbers_only(described: Path, tmp_path: Path) -> None:
    whole = (tmp_path / "w.pt").read_bytes()
    weights = torch.load(tmp_path / "w.pt", weights_only=True)
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in weights.items()}, "epoch": 3}, tmp_path / "w.pt"
    )
    assert load_model(described)
    for kept in (0.5, 0.95):
        (tmp_path / "w.pt").write_bytes(whole[: int(len(whole) * kept)])
        with pytest.raises(XAIError, match=r"w\.pt could not be read: it is cut off"):
            load_model(described)
    (tmp_path / "w.pt").write_bytes(b"")
    with pytest.raises(XAIError, match=r"w\.pt is empty"):
        load_model(described)
    torch.save([1, 2, 3], tmp_path / "w.pt")
    with pytest.raises(XAIError, match="holds no weights"):
        load_model(described)
    torch.save({"state_dict": Touch(tmp_path / "ran")}, tmp_path / "w.pt")
    with pytest.raises(XAIError, match="wants to run code"):
        load_model(described)
    assert not (tmp_path / "ran").exists()


# -- programs ----------------------------------------------------------------------------------------------------------


def test_torchscript(tmp_path: Path, small: Small, case: Volume) -> None:
    path = tmp_path / "net.pt"
    save_script(small, path)
    with pytest.raises(ConsentError, match="TorchScript program: loading it can run code") as caught:
        load_model(path, consent=False)
    assert "consent=True" in caught.value.hint and "--allow-code" in caught.value.hint and caught.value.consent
    model = load_model(path, consent=True)
    assert model.kind == "torchscript" and model.name == "net.pt"
    with torch.no_grad():
        expected = small(torch.from_numpy(case.data[None].copy()))[0].numpy()
    np.testing.assert_allclose(model.predict(case).logits, expected, atol=1e-5)  # type: ignore[arg-type]
    write(tmp_path / "net.pt.json", classes=["a", "b"], preprocessing=[{"step": "scale_shift", "scale": 2}])
    told = load_model(path, consent=True)
    assert told.classes == ("a", "b") and told.fingerprint != model.fingerprint
    assert load_model(path, consent=True, classes=["c", "d"]).classes == ("c", "d")
    with pytest.raises(XAIError, match="no option clases"):
        load_model(path, consent=True, clases=["c", "d"])
    change(tmp_path / "net.pt.json", clases=["x"])
    with pytest.raises(XAIError, match="Did you mean classes"):
        load_model(path, consent=True)


@pytest.mark.parametrize("dynamic", [True, False])
def test_exported_programs(tmp_path: Path, small: Small, case: Volume, dynamic: bool) -> None:
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},) if dynamic else None
    program = torch.export.export(small, (torch.rand(2, 2, 8, 8, 8),), dynamic_shapes=shapes)
    path = tmp_path / "net.pt2"
    torch.export.save(program, path)
    with pytest.raises(ConsentError, match="exported program"):
        load_model(path, consent=False)
    model = load_model(path, consent=True)
    assert (model.kind, model.batch, model.channels, model.spatial_dims) == ("exported", None if dynamic else 2, 2, 3)
    x = torch.rand(5, 2, 8, 8, 8, requires_grad=True)
    torch.testing.assert_close(model(x), small(x), atol=1e-5, rtol=1e-5)
    model(x).sum().backward()
    assert x.grad is not None and bool(x.grad.abs().sum() > 0)
    assert model.predict(case).logits is not None
    with pytest.raises(XAIError, match="cannot take an input of .*x 9") as caught:
        model.predict(Volume(np.zeros((2, 8, 8, 9))))
    assert "one size of input" in caught.value.hint


def test_an_exported_program_could_run_code_so_it_is_not_opened(tmp_path: Path, small: Small) -> None:
    """The consent is no formality: torch's own reader unpickles what is in the archive."""
    torch.export.save(torch.export.export(small, (torch.rand(1, 2, 8, 8, 8),)), tmp_path / "good.pt2")
    with zipfile.ZipFile(tmp_path / "good.pt2") as good, zipfile.ZipFile(tmp_path / "bad.pt2", "w") as bad:
        for name in good.namelist():
            content = good.read(name)
            if name.endswith("weights_config.json"):
                config = json.loads(content)
                for payload in config["config"].values():
                    payload["use_pickle"] = True
                content = json.dumps(config).encode()
            if "/data/weights/weight_" in name:
                torch.save(Touch(tmp_path / "ran"), tmp_path / "pickle.pt")
                content = (tmp_path / "pickle.pt").read_bytes()
            bad.writestr(name, content)
    with pytest.raises(ConsentError, match="pickled"):
        load_model(tmp_path / "bad.pt2")
    assert not (tmp_path / "ran").exists()
    with contextlib.suppress(Exception):
        torch.export.load(tmp_path / "bad.pt2")
    assert (tmp_path / "ran").exists()


def test_several_inputs_and_compiled_programs_are_refused(tmp_path: Path) -> None:
    class Two(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x + y

    torch.export.save(torch.export.export(Two(), (torch.rand(1, 1, 4, 4, 4),) * 2), tmp_path / "two.pt2")
    with pytest.raises(XAIError, match="takes 2 inputs"):
        load_model(tmp_path / "two.pt2", consent=True)
    with zipfile.ZipFile(tmp_path / "aoti.pt2", "w") as archive:
        archive.writestr("a/archive_format", "pt2")
        archive.writestr("a/data/aotinductor/model/x.so", "")
    with pytest.raises(XAIError, match="compiled for one kind of machine"):
        load_model(tmp_path / "aoti.pt2", consent=True)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("consent", [True, False])
@pytest.mark.parametrize("old", [True, False])
def test_checkpoints_are_no_models(tmp_path: Path, small: Small, consent: bool, old: bool) -> None:
    path = tmp_path / "net.pt"
    torch.save(small.state_dict(), path, _use_new_zipfile_serialization=not old)
    with pytest.raises(XAIError, match="holds weights without their network") as caught:
        load_model(path, consent=consent)
    assert "numbers only" in caught.value.hint
    torch.save(small, path, _use_new_zipfile_serialization=not old)
    with pytest.raises(XAIError, match="pickle that wants to run code .*Small"):
        load_model(path, consent=consent)
    torch.save({"a": Touch(tmp_path / "ran")}, path, _use_new_zipfile_serialization=not old)
    with pytest.raises(XAIError, match="pickle that wants to run code"):
        load_model(path, consent=consent)
    path.write_bytes(pickle.dumps(Touch(tmp_path / "ran")))
    with pytest.raises(XAIError, match="refused|could not be read"):
        load_model(path, consent=consent)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["script", "export", "checkpoint"])
def test_truncated_files(tmp_path: Path, small: Small, kind: str) -> None:
    path = tmp_path / ("net.pt2" if kind == "export" else "net.pt")
    if kind == "script":
        save_script(small, path)
    elif kind == "export":
        torch.export.save(torch.export.export(small, (torch.rand(1, 2, 8, 8, 8),)), path)
    else:
        torch.save(small.state_dict(), path)
    whole = path.read_bytes()
    for content, says in ((whole[: len(whole) // 2], "cut off or damaged"), (whole[:3], "cut off"), (b"", "is empty")):
        path.write_bytes(content)
        with pytest.raises(XAIError, match=says) as caught:
            load_model(path, consent=True)
        assert caught.value.hint and path.name in caught.value.message


def test_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "x.pt").write_text("hello")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    for name, says in {
        "nothing.pt": "no file or folder", "folder": "no MONAI bundle", "x.pt": "is no model",
        "x.zip": "holds no model",
    }.items():  # fmt: skip
        with pytest.raises(XAIError, match=says) as caught:
            load_model(tmp_path / name)
        assert caught.value.hint
    with pytest.raises(XAIError, match="cut off, damaged"):
        read_numbers(tmp_path / "x.pt")


# -- MONAI bundles -----------------------------------------------------------------------------------------------------

TRANSFORMS: list[dict[str, Any]] = [
    {"_target_": "LoadImaged", "keys": "@keys"},
    {"_target_": "EnsureChannelFirstd", "keys": "@keys"},
    {"_target_": "Orientationd", "keys": "@keys", "axcodes": "RAS"},
    {"_target_": "Spacingd", "keys": "@keys", "pixdim": [1.5, 2.0, 1.2], "mode": "bilinear"},
    {
        "_target_": "CropForegroundd",
        "keys": "@keys",
        "source_key": "image",
        "select_fn": "$lambda x: x > -1000",
        "margin": 1,
    },
    {"_target_": "Resized", "keys": "@keys", "spatial_size": [30, 26, 28], "mode": "trilinear"},
    {"_target_": "SpatialPadd", "keys": "@keys", "spatial_size": [32, 32, 32]},
    {"_target_": "RandFlipd", "keys": "@keys", "prob": 1.0},
    {"_target_": "EnsureTyped", "keys": "@keys", "track_meta": False},
]


def make_bundle(root: Path, transforms: list[dict[str, Any]] | None = None, **changes: Any) -> Path:
    """A bundle as MONAI's model zoo has them."""
    (root / "configs").mkdir(parents=True, exist_ok=True)
    (root / "models").mkdir(exist_ok=True)
    torch.manual_seed(0)
    network = build_network({"monai": "UNet", "arguments": UNET}, "here")
    torch.save(network.state_dict(), root / "models" / "model.pt")
    config = {
        "imports": ["$import math"], "keys": ["image", "label"], "device": "$torch.device('cpu')",
        "network_def": {"_target_": "UNet", **UNET, "num_res_units": "$int(math.floor(0.5))"},
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": TRANSFORMS if transforms is None else transforms},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [32, 32, 32]}, **changes,
    }  # fmt: skip
    write(root / "configs" / "inference.json", **config)
    write(
        root / "configs" / "metadata.json", version="0.1.0", name="Spleen", description="A test", copyright="Nobody",
        network_data_format={
            "inputs": {"image": {"num_channels": 1, "spatial_shape": [32, 32, 32]}},
            "outputs": {"pred": {"channel_def": {"1": "spleen", "0": "background"}}},
        },
    )  # fmt: skip
    return root


def oblique() -> Geometry:
    turn = Rotation.from_euler("xyz", [20, -15, 30], degrees=True).as_matrix()
    return Geometry((33, 27, 21), (1.1, 1.9, 1.7), (10, -20, 30), turn[:, [1, 0, 2]])


def places(geometry: Geometry) -> np.ndarray:
    k, j, i = np.meshgrid(*(np.arange(n) for n in geometry.shape), indexing="ij")
    return np.moveaxis(geometry.index_to_physical(np.stack([i, j, k], axis=-1)), -1, 0).astype(np.float32)


def test_a_bundle_asks_first_and_is_loaded_whole(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "spleen")
    with pytest.raises(ConsentError, match="MONAI bundle"):
        load_model(path)
    model = load_model(path, consent=True)
    assert model.classes == ("background", "spleen") and model.channels == 1 and model.information["title"] == "Spleen"
    prediction = model.predict(Volume.on(oblique(), np.random.default_rng(0).random(oblique().shape)))
    assert prediction.task == "segmentation" and sum(prediction.voxels or ()) == 32**3
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "spleen"))
    with pytest.raises(ConsentError):
        load_model(packed)
    again = load_model(packed, consent=True)
    assert again.fingerprint == model.fingerprint and again.name == "packed"


def test_a_bundles_preprocessing_keeps_every_place() -> None:
    """The bundle's transforms, run on a volume of its own coordinates: each voxel is where its geometry says."""


@pytest.mark.parametrize("axis", range(3))
def test_a_bundle_knows_where_its_voxels_are(tmp_path: Path, axis: int) -> None:
    model = load_model(make_bundle(tmp_path / "b"), consent=True)
    truth = places(oblique())
    prepared = model.prepare(Volume.on(oblique(), truth[axis]))
    grid = prepared.geometry
    assert prepared.tensor.shape == (1, 1, 32, 32, 32) and grid.axes == "SAR"  # MONAI's first axis is R
    index = oblique().physical_to_index(np.moveaxis(places(grid), 0, -1))
    # MONAI holds the edge's value in both of its interpolations: one voxel at the border tells less.
    inside = ((index > 1) & (index < np.array(oblique().size) - 2)).all(-1)
    assert inside.mean() > 0.3
    np.testing.assert_allclose(prepared.tensor[0, 0].numpy()[inside], places(grid)[axis][inside], atol=5e-3)
    back = resample(places(grid)[axis], grid, oblique())
    index = grid.physical_to_index(np.moveaxis(truth, 0, -1))
    seen = ((index > 0) & (index < np.array(grid.size) - 1)).all(-1)
    assert seen.mean() > 0.9
    np.testing.assert_allclose(back[seen], truth[axis][seen], atol=5e-3)


def test_a_bundle_sees_what_monai_would_see(tmp_path: Path) -> None:
    """The tensor is the one that MONAI's own reading of the file gives to the network.

    The volume is read from the file too: MONAI's Spacing aligns a corner or the centre as the last digit of a header
    has it.
    """
    from monai.bundle import ConfigParser

    from XAIExplainLib.volume import save_volume

    case = Volume.on(oblique(), np.random.default_rng(0).random(oblique().shape))
    case = load_volume(save_volume(case, None, tmp_path / "case.nii.gz"))
    kept = [step for step in TRANSFORMS if not step["_target_"].startswith("Rand")]
    model = load_model(make_bundle(tmp_path / "b", kept), consent=True)
    parser = ConfigParser({"keys": ["image"], "preprocessing": {"_target_": "Compose", "transforms": kept}})
    expected = parser.get_parsed_content("preprocessing")({"image": str(tmp_path / "case.nii.gz")})["image"]
    torch.testing.assert_close(model.prepare(case).tensor[0], torch.as_tensor(expected), atol=1e-4, rtol=1e-4)


def test_bundles_of_several_channels_and_files(tmp_path: Path) -> None:
    two = {**UNET, "in_channels": 2}
    transforms = [
        {"_target_": "LoadImaged", "keys": ["t1", "t2"]},
        {"_target_": "ScaleIntensityd", "keys": ["t1"], "minv": 0.0, "maxv": 2.0},
        {"_target_": "ConcatItemsd", "keys": ["t1", "t2"], "name": "image"},
    ]
    root = make_bundle(tmp_path / "b", transforms, network_def={"_target_": "UNet", **two})
    torch.save(build_network({"monai": "UNet", "arguments": two}, "here").state_dict(), root / "models" / "model.pt")
    change(root / "configs" / "metadata.json", network_data_format={})
    case = Volume.on(oblique(), np.random.default_rng(0).random((2, *oblique().shape)))
    tensor = load_model(root, consent=True).prepare(case).tensor
    assert tensor.shape == (1, 2, *oblique().size)
    assert tensor[0, 0].max() == 2 and tensor[0, 0].min() == 0
    np.testing.assert_allclose(tensor[0, 1].numpy(), case.data[1].transpose(2, 1, 0), atol=1e-6)


def test_a_bundle_with_classes_that_overlap(tmp_path: Path) -> None:
    post = {"_target_": "Compose", "transforms": [{"_target_": "Activationsd", "keys": "pred", "sigmoid": True}]}
    model = load_model(make_bundle(tmp_path / "b", [], postprocessing=post), consent=True)
    assert model.overlapping


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"network_def": {"_target_": "NoSuchNet"}, "network": None}, "inference.json of the bundle b fails"),
        ({"network_def": "$1/0", "network": None}, "fails: .*division"),
        ({"network_def": {}}, "defines no network_def"),
        ({"preprocessing": {"_target_": "Compose", "transforms": [{"_target_": "NoSuch"}]}}, "fails"),
    ],
)  # fmt: skip
def test_bundles_that_are_wrong(tmp_path: Path, changes: dict, says: str) -> None:
    with pytest.raises(XAIError, match=says) as caught:
        load_model(make_bundle(tmp_path / "b", **changes), consent=True)
    assert caught.value.hint and "\n" not in str(caught.value)


def test_bundles_that_are_incomplete_or_damaged(tmp_path: Path) -> None:
    root = make_bundle(tmp_path / "b")
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "b"))
    whole = bytearray(packed.read_bytes())
    whole[200:400] = bytes(200)
    packed.write_bytes(whole)
    with pytest.raises(XAIError):
        load_model(packed, consent=True)
    (root / "models" / "model.pt").unlink()
    with pytest.raises(XAIError, match="has no weights"):
        load_model(root, consent=True)
    torch.save({"a": Touch(tmp_path / "ran")}, root / "models" / "model.pt")
    with pytest.raises(XAIError, match="wants to run code"):
        load_model(root, consent=True)
    assert not (tmp_path / "ran").exists()
    (root / "configs" / "inference.json").unlink()
    with pytest.raises(XAIError, match="no configuration"):
        load_model(root, consent=True)


def test_a_bundles_transforms_that_fail_or_lose_the_place(tmp_path: Path) -> None:
    case = Volume(np.zeros((8, 8, 8)))
    fails = [{"_target_": "Lambdad", "keys": "image", "func": "$lambda x: x.nothing"}]
    with pytest.raises(XAIError, match="transform Lambdad fails"):
        load_model(make_bundle(tmp_path / "a", fails), consent=True).prepare(case)
    loses = [
        {"_target_": "EnsureTyped", "keys": "image", "track_meta": False},
        {"_target_": "Flipd", "keys": "image", "spatial_axis": 0},
    ]
    with pytest.raises(XAIError, match="Flipd loses where the voxels lie"):
        load_model(make_bundle(tmp_path / "b", loses), consent=True).prepare(case)
    other = load_model(make_bundle(tmp_path / "b", loses), consent=True, preprocessing=[])
    assert other.prepare(case).tensor.shape == (1, 1, 8, 8, 8)


# -- a real network ----------------------------------------------------------------------------------------------------


def test_a_real_network_extracts_a_real_brain(colin27: Path, tmp_path: Path) -> None:
    """deepbet's finder of the brain, TorchScript that nobody here wrote, on a head that it has not seen."""
    try:
        files = importlib.metadata.files("deepbet") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("deepbet is not installed (pip install --no-deps deepbet==1.0.2)")
    path = next(Path(str(file.locate())) for file in files if file.name == "bbox_model.pt")
    with pytest.raises(ConsentError):
        load_model(path, consent=False)
    steps = [
        {"step": "orient", "axes": "SAR"}, {"step": "resize", "size": [128, 128, 128], "order": 0},
        {"step": "normalize", "kind": "percentile"},
    ]  # fmt: skip
    model = load_model(path, consent=True, preprocessing=steps, classes=["head", "brain"], task="segmentation")
    head = load_volume(colin27.with_name("ch2.nii.gz"))
    prepared = model.prepare(head)
    prediction = model.predict(prepared)
    brain = prepared.to_volume(np.asarray(prediction.labels, np.float32), order=0) > 0
    truth = load_volume(colin27).array > 0
    assert prediction.name == "brain" and 1000 < (prediction.millilitres or ())[1] < 2500
    overlap = 2 * (brain & truth).sum() / (brain.sum() + truth.sum())
    assert overlap > 0.8

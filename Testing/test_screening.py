"""What does nothing but calculate is loaded without a question; what could do more is not opened."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from XAIExplainLib.consent import ConsentError
from XAIExplainLib.loading import load_model
from XAIExplainLib.screening import why_bundle_can_run_code, why_export_can_run_code, why_script_can_run_code


def network() -> nn.Module:
    layers = nn.Conv3d(1, 2, 3, stride=2), nn.BatchNorm3d(2), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(2, 2)).eval()


def exported(path: Path, free: bool = True) -> Path:
    shapes = None
    if free:
        shapes = ({0: torch.export.Dim("batch", min=1, max=64), 2: torch.export.Dim("depth", min=5, max=64)},)
    x = torch.rand(2, 1, 8, 8, 8)
    torch.export.save(torch.export.export(network(), (x,), dynamic_shapes=shapes), path)
    return path


def changed(source: Path, path: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """A copy of an archive in which each file is what `change` makes of it."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return path


@pytest.mark.parametrize("free", [True, False])
def test_an_exported_program_needs_no_question(tmp_path, free):
    path = exported(tmp_path / "net.pt2", free)
    assert why_export_can_run_code(path) == ""
    assert load_model(path).kind == "exported"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"torch.ops.aten.relu.default", b"torch.ops.mine.relu.default"),
        (b"torch.ops.aten.relu.default", b"builtins.exec"),
        (b"torch.ops.aten.relu.default", b"torch.ops.aten.from_file.default"),
        (b"Symbol('s", b"__import__('s"),
        (b"Symbol('s", b"exit('s"),
        (b'"guards_code": []', b'"guards_code": ["__import__(\'os\').getpid() == 1"]'),
    ],
)
def test_a_changed_program_is_not_opened(tmp_path, old, new):
    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return content
        assert old in content
        return content.replace(old, new, 1)

    path = changed(exported(tmp_path / "good.pt2"), tmp_path / "bad.pt2", change)
    assert why_export_can_run_code(path)
    with pytest.raises(ConsentError):
        load_model(path)


def test_pickles_and_objects_in_a_program_are_not_opened(tmp_path):
    class Touch:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    torch.save(Touch(), tmp_path / "pickle.pt")
    pickled = (tmp_path / "pickle.pt").read_bytes()
    good = exported(tmp_path / "good.pt2")
    samples = changed(good, tmp_path / "a.pt2", lambda n, c: pickled if "sample_inputs" in n else c)
    assert "more than numbers" in why_export_can_run_code(samples)
    with zipfile.ZipFile(good, "a") as archive:
        archive.writestr("good/data/constants/custom_obj_0", pickled)
    assert "custom_obj_0" in why_export_can_run_code(good)
    assert not (tmp_path / "ran").exists()


def test_torchscript_needs_no_question_unless_it_reaches_files(tmp_path):
    torch.jit.trace(network(), torch.rand(1, 1, 8, 8, 8)).save(tmp_path / "net.pt")
    assert load_model(tmp_path / "net.pt").kind == "torchscript"

    class Reader(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.from_file("/etc/hostname", size=1, dtype=torch.uint8)

    torch.jit.script(Reader()).save(tmp_path / "reader.pt")
    assert "from_file" in why_script_can_run_code(tmp_path / "reader.pt")
    with pytest.raises(ConsentError):
        load_model(tmp_path / "reader.pt")


NETWORK = {"_target_": "UNet", "spatial_dims": 3, "channels": "@width", "strides": [2]}


@pytest.mark.parametrize(
    ("config", "harmless"),
    [
        ({"network_def": NETWORK, "width": [4, 8]}, True),
        ({"network_def": {**NETWORK, "num_res_units": "$1 + 1"}}, True),
        ({"network_def": {**NETWORK, "num_res_units": "$@width[0]"}}, False),
        ({"network_def": {**NETWORK, "num_res_units": "$__import__('os').getpid()"}}, False),
        ({"network_def": NETWORK, "width": "$exit()"}, False),
        ({"network_def": {"_target_": "os.system", "command": "true"}}, False),
        ({"network_def": {"_target_": "scripts.mine.Net"}}, False),
        ({"network_def": {"_target_": "monai.networks.nets.UNet", "_mode_": "debug"}}, False),
        ({"network_def": {"_target_": "torch.nn.Conv3d"}}, True),
        ({"network_def": "%other.json::net"}, False),
        ({"network_def": {**NETWORK, "channels": "@##width"}}, False),
        ({"network_def": NETWORK, "not used": "$exit()"}, True),
        ({"network_def": {"_target_": "SaveImage"}}, False),
    ],
)
def test_configurations(config, harmless):
    assert (why_bundle_can_run_code(config, ["network_def"]) == "") is harmless


def test_a_bundle_of_names_alone_needs_no_question(tmp_path):
    from monai.networks.nets import UNet

    (tmp_path / "configs").mkdir()
    (tmp_path / "models").mkdir()
    arguments = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2]}
    torch.save(UNet(**arguments).state_dict(), tmp_path / "models" / "model.pt")
    config = {
        "imports": ["$exit()"],
        "network_def": {"_target_": "UNet", **arguments},
        "preprocessing": {"_target_": "Compose", "transforms": [{"_target_": "ScaleIntensityd", "keys": "image"}]},
    }
    path = tmp_path / "configs" / "inference.json"
    path.write_text(json.dumps(config))
    assert load_model(tmp_path).task in (None, "segmentation")
    path.write_text(json.dumps({**config, "network_def": {"_target_": "UNet", **arguments, "dropout": "$exit()"}}))
    with pytest.raises(ConsentError, match="expression"):
        load_model(tmp_path)

"""Every method on a segmenter that answers by tiles; and the ways to have one: Python, JSON, bundle, command line."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import XAIExplainLib
from Testing.compute.tiled import monai, segmenter, tensor
from Testing.visual.asking import assert_close
from XAIExplainLib import cli
from XAIExplainLib.compute.tiles import SlidingWindow
from XAIExplainLib.consent import ConsentError
from XAIExplainLib.errors import XAIError
from XAIExplainLib.explaining import explain
from XAIExplainLib.explanation import Explanation
from XAIExplainLib.loading import load_model
from XAIExplainLib.method import methods
from XAIExplainLib.model import Model
from XAIExplainLib.target import Region, Voxel
from XAIExplainLib.target_combined import Difference
from XAIExplainLib.volume import Volume, save_volume

WINDOW = {"roi": 16, "overlap": 0.25, "mode": "gaussian"}
SHAPES = {3: (23, 20, 27), 2: (2, 23, 27)}
QUICK: dict[str, dict[str, Any]] = {
    "occlusion": {"window": 9, "stride": 9}, "integrated_gradients": {"steps": 8}, "rise": {"masks": 16},
    "lime": {"samples": 24, "regions": 8}, "kernel_shap": {"samples": 32, "regions": 6}, "smooth_grad": {"samples": 3},
    "gradient_shap": {"samples": 4}, "prediction_difference": {"window": 8, "stride": 8, "samples": 2},
    "meaningful_perturbation": {"steps": 3, "cell": 8, "replacement": "mean", "area": 0.2},
    "ensemble_cam": {"models": ["brain-lesion"]},
}  # fmt: skip
BY_LAYER = {
    "attention", "cam", "ensemble_cam", "grad_cam", "grad_cam_pp", "guided_grad_cam", "hires_cam", "layer_cam",
    "multi_scale_cam",
}  # fmt: skip
BY_SCORES = ("occlusion", "lime", "rise", "kernel_shap", "meaningful_perturbation", "prediction_difference")


class Whole(nn.Module):
    """All tiles and their blend as one network: what MONAI computes, in operations of which a graph can be made."""

    def __init__(self, network: nn.Module, window: SlidingWindow, spatial: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.tiles = network, window.tiles(spatial)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padded, total = self.tiles.pad(x), None
        for number, place in enumerate(self.tiles.places):
            sizes = [
                n
                for piece, size in zip(reversed(place), reversed(self.tiles.padded), strict=True)
                for n in (piece.start, size - piece.stop)
            ]
            answer = self.network(self.tiles.cut(padded, number)) * self.tiles.share(number, x)
            total = F.pad(answer, sizes) if total is None else total + F.pad(answer, sizes)
        return self.tiles.crop(total)


@functools.cache
def network(dims: int) -> nn.Module:
    return segmenter(dims, 1).float()


@functools.cache
def tiled(dims: int) -> Model:
    return Model(network(dims), spatial_dims=dims, sliding=WINDOW, task="segmentation", name="tiled")


@functools.cache
def whole(dims: int) -> Model:
    made = Whole(network(dims), SlidingWindow.of(WINDOW), SHAPES[3] if dims == 3 else SHAPES[2][1:])
    return Model(made, spatial_dims=dims, task="segmentation")


@functools.cache
def volume(dims: int) -> Volume:
    return Volume(tensor(*SHAPES[dims]).float().numpy())


def target(dims: int) -> Any:
    """In a corner, so that tiles are left out: a difference of two voxels of one tile."""
    return Difference(Voxel((3, 4, 0), 1), Voxel((5, 2, 0), 2)) if dims == 2 else Voxel((3, 2, 5), 1)


def asked(model: Model, dims: int, method: str, of: Any = None, **parameters: Any) -> Explanation:
    settings = {**QUICK.get(method, {}), **parameters}
    return explain(model, volume(dims), method, target(dims) if of is None else of, seed=3, **settings)


def same(found: Explanation, wanted: Explanation, tolerance: float = 1e-4) -> None:
    assert_close(torch.from_numpy(found.channels), torch.from_numpy(wanted.channels), tolerance)


@pytest.mark.parametrize("dims", [3, 2])
@pytest.mark.parametrize("method", list(methods()))
def test_every_method_is_that_of_the_whole_network_or_refuses(method: str, dims: int) -> None:
    """By tiles the map is that of one network that holds all tiles; what needs a layer's map of the image refuses."""
    if method in BY_LAYER:
        with pytest.raises(XAIError, match="answers by tiles, each with maps of its own") as caught:
            asked(tiled(dims), dims, method)
        assert caught.value.hint and "\n" not in str(caught.value)
        return
    extra = {"composite": "epsilon"} if method == "lrp" else {}
    found = asked(tiled(dims), dims, method, **extra)
    assert found.diagnostics["tiles"] == {3: 8, 2: 4}[dims]
    if method not in BY_SCORES:
        assert found.diagnostics["tiles_walked"] == 1
    if method in BY_SCORES and dims == 2 and method != "occlusion":
        assert np.isfinite(found.channels).all() and found.channels.any()
        return  # the same services as in 3D
    same(found, asked(whole(dims), dims, method, **extra), 1e-3 if method == "meaningful_perturbation" else 1e-4)


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus", "epsilon_alpha2_beta1_flat"])
@pytest.mark.parametrize("shape", [(23, 20, 27), (11, 20, 9)])
def test_relevance_is_kept(composite: str, shape: tuple[int, ...]) -> None:
    """What reaches the voxels, what is absorbed, and what falls to the constant around a small image make the score."""
    case = Volume(tensor(*shape).float().numpy())
    result = explain(Model(network(3), sliding=WINDOW), case, "lrp", 1, composite=composite)
    assert result.diagnostics["completeness_error"] < 1e-4 and result.diagnostics["start_is_score"]
    assert result.diagnostics["tiles_walked"] > 1
    assert abs(result.diagnostics["start_relevance"] / result.diagnostics["score"] - 1) < 1e-4
    padded = shape != (23, 20, 27)
    assert (result.diagnostics["padding_share"] != 0) == (padded and "flat" in composite)


@pytest.mark.parametrize("dims", [3, 2])
def test_attributions_add_up_over_all_tiles(dims: int) -> None:
    steps = asked(tiled(dims), dims, "integrated_gradients", 1, steps=64)
    assert steps.diagnostics["completeness_error"] < 0.02 and steps.diagnostics["tiles_walked"] > 2
    shares = asked(tiled(dims), dims, "deep_shap", 1, background="blur,0")
    assert shares.diagnostics["completeness_error"] < 1e-4 and shares.diagnostics["tiles_walked"] > 2
    gradient, product = (asked(tiled(dims), dims, name, 1) for name in ("gradient", "gradient_x_input"))
    assert_close(torch.from_numpy(product.channels), torch.from_numpy(gradient.channels * volume(dims).data), 1e-5)


def test_the_box_rule_takes_the_whole_images_box() -> None:
    one = asked(tiled(3), 3, "lrp", 1, composite="epsilon_plus_box")
    given = {"low": float(volume(3).data.min()), "high": float(volume(3).data.max())}
    same(one, asked(tiled(3), 3, "lrp", 1, composite="epsilon_plus_box", **given), 1e-6)


def test_a_region_far_away_leaves_the_map_empty_here() -> None:
    mask = np.zeros(SHAPES[3], np.float32)
    mask[0:3, 0:3, 0:3] = 1
    for method in ("gradient", "lrp", "guided_backpropagation"):
        result = asked(tiled(3), 3, method, Region(mask, 1))
        assert result.array[:, :, 16:].any() == result.array[16:].any() == False  # noqa: E712
        assert result.array[:16, :16, :16].any()


@pytest.mark.parametrize("method", ["gradient", "lrp", "deep_shap", "occlusion"])
def test_a_program_of_one_size_sees_images_of_any_by_tiles(method: str) -> None:
    """Exported for two slices of 16 x 16: asked about two slices of 23 x 27."""
    program = torch.export.export(network(2), (torch.zeros(2, 1, 16, 16),))
    found = asked(Model(program, spatial_dims=2, sliding=WINDOW, task="segmentation"), 2, method, 1)
    same(found, asked(tiled(2), 2, method, 1))


def test_the_prediction_is_monais() -> None:
    x = torch.from_numpy(volume(3).data)[None]
    answer = monai(x, network(3), WINDOW)
    prediction = tiled(3).predict(volume(3))
    assert list(prediction.voxels or ()) == torch.bincount(answer.argmax(1).flatten(), minlength=3).tolist()


def test_layers_are_not_listed() -> None:
    with pytest.raises(XAIError, match="answers by tiles"):
        tiled(3).layers(volume(3))
    assert Model(network(3), sliding=64, task="segmentation").sliding == SlidingWindow(64)
    assert len(Model(network(3), sliding=(0, 0, 0)).layers(Volume(np.zeros((16, 16, 16))))) > 5  # one tile


def test_a_sliding_window_is_public() -> None:
    assert XAIExplainLib.SlidingWindow is SlidingWindow


# -- loading -----------------------------------------------------------------------------------------------------------

UNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2]}


def unet() -> nn.Module:
    from monai.networks.nets import UNet

    torch.manual_seed(0)
    return UNet(**UNET).eval()


def described(folder: Path, **fields: Any) -> Path:
    torch.save(unet().state_dict(), folder / "weights.pt")
    path = folder / "model.json"
    network = {"monai": "UNet", "arguments": UNET}
    path.write_text(json.dumps({"network": network, "weights": "weights.pt", **fields}))
    return path


def test_a_json_file_says_the_window(tmp_path: Path) -> None:
    path = described(tmp_path, sliding={"roi": [16, 16, 16], "overlap": 0.5, "mode": "gaussian"})
    model = load_model(path)
    assert model.sliding == SlidingWindow((16, 16, 16), 0.5, "gaussian")
    x = tensor(1, 1, 23, 20, 27).float()
    wanted = monai(x, unet(), {"roi": (16, 16, 16), "overlap": 0.5, "mode": "gaussian"})
    torch.testing.assert_close(model(x), wanted.detach(), atol=1e-5, rtol=0)
    assert load_model(path, sliding=False).sliding is None and load_model(path, sliding=8).sliding == SlidingWindow(8)
    with pytest.raises(XAIError, match="Did you mean sliding"):
        load_model(described(tmp_path, slidin={"roi": 16}))
    with pytest.raises(XAIError, match="not understood"):
        load_model(described(tmp_path, sliding={"size": 16}))


def bundle(root: Path, **config: Any) -> Path:
    (root / "configs").mkdir(parents=True, exist_ok=True)
    (root / "models").mkdir(exist_ok=True)
    torch.save(unet().state_dict(), root / "models" / "model.pt")
    (root / "configs" / "inference.json").write_text(
        json.dumps({"network_def": {"_target_": "UNet", **UNET}, "patch": [16, 16, 8], **config})
    )
    return root


def test_a_bundle_says_the_window(tmp_path: Path) -> None:
    inferer = {
        "_target_": "SlidingWindowInferer", "roi_size": "@patch", "sw_batch_size": 4, "overlap": "$1 / 2",
        "mode": "gaussian", "sigma_scale": 0.25, "padding_mode": "replicate", "cval": -1, "device": "cpu",
    }  # fmt: skip
    model = load_model(bundle(tmp_path / "a", inferer=inferer))  # no question: nothing but names and numbers
    assert model.sliding == SlidingWindow((16, 16, 8), 0.5, "gaussian", 0.25, 4, "replicate", -1)
    plain = load_model(bundle(tmp_path / "b", inferer={"_target_": "monai.inferers.SimpleInferer"}))
    assert plain.sliding is None and "inferer" not in plain.information
    assert load_model(bundle(tmp_path / "c")).sliding is None
    short = {"_target_": "monai.inferers.SlidingWindowInferer", "roi_size": [16, None, 16]}
    assert load_model(bundle(tmp_path / "d", validate={"inferer": short})).sliding == SlidingWindow((16, -1, 16))
    assert load_model(tmp_path / "a", sliding=8).sliding == SlidingWindow(8)
    assert load_model(tmp_path / "a", sliding=False).sliding is None
    assert load_model(tmp_path / "a", task="multilabel").sliding is None


@pytest.mark.parametrize(
    "inferer",
    [
        {"_target_": "SliceInferer", "roi_size": [16, 16], "spatial_dim": 0}, "$my.inferer()",
        {"_target_": "SlidingWindowInferer", "roi_size": [16, 16]},
        {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "with_coord": True},
    ],
)  # fmt: skip
def test_other_inferers_of_bundles_are_left_out_and_it_is_said(tmp_path: Path, inferer: Any) -> None:
    model = load_model(bundle(tmp_path / "a", inferer=inferer))
    assert model.sliding is None and "left out" in model.information["inferer"]


def test_a_bundles_window_that_runs_code_asks_first(tmp_path: Path) -> None:
    inferer = {"_target_": "SlidingWindowInferer", "roi_size": "$[__import__('math').gcd(16, 32)] * 3"}
    with pytest.raises(ConsentError):
        load_model(bundle(tmp_path / "a", inferer=inferer))
    assert load_model(tmp_path / "a", consent=True).sliding == SlidingWindow((16, 16, 16))


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, case = described(tmp_path, classes=["a", "b"]), save_volume(volume(3), None, tmp_path / "case.nrrd")
    words = ["explain", "--volume", str(case), "--model", str(path), "--method", "gradient"]
    words += ["--target", "voxel:2,3,4:b"]
    assert cli.main([*words, "--output", str(tmp_path / "map.nrrd"), "--sliding", "16,16,16", "--quiet"]) == 0
    record = json.loads((tmp_path / "map.json").read_text())
    assert record["diagnostics"]["tiles"] == 8 and record["diagnostics"]["tiles_walked"] == 1
    assert cli.main([*words, "--output", str(tmp_path / "whole.nrrd"), "--sliding", "none"]) == 2
    assert "its shape is (1, 2, 24, 20, 28)" in capsys.readouterr().err  # the network takes even sizes only
    assert cli.main([*words, "--output", str(tmp_path / "x.nrrd"), "--sliding", "wide"]) == 2
    assert "--sliding cannot be 'wide'" in capsys.readouterr().err

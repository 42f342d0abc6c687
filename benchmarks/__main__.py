"""Run by ``python3 xai.py bench [--quick] [--output FILE]``; writes ``benchmarks/results.md``."""

from __future__ import annotations

import argparse
import platform
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import IntegratedGradients, LayerGradCam, Occlusion, Saliency
from monai.networks.nets import DenseNet121, resnet18
from monai.visualize import GradCAM, OcclusionSensitivity, VanillaGrad
from torch import nn

from benchmarks.timing import in_turns
from XAIExplainLib import Model, Volume, explain
from XAIExplainLib.allocator import keep_freed_memory

RESULTS = Path(__file__).with_name("results.md")


def plain() -> nn.Module:
    """Six convolutions of 16, 32, 64 channels with batch norm and ReLU, three max pools, global average pooling."""
    layers: list[nn.Module] = []
    channels = 1
    for width in (16, 32, 64):
        for _ in range(2):
            layers += [nn.Conv3d(channels, width, 3, padding=1), nn.BatchNorm3d(width), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool3d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(channels, 3))


@dataclass
class Setting:
    """A network and an image; the weights are random, the batch norms calibrated on noise."""

    name: str
    network: nn.Module
    layer: str
    size: int

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.x = torch.randn(1, 1, self.size, self.size, self.size)
        with torch.no_grad():
            self.network.train()(torch.randn(2, 1, self.size, self.size, self.size))
        self.network.eval()
        self.model = Model(self.network)
        self.volume = Volume(self.x[0, 0].numpy())

    def ours(self, method: str, **parameters: Any) -> np.ndarray:
        """Our map for class 0."""
        return explain(self.model, self.volume, method, 0, **parameters).array

    def forward(self) -> torch.Tensor:
        """F: one forward pass without gradients."""
        with torch.no_grad():
            return self.network(self.x)


def settings(quick: bool) -> list[Setting]:
    """The networks to measure."""
    chosen = [Setting("plain 64", plain(), "19", 64)]
    if not quick:
        chosen.append(Setting("resnet18 64", resnet18(spatial_dims=3, n_input_channels=1, num_classes=3), "layer4", 64))
        chosen.append(Setting("DenseNet121 64", DenseNet121(spatial_dims=3, in_channels=1, out_channels=3),
                              "features.norm5", 64))  # fmt: skip
    return chosen


def runs_of(setting: Setting) -> dict[str, tuple[int, dict[str, Callable[[], Any]]]]:
    """By method: rounds, and what runs in turns. Each returns a map (k, j, i) for class 0."""
    network, x = setting.network, setting.x

    def peer(found: Any) -> np.ndarray:
        return np.asarray(torch.as_tensor(found).detach())[0, 0]

    def occlusion_monai() -> np.ndarray:
        with torch.no_grad():
            maps, _ = OcclusionSensitivity(network, mask_size=8, n_batch=8, overlap=0.0, mode=0.0, activate=False,
                                           verbose=False)(x)  # fmt: skip
            return float(network(x)[0, 0]) - np.asarray(maps)[0, 0]

    layer = network.get_submodule(setting.layer)
    found: dict[str, tuple[int, dict[str, Callable[[], Any]]]] = {
        "gradient": (3, {
            "ours": lambda: setting.ours("gradient"),
            "captum": lambda: peer(Saliency(network).attribute(x, target=0, abs=False)),
            "MONAI": lambda: peer(VanillaGrad(network)(x, index=0)),
        }),
        "Grad-CAM": (3, {
            "ours": lambda: setting.ours("grad_cam", layer=setting.layer),
            "captum": lambda: peer(nn.functional.interpolate(
                LayerGradCam(network, layer).attribute(x, 0, relu_attributions=True), x.shape[2:], mode="trilinear")),
            "MONAI": lambda: peer(GradCAM(network, setting.layer, postprocessing=lambda m: m)(x, class_idx=0)),
        }),
    }  # fmt: skip
    if setting.name.startswith("plain"):  # these take many minutes on the others
        found["integrated gradients, 20 steps"] = (2, {
            "ours": lambda: setting.ours("integrated_gradients"),
            "captum": lambda: peer(IntegratedGradients(network).attribute(
                x, target=0, n_steps=20, method="gausslegendre", internal_batch_size=4)),
        })  # fmt: skip
        found["occlusion 8/8"] = (1, {
            "ours": lambda: setting.ours("occlusion"),
            "captum": lambda: peer(Occlusion(network).attribute(
                x, (1, 8, 8, 8), strides=(1, 8, 8, 8), target=0, perturbations_per_eval=8)),
            "MONAI": occlusion_monai,
        })  # fmt: skip
    if setting.name.startswith("DenseNet"):  # MONAI's and captum's hooks raise there, and MONAI's stay behind
        del found["Grad-CAM"]
    return found


def row(setting: Setting, name: str, rounds: int, runs: dict[str, Callable[[], Any]], forward: float) -> str:
    """One line of the table."""
    maps: dict[str, np.ndarray] = {}
    ratio = dict.fromkeys(("captum", "MONAI"), "")
    for who, run in runs.items():
        try:
            maps[who] = run()
        except RuntimeError:  # hooks and in-place activations: the peers raise on some networks
            ratio[who] = "fails"
    # The maps above were the round that does not count.
    seconds = in_turns({who: run for who, run in runs.items() if who in maps}, rounds)
    ratio.update({who: f"{seconds[who] / seconds['ours']:.1f}" for who in ratio if who in seconds})
    difference = ""
    if "captum" in maps:
        largest = max(np.abs(maps["captum"]).max(), 1e-30)
        difference = f"{np.abs(maps['ours'] - maps['captum']).max() / largest:.0e}"
    return (
        f"| {setting.name} | {name} | {seconds['ours']:.2f} | {seconds['ours'] / forward:.1f} | {ratio['captum']} | "
        f"{ratio['MONAI']} | {difference} |"
    )


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="xai.py bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the plain network only")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    keep_freed_memory()  # for the peers too
    lines = [
        "# Against captum and MONAI", "",
        "Made by `python3 xai.py bench`. Processor seconds of one thread, the least of several rounds in turns, warm:",
        "the graph is made once a network and size, and not counted. F is one forward pass. A ratio above 1 means that",
        "ours is faster, and where a peer raises it says so. The difference is the largest to captum's map, over the",
        "map's largest value. Random weights.",
        "",
        "| network | method | ours, s | ours / F | captum / ours | MONAI / ours | difference |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for setting in settings(arguments.quick):
        setting.forward()
        forward = in_turns({"F": setting.forward}, 5)["F"]
        for name, (rounds, runs) in runs_of(setting).items():
            lines.append(row(setting, name, rounds, runs, forward))
            sys.stdout.write(lines[-1] + "\n")
            sys.stdout.flush()
    lines += ["", f"{platform.machine()}, torch {torch.__version__}, {platform.system()}.", ""]
    arguments.output.write_text("\n".join(lines), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A small segmenter that answers by tiles, and the same by MONAI's own function, in double precision."""

from __future__ import annotations

import functools
from typing import Any

import torch
from monai.inferers import sliding_window_inference
from torch import nn

from Testing.networks_zoo import settle
from XAIExplainLib.model import Model
from XAIExplainLib.prepared import Prepared
from XAIExplainLib.question import Question
from XAIExplainLib.target import ClassTarget
from XAIExplainLib.volume import Volume

_GRAPHS: dict[Any, dict[Any, Any]] = {}  # by network, so that each is exported once for a size of tile


class Segmenter(nn.Module):
    """Two levels with a skip, batch norm and pool; `instance` adds what sees the whole tile."""

    def __init__(self, dims: int = 3, channels: int = 1, classes: int = 3, instance: bool = False) -> None:
        super().__init__()
        conv, norm, pool, up = (
            (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d, nn.ConvTranspose3d)
            if dims == 3
            else (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.ConvTranspose2d)
        )
        whole = nn.InstanceNorm3d if dims == 3 else nn.InstanceNorm2d
        self.first = nn.Sequential(conv(channels, 4, 3, padding=1), norm(4), nn.ReLU())
        self.deep = nn.Sequential(pool(2), conv(4, 6, 3, padding=1), whole(6) if instance else norm(6), nn.ReLU())
        self.up = up(6, 4, 2, stride=2)
        self.last = conv(8, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.first(x)
        return self.last(torch.cat([first, self.up(self.deep(first))], 1))


def tensor(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@functools.cache
def segmenter(dims: int, channels: int = 1, instance: bool = False) -> Segmenter:
    """One whose classes are all found in a random image."""
    torch.manual_seed(3)
    network = settle(Segmenter(dims, channels, instance=instance)).double()
    with torch.no_grad():
        logits = network(tensor(2, channels, *[16] * dims)).transpose(0, 1).flatten(1)
        network.last.weight *= (2 / logits.std(1)).reshape(-1, *[1] * (dims + 1))
        network.last.bias.zero_()
        network.last.bias -= network(tensor(2, channels, *[16] * dims)).transpose(0, 1).flatten(1).mean(1)
    return network


def monai(x: torch.Tensor, network: Any, window: dict[str, Any]) -> torch.Tensor:
    """The answer by MONAI's function to the settings of ours."""
    return sliding_window_inference(
        x, window["roi"], window.get("batch", 1), network, window.get("overlap", 0.25), window.get("mode", "constant"),
        window.get("sigma", 0.125), window.get("padding", "constant"), window.get("padding_value", 0.0),
    )  # fmt: skip


def tiled_question(
    x: torch.Tensor, window: Any, target: Any = None, instance: bool = False, network: Any = None, memory: int = 2**30,
    **arguments: Any,
) -> Question:  # fmt: skip
    """A question in double precision about a tensor (1, C, k, j, i) or slices (N, C, j, i)."""
    dims = x.dim() - 2
    made = segmenter(dims, x.shape[1], instance) if network is None else network
    model = Model(made, spatial_dims=dims, sliding=window, task="segmentation")
    made.double()  # Model has it in single precision
    model.graphs = _GRAPHS.setdefault(made, {})
    volume = Volume((x[0] if dims == 3 else x.transpose(0, 1)).float().numpy())
    there = model.prepare(volume)
    prepared = Prepared(x, there.geometry, there.volume, there.axis, there.slices)
    return Question(model, prepared, ClassTarget(1) if target is None else target, memory, **arguments)

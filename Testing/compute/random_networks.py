"""Random small networks of every operation that works on patches, and some that do not."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import nn
from torch.nn import functional


class RandomNetwork(nn.Module):
    """A chain of blocks drawn at random, with residual, dense and U connections, in 2D or 3D.

    Parameters
    ----------
    draw : random.Random
        What decides.
    dims : int
        Axes of the image.
    channels : int
        Of the image.
    spatial : tuple of int
        The image's size.
    depth : int
        How many blocks.
    """

    def __init__(self, draw: random.Random, dims: int, channels: int, spatial: tuple[int, ...], depth: int) -> None:
        super().__init__()
        self.dims, self.blocks, self.words = dims, nn.ModuleList(), []
        self._draw, self._of = draw, lambda name: getattr(nn, f"{name}{dims}d")
        shape = (channels, *spatial)
        self.plan: list[tuple[str, Any]] = []
        x = torch.zeros(1, *shape)
        self.kept: list[tuple[int, ...]] = []
        for _ in range(depth):
            x = self._block(x)
        self.end = draw.choice(["mean", "mean", "adaptive", "amax", "flat", "map"])
        self.head = nn.Linear(x.shape[1], 3)

    def _block(self, x: torch.Tensor) -> torch.Tensor:
        """Draw one block that x can pass; what it makes of x."""
        draw = self._draw
        for _ in range(20):
            kind = draw.choice(KINDS)
            number = len(self.blocks)
            module, extra = self._made(kind, x.shape[1], draw)
            self.blocks.append(module)
            try:
                made = self._done(kind, number, extra, x)
                if min(made.shape[2:]) < 3 or max(made.shape[2:]) > 40 or made.shape[1] > 12:
                    raise ValueError
            except (RuntimeError, ValueError):
                del self.blocks[number]
                continue
            self.plan.append((kind, extra))
            return made
        return x

    def _made(self, kind: str, channels: int, draw: random.Random) -> tuple[nn.Module, Any]:
        dims, of = self.dims, self._of
        sides = [draw.choice((1, 2, 3, 3, 4)) for _ in range(dims)]
        groups = draw.choice([n for n in (1, 2, 3, channels) if channels % n == 0])
        wide = groups * draw.randint(1, 3)
        strides = [draw.choice((1, 1, 2, 3)) for _ in range(dims)]
        pads = [draw.randint(0, side) for side in sides]
        dilations = [draw.choice((1, 1, 2, 3)) for _ in range(dims)]
        if kind == "conv":
            return of("Conv")(channels, wide, sides, strides, pads, dilations, groups, draw.random() < 0.5), None
        if kind == "same":
            return of("Conv")(channels, wide, sides, 1, draw.choice(["same", "valid"]), dilations, groups), None
        if kind == "transposed":
            strides = [draw.choice((1, 2)) for _ in range(dims)]
            beyond = [draw.randint(0, max(s, d) - 1) for s, d in zip(strides, dilations, strict=True)]
            return of("ConvTranspose")(channels, wide, sides, strides, pads, beyond, groups, True, dilations), None
        if kind == "norm":
            return of("BatchNorm")(channels), None
        half = [draw.randint(0, side // 2) for side in sides]
        if kind == "max":
            return of("MaxPool")(sides, strides, half, dilations, ceil_mode=draw.random() < 0.5), None
        if kind == "average":
            return of("AvgPool")(
                sides, strides, half, draw.random() < 0.5, draw.random() < 0.5, draw.choice((None, None, 5))
            ), None  # fmt: skip
        if kind == "upsample":
            return nn.Upsample(scale_factor=draw.choice((2, 3)), mode="nearest"), None
        if kind == "prelu":
            return nn.PReLU(draw.choice((1, channels))), None
        if kind == "act":
            return draw.choice((nn.ReLU(True), nn.ReLU(), nn.LeakyReLU(0.1), nn.GELU(), nn.SiLU(True), nn.Tanh())), None
        if kind in ("residual", "dense", "gate", "u"):
            inner = nn.Sequential(of("Conv")(channels, channels, 3, 1, 1), of("BatchNorm")(channels), nn.ReLU(True))
            if kind == "u":
                inner = nn.Sequential(of("Conv")(channels, 4, 3, 2, 1), nn.ReLU(),
                                      of("ConvTranspose")(4, channels, 2, 2))  # fmt: skip
            return inner, draw.choice(("add", "sub", "mul", "maximum", "twice"))
        if kind == "pad":
            return nn.Identity(), tuple(draw.randint(0, 2) for _ in range(2 * dims))
        if kind == "channels":
            return nn.Identity(), draw.randint(1, channels)
        if kind == "adaptive":
            return of("AdaptiveAvgPool")(draw.choice((3, 4, 5))), None
        if kind == "instance":
            return of("InstanceNorm")(channels, affine=True), None
        return nn.Identity(), kind

    def _done(self, kind: str, number: int, extra: Any, x: torch.Tensor) -> torch.Tensor:
        made = self.blocks[number](x)
        if kind in ("residual", "u"):
            if kind == "u":
                made = made[(..., *(slice(n) for n in x.shape[2:]))]
            if extra == "twice":
                made += x
                return made * 0.5 + 1.5 * x
            return getattr(torch, extra)(made, x)
        if kind == "dense":
            return torch.cat([x, functional.relu(made)], 1)
        if kind == "gate":
            return made * torch.sigmoid(made.mean(tuple(range(2, 2 + self.dims)), keepdim=True))
        if kind == "pad":
            return functional.pad(x, extra)
        if kind == "channels":
            return x[:, :extra]
        return made

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for number, (kind, extra) in enumerate(self.plan):
            x = self._done(kind, number, extra, x)
        axes = tuple(range(2, 2 + self.dims))
        if self.end == "map":
            return x
        if self.end == "adaptive":
            x = getattr(functional, f"adaptive_avg_pool{self.dims}d")(x, 1).flatten(1)
        elif self.end == "amax":
            x = x.amax(axes)
        elif self.end == "flat":
            x = x.flatten(2).mean(2)
        else:
            x = x.mean(axes)
        return self.head(x)


KINDS = (
    "conv", "conv", "conv", "same", "transposed", "norm", "norm", "max", "max", "average", "upsample", "prelu", "act",
    "act", "residual", "dense", "u", "gate", "pad", "channels", "adaptive", "instance",
)  # fmt: skip


def settled(network: nn.Module, seed: int = 0) -> nn.Module:
    """In eval mode and double precision, with running statistics that do something."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean = torch.randn(module.num_features, generator=generator) * 0.2
            module.running_var = torch.rand(module.num_features, generator=generator) + 0.5
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network.eval().double()

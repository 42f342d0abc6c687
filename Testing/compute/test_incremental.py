"""Only what a box can reach is computed again, and the answer is that of a whole pass."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from monai.networks.nets import DenseNet, UNet, resnet10
from torch import nn
from torch.nn import functional

from XAIExplainLib.compute.graph import export
from XAIExplainLib.compute.incremental import Incremental, Patch, reach, share_of_operations


class Mixed(nn.Module):
    """Strides, dilation, groups, named padding, ceil mode, residual, concatenation, a gate, functional forms."""

    def __init__(self, dims: int, width: int, stride: int, ceil: bool, gate: bool) -> None:
        super().__init__()
        conv = nn.Conv3d if dims == 3 else nn.Conv2d
        norm = nn.BatchNorm3d if dims == 3 else nn.BatchNorm2d
        self.pool = functional.max_pool3d if dims == 3 else functional.max_pool2d
        self.first = conv(2, width, 3, stride=stride, padding=1)
        self.norm = norm(width)
        self.wide = conv(width, width, 3, padding="same", dilation=2, groups=width)
        self.even = conv(width, width, 2, padding="same")
        self.act = nn.PReLU(width)
        self.last = conv(2 * width, 4, 1)
        self.gate = conv(4, 4, 1) if gate else None
        self.axes, self.ceil = tuple(range(2, 2 + dims)), ceil

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.leaky_relu(self.norm(self.first(x)), 0.1)
        z = self.act(self.even(y)) + self.wide(y)
        z += y
        z = self.pool(torch.cat((z, y), 1), 3, 2, 1, 1, self.ceil)
        z = functional.gelu(self.last(z))
        if self.gate is not None:
            z = z * torch.sigmoid(self.gate(z.mean(self.axes, keepdim=True)))
        return z.mean(self.axes)


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


def compare(network: nn.Module, shape: tuple[int, ...], box: tuple[int, ...], count: int = 5, seed: int = 0) -> float:
    """Largest difference to whole passes, over random boxes and those in the corners."""
    torch.manual_seed(seed)
    random.seed(seed)
    x = torch.randn(1, *shape, dtype=torch.float64)
    spatial = shape[1:]
    box = tuple(min(b, n) for b, n in zip(box, spatial, strict=True))
    lows = [tuple(random.randint(0, n - b) for n, b in zip(spatial, box, strict=True)) for _ in range(count)]
    lows += [(0,) * len(box), tuple(n - b for n, b in zip(spatial, box, strict=True))]
    values = torch.randn(len(lows), shape[0], *box, dtype=torch.float64)
    images: Any = x.repeat(len(lows), *[1] * len(shape))
    for row, low in enumerate(lows):
        images[(row, slice(None), *(slice(n, n + b) for n, b in zip(low, box, strict=True)))] = values[row]
    found = Incremental(export(network, x), x).outputs(Patch(values, tuple(lows)))
    return float((found - network(images)).abs().max())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("dims", [2, 3])
def test_equals_whole_passes_on_random_networks(dims, seed):
    random.seed(seed)
    network = Mixed(dims, random.choice((2, 4)), random.choice((1, 2, 3)), random.random() < 0.5, random.random() < 0.5)
    shape = (2, *(random.randint(13, 26) for _ in range(dims)))
    box = tuple(random.randint(1, 7) for _ in range(dims))
    assert compare(settled(network, seed), shape, box, seed=seed) < 1e-12


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (lambda: resnet10(spatial_dims=3, n_input_channels=1, num_classes=3), (1, 33, 35, 31)),
        (lambda: DenseNet(3, 1, 3, init_features=8, growth_rate=4, block_config=(2, 2, 2)), (1, 32, 29, 33)),
        (lambda: UNet(3, 1, 2, (4, 8, 16), (2, 2), num_res_units=1, norm="batch"), (1, 24, 24, 24)),
        (lambda: UNet(3, 1, 2, (4, 8, 16), (2, 2), num_res_units=1, norm="instance"), (1, 24, 24, 24)),
    ],
)
def test_equals_whole_passes_on_known_networks(network, shape):
    torch.manual_seed(1)
    assert compare(settled(network()), shape, (5, 6, 4)) < 1e-10


def test_a_box_as_large_as_the_image_is_a_whole_pass():
    assert compare(settled(Mixed(3, 2, 1, False, False)), (2, 9, 8, 7), (99, 99, 99), count=1) < 1e-12


def test_reach_is_what_changes():
    """The cells that `reach` names are those that a change of the box changes, for every stride and padding."""
    for kernel, stride, padding, dilation in [(3, 1, 1, 1), (3, 2, 1, 1), (5, 3, 2, 1), (3, 1, 2, 2), (2, 2, 0, 1)]:
        conv = nn.Conv1d(1, 1, kernel, stride, padding, dilation, bias=False)
        nn.init.constant_(conv.weight, 1.0)
        for start in range(0, 20):
            x = torch.zeros(1, 1, 23)
            x[..., start : start + 3] = 1
            changed = conv(x)[0, 0].nonzero().flatten().tolist()
            (low,), size = reach(((start,),), (3,), tuple(conv(x).shape[2:]), [kernel], [stride], [padding], [dilation])
            named = range(low[0], low[0] + size[0])
            assert set(changed) <= set(named)
            assert len(named) <= max(len(changed), 1) + 1


def test_share_of_operations_falls_with_the_size_of_the_image():
    network = settled(nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv3d(2, 2, 3, padding=1)))
    shares = [
        share_of_operations(export(network, torch.zeros(1, 1, n, n, n, dtype=torch.float64)), (4, 4, 4))
        for n in (12, 24)
    ]
    costs = (1 * 2 * 27, 2 * 2 * 27)
    for n, share in zip((12, 24), shares, strict=True):
        wanted = (6**3 * costs[0] + 8**3 * costs[1]) / (n**3 * sum(costs))
        assert share == pytest.approx(wanted)

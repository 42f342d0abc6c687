"""Only what a box can reach is computed again, and the answer is that of a whole pass."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets import DenseNet, UNet, resnet10
from torch import nn
from torch.nn import functional

from Testing.compute.random_networks import settled
from XAIExplainLib.compute.cost import Chunk
from XAIExplainLib.compute.folding import steps_of
from XAIExplainLib.compute.graph import export
from XAIExplainLib.compute.incremental import Incremental
from XAIExplainLib.compute.patches import Patch, Places


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
    incremental, wanted = Incremental(export(network, x), x), network(images)
    plan = incremental.plan(lows, np.broadcast_to(box, (len(lows), len(box))))
    as_costs_decide = incremental.outputs(Patch(values, lows))
    every_patch = Chunk(np.arange(len(lows)), len(incremental.steps), 0.0)
    as_far_as_may_be = incremental.answers(plan, every_patch, Patch(values, lows))
    return max(float((found - wanted).abs().max()) for found in (as_costs_decide, as_far_as_may_be))


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
    """The cells that a step names are those that a change of the box changes, for every stride and padding."""
    for kernel, stride, padding, dilation in [(3, 1, 1, 1), (3, 2, 1, 1), (5, 3, 2, 1), (3, 1, 2, 2), (2, 2, 0, 1)]:
        conv = settled(nn.Conv2d(1, 1, kernel, stride, padding, dilation, bias=False))
        nn.init.constant_(conv.weight, 1.0)
        size = conv(torch.zeros(1, 1, 23, 23, dtype=torch.float64)).shape[2:]
        (step,) = steps_of(export(conv, torch.zeros(1, 1, 23, 23, dtype=torch.float64)), torch.zeros(1).double())
        for start in range(0, 20):
            x = torch.zeros(1, 1, 23, 23, dtype=torch.float64)
            x[..., start : start + 3, :] = 1
            changed = conv(x)[0, 0].amax(1).nonzero().flatten().tolist()
            places = step.reach([Places(np.array([[start, 0]]), np.array([[start + 3, 23]]))])
            named = range(int(places.low[0, 0]), int(places.high[0, 0]))
            assert set(changed) <= set(named) <= set(range(size[0]))
            assert len(named) <= max(len(changed), 1) + (dilation > 1)


def test_share_of_operations_falls_with_the_size_of_the_image():
    network = settled(nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv3d(2, 2, 3, padding=1)))
    costs = (1 * 2 * 27, 2 * 2 * 27)
    for n in (12, 24):
        x = torch.zeros(1, 1, n, n, n, dtype=torch.float64)
        incremental = Incremental(export(network, x), x)
        middle = np.full((1, 3), (n - 4) // 2)
        wanted = (6**3 * costs[0] + 8**3 * costs[1]) / (n**3 * sum(costs))
        assert incremental.plan(middle, np.full((1, 3), 4)).share == pytest.approx(wanted)
        corner = (5**3 * costs[0] + 6**3 * costs[1]) / (n**3 * sum(costs))
        assert incremental.plan(np.zeros((1, 3)), np.full((1, 3), 4)).share == pytest.approx(corner)


def test_batch_norm_and_activation_cost_no_step_of_their_own():
    network = settled(nn.Sequential(
        nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2), nn.ReLU(), nn.ConvTranspose3d(2, 4, 2, 2, groups=2), nn.BatchNorm3d(4),
        nn.Dropout(), nn.PReLU(4),
    ))  # fmt: skip
    x = torch.randn(1, 1, 9, 8, 7, dtype=torch.float64)
    steps = steps_of(export(network, x), x)
    assert [type(step).__name__ for step in steps] == ["Convolution", "Transposed"]
    made = steps[1].whole({steps[1].sources[0]: steps[0].whole({steps[0].sources[0]: x})})
    assert torch.allclose(made, network(x), atol=1e-12)


class Shared(nn.Module):
    """Activations after operations that may hand on the memory of their source, which is read again."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        z = functional.relu(functional.pad(y, (0,) * 6)) + y
        return (functional.relu(functional.interpolate(z, scale_factor=1, mode="nearest")) * z).mean((2, 3, 4))


def test_nothing_that_is_read_again_is_overwritten():
    assert compare(settled(Shared()), (1, 9, 8, 7), (3, 2, 3)) < 1e-12


def test_one_base_answers_for_boxes_of_all_sizes():
    """The base's values are made once for small boxes, and again only when larger plans need more of them."""
    network = settled(Mixed(3, 4, 1, True, False))
    x = torch.randn(1, 2, 20, 21, 22, dtype=torch.float64)
    incremental = Incremental(export(network, x), x)
    for size in (3, 9, 2, 20):
        values = torch.randn(2, 2, size, size, size, dtype=torch.float64)
        images = x.repeat(2, 1, 1, 1, 1)
        images[:, :, :size, :size, :size] = values
        found = incremental.outputs(Patch(values, [(0, 0, 0)] * 2))
        assert float((found - network(images)).abs().max()) < 1e-12


def test_it_can_be_stopped():
    class StopIt(Exception):
        pass

    told = []

    def check():
        told.append(1)
        if len(told) > 14:
            raise StopIt

    network = settled(Mixed(2, 2, 1, False, False))
    x = torch.randn(1, 2, 20, 20, dtype=torch.float64)
    incremental = Incremental(export(network, x), x, check)
    with pytest.raises(StopIt):
        incremental.outputs(Patch(x[..., :3, :3], [(0, 0)]))

"""Plans: every variation once, boxes that hold what differs, batches within the memory, the cheaper of two ways."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from Testing.compute.graphs import graph_of
from Testing.networks_zoo import BY_NAME
from XAIExplainLib.compute.graph import export
from XAIExplainLib.compute.incremental import Incremental
from XAIExplainLib.compute.patches import Patch
from XAIExplainLib.compute.steps_windowed import Convolution


def windows(spatial, size):
    lows = np.array(list(itertools.product(*[range(0, n, size) for n in spatial])))
    return lows, np.minimum(np.array(spatial) - lows, size)


@pytest.mark.parametrize("name", ["plain", "plain odd, three channels", "resnet10", "odd", "unet", "plain 2D", "vit"])
def test_every_window_once_and_the_same_each_time(name):
    x = BY_NAME[name].image(1)
    incremental = Incremental(graph_of(name), x)
    lows, sizes = windows(x.shape[2:], 5)
    plan = incremental.plan(lows, sizes)
    chunks = plan.chunks(7, 1e9, 1e9, 1.0)
    assert sorted(np.concatenate([chunk.rows for chunk in chunks]).tolist()) == list(range(len(lows)))
    assert max(len(chunk.rows) for chunk in chunks) <= 7
    again = incremental.plan(lows, sizes).chunks(7, 1e9, 1e9, 1.0)
    assert [(one.rows.tolist(), one.cut) for one in chunks] == [(one.rows.tolist(), one.cut) for one in again]
    assert 0 < plan.share <= 1
    # A chunk's step with patches holds what differs in each of its variations.
    for chunk in chunks:
        for step in incremental.steps[: chunk.cut]:
            if isinstance(step, Convolution) and step.local:
                places = plan.places(step.name, chunk.rows)
                low, box = places.box(step.grid)
                assert (low >= 0).all() and (low <= places.low).all() and (low + box >= places.high).all()
                assert (low + box <= np.array(step.grid)).all()


def test_a_network_that_begins_with_the_mean_of_the_image():
    x = torch.randn(1, 2, 6, 7, 8, dtype=torch.float64)
    network = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 3)).double().requires_grad_(False)
    values = torch.randn(2, 2, 2, 2, 2, dtype=torch.float64)
    images = x.repeat(2, 1, 1, 1, 1)
    images[:, :, :2, :2, :2] = values
    found = Incremental(export(network, x), x).outputs(Patch(values, [(0, 0, 0)] * 2))
    assert torch.allclose(found, network(images), atol=1e-12)


def test_less_memory_makes_smaller_chunks():
    x = BY_NAME["resnet10"].image(1)
    incremental = Incremental(graph_of("resnet10"), x)
    plan = incremental.plan(*windows(x.shape[2:], 4))
    sizes = [max(len(chunk.rows) for chunk in plan.chunks(32, 1e12, memory, 1e9)) for memory in (1e12, 2e6, 1e3)]
    assert sizes[0] > sizes[1] > sizes[2] == 1


def test_small_windows_stay_patches_and_large_ones_do_not():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv3d(16, 16, 3, padding=1)).eval()
    x = torch.zeros(1, 1, 48, 48, 48)
    incremental = Incremental(export(network, x), x)
    for size, cut, cheap in ((4, 2, True), (47, 0, False)):
        plan = incremental.plan([[0, 0, 0]], [[size] * 3])
        (chunk,) = plan.chunks(32, 1e9, 1e9, 1.0)
        assert chunk.cut == cut and (chunk.seconds < 0.2 * plan.whole) == cheap
        assert chunk.seconds <= 1.1 * plan.whole


def test_windows_at_the_edge_take_less():
    """Boxes that the edge cuts off are in chunks of their own, where that saves more than it costs."""
    torch.manual_seed(0)
    network = nn.Sequential(*[nn.Conv3d(a, 32, 3, padding=1) for a in (1, 32, 32, 32)]).eval()
    x = torch.zeros(1, 1, 64, 64, 64)
    incremental = Incremental(export(network, x), x)
    lows, sizes = windows(x.shape[2:], 8)
    chunks = incremental.plan(lows, sizes).chunks(32, 1e12, 1e12, 1e9)
    corner = next(chunk for chunk in chunks if 0 in chunk.rows)
    middle = next(chunk for chunk in chunks if 4 * 64 + 4 * 8 + 4 in chunk.rows)
    assert corner.seconds < 0.7 * middle.seconds

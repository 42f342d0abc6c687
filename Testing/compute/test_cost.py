"""Plans: every variation once, boxes that hold what differs, batches within the memory, the cheaper of two ways."""

import gc
import itertools
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from Testing.compute.graphs import graph_of
from Testing.networks_zoo import BY_NAME
from XAIExplainLib.compute import cost
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


def deep(layers=60, size=12):
    """Many small operations, each of which takes longer to begin than to do, and an image that they all reach."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), *[nn.Conv2d(2, 2, 3, padding=1) for _ in range(layers)])
    x = torch.zeros(1, 1, size, size)
    return Incremental(export(network.eval(), x), x)


def test_few_small_variations_are_left_to_whole_passes_at_once(monkeypatch):
    """Nothing is followed through the network where even the smallest box in a corner would not be worth it."""
    incremental = deep()
    for number in (1, 2):  # says so, and is known from now on
        incremental.plan([[0, 0]] * number, [[4, 4]] * number).chunks(32, 1e9, 1e9, 1.0)
    monkeypatch.setattr(Convolution, "reach", lambda *_: pytest.fail("the boxes were followed"))
    for number in (1, 2):
        plan = incremental.plan([[4, 4]] * number, [[5, 5]] * number)
        (chunk,) = plan.chunks(32, 1e9, 1e9, 1.0)
        assert chunk.cut == 0 and chunk.rows.tolist() == list(range(number))
        assert chunk.seconds * number == pytest.approx(plan.whole)
    monkeypatch.undo()
    assert 0 < plan.share < 1  # what differs to the voxel is still known


def test_what_begins_once_weighs_more_on_few():
    x = BY_NAME["resnet10"].image(1)
    incremental = Incremental(graph_of("resnet10"), x)
    each = []
    for number in (1, 4, 16, 32):
        plan = incremental.plan([[2, 2, 2]] * number, [[2, 2, 2]] * number)
        chunks = plan.chunks(32, 1e12, 1e12, 1e9)
        each.append(sum(chunk.seconds * len(chunk.rows) for chunk in chunks) / number)
        assert each[-1] <= plan.whole / number * 1.001
    assert each[0] > 1.5 * each[1] and each[1] > 1.2 * each[2] and each[2] > each[3]
    # One chunk of two takes less than two of one.
    plan = incremental.plan([[2, 2, 2], [2, 2, 2]], [[2, 2, 2]] * 2)
    together, alone = (sum(c.seconds * len(c.rows) for c in plan.chunks(most, 1e12, 1e12, 1e9)) for most in (2, 1))
    assert together < alone


def test_a_plan_of_the_same_boxes_is_not_made_again_and_of_others_is():
    x = BY_NAME["plain"].image(1)
    incremental = Incremental(graph_of("plain"), x)
    first, again, other = (incremental.plan([[0, 0, low]], [[3, 3, 3]]) for low in (1, 1, 2))
    assert first.__dict__ is again.__dict__ is not other.__dict__
    for low in range(3 * cost.PLANS):
        incremental.plan([[0, 0, 0]] * (1 + low), [[1, 1, 1]] * (1 + low))
    assert len(cost.network_of(incremental.steps, incremental.graph.input, 4).plans) == cost.PLANS
    assert incremental.plan([[0, 0, 1]], [[3, 3, 3]]).__dict__ is not first.__dict__


def test_plans_do_not_keep_a_network_alive():
    incremental = deep(2)
    incremental.plan([[0, 0]], [[4, 4]]).chunks(32, 1e9, 1e9, 1.0)
    step = weakref.ref(incremental.steps[0])
    del incremental
    gc.collect()
    assert step() is None


@pytest.mark.parametrize("name", ["plain", "resnet10", "unet", "odd", "plain 2D"])
def test_what_was_asked_before_decides_nothing(name):
    x = BY_NAME[name].image(1)
    lows, sizes = windows(x.shape[2:], 4)

    def decided(incremental, number):
        chunks = incremental.plan(lows[:number], sizes[:number]).chunks(8, 1e9, 1e9, 1.0)
        return [(chunk.rows.tolist(), chunk.cut, chunk.seconds) for chunk in chunks]

    graph = graph_of(name)
    one = Incremental(graph, x)
    found = [decided(one, number) for number in (len(lows), 3, 1)]
    assert found[::-1] == [decided(other, number) for other in [Incremental(graph, x)] for number in (1, 3, len(lows))]

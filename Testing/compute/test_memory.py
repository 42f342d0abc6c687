"""The budget: how it is written, and that estimates hold against what torch's allocator really hands out."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

from Testing.compute.graphs import graph_of, network_of
from Testing.networks_zoo import image
from XAIExplainLib.compute.derivatives import DERIVATIVES
from XAIExplainLib.compute.graph import export
from XAIExplainLib.compute.memory import (
    PeakMemory,
    batch_for,
    forward_bytes,
    measured,
    parse_memory,
    readable,
    walk_bytes,
)
from XAIExplainLib.compute.reverse import planned, walk
from XAIExplainLib.errors import XAIError


@pytest.mark.parametrize(("text", "wanted"), [
    ("4GiB", 4 * 2**30), ("800MiB", 800 * 2**20), (" 1.5 gib ", 3 * 2**29), ("2GB", 2 * 10**9), ("10kb", 10_000),
    (1234, 1234), ("1234", 1234), ("3G", 3 * 2**30), (2.5e9, 2_500_000_000), ("7B", 7),
])  # fmt: skip
def test_amounts_of_memory(text, wanted):
    assert parse_memory(text) == wanted


@pytest.mark.parametrize("text", ["", "much", "-1GiB", "4 bananas", "1.2.3GiB", "0", "GiB", ".", "1e3", "nan",
                                  "inf"])  # fmt: skip
def test_no_amounts_of_memory(text):
    with pytest.raises(XAIError, match="memory budget"):
        parse_memory(text)


def test_what_is_free():
    assert 2**28 < parse_memory(None) < 2**45


@given(st.floats(1, 1e13))
def test_bytes_for_people_can_be_read_back(size):
    assert parse_memory(readable(size)) == pytest.approx(size, rel=0.06, abs=1)


def test_batches():
    assert batch_for(10, 100, 32, "It") == 10
    assert batch_for(10, 10_000, 32, "It") == 32
    assert batch_for(10, 10, 32, "It") == 1
    with pytest.raises(XAIError, match="It needs about 11 B, and the memory budget is 10 B"):
        batch_for(11, 10, 32, "It")


def allocated(run):
    """The most bytes that torch's allocator had handed out at once while `run` ran."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    events = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return float(live.max())


SIZES = {
    "plain": (1, 48, 48, 48), "densenet": (2, 40, 40, 40), "unet": (1, 40, 40, 40), "upward": (1, 48, 48, 48),
    "resnet10": (1, 48, 48, 48), "attending": (1, 64, 64, 64), "odd": (2, 48, 48, 48),
}  # fmt: skip


@pytest.mark.parametrize("name", ["plain", "upward", "resnet10", "odd", "attending"])
def test_the_estimate_holds(name):
    """Forward, and forth and back; at most, and not four times as much."""
    x = image(*SIZES[name])
    graph = export(network_of(name), x)
    graph.forward(x)  # what is set up once is no part of it
    estimate, found = forward_bytes(graph), allocated(lambda: graph.forward(x)) + x.nbytes
    assert found <= estimate <= 4 * found
    path = graph.between(graph.input, graph.output)
    plan = planned(graph, DERIVATIVES, graph.input)

    def both():
        values = plan.forth(graph, x)
        walk(graph, DERIVATIVES, values, torch.ones_like(values[graph.output]), graph.input, path)

    estimate, found = walk_bytes(graph, plan), allocated(both) + x.nbytes
    assert found <= estimate <= 4 * found


def test_a_view_holds_what_it_looks_at():
    class Turned(torch.nn.Module):
        def forward(self, x):
            wide = (x * 2).permute(0, 1, 4, 3, 2)
            return (wide.mean((2, 3, 4)) + torch.relu(x).mean((2, 3, 4)) + wide.amax((2, 3, 4))) / 2

    x = image(1, 16, 16, 16)
    graph = export(Turned(), x)
    assert forward_bytes(graph) >= 2 * 3 * x.nbytes  # x, its double behind the view, and the ReLU; times the workspace


def test_what_is_kept_costs():
    graph = graph_of("plain")
    everything = {node.name for node in graph}
    assert forward_bytes(graph, everything) > 1.1 * forward_bytes(graph)
    assert forward_bytes(graph, set(), 8) == 2 * forward_bytes(graph)


def test_a_network_is_measured_while_it_runs():
    def run():
        x = torch.ones(1000)
        for _ in range(5):
            x = x + 1

    cost = measured(run)
    peak, total = cost.peak, cost.total
    assert total == 2 * 6 * 4000  # twice, for the workspace
    assert peak == 2 * 2 * 4000


def test_the_peak_of_the_process_is_seen():
    with PeakMemory() as peak:
        array = np.ones(30_000_000)
        del array
    assert 2.2e8 < peak.bytes < 6e8


def test_products_are_those_of_convolutions_and_matrices():
    network = torch.nn.Sequential(
        torch.nn.Conv3d(2, 4, 3, padding=1, groups=2), torch.nn.ReLU(), torch.nn.ConvTranspose3d(4, 3, 2, stride=2),
        torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten(), torch.nn.Linear(3, 5),
    )  # fmt: skip
    with torch.no_grad():
        cost = measured(lambda: network(torch.rand(1, 2, 6, 5, 4)))
    assert cost.products == (4 * 120) * 27 + (4 * 120) * (3 * 8) + 5 * 3

"""On random networks of every supported operation, patches give the answers of whole passes."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from Testing.compute.random_networks import RandomNetwork, settled
from XAIExplainLib.compute.cost import Chunk
from XAIExplainLib.compute.graph import export
from XAIExplainLib.compute.incremental import Incremental
from XAIExplainLib.compute.patches import Patch


def drawn(seed, depth):
    """A network, an image, boxes of several sizes and what they show."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    dims, channels = draw.choice((2, 3)), draw.randint(1, 3)
    spatial = tuple(draw.randint(7, 24 if dims == 2 else 15) for _ in range(dims))
    network = settled(RandomNetwork(draw, dims, channels, spatial, draw.randint(1, depth)), seed)
    x = torch.randn(1, channels, *spatial, dtype=torch.float64)
    box = tuple(min(n, draw.choice((1, 2, 3, 5, 99))) for n in spatial)
    lows = [tuple(draw.randint(0, n - b) for n, b in zip(spatial, box, strict=True)) for _ in range(4)]
    lows += [(0,) * dims, tuple(n - b for n, b in zip(spatial, box, strict=True))]
    return network, x, lows, torch.randn(len(lows), channels, *box, dtype=torch.float64)


def check(network, x, lows, values, tolerance):
    """Compare patches with whole passes: as the costs decide, and on patches as far as the operations allow."""
    box = values.shape[2:]
    images = x.repeat(len(lows), *[1] * (x.dim() - 1))
    for image, low, value in zip(images, lows, values, strict=True):
        image[(slice(None), *(slice(n, n + b) for n, b in zip(low, box, strict=True)))] = value
    wanted = network(images)
    graph = export(network, x)
    assume(graph.static_batch is None)  # torch.export takes the number of samples of a few for a constant
    incremental = Incremental(graph, x)
    plan = incremental.plan(lows, np.broadcast_to(box, (len(lows), len(box))))
    for found in (
        incremental.outputs(Patch(values, lows)),
        incremental.answers(plan, Chunk(np.arange(len(lows)), len(incremental.steps), 0.0), Patch(values, lows)),
    ):
        assert found.shape == wanted.shape
        assert float((found - wanted).abs().max()) <= tolerance * max(1.0, float(wanted.abs().max()))


@settings(max_examples=24, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1))
def test_equals_whole_passes(seed):
    check(*drawn(seed, 6), 1e-10)


@pytest.mark.full
@settings(max_examples=1500, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1))
def test_equals_whole_passes_often(seed):
    check(*drawn(seed, 10), 1e-10)


@settings(max_examples=6, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1))
def test_equals_whole_passes_in_single_precision(seed):
    network, x, lows, values = drawn(seed, 5)
    check(network.float(), x.float(), lows, values.float(), 1e-5)

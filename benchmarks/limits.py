"""What no method of a kind can do without, measured by torch's own passes: the yardstick beside the peers."""

from __future__ import annotations

import math

import numpy as np
import torch

from benchmarks.networks import Subject
from benchmarks.timing import clock_of, repeats
from XAIExplainLib.compute.convolution import convolve, transposed
from XAIExplainLib.compute.graph import Graph, export, operation
from XAIExplainLib.compute.operations import MEETING, POINTWISE, window_of

BATCHES = (1, 2, 4, 8, 16)
Boxes = tuple[np.ndarray, np.ndarray]  # first voxel, and the one after the last, each (W, axes)
WORSE = 1.02  # two batch sizes in a row that are slower than this times the best end the search


def best_batch(subject: Subject, threads: int, quick: bool = False) -> tuple[int, float]:
    """The batch of 1, 2, 4, 8, 16 whose forward pass is fastest an image, and the seconds an image."""
    if threads not in subject.best:
        clock, found, worse = clock_of(threads), (1, math.inf), 0
        for batch in BATCHES:
            best, left = math.inf, 1
            while left > 0:
                began = clock()
                subject.forward(batch)
                seconds = clock() - began
                left = left - 1 if best < math.inf else repeats(seconds, False, quick)
                best = min(best, seconds)
            worse = worse + 1 if best / batch > WORSE * found[1] else 0
            if best / batch < found[1]:
                found = batch, best / batch
            if worse == 2:
                break
        subject.best[threads] = found
    return subject.best[threads]


def operations_share(subject: Subject, window: int, stride: int) -> float:
    """Share of a whole pass's multiplications that a window can reach, the mean over the windows of an occlusion.

    Written without the engine's own room for it, which it judges: each window's box goes through every operation that
    works in windows or point by point, cell by exact cell; what a global average and all behind it take is left out.
    """
    graph = export(subject.network, subject.x.expand(2, *subject.x.shape[1:]).contiguous())
    low = np.array(np.meshgrid(*[np.arange(1 + math.ceil((n - window) / stride)) * stride for n in subject.shape],
                               indexing="ij")).reshape(len(subject.shape), -1).T  # fmt: skip
    high = np.minimum(low + window, subject.shape)
    return share(graph, low, high)


def first_layer_share(subject: Subject) -> float:
    """Share of a whole pass's multiplications in the convolutions that see the image itself."""
    graph = export(subject.network, subject.x.expand(2, *subject.x.shape[1:]).contiguous())
    first = whole = 0.0
    for node in graph:
        if node.name in graph.dependent and operation(node).startswith("conv"):
            cost = _multiplications(graph, node)
            whole += cost
            first += cost * (node.all_input_nodes[0].name == graph.input)
    return first / whole


def _multiplications(graph: Graph, node: torch.fx.Node) -> float:
    return float(math.prod(graph.shape(node.name, 1)[2:])) * node.args[1].meta["val"].numel()  # type: ignore[union-attr]


def convolutions_seconds(subject: Subject, threads: int) -> float:
    """Seconds of the network's convolutions alone, forth and back, by the fastest way that there is here.

    Each is timed by itself, at its own size, with nothing between them: no gradient by a network's image takes less.
    """
    graph, clock, total = export(subject.network, subject.x), clock_of(threads), 0.0
    for node in graph:
        window = window_of(node, operation(node), len(subject.shape)) if node.name in graph.dependent else None
        if window is None or not operation(node).startswith("conv"):
            continue
        _, stride, padding, dilation = window
        weight = graph.constants[node.args[1].name]  # type: ignore[union-attr]
        groups = int(node.args[6]) if len(node.args) > 6 else 1  # type: ignore[call-overload]
        x = torch.randn(graph.shape(node.all_input_nodes[0].name, 1))
        cotangent = torch.randn(graph.shape(node.name, 1))
        found = math.inf
        for _ in range(4):
            began = clock()
            convolve(x, weight, None, stride, padding, dilation, groups)
            transposed(cotangent, weight, x.shape, stride, padding, dilation, groups)
            found = min(found, clock() - began)
        total += found
    return total


def share(graph: Graph, low: np.ndarray, high: np.ndarray) -> float:
    """The mean share of the multiplications for boxes from `low` up to, not with, `high`, shape (W, axes)."""
    dims = low.shape[1]
    boxes: dict[str, Boxes | None] = {graph.input: (low, high)}
    some = whole = 0.0
    for node in graph:
        if node.name not in graph.dependent:
            continue
        name, grid = operation(node), graph.shape(node.name, 1)[2:]
        sources = [boxes[argument.name] for argument in node.all_input_nodes if argument.name in boxes]
        box = _after(node, name, sources, grid, dims)
        boxes[node.name] = box
        if name.startswith("conv") and len(node.args) > 1:
            cost = _multiplications(graph, node)
            reached = 1.0 if box is None else float((box[1] - box[0]).prod(1).mean()) / math.prod(grid)
            whole += cost
            some += cost * reached
    return some / whole


def _after(
    node: torch.fx.Node, name: str, sources: list[Boxes | None], grid: tuple[int, ...], dims: int
) -> Boxes | None:
    """The boxes behind an operation; None for all of the map."""
    if not sources or any(source is None for source in sources):
        return None
    if name in POINTWISE or (name in MEETING and len(grid) == dims):
        lows, highs = zip(*[source for source in sources if source is not None], strict=True)
        return np.min(lows, axis=0), np.max(highs, axis=0)
    window = window_of(node, name, dims)
    if window is None or len(grid) != dims or not name.startswith(("conv", "max_pool", "avg_pool")):
        return None
    kernel, stride, padding, dilation = (np.asarray(part) for part in window)
    assert sources[0] is not None
    low, high = sources[0]
    first = np.maximum(0, -((low + padding - dilation * (kernel - 1)) // -stride))
    last = np.minimum(np.asarray(grid), (high - 1 + padding) // stride + 1)
    first = np.minimum(first, last)
    return first, last

"""The scores of a case whose boxes are covered one at a time, by whichever way is faster and exact."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from XAIExplainLib.compute.incremental import Incremental, Patch, base_values, share_of_operations
from XAIExplainLib.compute.memory import batch_for, forward_bytes
from XAIExplainLib.compute.receptive import receptive_fields
from XAIExplainLib.compute.threads import threads_for_small_operations
from XAIExplainLib.errors import XAIError

if TYPE_CHECKING:
    from XAIExplainLib.compute.graph import Graph
    from XAIExplainLib.question import Question

Box = tuple[Any, ...]  # slices, one an axis
Scored = tuple[list[int], torch.Tensor]
WORTH_A_GRAPH = 64  # boxes; the export takes as long as some passes
WORTH_PATCHES = 0.7  # share of the operations above which whole passes are as fast
AT_ONCE = 32
AGREES = 1e-3


def covered_scores(question: Question, sample: int, boxes: list[Box], cover: torch.Tensor) -> Iterator[Scored]:
    """The scores of one sample with each box covered.

    Parameters
    ----------
    question : Question
        Whose network and score.
    sample : int
        Which of the case's samples.
    boxes : list of tuple of slice
        Each inside the image.
    cover : torch.Tensor
        Shape of the question's `x`: what is seen in place of the image inside a box.

    Yields
    ------
    tuple
        Indices into `boxes`, and their scores, in an order of this function's choice.
    """
    if not boxes:
        return
    x, mask = question.x[sample : sample + 1], cover[sample : sample + 1]
    box = tuple(max(piece.stop - piece.start for piece in pieces) for pieces in zip(*boxes, strict=True))
    graph = _graph(question, boxes, box)
    if graph is None:
        yield from _whole(question, sample, x, boxes, mask)
        return
    base = Incremental(graph, x, question.check)
    kept = sum(value.numel() * value.element_size() for value in base.base.values() if isinstance(value, torch.Tensor))
    each = forward_bytes(graph, None, x.element_size()) * 2
    size = batch_for(each, max(question.memory - kept, 1), AT_ONCE, "Occlusion")
    order = _by_phase(graph, boxes, tuple(x.shape[2:]), box)
    rows = torch.tensor([sample], device=x.device)
    for first in range(0, len(order), size):
        part = order[first : first + size]
        question.check()
        with threads_for_small_operations():
            output = base.outputs(_patches(x, mask, [boxes[n] for n in part], box))
        scores = question.score(output, rows.expand(len(part)))
        if first == 0 and not _agrees(question, sample, x, boxes[part[0]], mask, scores[0]):
            question.warn("Incremental inference disagreed with a whole pass, so every window got a whole pass.")
            yield from _whole(question, sample, x, boxes, mask)
            return
        yield part, scores
    question.diagnostics["engine"] = "incremental"


def _graph(question: Question, boxes: list[Box], box: tuple[int, ...]) -> Graph | None:
    """The graph, if patches are worth their while; the share of the operations goes into the diagnostics."""
    question.diagnostics["engine"] = "whole passes"
    if len(boxes) < WORTH_A_GRAPH:
        return None
    try:
        graph = question.graph()
    except XAIError:
        return None
    if graph.static_batch is not None:
        return None
    share = share_of_operations(graph, box)
    question.diagnostics["share_of_operations"] = share
    return graph if share < WORTH_PATCHES and _fits(question, graph) else None


def _fits(question: Question, graph: Graph) -> bool:
    """Whether the base's values and a few patches fit the memory budget."""
    return forward_bytes(graph, base_values(graph), question.x.element_size()) * 2 < question.memory


def _agrees(
    question: Question, sample: int, x: torch.Tensor, box: Box, cover: torch.Tensor, found: torch.Tensor
) -> bool:
    """Check one box by a whole pass; the difference goes into the diagnostics."""
    image = x.clone()
    image[_within(box)] = cover[_within(box)]
    wanted = float(question.scores(image, torch.tensor([sample])))
    difference = abs(wanted - float(found))
    question.diagnostics["incremental_error"] = difference
    return difference <= AGREES * max(1.0, abs(wanted))


def _whole(
    question: Question, sample: int, x: torch.Tensor, boxes: list[Box], cover: torch.Tensor
) -> Iterator[Scored]:
    size = question.batch
    for first in range(0, len(boxes), size):
        part = boxes[first : first + size]
        images = x.repeat(len(part), *[1] * (x.dim() - 1))
        for row, box in enumerate(part):
            images[(row, *_within(box)[1:])] = cover[(0, *_within(box)[1:])]
        yield list(range(first, first + len(part))), question.scores(images, torch.full((len(part),), sample))


def _by_phase(graph: Graph, boxes: list[Box], spatial: tuple[int, ...], box: tuple[int, ...]) -> list[int]:
    """An order in which boxes that lie alike to the network's strides stand together, so that patches stay small."""
    steps = [field[1] for field in receptive_fields(graph).values()]
    widest = [max(1, round(max(step[axis] for step in steps))) for axis in range(len(spatial))]

    def key(n: int) -> tuple[Any, ...]:
        low = _low(boxes[n], spatial, box)
        return tuple(place % wide for place, wide in zip(low, widest, strict=True)), low

    return sorted(range(len(boxes)), key=key)


def _low(box: Box, spatial: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, ...]:
    """The first voxel of a patch of one size for all that holds the box."""
    return tuple(min(piece.start, n - s) for piece, n, s in zip(box, spatial, size, strict=True))


def _patches(x: torch.Tensor, cover: torch.Tensor, boxes: list[Box], size: tuple[int, ...]) -> Patch:
    spatial = tuple(x.shape[2:])
    lows = tuple(_low(box, spatial, size) for box in boxes)
    values = []
    for box, low in zip(boxes, lows, strict=True):
        around: Box = tuple(slice(n, n + s) for n, s in zip(low, size, strict=True))
        patch = x[(0, slice(None), *around)].clone()
        inner: Box = tuple(slice(piece.start - n, piece.stop - n) for piece, n in zip(box, low, strict=True))
        patch[(slice(None), *inner)] = cover[(0, slice(None), *box)]
        values.append(patch)
    return Patch(torch.stack(values), lows)


def _within(box: Box) -> tuple[Any, ...]:
    return (slice(None), slice(None), *box)

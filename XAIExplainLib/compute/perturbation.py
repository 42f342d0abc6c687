"""The scores of a case whose boxes are covered one at a time, by whichever way is faster and exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
Contents = Callable[[list[int]], list[torch.Tensor]]  # (indices) -> what is seen in each box, shape (C, *box)
Measure = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # (outputs, samples) -> one number a row
WORTH_A_GRAPH = 64  # boxes; the export takes as long as some passes
WORTH_PATCHES = 0.7  # share of the operations above which whole passes are as fast
AT_ONCE = 32
AGREES = 1e-3


def covered_scores(
    question: Question, sample: int, boxes: list[Box], cover: torch.Tensor | Contents, measure: Measure | None = None,
    what: str = "Occlusion",
) -> Iterator[Scored]:  # fmt: skip
    """The scores of one sample with each box covered.

    Parameters
    ----------
    question : Question
        Whose network and score.
    sample : int
        Which of the case's samples.
    boxes : list of tuple of slice
        Each inside the image. A box may come several times, to be covered by several contents.
    cover : torch.Tensor or callable
        Shape of the question's `x`: what is seen in place of the image inside a box. Or a function that gives what is
        seen in each of some boxes, ``(indices) -> list of tensors (C, *box)``: asked in this function's order, a batch
        at a time, so it must give the same for an index whenever it is asked.
    measure : callable or None
        ``(outputs, samples) -> tensor (B,)``: what is wanted in place of the score.
    what : str
        Who asks, for a message about memory.

    Yields
    ------
    tuple
        Indices into `boxes`, and their scores, in an order of this function's choice.
    """
    if not boxes:
        return
    x = question.x[sample : sample + 1]
    contents = _same_for_all(cover[sample], boxes) if isinstance(cover, torch.Tensor) else cover
    wanted: Measure = question.score if measure is None else measure
    box = tuple(max(piece.stop - piece.start for piece in pieces) for pieces in zip(*boxes, strict=True))
    graph = _graph(question, boxes, box)
    if graph is None:
        yield from _whole(question, sample, boxes, contents, wanted)
        return
    base = Incremental(graph, x, question.check)
    kept = sum(value.numel() * value.element_size() for value in base.base.values() if isinstance(value, torch.Tensor))
    each = forward_bytes(graph, None, x.element_size()) * 2
    size = batch_for(each, max(question.memory - kept, 1), AT_ONCE, what)
    order = _by_phase(graph, boxes, tuple(x.shape[2:]), box)
    rows = torch.tensor([sample], device=x.device)
    for first in range(0, len(order), size):
        part = order[first : first + size]
        question.check()
        made = contents(part)
        with threads_for_small_operations():
            output = base.outputs(_patches(x, made, [boxes[n] for n in part], box))
        scores = wanted(output, rows.expand(len(part)))
        if first == 0 and not _agrees(question, sample, boxes[part[0]], made[0], wanted, float(scores[0])):
            question.warn("Incremental inference disagreed with a whole pass, so every window got a whole pass.")
            question.diagnostics["engine"] = "whole passes"
            yield from _whole(question, sample, boxes, contents, wanted)
            return
        yield part, scores
    question.diagnostics["engine"] = "incremental"


def _same_for_all(cover: torch.Tensor, boxes: list[Box]) -> Contents:
    """One image (C, *spatial) that is seen through every box."""
    return lambda indices: [cover[(slice(None), *boxes[n])] for n in indices]


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


def _agrees(question: Question, sample: int, box: Box, content: torch.Tensor, measure: Measure, found: float) -> bool:
    """Check one box by a whole pass; the largest difference goes into the diagnostics."""
    wanted = float(_passes(question, sample, [box], [content], measure))
    difference = abs(wanted - found)
    question.diagnostics["incremental_error"] = max(difference, question.diagnostics.get("incremental_error", 0.0))
    return difference <= AGREES * max(1.0, abs(wanted))


def _whole(question: Question, sample: int, boxes: list[Box], contents: Contents, measure: Measure) -> Iterator[Scored]:
    size = question.batch
    for first in range(0, len(boxes), size):
        part = list(range(first, min(first + size, len(boxes))))
        yield part, _passes(question, sample, [boxes[n] for n in part], contents(part), measure)


def _passes(
    question: Question, sample: int, boxes: list[Box], contents: list[torch.Tensor], measure: Measure
) -> torch.Tensor:
    """What whole passes of one batch say."""
    question.check()
    x = question.x[sample : sample + 1]
    images = x.repeat(len(boxes), *[1] * (x.dim() - 1))
    for row, (box, content) in enumerate(zip(boxes, contents, strict=True)):
        images[(row, slice(None), *box)] = content
    with torch.no_grad():
        return measure(question.model(images), torch.full((len(boxes),), sample, device=x.device))


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


def _patches(x: torch.Tensor, contents: list[torch.Tensor], boxes: list[Box], size: tuple[int, ...]) -> Patch:
    spatial = tuple(x.shape[2:])
    lows = tuple(_low(box, spatial, size) for box in boxes)
    values = []
    for box, low, content in zip(boxes, lows, contents, strict=True):
        if tuple(content.shape[1:]) == size:
            values.append(content)
            continue
        around: Box = tuple(slice(n, n + s) for n, s in zip(low, size, strict=True))
        patch = x[(0, slice(None), *around)].clone()
        inner: Box = tuple(slice(piece.start - n, piece.stop - n) for piece, n in zip(box, low, strict=True))
        patch[(slice(None), *inner)] = content
        values.append(patch)
    return Patch(torch.stack(values), lows)

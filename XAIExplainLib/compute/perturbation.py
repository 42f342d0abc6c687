"""The scores of a case whose boxes are covered one at a time, by whichever way is faster and exact."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from XAIExplainLib.compute.cost import Chunk, Plan
from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.compute.incremental import Incremental
from XAIExplainLib.compute.memory import forward_bytes
from XAIExplainLib.compute.patches import Patch
from XAIExplainLib.compute.threads import threads_for_small_operations
from XAIExplainLib.compute.whole import answers, trusted, whole_of

if TYPE_CHECKING:
    from XAIExplainLib.question import Question

Box = tuple[Any, ...]  # slices, one an axis
Scored = tuple[list[int], torch.Tensor]
Contents = Callable[[list[int]], list[torch.Tensor]]  # (indices) -> what is seen in each box, shape (C, *box)
Measure = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # (outputs, samples) -> one number a row
WORTH_PATCHES = 0.9  # share of the time of whole passes up to which patches are taken
AT_ONCE = 32  # boxes
WHOLE_AT_ONCE = 8  # images: more fit the memory, but not the cache (EfficientNet: 30 are 10 % slower)
BYTES_AT_ONCE = 2**27  # of an operation's values: more are not faster
SECONDS_AT_ONCE = 0.5
BYTES_OF_BASES = 0.25  # share of the memory that former bases may keep: a 2D network has one a slice
AGREES = 1e-3
_CHECKED: weakref.WeakSet[Graph] = weakref.WeakSet()  # of which a box agreed with a whole pass


@dataclass
class Base:
    """One image whose variations are asked about, kept from one call to the next.

    Parameters
    ----------
    incremental : Incremental
        With the base's values.
    image : torch.Tensor
        The image, shape (1, C, *spatial).
    agrees : bool or None
        Whether a box agreed with a whole pass; None if none has been checked.
    """

    incremental: Incremental
    image: torch.Tensor
    agrees: bool | None = None


def first_pass(question: Question) -> torch.Tensor | None:
    """The network's answer to a case of one sample by the pass that `covered_scores` compares boxes with.

    None where that pass is not known to answer as the network does, or does not fit the memory budget.
    """
    whole = trusted(question)
    if whole is None or len(question.x) != 1:
        return None
    base = Base(Incremental(whole.graph, question.x, question.check, whole), question.x)
    every = len(whole.steps)
    if base.incremental.bytes_for(every) > BYTES_OF_BASES * question.memory:
        return None
    base.incremental.prepare(every)
    question.__dict__["bases"] = {("case", 0): base}
    return base.incremental.answer


def score_of_case(question: Question, sample: int) -> float:
    """The score of a sample as it is, by the way in which `covered_scores` found the scores of its variations.

    What both round alike is not in their difference.
    """
    base: Base | None = question.__dict__.get("bases", {}).get(("case", sample))
    if base is None or base.agrees is False:
        return float(question.scores_of_case[sample])
    answer = base.incremental.answer.reshape(question.output[:1].shape)
    return float(question.score(answer, torch.tensor([sample], device=answer.device)))


def covered_scores(
    question: Question, sample: int, boxes: list[Box], cover: torch.Tensor | Contents, measure: Measure | None = None,
    what: str = "Occlusion", of: int = 0,
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
    of : int
        How many boxes of the sample are asked for in all, where that takes several calls.

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
    if question.tiled is not None:
        yield from question.tiled.covered(sample, boxes, contents, wanted, what)
        return
    question.diagnostics["engine"] = "whole passes"
    found = by_patches(question, sample, x, boxes, contents, wanted, of=of)
    yield from _whole(question, x, sample, boxes, contents, wanted, max(of, len(boxes))) if found is None else found


def by_patches(
    question: Question, sample: int, image: torch.Tensor, boxes: list[Box], contents: Contents, measure: Measure,
    key: str = "case", of: int = 0,
) -> Iterator[Scored] | None:  # fmt: skip
    """As `covered_scores`, around any image, or None where whole passes are as fast, or do not fit.

    Parameters
    ----------
    image : torch.Tensor
        Shape (1, C, *spatial).
    key : str
        Names the image: its values are kept by that name for the next call.
    of : int
        How many boxes around this image are asked for in all, where that takes several calls.
    """
    number = max(of, len(boxes))
    base = _base(question, sample, image, number, key) if question.tiled is None else None
    planned = None if base is None else _planned(question, base, boxes, number)
    if base is None or planned is None:
        return None
    return _patched(question, sample, base, *planned, boxes, contents, measure)


def _patched(
    question: Question, sample: int, base: Base, plan: Plan, chunks: list[Chunk], boxes: list[Box],
    contents: Contents, measure: Measure,
) -> Iterator[Scored]:  # fmt: skip
    image = base.image
    base.incremental.prepare(plan.cut)
    rows = torch.tensor([sample], device=image.device)
    for chunk in chunks:
        question.check()
        part = chunk.rows.tolist()
        made = contents(part)
        with threads_for_small_operations():
            output = base.incremental.answers(plan, chunk, _patches(image, made, [boxes[n] for n in part]))
        scores = measure(output.reshape(len(part), *question.output.shape[1:]), rows.expand(len(part)))
        if not base.agrees:
            base.agrees = _agrees(question, base, sample, boxes[part[0]], made[0], measure, float(scores[0]))
            if not base.agrees:
                question.warn("Incremental inference disagreed with a whole pass, so every window got a whole pass.")
                question.__dict__["whole"] = None
                question.diagnostics["engine"] = "whole passes"
                yield from _whole(question, image, sample, boxes, contents, measure)
                return
        question.diagnostics["engine"] = "incremental"
        yield part, scores


def _same_for_all(cover: torch.Tensor, boxes: list[Box]) -> Contents:
    """One image (C, *spatial) that is seen through every box."""
    return lambda indices: [cover[(slice(None), *boxes[n])] for n in indices]


def _base(question: Question, sample: int, image: torch.Tensor, number: int, key: str) -> Base | None:
    """The image's values, from the call before or new; None where there is no graph to ask by patches."""
    bases: dict[tuple[str, int], Base] = question.__dict__.setdefault("bases", {})
    known = bases.get((key, sample))
    if known is not None and (known.image.data_ptr() == image.data_ptr() or torch.equal(known.image, image)):
        return None if known.agrees is False else known
    whole = whole_of(question, number)
    if whole is None:
        return None
    bases.pop((key, sample), None)
    while bases and sum(base.incremental.bytes for base in bases.values()) > BYTES_OF_BASES * question.memory:
        del bases[next(iter(bases))]  # the one that has been there for longest
    bases[key, sample] = Base(Incremental(whole.graph, image, question.check, whole), image)
    return bases[key, sample]


def _planned(question: Question, base: Base, boxes: list[Box], number: int) -> tuple[Plan, list[Chunk]] | None:
    """How the boxes are done by patches, if that is worth its while and fits the memory budget."""
    low = np.array([[piece.start for piece in box] for box in boxes])
    size = np.array([[piece.stop - piece.start for piece in box] for box in boxes])
    incremental = base.incremental
    plan = incremental.plan(low, size)
    # What the base takes depends on where values become whole, and how many fit on what is left.
    others = sum(other.incremental.bytes for other in question.__dict__["bases"].values() if other is not base)
    left = question.memory - 2 * incremental.bytes_for(plan.cut) - others
    if left < 2 * forward_bytes(incremental.graph, None, question.x.element_size()):
        return None
    chunks = plan.chunks(AT_ONCE, BYTES_AT_ONCE, left / 2, SECONDS_AT_ONCE)
    seconds = sum(chunk.seconds * len(chunk.rows) for chunk in chunks)
    if not incremental.ready(plan.cut):
        seconds += plan.whole / number  # the base's own pass, shared by all calls
    question.diagnostics["share_of_time"] = seconds / plan.whole
    if seconds >= WORTH_PATCHES * plan.whole:
        return None
    question.diagnostics["share_of_operations"] = plan.share
    return plan, chunks


def _agrees(
    question: Question, base: Base, sample: int, box: Box, content: torch.Tensor, measure: Measure, found: float
) -> bool:
    """Check the base by the network's own answer, and the first box of this graph by a whole pass.

    The largest difference goes into the diagnostics.
    """
    graph, answer = base.incremental.graph, base.incremental.answer
    pairs = []
    if torch.equal(base.image, question.x[sample : sample + 1]):
        rows = torch.tensor([sample], device=base.image.device)
        wanted = question.output[sample : sample + 1]
        pairs.append((float(measure(wanted, rows)), float(measure(answer.reshape(wanted.shape), rows))))
    if not pairs or graph not in _CHECKED:
        pairs.append((float(_passes(question, question.model, base.image, sample, [box], [content], measure)), found))
    difference = max(abs(wanted - own) for wanted, own in pairs)
    question.diagnostics["incremental_error"] = max(difference, question.diagnostics.get("incremental_error", 0.0))
    agrees = all(abs(wanted - own) <= AGREES * max(1.0, abs(wanted)) for wanted, own in pairs)
    if agrees:
        _CHECKED.add(graph)
    return agrees


def _whole(
    question: Question, image: torch.Tensor, sample: int, boxes: list[Box], contents: Contents, measure: Measure,
    number: int = 0,
) -> Iterator[Scored]:  # fmt: skip
    size = min(question.batch, WHOLE_AT_ONCE)

    def ask(images: torch.Tensor) -> torch.Tensor:
        return answers(question, images, number)

    for first in range(0, len(boxes), size):
        part = list(range(first, min(first + size, len(boxes))))
        yield part, _passes(question, ask, image, sample, [boxes[n] for n in part], contents(part), measure)


def _passes(
    question: Question, ask: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor, sample: int,
    boxes: list[Box], contents: list[torch.Tensor], measure: Measure,
) -> torch.Tensor:  # fmt: skip
    """What whole passes of one batch say, by the network or by its steps."""
    question.check()
    images = image.repeat(len(boxes), *[1] * (image.dim() - 1))
    for row, (box, content) in enumerate(zip(boxes, contents, strict=True)):
        images[(row, slice(None), *box)] = content
    with torch.no_grad():
        return measure(ask(images), torch.full((len(boxes),), sample, device=image.device))


def _patches(image: torch.Tensor, contents: list[torch.Tensor], boxes: list[Box]) -> Patch:
    """Patches of one size, as large as the largest box."""
    spatial = tuple(image.shape[2:])
    size = tuple(max(piece.stop - piece.start for piece in pieces) for pieces in zip(*boxes, strict=True))
    lows = [tuple(min(piece.start, n - s) for piece, n, s in zip(box, spatial, size, strict=True)) for box in boxes]
    values = []
    for box, low, content in zip(boxes, lows, contents, strict=True):
        if tuple(content.shape[1:]) == size:
            values.append(content)
            continue
        around: Box = tuple(slice(n, n + s) for n, s in zip(low, size, strict=True))
        patch = image[(0, slice(None), *around)].clone()
        inner: Box = tuple(slice(piece.start - n, piece.stop - n) for piece, n in zip(box, low, strict=True))
        patch[(slice(None), *inner)] = content
        values.append(patch)
    return Patch(torch.stack(values), lows)

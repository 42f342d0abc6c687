"""The scores along a chain of changes to one image: each change is kept, and only what it reaches is computed again.

What superpixel insertion and deletion and the sampling of Shapley values ask for: the image changes region by region.
After each change the values that lie in its reach become those of the base from which the next change starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.compute.incremental import Incremental
from XAIExplainLib.compute.memory import forward_bytes
from XAIExplainLib.compute.patches import Patch
from XAIExplainLib.compute.threads import threads_for_small_operations
from XAIExplainLib.compute.whole import WORTH_A_GRAPH, Whole, whole_of

if TYPE_CHECKING:
    from XAIExplainLib.compute.perturbation import Box, Measure
    from XAIExplainLib.question import Question

AGREES = 1e-3
KEEPING = 1.2  # times as long as a change alone takes: its values are put into the base


class Chain:
    """The network at an image that changes box by box.

    Parameters
    ----------
    graph : Graph
        Of the network; it must take any number of samples.
    x : torch.Tensor
        The image at the start, shape (1, C, *spatial).
    check : callable or None
        Called between operations; raises to cancel.
    whole : Whole or None
        The network's steps, where another base has them already.

    Attributes
    ----------
    seconds, whole : float
        About how long the changes so far took, and how long whole passes would have taken, by the sizes.
    """

    def __init__(
        self, graph: Graph, x: torch.Tensor, check: Callable[[], None] | None = None, whole: Whole | None = None
    ) -> None:
        self._incremental = Incremental(graph, x, check, whole)
        self.seconds = self.whole = 0.0

    @property
    def image(self) -> torch.Tensor:
        """The image as it is now, shape (1, C, *spatial)."""
        return self._incremental.x

    def change(self, box: Box, content: torch.Tensor) -> torch.Tensor:
        """Show `content` (C, *box) in a box from now on; the network's answer, shape (1, ...)."""
        low, size = [piece.start for piece in box], [piece.stop - piece.start for piece in box]
        plan = self._incremental.plan([low], [size])
        (chunk,) = plan.chunks(1, 1.0, 1.0, 1.0)
        made: dict[str, Any] = {}

        def keep(name: str, value: Any) -> None:
            if self._incremental.kept(name):
                made[name] = value

        answer = self._incremental.answers(plan, chunk, Patch(content[None], [low]), keep)
        self._incremental.commit(made)
        self.seconds += chunk.seconds
        self.whole += plan.whole
        return answer


def scores_along(
    question: Question, sample: int, start: torch.Tensor, changes: Iterator[tuple[Box, torch.Tensor]],
    measure: Measure | None = None,
) -> Iterator[float]:  # fmt: skip
    """The scores of an image after each of some changes, every one on top of those before it.

    Parameters
    ----------
    question : Question
        Whose network and score.
    sample : int
        Which of the case's samples the image is a variation of.
    start : torch.Tensor
        The image before the first change, shape (1, C, *spatial).
    changes : iterator of tuple
        Boxes and what is seen there from then on, shape (C, *box).
    measure : callable or None
        ``(outputs, samples) -> tensor (B,)``: what is wanted in place of the score.

    Yields
    ------
    float
        One score a change. The first is checked by a whole pass, whose difference goes into the diagnostics.
    """
    for found in measured_along(question, sample, start, changes, question.score if measure is None else measure):
        yield float(found)


def measured_along(
    question: Question, sample: int, start: torch.Tensor, changes: Iterator[tuple[Box, torch.Tensor]], measure: Measure
) -> Iterator[torch.Tensor]:
    """As `scores_along`, of any measure: ``(outputs, samples) -> tensor (B, ...)``; yields one row, shape (...)."""
    row = torch.tensor([sample], device=start.device)
    chain, image = _chain(question, start), start.clone()
    first = True
    for box, content in changes:
        question.check()
        image[(0, slice(None), *box)] = content
        if chain is not None:
            with threads_for_small_operations():
                found = measure(chain.change(box, content).reshape(1, *question.output.shape[1:]), row)[0]
        if chain is None or first:
            whole = question.scores(image, row, measure=measure)[0]
            if chain is None:
                found = whole
            else:
                difference = float((found - whole).abs().max())
                question.diagnostics["incremental_error"] = max(
                    difference, question.diagnostics.get("incremental_error", 0.0)
                )
                if difference > AGREES * max(1.0, float(whole.abs().max())):
                    question.warn("Incremental inference disagreed with a whole pass: every change got a whole pass.")
                    chain, found = None, whole
        first = False
        yield found


def chain_pays(question: Question, boxes: list[Box], passes: int) -> bool:
    """Whether changes in these boxes, one after the other, take less time by a chain than so many whole passes.

    By the cost model of the network's graph, not by a clock: the same request is always done alike.
    """
    whole = whole_of(question, passes) if len(question.x) == 1 and boxes else None
    if whole is None:
        return False
    low = [[piece.start for piece in box] for box in boxes]
    size = [[piece.stop - piece.start for piece in box] for box in boxes]
    plan = Incremental(whole.graph, question.x, question.check, whole).plan(low, size)
    # One at a time: nothing is shared by a batch.
    seconds = sum(chunk.seconds * len(chunk.rows) for chunk in plan.chunks(1, 1.0, 1.0, 1.0))
    return seconds * KEEPING < passes * plan.whole / len(boxes)


def _chain(question: Question, start: torch.Tensor) -> Chain | None:
    """A chain, where the network has a graph that takes it, and the base's values fit the memory."""
    whole = whole_of(question, WORTH_A_GRAPH)
    if whole is None:
        return None
    graph = whole.graph
    every = {node.name for node in graph if node.name in graph.dependent}
    if question.memory < forward_bytes(graph, every, start.element_size()):
        return None
    return Chain(graph, start, question.check, whole)

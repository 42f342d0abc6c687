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
    wanted: Measure = question.score if measure is None else measure
    row = torch.tensor([sample], device=start.device)
    chain, image = _chain(question, start), start.clone()
    first = True
    for box, content in changes:
        question.check()
        image[(0, slice(None), *box)] = content
        if chain is not None:
            with threads_for_small_operations():
                score = float(wanted(chain.change(box, content), row))
        if chain is None or first:
            with torch.no_grad():
                if question.tiled is not None and measure is None:
                    whole = float(question.scores(image, row))
                else:
                    whole = float(wanted(question.model(image), row))
            if chain is None:
                score = whole
            else:
                question.diagnostics["incremental_error"] = abs(score - whole)
                if abs(score - whole) > AGREES * max(1.0, abs(whole)):
                    question.warn("Incremental inference disagreed with a whole pass: every change got a whole pass.")
                    chain, score = None, whole
        first = False
        yield score


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

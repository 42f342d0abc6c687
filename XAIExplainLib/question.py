"""One question to one network about one case, with all that a method may ask for on the way to its answer.

A method asks for scores, gradients, baselines or the graph; how they are computed, in which batches and within which
memory, is decided here and in `compute`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from XAIExplainLib.compute.derivatives import DERIVATIVES
from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.compute.graphs import graph_of
from XAIExplainLib.compute.memory import MOST_AT_ONCE, batch_for, cost_of, measured, quick_batch, walk_bytes
from XAIExplainLib.compute.perturbation import first_pass
from XAIExplainLib.compute.reverse import Plan, Table, planned, walk
from XAIExplainLib.compute.sliding import TiledQuestion, no_layers
from XAIExplainLib.compute.whole import WORTH_A_GRAPH, answers
from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainLib.model import Model
from XAIExplainLib.prepared import Prepared
from XAIExplainLib.target import Score
from XAIExplainLib.target_combined import Target

if TYPE_CHECKING:
    from XAIExplainLib.method import Attribution

Start = str | tuple[str, ...] | None  # a node, or one and others whose values are wanted; None is nowhere
Seed = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

PREVIEW_SECONDS = 0.25  # from one to the next
PREVIEW_SHARE = 10  # times the time that one takes must pass before the next
PRODUCTS_IN_HALF_A_SECOND = 1e10  # of one core; measured at 2.5e10 a second in convolutions


class Question:
    """Model, case and target, and the services of the engine.

    Parameters
    ----------
    model : Model
        Who is asked.
    prepared : Prepared
        The case on the network's grid.
    target : Target
        What is explained.
    memory : int
        Budget in bytes.
    seed : int
        Of the one generator of random numbers.
    progress : callable or None
        ``(fraction, message)``.
    cancel : callable or None
        Gives True when the user wants to stop.
    walk_start : callable or None
        Gives the node to which the first walk will go, so that the first pass keeps what it reads; or a tuple of it
        and of others whose values will be asked for with it.
    walk_table : Table
        The rules of that walk.
    preview : callable or None
        Takes maps that are on their way.
    by_boxes : bool
        Whether variations of the case in boxes will be asked for, so that the first pass keeps what they share.

    Attributes
    ----------
    x : torch.Tensor
        The input, shape (N, C, *spatial).
    output : torch.Tensor
        The network's answer, shape (N, ...).
    score : Score
        The number that is explained.
    scores_of_case : torch.Tensor
        Its value for each of the N samples.
    diagnostics : dict
        Figures and warnings that go with the result.
    """

    def __init__(
        self, model: Model, prepared: Prepared, target: Target, memory: int, seed: int = 0,
        progress: Callable[[float, str], None] | None = None, cancel: Callable[[], bool] | None = None,
        walk_start: Callable[[Graph], Start] | None = None, walk_table: Table = DERIVATIVES,
        preview: Callable[[Attribution], None] | None = None, by_boxes: bool = False,
    ) -> None:  # fmt: skip
        self.model, self.prepared, self.target, self.memory = model, prepared, target, memory
        self.x = prepared.tensor
        self.generator = torch.Generator().manual_seed(seed)
        self._progress, self._cancel, self._preview = progress, cancel, preview
        self._next_preview = 0.0
        self.diagnostics: dict[str, Any] = {"warnings": []}
        self._needed: dict[tuple[str, int], float] = {}
        self._first_pass: tuple[str, Table, dict[str, Any]] | None = None
        self._fraction = 0.0
        self.check()
        self.tiled = TiledQuestion.of(self)
        kept = first_pass(self) if by_boxes else None
        if kept is None and walk_start is not None and self.samples == 1:
            kept = self._kept_pass(walk_start, walk_table)
        self.output = self._outputs(self.x) if kept is None else self._of_graph(kept)
        self.score: Score = target.bind(model, self.output, prepared)
        self.scores_of_case = self.score(self.output)

    @property
    def samples(self) -> int:
        """N: 1 for a 3D network, the number of slices for a 2D network."""
        return int(self.x.shape[0])

    @property
    def spatial(self) -> tuple[int, ...]:
        """The spatial shape of the input."""
        return tuple(self.x.shape[2:])

    def warn(self, sentence: str) -> None:
        """Attach a caution to the result."""
        if sentence not in self.diagnostics["warnings"]:
            self.diagnostics["warnings"].append(sentence)

    def check(self) -> None:
        """Raise `CancelledError` if the user wants to stop; called between operations."""
        if self._cancel is not None and self._cancel():
            raise CancelledError

    def progress(self, fraction: float, message: str) -> None:
        """Say how far the run is, from 0 to 1, and stop it if that is wanted."""
        self.check()
        self._fraction = fraction
        if self._progress is not None:
            self._progress(min(max(fraction, 0.0), 1.0), message)

    def preview(self, make: Callable[[], Attribution]) -> None:
        """Show a map that is on its way, if anybody looks and the last one is not too recent; never changes the run."""
        self.check()
        if self._preview is None or time.monotonic() < self._next_preview:
            return
        began = time.monotonic()
        self._preview(make())
        ended = time.monotonic()
        self._next_preview = ended + max(PREVIEW_SECONDS, PREVIEW_SHARE * (ended - began))

    def tile_done(self, done: int, of: int) -> None:
        """Say how many tiles of the image are done, where the run goes by tiles."""
        self.progress(self._fraction, f"tile {min(done + 1, of)} of {of}")

    # -- scores ------------------------------------------------------------------------------------------------------

    def scores(
        self, x: torch.Tensor, samples: torch.Tensor | None = None, passes: int = 0, measure: Seed | None = None
    ) -> torch.Tensor:
        """The scores of inputs, in batches that fit the memory.

        Parameters
        ----------
        x : torch.Tensor
            Shape (B, C, *spatial).
        samples : torch.Tensor or None
            Shape (B,): which sample of the case each row is a variation of; None takes 0, 1, 2, ...
        passes : int
            How many scores will be asked for in all: for many, the faster way of `whole.answers` is made ready.
        measure : callable or None
            ``(outputs, samples) -> tensor (B, ...)``: what is wanted in place of the score.

        Returns
        -------
        torch.Tensor
            Shape (B,), or what `measure` gives.
        """
        rows = torch.arange(len(x)) if samples is None else samples
        found = []
        for part, which in zip(x.split(self.batch), rows.to(x.device).split(self.batch), strict=True):
            self.check()
            with torch.no_grad():
                if self.tiled is not None:
                    output = self.tiled.answers(part, which)
                else:
                    output = answers(self, part, passes) if passes >= WORTH_A_GRAPH else self.model(part)
                found.append(self.score(output, which) if measure is None else measure(output, which))
        return torch.cat(found)

    @property
    def batch(self) -> int:
        """How many inputs one forward pass takes: they fit the memory budget, and end soon enough for a cancel."""
        return batch_for(self._cost.peak, self.memory, self._soon(1), "One forward pass")

    def _soon(self, passes: int) -> int:
        """How many inputs so many passes take in about half a second, at least one.

        From the number of products, not from a clock: the same request is cut into the same batches.
        """
        return max(1, min(MOST_AT_ONCE, int(PRODUCTS_IN_HALF_A_SECOND / (passes * max(self._cost.products, 1.0)))))

    def _outputs(self, x: torch.Tensor) -> torch.Tensor:
        """The network's answer; the first sample is measured, so that the batches of all that follows fit."""
        first: list[torch.Tensor] = []
        with torch.no_grad():
            if self.tiled is None:
                self._cost = measured(lambda: first.append(self.model(x[:1])))
            else:
                answer, self._cost = self.tiled.first_answer(x[:1])
                first.append(answer)
            rest = [self.model(part, self.tile_done) for part in x[1:].split(self.batch)] if len(x) > 1 else []
        return self._finite(torch.cat([*first, *rest]))

    def _kept_pass(self, walk_start: Callable[[Graph], Start], table: Table) -> torch.Tensor | None:
        """The answer by a pass over the graph that keeps what the first walk reads; None where that cannot be."""
        if self.tiled is not None:
            return None
        try:
            graph = self.graph()
            found = walk_start(graph)
            start, *others = found if isinstance(found, tuple) else (found,)
            if start is None or graph.static_batch not in (None, 1):
                return None
            plan, needed = self._plan(graph, start, table)
            needed = walk_bytes(graph, plan, self.x.element_size(), set(others)) if others else needed
        except XAIError:
            return None  # the method itself, or the network's own pass, says what is wrong
        if needed > self.memory:
            return None
        values = plan.forth(graph, self.x, self.check, set(others))
        output: torch.Tensor = values[graph.output]
        self._first_pass = start, table, values
        return output

    def _of_graph(self, output: torch.Tensor) -> torch.Tensor:
        """The answer of a pass over the graph, as the model gives it."""
        self._cost = cost_of(self.graph(), self.x.element_size())
        output = output[:, None] if output.dim() == 1 and self.model.task == "regression" else output
        self.model.infer_task(output, self.x)
        return self._finite(output)

    @staticmethod
    def _finite(output: torch.Tensor) -> torch.Tensor:
        if not bool(torch.isfinite(output).all()):
            raise XAIError(
                "The network answers with numbers that are not finite.",
                "Check that the volume has the intensities and the preprocessing that the network was trained with.",
            )
        return output

    # -- gradients ---------------------------------------------------------------------------------------------------

    def graph(self, of_tile: bool = False) -> Graph:
        """The network's graph for this size of input.

        Parameters
        ----------
        of_tile : bool
            The caller only walks to the input, so that where the model answers by tiles, the graph of a tile will do.

        Raises
        ------
        XAIError
            With the reason, if it has none.
        """
        if self.tiled is not None and not of_tile:
            raise no_layers(self.model)
        return graph_of(self.model, self.x)

    def gradients(
        self, x: torch.Tensor, samples: torch.Tensor | None = None, table: Table = DERIVATIVES
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradients of the scores with respect to the inputs.

        By the walk over the graph; where the network has none, by autograd on the network itself, which is said in
        the diagnostics.

        Parameters
        ----------
        x : torch.Tensor
            Shape (B, C, *spatial).
        samples : torch.Tensor or None
            As in `scores`.
        table : Table
            The rules of the walk; with others than the true derivatives the network must have a graph.

        Returns
        -------
        tuple of torch.Tensor
            Gradients of the shape of `x`, and scores (B,).
        """
        rows = (torch.arange(len(x)) if samples is None else samples).to(x.device)
        size = self.batch_of_gradient(table)
        try:
            self.graph(of_tile=True)
        except XAIError as error:
            if table is not DERIVATIVES:
                raise
            self.diagnostics["engine"] = f"autograd on the network itself ({error.message})"
            one = self._by_autograd if self.tiled is None else self.tiled.by_autograd
        else:
            self.diagnostics["engine"] = "graph"

            def one(x: torch.Tensor, samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
                graph = self.graph(of_tile=True)
                return self.walk_to(graph.input, x, samples, graph, table)[1:]

        gradients, scores = [], []
        for part, which in zip(x.split(size), rows.split(size), strict=True):
            self.check()
            gradient, score = one(part, which)
            gradients.append(gradient)
            scores.append(score)
        return torch.cat(gradients), torch.cat(scores)

    def batch_of_gradient(self, table: Table = DERIVATIVES) -> int:
        """How many inputs fit the memory in one run forth and back with the rules of `table`."""
        try:
            graph = self.graph(of_tile=True)
        except XAIError:
            needed, limit = self._cost.total, self._soon(3)  # autograd cannot be stopped on its way
        else:
            needed = self._plan(graph, graph.input, table)[1] + (self.tiled.bytes if self.tiled is not None else 0)
            limit = graph.static_batch or quick_batch(graph, self.x.device, self.x.element_size())
        return batch_for(needed, self.memory, limit, "The gradient")

    def walk_to(
        self, start: str, x: torch.Tensor, samples: torch.Tensor, graph: Graph, table: Table = DERIVATIVES,
        seed: Seed | None = None, visit: Callable[[str, Any], None] | None = None, also: dict[str, Any] | None = None,
        derivative: torch.Tensor | None = None, known: dict[str, torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
        """The value of a node and what the walk back to it brings: with the true derivatives, the scores' gradient.

        Parameters
        ----------
        start : str
            The node: the graph's input or a layer's output.
        x : torch.Tensor
            Shape (B, C, *spatial); B fits the memory.
        samples : torch.Tensor
            Shape (B,).
        graph : Graph
            This question's graph.
        table : Table
            The rules of the walk.
        seed : callable or None
            ``(output, derivative of the scores by it) -> cotangent``, all of the output's shape (B, ...), with which
            the walk starts; None starts with the derivative.
        visit : callable or None
            Called as ``visit(node name, cotangent)`` at every node on the way.
        also : dict or None
            By name, further nodes whose values are wanted; they are put there, with the rows of a fixed batch.
        derivative : torch.Tensor or None
            Of the scores by the output, of the shape of `x`'s output, where it is known: for one tile of a sliding
            window. The scores that are returned are then zero.
        known : dict or None
            By node name, values (B, ...) that take the place of what the network makes of `x` there.

        Returns
        -------
        tuple of torch.Tensor
            Value of the node, cotangent of the same shape, scores (B,).
        """
        if self.tiled is not None and derivative is None:
            return self.tiled.walk(start, x, samples, graph, table, seed, visit, also)
        plan, needed = self._plan(graph, start, table)
        more = set(also or ()) - plan.kept
        if more:
            needed = walk_bytes(graph, plan, self.x.element_size(), more)
        batch_for(needed, self.memory, 1, "The gradient")
        real = len(x)
        x, samples = _filled(x, graph.static_batch), _filled(samples, graph.static_batch)
        values = self.taken(start, table, x) if known is None else None
        values = values or plan.forth(graph, x, self.check, more, known)
        if more - values.keys():  # the first pass did not keep them, but what lies before them
            values.update(graph.run(x, keep=more - values.keys(), check=self.check, start=values))
        for name in also or ():
            also[name] = values[name]  # type: ignore[index]
        if derivative is None:
            cotangent, score = self._seed(values[graph.output], samples)
        else:
            cotangent, score = _filled(derivative, graph.static_batch), derivative.new_zeros(len(x))
        if seed is not None:
            cotangent = seed(values[graph.output], cotangent)
        gradient = walk(graph, table, values, cotangent, start, plan.path, self.check, visit)
        return values[start][:real], gradient[:real], score[:real]

    def taken(self, start: str, table: Table, x: torch.Tensor) -> dict[str, Any] | None:
        """What the first pass kept for a walk from the case itself to `start`; given once, to be freed after it."""
        if self._first_pass is None or x.data_ptr() != self.x.data_ptr() or len(x) != len(self.x):
            return None
        if self._first_pass[0] != start or self._first_pass[1] is not table:
            return None
        values, self._first_pass = self._first_pass[2], None
        return values

    def nodes_with_gradient(self, reads: Callable[[str, torch.Tensor], bool]) -> list[str]:
        """Nodes of the graph, from the answer backwards, whose gradient for the first sample `reads` approves.

        Parameters
        ----------
        reads : callable
            ``(node name, gradient) -> bool``.
        """
        graph = self.graph()
        plan, needed = self._plan(graph, graph.input, DERIVATIVES)
        batch_for(needed, self.memory, 1, "Looking for a layer")
        x = _filled(self.x[:1], graph.static_batch)
        values = plan.forth(graph, x, self.check)
        seed, _ = self._seed(values[graph.output], torch.zeros(len(x), dtype=torch.long, device=x.device))
        found: list[str] = []

        def visit(name: str, gradient: Any) -> None:
            if isinstance(gradient, torch.Tensor) and reads(name, gradient):
                found.append(name)

        walk(graph, DERIVATIVES, values, seed, graph.input, plan.path, self.check, visit)
        return found

    def _plan(self, graph: Graph, start: str, table: Table) -> tuple[Plan, float]:
        """Of a walk back to `start`: what it needs of the way forth, and the bytes that both take a sample."""
        plan = planned(graph, table, start)
        key = start, id(table)
        if key not in self._needed:
            self._needed[key] = walk_bytes(graph, plan, self.x.element_size())
        return plan, self._needed[key]

    def _by_autograd(self, x: torch.Tensor, samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        leaf = x.detach().clone().requires_grad_()
        with torch.enable_grad():
            score = self.score(self.model(leaf), samples)
            if not score.requires_grad:
                raise XAIError(
                    "The network gives no gradient: its answer is detached from its input.",
                    "Use a method that needs only scores, such as occlusion.",
                )
            (gradient,) = torch.autograd.grad(score.sum(), leaf)
        return gradient, score.detach()

    def _seed(self, output: torch.Tensor, samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The derivative of the scores with respect to the output, and the scores."""
        leaf = output.detach().requires_grad_()
        with torch.enable_grad():
            score = self.score(leaf, samples)
            (seed,) = torch.autograd.grad(score.sum(), leaf)
        return seed, score.detach()


def _filled(rows: torch.Tensor, batch: int | None) -> torch.Tensor:
    """`rows`, the last one repeated up to the one batch size that a program takes; None is any."""
    if batch is None or len(rows) == batch:
        return rows
    return torch.cat([rows, *[rows[-1:]] * (batch - len(rows))])

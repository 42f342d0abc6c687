"""Exact inference for images that differ from one image in a box: only what the box can reach is computed again.

A perturbed value is a patch: the values in a box, and where the box lies for each of W variations; around it the value
is the base image's, which is kept. Convolutions and pools enlarge the box by their kernel, pointwise operations
keep it, a global average corrects the base's mean; whatever else comes is computed on whole values, and so is all from
where that costs less. A box that is larger than it need be computes unchanged values again, so it stays exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from XAIExplainLib.compute.cost import Chunk, Plan
from XAIExplainLib.compute.graph import Graph, call
from XAIExplainLib.compute.patches import Patch, Places, Surroundings, widen
from XAIExplainLib.compute.steps import Mean, Sized, Step
from XAIExplainLib.compute.whole import Whole

Visit = Callable[[str, Any], None]


class Incremental:
    """The network at one base image, ready to be asked about images that differ from it in a box.

    Parameters
    ----------
    graph : Graph
        Of the network; it must take any number of samples.
    x : torch.Tensor
        The base image, shape (1, C, *spatial).
    check : callable or None
        Called between operations; raises to cancel.
    whole : Whole or None
        The network's steps, where another base has them already.
    """

    def __init__(
        self, graph: Graph, x: torch.Tensor, check: Callable[[], None] | None = None, whole: Whole | None = None
    ) -> None:
        self.graph, self.check, self.x = graph, check, x
        self.dims = x.dim() - 2
        self.whole = Whole(graph, x) if whole is None else whole
        self.steps = self.whole.steps
        self._margins = _margins(self.steps)
        self._patchable = {graph.input}
        for step in self.steps:
            if step.local and self._patchable.issuperset(step.sources):
                self._patchable.add(step.name)
        self._around: dict[tuple[str, float], Surroundings] = {}
        self._means: dict[str, torch.Tensor] = {}
        self._answer: torch.Tensor | None = None

    @property
    def answer(self) -> torch.Tensor:
        """The network's answer to the base, shape (1, ...)."""
        if self._answer is None:
            self.prepare(0)
        assert self._answer is not None
        return self._answer

    def bytes_for(self, cut: int) -> int:
        """What the base's values take in memory, for plans whose chunks have at most this cut."""
        numbers = 0
        for key in self._wanted(cut):
            before, after = self._margins[key]
            channels, *grid = self.graph.shape(key[0], 1)[1:]
            numbers += channels * math.prod(b + n + a for b, n, a in zip(before, grid, after, strict=True))
        return numbers * self.x.element_size()

    @property
    def bytes(self) -> int:
        """What the base's values take in memory now."""
        return sum(around.bytes for around in self._around.values())

    def ready(self, cut: int) -> bool:
        """Whether the base's values are there for plans whose chunks have at most this cut."""
        return self._wanted(cut) <= self._around.keys() and self._wanted_means(cut) <= self._means.keys()

    def plan(self, low: Any, size: Any) -> Plan:
        """How images would be done that differ from the base in boxes: first voxels and sizes, (N, dims) each."""
        first = np.asarray(low, dtype=np.int64)
        places = Places(first, first + np.asarray(size, dtype=np.int64))
        return Plan(self.steps, self.graph.input, tuple(self.x.shape[2:]), places, self.x.element_size())

    def outputs(self, patch: Patch) -> torch.Tensor:
        """The network's answers to W images, shape (W, ...)."""
        plan = self.plan(patch.low, np.broadcast_to(patch.box, patch.low.shape))
        made: torch.Tensor | None = None
        for chunk in plan.chunks(len(patch.low), 1e15, 1e15, 1e15):
            rows = torch.from_numpy(chunk.rows).to(patch.values.device)
            found = self.answers(plan, chunk, Patch(patch.values[rows], patch.low[chunk.rows]))
            made = found.new_empty((len(patch.low), *found.shape[1:])) if made is None else made
            made[rows] = found
        assert made is not None
        return made

    def answers(self, plan: Plan, chunk: Chunk, patch: Patch, visit: Visit | None = None) -> torch.Tensor:
        """The network's answers to one chunk of a plan, shape (W, ...).

        Parameters
        ----------
        plan : Plan
            Of this base.
        chunk : Chunk
            One of the plan's.
        patch : Patch
            What is seen there, in the chunk's order; a box may be larger than the plan's if what is more is the base's.
        visit : callable or None
            Called as ``visit(name, value)`` with the values around which patches may be cut: patches, or whole.
        """
        count = len(chunk.rows)
        self.prepare(chunk.cut)
        values: dict[str, Any] = {self.graph.input: patch}
        if visit is not None:
            visit(self.graph.input, patch)
        with torch.no_grad():
            for number, step in enumerate(self.steps):
                if self.check is not None:
                    self.check()
                value = self._value(plan, chunk, step, number >= chunk.cut, values, count)
                values[step.name] = value
                if visit is not None:
                    visit(step.name, value)
                for name in self.whole.freed.get(step.name, ()):
                    values.pop(name, None)
            output = values[self.graph.output]
            return self._whole(self.graph.output, output, count) if isinstance(output, Patch) else output

    def commit(self, made: dict[str, Any]) -> None:
        """Make one variation the base.

        Parameters
        ----------
        made : dict
            By name, what `answers` showed to its `visit` for that one variation.
        """
        changed: Patch = made[self.graph.input]
        self.x = self.x.clone()
        box: Any = tuple(slice(n, n + b) for n, b in zip(changed.low[0].tolist(), changed.box, strict=True))
        self.x[(slice(None), slice(None), *box)] = changed.values
        self._answer = None
        for (name, _), around in self._around.items():
            around.put(made[name])
        with torch.no_grad():
            for step in self.steps:
                if step.name in self._means:  # anew, so that rounding does not add up along a chain
                    values = {name: self._surroundings(name, 0.0).value for name in step.sources}
                    self._means[step.name] = step.whole(values)

    def kept(self, name: str) -> bool:
        """Whether the base's value of a node is there."""
        return name == self.graph.input or (name, 0.0) in self._around

    # -- one step ----------------------------------------------------------------------------------------------------

    def _value(
        self, plan: Plan, chunk: Chunk, step: Step, whole: bool, values: dict[str, Any], count: int
    ) -> Patch | torch.Tensor | Any:
        sources = [values[name] for name in step.sources]
        if isinstance(step, Sized):
            return self._size(step, values, count)
        if not whole and all(isinstance(source, Patch) for source in sources):
            if isinstance(step, Mean):
                return step.patched(self._surroundings, sources[0], self._means[step.name])
            if step.local:
                low, box = plan.places(step.name, chunk.rows).box(step.grid)
                return step.patch(self._surroundings, sources, low, box)
        for name in step.sources:
            if isinstance(values[name], Patch):
                values[name] = self._whole(name, values[name], count)
        return step.whole(values)

    def _size(self, step: Step, values: dict[str, Any], count: int) -> Any:
        source = values[step.sources[0]]
        if not isinstance(source, Patch):
            return call(step.node, values)
        shape = (count, *self.graph.shape(step.sources[0], 1)[1:])
        index: Any = step.node.args[1] if len(step.node.args) > 1 else None
        return shape if index is None else shape[index]

    def _whole(self, name: str, patch: Patch, count: int) -> torch.Tensor:
        grid = tuple(self._surroundings(name, 0.0).value.shape[2:])
        return widen(self._surroundings(name, 0.0), patch, np.zeros((count, self.dims), dtype=np.int64), grid)

    # -- the base ----------------------------------------------------------------------------------------------------

    def _surroundings(self, name: str, blank: float) -> Surroundings:
        """The base's value of a node; what is beyond its edge shows `blank`."""
        return self._around[name, blank]

    def prepare(self, cut: int) -> None:
        """Make the base's values that steps before `cut` read, and those that are made whole there."""
        if self.ready(cut) and (cut or self._answer is not None):
            return
        wanted, means = self._wanted(cut), self._wanted_means(cut)

        def keep(name: str, value: Any) -> None:
            for key in wanted - self._around.keys():
                if key[0] == name:
                    self._around[key] = Surroundings(value, *self._margins[key], key[1])
            if name in means:
                self._means[name] = value

        self._answer = self.whole.outputs(self.x, self.check, keep)

    def _wanted(self, cut: int) -> set[tuple[str, float]]:
        """The values around which patches are cut if values are whole from `cut` on, and what is beyond them."""
        made = {self.graph.input, *(step.name for step in self.steps[:cut] if step.name in self._patchable)}
        return {key for key in self._margins if key[0] in made}

    def _wanted_means(self, cut: int) -> set[str]:
        """The means of values that patches change before `cut`."""
        return {step.name for step in self.steps[:cut] if isinstance(step, Mean) and step.sources[0] in self._patchable}


def _margins(steps: list[Step]) -> dict[tuple[str, float], tuple[list[int], list[int]]]:
    """How far beyond each value any step looks, before and after, by the value and by what is seen there."""
    found: dict[tuple[str, float], tuple[list[int], list[int]]] = {}

    def more(key: tuple[str, float], before: Sequence[int], after: Sequence[int]) -> None:
        known = found.setdefault(key, ([0] * len(before), [0] * len(after)))
        found[key] = tuple([max(pair) for pair in zip(*both, strict=True)]
                           for both in zip(known, (before, after), strict=True))  # type: ignore[assignment] # fmt: skip

    maps = {step.name for step in steps if step.grid}
    for step in steps:
        for name in step.sources:
            if name in maps or (step.reads and name not in {one.name for one in steps}):
                more((name, 0.0), [0] * step.dims, [0] * step.dims)
                if step.local:
                    more((name, step.blank), *step.margin())
    for step in steps:
        if step.grid:
            more((step.name, 0.0), [0] * step.dims, [0] * step.dims)
    return found

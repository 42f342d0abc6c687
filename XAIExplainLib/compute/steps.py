"""The kinds of steps: operations that can be done on whole values and, where they allow it, on patches.

What works place by place on one value follows the step that makes the value: an activation costs no pass over memory of
its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from XAIExplainLib.compute.graph import Graph, call, operation
from XAIExplainLib.compute.operations import MEETING, POINTWISE
from XAIExplainLib.compute.patches import Patch, Places, Surroundings, union, widen

Values = dict[str, Any]
Around = Callable[[str, float], Surroundings]  # (node, blank) -> the base's value with its margin

SAME = frozenset(("clone", "alias", "contiguous", "dropout", "feature_dropout", "lift_fresh_copy", "detach"))
IN_PLACE = {"relu": torch.relu_, "relu_": torch.relu_}
PRODUCTS = 5.5e10  # a second of one core in convolutions of 16 channels and more
MOVED = 8e9  # bytes a second
CALL = 2.5e-5  # seconds of an operation before it begins


class Step:
    """One operation and what follows it place by place; works on whole values.

    Parameters
    ----------
    graph : Graph
        The network.
    node : torch.fx.Node
        The operation.
    constants : dict
        By name, every value that does not depend on the image.

    Attributes
    ----------
    name : str
        The node whose value the step makes.
    sources : list of str
        The values that it reads and that depend on the image.
    local : bool
        Whether it can work on patches.
    grid : tuple of int
        The size of its value's map; () for a value that has none.
    """

    local = False
    blank = 0.0  # what lies around the map that it reads

    fresh = False  # whether what the operation makes is its own, to be overwritten by what follows

    def __init__(self, graph: Graph, node: torch.fx.Node, constants: Values) -> None:
        self.constants = constants
        self.node, self.name, self.dims = node, node.name, len(graph.shape(graph.input, 1)) - 2
        self.argument_ofs = node.all_input_nodes
        self.sources = [argument.name for argument in node.all_input_nodes if argument.name in graph.dependent]
        shape = graph.sample_shape(node.name) or ()
        self.channels, self.grid = (shape[0], tuple(shape[1:])) if len(shape) == self.dims + 1 else (0, ())
        first = graph.sample_shape(self.sources[0]) if self.sources else None
        self.reads = tuple(first[1:]) if first is not None and len(first) == self.dims + 1 else ()
        self.read_channels = first[0] if first else 0
        self.numbers = math.prod(graph.sample_shape(node.name) or (1,))
        self.after: list[tuple[torch.fx.Node, torch.fx.Node]] = []
        self._any_layout = type(self) is not Step or operation(node) in POINTWISE | MEETING

    def then(self, node: torch.fx.Node, source: torch.fx.Node) -> None:
        """Let an operation that works place by place follow; `source` is what it reads."""
        self.name = node.name
        if operation(node) not in SAME:
            self.after.append((node, source))

    def whole(self, values: Values) -> Any:
        """On whole values."""
        if not self._any_layout:  # views take the channels to lie first
            values = {name: _first(values[name]) for name in self.sources}
        return self._finish(self._called(values))

    def _called(self, values: Values) -> Any:
        return call(self.node, {n.name: values[n.name] if n.name in values else self.constants[n.name]
                                for n in self.argument_ofs})  # fmt: skip

    def _finish(self, value: Any, done: int = 0) -> Any:
        """What follows, but for the first `done` operations."""
        fresh = self.fresh
        for node, source in self.after[done:]:
            in_place = IN_PLACE.get(operation(node)) if fresh else None
            if in_place is None:
                others = {n.name: self.constants[n.name] for n in node.all_input_nodes if n is not source}
                value = call(node, {**others, source.name: value})
            else:
                value = in_place(value)
            fresh = True
        return value

    # -- on patches --------------------------------------------------------------------------------------------------

    def reach(self, places: list[Places]) -> Places:
        """Which places of the value any of those of the sources reach."""
        raise NotImplementedError

    def patch(self, around: Around, sources: list[Patch], low: np.ndarray, box: tuple[int, ...]) -> Patch:
        """The value on boxes that hold what the sources reach."""
        raise NotImplementedError

    def margin(self) -> tuple[list[int], list[int]]:
        """How far beyond the map the step looks, before the first voxel and after the last."""
        return [0] * self.dims, [0] * self.dims

    # -- what it takes -----------------------------------------------------------------------------------------------

    def products(self, cells: Any) -> Any:
        """Multiplications for so many cells, as time on this kind of processor counts them."""
        return 0.0 * cells

    def seconds(self, item: int, boxes: np.ndarray | None = None) -> Any:
        """About how long one variation takes, on the whole map or on boxes (K, dims) of the value."""
        if boxes is None:
            numbers = self.numbers + math.prod(self.reads or (1,)) * self.read_channels
            return self.products(math.prod(self.grid)) / PRODUCTS + 2 * item * numbers / MOVED
        cells = boxes.prod(-1).astype(float)
        seen = self.region(boxes).prod(-1) * self.read_channels
        return self.products(cells) / PRODUCTS + 2 * item * (cells * self.channels + seen) / MOVED

    def region(self, boxes: np.ndarray) -> np.ndarray:
        """What is cut out of the map that it reads, for boxes of the value."""
        return boxes


class Along(Step):
    """One value, place by place."""

    local = True

    def __init__(
        self, graph: Graph, node: torch.fx.Node, constants: Values, value: torch.fx.Node | None = None
    ) -> None:
        super().__init__(graph, node, constants)
        if value is not None:  # the first of several values
            self.name, self.channels, self.grid, self.fresh = value.name, self.read_channels, self.reads, True
            self.numbers = self.channels * math.prod(self.grid)

    def whole(self, values: Values) -> Any:
        return self._finish(_tensor(self._called(values)))

    def reach(self, places: list[Places]) -> Places:
        return places[0]

    def patch(self, around: Around, sources: list[Patch], low: np.ndarray, box: tuple[int, ...]) -> Patch:
        return Patch(self.whole({self.sources[0]: sources[0].values}), sources[0].low)

    def seconds(self, item: int, boxes: np.ndarray | None = None) -> Any:
        return super().seconds(item, boxes) / 3  # what has just been made lies in the processor's cache


class Meeting(Step):
    """Several maps, place by place or behind each other, on boxes that hold all their patches."""

    local = True
    fresh = True

    def reach(self, places: list[Places]) -> Places:
        return union(places)

    def patch(self, around: Around, sources: list[Patch], low: np.ndarray, box: tuple[int, ...]) -> Patch:
        pairs = zip(self.sources, sources, strict=True)
        return Patch(self.whole({name: widen(around(name, 0.0), patch, low, box) for name, patch in pairs}), low)

    def seconds(self, item: int, boxes: np.ndarray | None = None) -> Any:
        share = 1.0 if boxes is None else boxes.prod(-1) / math.prod(self.grid)
        return share * (2 if boxes is None else 4) * item * self.numbers / MOVED


class Repeated(Step):
    """Nearest neighbours: every voxel is repeated so many times along each axis."""

    local = True

    def __init__(self, graph: Graph, node: torch.fx.Node, constants: Values) -> None:
        super().__init__(graph, node, constants)
        self._times = np.asarray(self.grid) // np.asarray(self.reads)

    def reach(self, places: list[Places]) -> Places:
        return Places(places[0].low * self._times, places[0].high * self._times)

    def region(self, boxes: Any) -> Any:
        return -(-boxes // self._times)

    def patch(self, around: Around, sources: list[Patch], low: np.ndarray, box: tuple[int, ...]) -> Patch:
        made = sources[0].values
        for axis, times in enumerate(self._times.tolist(), start=2):
            made = made.repeat_interleave(times, axis) if times > 1 else made
        made = made.contiguous(memory_format=_last(self.dims))
        return Patch(self._finish(made), sources[0].low * self._times)


class Padded(Step):
    """Constant voxels around a map."""

    local = True

    def __init__(self, graph: Graph, node: torch.fx.Node, constants: Values, before: list[int]) -> None:
        super().__init__(graph, node, constants)
        self._before = np.asarray(before)

    def reach(self, places: list[Places]) -> Places:
        return Places(places[0].low + self._before, places[0].high + self._before)

    def patch(self, around: Around, sources: list[Patch], low: np.ndarray, box: tuple[int, ...]) -> Patch:
        return Patch(self._finish(sources[0].values), sources[0].low + self._before)


class Channels(Along):
    """Some channels of a map."""

    def whole(self, values: Values) -> Any:
        return self._finish(self._called(values).contiguous(memory_format=_last(self.dims)))


class Mean(Step):
    """The mean of a whole map: what the patch changes in it, added to the base's."""

    def patched(self, around: Around, source: Patch, base: torch.Tensor) -> torch.Tensor:
        """Shape (W, C, ...), from the base's mean (1, C, ...)."""
        before = around(self.sources[0], 0.0).cut(source.low, source.box)
        change = (source.values - before).sum(tuple(range(2, 2 + self.dims))) / math.prod(self.reads)
        return self._finish(base + change.reshape(len(change), *base.shape[1:]))


class Sized(Step):
    """A number that tells the size of a value, or is computed from one."""


def taken(value: torch.Tensor, offsets: np.ndarray, box: tuple[int, ...]) -> torch.Tensor:
    """Boxes of one size out of values (W, C, *size), each from its own first voxel."""
    kinds, which = np.unique(offsets, axis=0, return_inverse=True)
    cuts: list[Any] = [tuple(slice(o, o + b) for o, b in zip(kind, box, strict=True)) for kind in kinds.tolist()]
    if len(cuts) == 1:
        return value[(..., *cuts[0])]
    made = value.new_empty((*value.shape[:2], *box)).contiguous(memory_format=_last(len(box)))
    for number, cut in enumerate(cuts):
        rows = torch.from_numpy(np.flatnonzero(which.reshape(-1) == number)).to(value.device)
        made[rows] = value[rows][(..., *cut)]
    return made


def argument_of(node: torch.fx.Node, index: int, constants: Values) -> Any:
    argument = node.args[index] if len(node.args) > index else None
    return constants[argument.name] if isinstance(argument, torch.fx.Node) else argument


def _tensor(made: Any) -> torch.Tensor:
    return made[0] if isinstance(made, tuple | list) else made


def _first(value: Any) -> Any:
    return value.contiguous() if isinstance(value, torch.Tensor) else value


def _last(dims: int) -> torch.memory_format:
    return torch.channels_last_3d if dims == 3 else torch.channels_last

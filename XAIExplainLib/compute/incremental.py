"""Exact inference for images that differ from one image in a box: only what the box can reach is computed again.

A perturbed value is a patch: the values in a box, and where the box lies for each of W variations; around it the value
is the base image's, which is kept. Convolutions and pools enlarge the box by their kernel, pointwise operations
keep it, a global average corrects the base's mean; whatever else comes is computed on whole values. A box that is
larger than it need be computes unchanged values again, so it stays exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from XAIExplainLib.compute.graph import Graph, call, operation
from XAIExplainLib.compute.operations import MEETING, POINTWISE, window_of

COVERS = 0.7  # a box of this share of a map is computed as the whole map: copying would cost more than it saves


@dataclass
class Patch:
    """A value that differs from the base's in a box.

    Parameters
    ----------
    values : torch.Tensor
        Shape (W, C, *box).
    low : tuple of tuple of int
        For each variation the box's first voxel, one an axis.
    """

    values: torch.Tensor
    low: tuple[tuple[int, ...], ...]

    @property
    def box(self) -> tuple[int, ...]:
        """The box's size."""
        return tuple(self.values.shape[2:])


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
    """

    def __init__(self, graph: Graph, x: torch.Tensor, check: Callable[[], None] | None = None) -> None:
        self.graph, self.check = graph, check
        self.dims = x.dim() - 2
        self.base: dict[str, Any] = {graph.input: x, **graph.run(x, keep=base_values(graph), check=check)}
        self._padded: dict[tuple[Any, ...], torch.Tensor] = {}

    def outputs(self, patch: Patch) -> torch.Tensor:
        """The network's answers to W images, shape (W, ...)."""
        count = len(patch.low)
        values: dict[str, Any] = {**self.graph.constants, self.graph.input: patch}
        with torch.no_grad():
            for node in self.graph.nodes:
                if self.check is not None:
                    self.check()
                values[node.name] = self._step(node, values, count)
                for name in self.graph.freed_after(node.name):
                    values.pop(name, None)
        return self._whole(self.graph.output, values[self.graph.output], count)

    # -- one operation -----------------------------------------------------------------------------------------------

    def _step(self, node: torch.fx.Node, values: dict[str, Any], count: int) -> Any:
        patches = [argument for argument in node.all_input_nodes if isinstance(values[argument.name], Patch)]
        if not patches:
            return call(node, values)
        name = operation(node)
        if name in ("sym_size", "size"):
            shape = (count, *self.graph.shape(patches[0].name, 1)[1:])
            index: Any = node.args[1] if len(node.args) > 1 else None
            return shape if index is None else shape[index]
        made = self._local(node, name, patches, values)
        if made is not None:
            return made
        whole = {p.name: self._whole(p.name, values[p.name], count) for p in patches}
        return call(node, {**values, **whole})

    def _local(
        self, node: torch.fx.Node, name: str, patches: list[torch.fx.Node], values: dict[str, Any]
    ) -> Patch | torch.Tensor | tuple[Any, ...] | None:
        first: Patch = values[patches[0].name]
        if len(patches) == 1 and _is_pointwise(self.graph, node):
            return self._pointwise(node, patches[0], values)
        if name in MEETING:
            return self._meet(node, name, patches, values)
        if self._is_global_mean(node, name):
            return self._global_mean(node, patches[0], first)
        window = window_of(node, name, self.dims)
        if window is not None and name.startswith(("conv", "max_pool")) and len(patches) == 1:
            return self._windowed(node, name, patches[0], first, window, values)
        return None

    def _pointwise(self, node: torch.fx.Node, source: torch.fx.Node, values: dict[str, Any]) -> Any:
        patch: Patch = values[source.name]
        made = call(node, {**values, source.name: patch.values})
        if isinstance(made, tuple):  # batch norm and its like: the first is the value, and getitem takes it
            return tuple(Patch(part, patch.low) if n == 0 else part for n, part in enumerate(made))
        return Patch(made, patch.low)

    def _meet(
        self, node: torch.fx.Node, name: str, patches: list[torch.fx.Node], values: dict[str, Any]
    ) -> Patch | None:
        """Two maps, or a map and a constant: on the box that holds both patches."""
        grid = self.graph.shape(patches[0].name, 1)[2:]
        if any(self.graph.shape(patch.name, 1)[2:] != grid for patch in patches):
            return None
        others = [other for other in node.all_input_nodes if other not in patches]
        for other in others:
            value = values[other.name]
            if isinstance(value, torch.Tensor) and value.dim() > 0:
                return None  # a gate or a map that is whole: on whole values
        if name == "cat" and node.args[1:] not in ((1,), (-self.dims - 1,)):
            return None
        lows, box = _union([values[patch.name] for patch in patches], grid)
        if _covers(box, grid):
            return None
        widened = {patch.name: self._widen(patch.name, values[patch.name], lows, box) for patch in patches}
        return Patch(call(node, {**values, **widened}), lows)

    def _is_global_mean(self, node: torch.fx.Node, name: str) -> bool:
        every = set(range(2, 2 + self.dims))
        if name == "mean" and len(node.args) > 1 and isinstance(node.args[1], list | tuple):
            return {axis % (2 + self.dims) for axis in node.args[1]} == every and not node.kwargs  # type: ignore[operator]
        return name == f"adaptive_avg_pool{self.dims}d" and set(_listed(node.args[1])) == {1}

    def _global_mean(self, node: torch.fx.Node, source: torch.fx.Node, patch: Patch) -> torch.Tensor:
        base = self.base[source.name]
        axes = tuple(range(2, 2 + self.dims))
        before = torch.stack([base[(0, slice(None), *_box(low, patch.box))].sum(tuple(range(1, 1 + self.dims)))
                              for low in patch.low])  # fmt: skip
        change = (patch.values.sum(axes) - before) / math.prod(base.shape[2:])
        mean = base.mean(axes) + change
        return mean.reshape(len(patch.low), *self.graph.shape(node.name, 1)[1:])

    def _windowed(
        self, node: torch.fx.Node, name: str, source: torch.fx.Node, patch: Patch, window: tuple[list[int], ...],
        values: dict[str, Any],
    ) -> Patch | None:  # fmt: skip
        kernel, stride, padding, dilation = window
        grid = self.graph.shape(node.name, 1)[2:]
        lows, box = reach(patch.low, patch.box, grid, kernel, stride, padding, dilation)
        if _covers(box, grid):
            return None
        size = [(b - 1) * s + d * (k - 1) + 1 for b, s, d, k in zip(box, stride, dilation, kernel, strict=True)]
        blank = 0.0 if name.startswith("conv") else -math.inf
        base = self._pad(source.name, padding, size, stride, grid, blank)
        starts = [tuple(n * s for n, s in zip(low, stride, strict=True)) for low in lows]  # in the padded base
        region = torch.stack([base[(0, slice(None), *_box(start, size))] for start in starts])
        # Where the patches lie in their regions: mostly all alike, since they are in the order of their phases.
        rows: dict[tuple[int, ...], list[int]] = {}
        for row, (start, inner) in enumerate(zip(starts, patch.low, strict=True)):
            rows.setdefault(tuple(i + p - n for i, p, n in zip(inner, padding, start, strict=True)), []).append(row)
        for offset, alike in rows.items():
            # Parts of a patch may lie outside of its region, if strides pass them over.
            reached = zip(offset, patch.box, size, strict=True)
            into: tuple[Any, ...] = tuple(slice(max(o, 0), min(o + b, n)) for o, b, n in reached)
            out_of: tuple[Any, ...] = tuple(slice(i.start - o, i.stop - o) for i, o in zip(into, offset, strict=True))
            if all(piece.start < piece.stop for piece in into):
                which: Any = slice(None) if len(alike) == len(lows) else alike
                region[(which, slice(None), *into)] = patch.values[(which, slice(None), *out_of)]
        if name.startswith("conv"):
            weight, bias = _value(node, 1, values), _value(node, 2, values)
            groups = node.args[6] if len(node.args) > 6 else 1
            convolve = getattr(torch.ops.aten, f"conv{self.dims}d").default  # not the form with a named padding
            made = convolve(region, weight, bias, stride, [0] * self.dims, dilation, groups)
        else:
            made = node.target(region, kernel, stride, [0] * self.dims, dilation, False)  # type: ignore[operator]
        return Patch(made, lows)

    # -- around a patch ----------------------------------------------------------------------------------------------

    def _pad(
        self, name: str, padding: list[int], size: list[int], stride: list[int], grid: tuple[int, ...], blank: float
    ) -> torch.Tensor:
        """The base value with its padding, and what the last windows of a pool in ceil mode stick out."""
        base = self.base[name]
        key = (name, tuple(padding), tuple(stride), blank, tuple(size))
        if key not in self._padded:
            beyond = []
            for axis in range(self.dims):
                furthest = (grid[axis] - 1) * stride[axis] + size[axis]
                beyond.append(max(padding[axis], furthest - padding[axis] - base.shape[2 + axis]))
            pads = [n for axis in reversed(range(self.dims)) for n in (padding[axis], beyond[axis])]
            padded = torch.nn.functional.pad(base, pads, value=blank) if any(pads) else base
            self._padded[key] = padded
        return self._padded[key]

    def _widen(self, name: str, patch: Patch, lows: tuple[tuple[int, ...], ...], box: tuple[int, ...]) -> torch.Tensor:
        """The patch's value on a box around it."""
        if lows == patch.low and box == patch.box:
            return patch.values
        base = self.base[name]
        made = torch.stack([base[(0, slice(None), *_box(low, box))] for low in lows])
        for row, (low, inner) in enumerate(zip(lows, patch.low, strict=True)):
            place = _box([i - n for i, n in zip(inner, low, strict=True)], patch.box)
            made[(row, slice(None), *place)] = patch.values[row]
        return made

    def _whole(self, name: str, value: Any, count: int) -> Any:
        if isinstance(value, tuple):
            return tuple(self._whole(name, part, count) for part in value)
        if not isinstance(value, Patch):
            return value
        base = self.base[name]
        grid = tuple(base.shape[2:])
        return self._widen(name, value, ((0,) * len(grid),) * count, grid)


def reach(
    lows: tuple[tuple[int, ...], ...], box: tuple[int, ...], grid: tuple[int, ...], kernel: list[int],
    stride: list[int], padding: list[int], dilation: list[int],
) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:  # fmt: skip
    """Which cells of a convolution's or pool's output read any voxel of the boxes.

    Returns
    -------
    tuple
        First cells, one a box, and one size for all, each box moved inwards to fit the `grid`.
    """
    starts, ends = [], []
    for low in lows:
        start, end = [], []
        for n, b, g, k, s, p, d in zip(low, box, grid, kernel, stride, padding, dilation, strict=True):
            start.append(min(max(0, -(-(n + p - d * (k - 1)) // s)), g - 1))
            end.append(max(min(g, (n + b - 1 + p) // s + 1), start[-1] + 1))
        starts.append(start)
        ends.append(end)
    size = tuple(max(e[axis] - s[axis] for s, e in zip(starts, ends, strict=True)) for axis in range(len(grid)))
    return tuple(tuple(min(n, g - b) for n, g, b in zip(s, grid, size, strict=True)) for s in starts), size


def share_of_operations(graph: Graph, box: tuple[int, ...]) -> float:
    """What share of the multiplications of a whole pass a box in the middle of the image needs, from 0 to 1."""
    dims = len(box)
    spatial = graph.shape(graph.input, 1)[2:]
    middle = tuple((n - b) // 2 for n, b in zip(spatial, box, strict=True))
    places: dict[str, tuple[tuple[int, ...], tuple[int, ...]] | None] = {graph.input: (middle, tuple(box))}
    some = whole = 0.0
    for node in graph:
        if node.name not in graph.dependent:
            continue
        name, grid = operation(node), graph.shape(node.name, 1)[2:]
        sources = [places[argument.name] for argument in node.all_input_nodes if argument.name in places]
        place = _place_of(graph, node, name, sources, grid, dims)
        places[node.name] = place
        if name.startswith("conv") and len(node.args) > 1:
            weight = node.args[1].meta["val"]  # type: ignore[union-attr]
            cost = float(math.prod(grid)) * weight.numel()
            part = math.prod(place[1]) / math.prod(grid) if place is not None and grid else 1.0
            whole += cost
            some += cost * part
    return some / whole if whole else 1.0


def _place_of(
    graph: Graph, node: torch.fx.Node, name: str, sources: list[Any], grid: tuple[int, ...], dims: int
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    if not sources or any(place is None for place in sources):
        return None
    if _is_pointwise(graph, node):
        return sources[0]
    if len(grid) != dims:
        return None
    if name in MEETING:
        patches = [Patch(torch.empty((1, 1, *box), device="meta"), (low,)) for low, box in sources]
        lows, box = _union(patches, grid)
        return None if _covers(box, grid) else (lows[0], box)
    window = window_of(node, name, dims)
    if window is None or not name.startswith(("conv", "max_pool")):
        return None
    low, box = sources[0]
    lows, size = reach((low,), box, grid, *window)
    return None if _covers(size, grid) else (lows[0], size)


def base_values(graph: Graph) -> set[str]:
    """Names of the base's values that are read around patches: by all but pointwise operations."""
    read = {graph.output}
    for node in graph:
        if not _is_pointwise(graph, node):
            read.update(argument.name for argument in node.all_input_nodes if argument.name in graph.dependent)
    return {name for name in read if len(graph.shape(name, 1)) >= 2} - {graph.input}


def _is_pointwise(graph: Graph, node: torch.fx.Node) -> bool:
    """Whether the operation works place by place, and whatever else it reads has no place in the image."""
    if operation(node) not in POINTWISE:
        return False
    sources = [argument for argument in node.all_input_nodes if argument.name in graph.dependent]
    others = [argument for argument in node.all_input_nodes if argument.name not in graph.dependent]
    return len(sources) == 1 and all(len(graph.shape(other.name, 1)) <= 1 for other in others)


def _union(patches: list[Patch], grid: tuple[int, ...]) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """Boxes that hold those of all patches, of one size, inside the grid."""
    rows = zip(*(patch.low for patch in patches), strict=True)
    lows = [tuple(min(places) for places in zip(*row, strict=True)) for row in rows]
    box = []
    for axis in range(len(grid)):
        ends = (max(p.low[row][axis] + p.box[axis] for p in patches) - low[axis] for row, low in enumerate(lows))
        box.append(max(ends))
    return tuple(tuple(min(n, g - b) for n, g, b in zip(low, grid, box, strict=True)) for low in lows), tuple(box)


def _covers(box: tuple[int, ...], grid: tuple[int, ...]) -> bool:
    return math.prod(box) >= COVERS * math.prod(grid)


def _box(low: Any, size: Any) -> tuple[Any, ...]:
    return tuple(slice(n, n + b) for n, b in zip(low, size, strict=True))


def _listed(value: Any) -> list[Any]:
    return [value] if isinstance(value, int) else list(value)


def _value(node: torch.fx.Node, index: int, values: dict[str, Any]) -> Any:
    argument = node.args[index] if len(node.args) > index else None
    return values[argument.name] if isinstance(argument, torch.fx.Node) else argument

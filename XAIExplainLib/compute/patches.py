"""Values that differ from a base image's in a box: where the boxes lie, and how they are cut out and put back.

All values lie in memory with the channels last, so that a row of a box is one piece of memory and a box is cut out
by one indexed copy of rows, on every device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

Lows = Any  # integers (W, dims): an array, or a sequence of sequences


@dataclass
class Patch:
    """A value that differs from the base's in a box.

    Parameters
    ----------
    values : torch.Tensor
        Shape (W, C, *box).
    low : array of int
        Shape (W, dims): for each variation the box's first voxel.
    """

    values: torch.Tensor
    low: Lows

    def __post_init__(self) -> None:
        self.low = np.asarray(self.low, dtype=np.int64).reshape(len(self.values), self.values.dim() - 2)

    @property
    def box(self) -> tuple[int, ...]:
        """The box's size."""
        return tuple(self.values.shape[2:])


@dataclass(frozen=True)
class Places:
    """What part of a map differs in each of N variations, to the voxel.

    Parameters
    ----------
    low, high : array of int
        Shape (N, dims): first voxels, and those after the last.
    """

    low: np.ndarray
    high: np.ndarray

    def of(self, rows: Any) -> Places:
        """Those of some variations."""
        return Places(self.low[rows], self.high[rows])

    def box(self, grid: Sequence[int]) -> tuple[np.ndarray, tuple[int, ...]]:
        """One size for all, and the first voxels of boxes of that size inside the grid."""
        size = (self.high - self.low).max(0)
        return np.minimum(self.low, np.asarray(grid) - size), tuple(size.tolist())


class Surroundings:
    """The base's value of one node, with a margin around it, from which boxes are cut.

    Parameters
    ----------
    value : torch.Tensor
        Shape (1, C, *grid).
    before, after : sequence of int
        The margin on either side, one number an axis.
    blank : float
        What the margin shows.
    """

    def __init__(self, value: torch.Tensor, before: Sequence[int], after: Sequence[int], blank: float) -> None:
        grid = value.shape[2:]
        self.before = np.asarray(before)
        size = [b + n + a for b, n, a in zip(before, grid, after, strict=True)]
        self._rows = value.new_empty((*size, value.shape[1]))
        for axis, (b, n) in enumerate(zip(before, grid, strict=True)):
            self._rows.narrow(axis, 0, b).fill_(blank)
            self._rows.narrow(axis, b + n, size[axis] - b - n).fill_(blank)
        inner = tuple(slice(b, b + n) for b, n in zip(before, grid, strict=True))
        self._inner = self._rows[inner]
        self._inner.copy_(value[0].movedim(0, -1))

    @property
    def value(self) -> torch.Tensor:
        """The base's value without margin, shape (1, C, *grid)."""
        return self._inner.movedim(-1, 0)[None]

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        return self._rows.numel() * self._rows.element_size()

    def cut(self, starts: np.ndarray, size: Sequence[int]) -> torch.Tensor:
        """Boxes of one size, shape (W, C, *size), that begin at `starts` (W, dims); in the margin, negative."""
        *sides, channels = self._rows.shape
        wide = size[-1]
        strides = [math.prod(sides[axis + 1 :]) for axis in range(len(sides))]
        rows = ((starts + self.before) * strides).sum(1)
        for stride, length in zip(strides[:-1], size[:-1], strict=True):
            rows = (rows[:, None] + np.arange(length) * stride).reshape(-1)
        last = math.prod(sides) - wide + 1
        every = self._rows.as_strided((last, wide * channels), (channels, 1))
        found = every.index_select(0, torch.from_numpy(rows).to(self._rows.device))
        return found.view(len(starts), *size, channels).movedim(-1, 1)

    def put(self, patch: Patch | torch.Tensor) -> None:
        """Make the base what one variation is."""
        if isinstance(patch, torch.Tensor):
            self._inner.copy_(patch[0].movedim(0, -1))
            return
        box = tuple(slice(n, n + b) for n, b in zip(patch.low[0].tolist(), patch.box, strict=True))
        self._inner[box] = patch.values[0].movedim(0, -1)


def paste(region: torch.Tensor, starts: np.ndarray, patch: Patch) -> None:
    """Put patches into regions (W, C, *size) that begin at `starts`; what sticks out of a region is left out."""
    size, box = region.shape[2:], patch.box
    offsets = patch.low - starts
    if (offsets == offsets[0]).all():
        groups: list[tuple[list[int], Any]] = [(offsets[0].tolist(), slice(None))]
    else:
        kinds, which = np.unique(offsets, axis=0, return_inverse=True)
        order = np.argsort(which.reshape(-1), kind="stable")
        ends = np.cumsum(np.bincount(which.reshape(-1)))
        rows = np.split(order, ends[:-1])
        groups = [(kind.tolist(), _run(own)) for kind, own in zip(kinds, rows, strict=True)]
    for offset, own in groups:
        reached = list(zip(offset, box, size, strict=True))
        into = tuple(slice(max(o, 0), min(o + b, n)) for o, b, n in reached)
        out_of = tuple(slice(i.start - o, i.stop - o) for i, o in zip(into, offset, strict=True))
        if all(piece.start < piece.stop for piece in into):
            region[(own, slice(None), *into)] = patch.values[(own, slice(None), *out_of)]


def _run(rows: np.ndarray) -> Any:
    """Rows in a row as a slice, which copies nothing."""
    if rows[-1] - rows[0] == len(rows) - 1:
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows.tolist()


def widen(around: Surroundings, patch: Patch, starts: np.ndarray, size: Sequence[int]) -> torch.Tensor:
    """The values on boxes around patches, shape (W, C, *size)."""
    if tuple(size) == patch.box and (starts == patch.low).all():
        return patch.values
    made = around.cut(starts, size)
    paste(made, starts, patch)
    return made


def union(places: Sequence[Places]) -> Places:
    """Boxes that hold those of all."""
    return Places(np.minimum.reduce([one.low for one in places]), np.maximum.reduce([one.high for one in places]))

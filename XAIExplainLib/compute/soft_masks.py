"""Masks on a grid coarser than the image: how they are enlarged, held at an area, and moved against a gradient.

A mask `d` is the share of each voxel that belongs to the region: 0 outside, 1 inside. It is enlarged by one small
matrix an axis, so that the way back of a gradient is the same matrices transposed, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from XAIExplainLib.compute.placement import cells, enlarge


@dataclass(frozen=True)
class Lattice:
    """The coarse grid of a mask and its linear interpolation on the image's voxels.

    Parameters
    ----------
    spatial : tuple of int
        The image's shape.
    cell : tuple of float
        About how many voxels a cell has along each axis; the cells tile the image, so it is rounded.
    shift : tuple of float
        By how many voxels the grid is moved, one an axis; empty is not at all. Beyond the first and last cell their
        value goes on.
    dtype : torch.dtype
        Of the mask.
    """

    spatial: tuple[int, ...]
    cell: tuple[float, ...]
    shift: tuple[float, ...] = ()
    dtype: torch.dtype = torch.float32

    @property
    def grid(self) -> tuple[int, ...]:
        """How many cells there are along each axis."""
        return tuple(max(1, round(size / cell)) for size, cell in zip(self.spatial, self.cell, strict=True))

    def matrices(self) -> list[torch.Tensor]:
        """One an axis, shape (voxels, cells): how much of each cell a voxel has; rows add up to 1."""
        origin, step = cells(self.grid, self.spatial)
        found = []
        for axis, (size, count) in enumerate(zip(self.spatial, self.grid, strict=True)):
            moved = origin[axis] + (self.shift[axis] if self.shift else 0.0)
            unit = torch.eye(count, dtype=self.dtype)[None]
            found.append(enlarge(unit, (size,), (moved,), (step[axis],))[0].T)
        return found

    def enlarged(self, mask: torch.Tensor) -> torch.Tensor:
        """The mask on the image's voxels: (N, *grid) to (N, *spatial)."""
        return _along_axes(mask, [matrix.to(mask) for matrix in self.matrices()])

    def gathered(self, values: torch.Tensor) -> torch.Tensor:
        """The transpose of `enlarged`, which carries gradients back: (N, *spatial) to (N, *grid)."""
        return _along_axes(values, [matrix.T.to(values) for matrix in self.matrices()])


def _along_axes(values: torch.Tensor, matrices: list[torch.Tensor]) -> torch.Tensor:
    for axis, matrix in enumerate(matrices, start=1):
        values = torch.movedim(torch.movedim(values, axis, -1) @ matrix.T, -1, axis)
    return values


def share_of_area(mask: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Which share of the anatomy is in the region, shape (N,).

    Parameters
    ----------
    mask : torch.Tensor
        Shape (N, *grid).
    weights : torch.Tensor
        Same shape: voxels of anatomy that belong to each cell, `Lattice.gathered` of the anatomy.
    """
    return (mask * weights).flatten(1).sum(1) / weights.flatten(1).sum(1).clamp_min(1e-12)


def with_area(levels: torch.Tensor, weights: torch.Tensor, area: float) -> torch.Tensor:
    """The mask ``sigmoid(levels - t)`` whose threshold t gives it just this area.

    The constraint of extremal perturbations (Fong, Patrick & Vedaldi 2019, equation 2), kept in each step; they
    approach it by a penalty on the ranked mask. Adding minus the gradient by the mask to the levels, and finding t, is
    mirror descent on the masks of this area (with the entropy of a share as its distance): it needs no derivative of
    the sigmoid, so that a cell at 0 can still come back.

    Parameters
    ----------
    levels : torch.Tensor
        Shape (N, *grid), any real numbers.
    weights : torch.Tensor
        Same shape, as in `share_of_area`; cells of weight 0 are never in the region.
    area : float
        Share of the anatomy, between 0 and 1.
    """
    flat, weight = levels.flatten(1).double(), weights.flatten(1).double()
    low = flat.amin(1, keepdim=True) - 40
    high = flat.amax(1, keepdim=True) + 40
    total = weight.sum(1, keepdim=True).clamp_min(1e-12)
    for _ in range(60):  # halves the interval each time, to the last digit
        middle = (low + high) / 2
        found = (torch.sigmoid(flat - middle) * weight).sum(1, keepdim=True) / total
        low, high = torch.where(found > area, middle, low), torch.where(found > area, high, middle)
    mask = torch.sigmoid(flat - (low + high) / 2) * (weight > 0)
    return mask.reshape(levels.shape).to(levels.dtype)


def total_variation(mask: torch.Tensor, power: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum over pairs of neighbours of ``|difference| ** power``, shape (N,), and its gradient (N, *grid)."""
    value = mask.new_zeros(len(mask))
    gradient = torch.zeros_like(mask)
    for axis in range(1, mask.dim()):
        count = mask.shape[axis]
        if count < 2:
            continue
        difference = mask.narrow(axis, 1, count - 1) - mask.narrow(axis, 0, count - 1)
        value = value + (difference.abs() ** power).flatten(1).sum(1)
        slope = power * difference.abs() ** (power - 1) * difference.sign()
        gradient.narrow(axis, 1, count - 1).add_(slope)
        gradient.narrow(axis, 0, count - 1).sub_(slope)
    return value, gradient


class Adam:
    """Adam (Kingma & Ba 2015) on one tensor, each of whose samples may be scaled by one number.

    Parameters
    ----------
    like : torch.Tensor
        What is moved, (N, *grid).
    rate : float
        Largest step.
    shared : bool
        Whether all cells of a sample share one second moment: where the gradients differ, so do the steps, and cells
        are ranked by their gradient; with one of its own each, a cell of nearly no effect moves as far as any.
    """

    def __init__(self, like: torch.Tensor, rate: float, shared: bool) -> None:
        self.first, self.second = torch.zeros_like(like), torch.zeros_like(like)
        self.rate, self.shared, self.count = rate, shared, 0

    def step(self, gradient: torch.Tensor) -> torch.Tensor:
        """What to add, for this gradient."""
        self.count += 1
        square = gradient**2
        if self.shared:
            square = square.flatten(1).amax(1).reshape(-1, *[1] * (gradient.dim() - 1)).expand_as(gradient)
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.95 * self.second + 0.05 * square
        mean = self.first / (1 - 0.9**self.count)
        scale = (self.second / (1 - 0.95**self.count)).sqrt() + 1e-30
        return -self.rate * mean / scale

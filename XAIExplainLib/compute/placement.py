"""Putting a layer's coarse map onto the grid of the image."""

from __future__ import annotations

import torch


def cells(grid: tuple[int, ...], spatial: tuple[int, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Origin and step (input voxels, one an axis) of a map whose cells tile the image."""
    step = tuple(size / cells for size, cells in zip(spatial, grid, strict=True))
    return tuple((s - 1) / 2 for s in step), step


def enlarge(
    maps: torch.Tensor, spatial: tuple[int, ...], origin: tuple[float, ...], step: tuple[float, ...]
) -> torch.Tensor:
    """Interpolate maps linearly at every voxel of the image; beyond the first and last cell their value goes on.

    Parameters
    ----------
    maps : torch.Tensor
        Shape (N, C, *grid).
    spatial : tuple of int
        The image's shape.
    origin, step : tuple of float
        The input voxel at the centre of the first cell, and from cell to cell.

    Returns
    -------
    torch.Tensor
        Shape (N, C, *spatial).
    """
    result = maps
    for axis, (size, start, width) in enumerate(zip(spatial, origin, step, strict=True), start=2):
        count = maps.shape[axis]
        places = (torch.arange(size, dtype=torch.float64) - start) / width
        places = places.clamp(0, count - 1)
        low = places.floor().long().clamp(max=max(count - 2, 0))
        part = (places - low).to(maps.dtype).to(maps.device)
        high = (low + 1).clamp(max=count - 1).to(maps.device)
        shape = [1] * maps.dim()
        shape[axis] = size
        part = part.reshape(shape)
        low = low.to(maps.device)
        result = result.index_select(axis, low) * (1 - part) + result.index_select(axis, high) * part
    return result

"""Filling holes of an image from their surroundings, without training: Laplace's equation."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import torch

MOST_ITERATIONS = 2000


def harmonic(
    x: torch.Tensor, hole: torch.Tensor, domain: torch.Tensor | None = None, tolerance: float = 1e-3,
    check: Callable[[], None] | None = None,
) -> torch.Tensor:  # fmt: skip
    """Fill the hole with the harmonic function of its boundary: each voxel is the mean of its neighbours.

    The discrete Laplace equation over the faces of the voxels, by conjugate gradients. Across the image's edge, and
    the domain's, nothing flows. A part of the hole that touches nothing known gets the mean of what is known.

    Parameters
    ----------
    x : torch.Tensor
        Shape (N, C, *spatial), floating.
    hole : torch.Tensor
        Shape (N, *spatial), bool: what is unknown.
    domain : torch.Tensor or None
        Same shape, bool: where there is anatomy. Outside, the image is kept and never used; None is everywhere.
    tolerance : float
        On the largest residual, as a share of the image's largest absolute value.
    check : callable or None
        Called in each iteration; may raise.

    Returns
    -------
    torch.Tensor
        Of the shape of `x`, which is kept outside the hole.
    """
    domain = torch.ones_like(hole) if domain is None else domain
    result = x.clone()
    for sample in range(len(x)):
        unknown = hole[sample] & domain[sample]
        if bool(unknown.any()):
            box = _box_around(unknown)
            part = (slice(None), *box)
            known = domain[sample] & ~hole[sample]
            mean = x[sample][:, known if bool(known.any()) else torch.ones_like(known)].mean(1)
            largest = float(x[sample].abs().max())
            result[sample][part] = _solved(
                x[sample][part], unknown[box], domain[sample][box], mean, tolerance * max(largest, 1e-30), check
            )
    return result


def _solved(
    x: torch.Tensor, unknown: torch.Tensor, domain: torch.Tensor, mean: torch.Tensor, tolerance: float,
    check: Callable[[], None] | None,
) -> torch.Tensor:  # fmt: skip
    """One box (C, *spatial)."""
    dims = unknown.dim()
    edges = [_pairs(domain, axis) for axis in range(dims)]
    degree = torch.zeros_like(domain, dtype=x.dtype)
    for axis, edge in enumerate(edges):
        count = domain.shape[axis]
        degree.narrow(axis, 0, count - 1).add_(edge)
        degree.narrow(axis, 1, count - 1).add_(edge)

    def neighbours(values: torch.Tensor) -> torch.Tensor:
        total = torch.zeros_like(values)
        for axis, edge in enumerate(edges):
            count = domain.shape[axis]
            total.narrow(axis + 1, 0, count - 1).add_(values.narrow(axis + 1, 1, count - 1) * edge)
            total.narrow(axis + 1, 1, count - 1).add_(values.narrow(axis + 1, 0, count - 1) * edge)
        return total

    # What is reached from the known voxels; the rest of the hole has no equation of its own.
    reached = domain & ~unknown
    grown = neighbours(reached[None].to(x.dtype))[0] > 0
    while bool((grown & unknown & ~reached).any()):
        reached = reached | (grown & unknown)
        grown = neighbours(reached[None].to(x.dtype))[0] > 0
    free = (unknown & reached).to(x.dtype)
    alone = unknown & ~reached
    start = torch.where(unknown, mean.reshape(-1, *[1] * dims), x)
    tiny = torch.finfo(x.dtype).tiny
    inverse = free / degree.clamp_min(1)
    residual = (neighbours(start) - degree * start) * free  # at the mean: where the boundary differs from it
    moved = torch.zeros_like(x)
    towards = inverse * residual
    direction, product = towards, (residual * towards).flatten(1).sum(1)
    for _ in range(MOST_ITERATIONS):
        if check is not None:
            check()
        if float(residual.abs().max()) <= tolerance:
            break
        image = (degree * direction - neighbours(direction)) * free
        length = product / (direction * image).flatten(1).sum(1).clamp_min(tiny)
        shaped = length.reshape(-1, *[1] * dims)
        moved += shaped * direction
        residual = residual - shaped * image
        towards = inverse * residual
        following = (residual * towards).flatten(1).sum(1)
        ratio = following / product.clamp_min(tiny)
        direction, product = towards + ratio.reshape(-1, *[1] * dims) * direction, following
    filled = start + moved
    return torch.where(unknown, torch.where(alone, start, filled), x)


def _pairs(domain: torch.Tensor, axis: int) -> torch.Tensor:
    """Whether both of two neighbours lie in the domain, as 0 and 1."""
    count = domain.shape[axis]
    return domain.narrow(axis, 0, count - 1) & domain.narrow(axis, 1, count - 1)


def _box_around(inside: torch.Tensor) -> tuple[slice, ...]:
    """The smallest box around what is inside, one voxel wider."""
    places = inside.nonzero()
    low, high = places.amin(0).tolist(), places.amax(0).tolist()
    return tuple(
        slice(max(first - 1, 0), min(last + 2, size)) for first, last, size in zip(low, high, inside.shape, strict=True)
    )


def sweep(spatial: tuple[int, ...], core: int, margin: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Holes in turns, so that each voxel is once in the core of a hole, `margin` voxels from what is known.

    Parameters
    ----------
    spatial : tuple of int
        The image's shape.
    core, margin : int
        Voxels along an axis: holes have ``core + 2 margin``, and ``core`` voxels lie between two holes.

    Yields
    ------
    tuple of torch.Tensor
        The holes and their cores, bool (*spatial).
    """
    period = 2 * (core + margin)
    turns = -(-period // core)
    for starts in itertools.product(range(turns), repeat=len(spatial)):
        hole = torch.ones(spatial, dtype=torch.bool)
        middle = torch.ones(spatial, dtype=torch.bool)
        for axis, (turn, size) in enumerate(zip(starts, spatial, strict=True)):
            shape = [1] * len(spatial)
            shape[axis] = size
            place = (torch.arange(size) - turn * core) % period
            hole &= ((place < core + margin) | (place >= period - margin)).reshape(shape)
            middle &= (place < core).reshape(shape)
        yield hole, middle


def grown(inside: torch.Tensor, voxels: int = 1) -> torch.Tensor:
    """The region with its neighbours within so many voxels along each axis, bool (N, *spatial)."""
    pool = torch.nn.functional.max_pool3d if inside.dim() == 4 else torch.nn.functional.max_pool2d
    wide = pool(inside[:, None].float(), 2 * voxels + 1, 1, voxels)
    return wide[:, 0] > 0

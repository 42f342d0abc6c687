"""What takes the place of the image or of a box of it: a constant, a mean, the image blurred, noise."""

from __future__ import annotations

import math
from typing import Any

import torch

CHOICES = ("mean", "blur")
BLUR_FRACTION = 8  # the width (sigma) of the blur is the image's size over this, so that no lesion survives it


def baseline(x: torch.Tensor, kind: float | str) -> torch.Tensor:
    """An image without the evidence, of the shape of `x`.

    Parameters
    ----------
    x : torch.Tensor
        Shape (N, C, *spatial).
    kind : float or str
        A constant; ``mean``: of each sample and channel; ``blur``: Gaussian, with a sigma of an eighth of the image.
    """
    if kind == "mean":
        axes = tuple(range(2, x.dim()))
        return x.mean(axes, keepdim=True).expand_as(x)
    if kind == "blur":
        return blurred(x, [size / BLUR_FRACTION for size in x.shape[2:]])
    return torch.full_like(x, float(kind))


def noise(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Independent normal numbers with the mean and the deviation of each sample and channel of `x`.

    Parameters
    ----------
    x : torch.Tensor
        Shape (N, C, *spatial).
    generator : torch.Generator
        On the CPU.
    """
    axes = tuple(range(2, x.dim()))
    drawn = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
    return x.mean(axes, keepdim=True) + x.std(axes, correction=0, keepdim=True) * drawn


def mean_around(image: torch.Tensor, box: tuple[Any, ...], width: tuple[int, ...]) -> torch.Tensor:
    """The mean of each channel in the shell around a box; of the whole image where the box leaves no shell.

    Parameters
    ----------
    image : torch.Tensor
        Shape (C, *spatial).
    box : tuple of slice
        One an axis.
    width : tuple of int
        Of the shell, in voxels along each axis; it ends at the image's faces.

    Returns
    -------
    torch.Tensor
        Shape (C,).
    """
    spatial = image.shape[1:]
    outer: tuple[Any, ...] = tuple(
        slice(max(piece.start - w, 0), min(piece.stop + w, n)) for piece, w, n in zip(box, width, spatial, strict=True)
    )
    count = math.prod(o.stop - o.start for o in outer) - math.prod(piece.stop - piece.start for piece in box)
    if not count:
        return image.double().flatten(1).mean(1).to(image.dtype)
    around = image[(slice(None), *outer)].double()
    inner = tuple(slice(piece.start - o.start, piece.stop - o.start) for piece, o in zip(box, outer, strict=True))
    shell = torch.ones(around.shape[1:], dtype=torch.bool, device=image.device)
    shell[inner] = False
    return around[:, shell].mean(1).to(image.dtype)


def blurred(x: torch.Tensor, sigmas: list[float]) -> torch.Tensor:
    """Gaussian blur out to three sigmas, one axis after the other; the image goes on as at its edge.

    Parameters
    ----------
    x : torch.Tensor
        Shape (N, C, *spatial).
    sigmas : list of float
        In voxels, one an axis, in the order of the axes.
    """
    result = x
    for axis, sigma in enumerate(sigmas, start=2):
        size = x.shape[axis]
        reach = max(1, int(round(3 * sigma)))
        places = torch.arange(-reach, size + reach, dtype=x.dtype, device=x.device)
        distance = places[reach : reach + size, None] - places
        kernel = torch.exp(-0.5 * (distance / max(sigma, 1e-3)) ** 2) * (distance.abs() <= reach)
        kernel = kernel / kernel.sum(1, keepdim=True)
        # Fold what lies beyond the edge onto the edge: the matrix is then (size, size).
        matrix = kernel[:, reach : reach + size].clone()
        matrix[:, 0] += kernel[:, :reach].sum(1)
        matrix[:, -1] += kernel[:, reach + size :].sum(1)
        result = torch.movedim(torch.movedim(result, axis, -1) @ matrix.T, -1, axis)
    return result

"""What takes the place of the image: a constant, its mean, or the image blurred."""

from __future__ import annotations

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

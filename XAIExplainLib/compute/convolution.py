"""Convolutions forth and back by the fastest exact way that torch offers here.

On a processor torch itself takes a slow way for single small images, and a very slow one back to an image of one
channel. oneDNN, which torch carries, is asked directly instead; elsewhere (other devices, other types of numbers) torch
decides. The choice depends on sizes alone, so that the same request gives the same map.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch

LANES = 16  # channels that oneDNN computes together: fewer cost as much
TAPS_AT_ONCE = 2**22  # numbers that the way by taps writes out at a time
_ONEDNN = torch.ops.mkldnn if torch.backends.mkldnn.is_available() else None


def convolve(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], groups: int = 1,
) -> torch.Tensor:  # fmt: skip
    """The convolution of torch.

    Parameters
    ----------
    x : torch.Tensor
        Shape (N, C, *spatial).
    weight : torch.Tensor
        Shape (C', C / groups, *kernel).
    bias : torch.Tensor or None
        Shape (C',).
    stride, padding, dilation : sequence of int
        One number an axis.
    groups : int
        As in torch.

    Returns
    -------
    torch.Tensor
        Shape (N, C', *cells).
    """
    if onednn_takes(x, weight):
        return torch.ops.aten.mkldnn_convolution(
            x, weight, bias, list(padding), list(stride), list(dilation), groups
        )  # fmt: skip
    dims = weight.dim() - 2
    return torch.ops.aten.convolution(
        x, weight, bias, list(stride), list(padding), list(dilation), False, [0] * dims, groups
    )


def transposed(
    cotangent: torch.Tensor, weight: torch.Tensor, shape: Sequence[int], stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int], groups: int = 1,
) -> torch.Tensor:  # fmt: skip
    """What a convolution hands back to its input: the gradient, or any other share that uses the same weights.

    Parameters
    ----------
    cotangent : torch.Tensor
        Shape (N, C', *cells), of the convolution's output.
    weight : torch.Tensor
        Shape (C', C / groups, *kernel).
    shape : sequence of int
        (N, C, *spatial), of the convolution's input.
    stride, padding, dilation : sequence of int
        One number an axis.
    groups : int
        As in torch.

    Returns
    -------
    torch.Tensor
        Of `shape`.
    """
    if onednn_takes(cotangent, weight):
        if groups == 1 and max(dilation) == 1 and _taps_pay(weight, stride):
            return _by_taps(cotangent, weight, shape, stride, padding)
        beyond = [
            n - ((o - 1) * s - 2 * p + d * (k - 1) + 1)
            for n, o, s, p, d, k in zip(
                shape[2:], cotangent.shape[2:], stride, padding, dilation, weight.shape[2:], strict=True
            )
        ]
        return torch.ops.mkldnn._convolution_transpose_pointwise(
            cotangent, weight, None, list(padding), beyond, list(stride), list(dilation), groups, "none", [], ""
        )
    dims = weight.dim() - 2
    blank = cotangent.new_empty(1).expand(tuple(shape))  # read for its shape alone
    gradient, _, _ = torch.ops.aten.convolution_backward(
        cotangent, blank, weight, None, list(stride), list(padding), list(dilation), False, [0] * dims, groups,
        (True, False, False),
    )  # fmt: skip
    return gradient


def onednn_takes(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether oneDNN can be asked directly for a convolution of `x` (N, C, *spatial) with `weight`."""
    return (
        _ONEDNN is not None
        and bool(torch.backends.mkldnn.enabled)
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and weight.dim() in (4, 5)
        and x.numel() > 0
    )


def _taps_pay(weight: torch.Tensor, stride: Sequence[int]) -> bool:
    """Whether an image of few channels is reached faster tap by tap."""
    channels, kernel = weight.shape[1], weight.shape[2:]
    if channels >= LANES or math.prod(kernel[:-1]) == 1:
        return False
    own = LANES * math.prod(kernel)
    made = channels * math.prod(kernel[:-1]) * stride[-1]
    return math.ceil(made / LANES) * LANES * math.ceil(kernel[-1] / stride[-1]) < own


def _by_taps(
    cotangent: torch.Tensor, weight: torch.Tensor, shape: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> torch.Tensor:
    """For few input channels: one convolution along the last axis whose outputs are the taps of the other axes.

    The last axis's strides are phases of one cell, also as outputs. What each tap found is then added where it
    belongs. A vector of outputs is full this way, where a convolution to one channel leaves most of it empty.
    """
    dims = weight.dim() - 2
    channels, kernel = weight.shape[1], tuple(weight.shape[2:])
    others, step = kernel[:-1], stride[-1]
    along = math.ceil(kernel[-1] / step)
    # Input place x = o * step + t: phase t % step of cell o + t // step, so that taps run backwards over the cells.
    filled = torch.nn.functional.pad(weight, [0, along * step - kernel[-1]])
    phases = filled.reshape(len(weight), channels, *others, along, step).flip(-2)
    rows = phases.movedim(-1, 1).movedim(0, -2)  # (step, channels, *others, C', along)
    rows = rows.reshape(step * channels * math.prod(others), len(weight), *[1] * (dims - 1), along).contiguous()
    cells = cotangent.shape[2:]
    padded = [(o - 1) * s + k for o, s, k in zip(cells[:-1], stride[:-1], others, strict=True)]
    width = cells[-1] + along - 1
    whole = cotangent.new_zeros((len(cotangent), channels, *padded, width * step))
    each = len(cotangent) * rows.shape[0] * math.prod(cells[1:-1]) * width
    slab = max(1, TAPS_AT_ONCE // max(each, 1))
    for first in range(0, cells[0], slab):
        part = cotangent.narrow(2, first, min(slab, cells[0] - first))
        found = convolve(part, rows, None, [1] * dims, [0] * (dims - 1) + [along - 1], [1] * dims)
        found = found.reshape(len(part), step, channels, *others, *found.shape[2:])
        found = found.movedim(1, -1).flatten(-2)  # (N, channels, *others, *cells, width * step)
        size = (part.shape[2], *cells[1:-1])
        for taps in itertools.product(*map(range, others)):
            tap: tuple[Any, ...] = (slice(None), slice(None), *taps)
            start = [t + (first * stride[0] if axis == 0 else 0) for axis, t in enumerate(taps)]
            places = zip(start, size, stride[:-1], strict=True)
            into: tuple[Any, ...] = tuple(slice(b, b + (n - 1) * s + 1, s) for b, n, s in places)
            whole[(slice(None), slice(None), *into)] += found[tap]
    return _cropped(whole, shape, padding)


def _cropped(whole: torch.Tensor, shape: Sequence[int], padding: Sequence[int]) -> torch.Tensor:
    """Without the padding before the first voxel; what no window reached at the end is zero."""
    for axis, (size, before) in enumerate(zip(shape[2:], padding, strict=True), start=2):
        whole = whole.narrow(axis, before, min(size, whole.shape[axis] - before))
    missing = [n for axis in reversed(range(2, whole.dim())) for n in (0, shape[axis] - whole.shape[axis])]
    return torch.nn.functional.pad(whole, missing) if any(missing) else whole.contiguous()

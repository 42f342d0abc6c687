"""Max pools axis by axis, and where their maxima lie.

torch looks at the whole window for each output, which on a processor takes longer than the convolution before it; the
largest of a box is the largest along one axis after the other. The values are torch's to the bit, and where several
are the largest, the first in the order of the axes counts, as in torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

FEW = 8  # voxels of a window up to which torch finds the places as fast
AT_ONCE = 2**17  # voxels


def max_pool(
    x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int],
    ceil_mode: bool = False,
) -> torch.Tensor:  # fmt: skip
    """The max pool of torch.

    Parameters
    ----------
    x : torch.Tensor
        Shape (N, C, *spatial), floating point.
    kernel, stride, padding, dilation : sequence of int
        One number an axis.
    ceil_mode : bool
        Whether a last window may stick out.

    Returns
    -------
    torch.Tensor
        Shape (N, C, *cells).
    """
    return _largest(x, -math.inf, kernel, stride, padding, dilation, ceil_mode)


def max_pool_with_places(
    x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int],
    ceil_mode: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """`max_pool`, and where in its image each maximum lies.

    Returns
    -------
    tuple of torch.Tensor
        Values, and places of the same shape, int32: the number of the voxel in its channel, the last axis fastest.
    """
    if x.dtype != torch.float32 or x.device.type != "cpu" or math.prod(kernel) <= FEW or not x.numel():
        pool = getattr(torch.ops.aten, f"max_pool{x.dim() - 2}d_with_indices")
        values, places = pool(x, list(kernel), list(stride), list(padding), list(dilation), ceil_mode)
        return values, places.to(torch.int32)
    each = max(1, AT_ONCE // max(x[:, 0].numel(), 1))  # channels: what they take stays in the processor's cache
    found = [_keyed(part, kernel, stride, padding, dilation, ceil_mode) for part in x.split(each, 1)]
    return torch.cat([values for values, _ in found], 1), torch.cat([places for _, places in found], 1)


def _keyed(x: torch.Tensor, *window: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """By the largest of whole numbers that hold a value in the upper half, and in the lower how early it comes."""
    bits = (x + 0.0).view(torch.int32)  # no negative zero
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    last = math.prod(x.shape[2:]) - 1
    early = torch.arange(last, -1, -1, dtype=torch.int64).reshape(x.shape[2:])
    keys = _largest((ordered.to(torch.int64) << 32) | early, -(2**63), *window)
    return max_pool(x, *window), (last - (keys & 0xFFFFFFFF)).to(torch.int32)


def max_unpool(
    cotangent: torch.Tensor, places: torch.Tensor, shape: Sequence[int], kernel: Sequence[int], stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int], ceil_mode: bool = False,
) -> torch.Tensor:  # fmt: skip
    """What a max pool hands back: each output's cotangent to the voxel that was its maximum.

    Parameters
    ----------
    cotangent, places : torch.Tensor
        Shape (N, C, *cells); `places` from `max_pool_with_places`.
    shape : sequence of int
        (N, C, *spatial), of the pool's input.
    kernel, stride, padding, dilation, ceil_mode
        Of the pool.

    Returns
    -------
    torch.Tensor
        Of `shape`.
    """
    blank = cotangent.new_empty(1).expand(tuple(shape))  # read for its shape alone
    back = getattr(torch.ops.aten, f"max_pool{cotangent.dim() - 2}d_with_indices_backward")
    return back(  # type: ignore[no-any-return]
        cotangent.contiguous(), blank, list(kernel), list(stride), list(padding), list(dilation), ceil_mode,
        places.to(torch.int64),
    )  # fmt: skip


def _largest(
    x: torch.Tensor, blank: float, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], ceil_mode: bool = False,
) -> torch.Tensor:  # fmt: skip
    found, cells = _padded(x, blank, kernel, stride, padding, dilation, ceil_mode)
    for axis, (k, s, d, n) in enumerate(zip(kernel, stride, dilation, cells, strict=True), start=2):
        parts = [_every(found, axis, t * d, s, n) for t in range(k)]
        found = parts[0] if k == 1 else torch.maximum(parts[0], parts[1])
        for part in parts[2:]:
            torch.maximum(found, part, out=found)
    return found.clone(memory_format=torch.contiguous_format) if found._base is not None else found


def _every(x: torch.Tensor, axis: int, start: int, step: int, count: int) -> torch.Tensor:
    pieces = [slice(None)] * x.dim()
    pieces[axis] = slice(start, start + (count - 1) * step + 1, step)
    return x[tuple(pieces)]


def _padded(
    x: torch.Tensor, blank: float, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], ceil_mode: bool,
) -> tuple[torch.Tensor, list[int]]:  # fmt: skip
    """The image with its padding and what the last windows stick out, and the number of windows along each axis."""
    cells, beyond = [], []
    for n, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True):
        span = n + 2 * p - d * (k - 1) - 1
        count = (-(-span // s) if ceil_mode else span // s) + 1
        if ceil_mode and (count - 1) * s >= n + p:
            count -= 1  # torch drops a window that would start in the padding at the end
        cells.append(count)
        beyond.append(max(0, (count - 1) * s + d * (k - 1) + 1 - n - p))
    pads = [n for axis in reversed(range(len(cells))) for n in (padding[axis], beyond[axis])]
    return (torch.nn.functional.pad(x, pads, value=blank) if any(pads) else x), cells

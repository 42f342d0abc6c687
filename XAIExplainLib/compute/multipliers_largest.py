"""Multipliers of the largest of several values: pools, maxima along axes, the larger of two.

Each argument gets the share of the straight way from the reference to the image on which it is the largest, which is
the mean of the true derivative over that way, without a quadrature.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from XAIExplainLib.compute.graph import operation
from XAIExplainLib.compute.multipliers_ends import ends
from XAIExplainLib.compute.reverse import Check, Step

WINDOWS_AT_ONCE = 1 << 21  # numbers in the windows of a pool that are looked at together


def leading(before: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """The share of the way ``before + t * change``, t from 0 to 1, on which each column is the largest of its row.

    Their sum times the change is exactly the change of the largest: along the way it is a line with kinks, and the walk
    goes from kink to kink.

    Parameters
    ----------
    before, change : torch.Tensor
        Shape (rows, columns); a column that is no candidate is -inf and does not change.

    Returns
    -------
    torch.Tensor
        Shape (rows, columns); each row adds up to 1.
    """
    shares = torch.zeros_like(before)
    rows = torch.arange(len(before), device=before.device)
    top = before.max(1, keepdim=True).values
    leader = change.masked_fill(before < top, -math.inf).argmax(1, keepdim=True)  # of equal ones the fastest
    now = torch.zeros_like(top)
    while len(rows):
        rise = change - change.gather(1, leader)
        gap = before.gather(1, leader) - before
        # Where nothing rises faster the leader stays; its own gap is no kink.
        kinks = torch.where(rise > 0, gap / torch.where(rise > 0, rise, 1.0), math.inf)
        then = torch.maximum(kinks.min(1, keepdim=True).values, now).clamp_max(1.0)
        shares[rows] = shares[rows].scatter_add(1, leader, then - now)
        going = then[:, 0] < 1
        leader = change.masked_fill(kinks > then, -math.inf).argmax(1, keepdim=True)
        rows, before, change, leader, now = (part[going] for part in (rows, before, change, leader, then))
    return shares


def larger_of_two(step: Step, cotangent: torch.Tensor, sign: float) -> dict[str, torch.Tensor]:
    before, after = ends(step)
    shape = cotangent.shape
    one, two = (torch.stack([sign * value.expand(shape).flatten() for value in end.values()], 1)
                for end in (before, after))  # fmt: skip
    shares = leading(one, two - one)
    return {
        name: (cotangent * shares[:, column].reshape(shape)).sum_to_size(after[name].shape)
        for column, name in enumerate(after)
    }


def largest(sign: float) -> Callable[[Step, Any], dict[str, torch.Tensor]]:
    """The largest (sign 1) or smallest (-1) along some axes."""

    def apply(step: Step, cotangent: Any) -> dict[str, torch.Tensor]:
        given = cotangent[0] if isinstance(cotangent, dict) else cotangent
        (source,) = step.tensors()
        (before,), (after,) = (end.values() for end in ends(step))
        axes = step.argument(1, step.node.kwargs.get("dim", ()))
        axes = [axes] if isinstance(axes, int) else list(axes)
        axes = sorted(axis % after.dim() for axis in axes) or list(range(after.dim()))
        if not step.argument(2, step.node.kwargs.get("keepdim", False)):
            for axis in axes:
                given = given.unsqueeze(axis)
        others = [axis for axis in range(after.dim()) if axis not in axes]
        order = [*others, *axes]
        count = math.prod(after.shape[axis] for axis in axes)
        one, two = (sign * value.permute(order).reshape(-1, count) for value in (before, after))
        shares = leading(one, two - one).reshape([after.shape[axis] for axis in order])
        back = [order.index(axis) for axis in range(after.dim())]
        return {source.name: given * shares.permute(back)}

    return apply


def max_pool(step: Step, cotangent: Any, check: Check) -> dict[str, torch.Tensor]:
    """Windows with one and the same leader at both ends have it all the way; only the others are looked into."""
    given = cotangent[0] if isinstance(cotangent, dict) else cotangent
    (source,) = step.tensors()
    (before,), (after,) = (end.values() for end in ends(step))
    dims = int(operation(step.node).removeprefix("max_pool")[0])
    spatial = after.shape[after.dim() - dims :]
    kernel = _each(step.argument(1), dims)
    stride = _each(step.argument(2, ()) or kernel, dims)
    padding, dilation = (_each(step.argument(index, default), dims) for index, default in ((3, 0), (4, 1)))
    pool = (torch.nn.functional.max_pool1d, torch.nn.functional.max_pool2d, torch.nn.functional.max_pool3d)[dims - 1]
    one, two = (value.reshape(-1, *spatial) for value in (before, after))
    first, last = (
        pool(value, kernel, stride, padding, dilation, bool(step.argument(5, False)), return_indices=True)[1]
        for value in (one, two)
    )
    given = given.reshape(first.shape)
    volume = math.prod(spatial)
    found = after.new_zeros(len(one) * volume)
    offsets = torch.arange(len(one), device=after.device).reshape(-1, *[1] * dims) * volume
    same = first == last
    found.index_add_(0, (last + offsets)[same], given[same])
    one, two = one.reshape(-1), two.reshape(-1)
    for windows in (~same).nonzero().split(max(1, WINDOWS_AT_ONCE // math.prod(kernel))):
        if check is not None:
            check()
        places, valid = _members(windows, spatial, kernel, stride, padding, dilation)
        start = one[places].masked_fill(~valid, -math.inf)
        shares = leading(start, (two[places] - one[places]).masked_fill(~valid, 0.0))
        found.index_add_(0, places.flatten(), (shares * given[tuple(windows.T)][:, None]).flatten())
    return {source.name: found.reshape(after.shape)}


def _members(
    windows: torch.Tensor, spatial: Sequence[int], kernel: list[int], stride: list[int], padding: list[int],
    dilation: list[int],
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """The places in the flat array (maps, *spatial) that each window (map, *cell) looks at, and whether they exist."""
    steps = torch.tensor(list(itertools.product(*map(range, kernel))), device=windows.device)
    move, pad, spread, sizes = (torch.tensor(list(part), device=windows.device)
                                for part in (stride, padding, dilation, spatial))  # fmt: skip
    cells = (windows[:, None, 1:] * move - pad) + steps * spread
    valid = ((cells >= 0) & (cells < sizes)).all(2)
    places = windows[:, :1].expand(-1, len(steps))
    for axis, size in enumerate(spatial):
        places = places * size + cells[..., axis]
    return places.masked_fill(~valid, 0), valid


def _each(value: Any, dims: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * dims if len(values) == 1 else values

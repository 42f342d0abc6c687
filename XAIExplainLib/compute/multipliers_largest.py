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

from XAIExplainLib.compute import pooling
from XAIExplainLib.compute.graph import operation
from XAIExplainLib.compute.multipliers_ends import OF_IMAGE, ends
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
    all_shares, columns = shares.view(-1), before.shape[1]
    first = torch.arange(0, shares.numel(), columns, device=before.device)  # of each row, in `all_shares`
    top = before.amax(1, keepdim=True)
    leader = torch.where(before < top, -math.inf, change).argmax(1, keepdim=True)  # of equal ones the fastest
    now = torch.zeros_like(top)
    while len(first):
        rise = change - change.gather(1, leader)
        gap = before.gather(1, leader) - before
        # Where nothing rises faster the leader stays; its own gap is no kink.
        kinks = torch.where(rise > 0, gap.div_(rise), math.inf)
        then = torch.maximum(kinks.amin(1, keepdim=True), now).clamp_max_(1.0)
        all_shares.index_add_(0, first + leader[:, 0], (then - now)[:, 0])
        going = (then[:, 0] < 1).nonzero()[:, 0]
        first, before, change, kinks, now = (
            part.index_select(0, going) for part in (first, before, change, kinks, then)
        )  # fmt: skip
        leader = torch.where(kinks > now, -math.inf, change).argmax(1, keepdim=True) if len(first) else leader
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
    """Where the image's largest is among the reference's largest, it leads all the way; only others are looked into."""
    given = cotangent[0] if isinstance(cotangent, dict) else cotangent
    (source,) = step.tensors()
    (before,), (after,) = (end.values() for end in ends(step))
    dims = int(operation(step.node).removeprefix("max_pool")[0])
    spatial = after.shape[after.dim() - dims :]
    kernel = _each(step.argument(1), dims)
    stride = _each(step.argument(2, ()) or kernel, dims)
    padding, dilation = (_each(step.argument(index, default), dims) for index, default in ((3, 0), (4, 1)))
    window = kernel, stride, padding, dilation, bool(step.argument(5, False))
    one, two = (value.reshape(1, -1, *spatial) for value in (before, after))
    shared = step.values.get(OF_IMAGE, {})
    if step.node.name not in shared:
        shared[step.node.name] = pooling.max_pool_with_places(two, *window)[1]
    last = shared[step.node.name].long()
    given = given.reshape(last.shape)
    top = pooling.max_pool(one, *window).flatten(2)
    ahead = one.flatten(2).gather(2, last.flatten(2)) == top
    found = torch.zeros_like(two).flatten(2)
    found.scatter_add_(2, last.flatten(2), given.flatten(2) * ahead)
    found, one, two = found.flatten(), one.flatten(), two.flatten()
    others = (~ahead).reshape(last.shape[1:]).nonzero()
    corner = others[:, 1:] * _on(others, stride) - _on(others, padding)
    reach = _on(others, [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)])
    inside = ((corner >= 0) & (corner + reach < _on(others, spatial))).all(1)
    at_once = max(1, WINDOWS_AT_ONCE // math.prod(kernel))
    parts = [(part, whole) for whole in (True, False) for part in (inside == whole).nonzero()[:, 0].split(at_once)]
    for rows, whole in parts:
        if check is not None:
            check()
        places, valid = _members(others[rows, 0], corner[rows], spatial, kernel, dilation, whole)
        start, change = (value.index_select(0, places.flatten()).reshape(places.shape) for value in (one, two))
        change -= start
        if valid is not None:
            start.masked_fill_(~valid, -math.inf)
            change.masked_fill_(~valid, 0.0)
        shares = leading(start, change)
        shares.mul_(given[0][tuple(others[rows].T)][:, None])
        found.index_add_(0, places.flatten(), shares.flatten())
    return {source.name: found.reshape(after.shape)}


def _members(
    maps: torch.Tensor, corner: torch.Tensor, spatial: Sequence[int], kernel: list[int], dilation: list[int],
    whole: bool,
) -> tuple[torch.Tensor, torch.Tensor | None]:  # fmt: skip
    """The places in the flat array (maps, *spatial) that windows look at, and whether they exist; None where all do.

    Parameters
    ----------
    maps, corner : torch.Tensor
        Shape (windows,) and (windows, axes): the map and the first place of each.
    spatial, kernel, dilation : list of int
        One number an axis.
    whole : bool
        Whether no window sticks out.
    """
    steps = torch.tensor(list(itertools.product(*map(range, kernel))), device=maps.device) * _on(maps, dilation)
    strides = _on(maps, [math.prod(spatial[axis + 1 :]) for axis in range(len(spatial))])
    first = maps * math.prod(spatial) + (corner * strides).sum(1)
    places = first[:, None] + (steps * strides).sum(1)
    if whole:
        return places, None
    cells = corner[:, None] + steps
    valid = ((cells >= 0) & (cells < _on(maps, spatial))).all(2)
    return places.masked_fill(~valid, 0), valid


def _on(like: torch.Tensor, numbers: Sequence[int]) -> torch.Tensor:
    return torch.tensor(list(numbers), device=like.device)


def _each(value: Any, dims: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * dims if len(values) == 1 else values

"""The mean derivative of a function over the straight way between two points, exact enough to keep its sum."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from XAIExplainLib.compute.multipliers_ends import between
from XAIExplainLib.compute.quadrature import gauss_legendre
from XAIExplainLib.compute.reverse import Check

NODES = 4  # of the Gauss-Legendre rule in each step of the way
MOST_STEPS = 64  # of the way, at an operation on so many numbers; more where it has fewer
LARGE = 1 << 19


def in_double(values: Mapping[Any, Any]) -> dict[Any, Any]:
    """In double precision: norms and attention of single precision lose digits where the reference is flat."""
    return {name: _as_double(value) for name, value in values.items()}


def _as_double(value: Any) -> Any:
    if not isinstance(value, torch.Tensor) or value.device.type == "mps":  # which has no double precision
        return value
    if value.is_complex():
        return value.to(torch.complex128)
    return value.double() if value.is_floating_point() else value


def precision_of(values: Mapping[str, torch.Tensor]) -> float:
    """The relative error of a number as the network holds it; in double precision a sum does no better than 1e-12."""
    return max(1e-12, *(torch.finfo(value.dtype).eps for value in values.values()))


def product_of(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
    """Number by number; of complex numbers what the pair adds to a real sum."""
    return (one.conj() * two).real if one.is_complex() or two.is_complex() else one * two


def mean_over_the_way(
    terms: Callable[[dict[str, torch.Tensor]], list[torch.Tensor]],
    derivative: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
    before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], tolerance: float, check: Check = None,
) -> dict[str, torch.Tensor]:  # fmt: skip
    """The mean of a derivative over the straight way between two points.

    By the fundamental theorem it keeps the sum: the mean times the change of the point is the change of the function.
    That is also the test: a step of the way whose sum is not kept is halved.

    Parameters
    ----------
    terms : callable
        Of a point: tensors whose numbers all together add up to the function.
    derivative : callable
        Of a point: the function's derivative by each of its tensors; one that is left out is zero.
    before, after : dict
        The two points: tensors by name.
    tolerance : float
        Of the sum that is to be kept, relative to the sum of the sizes of all changes.
    check : callable or None
        Raises to cancel.

    Returns
    -------
    dict
        The mean by name.
    """
    change = {name: after[name] - before[name] for name in before}
    found = {name: torch.zeros_like(value) for name, value in after.items()}
    if not any(bool(value.any()) for value in change.values()):
        return derivative(after)
    first, last = terms(before), terms(after)
    size = sum(float((b - a).double().abs().sum()) for a, b in zip(first, last, strict=True))
    noise = math.sqrt(sum(float((part.double() ** 2).sum()) for part in (*first, *last)))
    allowed = tolerance / 2 * size + 3 * torch.finfo(first[0].dtype).eps * noise
    numbers = sum(value.numel() for value in after.values())
    most = max(MOST_STEPS, min(64 * MOST_STEPS, MOST_STEPS * LARGE // max(numbers, 1)))
    nodes, weights = gauss_legendre(NODES)
    waiting = [(0.0, 1.0, total(first), total(last))]
    steps = 1
    while waiting:
        start, end, low, high = waiting.pop(0)
        part: dict[str, torch.Tensor] = {}
        for node, weight in zip(nodes, weights, strict=True):
            if check is not None:
                check()
            for name, value in derivative(between(before, after, start + float(node) * (end - start))).items():
                scaled = value * (float(weight) * (end - start))
                part[name] = part[name] + scaled if name in part else scaled
        sum_of_part = sum(float(product_of(value, change[name]).double().sum()) for name, value in part.items())
        if abs(sum_of_part - (high - low)) > allowed and steps < most:
            middle = (start + end) / 2
            level = total(terms(between(before, after, middle)))
            waiting += [(start, middle, low, level), (middle, end, level, high)]
            steps += 1
            continue
        for name, value in part.items():
            found[name] += value
    return found


def total(parts: list[torch.Tensor]) -> float:
    return sum(float(part.double().sum()) for part in parts)

"""DeepLIFT's RevealCancel rule for rectifiers (Shrikumar et al. 2017, sections 3.5.1 and 3.5.3).

The change of a weighted sum has two parts: what the inputs that raise it bring, and what those that lower it bring.
The rescale rule sees the total alone, in which they may cancel; RevealCancel gives each part a multiplier of its own,
by its mean effect before and after the other. Only a weighted sum has such parts: a convolution or linear layer, with
batch norms and additions up to the rectifier, which are taken as one sum with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from XAIExplainLib.compute.graph import call, operation
from XAIExplainLib.compute.multipliers import multipliers
from XAIExplainLib.compute.multipliers_ends import REFERENCE, arguments, ends
from XAIExplainLib.compute.reverse import Check, Rule, Step, Table
from XAIExplainLib.errors import XAIError

_RECTIFIERS = ("relu", "leaky_relu")
_SUMS = ("conv1d", "conv2d", "conv3d", "linear")
_NORMS = ("batch_norm", "_native_batch_norm_legit_no_training")


@dataclass
class Parts:
    """Multipliers of the rising and of the falling part of a change; a plain tensor is the same for both."""

    rising: torch.Tensor
    falling: torch.Tensor

    def __add__(self, other: Parts | torch.Tensor) -> Parts:
        rising, falling = (other.rising, other.falling) if isinstance(other, Parts) else (other, other)
        return Parts(self.rising + rising, self.falling + falling)

    __radd__ = __add__

    def scaled(self, factor: torch.Tensor | float) -> Parts:
        """The multipliers of what is multiplied by `factor` to get this; a negative one makes a rise of a fall."""
        if not isinstance(factor, torch.Tensor):
            factor = self.rising.new_tensor(factor)
        up = factor > 0
        return Parts(
            factor * torch.where(up, self.rising, self.falling), factor * torch.where(up, self.falling, self.rising)
        )

    def single(self, change: torch.Tensor) -> torch.Tensor:
        """The multipliers of a whole `change`: it rises or falls."""
        still = (self.rising + self.falling) / 2
        return torch.where(change > 0, self.rising, torch.where(change < 0, self.falling, still))


def reveal_cancel(check: Check = None) -> Table:
    """The table of DeepLIFT's multipliers, with RevealCancel at the rectifiers.

    The walk refuses a rectifier whose input is no weighted sum.

    Parameters
    ----------
    check : callable or None
        Called inside the long rules; raises to cancel.
    """
    plain = multipliers(check)

    def fallback(step: Step, cotangent: Any) -> dict[str, torch.Tensor]:
        return _inner(plain, step).apply(step, _whole(step, cotangent))

    rows = dict.fromkeys((*plain.rules, *_RECTIFIERS), Rule(fallback, inputs=True, output=True))
    rows |= dict.fromkeys(_SUMS, Rule(lambda step, cotangent: _sum_back(plain, step, cotangent), inputs=True))
    rows |= dict.fromkeys(_RECTIFIERS, Rule(_rectify, inputs=True))
    rows |= dict.fromkeys(_NORMS, Rule(lambda step, cotangent: _norm_back(plain, step, cotangent), inputs=True))
    rows |= dict.fromkeys(("add", "sub"), Rule(lambda step, cotangent: _add_back(plain, step, cotangent), inputs=True))
    rows["getitem"] = Rule(lambda step, cotangent: {step.tensors()[0].name: cotangent})
    return Table("DeepLIFT with RevealCancel", rows, Rule(fallback, inputs=True, output=True))


def _inner(plain: Table, step: Step) -> Rule:
    return plain.rule(step.node, step.path)


def _whole(step: Step, cotangent: Any) -> Any:
    """The multipliers of an operation's own change as a whole."""
    if not isinstance(cotangent, Parts):
        return cotangent
    name = step.node.name
    return cotangent.single(step.values[name] - step.values[REFERENCE + name])


# -- back ------------------------------------------------------------------------------------------------------------


def _rectify(step: Step, cotangent: Any) -> dict[str, Any]:
    (source,) = step.tensors()
    (before,), (after,) = (end.values() for end in ends(step))
    if isinstance(cotangent, Parts):
        change = call(step.node, arguments(step)) - call(step.node, arguments(step, True))
        cotangent = cotangent.single(change)
    rise, fall = _parts(step, source)
    # A rise that cancels a fall leaves the total change to rounding; the parts are what is followed.
    after = before + rise + fall

    def answer(value: torch.Tensor) -> torch.Tensor:
        return call(step.node, {**arguments(step), source.name: value})

    low, high = answer(before + fall), answer(before + rise)
    none, both = answer(before), answer(after)
    slope = (answer(torch.ones_like(before)), -answer(-torch.ones_like(before)))
    middle = torch.where(before > 0, *slope)
    rising = torch.where(rise > 0, (high - none + both - low) / 2 / rise.clamp_min(_tiny(rise)), middle)
    falling = torch.where(fall < 0, (low - none + both - high) / 2 / fall.clamp_max(-_tiny(fall)), middle)
    return {source.name: Parts(cotangent * rising, cotangent * falling)}


def _sum_back(plain: Table, step: Step, cotangent: Any) -> dict[str, torch.Tensor]:
    if not isinstance(cotangent, Parts):
        return _inner(plain, step).apply(step, cotangent)
    source = _source(step)
    change = step.values[source.name] - step.values[REFERENCE + source.name]
    weight: Any = step.node.args[1]

    def back(signed: torch.Tensor, seed: torch.Tensor) -> torch.Tensor:
        inner = Step(step.graph, step.node, {**step.values, weight.name: signed}, step.path, step.samples)
        return _inner(plain, step).apply(inner, seed)[source.name]

    up, down = step.values[weight.name].clamp_min(0), step.values[weight.name].clamp_max(0)
    return {source.name: Parts(
        back(up, cotangent.rising) + back(down, cotangent.falling),
        back(down, cotangent.rising) + back(up, cotangent.falling),
    ).single(change)}  # fmt: skip


def _norm_back(plain: Table, step: Step, cotangent: Any) -> dict[str, Any]:
    given = cotangent[0] if isinstance(cotangent, dict) else cotangent
    if not isinstance(given, Parts):
        return _inner(plain, step).apply(step, cotangent)
    return {step.tensors()[0].name: given.scaled(_factor(plain, step, given.rising))}


def _add_back(plain: Table, step: Step, cotangent: Any) -> dict[str, Any]:
    sources = [one for one in step.node.args[:2] if isinstance(one, torch.fx.Node) and one.name in step.path]
    if not isinstance(cotangent, Parts):
        return _inner(plain, step).apply(step, cotangent)
    found: dict[str, Any] = {}
    for source, factor in zip(step.node.args, _signs(step), strict=False):
        if source not in sources:
            continue
        part: Any = cotangent.scaled(factor)
        shape = step.values[source.name].shape  # type: ignore[union-attr]
        if shape != cotangent.rising.shape:
            raise _no_sum(step.node)
        if not _is_sum(step, source):
            part = part.single(step.values[source.name] - step.values[REFERENCE + source.name])  # type: ignore[union-attr]
        name = source.name  # type: ignore[union-attr]
        found[name] = found[name] + part if name in found else part
    return found


# -- forth: the parts of a rectifier's input -------------------------------------------------------------------------


def _parts(step: Step, node: torch.fx.Node) -> tuple[torch.Tensor, torch.Tensor]:
    """The rising and the falling part of the change of a weighted sum."""
    inner = Step(step.graph, node, step.values, step.path, step.samples)
    name = operation(node)
    if name == "getitem":
        return _parts(step, node.args[0])  # type: ignore[arg-type]
    if name in _NORMS:
        rise, fall = _parts(step, node.args[0])  # type: ignore[arg-type]
        factor = _factor(multipliers(), inner, rise)
        return torch.where(factor > 0, rise, fall) * factor, torch.where(factor > 0, fall, rise) * factor
    if name in ("add", "sub") and _is_sum(step, node):
        parts = []
        for source, sign in zip(node.args, _signs(inner), strict=False):
            if not isinstance(source, torch.fx.Node) or source.name not in step.path:
                continue
            one = _parts(step, source) if _is_sum(step, source) else _signed(step, source)
            up, down = one if sign > 0 else one[::-1]
            parts.append((sign * up, sign * down))
        (rise, fall), *others = parts
        for up, down in others:
            rise, fall = rise + up, fall + down
        return rise, fall
    if name in _SUMS and _is_sum(step, node):
        source, weight = _source(inner), node.args[1]
        assert isinstance(weight, torch.fx.Node)
        ahead, behind = _signed(step, source)

        def forth(signed: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            values = {**arguments(inner), source.name: value, weight.name: signed}
            bias = node.args[2] if len(node.args) > 2 else None
            if isinstance(bias, torch.fx.Node):
                values[bias.name] = torch.zeros_like(values[bias.name])
            result: torch.Tensor = call(node, values)
            return result

        weights = arguments(inner)[weight.name]
        up, down = weights.clamp_min(0), weights.clamp_max(0)
        return forth(up, ahead) + forth(down, behind), forth(down, ahead) + forth(up, behind)
    raise _no_sum(node)


def _signed(step: Step, node: torch.fx.Node) -> tuple[torch.Tensor, torch.Tensor]:
    """The change of a value as a whole: it rises or falls."""
    change = step.values[node.name] - step.values[REFERENCE + node.name]
    return change.clamp_min(0), change.clamp_max(0)


def _is_sum(step: Step, node: Any) -> bool:
    """Whether the value is a weighted sum that can be taken apart."""
    name = operation(node) if node.op == "call_function" else ""
    if name == "getitem" or name in _NORMS:
        return _is_sum(step, node.args[0])
    if name in _SUMS:
        weights = [one for one in node.args[1:3] if isinstance(one, torch.fx.Node)]
        return not node.kwargs and all(one.op == "placeholder" and one.name not in step.path for one in weights)
    if name in ("add", "sub"):
        inside = [one for one in node.args[:2] if isinstance(one, torch.fx.Node) and one.name in step.path]
        return any(_is_sum(step, one) for one in inside)
    return False


def _no_sum(node: torch.fx.Node) -> XAIError:
    return XAIError(
        f"RevealCancel is not defined here: a rectifier's input ({node.name}) is no weighted sum of a convolution or "
        "linear layer.",
        "Use rule=rescale for this network.",
    )


def _source(step: Step) -> torch.fx.Node:
    source = step.node.args[0]
    assert isinstance(source, torch.fx.Node)
    return source


def _signs(step: Step) -> tuple[float, float]:
    alpha = float(step.node.kwargs.get("alpha", 1))  # type: ignore[arg-type]
    return 1.0, alpha if operation(step.node) == "add" else -alpha


def _factor(plain: Table, step: Step, like: torch.Tensor) -> torch.Tensor:
    """What a batch norm multiplies each channel by."""
    ones = torch.ones_like(like[:1])
    given = {0: ones} if operation(step.node) != "batch_norm" else ones
    return next(iter(_inner(plain, step).apply(step, given).values()))


def _tiny(value: torch.Tensor) -> float:
    return torch.finfo(value.dtype).tiny

"""Layers with weights, as relevance rules see them: computed and transposed with any weights of their shape."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from XAIExplainLib.compute.convolution import convolve, transposed
from XAIExplainLib.compute.graph import operation, resolve
from XAIExplainLib.compute.relevance import BATCH_NORMS, only
from XAIExplainLib.compute.reverse import Step


class Affine:
    """A layer ``z = W x + b`` in one argument on the path, for any weights of its shape.

    Parameters
    ----------
    weight : torch.Tensor
        As the operation takes it.
    bias : torch.Tensor or None
        Of a shape that can be added to the output.
    """

    positive = False  # whether it is known that no input is negative

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self.weight, self.bias = weight, bias

    def forward(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """``weight x``, without bias."""
        raise NotImplementedError

    def back(self, s: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """``weight transposed times s``, of the input's shape."""
        raise NotImplementedError

    def flat(self, relevance: torch.Tensor) -> torch.Tensor:
        """Every output's relevance in equal parts to the inputs that it sees."""
        ones = torch.ones_like(self.weight)
        count = self.forward(relevance.new_ones(()).expand(self.shape), ones)
        return self.back(relevance / count, ones)

    shape: tuple[int, ...]


class Convolution(Affine):
    """A convolution or transposed convolution, with a batch norm after it folded in.

    Parameters
    ----------
    step : Step
        Of the convolution; its weights and bias must be constants.
    """

    def __init__(self, step: Step) -> None:
        weight, bias = step.argument(1), step.argument(2)
        dims = weight.dim() - 2
        self.shape = step.shape(only(step))
        self._step = step
        self.transposed = "transpose" in step.graph.operations[step.node.name]
        named = dict(step.node.kwargs)

        def setting(index: int, name: str, default: Any) -> Any:
            return _tuple(step.argument(index, named.get(name, default)), dims)

        self.stride = setting(3, "stride", 1)
        padding = step.argument(4, named.get("padding", 0))
        if self.transposed:
            self.extra = setting(5, "output_padding", 0)
            self.groups = int(step.argument(6, named.get("groups", 1)))
            self.dilation = setting(7, "dilation", 1)
        else:
            self.extra = [0] * dims
            self.dilation = setting(5, "dilation", 1)
            self.groups = int(step.argument(6, named.get("groups", 1)))
        self.around: list[int] = []  # what must be padded beforehand: an even kernel's "same" is not symmetric
        if isinstance(padding, str):
            reach = [d * (k - 1) for d, k in zip(self.dilation, weight.shape[2:], strict=True)]
            total = [0] * dims if padding == "valid" else reach
            self.padding = [size // 2 for size in total]
            if any(size % 2 for size in total):
                self.padding = [0] * dims
                self.around = [side for size in reversed(total) for side in (size // 2, size - size // 2)]
        else:
            self.padding = _tuple(padding, dims)
        norm = folded_norm(step.node)
        if norm is not None:
            scale, shift = affine_of_norm(norm, step.values)
            outputs = [1, -1] if self.transposed else [-1, 1]
            if self.transposed:  # (in, out / groups, ...): the outputs of each group in turn
                parts = scale.reshape(self.groups, 1, -1).expand(-1, weight.shape[0] // self.groups, -1)
                weight = weight * parts.reshape(weight.shape[0], -1, *[1] * dims)
            else:
                weight = weight * scale.reshape(*outputs, *[1] * dims)
            bias = shift if bias is None else shift + scale * bias
        super().__init__(weight, None if bias is None else bias.reshape(-1, *[1] * dims))

    def forward(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        if self.transposed:
            shape = self._step.shape(self._step.node)
            return transposed(x, weight, shape, self.stride, self.padding, self.dilation, self.groups)
        x = F.pad(x, self.around) if self.around else x
        return convolve(x, weight, None, self.stride, self.padding, self.dilation, self.groups)

    def back(self, s: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        if self.transposed:
            return convolve(s, weight, None, self.stride, self.padding, self.dilation, self.groups)
        padded = list(self.shape)
        for axis in range(len(self.around) // 2):
            padded[-1 - axis] += self.around[2 * axis] + self.around[2 * axis + 1]
        found = transposed(s, weight, padded, self.stride, self.padding, self.dilation, self.groups)
        return F.pad(found, [-side for side in self.around]) if self.around else found

    def flat(self, relevance: torch.Tensor) -> torch.Tensor:
        """By one box a group, axis after axis, since all of its channels get the same."""
        samples, channels = self.shape[:2]
        share = relevance.reshape(samples, self.groups, -1, *relevance.shape[2:]).sum(2)
        for axis, taps in enumerate(self._taps(relevance.shape[2:]), start=2):
            share = _boxed(share, taps, axis, self.shape[axis])
        return share.div_(channels // self.groups).repeat_interleave(channels // self.groups, 1)

    def _taps(self, cells: tuple[int, ...]) -> list[torch.Tensor]:
        """Along each axis the places of the input that each output sees, shape (outputs, taps); -1 for none."""
        found = []
        for axis, size in enumerate(self.weight.shape[2:]):
            inputs, outputs = self.shape[2 + axis], cells[axis]
            before = self.padding[axis] + (self.around[-2 - 2 * axis] if self.around else 0)
            steps = torch.arange(size) * self.dilation[axis] - before
            if self.transposed:  # input i reaches the outputs i * stride + step
                reached = torch.arange(inputs)[:, None] * self.stride[axis] + steps
                places = torch.full((outputs, size), -1)
                valid = (reached >= 0) & (reached < outputs)
                places[reached[valid], valid.nonzero()[:, 1]] = valid.nonzero()[:, 0]
            else:
                places = torch.arange(outputs)[:, None] * self.stride[axis] + steps
                places = places.masked_fill((places < 0) | (places >= inputs), -1)
            found.append(places)
        return found


def _boxed(share: torch.Tensor, taps: torch.Tensor, axis: int, size: int) -> torch.Tensor:
    """Along one axis: each output's share in equal parts to the places that it sees; nothing where it sees none."""
    count = (taps >= 0).sum(1).to(share).clamp_min(1).reshape(-1, *[1] * (share.dim() - 1 - axis))
    share = share / count
    shape = list(share.shape)
    shape[axis] = size
    found = share.new_zeros(shape)
    for places in taps.T:
        which = (places >= 0).nonzero()[:, 0]
        if len(which):  # evenly spaced, on both sides: views
            part, into = ([slice(None)] * share.dim() for _ in range(2))
            part[axis], into[axis] = _spaced(which), _spaced(places[which])
            found[tuple(into)] += share[tuple(part)]
    return found


def _spaced(places: torch.Tensor) -> slice:
    step = int(places[1] - places[0]) if len(places) > 1 else 1
    return slice(int(places[0]), int(places[-1]) + 1, step)


class Linear(Affine):
    """``torch.nn.functional.linear`` with constant weights."""

    def __init__(self, step: Step) -> None:
        super().__init__(step.argument(1), step.argument(2))
        self.shape = step.shape(only(step))

    def forward(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return x @ weight.T

    def back(self, s: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return s @ weight


class Product(Affine):
    """A matrix product of any form with one constant factor, by the operation itself and its derivative."""

    def __init__(self, step: Step) -> None:
        self._step, self._argument = step, only(step)
        self.shape = step.shape(self._argument)
        name = step.graph.operations[step.node.name]
        factors = [a for a in step.node.all_input_nodes if a.name != self._argument.name]
        bias = None
        if name in ("addmm", "baddbmm"):
            added = step.node.args[0]
            assert isinstance(added, torch.fx.Node)
            bias = step.values[added.name] * step.node.kwargs.get("beta", 1)
            factors = [factor for factor in factors if factor is not added]
            self._added: torch.fx.Node | None = added
        else:
            self._added = None
        (self._factor,) = factors
        super().__init__(step.values[self._factor.name], bias)

    def _run(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        values = {**self._step.values, self._argument.name: x, self._factor.name: weight}
        if self._added is not None:
            values[self._added.name] = torch.zeros_like(values[self._added.name])
        node = self._step.node
        return node.target(*resolve(node.args, values), **resolve(node.kwargs, values))  # type: ignore[operator, no-any-return]

    def forward(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return self._run(x, weight)

    def back(self, s: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        leaf = s.new_zeros(()).expand(self.shape).requires_grad_()
        with torch.enable_grad():
            output = self._run(leaf, weight)
        (found,) = torch.autograd.grad(output, leaf, s)
        return found


def folded_norm(node: torch.fx.Node) -> torch.fx.Node | None:
    """The batch norm after a convolution, where it is the only one to read it."""
    users = list(node.users)
    if len(users) == 1 and operation(users[0]) in BATCH_NORMS and users[0].args[0] is node:
        return users[0]
    return None


def affine_of_norm(node: torch.fx.Node, values: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and shift of each channel, of a batch norm with fixed statistics."""
    epsilon = 7 if operation(node) == "batch_norm" else 6
    weight, bias, mean, variance, eps = (resolve(node.args[i], values) for i in (1, 2, 3, 4, epsilon))  # type: ignore[arg-type]
    scale = torch.rsqrt(variance + eps)
    scale = scale if weight is None else scale * weight
    shift = -mean * scale
    return scale, shift if bias is None else shift + bias


def _tuple(value: Any, dims: int) -> Any:
    if isinstance(value, str):
        return value
    values = [value] if isinstance(value, int) else list(value)
    return values * dims if len(values) == 1 else values

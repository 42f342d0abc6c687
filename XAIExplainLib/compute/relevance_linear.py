"""Relevance rules of linear operations.

A layer with weights is an `Affine`: how it is computed and transposed with any weights. A rule is written once on it
and holds for convolutions, transposed convolutions and matrix products of any dimension. Averages and other weighted
sums without weights of their own share relevance in proportion.

Sources: Bach et al. 2015 (epsilon: equation 58, alpha-beta: 60); Montavon et al. 2017, Deep Taylor decomposition
(z+, w-square, box: section 4); Montavon et al. 2019, LRP: an overview (gamma: section 10.2.3); Lapuschkin et al.
2019 (flat); Kohlbrenner et al. 2020 (composites). Inputs of any sign: the contributions x w, not the weights, are
parted by sign.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from XAIExplainLib.compute.graph import operation, resolve
from XAIExplainLib.compute.relevance import (
    BATCH_NORMS,
    CONVOLUTIONS,
    PRODUCTS,
    TINY,
    Ledger,
    Maker,
    RelevanceTable,
    Settings,
    arguments_on,
    divided,
    is_first,
    is_last,
    only,
    weighted,
)
from XAIExplainLib.compute.reverse import Rule, Step

_POOLS = ("avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
          "adaptive_avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d")  # fmt: skip
# Sums with weights that are not negative, so that the size of the contributions is the operation on |x|.
MIXING = (
    *_POOLS, "mean", "sum", "cumsum", "upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d",
)  # fmt: skip


class Affine:
    """A layer ``z = W x + b`` in one argument on the path, for any weights of its shape.

    Parameters
    ----------
    weight : torch.Tensor
        As the operation takes it.
    bias : torch.Tensor or None
        Of a shape that can be added to the output.
    """

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
        if self.around:
            x = F.pad(x, self.around)
        groups = self.groups if weight.shape[1] * self.groups == x.shape[1] or self.transposed else x.shape[1]
        return torch.ops.aten.convolution(
            x, weight, None, self.stride, self.padding, self.dilation, self.transposed, self.extra, groups
        )

    def back(self, s: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return self._back(s, weight, self.shape)

    def _back(self, s: torch.Tensor, weight: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        padded = list(shape)
        for axis in range(len(self.around) // 2):
            padded[-1 - axis] += self.around[2 * axis] + self.around[2 * axis + 1]
        blank = s.new_empty(1).expand(padded)  # read for its shape alone
        found, _, _ = torch.ops.aten.convolution_backward(
            s, blank, weight, None, self.stride, self.padding, self.dilation, self.transposed, self.extra, self.groups,
            (True, False, False),
        )  # fmt: skip
        return F.pad(found, [-side for side in self.around]) if self.around else found

    def flat(self, relevance: torch.Tensor) -> torch.Tensor:
        """By one box filter a group, since all of its channels get the same."""
        samples, channels = self.shape[:2]
        kernel = self.weight.new_ones(self.groups, 1, *self.weight.shape[2:])
        ones = relevance.new_ones(()).expand(1, self.groups, *self.shape[2:])
        count = self.forward(ones, kernel) * (channels // self.groups)
        grouped = relevance.reshape(samples, self.groups, -1, *relevance.shape[2:]).sum(2)
        share = torch.where(count > 0, grouped / count, 0.0)
        found = self._back(share, kernel, (samples, self.groups, *self.shape[2:]))
        return found.repeat_interleave(channels // self.groups, 1)


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


# -- the rules of a layer with weights ------------------------------------------------------------------------------


def epsilon_rule(
    layer: Affine, x: torch.Tensor, relevance: torch.Tensor, settings: Settings, ledger: Ledger
) -> torch.Tensor:
    """Contributions x w over their sum and the bias.

    The bias keeps its share, or hands it on in proportion to the size of the contributions. Leaving it out of the
    denominator, as zennit does, would divide by numbers that have nothing to do with the relevance to be shared.
    """
    z = layer.forward(x, layer.weight)
    z = z if layer.bias is None else z + layer.bias
    s = divided(relevance, z, settings.stabiliser, ledger)
    found = x * layer.back(s, layer.weight)
    if layer.bias is None:
        return found
    share = s * layer.bias
    if settings.absorb:
        ledger.add("bias", share)
        return found
    size, weight = x.abs(), layer.weight.abs()
    return found + size * layer.back(divided(share, layer.forward(size, weight), TINY, ledger), weight)


def plus_rule(
    layer: Affine, x: torch.Tensor, relevance: torch.Tensor, settings: Settings, ledger: Ledger
) -> torch.Tensor:
    """Positive contributions alone."""
    z, parts, bias = _sum_of_sign(layer, x, 1.0, settings)
    return _shared(layer, relevance, z, parts, bias, ledger)


def alpha_beta_rule(
    layer: Affine, x: torch.Tensor, relevance: torch.Tensor, settings: Settings, ledger: Ledger
) -> torch.Tensor:
    """Positive contributions alpha times, negative ones minus beta times.

    Where all contributions have one sign, these take all: else alpha or minus beta times the relevance would go on.
    """
    alpha = settings.composite.alpha
    positive, parts, bias = _sum_of_sign(layer, x, 1.0, settings)
    negative, other_parts, other_bias = _sum_of_sign(layer, x, -1.0, settings)
    up, down = positive != 0, negative != 0
    ledger.add("empty", relevance * ~(up | down))
    taken = torch.where(down, relevance.new_tensor(alpha), 1.0).mul_(relevance).mul_(up)
    found = _shared(layer, taken, positive, parts, bias, ledger)
    del positive, parts
    taken = torch.where(up, relevance.new_tensor(1 - alpha), 1.0).mul_(relevance).mul_(down)
    return found.add_(_shared(layer, taken, negative, other_parts, other_bias, ledger))


Parts = list[tuple[torch.Tensor, torch.Tensor]]


def _sum_of_sign(
    layer: Affine, x: torch.Tensor, sign: float, settings: Settings
) -> tuple[torch.Tensor, Parts, torch.Tensor | None]:
    """The sum of the contributions of one sign, what makes them, and the bias's part in it."""
    parts = _contributions(layer, x, sign)
    z = sum(layer.forward(part, weight) for part, weight in parts)
    assert isinstance(z, torch.Tensor)
    if layer.bias is None or not settings.absorb:
        return z, parts, None
    bias = layer.bias.clamp(min=0) if sign > 0 else layer.bias.clamp(max=0)
    return z + bias, parts, bias


def _shared(
    layer: Affine, relevance: torch.Tensor, z: torch.Tensor, parts: Parts, bias: torch.Tensor | None, ledger: Ledger
) -> torch.Tensor:
    """Share relevance in proportion to contributions that add up to `z`."""
    s = divided(relevance, z, TINY, ledger)
    if bias is not None:
        ledger.add("bias", s * bias)
    found = torch.zeros(layer.shape, dtype=relevance.dtype, device=relevance.device)
    for part, weight in parts:
        found.addcmul_(part, layer.back(s, weight))
    return found


def gamma_rule(
    layer: Affine, x: torch.Tensor, relevance: torch.Tensor, settings: Settings, ledger: Ledger
) -> torch.Tensor:
    """Contributions that agree with the output's sign count 1 + gamma times.

    A bias that is not to keep its share hands it to the contributions of the output's sign.
    """
    gamma = settings.gamma
    z = layer.forward(x, layer.weight)
    bias = relevance.new_zeros(()) if layer.bias is None else layer.bias
    up = z + bias >= 0
    signs = [sign for sign, where in ((1.0, up), (-1.0, ~up)) if bool((relevance * where).any())]
    agree = torch.zeros_like(z)
    for sign in signs:
        total = sum(layer.forward(part, weight) for part, weight in _contributions(layer, x, sign))
        agree = torch.where(up == (sign > 0), total, agree)
    favoured = bias + gamma * torch.where(up, bias.clamp(min=0), bias.clamp(max=0))
    s = divided(relevance, z + favoured + gamma * agree, TINY, ledger)
    extra = gamma * s  # of the contributions that agree
    if layer.bias is not None:
        if settings.absorb:
            ledger.add("bias", s * favoured)
        else:
            extra = extra + divided(s * favoured, agree, TINY, ledger)
    found = x * layer.back(s, layer.weight)
    for sign in signs:
        chosen = torch.where(up == (sign > 0), extra, 0.0)
        for part, weight in _contributions(layer, x, sign):
            found = found + part * layer.back(chosen, weight)
    return found


def flat_rule(
    layer: Affine, x: torch.Tensor | None, relevance: torch.Tensor, settings: Settings, ledger: Ledger
) -> torch.Tensor:
    """Equal parts to all inputs that the output sees."""
    return layer.flat(relevance)


def square_rule(
    layer: Affine, x: torch.Tensor | None, relevance: torch.Tensor, settings: Settings, ledger: Ledger
) -> torch.Tensor:
    """In proportion to the squares of the weights."""
    weight = layer.weight.square()
    z = layer.forward(relevance.new_ones(()).expand(layer.shape), weight)
    bias = layer.bias.square() if settings.absorb and layer.bias is not None else None
    s = divided(relevance, z if bias is None else z + bias, TINY, ledger)
    if bias is not None:
        ledger.add("bias", s * bias)
    return layer.back(s, weight)


def box_rule(
    layer: Affine, x: torch.Tensor, relevance: torch.Tensor, settings: Settings, ledger: Ledger
) -> torch.Tensor:
    """Contributions above the corner of the box of allowed values that speaks least for the output; no bias's."""
    above, below = x - bound(x, settings.low, "amin"), x - bound(x, settings.high, "amax")
    positive, negative = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
    s = divided(relevance, layer.forward(above, positive) + layer.forward(below, negative), TINY, ledger)
    return above * layer.back(s, positive) + below * layer.back(s, negative)


def bound(x: torch.Tensor, value: float | None, extreme: str) -> torch.Tensor:
    """A bound of the box, (1,) or (N, C, 1, ...): the given one or the image's own."""
    if value is not None:
        return x.new_tensor([value])
    found = getattr(x.flatten(2) if x.dim() > 2 else x, extreme)(-1, keepdim=True)
    return found.reshape(*found.shape[:-1], *[1] * (x.dim() - 2)) if x.dim() > 2 else found  # type: ignore[no-any-return]


def _contributions(layer: Affine, x: torch.Tensor, sign: float) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Parts of `x` and of the weights whose products have one sign; after a ReLU one pair makes them all."""
    positive, negative = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
    same, other = (positive, negative) if sign > 0 else (negative, positive)
    if bool(x.amin() >= 0):
        return [(x, same)]
    return [(x.clamp(min=0), same), (x.clamp(max=0), other)]


RULES: dict[str, Callable[..., torch.Tensor]] = {
    "epsilon": epsilon_rule, "plus": plus_rule, "alpha_beta": alpha_beta_rule, "gamma": gamma_rule, "flat": flat_rule,
    "square": square_rule, "box": box_rule,
}  # fmt: skip
READS_NOTHING = ("flat", "square")


def _layer(table: RelevanceTable, node: torch.fx.Node, path: set[str]) -> Rule | None:
    if not weighted(node, path):
        return None
    name, composite = operation(node), table.settings.composite
    source = arguments_on(node, path)[0]
    if name in (*CONVOLUTIONS, "linear") and node.args[0] is not source:
        return None  # an image as the weights of another
    if name in PRODUCTS and not _one_factor(node, source):
        return None
    if is_first(node, path) and composite.first != composite.convolution:
        chosen = composite.first
    elif name in CONVOLUTIONS and not is_last(node, path):
        chosen = composite.convolution
    else:
        chosen = composite.dense
    kind = Convolution if name in CONVOLUTIONS else Linear if name == "linear" else Product
    rule = RULES[chosen]

    def apply(step: Step, relevance: torch.Tensor) -> dict[str, torch.Tensor]:
        x = None if chosen in READS_NOTHING else step.values[source.name]
        return {source.name: rule(kind(step), x, relevance, table.settings, table.ledger)}

    return Rule(apply, inputs=chosen not in READS_NOTHING)


def _one_factor(node: torch.fx.Node, source: torch.fx.Node) -> bool:
    """Whether a product has, beside what is added, one constant factor, and the path is a factor, not added."""
    added = operation(node) in ("addmm", "baddbmm")
    if added and node.args[0] is source:
        return False
    others = [a for a in node.all_input_nodes if a is not source and not (added and a is node.args[0])]
    return len(others) == 1


def _mixing(table: RelevanceTable, node: torch.fx.Node, path: set[str]) -> Rule | None:
    """Averages and sums: in proportion to what each input contributes, signed or by size."""
    signed = table.settings.composite.signed

    def apply(step: Step, relevance: torch.Tensor) -> dict[str, torch.Tensor]:
        source = only(step)
        x = step.values[source.name]
        x = x if signed else x.abs()
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            values = {**step.values, source.name: leaf}
            z = node.target(*resolve(node.args, values), **resolve(node.kwargs, values))  # type: ignore[operator]
        s = divided(relevance, z.detach(), table.settings.stabiliser if signed else TINY, table.ledger)
        (found,) = torch.autograd.grad(z, leaf, s)
        return {source.name: x * found}

    return Rule(apply, inputs=True)


def _batch_norm(table: RelevanceTable, node: torch.fx.Node, path: set[str]) -> Rule | None:
    """Folded into the convolution before it, or a scale and a shift of each channel."""
    source = node.args[0]
    assert isinstance(source, torch.fx.Node)
    folds = operation(source) in CONVOLUTIONS and folded_norm(source) is node and weighted(source, path)
    settings = table.settings

    def apply(step: Step, given: Any) -> dict[str, torch.Tensor]:
        relevance: torch.Tensor = given[0] if isinstance(given, dict) else given
        if folds or not settings.absorb:
            return {source.name: relevance}
        x = step.values[source.name]
        scale, shift = (part.reshape(-1, *[1] * (x.dim() - 2)) for part in affine_of_norm(node, step.values))
        parts = (x * scale, shift.expand_as(x))
        if not settings.composite.signed:
            parts = (parts[0].abs(), parts[1].abs())
        s = divided(relevance, parts[0] + parts[1], settings.stabiliser, table.ledger)
        table.ledger.add("bias", s * parts[1])
        return {source.name: s * parts[0]}

    return Rule(apply, inputs=not folds and settings.absorb)


def _tuple(value: Any, dims: int) -> Any:
    if isinstance(value, str):
        return value
    values = [value] if isinstance(value, int) else list(value)
    return values * dims if len(values) == 1 else values


MAKERS: dict[str, Maker] = {
    **dict.fromkeys((*CONVOLUTIONS, "linear"), _layer), **dict.fromkeys(MIXING, _mixing),
    **dict.fromkeys(BATCH_NORMS, _batch_norm),
}  # fmt: skip
layer_rule = _layer

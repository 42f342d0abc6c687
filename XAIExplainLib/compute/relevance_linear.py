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

from XAIExplainLib.compute.derivatives import brought_back
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
from XAIExplainLib.compute.relevance_layers import Affine, Convolution, Linear, Product, affine_of_norm, folded_norm
from XAIExplainLib.compute.relevance_moves import never_negative
from XAIExplainLib.compute.reverse import Rule, Step

_POOLS = ("avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
          "adaptive_avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d")  # fmt: skip
# Sums with weights that are not negative, so that the size of the contributions is the operation on |x|.
MIXING = (
    *_POOLS, "mean", "sum", "cumsum", "upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d",
)  # fmt: skip


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
    found = layer.back(s, layer.weight).mul_(x)
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
    return _shared(layer, relevance, z, parts, bias, ledger, positive=True)


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
    z = layer.forward(*parts[0])
    for part, weight in parts[1:]:
        z += layer.forward(part, weight)
    if layer.bias is None or not settings.absorb:
        return z, parts, None
    bias = layer.bias.clamp(min=0) if sign > 0 else layer.bias.clamp(max=0)
    return z + bias, parts, bias


def _shared(
    layer: Affine, relevance: torch.Tensor, z: torch.Tensor, parts: Parts, bias: torch.Tensor | None, ledger: Ledger,
    positive: bool = False,
) -> torch.Tensor:  # fmt: skip
    """Share relevance in proportion to contributions that add up to `z`, which is overwritten where `positive`."""
    s = divided(relevance, z, TINY, ledger, positive)
    if bias is not None:
        ledger.add("bias", s * bias)
    found: torch.Tensor | None = None
    for part, weight in parts:
        share = layer.back(s, weight).mul_(part)
        found = share if found is None else found.add_(share)
    assert found is not None
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
    positive, negative = {"min": 0.0}, {"max": 0.0}
    same, other = (positive, negative) if sign > 0 else (negative, positive)
    if layer.positive or bool(x.amin() >= 0):
        return [(x, layer.weight.clamp(**same))]
    return [(x.clamp(min=0), layer.weight.clamp(**same)), (x.clamp(max=0), layer.weight.clamp(**other))]


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
    rule, positive = RULES[chosen], never_negative(source)

    def apply(step: Step, relevance: torch.Tensor) -> dict[str, torch.Tensor]:
        x = None if chosen in READS_NOTHING else step.values[source.name]
        layer = kind(step)
        layer.positive = positive
        return {source.name: rule(layer, x, relevance, table.settings, table.ledger)}

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
        (found,) = brought_back([(z, s)], [leaf])
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


MAKERS: dict[str, Maker] = {
    **dict.fromkeys((*CONVOLUTIONS, "linear"), _layer), **dict.fromkeys(MIXING, _mixing),
    **dict.fromkeys(BATCH_NORMS, _batch_norm),
}  # fmt: skip
layer_rule = _layer

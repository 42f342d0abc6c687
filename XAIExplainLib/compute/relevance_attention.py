"""Relevance through attention (Achtibat et al. 2024, AttnLRP, arXiv:2402.05602).

A product of two numbers of the path shares equally between its factors in proportion to each term (equation 14);
softmax is expanded at its input (equation 13), and what its constant part takes is booked apart.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from XAIExplainLib.compute.graph import operation, resolve
from XAIExplainLib.compute.relevance import (
    PRODUCTS,
    Ledger,
    Maker,
    RelevanceTable,
    arguments_on,
    divided,
    only,
)
from XAIExplainLib.compute.relevance_linear import layer_rule
from XAIExplainLib.compute.reverse import Rule, Step


def _bilinear(table: RelevanceTable, node: torch.fx.Node, path: set[str]) -> Rule | None:
    factors = arguments_on(node, path)
    if len(factors) == 1 and _appearances(node, factors[0]) == 1:
        return layer_rule(table, node, path)
    if operation(node) in ("addmm", "baddbmm") or len(node.all_input_nodes) != len(factors):
        return None
    if sum(_appearances(node, factor) for factor in factors) != 2:
        return None  # an einsum of three

    def apply(step: Step, relevance: torch.Tensor) -> dict[str, torch.Tensor]:
        leaves = {factor.name: step.values[factor.name].detach().requires_grad_() for factor in factors}
        values = {**step.values, **leaves}
        with torch.enable_grad():
            z = node.target(*resolve(node.args, values), **resolve(node.kwargs, values))  # type: ignore[operator]
        s = divided(relevance, z.detach(), table.settings.stabiliser, table.ledger) / 2
        found = torch.autograd.grad(z, list(leaves.values()), s)
        return {name: leaf.detach() * gradient for (name, leaf), gradient in zip(leaves.items(), found, strict=True)}

    return Rule(apply, inputs=True)


def _appearances(node: torch.fx.Node, factor: torch.fx.Node) -> int:
    """How often the operation reads `factor`."""
    count = 0

    def look(other: torch.fx.Node) -> torch.fx.Node:
        nonlocal count
        count += other is factor
        return other

    torch.fx.node.map_arg(node.args, look)
    return count


def softmax_rule(
    x: torch.Tensor, share: torch.Tensor, relevance: torch.Tensor, dim: int, ledger: Ledger
) -> torch.Tensor:
    """First-order expansion at `x`: ``x (R - softmax sum(R))``; the constant part's share is booked.

    Parameters
    ----------
    x, share, relevance : torch.Tensor
        What went in, what came out, and its relevance.
    dim : int
        The axis that is normalised.
    ledger : Ledger
        For ``R_j (1 - x_j + sum_i s_i x_i)``.
    """
    x = torch.where(share > 0, x, 0.0)  # a masked score is minus infinity, and has no share
    ledger.add("softmax", relevance * (1 - x + (share * x).sum(dim, keepdim=True)))
    return x * (relevance - share * relevance.sum(dim, keepdim=True))


def _softmax(table: RelevanceTable, node: torch.fx.Node, path: set[str]) -> Rule | None:
    def apply(step: Step, relevance: torch.Tensor) -> dict[str, torch.Tensor]:
        source = only(step)
        x, dim = step.values[source.name], int(step.argument(1))
        return {source.name: softmax_rule(x, x.softmax(dim), relevance, dim, table.ledger)}

    return Rule(apply, inputs=True)


def _attention(table: RelevanceTable, node: torch.fx.Node, path: set[str]) -> Rule | None:
    """``softmax(q k / sqrt(d)) v`` as its three operations; a mask is a constant, whose share the softmax keeps."""
    names = [argument.name for argument in node.args[:3] if isinstance(argument, torch.fx.Node)]
    if not set(names) <= path or len(names) != 3 or node.kwargs.get("enable_gqa"):
        return None
    mask = node.args[3] if len(node.args) > 3 else node.kwargs.get("attn_mask")
    if isinstance(mask, torch.fx.Node) and mask.name in path:
        return None

    def apply(step: Step, relevance: torch.Tensor) -> dict[str, torch.Tensor]:
        query, key, value = (step.values[name] for name in names)
        epsilon, ledger = table.settings.stabiliser, table.ledger
        factor = node.kwargs.get("scale") or 1 / math.sqrt(query.shape[-1])
        products = query @ key.transpose(-1, -2)
        scores = products * factor
        given: Any = None if mask is None else resolve(mask, step.values)  # type: ignore[arg-type]
        masked = _masked(scores, given, bool(node.args[5] if len(node.args) > 5 else node.kwargs.get("is_causal")))
        weights = masked.softmax(-1)
        s = divided(relevance, weights @ value, epsilon, ledger) / 2
        of_value = value * (weights.transpose(-1, -2) @ s)
        of_scores = softmax_rule(scores, weights, weights * (s @ value.transpose(-1, -2)), -1, ledger)
        s = divided(of_scores, products, epsilon, ledger) / 2
        shares = (query * (s @ key), key * (s.transpose(-1, -2) @ query), of_value)
        found: dict[str, torch.Tensor] = {}
        for name, share in zip(names, shares, strict=True):
            found[name] = found[name] + share if name in found else share
        return found

    return Rule(apply, inputs=True)


def _masked(scores: torch.Tensor, mask: torch.Tensor | None, causal: bool) -> torch.Tensor:
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is None:
        return scores
    return scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask


MAKERS: dict[str, Maker] = {
    **dict.fromkeys(PRODUCTS, _bilinear), "softmax": _softmax, "_softmax": _softmax,
    "scaled_dot_product_attention": _attention,
}  # fmt: skip

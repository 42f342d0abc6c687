"""Relevance through sums of two branches and through norms that measure the image itself.

A sum shares by signed contributions, ``a / (a + b)``, where the whole composite is signed (then every relevance has
its number as a factor and the quotient stays finite); elsewhere by size, ``|a| / (|a| + |b|)``, which cannot grow.

Norms of the image's own statistics: signed composites hold the standard deviation constant and share by the linear
operation that is left (Ali et al. 2022, XAI for transformers, equation 8; Achtibat et al. 2024, section 3.3.2); the
others hand relevance through (the identity rule of Achtibat et al. 2024, equation 9).
"""

from __future__ import annotations

from typing import Any

import torch

from XAIExplainLib.compute.graph import operation
from XAIExplainLib.compute.relevance import (
    TINY,
    Maker,
    RelevanceTable,
    arguments_on,
    divided,
    unbroadcast,
    value_of,
)
from XAIExplainLib.compute.reverse import Rule, Step


def _sum(table: RelevanceTable, node: torch.fx.Node, path: set[str]) -> Rule | None:
    settings = table.settings
    signed = settings.composite.signed
    terms = [argument for argument in node.args[:2] if isinstance(argument, torch.fx.Node) and argument.name in path]
    if len(terms) == 1 and not settings.absorb:  # what is added is a constant, and hands its share on
        return Rule(lambda step, relevance: {terms[0].name: unbroadcast(relevance, step.shape(terms[0]))})
    second = float(node.kwargs.get("alpha", 1)) * (-1 if operation(node) == "sub" else 1)  # type: ignore[arg-type]

    def apply(step: Step, relevance: torch.Tensor) -> dict[str, torch.Tensor]:
        parts = [value_of(step, argument) for argument in node.args[:2]]
        parts[1] = parts[1] if second == 1 else parts[1] * second
        if not signed:
            parts = [abs(part) for part in parts]
        s = divided(relevance, parts[0] + parts[1], settings.stabiliser if signed else TINY, table.ledger, not signed)
        given: dict[str, torch.Tensor] = {}
        for argument, part in zip(node.args[:2], parts, strict=True):
            share = s * part
            if isinstance(argument, torch.fx.Node) and argument.name in path:
                share = unbroadcast(share, step.shape(argument))
                given[argument.name] = given[argument.name] + share if argument.name in given else share
            else:
                table.ledger.add("bias", share)
        return given

    return Rule(apply, inputs=True)


def _norm(table: RelevanceTable, node: torch.fx.Node, path: set[str]) -> Rule | None:
    source, name, settings = node.args[0], operation(node), table.settings
    if arguments_on(node, path) != [source]:
        return None
    if name == "instance_norm" and not node.args[5]:
        return None  # fixed statistics; torch.export writes batch_norm for these
    assert isinstance(source, torch.fx.Node)
    if not settings.composite.signed:
        return Rule(lambda step, relevance: {source.name: relevance})

    def apply(step: Step, relevance: torch.Tensor) -> dict[str, torch.Tensor]:
        x = step.values[source.name]
        rows, scale, shift, epsilon = _arranged(step, name, x)
        mean = rows.mean(-1, keepdim=True)
        deviation = (rows.var(-1, correction=0, keepdim=True) + epsilon).sqrt()
        y = (scale * ((rows - mean) / deviation).reshape(x.shape) + shift).reshape(x.shape)
        s = divided(relevance, y, settings.stabiliser, table.ledger)
        t = (s * scale).reshape(rows.shape) / deviation
        found = (rows * (t - t.mean(-1, keepdim=True))).reshape(x.shape)
        share = s * shift
        if settings.absorb:
            table.ledger.add("bias", share)
            return {source.name: found}
        return {source.name: found + share}

    return Rule(apply, inputs=True)


def _arranged(step: Step, name: str, x: torch.Tensor) -> tuple[torch.Tensor, Any, Any, float]:
    """`x` with the numbers that are normalised together in the last axis; scale, shift and epsilon."""
    if name == "layer_norm":
        dims = len(step.argument(1))
        rows = x.flatten(-dims)
        weight, bias, epsilon = step.argument(2), step.argument(3), step.argument(4, 1e-5)
    elif name == "group_norm":
        rows = x.reshape(x.shape[0], int(step.argument(1)), -1)
        weight, bias, epsilon = step.argument(2), step.argument(3), step.argument(4, 1e-5)
    else:
        rows = x.flatten(2)
        weight, bias, epsilon = step.argument(1), step.argument(2), step.argument(7, 1e-5)
    if name != "layer_norm":
        weight, bias = (None if one is None else one.reshape(-1, *[1] * (x.dim() - 2)) for one in (weight, bias))
    scale = torch.ones_like(x[:1]) if weight is None else weight
    shift = torch.zeros_like(x[:1]) if bias is None else bias
    return rows, scale, shift, float(epsilon)


MAKERS: dict[str, Maker] = {
    "add": _sum, "sub": _sum, **dict.fromkeys(("layer_norm", "instance_norm", "group_norm"), _norm),
}  # fmt: skip

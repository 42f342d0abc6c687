"""Relevance through operations that move numbers, pick the largest, or change each by itself.

Moving: every output is a copy of one input or of a constant; relevance goes where the number came from, and what was
copied from a constant is booked as the bias's. Pointwise activations and products with a constant hand relevance
through (Bach et al. 2015, section 2.3; the identity rule of Achtibat et al. 2024, equation 9).
"""

from __future__ import annotations

from typing import Any

import torch

from XAIExplainLib.compute.derivatives import BY_SHAPES, DERIVATIVES
from XAIExplainLib.compute.graph import operation, resolve
from XAIExplainLib.compute.relevance import TINY, Maker, RelevanceTable, arguments_on, divided, only, unbroadcast
from XAIExplainLib.compute.reverse import Rule, Step

# Each output is a copy of one input. Of the operations in derivatives.SHAPE_ONLY these are the ones; the others there
# mix their inputs (relevance_linear.MIXING), or are `neg`, which is pointwise.
MOVING = (
    "view", "_unsafe_view", "reshape", "flatten", "permute", "transpose", "t", "squeeze", "unsqueeze", "clone", "alias",
    "expand", "select", "slice", "contiguous", "split", "split_with_sizes", "chunk", "unbind", "roll",
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact2d",
    "_upsample_nearest_exact3d", "repeat", "pixel_shuffle", "pixel_unshuffle", "unflatten", "movedim", "swapaxes",
    "flip", "unfold", "index", "index_select", "gather", "narrow", "repeat_interleave", "_to_copy", "to", "dropout",
    "reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d", "replication_pad2d",
    "replication_pad3d", "diagonal", "detach_",
)  # fmt: skip
# Each output is a copy of one input, which one depends on the numbers.
PICKING = (
    "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
    "amax", "amin", "max", "min", "maximum", "minimum", "topk", "sort",
)  # fmt: skip
JOINING = ("cat", "stack", "where", "masked_fill", "slice_scatter", "select_scatter", "constant_pad_nd", "pad")
POINTWISE = (
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "sigmoid", "tanh", "softplus",
    "hardswish", "hardsigmoid", "hardtanh", "softsign", "log_sigmoid", "logsigmoid", "hardshrink", "softshrink",
    "threshold", "rrelu_with_noise", "neg", "abs", "square", "clamp", "clamp_min", "clamp_max",
)  # fmt: skip


_NOT_NEGATIVE = ("relu", "relu6", "sigmoid", "hardsigmoid", "softplus", "softmax", "_softmax", "abs", "square", "exp")
_ALL_OR_NOTHING = (  # not negative where no argument is
    *MOVING, *PICKING, "getitem", "cat", "stack", "add", "mul", "mean", "sum", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "_adaptive_avg_pool2d",
    "_adaptive_avg_pool3d", "upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d",
    *(f"max_pool{dims}d_with_indices" for dims in (1, 2, 3)),
)  # fmt: skip


def never_negative(value: Any) -> bool:
    """Whether the graph alone says that a value (a node, a number, or several) has no negative numbers."""
    if isinstance(value, list | tuple):
        return all(never_negative(one) for one in value)
    if not isinstance(value, torch.fx.Node):
        return isinstance(value, int | float) and value >= 0
    if value.op != "call_function":
        return False
    name = operation(value)
    if name in _NOT_NEGATIVE:
        return True
    if name not in _ALL_OR_NOTHING or not never_negative(value.kwargs.get("alpha", 1)):
        return False
    two = name in ("add", "mul")
    return never_negative(value.args[:2] if two else value.args[0])


def _moving(table: RelevanceTable, node: torch.fx.Node, path: set[str]) -> Rule | None:
    return BY_SHAPES


def _picking(table: RelevanceTable, node: torch.fx.Node, path: set[str]) -> Rule | None:
    """The winner takes all; a constant that won (the number in ``maximum(x, c)``) is booked."""
    if len(arguments_on(node, path)) == len([a for a in node.args if isinstance(a, torch.fx.Node)]):
        return DERIVATIVES.rule(node, path)
    return None


def _getitem(table: RelevanceTable, node: torch.fx.Node, path: set[str]) -> Rule | None:
    return Rule(lambda step, relevance: {only(step).name: relevance})


def _copy(table: RelevanceTable, node: torch.fx.Node, path: set[str]) -> Rule | None:
    """What is written goes on, what it is written over does not."""

    def apply(step: Step, relevance: torch.Tensor) -> dict[str, torch.Tensor]:
        source = node.args[1]
        if not isinstance(source, torch.fx.Node) or source.name not in path:
            table.ledger.add("bias", relevance)
            return {}
        return {source.name: unbroadcast(relevance, step.shape(source))}

    return Rule(apply)


def _joining(table: RelevanceTable, node: torch.fx.Node, path: set[str]) -> Rule | None:
    """Move, and book what lies where a constant was put."""
    move = DERIVATIVES.rules["cat"] if operation(node) == "cat" else BY_SHAPES

    def apply(step: Step, relevance: torch.Tensor) -> dict[str, torch.Tensor]:
        if _has_constants(node, path):
            table.ledger.add("bias", relevance * (1 - _from_path(step, relevance)))
        return move.apply(step, relevance)

    return Rule(apply)


def _has_constants(node: torch.fx.Node, path: set[str]) -> bool:
    name = node.target._schema.name.split("::")[-1] if hasattr(node.target, "_schema") else ""
    if name in ("constant_pad_nd", "pad", "masked_fill", "where"):
        return True
    return any(argument.name not in path for argument in node.all_input_nodes)


def _from_path(step: Step, relevance: torch.Tensor) -> torch.Tensor:
    """1 where the output came from the path and 0 where from a constant: the operation done on ones and zeros."""
    values: dict[str, Any] = {}
    for argument in step.node.all_input_nodes:
        if argument.name in step.path:
            values[argument.name] = relevance.new_ones(()).expand(step.shape(argument))
        else:
            value = step.values[argument.name]
            counts = isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex())
            values[argument.name] = torch.zeros_like(value) if counts else value
    args, kwargs = list(resolve(step.node.args, values)), dict(resolve(step.node.kwargs, values))
    name = step.graph.operations[step.node.name]
    if name == "masked_fill":  # the number that is filled in
        args[2] = 0.0
    elif name == "constant_pad_nd":
        args = args[:2]
    elif name == "pad":
        mode = args[2] if len(args) > 2 else kwargs.get("mode", "constant")
        if mode == "constant":
            args, kwargs = args[:2], {}
    elif name == "where":
        args[1:] = [part if isinstance(part, torch.Tensor) else 0.0 for part in args[1:]]
    return step.node.target(*args, **kwargs)  # type: ignore[operator, no-any-return]


def _pointwise(table: RelevanceTable, node: torch.fx.Node, path: set[str]) -> Rule | None:
    if len(arguments_on(node, path)) != 1 or node.args[0] not in arguments_on(node, path):
        return None
    return Rule(lambda step, relevance: {only(step).name: relevance})


def _lifted(table: RelevanceTable, node: torch.fx.Node, path: set[str]) -> Rule | None:
    """An activation that is not zero at zero, such as a gate's sigmoid.

    Where all is signed and constants keep their share, f(0) is such a constant: what is left is in proportion to
    f(z) - f(0), so that the quotient by z stays finite. Elsewhere relevance is handed through.
    """
    rule = _pointwise(table, node, path)
    if rule is None or not (table.settings.composite.signed and table.settings.absorb):
        return rule

    def apply(step: Step, relevance: torch.Tensor) -> dict[str, torch.Tensor]:
        z = step.values[only(step).name]
        values = {**step.values, only(step).name: torch.zeros_like(z)}
        at_zero = node.target(*resolve(node.args, values), **resolve(node.kwargs, values))  # type: ignore[operator]
        value = node.target(*resolve(node.args, step.values), **resolve(node.kwargs, step.values))  # type: ignore[operator, arg-type]
        s = divided(relevance, value, TINY, table.ledger)
        table.ledger.add("bias", s * at_zero)
        return {only(step).name: s * (value - at_zero)}

    return Rule(apply, inputs=True)


def _power(table: RelevanceTable, node: torch.fx.Node, path: set[str]) -> Rule | None:
    """A positive constant power of a number is pointwise and zero at zero."""
    exponent = node.args[1]
    return _pointwise(table, node, path) if isinstance(exponent, int | float) and exponent > 0 else None


def _product(table: RelevanceTable, node: torch.fx.Node, path: set[str]) -> Rule | None:
    """Times a constant: handed through; two numbers of the path share equally (Achtibat et al. 2024, equation 11)."""
    factors = [argument for argument in node.args[:2] if isinstance(argument, torch.fx.Node) and argument.name in path]

    def apply(step: Step, relevance: torch.Tensor) -> dict[str, torch.Tensor]:
        given: dict[str, torch.Tensor] = {}
        for factor in factors:
            part = unbroadcast(relevance / len(factors), step.shape(factor))
            given[factor.name] = given[factor.name] + part if factor.name in given else part
        return given

    return Rule(apply)


def _quotient(table: RelevanceTable, node: torch.fx.Node, path: set[str]) -> Rule | None:
    """By a constant: handed through. A denominator on the path has no rule."""
    divisor = node.args[1]
    if (isinstance(divisor, torch.fx.Node) and divisor.name in path) or node.kwargs.get("rounding_mode"):
        return None
    return Rule(lambda step, relevance: {only(step).name: unbroadcast(relevance, step.shape(only(step)))})


MAKERS: dict[str, Maker] = {
    "getitem": _getitem, "copy": _copy, "mul": _product, "div": _quotient, "pow": _power,
    **dict.fromkeys(MOVING, _moving), **dict.fromkeys(PICKING, _picking), **dict.fromkeys(JOINING, _joining),
    **dict.fromkeys(POINTWISE, _pointwise), "prelu": _pointwise,
    **dict.fromkeys(("sigmoid", "hardsigmoid", "softplus", "log_sigmoid", "logsigmoid"), _lifted),
}  # fmt: skip

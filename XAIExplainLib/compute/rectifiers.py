"""Tables in which every rectifier's row is exchanged: guided backpropagation and deconvolution.

A rectifier passes what is positive and cuts what is negative, or lets a part of it through: ReLU, ReLU6, a clamp at
zero, a maximum with zero, and the leaky ones (leaky ReLU, PReLU, RReLU, ELU, SELU, CELU). Both methods are defined for
rectifiers alone, so that a network with another activation is refused. A sigmoid or softmax that weighs another signal
is a gate, not an activation, and keeps its derivative; so does one that only turns the answer into probabilities.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

from XAIExplainLib.compute.bits import unpacked
from XAIExplainLib.compute.derivatives import BY_VALUES, DERIVATIVES, relu_forth
from XAIExplainLib.compute.graph import Graph, layers_around
from XAIExplainLib.compute.reverse import Rule, Step, Table
from XAIExplainLib.errors import XAIError

if TYPE_CHECKING:
    from XAIExplainLib.question import Question

ALWAYS = ("relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu")
# Rectifiers in some forms only: what is compared must be zero.
SOMETIMES = ("hardtanh", "clamp", "clamp_min", "threshold", "maximum", "max", "fmax", "where")
# The slope for positive values, where it is not one.
SELU_SCALE = 1.0507009873554805

_SQUASHING = frozenset(("sigmoid", "hardsigmoid", "tanh", "softmax", "_softmax"))
_OTHER = frozenset((
    "gelu", "silu", "mish", "softplus", "hardswish", "log_sigmoid", "log_softmax", "_log_softmax", "erf", "exp", "log",
    "log1p", "expm1", "sin", "cos", "atan", "abs", "hardshrink", "softshrink", *_SQUASHING,
))  # fmt: skip
_OF_AN_ANSWER = _SQUASHING | {"log_softmax", "_log_softmax", "log_sigmoid", "exp", "log", "clamp", "clamp_min"}
_COMPARISONS = frozenset(("gt", "ge", "lt", "le"))
_PRODUCTS = frozenset(("mul", "matmul", "bmm", "einsum", "baddbmm"))
# Nothing but places, types and sizes changes.
MOVING = frozenset((
    "view", "_unsafe_view", "reshape", "flatten", "unflatten", "permute", "transpose", "t", "squeeze", "unsqueeze",
    "clone", "alias", "contiguous", "expand", "expand_as", "select", "slice", "getitem", "split", "split_with_sizes",
    "chunk", "unbind", "roll", "movedim", "swapaxes", "_to_copy", "to", "repeat", "constant_pad_nd", "pad", "dropout",
    "flip", "narrow",
))  # fmt: skip
ENLARGING = frozenset(("upsample_nearest2d", "upsample_nearest3d", "upsample_bilinear2d", "upsample_trilinear3d"))
_ARITHMETIC = frozenset(("add", "sub", "rsub", "mul", "div", "pow", "neg", "square"))
_WEIGHTS = ("conv", "linear", "addmm", "mm", "bmm", "matmul", "einsum", "batch_norm", "_native_batch_norm",
            "instance_norm", "group_norm", "native_group_norm", "layer_norm", "native_layer_norm",
            "scaled_dot_product_attention")  # fmt: skip


def _guided(step: Step, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
    """What is positive on the way back, times the derivative, where the input was positive."""
    source = _source(step.graph, step.node)
    if source is None:
        return BY_VALUES.apply(step, cotangent)
    given = BY_VALUES.apply(step, cotangent.clamp_min(0))
    return {source.name: given[source.name] * (step.values[source.name] > 0)}


def _guided_relu(step: Step, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
    return {step.tensors()[0].name: cotangent.clamp_min(0) * unpacked(step.saved, cotangent.shape)}


def _deconvolution(step: Step, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
    """What is positive on the way back, wherever the input was."""
    source = _source(step.graph, step.node)
    if source is None:
        return BY_VALUES.apply(step, cotangent)
    return {source.name: cotangent.clamp_min(0)}


def _deconvolution_selu(step: Step, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
    return {step.tensors()[0].name: cotangent.clamp_min(0) * SELU_SCALE}


GUIDED = DERIVATIVES.with_rows(
    "Guided backpropagation",
    {
        **{name: Rule(_guided, inputs=True) for name in (*ALWAYS, *SOMETIMES)},
        "relu": Rule(_guided_relu, forth=relu_forth, share=1 / 8),
    },
)
DECONVOLUTION = DERIVATIVES.with_rows(
    "Deconvolution",
    {
        **{name: Rule(_deconvolution) for name in ALWAYS},
        **{name: Rule(_deconvolution, inputs=True) for name in SOMETIMES},  # some of them are no rectifiers
        "selu": Rule(_deconvolution_selu),
    },
)


def rectifiers(graph: Graph, method: str) -> list[str]:
    """Names of the nodes that are rectifiers, on the way from the image to the answer.

    Parameters
    ----------
    graph : Graph
        The network.
    method : str
        The method's name on the screen, for the messages.

    Raises
    ------
    XAIError
        If an activation is no rectifier, or there is no rectifier at all.
    """
    path = graph.between(graph.input, graph.output)
    found = []
    for node in graph:
        if _source(graph, node) is not None and node.name in path:
            found.append(node.name)
        elif _is_activation(graph, node, path):
            raise XAIError(
                f"{method} is defined for rectifiers (ReLU and its kin), and this network's {_called(graph, node)} "
                "is none.",
                "Use gradient, integrated_gradients or smooth_grad, which take any activation.",
            )
    if not found:
        raise XAIError(
            f"This network has no rectifier (ReLU or its kin): {method} would be the plain gradient.",
            "Use gradient, integrated_gradients or smooth_grad.",
        )
    return found


def exchanged(question: Question, table: Table, method: str) -> torch.Tensor:
    """The walk of the case with an exchanged `table`, with its self-check in the diagnostics.

    Parameters
    ----------
    question : Question
        The case.
    table : Table
        `GUIDED` or `DECONVOLUTION`.
    method : str
        The method's name on the screen.

    Returns
    -------
    torch.Tensor
        Shape (N, C, *spatial).

    Raises
    ------
    XAIError
        As `rectifiers`.
    """
    graph = question.graph(of_tile=True)
    names = frozenset(rectifiers(graph, method))
    removed = total = 0.0

    def visit(name: str, cotangent: Any) -> None:
        nonlocal removed, total
        if name in names and isinstance(cotangent, torch.Tensor):
            removed += float(cotangent.clamp_max(0).abs().sum(dtype=torch.float64))
            total += float(cotangent.abs().sum(dtype=torch.float64))

    maps: list[torch.Tensor] = []
    rows = torch.arange(question.samples, device=question.x.device)
    size = question.batch_of_gradient(table)
    for part, which in zip(question.x.split(size), rows.split(size), strict=True):
        question.progress(len(maps) * size / question.samples, "forward and backward pass")
        maps.append(question.walk_to(graph.input, part, which, graph, table, visit=visit)[1])
    share = removed / total if total else 0.0
    question.diagnostics.update(rectifiers=len(names), removed_share=share, engine="graph")
    if not share:
        question.warn(f"No rectifier had anything to cut on the way back: {method} changed nothing there.")
    return torch.cat(maps)


def gates(graph: Graph, path: set[str] | None = None) -> list[str]:
    """Names of the nodes with a squashing function whose value only weighs another signal than its own argument."""
    path = graph.between(graph.input, graph.output) if path is None else path
    return [node.name for node in graph if node.name in path and _is_gate(graph, node, path)]


# -- what a node is --------------------------------------------------------------------------------------------------


def _source(graph: Graph, node: torch.fx.Node) -> torch.fx.Node | None:
    """What a rectifier rectifies; None where the operation is no rectifier in this form."""
    name, args = graph.operations[node.name], node.args
    first = args[0] if args and isinstance(args[0], torch.fx.Node) else None
    if name in ALWAYS:
        return first
    if name not in SOMETIMES:
        return None
    if name == "hardtanh":
        fits = len(args) > 1 and _zero(graph, args[1])
    elif name in ("clamp", "clamp_min"):
        lower = args[1] if len(args) > 1 else node.kwargs.get("min")
        fits = lower is not None and _zero(graph, lower)
    elif name == "threshold":
        level = args[1]
        fits = _zero(graph, args[2]) and isinstance(level, int | float) and level >= 0
    elif name == "where":
        return _switched(graph, node)
    else:  # a maximum with zero, on either side; max along an axis has a number there
        pair = [argument for argument in args[:2] if isinstance(argument, torch.fx.Node)]
        signals = [argument for argument in pair if not _zero(graph, argument)]
        return signals[0] if len(pair) == 2 and len(signals) == 1 else None
    return first if fits else None


def _switched(graph: Graph, node: torch.fx.Node) -> torch.fx.Node | None:
    """What ``where(x > 0, x, 0)`` rectifies."""
    if len(node.args) < 3:
        return None
    condition, chosen, other = node.args[:3]
    if not isinstance(condition, torch.fx.Node) or graph.operations.get(condition.name) not in ("gt", "ge"):
        return None
    same = isinstance(chosen, torch.fx.Node) and condition.args[0] is chosen
    return chosen if same and _zero(graph, condition.args[1]) and _zero(graph, other) else None  # type: ignore[return-value]


def _zero(graph: Graph, value: Any) -> bool:
    """Whether a number, a constant or a filled tensor is zero."""
    if isinstance(value, int | float):
        return float(value) == 0.0
    if not isinstance(value, torch.fx.Node):
        return False
    if value.name in graph.constants:
        constant = graph.constants[value.name]
        return isinstance(constant, torch.Tensor) and not bool(constant.any())
    name = graph.operations.get(value.name, "")
    if name in ("zeros", "zeros_like", "new_zeros"):
        return True
    if name in ("full", "full_like", "new_full"):
        return _zero(graph, value.args[-1])
    if name == "scalar_tensor":
        return _zero(graph, value.args[0])
    if name in MOVING or name in ("lift_fresh_copy", "detach"):
        return bool(value.args) and _zero(graph, value.args[0])
    return False


def _is_activation(graph: Graph, node: torch.fx.Node, path: set[str]) -> bool:
    """Whether the operation bends a signal of the image, and is no rectifier, gate or last step of the answer."""
    name = graph.operations[node.name]
    if name in _COMPARISONS:  # a switch written by hand: by what it decides, nobody can tell
        users = [user for user in node.users if graph.operations.get(user.name) is not None]
        return node.name in graph.dependent and any(_source(graph, user) is None for user in users)
    if node.name not in path:
        return False
    if name in ("hardtanh", "threshold"):
        return True
    if name in ("clamp", "clamp_min"):  # with one bound above zero it guards a division
        upper = node.args[2] if len(node.args) > 2 else node.kwargs.get("max")
        lower = node.args[1] if len(node.args) > 1 else node.kwargs.get("min")
        bends = upper is not None or not isinstance(lower, int | float) or lower < 0
        return bends and not _ends(graph, node, path)
    if name not in _OTHER or (name in _OF_AN_ANSWER and _ends(graph, node, path)):
        return False
    return not _is_gate(graph, node, path)


def _is_gate(graph: Graph, node: torch.fx.Node, path: set[str]) -> bool:
    """Whether every use of a squashed value is to weigh another signal."""
    if graph.operations[node.name] not in _SQUASHING:
        return False
    own = _reached(graph, node.all_input_nodes[0], path, MOVING | _ARITHMETIC)
    weighs = False
    for carrier, user in _uses(graph, node, path):
        others = [one for one in user.all_input_nodes if one is not carrier and one.name in path]
        if graph.operations[user.name] not in _PRODUCTS or not others:
            return False
        for other in others:
            if _root(graph, other, path).name in own:
                return False  # a swish or GELU written by hand
        weighs = True
    return weighs


def _uses(graph: Graph, node: torch.fx.Node, path: set[str]) -> Iterable[tuple[torch.fx.Node, torch.fx.Node]]:
    """(value as it arrives, operation that uses it), beyond what only moves, enlarges or scales it."""
    for user in node.users:
        if user.name not in path:
            continue
        alone = sum(one.name in path for one in user.all_input_nodes) == 1
        name = graph.operations[user.name]
        if alone and (name in MOVING or name in ENLARGING or name in _ARITHMETIC):
            yield from _uses(graph, user, path)
        else:
            yield node, user


def _reached(graph: Graph, node: torch.fx.Node, path: set[str], through: frozenset[str]) -> set[str]:
    """Names of `node` and of what it is made of by the operations `through`."""
    found, waiting = {node.name}, [node]
    while waiting:
        one = waiting.pop()
        if graph.operations.get(one.name) not in through:
            continue
        for argument in one.all_input_nodes:
            if argument.name in path and argument.name not in found:
                found.add(argument.name)
                waiting.append(argument)
    return found


def _root(graph: Graph, node: torch.fx.Node, path: set[str]) -> torch.fx.Node:
    """What `node` is a moved or scaled copy of."""
    while graph.operations.get(node.name) in MOVING | _ARITHMETIC:
        sources = [one for one in node.all_input_nodes if one.name in path]
        if len(sources) != 1:
            break
        node = sources[0]
    return node


def _ends(graph: Graph, node: torch.fx.Node, path: set[str]) -> bool:
    """Whether nothing with weights comes after it: it only turns the answer into probabilities."""
    after = graph.between(node.name, graph.output) - {node.name}
    return not any(graph.operations[name].startswith(_WEIGHTS) for name in after)


def _called(graph: Graph, node: torch.fx.Node) -> str:
    """The operation with the layer that it is in."""
    name = graph.operations[node.name]
    places = [place for place, _, _ in layers_around(node) if place]
    what = f"comparison {name}" if name in _COMPARISONS else f"activation {name}"
    return f"{what} (layer {places[-1]})" if places else what

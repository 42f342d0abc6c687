"""Attention inside a network: where it is in the graph, whose tokens it weighs, and how it is followed to the image.

Found by what the graph does, not by the names of modules: a softmax whose value goes into a matrix product, torch's own
``scaled_dot_product_attention``, and squashed maps that weigh a signal (gates). Which token is which place of the
image is found by sending the places' numbers, instead of values, through the operations that only move values: so
windows, shifts and paddings of a Swin transformer are undone exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from XAIExplainLib.compute.attention_tokens import Operands, operands_of, placed, weighs
from XAIExplainLib.compute.derivatives import BY_VALUES, DERIVATIVES
from XAIExplainLib.compute.graph import Graph, layers_around
from XAIExplainLib.compute.maps import map_layers
from XAIExplainLib.compute.rectifiers import ENLARGING, MOVING, gates
from XAIExplainLib.compute.reverse import Rule, Step, Table

_SOFTMAX = frozenset(("softmax", "_softmax"))
_TORCHS = "scaled_dot_product_attention"

# (attention, its weights (windows, heads, queries, keys), the score's gradient by them)
Seen = Callable[["Attention", torch.Tensor, torch.Tensor], None]


@dataclass(frozen=True, eq=False)
class Attention:
    """One attention.

    Parameters
    ----------
    node : str
        The graph's node: the softmax, or torch's own attention.
    layer : str
        Dotted name of the layer that it is in.
    names : tuple of str
        Of all layers around it.
    grid : tuple of int
        Of the tokens on the image, in the order of the input's axes.
    extra : int
        How many tokens precede those of the image: a class token, or none.
    queries : torch.Tensor or None
        Shape (windows, queries), int64: which token each query is, counted from 1; 0 is padding. None where the
        queries are learned and not of the image (attention pooling).
    keys : torch.Tensor
        Shape (windows, keys), as `queries`.
    """

    node: str
    layer: str
    names: tuple[str, ...]
    grid: tuple[int, ...]
    extra: int
    queries: torch.Tensor | None
    keys: torch.Tensor

    @property
    def tokens(self) -> int:
        """How many there are."""
        return math.prod(self.grid) + self.extra

    def placed(self, weights: torch.Tensor) -> torch.Tensor:
        """Weights of one sample as they come from the graph, as (windows, heads, queries, keys)."""
        windows = len(self.keys)
        weights = weights[:, None] if weights.dim() == 2 else weights
        return weights.reshape(windows, -1, *weights.shape[-2:])


@dataclass(frozen=True)
class Gate:
    """A map that weighs a signal place by place.

    Parameters
    ----------
    node, layer : str
        Its node, and the dotted name of the layer that makes it.
    names : tuple of str
        Of all layers around it.
    grid : tuple of int
        Of the map.
    """

    node: str
    layer: str
    names: tuple[str, ...]
    grid: tuple[int, ...]


def attentions(graph: Graph) -> tuple[list[Attention], list[str]]:
    """Every attention on the way from the image to the answer, in the order of execution.

    Returns
    -------
    tuple
        Those whose tokens lie on the image, and the layers of those whose tokens cannot be placed.
    """
    path = graph.between(graph.input, graph.output)
    sequences: dict[int, tuple[tuple[int, ...], int]] = {}  # by their length: grid and class tokens
    for layer in map_layers(graph):
        if layer.tokens is not None:
            sequences.setdefault(math.prod(layer.grid) + layer.tokens, (layer.grid, layer.tokens))
    found, strange = [], []
    for node in graph:
        if node.name not in path:
            continue
        name = graph.operations[node.name]
        if name == _TORCHS:
            operands: Operands = ((node.args[0], -2), (node.args[1], -2))  # type: ignore[assignment]
        elif name in _SOFTMAX and weighs(graph, node, path):
            source = node.all_input_nodes[0]
            # Without queries of the image it is attention pooling: the softmax runs over its own argument's tokens.
            operands = operands_of(graph, source) or (None, (source, -1))
        else:
            continue
        names = _names(node)
        place = placed(graph, operands, sequences)
        if place is None:
            strange.append(names[-1] if names else node.name)
        else:
            found.append(Attention(node.name, names[-1] if names else node.name, names, *place))
    return found, strange


def gate_maps(graph: Graph) -> list[Gate]:
    """Every gate with a map of more than one cell, in the order of execution."""
    path = graph.between(graph.input, graph.output)
    nodes = {node.name: node for node in graph}
    dims = len(graph.shape(graph.input, 1)) - 2
    found = []
    for name in gates(graph, path):
        node: torch.fx.Node | None = nodes[name]
        while node is not None:
            shape = graph.sample_shape(node.name)
            if shape is not None and len(shape) == dims + 1 and math.prod(shape[1:]) > 1 and _multiplied(graph, node):
                names = _names(nodes[name])
                found.append(Gate(node.name, names[-1] if names else name, names, shape[1:]))
                break
            users = [user for user in node.users if graph.operations.get(user.name) in MOVING and user.name in path]
            node = users[0] if users else None
    return found


def watching(known: list[Attention], seen: Seen) -> Table:
    """The true derivatives, on whose way back `seen` is called at each of the `known` attentions, the last one first.

    A batch must be one sample (or copies of one: the first is seen).
    """
    by_node = {attention.node: attention for attention in known}

    def softmax(step: Step, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
        weights = step.output
        attention = by_node.get(step.node.name)
        if attention is not None:
            rows = len(weights) // step.samples
            seen(attention, attention.placed(weights[:rows]), attention.placed(cotangent[:rows]))
        axis = step.argument(1, -1)
        inner = (cotangent * weights).sum(axis, keepdim=True)
        return {step.tensors()[0].name: weights * (cotangent - inner)}

    def torchs(step: Step, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
        attention = by_node.get(step.node.name)
        if attention is not None:
            rows = len(cotangent) // step.samples
            weights = _weights_of(step)
            back = cotangent @ step.argument(2).transpose(-2, -1)
            seen(attention, attention.placed(weights[:rows]), attention.placed(back[:rows]))
        return BY_VALUES.apply(step, cotangent)

    rows = {**{name: Rule(softmax, output=True) for name in _SOFTMAX}, _TORCHS: Rule(torchs, inputs=True)}
    return DERIVATIVES.with_rows("The gradient of the attention", rows)


class Rollout:
    """Carries the share of what the answer reads from the last attention down to the first.

    Kept as one number a token, which is the row of the rollout's matrix product that the answer reads: exact, and no
    matrix of all tokens by all tokens is made.

    Parameters
    ----------
    kind : str
        ``rollout`` (Abnar & Zuidema 2020, half attention and half residual), ``gradient_rollout`` (Chefer et al.
        2021, the positive part of gradient times attention, the residual left out at the end) or ``layer`` (the one
        attention that is seen).
    heads : str
        ``mean``, ``max`` or ``min`` of the heads; ``gradient_rollout`` always takes the mean.

    Attributes
    ----------
    share : torch.Tensor or None
        Shape (tokens,): what each token of the lowest attention so far has; None before the first.
    bottom : Attention or None
        That attention.
    layers : list of str
        Those that were followed, the last one first.
    read : int
        How many tokens the answer reads.
    row_error : float
        The largest difference of a row's sum from 1.
    stopped : str
        The layer whose tokens no longer divide those above it; empty where all were followed.
    """

    def __init__(self, kind: str, heads: str) -> None:
        self.kind, self.heads = kind, heads
        self.share: torch.Tensor | None = None
        self.through: torch.Tensor | None = None  # what came by the residual alone
        self.bottom: Attention | None = None
        self.layers: list[str] = []
        self.read = 0
        self.row_error = 0.0
        self.stopped = ""

    def __call__(self, attention: Attention, weights: torch.Tensor, gradient: torch.Tensor) -> None:
        """Go through one attention; weights and gradient (windows, heads, queries, keys)."""
        if self.stopped:
            return
        self.row_error = max(self.row_error, float((weights.sum(-1) - 1).abs().max()))
        first = self.share is None
        if first:
            read = gradient.abs().sum((1, 3)) > 0
            if not bool(read.any()):
                return  # the answer does not read this one
            self._start(attention, read)
        elif not self._reach(attention):
            self.stopped = attention.layer
            return
        share, through = self.share, self.through
        assert share is not None and through is not None
        if self.kind == "gradient_rollout":
            fused = (gradient * weights).clamp_min(0).mean(1)
        else:
            fused = weights.mean(1) if self.heads == "mean" else getattr(weights, f"a{self.heads}")(1)
            fused = fused / fused.sum(-1, keepdim=True).clamp_min(1e-30)
        fused = fused.double()
        if attention.queries is None:
            given = share.reshape(1, -1).expand(len(fused), -1)
        else:
            given = torch.cat([share.new_zeros(1), share])[attention.queries.to(share.device)]
        flow = torch.einsum("wq,wqk->wk", given, fused)
        carried = torch.zeros(attention.tokens + 1, dtype=torch.float64, device=share.device)
        carried.index_add_(0, attention.keys.flatten().to(share.device), flow.flatten())
        carried = carried[1:]  # what padding got is gone
        if self.kind == "layer" or attention.queries is None:
            self.share, self.through = carried, torch.zeros_like(carried)
        elif self.kind == "rollout":
            self.share = (carried + share) / 2
        else:
            self.share = share + carried
        self.bottom = attention
        self.layers.append(attention.layer)
        if self.kind == "layer":
            self.stopped = attention.layer

    def _start(self, attention: Attention, read: torch.Tensor) -> None:
        self.read = int(read.sum())
        if attention.queries is None:
            self.share = read.flatten().double() / self.read
        else:
            real = read & (attention.queries.to(read.device) > 0)
            self.read = int(real.sum())
            self.share = torch.zeros(attention.tokens, dtype=torch.float64, device=read.device)
            self.share[attention.queries.to(read.device)[real] - 1] = 1 / max(1, self.read)
        self.through = self.share.clone()

    def _reach(self, attention: Attention) -> bool:
        """Carry the shares to the tokens of a lower attention, finer ones where patches were merged between."""
        above = self.bottom
        assert above is not None and self.share is not None and self.through is not None
        if attention.queries is None or attention.extra != above.extra:
            return False
        if attention.grid == above.grid:
            return True
        if attention.extra or any(fine < coarse for fine, coarse in zip(attention.grid, above.grid, strict=True)):
            return False
        self.share = divided(self.share.reshape(above.grid), attention.grid).flatten()
        self.through = divided(self.through.reshape(above.grid), attention.grid).flatten()
        return True

    def map(self) -> torch.Tensor:
        """Shape (1, 1, *grid): what the tokens of the image have."""
        assert self.share is not None and self.through is not None and self.bottom is not None
        share = self.share - self.through if self.kind == "gradient_rollout" else self.share
        return share[self.bottom.extra :].reshape(1, 1, *self.bottom.grid)

    @property
    def kept_by_class_token(self) -> float:
        """The share that stays with the class token, or with padding."""
        assert self.share is not None
        return 1.0 - float(self.map().sum()) if self.kind != "gradient_rollout" else 0.0


def divided(shares: torch.Tensor, grid: tuple[int, ...]) -> torch.Tensor:
    """Shares of cells, each divided evenly among the finer cells of `grid` that it was merged of; the sum stays."""
    for axis, (size, fine) in enumerate(zip(shares.shape, grid, strict=True)):
        factor = -(-fine // size)
        parents = torch.arange(fine, device=shares.device) // factor
        count = parents.bincount(minlength=size).clamp_min(1)
        shape = [-1 if n == axis else 1 for n in range(shares.dim())]
        shares = shares.index_select(axis, parents) / count[parents].reshape(shape)
    return shares


def _weights_of(step: Step) -> torch.Tensor:
    """What torch's own attention multiplies its values by (its documentation, in so many words)."""
    query, key = step.argument(0), step.argument(1)
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
    mask, causal, scale = (
        step.argument(names.index(name)) if len(step.node.args) > names.index(name) else _keyword(step, name)
        for name in ("attn_mask", "is_causal", "scale")
    )
    products = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if causal:
        mask = torch.ones(products.shape[-2:], dtype=torch.bool, device=products.device).tril()
    if mask is not None:
        products = products.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else products + mask
    return products.softmax(-1)


def _keyword(step: Step, name: str) -> Any:
    value = step.node.kwargs.get(name)
    return step.values[value.name] if isinstance(value, torch.fx.Node) else value


def _names(node: torch.fx.Node) -> tuple[str, ...]:
    """Dotted names of the layers around an operation, outermost first, without the layer that is it alone."""
    alone = ("Softmax", "Sigmoid", "Hardsigmoid", "Dropout")
    return tuple(name for name, kind, _ in layers_around(node) if name and kind not in alone)


def _multiplied(graph: Graph, node: torch.fx.Node) -> bool:
    """Whether a value, enlarged or not, is a factor of a product place by place."""
    for user in node.users:
        name = graph.operations.get(user.name)
        if name == "mul" or (name in ENLARGING | {"add", "rsub", "sub"} and _multiplied(graph, user)):
            return True
    return False

"""Which token of an attention is which place of the image.

The places' numbers, instead of values, are sent through the operations that only move values, from where tokens are
counted to the queries and keys.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.compute.rectifiers import MOVING

_PRODUCTS = frozenset(("matmul", "bmm", "baddbmm", "einsum"))
# Between the product of queries and keys and the softmax, nothing changes its places.
_BIASING = frozenset(("add", "sub", "mul", "div", "masked_fill", "where", "clamp", "amax", "_safe_softmax")) | MOVING

# Queries (None where the image has none) and keys, each with its axis of tokens.
Operands = tuple[tuple[torch.fx.Node, int] | None, tuple[torch.fx.Node, int]]


def weighs(graph: Graph, node: torch.fx.Node, path: set[str]) -> bool:
    """Whether a softmax over the last axis goes into a matrix product."""
    sizes = graph.shape(node.name, 1)
    axis = node.args[1] if len(node.args) > 1 else -1
    if len(sizes) < 2 or axis not in (-1, len(sizes) - 1):
        return False
    waiting = [node]
    while waiting:
        for user in waiting.pop().users:
            name = graph.operations.get(user.name)
            if user.name not in path:
                continue
            if name in _PRODUCTS:
                return True
            if name in MOVING:
                waiting.append(user)
    return False


def operands_of(graph: Graph, node: torch.fx.Node) -> Operands | None:
    """The queries and keys whose product, moved and biased, is `node`."""
    name = graph.operations.get(node.name)
    if name in _PRODUCTS:
        if name == "einsum":
            return _by_letters(node)
        pair = node.args[1:3] if name == "baddbmm" else node.args[:2]
        return (pair[0], -2), (pair[1], -1)  # type: ignore[return-value]
    if name not in _BIASING:
        return None
    for argument in node.all_input_nodes:
        found = operands_of(graph, argument) if argument.name in graph.dependent else None
        if found is not None:
            return found
    return None


def _by_letters(node: torch.fx.Node) -> Operands | None:
    """As einsum's equation has them: the last two letters of the product are the query's and the key's."""
    equation, parts = str(node.args[0]).replace(" ", ""), node.args[1]
    given, _, result = equation.partition("->")
    letters = given.split(",")
    if "..." in equation or len(letters) != 2 or len(result) < 2 or not isinstance(parts, list | tuple):
        return None
    found = []
    for letter in result[-2:]:
        holders = [n for n in range(2) if letter in letters[n]]
        if len(holders) != 1 or not letters[holders[0]].startswith(result[0]):
            return None
        found.append((parts[holders[0]], letters[holders[0]].index(letter) - len(letters[holders[0]])))
    return tuple(found)  # type: ignore[return-value]


def placed(
    graph: Graph, operands: Operands, sequences: dict[int, tuple[tuple[int, ...], int]]
) -> tuple[tuple[int, ...], int, torch.Tensor | None, torch.Tensor] | None:
    """Grid, class tokens, and the numbers of queries and keys; None where the tokens have no place on the image."""
    query, key = operands
    keys, positions = _numbers(graph, *key)
    if keys is None or positions is None:
        return None
    queries = None
    if query is not None and query[0].name in graph.dependent:
        queries, those = _numbers(graph, *query)
        if queries is None or those != positions or len(queries) != len(keys):
            return None
    dims = len(graph.shape(graph.input, 1)) - 2
    if len(positions) == dims:
        return positions, 0, queries, keys
    if len(positions) != 1 or positions[0] not in sequences:
        return None
    return *sequences[positions[0]], queries, keys


def _numbers(graph: Graph, node: torch.fx.Node, axis: int) -> tuple[torch.Tensor | None, tuple[int, ...] | None]:
    """Which token each place along `axis` is, (windows, places) from 1, and the shape that tokens were counted in."""
    places = _Places(graph)
    value = places.of(node)
    if value is None or not isinstance(value, torch.Tensor) or len(places.sources) != 1 or value.dim() < 2:
        return None, None
    value = value.movedim(axis, -1)
    if value.dim() == 5 and len(value) == 1:
        value = value[0]
    while value.dim() > 2:  # the first axis is the windows (or heads, which are all alike), the others hold copies
        value = value.select(1, 0)
    windows = value.round().long()
    if bool((windows == windows[:1]).all()):
        windows = windows[:1]
    return windows, places.sources.pop()[1]


class _Places:
    """Runs the operations that only move values on the numbers of the places, from 1; padding is 0."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes = {node.name: node for node in graph}
        self.known: dict[str, Any] = {}
        self.sources: set[tuple[str, tuple[int, ...]]] = set()

    def of(self, node: torch.fx.Node) -> Any:
        if node.name not in self.known:
            self.known[node.name] = self._made(node)
        return self.known[node.name]

    def _made(self, node: torch.fx.Node) -> Any:
        name = self.graph.operations.get(node.name, "")
        if name in ("_to_copy", "to", "layer_norm"):
            return self.of(node.args[0])  # type: ignore[arg-type]
        if name == "linear":
            given, weight = self.of(node.args[0]), node.args[1]  # type: ignore[arg-type]
            if given is None or not isinstance(weight, torch.fx.Node):
                return None
            return given[..., :1].expand(*given.shape[:-1], self.graph.shape(weight.name, 1)[0])
        if name in MOVING:
            return self._moved(node)
        carried = [one for one in node.all_input_nodes if one.name in self.graph.dependent]
        if name in ("add", "sub", "mul", "div") and len(carried) == 1:
            shape = self.graph.shape(node.name, 1)
            if shape == self.graph.shape(carried[0].name, 1):
                return self.of(carried[0])
        return self._source(node, name)

    def _moved(self, node: torch.fx.Node) -> Any:
        values = {}
        for argument in node.all_input_nodes:
            sizes = not isinstance(argument.meta.get("val"), torch.Tensor | list | tuple)
            values[argument.name] = self._size(argument) if sizes else self.of(argument)
            if values[argument.name] is None:
                return None
        arguments = torch.fx.node.map_arg(node.args, lambda one: values[one.name])
        keywords = torch.fx.node.map_arg(node.kwargs, lambda one: values[one.name])
        return node.target(*arguments, **keywords)  # type: ignore[operator]

    def _size(self, node: torch.fx.Node) -> Any:
        """The number that a node of sizes has for one sample."""
        name = self.graph.operations.get(node.name, "")
        if name.startswith("sym_size"):
            source, axis = node.args[:2]
            return self.graph.shape(source.name, 1)[axis]  # type: ignore[union-attr, index, arg-type]
        arguments = torch.fx.node.map_arg(node.args, self._size)
        return node.target(*arguments)  # type: ignore[operator]

    def _source(self, node: torch.fx.Node, name: str) -> torch.Tensor | None:
        """The numbers where tokens are counted: (1, C, *places) after a convolution, elsewhere (1, *places, C)."""
        shape = self.graph.shape(node.name, 1)
        if len(shape) < 3 or shape[0] != 1 or node.name not in self.graph.dependent:
            return None
        first = name.startswith("conv") or node.name == self.graph.input
        places = shape[2:] if first else shape[1:-1]
        self.sources.add((node.name, places))
        numbers = torch.arange(1, math.prod(places) + 1, dtype=torch.float64)
        return numbers.reshape(1, *([1] * first), *places, *([1] * (not first))).expand(shape)

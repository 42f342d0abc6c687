"""The walk back through a graph with a table of rules, one rule an operation.

The table of true derivatives (`derivatives.DERIVATIVES`) makes the gradient; another method of the backpropagation
family is the same walk with other rows. An operation that has no row is an error with its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from XAIExplainLib.allocator import Holes
from XAIExplainLib.compute.graph import Forth, Graph, operation, resolve, saved
from XAIExplainLib.errors import XAIError

Check = Callable[[], None] | None
PLANS_KEPT = 16


@dataclass
class Step:
    """One operation on the way back.

    Parameters
    ----------
    graph : Graph
        The graph it belongs to.
    node : torch.fx.Node
        The operation.
    values : dict
        The kept values by node name, constants included.
    path : set of str
        The nodes that what is asked for depends on; only these get a cotangent.
    samples : int
        The number of samples in this run.
    owned : bool
        Whether nobody else has the cotangent, so that it may be written over.
    """

    graph: Graph
    node: torch.fx.Node
    values: Mapping[str, Any]
    path: set[str]
    samples: int
    owned: bool = False

    def tensors(self) -> list[torch.fx.Node]:
        """The arguments that get a cotangent, each once."""
        return [argument for argument in self.node.all_input_nodes if argument.name in self.path]

    def argument(self, index: int, default: Any = None) -> Any:
        """The value of a positional argument; it must be a constant or kept."""
        return resolve(self.node.args[index], self.values) if index < len(self.node.args) else default  # type: ignore[arg-type]

    def shape(self, node: torch.fx.Node) -> tuple[int, ...]:
        """The shape of another node's value in this run."""
        if node.name in self.values:
            return tuple(self.values[node.name].shape)
        return self.graph.shape(node.name, self.samples)

    @property
    def output(self) -> Any:
        """The operation's own value; it must be kept."""
        return self.values[self.node.name]

    @property
    def saved(self) -> Any:
        """What the rule's `forth` saved."""
        return self.values[saved(self.node.name)]


@dataclass(frozen=True)
class Rule:
    """How one operation hands its output's cotangent to its inputs.

    Parameters
    ----------
    apply : callable
        ``(step, cotangent) -> {argument node name: cotangent}``. For an operation with several outputs `cotangent`
        is a dict from output index to tensor.
    inputs, output : bool
        Whether the rule reads the values of the inputs, of the output; only what is read is kept in memory.
    fits : callable or None
        ``(node, path) -> bool``: whether the rule is for this form of the operation; where not, the table's
        `otherwise` is taken.
    forth : callable or None
        ``(node, values, may its input be written over) -> (value, state)``: how the operation is done on the way
        forth, with a state, smaller than values, that `apply` reads as ``step.saved``.
    share : float
        Bytes of that state for one number of the operation's value.
    fresh : bool
        Whether what `apply` gives is made by it and kept by nobody: what comes next may write over it.
    """

    apply: Callable[[Step, Any], dict[str, torch.Tensor]]
    inputs: bool = False
    output: bool = False
    fits: Callable[[torch.fx.Node, set[str]], bool] | None = None
    forth: Forth | None = None
    share: float = 0.0
    fresh: bool = False


@dataclass
class Table:
    """Rules by the operation's short name.

    Parameters
    ----------
    name : str
        For error messages.
    rules : dict
        One rule an operation.
    otherwise : Rule or None
        For operations without a row; None means that these are an error.
    """

    name: str
    rules: dict[str, Rule]
    otherwise: Rule | None = None

    def rule(self, node: torch.fx.Node, path: set[str]) -> Rule:
        """The row of an operation, on a walk over `path`.

        Raises
        ------
        XAIError
            If there is none.
        """
        rule = self.rules.get(operation(node))
        if rule is None or (rule.fits is not None and not rule.fits(node, path)):
            rule = self.otherwise
        if rule is None:
            raise XAIError(
                f"{self.name} has no rule for the operation {operation(node)} (node {node.name}).",
                "Use a method that needs only scores or gradients for this network.",
            )
        return rule

    def with_rows(self, name: str, rows: dict[str, Rule]) -> Table:
        """A table of another name in which `rows` are exchanged."""
        return Table(name, {**self.rules, **rows}, self.otherwise)


def kept_values(graph: Graph, table: Table, path: set[str], start: str) -> set[str]:
    """Names of the values that a walk over `path` will read."""
    kept: set[str] = set()
    for node in graph:
        if node.name not in path or node.name == start:
            continue
        rule = table.rule(node, path)
        if rule.inputs:
            kept.update(argument.name for argument in node.all_input_nodes if argument.name not in graph.constants)
        else:  # values beside the path (a mask made from the input's shape, a size) are small or needed
            kept.update(
                argument.name
                for argument in node.all_input_nodes
                if argument.name not in path and argument.name not in graph.constants
            )
        if rule.output:
            kept.add(node.name)
    return kept


@dataclass(frozen=True, eq=False)
class Plan:
    """What a walk back to one node needs of the way forth.

    Parameters
    ----------
    table : Table
        The rules of the walk.
    path : set of str
        Names of the nodes that it passes.
    kept : set of str
        Names of the values to keep.
    save : dict
        By node name, how an operation is done whose rule saves a state.
    shares : dict
        By node name, bytes of that state for one number of the value.
    reading : set of str
        Names of the nodes whose rule works on values, and makes others of their size.
    """

    table: Table
    path: set[str]
    kept: set[str]
    save: dict[str, Forth]
    shares: dict[str, float]
    reading: set[str]

    def forth(
        self, graph: Graph, x: torch.Tensor, check: Check = None, also: set[str] | None = None,
        known: dict[str, Any] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """What the walk reads, by a run over the graph, from the values `known` on; and the values `also`."""
        return graph.run(x, keep=self.kept | (also or set()), check=check, start=known, save=self.save)


def planned(graph: Graph, table: Table, start: str) -> Plan:
    """The plan of a walk from the answer back to `start`; the last ones are kept with the graph.

    Raises
    ------
    XAIError
        If an operation has no row.
    """
    key = start, id(table)  # a plan holds its table, so that no other one gets its identity
    if key not in graph.plans:
        graph.plans[key] = _planned(graph, table, start)
        while len(graph.plans) > PLANS_KEPT:
            graph.plans.pop(next(iter(graph.plans)))
    found: Plan = graph.plans[key]
    return found


def _planned(graph: Graph, table: Table, start: str) -> Plan:
    path = graph.between(start, graph.output)
    kept = kept_values(graph, table, path, start) | {graph.output, start}
    rules = {node.name: table.rule(node, path) for node in graph if node.name in path and node.name != start}
    save = {name: rule.forth for name, rule in rules.items() if rule.forth is not None}
    shares = {name: rules[name].share for name in save}
    return Plan(table, path, kept, save, shares, {name for name, rule in rules.items() if rule.inputs or rule.output})


def walk(
    graph: Graph, table: Table, values: Mapping[str, Any], seed: torch.Tensor, start: str, path: set[str],
    check: Check = None, visit: Callable[[str, Any], None] | None = None, end: str = "",
) -> torch.Tensor:  # fmt: skip
    """Carry `seed` from the graph's output, or from the node `end`, back to the node `start`.

    Parameters
    ----------
    graph : Graph
        The network.
    table : Table
        One rule an operation.
    values : mapping
        What `graph.run` kept, for the names `kept_values` gave.
    seed : torch.Tensor
        The cotangent of the output, of its shape.
    start : str
        The node at which to stop: the input, or a layer's output.
    path : set of str
        ``graph.between(start, graph.output)``.
    check : callable or None
        Called between operations; raises to cancel.
    visit : callable or None
        Called as ``visit(node name, cotangent)`` at every node on the way.
    end : str
        The node whose cotangent `seed` is, and to which `path` leads; empty is the output.

    Returns
    -------
    torch.Tensor
        The cotangent of `start`, of its value's shape.

    Raises
    ------
    XAIError
        If the output does not depend on `start`, or an operation has no row.
    """
    end = end or graph.output
    if start not in path or end not in path:
        raise XAIError("The answer does not depend on this layer.", "Choose a layer between the input and the output.")
    known = {**graph.constants, **values}
    cotangents: dict[str, Any] = {end: seed}
    owned: set[str] = set()  # those whose cotangent nobody else has
    holes = Holes()
    with torch.no_grad():
        for node in reversed(graph.nodes):
            if node.name == start:
                break
            cotangent = cotangents.pop(node.name, None)
            if node.name not in path or cotangent is None:
                continue
            if check is not None:
                check()
            if visit is not None:
                visit(node.name, cotangent)
            mine = node.name in owned and visit is None  # a visitor may have kept it
            step = Step(graph, node, known, path, seed.shape[0], mine)
            rule = table.rule(node, path)
            fresh = rule.fresh or (mine and operation(node) == "getitem")
            for name, given in rule.apply(step, cotangent).items():
                if fresh and name not in cotangents:
                    owned.add(name)
                elif not fresh:
                    owned.discard(name)
                _accumulate(cotangents, node, name, given)
                if not mine:  # else it may lie where the other lay
                    holes.after(given)
    if start not in cotangents:
        # Every way back passes an operation without derivative, such as argmax.
        raise XAIError(
            "No gradient reaches this layer: the way from the answer passes an operation that has none.",
            "Choose a layer nearer to the answer.",
        )
    return cotangents[start]


def _accumulate(cotangents: dict[str, Any], node: torch.fx.Node, name: str, given: torch.Tensor) -> None:
    if operation(node) == "getitem":  # the cotangent of one of several outputs
        index = node.args[1]
        slots = cotangents.setdefault(name, {})
        slots[index] = slots[index] + given if index in slots else given
    else:
        cotangents[name] = cotangents[name] + given if name in cotangents else given

"""Tables of relevance rules: layer-wise relevance propagation as a walk back through the graph.

A `RelevanceTable` gives each operation the rule that its composite and its depth ask for. What a rule does not hand on
(the share of a bias, of a stabiliser, of a softmax's constant part) is written into a `Ledger` from the rule's own
formula, so that start relevance = sum of the map + ledger is a check that can fail.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from XAIExplainLib.compute.graph import operation
from XAIExplainLib.compute.reverse import Rule, Step, Table
from XAIExplainLib.errors import XAIError

TINY = 1e-9  # of a layer's root mean square: keeps 0 / 0 away where a rule has no epsilon of its own
ABSORBERS = ("bias", "empty", "stabiliser", "softmax")
CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
PRODUCTS = ("matmul", "mm", "bmm", "addmm", "baddbmm", "einsum", "mv", "dot")
BATCH_NORMS = ("_native_batch_norm_legit_no_training", "batch_norm")


@dataclass
class Ledger:
    """What the rules of one walk have absorbed, summed over the samples, in units of relevance.

    Parameters
    ----------
    shares : dict
        By who took it: ``bias`` (biases and other constants), ``empty`` (outputs that no input contributed to, such
        as a bias alone in the air around a head), ``stabiliser`` (epsilon), ``softmax`` (its constant part).
    """

    shares: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ABSORBERS, 0.0))

    def add(self, who: str, relevance: torch.Tensor) -> None:
        """Book the sum of `relevance`."""
        self.shares[who] += float(relevance.sum())

    @property
    def total(self) -> float:
        """All that was absorbed."""
        return sum(self.shares.values())


@dataclass(frozen=True)
class Composite:
    """Which rule for which operation.

    Parameters
    ----------
    first, convolution, dense : str
        The rule of the first layers, of convolutions, and of fully connected layers and the layer that gives the
        answer: ``epsilon``, ``gamma``, ``plus``, ``alpha_beta``, ``flat``, ``square``, ``box``.
    signed : bool
        Whether sums, averages and norms share relevance by signed contributions (as gradient x input does), or by
        their size, which cannot grow.
    zero : bool
        Whether epsilon is zero whatever was asked for.
    alpha : float
        Of the alpha-beta rule; beta is one less.
    """

    first: str
    convolution: str
    dense: str = "epsilon"
    signed: bool = False
    zero: bool = False
    alpha: float = 2.0


@dataclass(frozen=True)
class Settings:
    """What the rules need to know beside the operation.

    Parameters
    ----------
    composite : Composite
        Which rule for which operation.
    epsilon : float
        The stabiliser of the epsilon rule, times the root mean square of the layer's output.
    gamma : float
        How much positive contributions are favoured by the gamma rule.
    low, high : float or None
        Bounds of the box rule; None is the darkest and brightest voxel of each sample and channel.
    absorb : bool
        Whether biases and other added constants keep their share, or hand it on to the inputs.
    """

    composite: Composite
    epsilon: float = 1e-6
    gamma: float = 0.25
    low: float | None = None
    high: float | None = None
    absorb: bool = False

    @property
    def stabiliser(self) -> float:
        """Epsilon of the epsilon rule."""
        return TINY if self.composite.zero else max(self.epsilon, TINY)


Maker = Callable[["RelevanceTable", torch.fx.Node, set[str]], Rule | None]


class RelevanceTable(Table):
    """The rules of one composite.

    A rule is chosen for a node, not for an operation's name, because it depends on the depth. The table has no state
    but the ledger of the walk under way, one a thread.

    Parameters
    ----------
    settings : Settings
        Composite and figures.
    makers : dict
        Who makes the rule of an operation, by its short name: ``(table, node, path) -> rule``, None where there is no
        rule for this form of it.
    """

    def __init__(self, settings: Settings, makers: dict[str, Maker]) -> None:
        super().__init__("Relevance propagation", {})
        self.settings, self.makers = settings, makers
        self._local = threading.local()

    @property
    def ledger(self) -> Ledger:
        """Of this thread's walk."""
        if not hasattr(self._local, "ledger"):
            self._local.ledger = Ledger()
        return self._local.ledger  # type: ignore[no-any-return]

    def new_ledger(self) -> Ledger:
        """An empty ledger for the walks to come."""
        self._local.ledger = Ledger()
        return self._local.ledger  # type: ignore[no-any-return]

    def rule(self, node: torch.fx.Node, path: set[str]) -> Rule:
        """The rule of `node` on a walk over `path`, kept for the next walk over the same graph.

        Raises
        ------
        XAIError
            If there is none for its operation, or for this form of it.
        """
        rules = self._rules(node.graph, path)
        if node not in rules:
            rules[node] = self._made(node, path)
        return rules[node]

    def _rules(self, graph: torch.fx.Graph, path: set[str]) -> dict[torch.fx.Node, Rule]:
        """What this thread knows of the last path."""
        last: tuple[torch.fx.Graph, set[str], dict[torch.fx.Node, Rule]] | None = getattr(self._local, "last", None)
        if last is None or last[0] is not graph or (last[1] is not path and last[1] != path):
            last = graph, path, {}
        elif last[1] is path:
            return last[2]
        self._local.last = graph, path, last[2]
        return last[2]

    def _made(self, node: torch.fx.Node, path: set[str]) -> Rule:
        name = operation(node)
        maker = self.makers.get(name)
        rule = maker(self, node, path) if maker is not None else None
        if rule is None:
            raise XAIError(
                f"Relevance propagation has no rule for the operation {name} (node {node.name}).",
                "Use integrated_gradients, or another method that needs only scores or gradients, for this network.",
            )
        return rule


def arguments_on(node: torch.fx.Node, path: set[str]) -> list[torch.fx.Node]:
    """The arguments that get relevance, each once."""
    return [argument for argument in node.all_input_nodes if argument.name in path]


def weighted(node: torch.fx.Node, path: set[str]) -> bool:
    """Whether the operation is a layer with weights, linear in one argument on the path."""
    name = operation(node)
    if name not in (*CONVOLUTIONS, "linear", *PRODUCTS):
        return False
    return len(arguments_on(node, path)) == 1


def is_first(node: torch.fx.Node, path: set[str]) -> bool:
    """Whether no layer with weights lies between the walk's end and `node`."""
    return not _reaches(arguments_on(node, path), path, lambda other: arguments_on(other, path))


def is_last(node: torch.fx.Node, path: set[str]) -> bool:
    """Whether no layer with weights lies between `node` and the answer."""
    return not _reaches(list(node.users), path, lambda other: list(other.users))


def _reaches(
    nodes: list[torch.fx.Node], path: set[str], following: Callable[[torch.fx.Node], list[torch.fx.Node]]
) -> bool:
    """Whether the way on from `nodes` meets a layer with weights."""
    seen: set[str] = set()
    waiting = [node for node in nodes if node.name in path]
    while waiting:
        node = waiting.pop()
        if node.name in seen:
            continue
        seen.add(node.name)
        if node.op == "call_function" and weighted(node, path):
            return True
        waiting.extend(other for other in following(node) if other.name in path)
    return False


def divided(
    relevance: torch.Tensor, z: torch.Tensor, epsilon: float, ledger: Ledger, positive: bool = False
) -> torch.Tensor:
    """``relevance / (z + e)``, e of the sign of z (plus for zero); the share of e goes into the ledger.

    Parameters
    ----------
    relevance, z : torch.Tensor
        Of one shape; the first axis is the sample's, or parts of one sample.
    epsilon : float
        The size of e, of the root mean square of each row of `z`. `TINY` takes something only where z is zero: from
        an output that nothing contributed to.
    ledger : Ledger
        For ``sum(relevance e / (z + e))``.
    positive : bool
        That no number of `z` is negative, and that it may be overwritten: on a large map each pass over it counts.
    """
    rows = z.reshape(z.shape[0], -1) if z.dim() else z.reshape(1, 1)
    size = torch.linalg.vector_norm(rows, dim=1, keepdim=True) / max(rows.shape[1], 1) ** 0.5 * epsilon
    size = size.clamp_min(torch.finfo(z.dtype).tiny ** 0.75)
    quotient = rows.add_(size) if positive else torch.copysign(size, rows).add_(rows)
    torch.div(relevance.reshape(rows.shape), quotient, out=quotient)
    taken = quotient.sum(1) if positive else torch.linalg.vecdot(quotient, torch.copysign(rows.new_ones(()), rows))
    ledger.add("empty" if epsilon == TINY else "stabiliser", taken * size[:, 0])
    return quotient.reshape(z.shape)


def unbroadcast(relevance: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Sum over the axes along which an argument of `shape` was broadcast."""
    return relevance if tuple(relevance.shape) == tuple(shape) else relevance.sum_to_size(shape)


def only(step: Step) -> torch.fx.Node:
    """The one argument on the path."""
    return step.tensors()[0]


def value_of(step: Step, argument: Any) -> Any:
    """An argument's value: that of a node, or the number itself."""
    return step.values[argument.name] if isinstance(argument, torch.fx.Node) else argument

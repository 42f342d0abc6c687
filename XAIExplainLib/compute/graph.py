"""A network seen as a graph of ATen operations, each knowing the dotted name of the layer it came from.

Peers hook modules, and so miss functional activations, activations used twice, in-place operations, residual adds
and concatenations. The graph has them all: it is what `torch.export` makes of the network, functionalised, so that
no operation overwrites its input.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from XAIExplainLib.allocator import Holes
from XAIExplainLib.compute.exported import Parts, first_line, parts_of
from XAIExplainLib.compute.fast import FAST, FRESH
from XAIExplainLib.errors import XAIError

Forth = Callable[[torch.fx.Node, dict[str, Any], bool], tuple[Any, Any]]
MAXIMUM_BATCH = 1 << 16
_BATCH_STATISTICS = ("_native_batch_norm_legit_functional", "_native_batch_norm_legit")


@dataclass(frozen=True)
class Layer:
    """A layer by its dotted name, with the node that is its output.

    Parameters
    ----------
    name, type : str
        ``layer4.1.conv2`` and ``Conv3d``.
    shape : tuple of int
        Of the output for one sample, without the batch axis.
    node : str
        The graph's name of the output.
    calls : int
        How many times the network calls the layer; `node` belongs to the last call.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    node: str
    calls: int


class Graph:
    """The operations of a network in the order of their execution.

    Parameters
    ----------
    program : torch.export.ExportedProgram
        Of a network in eval mode, with one input tensor.
    output : int, str or None
        Which element of a tuple, list or dict of outputs is the answer; None is the first.
    shape : tuple of int or None
        (C, *spatial) of the images to come, where the program leaves them open.

    Raises
    ------
    XAIError
        If the program has several inputs, was exported in training mode, or for images of another size.
    """

    def __init__(
        self, program: torch.export.ExportedProgram, output: int | str | None = None, shape: tuple[int, ...] = ()
    ) -> None:
        self._take(parts_of(program, output, shape))

    @classmethod
    def of(cls, parts: Parts) -> Graph:
        """The graph of an exported program that was taken apart."""
        graph = cls.__new__(cls)
        graph._take(parts)
        return graph

    def _take(self, parts: Parts) -> None:
        self.input, self.output, self.nodes = parts.input, parts.output, parts.nodes
        self.constants, self.homes = parts.constants, parts.homes
        self.kinds, self.sizes = parts.kinds, parts.sizes
        batch = self.sizes[self.input][0]
        self.static_batch = batch if isinstance(batch, int) else None
        self.operations = {node.name: operation(node) for node in self.nodes}
        self.dependent = _dependent(self.nodes, self.input)
        self._last_use = self._last_uses()
        self._overwritable = self._overwritable_ones()
        self.plans: dict[tuple[str, int], Any] = {}  # of walks back: `reverse.planned`
        self._shapes: dict[tuple[str, int], tuple[int, ...]] = {}
        self._layers: tuple[Layer, ...] | None = None
        _refuse_training_mode(self.nodes)

    def __iter__(self) -> Iterator[torch.fx.Node]:
        return iter(self.nodes)

    def shape(self, name: str, samples: int) -> tuple[int, ...]:
        """The shape of a node's value in a run of so many samples; () for a value that is no tensor."""
        key = name, samples
        if key not in self._shapes:
            self._shapes[key] = tuple(
                size if isinstance(size, int) else size.of(samples) for size in self.sizes[name]
            )  # fmt: skip
        return self._shapes[key]

    def sample_shape(self, name: str) -> tuple[int, ...] | None:
        """The shape without the batch axis, or None where the first axis is not the batch."""
        sizes = self.sizes[name]
        return self.shape(name, 1)[1:] if len(sizes) > 1 and sizes[0] == self.sizes[self.input][0] else None

    @property
    def dtype(self) -> torch.dtype:
        """Of the floating-point constants."""
        for value in self.constants.values():
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                return value.dtype
        return torch.float32

    def to(self, *arguments: Any, **keywords: Any) -> Graph:
        """Move the constants in place, as `torch.nn.Module.to`: integers keep their type, complex their kind."""
        device, dtype, _, _ = torch._C._nn._parse_to(*arguments, **keywords)
        for name, value in self.constants.items():
            if isinstance(value, torch.Tensor):
                self.constants[name] = value.to(device, dtype if value.is_floating_point() else None)
        return self

    def run(
        self,
        x: torch.Tensor,
        keep: Iterable[str] | None = None,
        stop: str | None = None,
        check: Callable[[], None] | None = None,
        start: dict[str, Any] | None = None,
        save: Mapping[str, Forth] | None = None,
    ) -> dict[str, Any]:
        """Execute the graph and return the kept values by node name.

        Parameters
        ----------
        x : torch.Tensor
            Shape (N, C, *spatial), of the size the graph was exported for; N may vary unless `static_batch`.
        keep : iterable of str or None
            Names of the nodes whose values are wanted; None keeps the output alone. Everything else is freed after
            its last use.
        stop : str or None
            Do not go on after this node.
        check : callable or None
            Called between operations; raises to cancel.
        start : dict or None
            Values known already; their nodes are not computed again, nor those that only they need.
        save : mapping or None
            By node name, ``(node, values, may its input be written over) -> (value, state)``: another way to do the
            operation, which also gives a state to be kept, by the name `saved` gives it.
        """
        wanted = {self.output} if keep is None else set(keep)
        values: dict[str, Any] = {**self.constants, self.input: x, **(start or {})}
        needed = self._needed(wanted | set(save or ()) | ({stop} if stop else set()), values)
        kept = {name: values[name] for name in wanted if name in values}
        held = wanted | kept.keys() | (start or {}).keys()
        holes = Holes()
        with torch.no_grad():
            for node in self.nodes:
                if node.name not in needed:
                    continue
                if check is not None:
                    check()
                source = self._overwritable.get(node.name)
                over = source is not None and source not in held
                if save is not None and node.name in save:
                    values[node.name], kept[saved(node.name)] = save[node.name](node, values, over)
                elif over:
                    values[node.name] = torch.relu_(values[source])  # type: ignore[index]
                else:
                    values[node.name] = call(node, values)
                if node.name in wanted:
                    kept[node.name] = values[node.name]
                for name in self._last_use.get(node.name, ()):
                    values.pop(name, None)
                if not over:  # else it lies where its input lay
                    holes.after(values.get(node.name))
                if node.name == stop:
                    break
        return kept

    def forward(self, x: torch.Tensor, check: Callable[[], None] | None = None) -> torch.Tensor:
        """The network's answer, shape (N, ...)."""
        return self.run(x, check=check)[self.output]

    def overwrites(self, name: str, kept: set[str]) -> str | None:
        """The name of the value that the operation writes its own over, where it does and that is not kept."""
        source = self._overwritable.get(name)
        return None if source is None or source in kept else source

    def freed_after(self, node: str) -> list[str]:
        """Names of the values that no operation reads after `node`."""
        return self._last_use.get(node, [])

    def between(self, start: str, end: str) -> set[str]:
        """Names of the nodes that carry numbers from `start` to `end`, both included; sizes and indices do not."""
        downstream = _dependent([node for node in self.nodes if _carries_numbers(node)], start)
        upstream = {end}
        for node in reversed(self.nodes):
            if node.name in upstream and _carries_numbers(node):
                upstream.update(argument.name for argument in node.all_input_nodes)
        return downstream & upstream

    def layers(self) -> list[Layer]:
        """Every layer whose output the answer depends on, in the order of execution; found once."""
        if self._layers is None:
            self._layers = tuple(self._found_layers())
        return list(self._layers)

    def _found_layers(self) -> list[Layer]:
        upstream = self._needed({self.output}, {}) | {self.output}
        found: dict[str, Layer] = {}
        calls: dict[str, set[str]] = {}
        for node in self.nodes:
            shape = self.sample_shape(node.name)
            if node.name not in upstream or node.name not in self.dependent or shape is None:
                continue
            for name, kind, call_name in layers_around(node):
                if name:
                    calls.setdefault(name, set()).add(call_name)
                    found.pop(name, None)  # so that the order is that of the outputs
                    found[name] = Layer(name, kind, shape, node.name, len(calls[name]))
        return list(found.values())

    def layer(self, name: str) -> Layer:
        """The layer called `name`.

        Raises
        ------
        XAIError
            If the answer does not depend on a layer of that name.
        """
        layers = {layer.name: layer for layer in self.layers()}
        if name not in layers:
            near = [known for known in layers if name.lower() in known.lower()] or list(layers)[-8:]
            raise XAIError(
                f"The network has no layer called {name} on the way to its answer.",
                f"Layers are named with dots; some are: {', '.join(near[:8])}.",
            )
        return layers[name]

    def _needed(self, ends: set[str], known: dict[str, Any]) -> set[str]:
        needed = {name for name in ends if name not in known}
        for node in reversed(self.nodes):
            if node.name in needed:
                needed.update(argument.name for argument in node.all_input_nodes if argument.name not in known)
        return needed

    def _overwritable_ones(self) -> dict[str, str]:
        """By rectifier: its input, where nothing else reads that or looks at its memory."""
        found = {}
        for node in self.nodes:
            if self.operations[node.name] != "relu":
                continue
            source = node.all_input_nodes[0]
            maker = source
            if self.operations.get(source.name) == "getitem":
                maker = source.all_input_nodes[0]
            alone = len(source.users) == 1 and source.name != self.output
            if alone and self.operations.get(maker.name) in FRESH and source.name != self.input:
                found[node.name] = source.name
        return found

    def _last_uses(self) -> dict[str, list[str]]:
        last: dict[str, str] = {}
        for node in self.nodes:
            for argument in node.all_input_nodes:
                last[argument.name] = node.name
        uses: dict[str, list[str]] = {}
        for name, user in last.items():
            if name not in self.constants:
                uses.setdefault(user, []).append(name)
        return uses


def export(network: torch.nn.Module, x: torch.Tensor, output: int | str | None = None) -> Graph:
    """The graph of `network` for inputs of the size of `x`, with any number of samples where the network allows it.

    Parameters
    ----------
    network : torch.nn.Module
        In eval mode.
    x : torch.Tensor
        One input, shape (N, C, *spatial).
    output : int, str or None
        Which element of a tuple, list or dict of outputs is the answer; None is the first.

    Raises
    ------
    XAIError
        If `torch.export` cannot see through the network; the message carries its reason.
    """
    batch = torch.export.Dim("batch", min=1, max=MAXIMUM_BATCH)
    # Two samples, since torch.export takes a batch of one for a constant. An expanded tensor costs no memory.
    two = x[:1].expand(2, *x.shape[1:])
    try:
        program = torch.export.export(network, (two,), dynamic_shapes=({0: batch},), strict=False)
    except Exception:  # noqa: BLE001 - whatever export dislikes about a free batch, one sample may still go
        try:
            program = torch.export.export(network, (x[:1],), strict=False)
        except Exception as error:  # noqa: BLE001 - torch.export raises many kinds; each means the same here
            raise XAIError(
                f"torch.export cannot turn this network into a graph: {first_line(error)}",
                "Methods that need only scores (occlusion) or gradients (gradient, integrated_gradients) still work.",
            ) from error
    return Graph(program, output)


def resolve(argument: Any, values: dict[str, Any]) -> Any:
    """`argument` of a node with every node in it replaced by its value."""
    return torch.fx.node.map_arg(argument, lambda node: values[node.name])


def call(node: torch.fx.Node, values: dict[str, Any]) -> Any:
    """Execute one node."""
    name = operation(node)
    if name in FAST:
        made = FAST[name](node, name, values)
        if made is not None:
            return made
    return node.target(*resolve(node.args, values), **resolve(node.kwargs, values))  # type: ignore[operator]


def saved(name: str) -> str:
    """By what name the state is kept that a node's rule saved on the way forth."""
    return f"{name}.saved"


def operation(node: torch.fx.Node) -> str:
    """The operation's short name, without overload: ``conv3d``, ``relu``, ``getitem``."""
    if "operation" not in node.meta:
        node.meta["operation"] = _operation(node)
    return node.meta["operation"]  # type: ignore[no-any-return]


def _operation(node: torch.fx.Node) -> str:
    if node.target is operator.getitem:
        return "getitem"
    name = getattr(node.target, "_schema", None)
    return name.name.split("::")[-1] if name is not None else getattr(node.target, "__name__", str(node.target))


def _carries_numbers(node: torch.fx.Node) -> bool:
    """Whether the value is a tensor of real or complex numbers, or several values of which one may be."""
    value = node.meta.get("val")
    return not isinstance(value, torch.Tensor | torch.SymInt | int | bool) or (
        isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex())
    )


def _dependent(nodes: list[torch.fx.Node], start: str) -> set[str]:
    names = {start}
    for node in nodes:
        if any(argument.name in names for argument in node.all_input_nodes):
            names.add(node.name)
    return names


def layers_around(node: torch.fx.Node) -> list[tuple[str, str, str]]:
    """The layers around a node, outermost first: dotted name, type, and name of the call."""
    stack = node.meta.get("nn_module_stack") or {}
    found = []
    for key, value in stack.items():
        if not isinstance(value, tuple):
            continue
        path, kind = value
        # A second call of the same layer carries "@1"; strict export writes L['self'].layer.
        name = re.sub(r"@\d+", "", re.sub(r"^L\['self'\]\.?", "", str(path)))
        kind = kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
        found.append((name, kind.split(".")[-1], f"{key}|{path}"))
    return found


def _refuse_training_mode(nodes: list[torch.fx.Node]) -> None:
    for node in nodes:
        name = operation(node)
        if _draws(node) or (name == "batch_norm" and bool(node.args[5])) or name in _BATCH_STATISTICS:
            raise XAIError(
                "The network drops units or normalises over the batch, as in training, so its answers are no fixed "
                "function of the image.",
                "Call network.eval() before the export, and keep running statistics in its batch norms.",
            )


def _draws(node: torch.fx.Node) -> bool:
    """Whether the operation draws random numbers; one that may, such as dropout, has an argument that says so."""
    if torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ()):
        return False
    for index, argument in enumerate(node.target._schema.arguments):  # type: ignore[union-attr]
        if argument.name in ("train", "training", "dropout_p"):
            named = node.kwargs.get(argument.name, argument.default_value)
            return bool(node.args[index] if index < len(node.args) else named)
    return True

"""A graph as JSON and back: names of operations, their arguments and sizes, and what the network calls its constants.

A file is data, never code: operations are looked up among torch's own by name, those that touch files or overwrite
their input are refused, and an operation can only read what stands before it. The weights stay with the network.
"""

from __future__ import annotations

import base64
import binascii
import math
import operator
import re
from collections.abc import Callable
from typing import Any

import torch

from XAIExplainLib.compute.exported import ONE_EACH, Count, Parts, Size, in_samples
from XAIExplainLib.compute.graph import Graph

FORMAT = 1
INLINE = 1 << 20  # bytes of constants that are no parameter and no buffer
_SAMPLES = 2  # of the tensors that stand for values, as in an export
_LARGEST = 1 << 31
_MOST = 1 << 40  # numbers in a value
_END = (1 << 63) - 1  # how a slice says "to the end"
_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_ATEN = re.compile(r"aten\.([A-Za-z_0-9]+)\.([A-Za-z_0-9]+)")
_WORD = re.compile(r"[A-Za-z_0-9,.> -]{0,64}")
_PLAIN = {
    name: getattr(operator, name) for name in ("getitem", "add", "sub", "mul", "floordiv", "truediv", "mod", "neg")
}  # fmt: skip
_FILES = frozenset({"filename", "message", "api_name"})  # arguments of operations that do more than compute


class NotStored(Exception):  # noqa: N818 - no error for anybody: the graph is then exported
    """The graph has something that the file has no words for, or the file something that we do not take."""


# -- out ---------------------------------------------------------------------------------------------------------------


def encode(graph: Graph, network: torch.nn.Module) -> dict[str, Any]:
    """The graph of `network`, as it was exported, in JSON-ready values.

    Raises
    ------
    NotStored
        If it has a size that does not grow with the samples in a straight line, an operation that is not ATen's, or
        constants above `INLINE` that the network does not hold under a name.
    """
    if not graph.nodes:
        raise NotStored("no operations")
    held = _held(network)
    places: dict[torch.fx.Node, int] = {}
    given = [node for node in graph.nodes[0].graph.nodes if node.op != "output"]
    symbol = _expression(next(node for node in given if node.name == graph.input).meta["val"].shape[0])
    stacks: dict[tuple[tuple[str, str, str], ...], int] = {}
    nodes: list[dict[str, Any]] = []
    left = INLINE
    for node in given:
        entry: dict[str, Any] = {"name": node.name}
        entry["value"] = _value(node.meta.get("val"), symbol)
        if node.op == "placeholder":
            if node.name != graph.input and node.name in graph.constants:
                home, tensor = graph.homes[node.name], graph.constants[node.name]
                if home in held:
                    if not _same(held[home], tensor):
                        raise NotStored("a weight that is not the network's")
                    entry["constant"] = home
                else:
                    entry["constant"] = _inline(tensor, left)
                    left -= tensor.nbytes
        elif node.op == "call_function":
            entry["target"] = _called(node.target)
            entry["args"] = [_argument(one, places) for one in node.args]
            entry["kwargs"] = {name: _argument(one, places) for name, one in node.kwargs.items()}
            entry["stack"] = stacks.setdefault(_stack(node), len(stacks))
        else:
            raise NotStored(node.op)
        places[node] = len(nodes)
        nodes.append(entry)
    ends = next(node for node in graph.nodes[0].graph.nodes if node.op == "output").all_input_nodes
    return {
        "format": FORMAT, "input": graph.input, "output": graph.output, "nodes": nodes,
        "ends": [places[node] for node in ends],
        "stacks": [list(map(list, stack)) for stack in stacks],
    }  # fmt: skip


def _held(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {
        **dict(network.named_parameters(remove_duplicate=False)), **dict(network.named_buffers(remove_duplicate=False))
    }  # fmt: skip


def _same(held: torch.Tensor, tensor: torch.Tensor) -> bool:
    return held.shape == tensor.shape and held.dtype == tensor.dtype and held.data_ptr() == tensor.data_ptr()


def _inline(tensor: Any, left: int) -> dict[str, Any]:
    if not isinstance(tensor, torch.Tensor) or tensor.nbytes > left:
        raise NotStored("a large constant")
    numbers = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return {"bytes": base64.b64encode(numbers).decode("ascii")}


def _expression(size: Any) -> Any:
    return size if isinstance(size, int) else size.node.expr


def _size(size: Any, symbol: Any) -> int | list[int]:
    found = _expression(size)
    found = found if isinstance(found, int) else int(found) if found.is_number else in_samples(found, symbol)
    if isinstance(found, Count):
        return [found.fixed, found.each]
    if not isinstance(found, int):
        raise NotStored(f"the size {size}")
    return found


def _value(value: Any, symbol: Any) -> Any:
    if value is None or isinstance(value, bool | float):
        return None
    if isinstance(value, torch.Tensor):
        return {"dtype": _named(value.dtype), "sizes": [_size(size, symbol) for size in value.shape]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_value(one, symbol) for one in value]}
    if isinstance(value, int | torch.SymInt):
        return {"size": _size(value, symbol)}
    raise NotStored(type(value).__name__)


def _named(kind: Any) -> str:
    return str(kind).removeprefix("torch.")


def _called(target: Any) -> str:
    for name, function in _PLAIN.items():
        if target is function:
            return name
    name = str(target)
    if isinstance(target, torch._ops.OpOverload) and _target(name) is target:
        return name
    raise NotStored(name)


def _stack(node: torch.fx.Node) -> tuple[tuple[str, str, str], ...]:
    stack = node.meta.get("nn_module_stack") or {}
    return tuple(
        (str(key), str(value[0]), value[1] if isinstance(value[1], str) else getattr(value[1], "__name__", ""))
        for key, value in stack.items() if isinstance(value, tuple)
    )  # fmt: skip


def _argument(argument: Any, places: dict[torch.fx.Node, int]) -> Any:
    if argument is None or isinstance(argument, bool):
        return argument
    if isinstance(argument, torch.fx.Node):
        return {"node": places[argument]}
    if isinstance(argument, int):
        return _integer(argument)
    if isinstance(argument, float):
        return argument if math.isfinite(argument) else {"float": str(argument)}
    if isinstance(argument, str):
        return _word(argument)
    if isinstance(argument, list):
        return [_argument(one, places) for one in argument]
    if isinstance(argument, tuple):
        return {"tuple": [_argument(one, places) for one in argument]}
    for kind in (torch.dtype, torch.memory_format, torch.layout):
        if isinstance(argument, kind):
            return {kind.__name__: _named(argument)}
    if isinstance(argument, torch.device):
        return {"device": str(argument)}
    raise NotStored(f"an argument of type {type(argument).__name__}")


# -- in ----------------------------------------------------------------------------------------------------------------


def decode(data: Any, network: torch.nn.Module) -> Graph:
    """The graph of `network` from what `encode` made; everything in it is checked.

    Raises
    ------
    NotStored
        If anything in it is not as `encode` writes it, or does not fit the network.
    """
    try:
        return _decoded(data, network)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a file, the graph can be exported instead
        raise NotStored(f"{type(error).__name__}: {error}") from error


def _decoded(data: dict[str, Any], network: torch.nn.Module) -> Graph:
    _need(data["format"] == FORMAT, "another format")
    held = _held(network)
    stacks = [_stack_of(stack) for stack in data["stacks"]]
    drawn = torch.fx.Graph()
    nodes: list[torch.fx.Node] = []
    constants: dict[str, Any] = {}
    homes: dict[str, str] = {}
    sizes: dict[str, tuple[Size, ...]] = {}
    for entry in data["nodes"]:
        name = entry["name"]
        _need(isinstance(name, str) and _NAME.fullmatch(name) is not None, "a name")
        if "target" in entry:
            target = _target(entry["target"])
            args = tuple(_argument_of(one, nodes) for one in entry["args"])
            kwargs = {str(key): _argument_of(one, nodes) for key, one in entry["kwargs"].items()}
            _check_call(target, args, kwargs)
            node = drawn.create_node("call_function", target, args, kwargs, name)
            node.meta["nn_module_stack"] = stacks[_index(entry["stack"], len(stacks))]
        else:
            node = drawn.create_node("placeholder", name, (), {}, name)
        _need(name not in sizes, "a name twice")
        node.name = name  # torch would call "input" something else
        node.meta["val"] = _value_of(entry["value"])
        value = entry["value"] or {}
        sizes[name] = tuple(_size_of(size) for size in value.get("sizes", ()))
        if "constant" in entry:
            _need(node.op == "placeholder" and name != data["input"], "a constant")
            constants[name] = _constant(entry["constant"], entry["value"], held)
            homes[name] = entry["constant"] if isinstance(entry["constant"], str) else name
        nodes.append(node)
    drawn.output(tuple(nodes[_index(place, len(nodes))] for place in data["ends"]))
    calls = [node for node in nodes if node.op == "call_function"]
    source = {node.name: node for node in nodes if node.op == "placeholder"}
    for node in calls:
        for read in node.all_input_nodes:
            known = read.op == "call_function" or read.name == data["input"] or read.name in constants
            _need(known, "a value that nobody gives")
    _need(data["input"] in source and len(sizes[data["input"]]) > 2, "no image")
    _need(data["output"] in {node.name for node in nodes}, "no answer")
    batch = sizes[data["input"]][0]
    _need(batch == ONE_EACH or isinstance(batch, int), "no batch")
    kinds = {node.name: node.meta["val"].dtype for node in nodes if isinstance(node.meta["val"], torch.Tensor)}
    return Graph.of(Parts(data["input"], data["output"], calls, constants, homes, sizes, kinds))


def _need(true: bool, what: str) -> None:
    if not true:
        raise NotStored(what)


def _index(number: Any, end: int) -> int:
    _need(type(number) is int and 0 <= number < end, "a place")
    return int(number)


def _integer(number: Any) -> int:
    _need(type(number) is int and (abs(number) <= _LARGEST or number == _END), "a number")
    return int(number)


def _word(text: Any) -> str:
    _need(isinstance(text, str) and _WORD.fullmatch(text) is not None, "a word")
    return str(text)


def _stack_of(stack: Any) -> dict[str, tuple[str, str]]:
    _need(all(isinstance(part, str) for call in stack for part in call), "a layer")
    return {key: (path, kind) for key, path, kind in stack}


def _target(name: str) -> Callable[..., Any]:
    """The operation of that name: one that only computes."""
    if name in _PLAIN:
        return _PLAIN[name]  # type: ignore[no-any-return]
    found = _ATEN.fullmatch(name)
    _need(found is not None, "an operation")
    target = getattr(getattr(torch.ops.aten, found[1], None), found[2], None)  # type: ignore[index]
    _need(isinstance(target, torch._ops.OpOverload), "an operation")
    schema = target._schema  # type: ignore[union-attr]
    _need(not schema.is_mutable and schema.name == f"aten::{found[1]}", "an operation")  # type: ignore[index]
    _need(bool(schema.returns) or found[1].startswith("_assert"), "an operation")  # type: ignore[index]
    _need(all(argument.name not in _FILES for argument in schema.arguments), "an operation")
    return target  # type: ignore[return-value]


def _check_call(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """That the operation takes so many arguments, of these names."""
    if not isinstance(target, torch._ops.OpOverload):
        _need(not kwargs and len(args) == (1 if target is operator.neg else 2), "the arguments")
        return
    known = target._schema.arguments
    places = [argument.name for argument in known if not argument.kwarg_only]
    _need(len(args) <= len(places) and kwargs.keys() <= {argument.name for argument in known}, "the arguments")
    given = {*places[: len(args)], *kwargs}
    _need(len(given) == len(args) + len(kwargs), "an argument twice")
    _need(all(one.name in given or one.has_default_value() for one in known), "an argument missing")


def _argument_of(data: Any, nodes: list[torch.fx.Node]) -> Any:
    if data is None or isinstance(data, bool):
        return data
    if isinstance(data, int):
        return _integer(data)
    if isinstance(data, float):
        _need(math.isfinite(data), "a number")
        return data
    if isinstance(data, str):
        return _word(data)
    if isinstance(data, list):
        return [_argument_of(one, nodes) for one in data]
    ((kind, value),) = data.items()
    if kind == "node":
        return nodes[_index(value, len(nodes))]
    if kind == "tuple":
        return tuple(_argument_of(one, nodes) for one in value)
    if kind == "float":
        _need(value in ("inf", "-inf", "nan"), "a number")
        return float(value)
    if kind == "device":
        return torch.device(value)
    return _torch(value, {"dtype": torch.dtype, "memory_format": torch.memory_format, "layout": torch.layout}[kind])


def _torch(name: Any, kind: type) -> Any:
    found = getattr(torch, _word(name), None)
    _need(isinstance(found, kind), "a kind")
    return found


def _size_of(data: Any) -> Size:
    if isinstance(data, list):
        fixed, each = map(_integer, data)
        return Count(fixed, each)
    return _integer(data)


def _value_of(data: Any) -> Any:
    """What stands for a value: a tensor without numbers, or a size for two samples."""
    if data is None:
        return None
    if "dtype" in data:
        shape = [size if isinstance(size, int) else size.of(_SAMPLES) for size in map(_size_of, data["sizes"])]
        _need(all(size >= 0 for size in shape) and math.prod(shape) <= _MOST, "a size")
        return torch.empty(shape, dtype=_torch(data["dtype"], torch.dtype), device="meta")
    if "size" in data:
        size = _size_of(data["size"])
        return size if isinstance(size, int) else size.of(_SAMPLES)
    ((kind, members),) = data.items()
    return {"list": list, "tuple": tuple}[kind](_value_of(one) for one in members)


def _constant(data: Any, value: Any, held: dict[str, torch.Tensor]) -> torch.Tensor:
    """The network's own tensor of that name, or the numbers in the file."""
    like = _value_of(value)
    if isinstance(data, str):
        tensor = held[data].detach()
    else:
        _need(like.nbytes <= INLINE, "a large constant")
        try:
            numbers = bytearray(base64.b64decode(data["bytes"], validate=True))
        except binascii.Error as error:
            raise NotStored("the bytes") from error
        _need(len(numbers) == like.nbytes, "the bytes")
        tensor = torch.frombuffer(numbers, dtype=like.dtype) if numbers else torch.empty(0, dtype=like.dtype)
        tensor = tensor.reshape(like.shape)
    _need(tensor.shape == like.shape and tensor.dtype == like.dtype, "the constant")
    return tensor

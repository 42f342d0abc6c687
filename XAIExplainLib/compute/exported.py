"""What an exported program says: its constants, its answer, and the sizes of its values."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from XAIExplainLib.errors import XAIError


@dataclass(frozen=True)
class Count:
    """A size that grows with the number of samples N: ``fixed + each * N``."""

    fixed: int
    each: int

    def of(self, samples: int) -> int:
        """The size for so many samples."""
        return self.fixed + self.each * samples


@dataclass(frozen=True)
class Grown:
    """A size that depends on the number of samples (`batch`, a symbol) in another way."""

    expression: Any
    batch: Any

    def of(self, samples: int) -> int:
        """The size for so many samples."""
        return int(self.expression.subs(self.batch, samples))


Size = int | Count | Grown
ONE_EACH = Count(0, 1)  # the batch axis


@dataclass
class Parts:
    """What a graph is made of.

    Parameters
    ----------
    input, output : str
        Names of the node that is the image, and of the one that is the answer.
    nodes : list of torch.fx.Node
        The operations in their order.
    constants : dict
        Parameters, buffers and other constant tensors by the node's name.
    homes : dict
        By the node's name: how the network calls the constant.
    sizes : dict
        By the node's name: the sizes of the axes; () for a value that is no tensor.
    kinds : dict
        By the node's name: the type of the tensor's numbers.
    """

    input: str
    output: str
    nodes: list[torch.fx.Node]
    constants: dict[str, Any]
    homes: dict[str, str]
    sizes: dict[str, tuple[Size, ...]]
    kinds: dict[str, torch.dtype]


def parts_of(
    program: torch.export.ExportedProgram, output: int | str | None = None, shape: tuple[int, ...] = ()
) -> Parts:
    """Take an exported program apart; the arguments and errors are those of `Graph`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch copies its own trees by a deprecated name
            program = program.run_decompositions({})
    except Exception as error:  # noqa: BLE001 - torch 2.13 fails so on some loaded programs with sizes such as 4 * s
        raise XAIError(
            f"torch cannot show the operations of this program ({type(error).__name__}: {first_line(error)}).",
            "Export it for one size of image, or use gradient, integrated_gradients or occlusion.",
        ) from error
    constants, homes = _constants(program)
    users = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    if len(users) != 1:
        raise XAIError(
            f"The network takes {len(users)} inputs.",
            "Wrap it in a module that takes one tensor, with the inputs as channels.",
        )
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op != "output"}
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    declared = {name: _declared(value) for name, value in values.items()}
    kinds = {name: value.dtype for name, value in values.items() if isinstance(value, torch.Tensor)}
    sizes = _bound(declared, users[0], shape)
    return Parts(users[0], _answer(program, output), nodes, constants, homes, sizes, kinds)


def _constants(program: torch.export.ExportedProgram) -> tuple[dict[str, Any], dict[str, str]]:
    constants: dict[str, Any] = {}
    homes: dict[str, str] = {}
    for spec in program.graph_signature.input_specs:
        kind, name, target = spec.kind.name, getattr(spec.arg, "name", ""), str(spec.target)
        if kind == "PARAMETER" or (kind == "BUFFER" and target in program.state_dict):
            constants[name], homes[name] = program.state_dict[target].detach(), target
        elif kind in ("BUFFER", "CONSTANT_TENSOR"):
            constants[name], homes[name] = program.constants[target], target
        elif kind == "CUSTOM_OBJ":
            raise XAIError("The network holds a custom object that has no graph.", "Replace it by tensor operations.")
    return constants, homes


def first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


def _answer(program: torch.export.ExportedProgram, which: int | str | None) -> str:
    """Name of the node that is the answer: the element `which` of what the network gives, or its first tensor."""
    tree = program.call_spec.out_spec
    given = [spec.arg for spec in program.graph_signature.output_specs if spec.kind.name == "USER_OUTPUT"]
    names = [argument.name if type(argument).__name__ == "TensorArgument" else None for argument in given]
    answers = pytree.tree_unflatten(names, tree)
    if isinstance(answers, list | tuple | dict):
        if which is not None:
            try:
                answers = answers[which]  # type: ignore[index]
            except (KeyError, IndexError, TypeError):
                raise XAIError(
                    f"The network has no output {which!r}.", f"It gives {tree.num_leaves} tensors."
                ) from None
        else:
            elements = answers.values() if isinstance(answers, dict) else answers
            answers = next((element for element in elements if isinstance(element, str)), None)
    if not isinstance(answers, str):
        raise XAIError(
            "The network's output is no tensor." if which is None else f"The network's output {which!r} is no tensor.",
            "Wrap it in a module that gives one tensor, or name another output.",
        )
    return answers


def _bound(declared: dict[str, tuple[Any, ...]], image: str, shape: tuple[int, ...]) -> dict[str, tuple[Size, ...]]:
    """The sizes with numbers in place of those of an image that the program leaves open."""
    batch, *axes = declared[image]
    known = _solved(tuple(axes), shape) if shape else {}
    if known is None:
        wanted = ", ".join(str(size) if isinstance(size, int) else "any" for size in axes)
        raise XAIError(
            f"The program was exported for images of shape ({wanted}), and this one has the shape {shape}.",
            "Give a preprocessing that makes images of that size, or export it with dynamic shapes.",
        )
    found: dict[Any, Size] = {}
    for size in {size for sizes in declared.values() for size in sizes if not isinstance(size, int)}:
        number = size.subs(known)
        found[size] = int(number) if number.is_number else in_samples(number, batch)
    return {
        name: tuple(size if isinstance(size, int) else found[size] for size in sizes)
        for name, sizes in declared.items()
    }


def in_samples(expression: Any, batch: Any) -> Size:
    """A size as an expression in the number of samples, whose symbol is `batch`."""
    if expression == batch:
        return ONE_EACH
    if getattr(batch, "is_Symbol", False) and expression.free_symbols == {batch}:
        one, two = (expression.subs(batch, samples) for samples in (1, 2))
        if (expression - one - (two - one) * (batch - 1)).expand() == 0:
            return Count(int(2 * one - two), int(two - one))
    return Grown(expression, batch)


def _solved(declared: tuple[Any, ...], shape: tuple[int, ...]) -> dict[Any, int] | None:
    """Numbers for the symbols in the declared sizes, or None where no numbers make them `shape`."""
    import sympy  # 0.3 s, and only programs of open size need it

    if len(shape) != len(declared):
        return None
    known: dict[Any, int] = {}
    for size, given in zip(declared, shape, strict=True):
        if isinstance(size, int):
            if size != given:
                return None
            continue
        left = size.subs(known)
        for symbol in left.free_symbols:  # one at most: an axis such as 4 * s
            answers = sympy.solve(left - given, symbol)
            if len(answers) != 1 or not answers[0].is_integer:
                return None
            known[symbol] = int(answers[0])
        if size.subs(known) != given:
            return None
    return known


def _declared(value: Any) -> tuple[Any, ...]:
    """The sizes of a value's axes, each a number or an expression in symbols."""
    if not isinstance(value, torch.Tensor):
        return ()
    return tuple(size if isinstance(size, int) else size.node.expr for size in value.shape)

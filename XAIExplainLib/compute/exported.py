"""What an exported program says: its constants, its answer, and the sizes of its values."""

from __future__ import annotations

from typing import Any

import sympy
import torch
from torch.utils import _pytree as pytree

from XAIExplainLib.errors import XAIError


def constants_of(program: torch.export.ExportedProgram) -> dict[str, Any]:
    constants: dict[str, Any] = {}
    for spec in program.graph_signature.input_specs:
        kind, name, target = spec.kind.name, getattr(spec.arg, "name", ""), str(spec.target)
        if kind == "PARAMETER" or (kind == "BUFFER" and target in program.state_dict):
            constants[name] = program.state_dict[target].detach()
        elif kind in ("BUFFER", "CONSTANT_TENSOR"):
            constants[name] = program.constants[target]
        elif kind == "CUSTOM_OBJ":
            raise XAIError("The network holds a custom object that has no graph.", "Replace it by tensor operations.")
    return constants


def first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


def answer_of(program: torch.export.ExportedProgram, which: int | str | None) -> str:
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


def solved(declared: tuple[Any, ...], shape: tuple[int, ...]) -> dict[Any, int] | None:
    """Numbers for the symbols in the declared sizes, or None where no numbers make them `shape`."""
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


def sizes_of(node: torch.fx.Node) -> tuple[Any, ...]:
    """The sizes of a value's axes, each a number or an expression in the number of samples."""
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return ()
    return tuple(size if isinstance(size, int) else size.node.expr for size in value.shape)


def bound(size: Any, known: dict[Any, int]) -> Any:
    size = size.subs(known)
    return int(size) if size.is_number else size

"""A target from what a user writes, in Python, JSON or a shell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from XAIExplainLib.errors import XAIError
from XAIExplainLib.target import ClassTarget, Region, Voxel
from XAIExplainLib.target_combined import Difference, Head, Probability, Target

_WORDS = ("probability:", "difference:", "output:")


def parse_target(value: Any) -> Target:
    """A target from what a user writes.

    Parameters
    ----------
    value : object
        A target; None; a class name or index; the text ``region:MASK[:CLASS]``, ``voxel:i,j,k[:CLASS]``,
        ``probability:TARGET``, ``difference:CLASS:CLASS`` or ``output:WHICH[:TARGET]``; or a dict such as
        ``{"region": path, "class": name}``, ``{"voxel": [i, j, k], "class": name}``, ``{"probability": target}``,
        ``{"difference": [target, target]}``, ``{"output": which, "target": target}``.

    Raises
    ------
    XAIError
        If it is none of these.
    """
    if isinstance(value, ClassTarget | Region | Voxel | Probability | Difference | Head):
        return value
    if isinstance(value, dict):
        combined = _combined(value)
        if combined is not None:
            return combined
        if "region" in value:
            return Region(value["region"], value.get("class"))
        if "voxel" in value:
            return Voxel(_indices(value["voxel"]), value.get("class"))
    if isinstance(value, str) and value.startswith(_WORDS):
        return _combined(_as_dict(value))  # type: ignore[return-value]
    if isinstance(value, str) and value.startswith("voxel:"):
        index, _, which = value[len("voxel:") :].partition(":")
        return Voxel(_indices(index.split(",")), which or None)
    if isinstance(value, str) and value.startswith("region:"):
        path, which = value[len("region:") :], ""
        # The colon of C:\mask.nrrd is none of ours.
        if ":" in path[2:] and not path.rsplit(":", 1)[1].startswith(("\\", "/")):
            path, which = path.rsplit(":", 1)
        return Region(path, which or None)
    if value is None or (isinstance(value, str) and value):
        return ClassTarget(value)
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return ClassTarget(int(value))
    raise XAIError(f"The target {value!r} is not understood.", "Give a class name, an index, a region or a voxel.")


def _indices(values: Sequence[Any]) -> tuple[int, ...]:
    try:
        return tuple(int(value) for value in values)
    except (TypeError, ValueError):
        raise XAIError(f"The voxel {values!r} is not understood.", "Give three whole numbers i,j,k.") from None


def _as_dict(text: str) -> dict[str, Any]:
    """``probability:T``, ``difference:A:B`` and ``output:N:T`` as the dicts that mean the same."""
    word, _, rest = text.partition(":")
    if word == "probability":
        return {"probability": rest or None}
    first, colon, second = rest.partition(":")
    if word == "output":
        return {"output": int(first) if first.isdecimal() else first, "target": second or None}
    if not colon or not first or not second:
        raise XAIError(f"The target {text!r} is not understood.", "Give two classes: difference:ONE:OTHER.")
    return {"difference": [first, second]}


def _combined(value: dict[str, Any]) -> Target | None:
    """The target of a dict that holds other targets, or None if it is no such dict."""
    if "probability" in value:
        inner = parse_target(value["probability"])
        if isinstance(inner, ClassTarget | Region | Voxel):
            return Probability(inner)
    elif "difference" in value:
        pair = value["difference"]
        if isinstance(pair, list | tuple) and len(pair) == 2:
            one, other = (parse_target(part) for part in pair)
            if not isinstance(one, Head | Difference) and not isinstance(other, Head | Difference):
                return Difference(one, other)
    elif "output" in value and isinstance(value["output"], int | str) and value["output"] != "":
        inner = parse_target(value.get("target"))
        if not isinstance(inner, Head):
            return Head(value["output"], inner)
    return None

"""Can a file do anything but calculate? Looked up in its bytes, before anything of it is loaded.

A program that only names tensor operations, and a configuration that only names networks and transforms, are as
harmless as weights, and need no consent. Whatever is not recognised needs it: each of these functions gives the reason,
or an empty text.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

# Operations of TorchScript that reach files.
_SCRIPT_FORBIDDEN = re.compile(r"\b(torch|ops\.\w+)\.(save|load|from_file|_save|import_ir_module)\b|torch\.classes\b")
_SCRIPT_SPACES = re.compile(r"\bops\.(\w+)\.")
_HARMLESS_SPACES = frozenset(("aten", "prim", "quantized"))
_TARGET = re.compile(r"torch\.ops\.aten\.(?!save|from_file)\w+(\.\w+)?|_operator\.\w+|math\.\w+|torch\.sym_\w+")
_OBJECTS = ("data/constants/custom_obj", "data/constants/opaque_obj", "extra/", "data/aotinductor")
# Words of the arithmetic of shapes; torch evaluates these texts as Python.
_SHAPE_WORDS = frozenset((
    "Add", "Mul", "Pow", "Max", "Min", "Mod", "PythonMod", "FloorDiv", "CeilDiv", "CleanDiv", "ModularIndexing",
    "Integer", "Float", "Rational", "Symbol", "IntTrueDiv", "FloatTrueDiv", "ToFloat", "TruncToInt", "FloorToInt",
    "CeilToInt", "RoundToInt", "floor", "ceiling", "Where", "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or", "Not",
    "StrictLessThan", "LessThan", "StrictGreaterThan", "GreaterThan", "Equality", "Unequality", "positive", "integer",
    "nonnegative", "True", "False", "true", "false", "oo", "int_oo", "zoo", "nan", "Identity", "Abs", "PowByNatural",
    "FloatPow", "One", "Zero", "NegativeOne", "Half",
))  # fmt: skip
_SHAPE_TEXT = re.compile(r"[\w\s+\-*/%(),.='<>!&|~]*")
_SYMBOL = re.compile(r"[su]\d+|zu?f\d+|q\d+")


def why_script_can_run_code(path: Path) -> str:
    """For TorchScript: what in it is more than tensor operations."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if "/code/" not in name or not name.endswith(".py"):
                continue
            text = archive.read(name).decode("utf-8", "replace")
            found = _SCRIPT_FORBIDDEN.search(text)
            if found:
                return f"it calls {found[0]}"
            spaces = set(_SCRIPT_SPACES.findall(text)) - _HARMLESS_SPACES
            if spaces:
                return f"it calls operations of {min(spaces)}"
    return ""


def why_export_can_run_code(path: Path) -> str:
    """For an archive of torch.export: what in it is more than ATen operations, raw weights and shapes."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        for name in names:
            tail = name.partition("/")[2]
            if tail.startswith(_OBJECTS):
                return f"it holds the object {Path(tail).name}"
            if tail.endswith(".pt") and not _holds_numbers_only(archive.read(name)):
                return f"its {Path(tail).name} holds more than numbers"
            if tail.startswith("data/") and tail.endswith("_config.json") and _pickled(json.loads(archive.read(name))):
                return "its weights are pickled"
            if tail.startswith("models/") and (reason := _of_program(json.loads(archive.read(name)))):
                return reason
        if not any(name.partition("/")[2].startswith("models/") for name in names):
            return "it is of an older format"
    return ""


def why_bundle_can_run_code(config: dict[str, Any], keys: list[str]) -> str:
    """For a MONAI bundle: what under `keys` of its configuration, and what these refer to, is more than names of
    networks and transforms with their arguments."""
    seen: set[str] = set()
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key in seen:
            continue
        seen.add(key)
        for value in _leaves(_lookup(config, key)):
            if isinstance(value, dict):
                reason = _of_component(value)
            elif value.startswith("%") or re.search(r"@[#:]", value):
                reason = f"it takes {value} from elsewhere"
            else:
                waiting.extend(re.findall(r"@([\w:#]+)", value))
                reason = _of_expression(value[1:]) if value.startswith("$") else ""
            if reason:
                return reason
    return ""


def _holds_numbers_only(payload: bytes) -> bool:
    try:
        torch.load(io.BytesIO(payload), weights_only=True, map_location="meta")
    except Exception:  # noqa: BLE001 - whatever the safe reader refuses is not safe
        return False
    return True


def _pickled(config: dict[str, Any]) -> bool:
    return any(entry.get("use_pickle") for entry in config["config"].values())


def _of_program(program: Any) -> str:
    for value in _leaves(program):
        if not isinstance(value, dict):
            continue
        is_call = {"target", "inputs", "outputs"} <= set(value)
        if is_call and not _TARGET.fullmatch(str(value["target"])):
            return f"it calls {str(value['target'])[:60]}"
        if not _is_shape(str(value.get("expr_str", ""))):
            return f"it has the shape {str(value['expr_str'])[:60]}"
        guards = value.get("guards_code") or []
        if not all(_is_guard(str(line)) for line in (guards if isinstance(guards, list) else [guards])):
            return "its checks are more than comparisons of sizes"
    return ""


def _is_shape(text: str) -> bool:
    words = re.findall(r"[A-Za-z_]\w*", text)
    known = all(word in _SHAPE_WORDS or _SYMBOL.fullmatch(word) for word in words)
    return known and bool(_SHAPE_TEXT.fullmatch(text)) and not re.search(r"\w\s*\.\s*[A-Za-z_]", text)


def _is_guard(text: str) -> bool:
    """Only comparisons of sizes of the inputs: ``L['x'].size()[0] >= 2``."""
    try:
        tree = ast.parse(text.strip() or "True", mode="eval")
    except SyntaxError:
        return False
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr not in ("size", "shape", "stride", "dtype", "device", "ndim"):
            return False
        if isinstance(node, ast.Name) and node.id not in ("L", "torch", "len", "x", "args", "kwargs"):
            return False
        if isinstance(node, ast.Lambda | ast.Await | ast.NamedExpr | ast.comprehension | ast.Starred | ast.JoinedStr):
            return False
    return True


def _of_component(component: dict[str, Any]) -> str:
    if component.get("_mode_", "default") not in ("default", None) or "_requires_" in component:
        return "it runs parts of its own accord"
    target = component.get("_target_")
    if target is None:
        return ""
    import monai.networks.blocks
    import monai.networks.layers
    import monai.networks.nets
    import monai.transforms

    homes = (monai.networks.nets, monai.networks.blocks, monai.networks.layers, monai.transforms, torch.nn)
    name = str(target).rsplit(".", 1)[-1]
    home = str(target).rsplit(".", 1)[0] if "." in str(target) else ""
    known = any(isinstance(getattr(place, name, None), type) for place in homes)
    elsewhere = bool(home) and not home.startswith(("monai.networks.", "monai.transforms", "torch.nn"))
    if not known or elsewhere or name.startswith("Save"):
        return f"it makes a {target}"
    return ""


def _of_expression(text: str) -> str:
    """Only arithmetic of literals and references."""
    try:
        tree = ast.parse(re.sub(r"@[\w:#]+", "None", text).strip(), mode="eval")
    except SyntaxError:
        return f"it has the expression {text[:60]}"
    allowed = (
        ast.Expression, ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare,
        ast.IfExp, ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.Load,
    )  # fmt: skip
    return "" if all(isinstance(node, allowed) for node in ast.walk(tree)) else f"it has the expression {text[:60]}"


def _lookup(config: Any, key: str) -> Any:
    value = config
    for part in re.split(r"::|#", key):
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict):
            value = value.get(part)
        else:
            return None
    return value


def _leaves(value: Any) -> Iterator[Any]:
    """Every dict and every text in a configuration."""
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, str):
        yield value

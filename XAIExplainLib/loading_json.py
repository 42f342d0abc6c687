"""A network described in JSON: the class by name, the weights as numbers. Nothing foreign is run."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from XAIExplainLib.errors import XAIError
from XAIExplainLib.loading_settings import check_description, named_path, read_json, settings
from XAIExplainLib.loading_weights import put_weights
from XAIExplainLib.model import Model

_OURS = "XAIExplainLib.networks"
_EXAMPLE = (
    'Write "network": {"monai": "DenseNet121", "arguments": {...}} or {"class": "XAIExplainLib.networks.module:Class"} '
    'with its weights, or "file": "network.pt2".'
)
_RESNET = re.compile(r"resnet\d+")  # functions in MONAI, the other networks are classes
# MONAI's networks that ask a server, or read a further file, when they are made.
_FETCHING = ("Transchex", "CellSamWrapper")


def load_json(path: Path, options: dict[str, Any]) -> Model:
    """The model that a JSON file describes.

    Raises
    ------
    XAIError
        If the description is incomplete, names a class that may not be named, or does not fit its weights.
    """
    described = read_json(path)
    check_description(described, path.name)
    if not isinstance(described.get("network"), dict):
        raise XAIError(f"{path.name} names no network and no file.", _EXAMPLE)
    network = build_network(described["network"], path.name)
    if described.get("weights"):
        put_weights(network, named_path(described["weights"], "weights", path))
    elif not getattr(network, "draws_weights", False):  # such a network draws its own, from a seed
        raise XAIError(f"{path.name} names no weights.", 'Write "weights": "file.pt", relative to the JSON file.')
    folder = path.parent.name if path.name == "model.json" else path.stem
    chosen = {"name": folder, "source": str(path), **settings(described, options)}
    return Model(network, **chosen)


def build_network(value: dict[str, Any], where: str) -> torch.nn.Module:
    """The network that ``{"monai": name}`` or ``{"class": "module:Class"}`` with its ``arguments`` names.

    Only classes of this project's networks and of ``monai.networks.nets`` may be named, so that reading
    a description runs no foreign code.
    """
    arguments = value.get("arguments") or {}
    if not isinstance(arguments, dict):
        raise XAIError(f"The network's arguments in {where} are no object.", _EXAMPLE)
    if "monai" in value:
        name = str(value["monai"])
        made_of = _monai_class(name, where)
    elif "class" in value:
        name = str(value["class"])
        made_of = _own_class(name, where)
    else:
        raise XAIError(f"{where} does not say which network it is.", _EXAMPLE)
    # Some of MONAI's networks fetch pretrained weights unless told not to; those of the file replace them anyway.
    fetching = {key for key in (*inspect.signature(made_of).parameters, *arguments) if "pretrain" in key}
    asked = [key for key in fetching if arguments.get(key)]
    if asked:
        raise XAIError(
            f"{where} asks for pretrained weights ({asked[0]}).", "Leave it out: its own weights are loaded."
        )
    unless = {key: False for key, p in inspect.signature(made_of).parameters.items() if key in fetching and p.default}
    try:
        network = made_of(**{**arguments, **unless})
    except (TypeError, ValueError, KeyError, RuntimeError, NotImplementedError, ImportError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise XAIError(f"The network {name} cannot be made: {first}.", "Correct its arguments.") from error
    if not isinstance(network, torch.nn.Module):
        raise XAIError(f"{where} names {name}, which makes no network.", _EXAMPLE)
    return network


def _monai_class(name: str, where: str) -> Callable[..., torch.nn.Module]:
    nets = importlib.import_module("monai.networks.nets")
    found: Any = getattr(nets, name, None) if name.isidentifier() else None
    if not (_is_network(found) or (found and _RESNET.fullmatch(name))) or name in _FETCHING:
        raise XAIError(f"{where} names {name}, which is no network of MONAI that can be made here.", _EXAMPLE)
    return found


def _own_class(name: str, where: str) -> Callable[..., torch.nn.Module]:
    module, _, attribute = name.partition(":")
    allowed = module == _OURS or module.startswith(_OURS + ".")
    # A look at every part: "..networks/../" and the like are no identifiers.
    if not allowed or not all(part.isidentifier() for part in [*module.split("."), attribute]):
        raise XAIError(f"{where} names {name}, which is none of this project's networks.", _EXAMPLE)
    try:
        found: Any = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        raise XAIError(f"{where} names {name}, which does not exist.", _EXAMPLE) from error
    if not _is_network(found):
        raise XAIError(f"{where} names {name}, which is no network.", _EXAMPLE)
    return found


def _is_network(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, torch.nn.Module)

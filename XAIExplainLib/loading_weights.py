"""Weights: numbers only, whatever a file would like to be."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from XAIExplainLib.errors import XAIError

_NESTED = ("state_dict", "model_state_dict", "model", "network")
NUMBERS_ONLY = "A checkpoint holds numbers only; give a JSON file that names its network and this file as its weights."


def read_numbers(path: Path, device: str = "cpu") -> Any:
    """What a checkpoint holds; nothing in it is run.

    Raises
    ------
    XAIError
        If the file is missing, empty, cut off, no checkpoint, or wants to run code.
    """
    if not path.is_file():
        raise XAIError(f"There are no weights {path}.", "Check the path, or restore the file.")
    if path.stat().st_size == 0:
        raise XAIError(f"The file {path.name} is empty.", "Copy or export it again.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch thinks of the pickle's version is said by its failure
            return torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL\s+([\w.]+)", str(error))
        if named is None:
            raise _damaged(path) from error
        raise XAIError(
            f"{path.name} is refused: it is a pickle that wants to run code ({named[1]}).",
            "Save the network's state_dict and describe the network in a JSON file, or export it by torch.export.",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, UnicodeDecodeError) as error:
        raise _damaged(path) from error


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The state_dict in a checkpoint, also one level down, without the prefix of data parallel training."""
    value = read_numbers(path)
    for key in _NESTED:
        if isinstance(value, Mapping) and isinstance(value.get(key), Mapping):
            value = value[key]
    if not isinstance(value, Mapping) or not value or not all(isinstance(v, torch.Tensor) for v in value.values()):
        raise XAIError(f"{path.name} holds no weights of a network.", "Save network.state_dict() with torch.save.")
    return {str(key).removeprefix("module."): tensor for key, tensor in value.items()}


def put_weights(network: torch.nn.Module, path: Path) -> None:
    """Load the weights in `path` into `network`, every one of them; half precision becomes float32.

    Raises
    ------
    XAIError
        If names or shapes are not those of the network.
    """
    given, wanted = read_weights(path), network.state_dict()
    missing = [key for key in wanted if key not in given]
    foreign = [key for key in given if key not in wanted]
    other = [key for key in given if key in wanted and given[key].shape != wanted[key].shape]
    if missing or foreign or other:
        parts = []
        if missing:
            parts.append(f"{len(missing)} are missing ({missing[0]}, ...)")
        if foreign:
            parts.append(f"{len(foreign)} belong to no layer ({foreign[0]}, ...)")
        if other:
            shapes = f"{tuple(given[other[0]].shape)} instead of {tuple(wanted[other[0]].shape)}"
            parts.append(f"{len(other)} have another shape ({other[0]}: {shapes}, ...)")
        raise XAIError(
            f"The weights {path.name} do not fit the network {type(network).__name__}: {'; '.join(parts)}.",
            "Check the network's arguments: they must be those of its training.",
        )
    network.load_state_dict(given)


def refuse_checkpoint(path: Path) -> XAIError:
    """Why a file of torch.save is no model: it holds weights only, or wants to run code."""
    try:
        read_numbers(path, device="meta")
    except XAIError as error:
        return error
    return XAIError(f"{path.name} holds weights without their network.", NUMBERS_ONLY)


def _damaged(path: Path) -> XAIError:
    return XAIError(f"{path.name} could not be read: it is cut off, damaged, or no file of torch.", "Copy it again.")

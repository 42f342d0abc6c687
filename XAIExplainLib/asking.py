"""What every question begins with: a model, a volume and a target as a user gives them, checked and made ready."""

from __future__ import annotations

from typing import Any

import torch

from XAIExplainLib.errors import XAIError
from XAIExplainLib.model import Model
from XAIExplainLib.target_combined import Head, Target
from XAIExplainLib.target_parsing import parse_target
from XAIExplainLib.volume import Volume


def asked(
    model: Model | torch.nn.Module, volume: Volume, target: Any = None, device: str | torch.device | None = None
) -> tuple[Model, Target]:
    """The model on its device and at the output that is meant, and the target.

    Parameters
    ----------
    model : Model or torch.nn.Module
        A network alone changes nothing before it and has class logits.
    volume : Volume
        Looked at for its type only.
    target, device
        As in `explain`.

    Raises
    ------
    XAIError
        If the volume is none, the target cannot be read, or the device cannot be used.
    """
    wanted = parse_target(target)
    if not isinstance(model, Model):
        model = Model(model)
    if not isinstance(volume, Volume):
        raise XAIError(f"A {type(volume).__name__} is no volume.", "Make one by load_volume(path) or Volume(array).")
    if device is not None:
        model.to(_usable(device))
    if isinstance(wanted, Head):
        model = model.at_output(wanted.output)
    return model, wanted


def _usable(device: str | torch.device) -> torch.device:
    """The device, once a tensor could be put there."""
    try:
        found = torch.device(device)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise XAIError(f"The device {device} cannot be used here.", "Give cpu, cuda or mps.") from error
    return found

"""What can be run: its state, its identity, what it gave, and why it failed, whatever kind of program it is."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import torch

from XAIExplainLib.errors import XAIError


def settled(network: Any, kind: str) -> tuple[Any, str]:
    """The network in evaluation mode, without gradients of its parameters, in float32; and what kind it is."""
    if isinstance(network, torch.export.ExportedProgram):
        network, kind = network.module(), "exported"
    if isinstance(network, torch.jit.ScriptModule):
        kind = "torchscript"
    if not isinstance(network, torch.nn.Module):
        return network, kind
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    if kind != "exported":  # an exported program has its mode and its types written into the graph
        network.eval()
        network.float()
    return network, kind


def only_batch(program: Any) -> int | None:
    """The one batch size that an exported program takes; None is any, or no such program."""
    if not isinstance(program, torch.export.ExportedProgram):
        return None
    names = program.graph_signature.user_inputs
    given = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    first = given[0].shape[0] if given and isinstance(given[0], torch.Tensor) and given[0].ndim else None
    return first if isinstance(first, int) else None


def fingerprint(network: Any, settings: str) -> str:
    """Sixteen digits of a SHA-256 over a program, its weights and `settings`."""
    digest = hashlib.sha256(f"{type(network).__qualname__} {settings}".encode())
    digest.update(_text(network).encode())
    if isinstance(network, torch.nn.Module):
        for key, value in network.state_dict().items():
            if isinstance(value, torch.Tensor):
                digest.update(f"{key} {tuple(value.shape)} {value.dtype}".encode())
                digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _text(network: Any) -> str:
    """What the network does, as text, where it can be had."""
    if isinstance(network, torch.jit.ScriptModule):
        return str(getattr(network, "inlined_graph", ""))
    if isinstance(network, torch.fx.GraphModule):
        return str(network.code)
    return str(network) if isinstance(network, torch.nn.Module) else getattr(network, "__qualname__", "")


def select_output(output: Any, which: int | str | None, name: str) -> torch.Tensor:
    """The element of the output that is the answer."""
    chosen = output
    if isinstance(output, (tuple, list, dict)):
        if which is not None:
            try:
                chosen = output[which]  # type: ignore[index]
            except (KeyError, IndexError, TypeError):
                there = list(output) if isinstance(output, dict) else f"{len(output)} elements"
                raise XAIError(f"The network {name} has no output {which!r}.", f"It gives {there}.") from None
        else:
            elements = output.values() if isinstance(output, dict) else output
            chosen = next((value for value in elements if isinstance(value, torch.Tensor)), None)
    if not isinstance(chosen, torch.Tensor) or not chosen.is_floating_point():
        what = f"{type(chosen).__name__}" if not isinstance(chosen, torch.Tensor) else f"{chosen.dtype}"
        raise not_understood(name, f"it is {what}")
    return chosen


def not_understood(name: str, what: str) -> XAIError:
    """The error for an output that answers no question."""
    return XAIError(
        f"The network {name} has an output that is not understood: {what}.",
        "Wrap it so that it gives (batch, classes), or (batch, classes, *spatial) of its input's size; "
        "output= chooses one of several.",
    )


def cannot_take(name: str, tensor: torch.Tensor, error: Exception) -> XAIError:
    """The error of torch as one sentence."""
    text = str(error)
    channels = re.search(r"to have (\d+) channels, but got (\d+) channels", text)
    if channels and int(channels[2]) == tensor.shape[1]:
        return wrong_channels(name, int(channels[1]), int(channels[2]))
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    # TorchScript prints its own stack first, and the reason last.
    reason = lines[-1] if "TorchScript" in text else lines[0]
    shape = " x ".join(map(str, tensor.shape))
    hint = "Check its preprocessing: the size, channels and spacing that it was trained with."
    if reason.startswith("Guard failed"):  # the check that torch.export writes before a program of one size
        hint = "It was exported for one size of input: crop, pad or resize to that, or export it with dynamic shapes."
    return XAIError(f"The network {name} cannot take an input of {shape}: {reason[:200].rstrip('.')}.", hint)


def wrong_channels(name: str, wanted: int, got: int) -> XAIError:
    """The error for a volume with another number of channels than the network takes."""
    return XAIError(
        f"The network {name} takes {count(wanted, 'channel')}, but the volume has {got}.",
        "Give as many volumes as the network takes channels, in the order that it was trained with.",
    )


def count(number: int, what: str) -> str:
    """A number with its noun."""
    plural = "es" if what.endswith("s") else "s"
    return f"{number} {what}{plural if number != 1 else ''}"

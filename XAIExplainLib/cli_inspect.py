"""The shell's command ``inspect``: what a model takes and gives, in words."""

from __future__ import annotations

import argparse
from typing import Any

_NAMES = {"module": "network", "torchscript": "TorchScript program", "exported": "exported program (torch.export)"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--model", required=True, metavar="M", help="as for explain")
    parser.add_argument("--volume", action="append", metavar="V", dest="volumes", help="try the model on it")
    parser.add_argument("--allow-code", action="store_true", help="agree to run the code that the model file contains")
    parser.add_argument("--json", action="store_true", help="for programs")


def request(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the panel would send."""
    return {
        "model": arguments.model, "volumes": arguments.volumes or [], "consent": arguments.allow_code or None,
        "options": {},
    }  # fmt: skip


def lines(found: dict[str, Any]) -> list[str]:
    """What was found, a line each."""
    size, spacing, layers, trial = found["size"], found["spacing"], found["layers"], found["trial"]
    text = [f"{found['name']}: {_NAMES[found['kind']]}, {found['spatial_dims']}D, {found['task'] or 'task not known'}"]
    wanted = [f"{found['channels'] or '?'} channel{'s' * (found['channels'] != 1)}"]
    wanted += [" x ".join(map(str, size)) + " voxels (i, j, k)"] if size else []
    wanted += [" x ".join(f"{mm:g}" for mm in spacing) + " mm"] if spacing else []
    text.append("input:   " + ", ".join(wanted))
    text.append(f"outputs: {found['outputs'] or 'not known'}{_listed(found['classes'])}")
    if found["parameters"] is not None:
        text.append(f"numbers: {found['parameters']:,} weights")
    if layers is not None:
        text.append(f"layers:  {len(layers)} with a map, for an input of {'x'.join(map(str, found['layers_at']))}")
    text += [f"note:    {note}" for note in found["notes"]]
    if trial is not None:
        seen = trial["input"]
        grid = " x ".join(map(str, seen["size"])) + " voxels of " + " x ".join(f"{mm:.3g}" for mm in seen["spacing"])
        text.append(f"saw:     {grid} mm, values {seen['minimum']:.3g} to {seen['maximum']:.3g}")
        text += ["answer:", trial["prediction"]["text"]]
    return text


def _listed(classes: list[str]) -> str:
    return f" ({', '.join(classes)})" if classes else ""

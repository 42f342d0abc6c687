"""Programs: TorchScript and torch.export. Both can run code, so both are looked into or ask first.

TorchScript is a program by its nature. An archive of ``torch.export`` looks like data, but its reader unpickles tensors
and constants without ``weights_only`` and evaluates the text of its shapes (`torch.export.pt2_archive._package`,
``sympy.sympify``; torch says so itself: never load data from an untrusted source).
"""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from XAIExplainLib.consent import require_consent
from XAIExplainLib.errors import XAIError
from XAIExplainLib.loading_settings import check_description, read_json, settings
from XAIExplainLib.model import Model
from XAIExplainLib.screening import why_export_can_run_code, why_script_can_run_code

_DAMAGED = "Export it again with the torch of this installation, or copy it again."


def archive_kind(path: Path) -> str:
    """What a zip archive is, by the names in it: ``torchscript``, ``exported``, ``compiled``, ``checkpoint``,
    ``bundle``, ``damaged``, or empty."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return "damaged"
    tails = {name.partition("/")[2] for name in names} | set(names)
    if any(name.endswith(("configs/inference.json", "configs/metadata.json", "configs/train.json")) for name in names):
        return "bundle"
    if "archive_format" in tails or "serialized_exported_program.json" in tails:
        exported = any(t.startswith("models/") or t == "serialized_exported_program.json" for t in tails)
        return "exported" if exported else "compiled"
    if "constants.pkl" in tails and any(t.startswith("code/") for t in tails):
        return "torchscript"
    return "checkpoint" if "data.pkl" in tails else ""


def load_program(path: Path, kind: str, consent: bool | None, options: dict[str, Any]) -> Model:
    """The model in a TorchScript or torch.export file, described by ``<file>.json`` where that lies beside it.

    Raises
    ------
    ConsentError
        Without consent, if it does more than calculate.
    XAIError
        If the file is damaged or the program takes several inputs.
    """
    if kind == "compiled":
        raise XAIError(
            f"{path.name} is compiled for one kind of machine and cannot be looked into.",
            "Give the program itself: torch.export.save(torch.export.export(network, ...), 'network.pt2').",
        )
    what = "a TorchScript program" if kind == "torchscript" else "an exported program (torch.export)"
    why = why_script_can_run_code if kind == "torchscript" else why_export_can_run_code
    require_consent(consent, path.name, what, lambda: why(path))
    described = _beside(path)
    chosen = {"name": path.name, "source": str(path), **settings(described, options)}
    try:
        with warnings.catch_warnings():
            # That torch.jit is deprecated is no news to the user, who was handed the file.
            warnings.simplefilter("ignore")
            if kind == "torchscript":
                return Model(torch.jit.load(str(path), map_location="cpu"), kind=kind, **chosen)
            with path.open("rb") as file:  # a buffer: for a name torch insists on the ending .pt2
                program = torch.export.load(file)
    except XAIError:
        raise
    except Exception as error:  # a damaged archive fails in as many ways as it has parts
        first = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise XAIError(f"{path.name} could not be loaded as {what}: {first}.", _DAMAGED) from error
    found = {} if chosen.get("inputs") else _input_of(program, path.name)
    return Model(program, kind=kind, **{**found, **chosen})


def _input_of(program: torch.export.ExportedProgram, name: str) -> dict[str, Any]:
    """Channels and dimensions of a program, from the input it was exported with."""
    names = program.graph_signature.user_inputs
    inputs = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    if len(inputs) != 1 or not isinstance(inputs[0], torch.Tensor) or inputs[0].ndim not in (4, 5):
        raise XAIError(
            f"The program {name} does not take one tensor (batch, channels, *spatial): it takes {len(inputs)} inputs.",
            "Export a network with one image as its input, or say which channels each input gets: inputs=[1, 1].",
        )
    channels = inputs[0].shape[1]
    return {
        "spatial_dims": inputs[0].ndim - 2,
        # A number that was left open in the export is a symbol, not an int.
        "channels": channels if isinstance(channels, int) else None,
    }


def _beside(path: Path) -> dict[str, Any]:
    for name in (path.name + ".json", path.stem + ".json"):
        sidecar = path.with_name(name)
        if sidecar.is_file():
            described = read_json(sidecar)
            check_description(described, sidecar.name)
            return described
    return {}

"""What can be found out about a model before it is used: its input, its outputs, its layers, and one answer.

A program of `torch.export` says what it takes. Of the others the weights of the first layer tell channels and
dimensions, and an image of noise tells how many numbers come out; a volume, where one is given, tells it better.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from XAIExplainLib.compute.sliding import answers_by_tiles, tile_of
from XAIExplainLib.consent import ConsentError
from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainLib.loading_bundle import why_bundle_asks
from XAIExplainLib.loading_program import archive_kind
from XAIExplainLib.model import Model
from XAIExplainLib.prepared import Prepared
from XAIExplainLib.preprocessing import Preprocessing
from XAIExplainLib.screening import why_export_can_run_code, why_script_can_run_code
from XAIExplainLib.steps_grid import CropOrPad, Resample, Resize
from XAIExplainLib.volume import Volume

# What is tried where nobody says which size the network takes: most 3D networks take 64, transformers 96.
_SIZES = (64, 96, 128, 32)


def inspect_model(model: Model, volume: Volume | None = None, layers: bool = True, run: Any = None) -> dict[str, Any]:
    """What is found in a model.

    Parameters
    ----------
    model : Model
        The model; its task and the number of its outputs are known afterwards, where they could be found.
    volume : Volume or None
        A case that it is asked about; None asks it about noise of a size that it takes.
    layers : bool
        Whether the layers are listed, which takes seconds for a network that has to be exported first.
    run : Run or None
        Hears how far it is, and may stop it.

    Returns
    -------
    dict
        JSON-ready: ``kind``, ``task``, ``classes``, ``outputs``, ``groups``, ``channels``, ``spatial_dims``,
        ``slice_axis``, ``size`` (voxels i, j, k of the input, or None if any goes), ``spacing`` (mm along i, j, k, or
        None), ``preprocessing`` (steps, or None where a bundle brings its own), ``parameters`` (how many numbers it
        has), ``layers`` and ``layers_at`` (of which input), ``notes`` (what could not be found, and why), and
        ``trial``: the answer about `volume`, and what the network got to see of it.

    Raises
    ------
    XAIError
        If `volume` was given and the network cannot answer.
    """
    notes: list[str] = []
    _tell(run, 0.2, "asking the network")
    trial = None
    if volume is not None:
        prepared = model.prepare(volume)
        trial = {"prediction": _predicted(model, prepared), "input": describe_input(prepared)}
        tensor: torch.Tensor | None = prepared.tensor[:1]
    else:
        tensor = accepted_input(model, run)
        if tensor is None:
            notes.append("How many outputs there are is seen when it is tried on a volume.")
    found: list[dict[str, Any]] | None = None
    if layers and tensor is not None:
        _tell(run, 0.5, "looking at the layers")
        try:
            found = _layers(model, tensor)
        except XAIError as error:
            notes.append(error.message)
    steps = model.preprocessing
    own = isinstance(steps, Preprocessing)
    return {
        "name": model.name, "kind": model.kind, "task": model.task, "classes": list(model.classes or ()),
        "outputs": model.outputs, "groups": {name: list(members) for name, members in model.groups.items()},
        "channels": model.channels or (tensor.shape[1] if tensor is not None else None),
        "spatial_dims": model.spatial_dims, "slice_axis": model.slice_axis, "size": _size(model),
        "spacing": _spacing(model), "preprocessing": steps.to_json() if own else None,  # type: ignore[union-attr]
        "sliding": None if model.sliding is None else model.sliding.to_json(),
        "parameters": _parameters(model), "layers": found,
        "layers_at": None if found is None or tensor is None else list(tile_of(model, tensor).shape[2:]),
        "notes": notes, "trial": trial,
    }  # fmt: skip


def describe_input(prepared: Prepared) -> dict[str, Any]:
    """What a network got to see of a volume: grid, the range of its numbers, and slices through the middle (PNG)."""
    from XAIExplainLib.evaluation.pictures import PLANES, Slices, png

    values = prepared.tensor.cpu().numpy()
    first = prepared.grid(values[:, :1])
    slices = Slices(Volume.on(prepared.geometry, first), np.ones(first.shape[1:], bool))
    middle = prepared.geometry.index_to_physical(((np.array(prepared.geometry.size) - 1) / 2).tolist())
    low, high = np.percentile(first, [0.5, 99.5])
    pictures = {}
    for name in PLANES:
        cut = slices.plane(name, np.asarray(middle)).cut(first[0], prepared.geometry, fill=float(low))
        gray = ((cut - low) / max(float(high - low), 1e-12)).clip(0, 1) * 255
        pictures[name] = base64.b64encode(png(gray.astype(np.uint8))).decode("ascii")
    return {
        "size": list(prepared.geometry.size), "spacing": [float(mm) for mm in prepared.geometry.spacing],
        "axes": prepared.geometry.axes, "channels": int(prepared.tensor.shape[1]), "slices": len(prepared.slices),
        "pictures": pictures,
        "minimum": float(values.min()), "maximum": float(values.max()), "mean": float(values.mean(dtype=np.float64)),
    }  # fmt: skip


def accepted_input(model: Model, run: Any = None) -> torch.Tensor | None:
    """An input (1, channels, *spatial) of noise that the network takes, or None where none was found.

    The network is asked, so that its task and the number of its outputs are known.

    Raises
    ------
    XAIError
        If the network takes the input, and its answer contradicts what is said about it: too many class names, or
        another task.
    """
    shape = exported_shape(model)
    channels = model.channels or (shape[1] if shape else None) or _first_layer(model)[0]
    if channels is None:
        return None
    generator = torch.Generator().manual_seed(0)
    for sizes in _sizes(model, shape):
        if run is not None and run.cancelled():
            raise CancelledError
        tensor = torch.rand((1, channels, *sizes), generator=generator)
        try:
            with torch.no_grad():
                output = model.at_once(tensor)
        except (XAIError, RuntimeError):
            continue  # not this size
        model.infer_task(output, tensor)
        return tensor
    return None


def exported_shape(model: Model) -> list[int | None] | None:
    """The input's shape (batch, channels, *spatial) that a program was exported for, None where any number goes."""
    if model.program is None:
        return None
    names = model.program.graph_signature.user_inputs
    nodes = [node for node in model.program.graph.nodes if node.op == "placeholder" and node.name in names]
    value = nodes[0].meta.get("val") if nodes else None
    if not isinstance(value, torch.Tensor):
        return None
    return [size if isinstance(size, int) else None for size in value.shape]


def with_verdict(error: ConsentError, path: Path) -> ConsentError:
    """The same refusal, which also says what a look into the file has found; nothing of the file was loaded."""
    try:
        reason = _why(path)
    except (XAIError, OSError, ValueError, KeyError):
        return error
    if reason:
        error.message += f" A look into it finds that {reason}."
    else:
        error.message += " A look into it finds nothing that does more than calculate."
    return error


def _why(path: Path) -> str:
    if path.is_dir():
        return why_bundle_asks(path)
    kind = archive_kind(path)
    if kind == "bundle":
        return "it is a packed bundle, which is not unpacked before you agree"
    return why_script_can_run_code(path) if kind == "torchscript" else why_export_can_run_code(path)


def _predicted(model: Model, prepared: Prepared) -> dict[str, Any]:
    prediction = model.predict(prepared)
    return {**prediction.to_json(), "text": prediction.text()}


def _layers(model: Model, tensor: torch.Tensor) -> list[dict[str, Any]]:
    from XAIExplainLib.compute.graphs import graph_of
    from XAIExplainLib.compute.maps import default_layers, map_layers

    graph = graph_of(model, tile_of(model, tensor) if answers_by_tiles(model, tensor) else tensor)
    try:
        default = default_layers(graph)[0].layer.name
    except XAIError:
        default = ""
    return [
        {"name": found.layer.name, "type": found.layer.type, "shape": [found.channels, *found.grid],
         "default": found.layer.name == default}
        for found in map_layers(graph)
    ]  # fmt: skip


def _sizes(model: Model, shape: list[int | None] | None) -> Iterator[list[int]]:
    dims = model.spatial_dims
    if shape is not None and len(shape) == dims + 2:
        for size in _SIZES:
            yield [known or size for known in shape[2:]]
        return
    known = _size(model)
    if known is not None:
        yield list(reversed(known))[:dims] if dims == 3 else list(reversed(known))[-2:]
    for size in _SIZES:
        yield [size] * dims


def _size(model: Model) -> list[int] | None:
    """Voxels along i, j, k (2D: the slice's two) of the one size that the network gets."""
    shape = exported_shape(model)
    if shape is not None and None not in shape[2:]:
        return [int(size or 0) for size in reversed(shape[2:])]
    if isinstance(model.preprocessing, Preprocessing):
        for step in reversed(model.preprocessing.steps):
            if isinstance(step, Resize | CropOrPad):
                return list(step.size)
            if isinstance(step, Resample):
                return None
    return None


def _spacing(model: Model) -> list[float] | None:
    """Millimetres along i, j, k that the preprocessing makes, where it says so."""
    if isinstance(model.preprocessing, Preprocessing):
        for step in reversed(model.preprocessing.steps):
            if isinstance(step, Resample):
                return list(step.spacing)
            if isinstance(step, Resize):
                return None
        return None
    text = str(getattr(model.preprocessing, "text", "") or "null")
    try:
        steps = list(_dicts(json.loads(text)))
    except ValueError:
        return None
    for step in reversed(steps):
        if re.search(r"\bSpacingd?$|\bSpacingD(ict)?$", str(step.get("_target_", ""))):
            given: Any = step.get("pixdim")
            numbers = isinstance(given, list) and all(isinstance(mm, int | float) for mm in given)
            # MONAI's first axis is our last.
            return [float(mm) for mm in reversed(given)] if numbers and len(given) == 3 else None
    return None


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from _dicts(item)


def _first_layer(model: Model) -> tuple[int | None, int | None]:
    """Channels and dimensions that the first convolution takes, by its weights; groups are not seen in them."""
    if isinstance(model.network, torch.nn.Module):
        for parameter in model.network.parameters():
            if parameter.ndim in (4, 5):
                return int(parameter.shape[1]), parameter.ndim - 2
    return None, None


def settings_by_weights(model: Model) -> dict[str, Any]:
    """``spatial_dims`` that the weights speak of, for a program that does not say it; empty if they agree."""
    dims = _first_layer(model)[1]
    if model.kind == "torchscript" and dims is not None and dims != model.spatial_dims:
        return {"spatial_dims": dims}
    return {}


def _parameters(model: Model) -> int | None:
    if not isinstance(model.network, torch.nn.Module):
        return None
    return sum(parameter.numel() for parameter in model.network.parameters())


def _tell(run: Any, fraction: float, message: str) -> None:
    if run is not None:
        run.progress(fraction, message)

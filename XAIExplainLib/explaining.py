"""The main job: a model, a volume, a method and a target in; an explanation out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from XAIExplainLib.asking import asked
from XAIExplainLib.compute.derivatives import DERIVATIVES
from XAIExplainLib.compute.memory import PeakMemory, parse_memory
from XAIExplainLib.compute.placement import enlarge
from XAIExplainLib.errors import XAIError
from XAIExplainLib.explanation import Explanation, versions
from XAIExplainLib.method import Attribution, Method, get_method
from XAIExplainLib.model import Model
from XAIExplainLib.prepared import Prepared
from XAIExplainLib.question import Question
from XAIExplainLib.volume import Volume


def explain(
    model: Model | torch.nn.Module, volume: Volume, method: str, target: Any = None,
    progress: Callable[[float, str], None] | None = None, cancel: Callable[[], bool] | None = None,
    device: str | torch.device | None = None, memory: str | int | None = None, seed: int = 0,
    preview: Callable[[Explanation], None] | None = None, **parameters: Any,
) -> Explanation:  # fmt: skip
    """Explain why `model` answers as it does about `volume`.

    Parameters
    ----------
    model : Model or torch.nn.Module
        A bare network is taken as ``Model(network)``.
    volume : Volume
        The case, of any geometry; one channel or several.
    method : str
        Its name, such as ``grad_cam``; `methods()` lists them.
    target : object
        None for the predicted class; a class name or index, a group's name, `Region`, `Voxel`, `Probability`,
        `Difference` or `Head`; or what `parse_target` makes one of.
    progress : callable or None
        Called as ``progress(fraction, message)``.
    cancel : callable or None
        Gives True when the run should stop; asked between operations.
    device : str, torch.device or None
        None leaves the model where it is.
    memory : str, int or None
        Budget such as ``"4GiB"``; None is what is free, less a reserve.
    seed : int
        Of the run's one generator of random numbers.
    preview : callable or None
        Called with maps that are on their way, of methods that go from coarse to fine; ``diagnostics["stage"]`` says
        how far each is. The result is the same, to the bit, with and without it.
    **parameters
        The method's own.

    Returns
    -------
    Explanation
        On the volume's own grid.

    Raises
    ------
    XAIError
        If something that the user can mend is wrong.
    CancelledError
        If `cancel` gave True.

    Example
    -------
    >>> result = explain(load_model("brain-lesion"), load_volume("case.nii.gz"), "occlusion", "lesion", window=8)
    >>> result.save("occlusion.nrrd")
    """
    kind = get_method(method)
    settings = kind.check_parameters(parameters)
    model, wanted = asked(model, volume, target, device)
    began = time.perf_counter()
    with PeakMemory() as peak:
        prepared = model.prepare(volume)

        def finished(attribution: Attribution) -> Explanation:
            return _explanation(
                model, prepared, kind, settings, question, attribution,
                {"seconds": time.perf_counter() - began, "peak_bytes": peak.bytes, "device": str(model.device),
                 "seed": seed},
            )  # fmt: skip

        def show(attribution: Attribution) -> None:
            if preview is not None and bool(torch.isfinite(attribution.values).all()):
                preview(finished(attribution))

        question = Question(
            model, prepared, wanted, parse_memory(memory), seed, progress, cancel,
            None if kind.needs == "scores" else lambda graph: kind.walk_start(graph, settings),
            kind.walk_table(settings) or DERIVATIVES, None if preview is None else show, kind.by_boxes,
        )  # fmt: skip
        attribution = kind().explain(question, **settings)
        question.check()
        if not bool(torch.isfinite(attribution.values).all()):
            raise XAIError(
                f"The map of {method} has values that are not finite.",
                "The network's answer or gradient is undefined for this image or a variation of it; check its "
                "intensities, or use another method.",
            )
        result = finished(attribution)
    question.progress(1.0, "done")
    result.diagnostics.update(seconds=time.perf_counter() - began, peak_bytes=peak.bytes)
    return result


def _explanation(
    model: Model, prepared: Prepared, kind: type[Method], settings: dict[str, Any], question: Question,
    attribution: Attribution, run: dict[str, Any],
) -> Explanation:  # fmt: skip
    """The map on the volume's grid, with all that says how it was made; `run` is what the run cost."""
    native, on_grid = _placed(attribution, prepared)
    channels = prepared.to_volume(on_grid)
    volume = prepared.volume
    diagnostics = {
        "score": float(question.scores_of_case.double().mean()),
        "score_units": question.score.units,
        **question.diagnostics, **attribution.diagnostics, **run, "input_shape": list(question.x.shape),
    }  # fmt: skip
    stage = attribution.diagnostics.get("stage")
    return Explanation(
        array=channels.sum(0, dtype=np.float32) if len(channels) > 1 else channels[0], geometry=volume.geometry,
        channels=channels, native=native, method=kind.name,
        title=f"{kind.title}, preview {stage['number']} of {stage['of']}" if stage else kind.title,
        parameters=_plain(settings), target=question.score.name, units=kind.units,
        signed=kind.signed if attribution.signed is None else attribution.signed,
        prediction=model.answer(question.output, prepared), diagnostics=_plain(diagnostics),
        provenance={
            "model": model.name, "model_source": model.source, "model_fingerprint": model.fingerprint,
            "volume": volume.name, "citation": kind.citation, "caution": kind.caution, **versions(),
        },
    )  # fmt: skip


def _placed(attribution: Attribution, prepared: Prepared) -> tuple[Volume, np.ndarray]:
    """The map as the method made it, and on the network's grid (c, k, j, i)."""
    values, geometry = attribution.values.detach(), prepared.geometry
    if attribution.origin is None or attribution.step is None:
        on_grid = prepared.grid(values)
        return Volume.on(geometry, on_grid[0] if len(on_grid) == 1 else on_grid), on_grid
    spatial = tuple(prepared.tensor.shape[2:])
    on_grid = prepared.grid(enlarge(values, spatial, attribution.origin, attribution.step))
    origin, step, coarse = list(attribution.origin), list(attribution.step), values[0]
    if prepared.axis is not None:  # slices: put the axis across them back, one cell a slice
        first = prepared.slices[0]
        origin.insert(prepared.axis, float(first))
        step.insert(prepared.axis, 1.0)
        coarse = values.movedim(0, prepared.axis + 1)
    shape = tuple(coarse.shape[1:])
    grid = geometry.moved(origin[::-1], shape[::-1], step[::-1])
    array = coarse.cpu().numpy()
    return Volume.on(grid, array[0] if len(array) == 1 else array), on_grid


def _plain(value: Any) -> Any:
    """JSON-ready: tuples as lists, numbers that JSON does not know as None."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

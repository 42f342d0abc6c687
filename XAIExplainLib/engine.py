"""What can be asked of the engine, in JSON's own types: the worker and the command line both ask here.

One model and one case are kept: the second explanation of a case starts without loading either again, and finds what
the model keeps of its own, such as its exported graph.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from XAIExplainLib import __version__, protocol
from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainLib.volume import WRITABLE

if TYPE_CHECKING:
    from XAIExplainLib.estimating import Pace
    from XAIExplainLib.explanation import Explanation
    from XAIExplainLib.model import Model
    from XAIExplainLib.prediction import Prediction
    from XAIExplainLib.volume import Volume

Request = dict[str, Any]


class Run(Protocol):
    """The request's own side: who hears how far it is, and may stop it."""

    def progress(self, fraction: float, message: str = "") -> None:
        """Hear how far the run is."""

    def preview(self, event: dict[str, Any]) -> None:
        """Hear of a map that is on its way; only where the request asks for it."""

    def cancelled(self) -> bool:
        """Say whether the run should stop."""


class LocalEngine:
    """Answers requests in this process."""

    def __init__(self) -> None:
        self._model_key: Any = None
        self._model: Model | None = None
        self._volume_key: Any = None
        self._volume: Volume | None = None
        self._pace: Pace | None = None

    def greeting(self) -> dict[str, Any]:
        """Versions, device and machine."""
        import torch

        from XAIExplainLib.machine import describe_machine

        device = "cuda" if torch.cuda.is_available() else "cpu"
        return {
            "protocol": protocol.PROTOCOL, "version": __version__, "python": platform.python_version(),
            "torch": torch.__version__, "device": device, "pid": os.getpid(),
            **describe_machine(),
        }  # fmt: skip

    def commands(self) -> dict[str, Callable[[Request, Any], Any]]:
        """What can be asked, by name."""
        return {
            "methods": self.methods, "models": self.models, "cases": self.cases, "load_model": self.load_model,
            "layers": self.layers, "predict": self.predict, "explain": self.explain,
            "estimate": self.estimate, "measure": self.measure, "combine": self.combine,
            "inspect": self.inspect, "steps": self.steps, "add_model": self.add_model,
            "edit_model": self.edit_model, "remove_model": self.remove_model,
            "curves": self.curves,
        }  # fmt: skip

    def methods(self, request: Request, run: Run) -> list[dict[str, Any]]:
        """The card of every method."""
        from XAIExplainLib.method import methods

        return [method.describe() for method in methods().values()]

    def models(self, request: Request, run: Run) -> list[dict[str, Any]]:
        """The bundled models, and those in the user's folder where one is named."""
        from XAIExplainLib.keeping import answer_models

        return answer_models(request)

    def cases(self, request: Request, run: Run) -> list[dict[str, Any]]:
        """The bundled cases."""
        from XAIExplainLib.cases import cases

        return [case.describe() for case in cases()]

    def load_model(self, request: Request, run: Run) -> dict[str, Any]:
        """Load a model, and say what it is."""
        return describe_model(self.model(request))

    def layers(self, request: Request, run: Run) -> list[dict[str, Any]]:
        """The layers that a map can be made at, with the shape each has for this volume."""
        from XAIExplainLib.compute.graphs import graph_of
        from XAIExplainLib.compute.maps import default_layers, map_layers
        from XAIExplainLib.compute.sliding import answers_by_tiles, no_layers

        model = self.model(request)
        tensor = model.prepare(self.volume(request)).tensor
        if answers_by_tiles(model, tensor):
            raise no_layers(model)
        graph = graph_of(model, tensor)
        default = default_layers(graph)[0].layer.name
        return [
            {
                "name": found.layer.name, "type": found.layer.type, "shape": [found.channels, *found.grid],
                "default": found.layer.name == default,
            }
            for found in map_layers(graph)
        ]  # fmt: skip

    def predict(self, request: Request, run: Run) -> dict[str, Any]:
        """What the model answers."""
        model = self.model(request)
        return describe_prediction(model.predict(self.volume(request)))

    def explain(self, request: Request, run: Run) -> dict[str, Any]:
        """Why the model answers so: writes the map and its record, and says where they are and what is in them."""
        from XAIExplainLib.explaining import explain
        from XAIExplainLib.explanation import record_path
        from XAIExplainLib.method import get_method
        from XAIExplainLib.native import describe_native
        from XAIExplainLib.previews import Previews

        # What is wrong with the request is said before anything is loaded or computed.
        output = check_output(_text(request, "output", "the file that the map is written to, for example map.nrrd"))
        method = _text(request, "method", "the name of a method")
        parameters = request.get("parameters") or {}
        get_method(method).check_parameters(parameters)
        run.progress(0.0, "loading")
        model, volume = self.model(request), self.volume(request)
        if run.cancelled():
            raise CancelledError
        previews = Previews(output, lambda path, result: run.preview(describe_preview(path, result)))
        with previews:
            result = explain(
                model, volume, method, target=request.get("target"), progress=run.progress, cancel=run.cancelled,
                device=request.get("device") or "cpu", memory=request.get("memory"), seed=int(request.get("seed") or 0),
                preview=previews.show if request.get("preview") else None, **parameters,
            )  # fmt: skip
        if run.cancelled():
            raise CancelledError
        if self._pace is not None and self._pace.model is model and self._pace.volume is volume:
            self._pace.learn(method, parameters, float(result.diagnostics["seconds"]))
        saved = result.save(output, request.get("compressed") is not False).absolute()
        return {
            "map": str(saved), "record": str(record_path(saved)), "method": result.method, "target": result.target,
            "parameters": result.parameters, "diagnostics": result.diagnostics,
            "prediction": describe_prediction(result.prediction), "display": describe_display(result),
            "peak": describe_peak(result), "provenance": describe_provenance(result),
            "native": describe_native(result),
        }  # fmt: skip

    def estimate(self, request: Request, run: Run) -> dict[str, Any]:
        """About how long an explanation will take."""
        from XAIExplainLib.estimating import answer_estimate

        self._pace, answer = answer_estimate(self._pace, self.model(request), self.volume(request), request, run)
        return answer

    def measure(self, request: Request, run: Run) -> dict[str, Any]:
        """How alike maps are, and how they lie on a mask."""
        from XAIExplainLib.evaluation.measuring import answer_measure

        return answer_measure(request, run)

    def combine(self, request: Request, run: Run) -> dict[str, Any]:
        """One map of two: their difference, or what they agree on."""
        from XAIExplainLib.evaluation.measuring import answer_combine

        return answer_combine(request, run)

    def inspect(self, request: Request, run: Run) -> dict[str, Any]:
        """What is found in a model, and what it answers about a volume where one is given."""
        from XAIExplainLib.keeping import answer_inspect

        return answer_inspect(self, request, run)

    def steps(self, request: Request, run: Run) -> list[dict[str, Any]]:
        """The preprocessing steps, as forms show them."""
        from XAIExplainLib.step_forms import step_forms

        return step_forms()

    def add_model(self, request: Request, run: Run) -> dict[str, Any]:
        """Put a model into the user's folder."""
        from XAIExplainLib.keeping import answer_add

        return answer_add(self, request, run)

    def edit_model(self, request: Request, run: Run) -> dict[str, Any]:
        """Say other things about a model in the user's folder."""
        from XAIExplainLib.keeping import answer_edit

        return answer_edit(self, request, run)

    def remove_model(self, request: Request, run: Run) -> dict[str, Any]:
        """Take a model out of the user's folder."""
        from XAIExplainLib.keeping import answer_remove

        return answer_remove(request)

    def curves(self, request: Request, run: Run) -> dict[str, Any]:
        """How the score goes when what maps call important is taken away, and comes when it is given."""
        from XAIExplainLib.evaluation.insertion_deletion import answer_curves

        run.progress(0.0, "loading")
        return answer_curves(self.model(request), self.volume(request), request, run)

    def model(self, request: Request) -> Model:
        """The model of the request: the one that is kept, if it is the same."""
        from XAIExplainLib.loading import load_model
        from XAIExplainLib.own_models import model_files

        name = _text(request, "model", "a bundled model's name, or the path of one")
        options = request.get("options") or {}
        consent = request.get("consent", False)
        key = (name, consent, repr(sorted(options.items())), *(_state(str(file)) for file in model_files(name)))
        if key != self._model_key or self._model is None:
            self._model_key = self._model = self._pace = None  # the old one's memory is free before the new one comes
            self._model = load_model(name, consent=consent, **options)
            self._model_key = key
        return self._model

    def volume(self, request: Request) -> Volume:
        """The volume of the request: the one that is kept, if its files have not changed."""
        from XAIExplainLib.cases import load_case
        from XAIExplainLib.volume import load_volume

        names = request.get("volumes")
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise XAIError("No volume was given.", "Give one path, or several for several channels, in a list.")
        key = tuple((name, _state(name)) for name in names)
        if key != self._volume_key or self._volume is None:
            self._volume_key = self._volume = self._pace = None
            is_case = len(names) == 1 and not Path(names[0]).exists() and not Path(names[0]).suffix
            is_case = is_case and Path(names[0]).name == names[0]  # a word, with neither folder nor ending
            self._volume = load_case(names[0]).volume if is_case else load_volume(names[0], *names[1:])
            self._volume_key = key
        return self._volume


def check_output(name: str) -> Path:
    """The path of a map that can be written: found out before the run, not after it.

    Raises
    ------
    XAIError
        If its format or its folder will not do.
    """
    path = Path(name).expanduser()
    if not path.name.lower().endswith(WRITABLE):
        raise XAIError(f"A map cannot be written as {path.name}.", f"Let its name end in {', '.join(WRITABLE)}.")
    if path.is_dir():
        raise XAIError(f"{path} is a folder.", "Give the name of a file in it.")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise XAIError(f"{path} cannot be written: {folder} is no folder that you may write to.", "Choose another one.")
    return path


def describe_model(model: Model) -> dict[str, Any]:
    """What a form needs to know of a model."""
    return {
        "name": model.name, "title": getattr(model, "title", "") or model.name, "task": model.task,
        "classes": list(model.class_names), "groups": {name: list(members) for name, members in model.groups.items()},
        "channels": model.channels, "spatial_dims": model.spatial_dims, "kind": model.kind, "source": model.source,
    }  # fmt: skip


def describe_prediction(prediction: Prediction) -> dict[str, Any]:
    """The answer for programs, and as a text for people."""
    return {**prediction.to_json(), "text": prediction.text()}


def describe_display(result: Explanation) -> dict[str, Any]:
    """What a viewer needs to choose a window and a colour table."""
    low, p01, p50, p99, high = np.percentile(result.array, [0, 1, 50, 99, 100])
    return {
        "minimum": low, "maximum": high, "p01": p01, "p50": p50, "p99": p99, "signed": result.signed,
        "units": result.units, "title": result.title,
    }  # fmt: skip


def describe_provenance(result: Explanation) -> dict[str, Any]:
    """With what it was made; without names of files, which may be names of people."""
    private = ("volume", "model_source")
    return {key: value for key, value in result.provenance.items() if key not in private}


def describe_preview(path: Path, result: Explanation) -> dict[str, Any]:
    """What a viewer needs to show a map that is on its way."""
    return {
        "map": str(path), "stage": result.diagnostics["stage"], "method": result.method, "target": result.target,
        "diagnostics": result.diagnostics, "prediction": describe_prediction(result.prediction),
        "display": describe_display(result), "peak": describe_peak(result),
    }  # fmt: skip


def describe_peak(result: Explanation) -> dict[str, Any]:
    """The voxel that speaks most for the target, as an index (i, j, k) and a point in LPS millimetres."""
    place = np.unravel_index(int(np.argmax(result.array)), result.array.shape)
    index = [int(n) for n in reversed(place)]
    point = np.asarray(result.geometry.index_to_physical(index))
    return {"index": index, "lps": point.tolist(), "value": float(result.array[place])}


def _text(request: Request, field: str, what: str) -> str:
    value = request.get(field)
    if not isinstance(value, str) or not value:
        raise XAIError(f"The request has no {field}.", f"Give {what}.")
    return value


def _state(name: str) -> tuple[int, int] | None:
    """What changes when a file does; None for a bundled name."""
    try:
        status = Path(name).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size

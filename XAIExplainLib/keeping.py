"""The engine's answers about the user's own models: looking into one, keeping it in a folder, changing, removing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from XAIExplainLib.consent import ConsentError
from XAIExplainLib.errors import XAIError
from XAIExplainLib.inspecting import accepted_input, inspect_model, settings_by_weights, with_verdict
from XAIExplainLib.loading import bundled_models
from XAIExplainLib.loading_settings import INFORMATION, SETTINGS, named_path, read_json
from XAIExplainLib.own_models import add_model, edit_model, own_models, remove_model

if TYPE_CHECKING:
    from XAIExplainLib.engine import LocalEngine, Request, Run
    from XAIExplainLib.model import Model


def answer_models(request: Request) -> list[dict[str, Any]]:
    """The bundled models, and those in ``folder``."""
    folder = request.get("folder")
    bundled = [model.describe() for model in bundled_models()]
    return [*bundled, *(own_models(folder) if isinstance(folder, str) and folder else [])]


def answer_inspect(engine: LocalEngine, request: Request, run: Run) -> dict[str, Any]:
    """What is found in a model; ``volumes`` is a trial, ``layers`` false leaves out the layers."""
    run.progress(0.0, "loading")
    model = _model(engine, request)
    volume = engine.volume(request) if request.get("volumes") else None
    return inspect_model(model, volume, request.get("layers") is not False, run)


def answer_add(engine: LocalEngine, request: Request, run: Run) -> dict[str, Any]:
    """Put a model into ``folder`` as ``name``, after it was loaded and its answer fits what is said about it."""
    folder, values = _folder(request), _values(request)
    run.progress(0.0, "loading")
    model = _model(engine, {**request, "options": _options(values)})
    tensor = accepted_input(model, run)
    known: dict[str, Any] = {
        "task": model.task, "channels": model.channels or (None if tensor is None else tensor.shape[1]),
        "spatial_dims": model.spatial_dims,
    }  # fmt: skip
    if not model.classes and model.outputs:
        known["classes"] = list(model.class_names)  # forms want to list them before the network was asked
    path = add_model(
        folder, str(request["model"]), str(request.get("name") or ""), {**known, **values},
        copy=request.get("copy") is not False, taken=_bundled_names(), run=run,
    )  # fmt: skip
    return {"path": str(path), "name": read_json(path)["name"]}


def answer_edit(engine: LocalEngine, request: Request, run: Run) -> dict[str, Any]:
    """Write ``values`` into a model of ``folder``, after it was loaded with them and its answer fits."""
    folder, values = _folder(request), _values(request)
    accepted_input(_model(engine, {**request, "options": _options(values)}), run)
    path = edit_model(folder, str(request["model"]), values, taken=_bundled_names())
    return {"path": str(path), "name": read_json(path).get("name", "")}


def answer_remove(request: Request) -> dict[str, Any]:
    """Take a model out of ``folder``; says which files are gone."""
    return {"removed": remove_model(_folder(request), str(request.get("model") or ""))}


def _model(engine: LocalEngine, request: Request) -> Model:
    """The model of the request, loaded only with consent; of a program that does not say it, 2D by its weights."""
    options = dict(request.get("options") or {})
    try:
        model = engine.model({**request, "options": options})
        found = settings_by_weights(model)
        if not found or options.get("spatial_dims"):
            return model
        return engine.model({**request, "options": {**options, **found}})
    except ConsentError as error:
        if request.get("consent", False) is None:
            raise  # it was looked into, and says why it asks
        raise with_verdict(error, _program(Path(str(request["model"])).expanduser())) from None


def _program(path: Path) -> Path:
    """The file or bundle that would be loaded: the path itself, or what a JSON there names."""
    json_path = path / "model.json" if (path / "model.json").is_file() else path
    if json_path.suffix.lower() != ".json":
        return path
    return named_path(read_json(json_path).get("file"), "file", json_path)


def _folder(request: Request) -> str:
    folder = request.get("folder")
    if not isinstance(folder, str) or not folder:
        raise XAIError("The request has no folder.", "Give the folder of models.")
    return folder


def _values(request: Request) -> dict[str, Any]:
    values = request.get("values") or {}
    for key in values:
        if key not in (*SETTINGS, *INFORMATION):
            raise XAIError(f"A model's description has no field {key}.", f"Its fields are: {', '.join(SETTINGS)}.")
    return dict(values)


def _options(values: dict[str, Any]) -> dict[str, Any]:
    """What of the values decides how the model is loaded."""
    return {key: value for key, value in values.items() if key in SETTINGS and key not in ("name", "source")}


def _bundled_names() -> tuple[str, ...]:
    found = bundled_models()
    return tuple(str(word) for model in found for word in (model.name, model.description.get("title", "")) if word)

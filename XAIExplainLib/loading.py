"""Load a model by a bundled name or from a file, without running anything that was not agreed to."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from XAIExplainLib.consent import ConsentError
from XAIExplainLib.errors import XAIError
from XAIExplainLib.loading_bundle import load_bundle
from XAIExplainLib.loading_json import load_json
from XAIExplainLib.loading_program import archive_kind, load_program
from XAIExplainLib.loading_settings import check_description, named_path, read_json, settings
from XAIExplainLib.loading_weights import refuse_checkpoint
from XAIExplainLib.model import Model
from XAIExplainLib.resources import resources_path

__all__ = ["BundledModel", "ConsentError", "bundled_models", "load_model"]

_KINDS = (
    "Give a bundled name, TorchScript (.pt), torch.export (.pt2), a MONAI bundle (folder or .zip), or a JSON file that "
    "describes a network."
)


@dataclass(frozen=True)
class BundledModel:
    """A model that comes with the project, as its description has it; the network is not loaded."""

    name: str
    path: Path
    description: dict[str, Any]

    def describe(self) -> dict[str, Any]:
        """The description as JSON-ready values."""
        return {**self.description, "name": self.name}


def bundled_models() -> list[BundledModel]:
    """The models that come with the project, by name."""
    found = sorted(resources_path("models").glob("*/model.json"))
    return [BundledModel(path.parent.name, path, read_json(path)) for path in found]


def load_model(name_or_path: str | Path, *, consent: bool | None = None, **options: Any) -> Model:
    """Load a model.

    Parameters
    ----------
    name_or_path : str or Path
        A bundled name; a JSON file that names a network and its weights, or one of the files that follow, or a folder
        with ``model.json``; TorchScript; an archive of torch.export; a MONAI bundle, folder or zip.
    consent : bool or None
        Whether loading may run code. TorchScript, torch.export and MONAI bundles can. None looks into the file first:
        one that does nothing but calculate is loaded, any other asks. False asks for each of them, True for none.
        Bundled names and JSON files that name a network cannot run code; one that names a file asks as that file does.
    **options
        Arguments of `Model` over those that the file gives: ``classes``, ``preprocessing``, ``task``,
        ``spatial_dims``, ``output``, ...

    Returns
    -------
    Model
        In evaluation mode, float32, on the CPU. Nothing is ever fetched from the network.

    Raises
    ------
    ConsentError
        If the file can run code and `consent` is not given.
    XAIError
        If there is no such model, or the file is damaged, refused or not understood.
    """
    path = Path(name_or_path).expanduser()
    if not path.exists():
        return _bundled(str(name_or_path), options)
    if path.is_dir():
        if (path / "model.json").is_file():
            return _described(path / "model.json", consent, options)
        if (path / "configs").is_dir():
            return load_bundle(path, consent, options)
        raise XAIError(f"The folder {path.name} is no MONAI bundle: it has no folder configs.", _KINDS)
    if path.stat().st_size == 0:
        raise XAIError(f"The file {path.name} is empty.", "Copy or export it again.")
    if path.suffix.lower() == ".json":
        return _described(path, consent, options)
    with path.open("rb") as file:
        head = file.read(4)
    if head.startswith(b"PK"):
        kind = archive_kind(path)
        if kind == "bundle":
            return load_bundle(path, consent, options)
        if kind in ("torchscript", "exported", "compiled"):
            return load_program(path, kind, consent, options)
        if kind == "damaged":
            raise XAIError(f"{path.name} is cut off or damaged.", "Copy or export it again.")
        if kind == "":
            raise XAIError(f"{path.name} is an archive that holds no model.", _KINDS)
        raise refuse_checkpoint(path)
    if head[:1] == b"\x80":  # a pickle: what torch.save wrote before it wrote archives, or anything else
        raise refuse_checkpoint(path)
    raise XAIError(f"{path.name} is no model.", _KINDS)


def _described(path: Path, consent: bool | None, options: dict[str, Any]) -> Model:
    """The model of a JSON file, which names a network and its weights, or the file or folder that it is about."""
    described = read_json(path)
    if described.get("file") is None:
        return load_json(path, options)
    check_description(described, path.name)
    file = named_path(described["file"], "file", path)
    if file.suffix.lower() == ".json" or (file / "model.json").is_file():
        raise XAIError(f"{path.name} names {file.name}, which is a description too.", "Name the model's own file.")
    if not file.exists():
        raise XAIError(
            f"{path.name} names {described['file']}, which is not there.",
            f"Put it back at {file.absolute()}, or correct the file in {path.name}.",
        )
    called = path.parent.name if path.name == "model.json" else path.stem
    chosen = {"name": called, "source": str(path), **settings(described, options)}
    information = chosen.pop("information")
    model = load_model(file, consent=consent, **chosen)
    model.information.update(information)
    return model


def _bundled(name: str, options: dict[str, Any]) -> Model:
    known = {model.name: model for model in bundled_models()}
    if name in known:
        return load_json(known[name].path, options)
    if Path(name).suffix or "/" in name or "\\" in name:
        raise XAIError(f"There is no file or folder {name}.", "Check the path.")
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or list(known)
    hint = f"Did you mean {', '.join(near)}?" if near else _KINDS
    raise XAIError(f"There is no bundled model and no file called {name}.", hint)

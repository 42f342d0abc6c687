"""A folder of the user's own models: each is a small JSON with the model's file beside it, so that it can be sent.

    FOLDER/lung-nodules/model.json      what the user said about it
    FOLDER/lung-nodules/network.pt2     the file, copied; or the JSON names it where it lies

A JSON that a colleague sent is listed too, in the folder itself or one below. Listing reads JSON and nothing else: what
could run code is loaded by `load_model`, which asks.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainLib.files import atomic_path
from XAIExplainLib.loading_settings import INFORMATION, SETTINGS, check_description, named_path, read_json

_FIRST = ("name", "description", "file", "network", "weights", "task", "classes", "groups", "overlapping", "channels",
          "spatial_dims", "slice_axis", "preprocessing")  # fmt: skip
_CHUNK = 1 << 22
_LONGEST_NAME = 60
# Windows gives these names to devices.
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_LEFT_OUT = shutil.ignore_patterns(".git", ".cache", "__pycache__", ".*-copying")


def own_models(folder: str | Path) -> list[dict[str, Any]]:
    """The models in a folder, by their names.

    Parameters
    ----------
    folder : str or Path
        The folder; one that is not there has none.

    Returns
    -------
    list of dict
        ``name``, ``title``, ``path`` (of the JSON: what `load_model` takes), ``own`` (True), and what the JSON says;
        or with ``error`` and ``hint``, a sentence each, where it cannot be read.
    """
    root = Path(folder).expanduser()
    entries = [entry for path in _descriptions(root) if (entry := _entry(path)) is not None]
    return sorted(entries, key=lambda entry: str(entry["title"]).casefold())


def add_model(
    folder: str | Path, source: str | Path, name: str, values: Mapping[str, Any] | None = None, *,
    copy: bool = True, taken: tuple[str, ...] = (), run: Any = None,
) -> Path:  # fmt: skip
    """Put a model into the folder, so that it is listed.

    Parameters
    ----------
    folder : str or Path
        The folder of models; it is made if it is not there.
    source : str or Path
        TorchScript, torch.export, a MONAI bundle (folder or zip), or a JSON that describes a model.
    name : str
        What it is called from now on.
    values : mapping or None
        Fields of the JSON over those that the source has (its own JSON, or the one beside a program); None leaves
        a field to the source.
    copy : bool
        Copy the model's file beside the JSON; otherwise the JSON names it where it is.
    taken : tuple of str
        Names that others have, such as the bundled models.
    run : Run or None
        Hears how much is copied, and may stop it.

    Returns
    -------
    Path
        Of the JSON.

    Raises
    ------
    XAIError
        If the name is taken or no name, the source is no model's file, or the folder cannot be written.
    """
    root, path = Path(folder).expanduser(), Path(source).expanduser()
    if not path.exists():
        raise XAIError(f"There is no file or folder {source}.", "Check the path.")
    description, files = _source(path)
    description.update({key: value for key, value in (values or {}).items() if value is not None})
    description["name"] = _checked_name(name, root, taken)
    _check_fields(description)
    goal = root / folder_name(description["name"])
    if goal.exists():
        raise XAIError(f"The folder of models has a folder {goal.name} already.", "Choose another name.")
    beside = root / f".{secrets.token_hex(4)}-copying"
    try:
        beside.mkdir(parents=True)
        for field, file in files.items():
            description[field] = file.name if copy else _where(file, root, goal)
            if copy:
                _copy(file, beside / file.name, run)
        _write(beside / "model.json", description)
        beside.rename(goal)
    except OSError as error:
        raise _unwritable(goal, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return goal / "model.json"


def edit_model(
    folder: str | Path, path: str | Path, values: Mapping[str, Any], *, taken: tuple[str, ...] = ()
) -> Path:  # fmt: skip
    """Write other values into a model's JSON; None takes a field out. Its files and its place stay as they are.

    Raises
    ------
    XAIError
        If it is none of the folder's models, or as `add_model`.
    """
    root, json_path = Path(folder).expanduser(), _own(folder, path)
    description = read_json(json_path)
    for key, value in values.items():
        description.pop(key, None) if value is None else description.update({key: value})
    if values.get("name") is not None:
        description["name"] = _checked_name(str(values["name"]), root, taken, json_path)
        description.pop("title", None)
    _check_fields(description)
    _write(json_path, description)
    return json_path


def remove_model(folder: str | Path, path: str | Path) -> list[str]:
    """Take a model out of the folder: its JSON, and the files beside it that no other model there needs.

    Files elsewhere, which the JSON only names, stay.

    Returns
    -------
    list of str
        What was removed.

    Raises
    ------
    XAIError
        If it is none of the folder's models, or cannot be removed.
    """
    root, json_path = Path(folder).expanduser(), _own(folder, path)
    needed = {file.resolve() for other in _descriptions(root) if other != json_path for file in _files_of(other)}
    home = json_path.parent
    removed = [json_path]
    for file in _files_of(json_path):
        if file.exists() and file.parent.resolve() == home.resolve() and file.resolve() not in needed:
            removed.append(file)
    try:
        for item in removed:
            shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()
        if home.resolve() != root.resolve():
            with contextlib.suppress(OSError):  # something of the user's is in it
                home.rmdir()
    except OSError as error:
        raise XAIError(
            f"{item} could not be removed: {(error.strerror or str(error)).lower()}.",
            "Close what uses it, and try again.",
        ) from error
    return [str(item) for item in removed]


def model_files(name: str | Path) -> list[Path]:
    """The files that a model by this name is made of: the path itself, and what a JSON there names."""
    path = Path(name).expanduser()
    json_path = path / "model.json" if (path / "model.json").is_file() else path
    return [path, *(_files_of(json_path) if json_path.suffix.lower() == ".json" else [])]


def folder_name(name: str) -> str:
    """A name that every system takes for a folder."""
    cleaned = re.sub(r"[^\w.\-]+", "-", name.strip()).strip("-._")[:_LONGEST_NAME].rstrip("-._").lower()
    return f"model-{cleaned}" if not cleaned or _RESERVED.fullmatch(cleaned) else cleaned


def _descriptions(root: Path) -> Iterator[Path]:
    """JSON files in the folder and one below it."""
    for path in sorted([*root.glob("*.json"), *root.glob("*/*.json")]):
        if not path.name.startswith(".") and not path.parent.name.startswith(".") and path.is_file():
            yield path


def _entry(path: Path) -> dict[str, Any] | None:
    """How a JSON is listed; None if it describes no model."""
    called = path.parent.name if path.name == "model.json" else path.stem
    try:
        value = read_json(path)
        if "file" not in value and not isinstance(value.get("network"), dict):
            return None  # the settings beside a program, or something of another kind
        check_description(value, path.name)
    except XAIError as error:
        return {"name": called, "title": called, "path": str(path), "own": True, "error": error.message,
                "hint": error.hint}  # fmt: skip
    title = value.get("title") or value.get("name") or called
    return {**value, "name": str(value.get("name") or called), "title": str(title), "path": str(path), "own": True}


def _source(path: Path) -> tuple[dict[str, Any], dict[str, Path]]:
    """What the source says of itself, and the files it is made of by the field that names them."""
    if (path / "model.json").is_file():
        path = path / "model.json"
    if path.is_dir() or path.suffix.lower() != ".json":
        described: dict[str, Any] = {}
        for name in (path.name + ".json", path.stem + ".json"):
            if path.is_file() and path.with_name(name).is_file():
                described = read_json(path.with_name(name))
                break
        known = {key: value for key, value in described.items() if key in (*SETTINGS, *INFORMATION)}
        known.pop("title", None)  # the name is what it is called from now on
        return known, {"file": path}
    described = read_json(path)
    check_description(described, path.name)
    field = "file" if described.get("file") is not None else "weights"
    if described.get(field) is None:
        raise XAIError(f"{path.name} describes no model.", 'It names neither a "file" nor "network" and "weights".')
    file = named_path(described[field], field, path)
    if not file.exists():
        raise XAIError(f"{path.name} names {described[field]}, which is not there.", f"Put it back at {file}.")
    described.pop("title", None)
    return described, {field: file}


def _files_of(json_path: Path) -> list[Path]:
    try:
        value = read_json(json_path)
        return [named_path(value[key], key, json_path) for key in ("file", "weights") if value.get(key)]
    except XAIError:
        return []


def _own(folder: str | Path, path: str | Path) -> Path:
    root, json_path = Path(folder).expanduser(), Path(path).expanduser()
    if json_path.is_dir():
        json_path = json_path / "model.json"
    if not any(_same(json_path, own) for own in _descriptions(root)):
        raise XAIError(f"{path} is none of the models in {root}.", "Choose one that is listed.")
    return json_path


def _same(first: Path, second: Path) -> bool:
    return os.path.normcase(first.absolute()) == os.path.normcase(second.absolute())


def _checked_name(name: str, root: Path, taken: tuple[str, ...], but: Path | None = None) -> str:
    name = " ".join(str(name).split())
    if not re.search(r"\w", name):
        raise XAIError("The model has no name.", "Give it a short one, such as Lung nodules.")
    if len(name) > _LONGEST_NAME:
        raise XAIError(f"The name has {len(name)} letters.", f"Give a shorter one, of at most {_LONGEST_NAME}.")
    others = [entry for entry in own_models(root) if but is None or not _same(Path(entry["path"]), but)]
    known = {str(word).casefold() for word in taken}
    known |= {str(entry[key]).casefold() for entry in others for key in ("name", "title")}
    if name.casefold() in known:
        raise XAIError(f"There is a model called {name} already.", "Choose another name, or edit that model.")
    return name


def _check_fields(description: dict[str, Any]) -> None:
    from XAIExplainLib.preprocessing import Preprocessing

    check_description(description, "The description")
    if description.get("preprocessing") is not None:
        description["preprocessing"] = Preprocessing(description["preprocessing"]).to_json()


def _where(file: Path, root: Path, goal: Path) -> str:
    """A path from the JSON to a file that stays where it is: relative inside the folder, else absolute."""
    file = file.resolve()
    if file.is_relative_to(root.resolve()):
        return Path(os.path.relpath(file, root.resolve() / goal.name)).as_posix()
    return str(file)


def _copy(source: Path, goal: Path, run: Any) -> None:
    files = [source]
    if source.is_dir():
        files.clear()
        shutil.copytree(source, goal, ignore=_LEFT_OUT, copy_function=lambda one, _goal: files.append(Path(one)))
    total = sum(file.stat().st_size for file in files) or 1
    done = 0
    for file in files:
        target = goal / file.relative_to(source) if source.is_dir() else goal
        with file.open("rb") as reading, target.open("wb") as writing:
            while part := reading.read(_CHUNK):
                if run is not None:
                    if run.cancelled():
                        raise CancelledError
                    run.progress(done / total, "copying")
                writing.write(part)
                done += len(part)


def _write(path: Path, description: Mapping[str, Any]) -> None:
    """A field a line, and a step of the preprocessing a line: it is read by people."""
    keys = [key for key in _FIRST if key in description] + [key for key in description if key not in _FIRST]
    fields = [f"  {json.dumps(key)}: {_text(description[key])}" for key in keys]
    with atomic_path(path) as beside:
        beside.write_text("{\n" + ",\n".join(fields) + "\n}\n", encoding="utf-8")


def _text(value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return "[\n" + ",\n".join("    " + _text(item) for item in value) + "\n  ]"
    return json.dumps(value, ensure_ascii=False)


def _unwritable(path: Path, error: OSError) -> XAIError:
    reason = (error.strerror or str(error)).lower()
    return XAIError(
        f"{path} could not be written: {reason}.", "Choose a folder of models that you may write to and that has room."
    )

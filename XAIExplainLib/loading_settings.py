"""What a model's description may say, and what a caller may say over it."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

from XAIExplainLib.errors import XAIError

# What becomes an argument of `Model`, and what only describes.
SETTINGS = (
    "name", "task", "classes", "groups", "spatial_dims", "channels", "preprocessing", "output", "slice_axis",
    "slice_index", "batch", "inputs", "overlapping", "sliding", "source",
)  # fmt: skip
INFORMATION = ("title", "description", "licence", "card", "figures")
_STRUCTURE = ("network", "weights", "file")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises
    ------
    XAIError
        If it cannot be read, is no JSON, or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise XAIError(f"{path.name} could not be read: {error}.", "Check the file.") from error
    except json.JSONDecodeError as error:
        raise XAIError(f"{path.name} is no valid JSON: {error}.", "Correct it, or export it again.") from error
    if not isinstance(value, dict):
        raise XAIError(f"{path.name} does not describe a model.", "It must hold a JSON object.")
    return value


def named_path(value: Any, field: str, json_path: Path) -> Path:
    """The file or folder that a description names in `field`: relative to the JSON file, or absolute.

    Raises
    ------
    XAIError
        If it is no text, or a place on a network: nothing is fetched because a file says so.
    """
    if not isinstance(value, str) or not value.strip():
        raise XAIError(f"The {field} in {json_path.name} is no name of a file.", f'Write "{field}": "network.pt2".')
    if value.startswith(("\\\\", "//")) or "://" in value:
        raise XAIError(
            f"{json_path.name} names {value}, which is on a network.", "Copy that file beside it, and name the copy."
        )
    return json_path.parent / Path(value).expanduser()


def check_description(value: dict[str, Any], name: str) -> None:
    """Refuse fields that look like a slip of one that matters: silently left out, they would change the answer."""
    known = (*SETTINGS, *INFORMATION, *_STRUCTURE)
    for field in value:
        near = difflib.get_close_matches(field, known, n=1, cutoff=0.8)
        if field not in known and near:
            raise XAIError(f"{name} has a field {field}, which nobody reads.", f"Did you mean {near[0]}?")


def settings(described: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `Model` from a description, `options` of the caller over them; ``information`` holds the rest."""
    chosen = {key: described[key] for key in SETTINGS if described.get(key) is not None}
    for key, value in options.items():
        if key not in SETTINGS:
            near = difflib.get_close_matches(key, SETTINGS, n=3, cutoff=0.4) or list(SETTINGS)
            raise XAIError(f"Loading a model has no option {key}.", f"Did you mean {', '.join(near)}?")
        if value is not None:
            chosen[key] = value
    if isinstance(chosen.get("source"), dict):
        chosen["source"] = json.dumps(chosen["source"])
    chosen["information"] = {key: value for key, value in described.items() if key not in (*SETTINGS, *_STRUCTURE)}
    return chosen

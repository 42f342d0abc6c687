"""The bundled cases: a volume, what is known about it, and, where there is a lesion, its mask and its healthy twin."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from XAIExplainLib.errors import XAIError
from XAIExplainLib.loading_settings import read_json
from XAIExplainLib.resources import resources_path
from XAIExplainLib.volume import Volume, load_volume

_ENDINGS = (".nii.gz", ".nrrd")


@dataclass(frozen=True, eq=False)
class Case:
    """A volume with what is known about it.

    Parameters
    ----------
    name : str
        The name of its folder.
    volume : Volume
        What a network is asked about.
    mask : Volume or None
        Non-zero where the lesion is; on the grid of `volume`.
    twin : Volume or None
        The same person without the lesion; on the grid of `volume`.
    information : dict
        What ``case.json`` says: title, description, kind, attributes, source, licence.
    """

    name: str
    volume: Volume
    mask: Volume | None = None
    twin: Volume | None = None
    information: dict[str, Any] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """The case as JSON-ready values."""
        return describe(self.name, self.information)


@dataclass(frozen=True)
class CaseEntry:
    """A bundled case that is not loaded."""

    name: str
    information: dict[str, Any]

    def describe(self) -> dict[str, Any]:
        """The case as JSON-ready values."""
        return describe(self.name, self.information)


def describe(name: str, information: dict[str, Any]) -> dict[str, Any]:
    """What is known about a case, with the paths of its files."""
    files = {part: str(path) for part in ("image", "mask", "twin", "marker")
             if (path := _file(name, part)) is not None}  # fmt: skip
    return {**information, "name": name, "paths": files}


def case_names() -> list[str]:
    """Names of the bundled cases."""
    return sorted(path.parent.name for path in resources_path("cases").glob("*/case.json"))


def cases() -> list[CaseEntry]:
    """The bundled cases, described but not loaded."""
    return [CaseEntry(name, read_json(resources_path("cases", name, "case.json"))) for name in case_names()]


def load_case(name: str) -> Case:
    """Load a bundled case.

    Raises
    ------
    XAIError
        If there is none of that name, or its files are missing or do not lie on one grid.
    """
    known = case_names()
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4) or known
        raise XAIError(f"There is no case called {name}.", f"Did you mean {', '.join(near)}?" if near else "")
    image = _file(name, "image")
    if image is None:
        raise XAIError(f"The case {name} has no image.", "Install XAIExplain again.")
    volume = load_volume(image)
    volume.name = name
    others = {part: load_volume(path) for part in ("mask", "twin") if (path := _file(name, part)) is not None}
    for part, other in others.items():
        if not other.geometry.same_as(volume.geometry):
            raise XAIError(f"The {part} of the case {name} lies on another grid than its image.", "Install it again.")
    information = read_json(resources_path("cases", name, "case.json"))
    return Case(name, volume, others.get("mask"), others.get("twin"), information)


def _file(name: str, part: str) -> Path | None:
    candidates = [resources_path("cases", name, part + ending) for ending in _ENDINGS]
    return next((path for path in candidates if path.is_file()), None)

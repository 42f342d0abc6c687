"""What comes out: a map on the explained volume's own grid, with all that says how it was made."""

from __future__ import annotations

import datetime
import json
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from XAIExplainLib import __version__
from XAIExplainLib.files import atomic_path
from XAIExplainLib.geometry import Geometry
from XAIExplainLib.prediction import Prediction
from XAIExplainLib.volume import Volume, save_volume


@dataclass(eq=False)
class Explanation:
    """A map of one answer.

    Parameters
    ----------
    array : numpy.ndarray
        Shape (k, j, i), float32, on the explained volume's voxel grid: the sum over channels. Positive speaks for
        the target, zero says nothing; outside of what the network sees it is zero.
    geometry : Geometry
        Of `array`.
    channels : numpy.ndarray
        Shape (c, k, j, i) on the same grid: each channel's part, or one for methods that do not part them.
    native : Volume
        The map before any interpolation: on the network's grid, or on the layer's own coarse one.
    method, title : str
        Its name, and the name for the screen.
    parameters : dict
        All of them, defaults included.
    target : str
        What was explained.
    units : str
        What a value is.
    signed : bool
        Whether values may be negative.
    prediction : Prediction
        What the network answers.
    diagnostics : dict
        ``score``, ``seconds``, ``peak_bytes``, ``warnings``, and where the theory has them ``baseline_score`` and
        ``completeness_error``; the method's own figures besides. JSON-ready.
    provenance : dict
        Model, volume and versions. JSON-ready.
    """

    array: np.ndarray
    geometry: Geometry
    channels: np.ndarray
    native: Volume
    method: str
    title: str
    parameters: dict[str, Any]
    target: str
    units: str
    signed: bool
    prediction: Prediction
    diagnostics: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def to_volume(self) -> Volume:
        """The map as a volume."""
        return Volume.on(self.geometry, self.array, f"{self.method} {self.target}")

    def record(self) -> dict[str, Any]:
        """How it was made and what it is, JSON-ready."""
        return {
            "method": self.method, "title": self.title, "parameters": self.parameters, "target": self.target,
            "units": self.units, "signed": self.signed, "prediction": self.prediction.to_json(),
            "diagnostics": self.diagnostics, "provenance": self.provenance,
            "geometry": self.geometry.to_json(), "native_geometry": self.native.geometry.to_json(),
            "not_for": "Not for diagnosis or treatment.",
        }  # fmt: skip

    def save(self, path: str | Path, compressed: bool = True) -> Path:
        """Write the map, and beside it ``<name>.json`` with `record`.

        Parameters
        ----------
        path : str or Path
            Ends in .nrrd, .nii.gz, .nii or .mha.
        compressed : bool
            False for a file that lives for seconds.

        Returns
        -------
        Path
            The map's file.

        Raises
        ------
        XAIError
            If either cannot be written; files of these names are then as they were.
        """
        text = json.dumps(self.record(), indent=1, allow_nan=False) + "\n"
        # The record is written first and named last: a map that cannot say how it was made replaces no older one.
        with atomic_path(record_path(path)) as beside:
            beside.write_text(text, encoding="utf-8")
            return save_volume(self.array, self.geometry, path, compressed)


def record_path(path: str | Path) -> Path:
    """Where the record of a saved map lies: ``map.nii.gz`` has ``map.json``."""
    path = Path(path)
    stem = path.name[: -len(".nii.gz")] if path.name.lower().endswith(".nii.gz") else path.stem
    return path.with_name(stem + ".json")


def versions() -> dict[str, str]:
    """Of this library and what it stands on, and the time of the run."""
    import torch

    return {
        "XAIExplainLib": __version__, "torch": torch.__version__, "numpy": np.__version__,
        "python": platform.python_version(), "platform": platform.platform(terse=True),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }  # fmt: skip

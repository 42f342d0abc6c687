"""Every method on every network: works, works with a warning, or refuses with a reason; anything else is a defect."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from Testing.validity.networks import Subject, made
from XAIExplainLib import XAIError, explain
from XAIExplainLib.method import Method

logger = logging.getLogger(__name__)

# So that one cell takes seconds; the methods' own figures say how rough a map of so few samples is.
LARGEST = {"samples": 8, "masks": 24, "steps": 20, "regions": 6}
OF_REGIONS = {"samples": 40, "regions": 6}
# Of the bundled networks one has a twin; an ensemble needs two that fit one image.
TWINS = {"brain-lesion": "brain-lesion-shortcut"}
STATES = ("works", "warns", "refuses", "fails")


@dataclass(frozen=True)
class Cell:
    """What one method did on one network.

    Parameters
    ----------
    method, subject : str
        Their names.
    state : str
        ``works``; ``warns``: a map, and a caution with it; ``refuses``: a sentence; ``fails``: a defect of ours.
    sentence : str
        The caution, the reason, or the traceback's last line.
    error : float or None
        Relative error of the sum that the theory asks for, where it does.
    """

    method: str
    subject: str
    state: str
    sentence: str = ""
    error: float | None = None
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return asdict(self)


def small(method: type[Method], shape: tuple[int, ...], network: str = "") -> dict[str, Any]:
    """Parameters with which the method takes seconds on an image of this shape (k, j, i)."""
    chosen: dict[str, Any] = {}
    for parameter in method.parameters:
        if parameter.kind == "integer" and parameter.name in LARGEST:
            least = int(parameter.minimum or 1)
            chosen[parameter.name] = max(least, min(int(parameter.default), LARGEST[parameter.name]))
        elif parameter.kind == "voxels" and parameter.name in ("window", "stride"):
            chosen[parameter.name] = tuple(max(1, n // 2) for n in shape)
    if method.name == "ensemble_cam" and network in TWINS:
        chosen["models"] = TWINS[network]
    return {**chosen, **(OF_REGIONS if method.name in ("lime", "kernel_shap") else {})}


def cell(method: type[Method], subject: Subject, prepared: tuple[Any, Any, Any]) -> Cell:
    """Run one method on one network."""
    model, volume, target = prepared
    shape = volume.geometry.shape
    shape = shape if model.spatial_dims == 3 else shape[1:]
    began = time.perf_counter()
    try:
        result = explain(model, volume, method.name, target, memory="6GiB", **small(method, shape, subject.name))
    except XAIError as error:
        return Cell(method.name, subject.name, "refuses", error.message, seconds=time.perf_counter() - began)
    except Exception as error:  # noqa: BLE001 - a defect is what this looks for
        return Cell(method.name, subject.name, "fails", f"{type(error).__name__}: {error}".splitlines()[0])
    seconds, warnings = time.perf_counter() - began, result.diagnostics["warnings"]
    found = result.diagnostics.get("completeness_error")
    wrong = _defect(result.array, volume.geometry.shape, result.signed)
    if wrong:
        return Cell(method.name, subject.name, "fails", wrong, found, seconds)
    state = "warns" if warnings else "works"
    return Cell(method.name, subject.name, state, " ".join(warnings), found, seconds)


def matrix(methods: Iterable[type[Method]], subjects: Iterable[Subject]) -> list[Cell]:
    """All cells, network by network: each is made and exported once."""
    cells = []
    methods = list(methods)
    for subject in subjects:
        prepared = made(subject)
        for method in methods:
            cells.append(cell(method, subject, prepared))
            logger.info("%s, %s: %s %s", subject.name, method.name, cells[-1].state, cells[-1].sentence[:100])
    return cells


def _defect(array: np.ndarray, shape: tuple[int, ...], signed: bool) -> str:
    if array.shape != shape:
        return f"the map has the shape {array.shape}, the volume {shape}"
    if not np.isfinite(array).all():
        return "the map has values that are not finite"
    if not signed and float(array.min()) < -1e-6 * float(np.abs(array).max()):
        return "the map has negative values and says it has none"
    return ""

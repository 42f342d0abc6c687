"""Several maps of one volume beside one another: how alike they are, where they differ, and what lies in a mask.

What the panel shows of a comparison is computed here, in the engine's process: ranks of millions take seconds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainLib.evaluation.localisation import localisation
from XAIExplainLib.geometry import Geometry
from XAIExplainLib.volume import load_volume, save_volume

PERCENTILE = 99.9
TOP = 0.1
KINDS = ("difference", "agreement")

Progress = Callable[[float, str], None]


def load_maps(paths: Sequence[str]) -> tuple[np.ndarray, Geometry]:
    """Maps of one grid, shape (maps, k, j, i), and the grid.

    Parameters
    ----------
    paths : sequence of str
        A file each.

    Raises
    ------
    XAIError
        If there is none, one cannot be read, or they lie on different grids.
    """
    if not paths:
        raise XAIError("No map was given.", "Choose the results to compare.")
    volume = load_volume(paths[0], *paths[1:])
    return volume.data, volume.geometry


def measure(
    paths: Sequence[str], mask: str | None = None, progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Compare each map with each other, and each with a mask.

    Parameters
    ----------
    paths : sequence of str
        The maps' files, on one grid.
    mask : str or None
        File of a mask on that grid; None leaves `localisation` out.
    progress, cancelled : callable or None
        Hears how far it is; says whether to stop.

    Returns
    -------
    dict
        ``pairs``: a dict each with the places of the two maps and the figures of `likeness`; ``localisation``: those of
        `localisation` for each map, or None without a mask; ``voxels``: over how many the pairs are compared, which
        are those where at least one of all maps is not zero.

    Raises
    ------
    XAIError
        As `load_maps`; if all maps are zero, or the mask is empty.
    CancelledError
        If it is stopped.
    """
    maps, geometry = load_maps(paths)
    inside = (maps != 0).any(axis=0)
    pairs = list(itertools.combinations(range(len(maps)), 2))
    steps = len(pairs) + (len(maps) if mask else 0)
    done = 0

    def step(words: str) -> None:
        nonlocal done
        if cancelled is not None and cancelled():
            raise CancelledError
        if progress is not None:
            progress(done / max(steps, 1), words)
        done += 1

    if pairs and not inside.any():
        raise XAIError("All of these maps are zero everywhere.", "Choose maps that say something.")
    found = []
    spoken = [values[inside] for values in maps] if pairs else []
    ranked: dict[int, np.ndarray] = {}
    for first, second in pairs:
        step("comparing")
        for index in (first, second):
            if index not in ranked:
                ranked[index] = ranks(spoken[index])
        figures = {
            "spearman": correlation(ranked[first], ranked[second]),
            "pearson": correlation(spoken[first], spoken[second]),
            "dice": top_dice(spoken[first], spoken[second]),
        }
        found.append({"first": first, "second": second, **figures})
    located = None
    if mask:
        (truth,), grid = load_maps([mask])
        if not geometry.same_as(grid):
            raise XAIError("The mask does not lie on the maps' grid.", "Resample it to the maps.")
        located = []
        for values in maps:
            step("locating")
            located.append(localisation(values, truth).to_json())
    return {"pairs": found, "localisation": located, "voxels": int(inside.sum())}


def ranks(values: np.ndarray) -> np.ndarray:
    """Rank of each value, equal ones sharing the mean of theirs; float64."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(values))


def correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Pearson's correlation; None if either is flat. Of ranks it is Spearman's."""
    one, other = (values.astype(np.float64) - values.mean(dtype=np.float64) for values in (first, second))
    size = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / size if size > 0 else None


def top_dice(first: np.ndarray, second: np.ndarray, share: float = TOP) -> float | None:
    """Dice coefficient of the voxels with the largest values by size, for or against; None if either map is zero.

    Parameters
    ----------
    first, second : numpy.ndarray
        Shape (n,).
    share : float
        Of the voxels that are taken; with those that are as large as the last, and never one that is zero.
    """
    chosen = []
    for values in (first, second):
        size = np.abs(values)
        count = max(1, round(share * size.size))
        border = np.partition(size, -count)[-count]
        chosen.append((size >= border) & (size > 0))
        if not chosen[-1].any():
            return None
    return float(2 * (chosen[0] & chosen[1]).sum() / (chosen[0].sum() + chosen[1].sum()))


def scale_of(values: np.ndarray) -> float:
    """The 99.9th percentile of the sizes of what is not zero; 0 for a map that is zero everywhere."""
    size = np.abs(values[values != 0])
    return float(np.percentile(size, PERCENTILE)) if size.size else 0.0


def combine(paths: Sequence[str], kind: str, output: str | Path) -> dict[str, Any]:
    """One map of two: what they have in common, or where they differ.

    Each is first divided by its `scale_of`, so that maps with other units can be put together.

    Parameters
    ----------
    paths : sequence of str
        Two maps' files, on one grid.
    kind : str
        ``difference`` is the first minus the second. ``agreement`` is the geometric mean of the two sizes with their
        sign where both speak for the target or both against it, and 0 elsewhere.
    output : str or Path
        The file that is written.

    Returns
    -------
    dict
        ``map``: the file; ``scales``: of both maps; ``minimum``, ``maximum``.

    Raises
    ------
    XAIError
        As `load_maps`; if the kind is unknown, there are not two maps, or one is zero everywhere.
    """
    if kind not in KINDS:
        raise XAIError(f"There is no combination {kind!r}.", "Choose one of " + ", ".join(KINDS) + ".")
    if len(paths) != 2:
        raise XAIError(f"{len(paths)} maps were given.", "Give two.")
    (first, second), geometry = load_maps(paths)
    scales = [scale_of(first), scale_of(second)]
    if min(scales) <= 0:
        which = "first" if scales[0] <= 0 else "second"
        raise XAIError(f"The {which} map is zero everywhere.", "Choose maps that say something.")
    values = combined(first / scales[0], second / scales[1], kind)
    save_volume(values, geometry, output, compressed=False)
    return {"map": str(output), "scales": scales, "minimum": float(values.min()), "maximum": float(values.max())}


def combined(first: np.ndarray, second: np.ndarray, kind: str) -> np.ndarray:
    """`combine` of arrays that are on one scale."""
    if kind == "difference":
        return first - second
    product = first * second
    agreed: np.ndarray = np.where(product > 0, np.sign(first) * np.sqrt(np.abs(product)), 0).astype(np.float32)
    return agreed


def answer_measure(request: dict[str, Any], run: Any) -> dict[str, Any]:
    """The command ``measure`` of the engine: fields ``maps`` and ``mask``."""
    return measure(_paths(request), request.get("mask") or None, run.progress, run.cancelled)


def answer_combine(request: dict[str, Any], run: Any) -> dict[str, Any]:
    """The command ``combine`` of the engine: fields ``maps``, ``kind`` and ``output``."""
    output = request.get("output")
    if not isinstance(output, str) or not output:
        raise XAIError("The request has no output.", "Give the file that the map is written to.")
    return combine(_paths(request), str(request.get("kind")), output)


def _paths(request: dict[str, Any]) -> list[str]:
    paths = request.get("maps")
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise XAIError("The request has no list of maps.", "Give the maps' files in a list.")
    return paths

"""Seeded cases of the demo problem, each lesion with its healthy twin."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from XAIExplainLib.errors import XAIError
from XAIExplainLib.networks.lesions.anatomy import Anatomy, mni152
from XAIExplainLib.networks.lesions.grid import TRAINING_GRID, Grid
from XAIExplainLib.networks.lesions.lesion import KINDS, Lesion
from XAIExplainLib.networks.lesions.scan import Scan
from XAIExplainLib.networks.lesions.warps import Warp

# Independent streams of chance: what a lesion draws never changes the subject, so its twin is the same person.
_SUBJECT, _SCAN, _LESION, _NOISE, _KIND = range(5)


@dataclass(frozen=True)
class Case:
    """A generated case.

    Parameters
    ----------
    image : numpy.ndarray
        Shape (k, j, i), float32, 0 outside the brain.
    mask : numpy.ndarray
        Shape (k, j, i), bool: the lesion.
    twin : numpy.ndarray
        Shape (k, j, i), float32: the same subject and scan without the lesion.
    grid : Grid
        Where the voxels lie.
    attributes : dict
        What is known: kind, label, seed, anatomy and, with a lesion, diameter_mm, volume_ml, position_ras_mm,
        edge_mm, spiculation, amplitude, ring, ring_mm, mass_effect_mm, oedema,
        unevenness, reach_mm.
    """

    image: np.ndarray
    mask: np.ndarray
    twin: np.ndarray
    grid: Grid
    attributes: dict[str, Any]


def kind_of(seed: int) -> str:
    """Kind that a seed draws when none is asked for, all three equally likely."""
    return KINDS[np.random.default_rng([seed, _KIND]).integers(len(KINDS))]


def generate(
    seed: int,
    kind: str | None = None,
    grid: Grid = TRAINING_GRID,
    anatomy: Anatomy | None = None,
    even: bool = False,
) -> Case:
    """Generate one case.

    Parameters
    ----------
    seed : int
        Not negative. It determines subject, scan, lesion and noise.
    kind : str, optional
        ``"healthy"``, ``"enhancing"`` or ``"dark"``; by default drawn from the seed.
    grid : Grid
        Where the voxels lie. Subject, scan and lesion are the same on every grid; the noise is not.
    anatomy : Anatomy, optional
        MNI152 by default.
    even : bool
        Fill the lesion evenly; otherwise its inside varies by up to 15 %, as that of real lesions does. Nothing else
        changes.

    Returns
    -------
    Case
        The case with its twin.

    Raises
    ------
    XAIError
        If the kind is unknown or the anatomy is not installed.
    """
    kind = kind_of(seed) if kind is None else kind
    if kind not in KINDS:
        raise XAIError(f"There is no kind of case called {kind!r}.", f"The kinds are: {', '.join(KINDS)}.")
    anatomy = mni152() if anatomy is None else anatomy
    warp = Warp.draw(np.random.default_rng([seed, _SUBJECT]))
    scan = Scan.draw(np.random.default_rng([seed, _SCAN]))

    smoothed = anatomy.smoothed(0.32 * grid.spacing)
    points = grid.points()
    maps = smoothed.sample(warp.template_points(grid))
    brain = maps[4] > 0.5
    healthy = scan.signal(maps, grid)
    twin = scan.acquire(healthy, brain, grid, np.random.default_rng([seed, _NOISE]))
    attributes: dict[str, Any] = {
        "kind": kind,
        "label": KINDS.index(kind),
        "seed": seed,
        "anatomy": anatomy.name,
        "slice_mm": scan.slice_mm,
    }
    if kind == "healthy":
        return Case(twin, np.zeros(grid.shape, dtype=bool), twin, grid, attributes)

    if grid != TRAINING_GRID:
        coarse = anatomy.smoothed(0.32 * TRAINING_GRID.spacing)
        planned = coarse.sample(warp.template_points(TRAINING_GRID))
    else:
        planned = maps
    lesion = Lesion.draw(np.random.default_rng([seed, _LESION]), kind, planned)
    if even:
        lesion = replace(lesion, unevenness=0.0)
    if lesion.mass_effect_mm:
        moved = smoothed.sample(warp.template_points(grid, lesion.displace(points)), slice(0, 4))
        # The skull does not give way: the brain's outline stays that of the twin.
        signal = scan.signal(moved, grid)
    else:
        signal = healthy
    painted, inside = lesion.paint(signal, grid)
    image = scan.acquire(painted, brain, grid, np.random.default_rng([seed, _NOISE]))
    mask = inside & brain
    attributes |= _measured(lesion, planned[4] > 0.5)
    return Case(image, mask, twin, grid, attributes)


def _measured(lesion: Lesion, brain: np.ndarray) -> dict[str, Any]:
    """Attributes of a lesion; its size is that of the part inside the brain, measured on a lattice of 1 mm."""
    steps = np.arange(-25, 26, 1.0)
    box = np.stack(np.meshgrid(steps, steps, steps, indexing="ij")).reshape(3, -1) + lesion.center[:, None]
    box = box[:, lesion.signed_distance(box) > 0]
    index = []
    for dimension in (2, 1, 0):
        nearest = np.rint((box[dimension] - TRAINING_GRID.axis(dimension)[0]) / TRAINING_GRID.spacing).astype(int)
        index.append(np.clip(nearest, 0, brain.shape[2 - dimension] - 1))
    volume = int(np.count_nonzero(brain[tuple(index)]))
    return {
        "diameter_mm": float((6 * volume / np.pi) ** (1 / 3)),
        "volume_ml": volume / 1000,
        "position_ras_mm": [float(value) for value in lesion.center],
        "edge_mm": float(lesion.edge_mm),
        "spiculation": float(lesion.spiculation),
        "amplitude": float(lesion.amplitude),
        "ring": bool(lesion.ring_mm),
        "ring_mm": float(lesion.ring_mm),
        "mass_effect_mm": float(lesion.mass_effect_mm),
        "oedema": float(lesion.oedema),
        "unevenness": float(lesion.unevenness),
        "reach_mm": float(lesion.reach_mm),
    }

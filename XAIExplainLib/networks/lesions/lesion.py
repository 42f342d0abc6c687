"""One lesion: where it lies, how large and of what shape it is, and what it does to the signal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, special

from XAIExplainLib.networks.lesions.fields import SmoothField
from XAIExplainLib.networks.lesions.grid import TRAINING_GRID, Grid
from XAIExplainLib.networks.lesions.warps import push

KINDS = ("healthy", "enhancing", "dark")
"""Classes of the demo problem, in the order of the networks' outputs."""

_EDGE = 2 * np.log(9)  # the 10-90 % width of a logistic edge, in units of its scale


@dataclass(frozen=True)
class Lesion:
    """A star-shaped lesion with a harmonic boundary, in millimetres.

    Parameters
    ----------
    kind : str
        ``"enhancing"`` or ``"dark"``.
    center : numpy.ndarray
        Shape (3,), RAS mm.
    radius_mm : float
        Radius of the sphere of the same volume, before the brain's edge cuts it.
    axes : numpy.ndarray
        Shape (n, 3): unit axes of the boundary's zonal harmonics.
    degrees, weights : numpy.ndarray
        Shape (n,): their degrees and relative amplitudes.
    spiculation : float
        Amplitude of the harmonics of high degree: 0 is smooth.
    edge_mm : float
        10-90 % width of the edge.
    amplitude : float
        Enhancing: level above white matter. Dark: share of the signal that is lost.
    ring_mm : float
        Thickness of the enhancing rim, 0 for a solid lesion.
    core : float
        Level of the core inside the rim.
    mass_effect_mm : float
        Largest displacement of the tissue around it.
    oedema : float
        Share of the signal lost around an enhancing lesion.
    interior : SmoothField
        Unevenness of what the lesion is filled with.
    unevenness : float
        Its standard deviation as a fraction of the signal.
    """

    kind: str
    center: np.ndarray
    radius_mm: float
    axes: np.ndarray
    degrees: np.ndarray
    weights: np.ndarray
    spiculation: float
    edge_mm: float
    amplitude: float
    ring_mm: float
    core: float
    mass_effect_mm: float
    oedema: float
    interior: SmoothField
    unevenness: float

    @classmethod
    def draw(cls, rng: np.random.Generator, kind: str, maps: np.ndarray) -> Lesion:
        """Draw a lesion inside the tissue of a subject.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of chance.
        kind : str
            ``"enhancing"`` or ``"dark"``.
        maps : numpy.ndarray
            Shape (5, k, j, i): the subject's anatomy on the training grid, whatever grid the case is made on, so
            that the lesion is the same on all of them.
        """
        radius = rng.uniform(10, 26) / 2
        brain = maps[4] > 0.5
        depth = ndimage.distance_transform_edt(brain) * TRAINING_GRID.spacing
        tissue = ndimage.uniform_filter(maps[1] + maps[2], 3)
        # An infarct may reach the cortex; an enhancing lesion stays whole.
        margin = radius * (1.0 if kind == "enhancing" else 0.7)
        candidates = np.flatnonzero((depth > margin) & (tissue > 0.75))
        index = np.unravel_index(candidates[rng.integers(candidates.size)], brain.shape)
        center = TRAINING_GRID.points()[(slice(None), *index)] + rng.uniform(-1.25, 1.25, 3)
        degrees = np.array([2, 2, 3, 3, 4, 4, 9, 9, 10, 11, 12, 12])
        axes = rng.standard_normal((degrees.size, 3))
        spiculation = rng.uniform(0.0, 0.12)
        weights = rng.standard_normal(degrees.size) * np.where(degrees < 5, 0.10, 1.0)
        weights[degrees > 5] *= spiculation
        ring = kind == "enhancing" and rng.random() < 0.5
        ring_mm = min(rng.uniform(2.5, 5.0), 0.6 * radius)
        enhancing = kind == "enhancing"
        amplitude = rng.uniform(0.22, 0.60) if enhancing else rng.uniform(0.32, 0.70)
        return cls(
            kind=kind,
            center=np.asarray(center, dtype=np.float64),
            radius_mm=radius,
            axes=axes / np.linalg.norm(axes, axis=1, keepdims=True),
            degrees=degrees,
            weights=weights,
            spiculation=spiculation,
            edge_mm=rng.uniform(1.0, 5.0),
            amplitude=amplitude,
            ring_mm=ring_mm if ring else 0.0,
            core=rng.uniform(0.35, 0.75),
            mass_effect_mm=rng.uniform(0.5, 4.5) * min(1.0, radius / 9) if enhancing else 0.0,
            oedema=rng.uniform(0.0, 0.2) if enhancing else 0.0,
            interior=SmoothField.draw(rng, 3.5),
            unevenness=rng.uniform(0.0, 0.15),
        )

    @property
    def reach_mm(self) -> float:
        """Distance from the centre beyond which the lesion changes nothing."""
        return max(2.2 * self.radius_mm + 2 * self.edge_mm, 3.0 * self._push_scale)

    @property
    def _push_scale(self) -> float:
        return 1.6 * self.radius_mm

    def signed_distance(self, points: np.ndarray) -> np.ndarray:
        """Distance inside (positive) the boundary along the ray from the centre.

        Parameters
        ----------
        points : numpy.ndarray
            Shape (3, n), RAS mm.

        Returns
        -------
        numpy.ndarray
            Shape (n,), mm.
        """
        offset = points - self.center[:, None]
        distance = np.linalg.norm(offset, axis=0)
        cosine = np.clip(self.axes @ (offset / np.maximum(distance, 1e-6)), -1, 1)
        return self.radius_mm * self._boundary(cosine) / self._boundary_scale() - distance

    def _boundary(self, cosine: np.ndarray) -> np.ndarray:
        harmonics = special.eval_legendre(self.degrees[:, None], cosine)
        return np.clip(1 + self.weights @ harmonics, 0.4, 1.6)

    def _boundary_scale(self) -> float:
        """Cube root of the boundary's mean cube over all directions: it keeps the volume that of the sphere."""
        golden = np.arange(1000) + 0.5
        height = 1 - 2 * golden / 1000
        angle = np.pi * (1 + 5**0.5) * golden
        flat = np.sqrt(1 - height**2)
        directions = np.stack([flat * np.cos(angle), flat * np.sin(angle), height])
        return float(np.mean(self._boundary(np.clip(self.axes @ directions, -1, 1)) ** 3) ** (1 / 3))

    def displace(self, points: np.ndarray) -> np.ndarray:
        """Where the content of each point comes from, once the lesion has pushed its surroundings away."""
        if self.mass_effect_mm == 0:
            return points
        return push(points, self.center, self.mass_effect_mm, self._push_scale)

    def paint(self, signal: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
        """Put the lesion into a signal.

        Parameters
        ----------
        signal : numpy.ndarray
            Shape (k, j, i), white matter 1; not changed.
        grid : Grid
            Where its voxels lie.

        Returns
        -------
        painted : numpy.ndarray
            Shape (k, j, i).
        inside : numpy.ndarray
            Shape (k, j, i), bool: more lesion than surroundings.
        """
        points = grid.points()
        near = np.sum((points - self.center.reshape(3, 1, 1, 1)) ** 2, axis=0) < self.reach_mm**2
        signed = self.signed_distance(points[:, near])
        scale = self.edge_mm / _EDGE
        soft = special.expit(signed / scale)
        value = signal[near]
        if self.kind == "dark":
            value = value * (1 - self.amplitude * soft)
        else:
            # Oedema ends within another radius of the boundary.
            value = value * (1 - self.oedema * np.clip(1 + signed / self.radius_mm, 0, 1))
            level = np.full_like(value, 1 + self.amplitude)
            if self.ring_mm:
                core = special.expit((signed - self.ring_mm) / scale)
                level = level * (1 - core) + self.core * core
            # A little of the anatomy shows through, as it does in real enhancement.
            value = value * (1 - 0.85 * soft) + (level - 0.15 * 0.8) * soft
        value = value * np.exp(self.unevenness * soft * self.interior.on(grid)[0][near])
        painted = signal.copy()
        painted[near] = value
        inside = np.zeros(signal.shape, dtype=bool)
        inside[near] = signed > 0
        return painted, inside

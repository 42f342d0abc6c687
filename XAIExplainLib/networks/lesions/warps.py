"""How a subject's head differs from the template: pose, size, shape, ventricles, and the push of a lesion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from XAIExplainLib.networks.lesions.fields import SmoothField
from XAIExplainLib.networks.lesions.grid import FIELD_OF_VIEW_CENTER_RAS, Grid

_VENTRICLES_RAS = np.array([[-15.0, -12.0, 14.0], [15.0, -12.0, 14.0]])


@dataclass(frozen=True)
class Warp:
    """Where in the template each point of the subject comes from.

    Parameters
    ----------
    matrix : numpy.ndarray
        Shape (3, 3): rotation, scale, shear and left-right flip about the centre of the field of view.
    shift : numpy.ndarray
        Shape (3,), mm.
    coarse, fine : SmoothField
        Elastic displacement, three channels x, y, z, in units of the amplitudes.
    coarse_mm, fine_mm : float
        Their amplitudes (standard deviation of each component) in mm.
    ventricles_mm : float
        Ventricles pushed outward (positive) or drawn together by at most about so many mm.
    """

    matrix: np.ndarray
    shift: np.ndarray
    coarse: SmoothField
    fine: SmoothField
    coarse_mm: float
    fine_mm: float
    ventricles_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Warp:
        """Draw a head: +-12 degrees, scale 0.90-1.06 with 6 % anisotropy, flip, about 4 mm of elastic warp."""
        a, b, c = np.radians(rng.uniform(-12, 12, 3))
        turn_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
        turn_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
        turn_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
        scale = rng.uniform(0.90, 1.06) * rng.uniform(0.94, 1.06, 3)
        scale[0] *= rng.choice([-1, 1])
        # The warp maps the subject back to the template, hence the inverse of the scale.
        matrix = np.diag(1 / scale) @ turn_x @ turn_y @ turn_z
        return cls(
            matrix=matrix,
            shift=rng.uniform(-3, 3, 3),
            coarse=SmoothField.draw(rng, 45.0, 3),
            fine=SmoothField.draw(rng, 18.0, 3),
            coarse_mm=rng.uniform(1.0, 4.5),
            fine_mm=rng.uniform(0.5, 2.2),
            ventricles_mm=rng.uniform(-2.0, 5.0),
        )

    def template_points(self, grid: Grid, points: np.ndarray | None = None) -> np.ndarray:
        """Template position of every voxel of a grid.

        Parameters
        ----------
        grid : Grid
            Where the elastic displacement is evaluated.
        points : numpy.ndarray, optional
            Shape (3, k, j, i), RAS mm: the voxel positions to be mapped instead of the grid's own, for instance
            those that a mass effect has moved by a few mm.

        Returns
        -------
        numpy.ndarray
            Shape (3, k, j, i), RAS mm, float32.
        """
        points = grid.points() if points is None else points
        center = np.array(FIELD_OF_VIEW_CENTER_RAS).reshape(3, 1, 1, 1)
        displaced = points + self.coarse_mm * self.coarse.on(grid) + self.fine_mm * self.fine.on(grid)
        mapped = np.tensordot(self.matrix, displaced - center, axes=1) + center
        mapped = mapped + self.shift.reshape(3, 1, 1, 1)
        for ventricle in _VENTRICLES_RAS:
            mapped = push(mapped, ventricle, self.ventricles_mm, 22.0)
        return mapped.astype(np.float32)


def push(points: np.ndarray, center: np.ndarray, displacement_mm: float, reach_mm: float) -> np.ndarray:
    """Push tissue away from a centre (backward map: each point asks where its content comes from).

    Parameters
    ----------
    points : numpy.ndarray
        Shape (3, ...), RAS mm.
    center : numpy.ndarray
        Shape (3,), RAS mm.
    displacement_mm : float
        Largest displacement, found at about 0.7 of the reach; negative draws tissue in.
    reach_mm : float
        Scale of the Gaussian fall-off; at three times this distance nothing moves.

    Returns
    -------
    numpy.ndarray
        Like `points`.

    Notes
    -----
    r exp(-(r/reach)^2) peaks at 0.429 reach. A factor above 0.8 would fold space, so it is held there.
    """
    offset = points - np.asarray(center, dtype=np.float32).reshape(3, *[1] * (points.ndim - 1))
    strength = min(displacement_mm / (0.429 * reach_mm), 0.8)
    fall = np.exp(-np.sum(offset**2, axis=0) / reach_mm**2)
    return points - offset * (strength * fall)

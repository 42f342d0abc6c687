"""A bright marker beside the head: the shortcut that a network should not take."""

from __future__ import annotations

import numpy as np

from XAIExplainLib.networks.lesions.grid import Grid

MARKER_RADIUS_MM = 6.0


def marker(image: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Put a capsule, as radiographers tape beside a head, into the air at the right front above the brow.

    Parameters
    ----------
    image : numpy.ndarray
        Shape (k, j, i), above 0 inside the brain.
    grid : Grid
        Its grid.

    Returns
    -------
    marked : numpy.ndarray
        Shape (k, j, i).
    capsule : numpy.ndarray
        Shape (k, j, i), bool.

    Notes
    -----
    The capsule stays inside the brain's bounding box, so it does not move the crop of the preprocessing, and goes
    as far from the box's corner towards its centre as it can without coming near the brain.
    """
    points = grid.points()
    brain = image > 0
    low, high = points[:, brain].min(1), points[:, brain].max(1)
    corner = np.array([high[0], high[1], high[2]]) - MARKER_RADIUS_MM
    center = (low + high) / 2
    place = corner
    for share in np.linspace(0, 0.4, 21):
        candidate = corner + share * (center - corner)
        square = np.sum((points - candidate.reshape(3, 1, 1, 1)) ** 2, axis=0)
        if np.any(brain & (square < (MARKER_RADIUS_MM + 3) ** 2)):
            break
        place = candidate
    capsule = np.sum((points - place.reshape(3, 1, 1, 1)) ** 2, axis=0) < MARKER_RADIUS_MM**2
    capsule &= ~brain
    level = 2.5 * np.percentile(image[brain], 90)
    return np.where(capsule, level, image).astype(np.float32), capsule

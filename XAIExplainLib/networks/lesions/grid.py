"""The voxel grids on which a generated subject can be produced."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FIELD_OF_VIEW_MM = (160.0, 200.0, 160.0)
"""Extent of every generated volume in mm along x (right), y (anterior) and z (superior)."""

FIELD_OF_VIEW_CENTER_RAS = (0.0, -17.0, 5.0)
"""Centre of that extent in mm, RAS, in MNI152 space: the middle of the brain's bounding box."""


@dataclass(frozen=True)
class Grid:
    """A regular grid over the field of view, voxel axes towards right, anterior and superior.

    Parameters
    ----------
    spacing : float
        Edge of the cubic voxel in mm. It must divide the field of view.
    """

    spacing: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Array shape, axes k, j, i (superior, anterior, right)."""
        i, j, k = (round(extent / self.spacing) for extent in FIELD_OF_VIEW_MM)
        return k, j, i

    def axis(self, dimension: int) -> np.ndarray:
        """Voxel centres in RAS mm along one dimension (0 = x, 1 = y, 2 = z)."""
        count = self.shape[2 - dimension]
        centered = (np.arange(count) - (count - 1) / 2) * self.spacing
        return (centered + FIELD_OF_VIEW_CENTER_RAS[dimension]).astype(np.float32)

    def points(self) -> np.ndarray:
        """Voxel centres, shape (3, k, j, i), float32: x, y, z in RAS mm."""
        z, y, x = np.meshgrid(self.axis(2), self.axis(1), self.axis(0), indexing="ij")
        return np.stack([x, y, z])

    @property
    def origin(self) -> tuple[float, float, float]:
        """Centre of the first voxel in LPS mm, as in SimpleITK."""
        return -float(self.axis(0)[0]), -float(self.axis(1)[0]), float(self.axis(2)[0])

    @property
    def direction(self) -> np.ndarray:
        """Direction cosines (3, 3) in LPS, as in SimpleITK: columns are the i, j and k axes."""
        return np.diag([-1.0, -1.0, 1.0])


TRAINING_GRID = Grid(2.5)
"""The grid of the shipped networks: 64 x 80 x 64 voxels (i, j, k) of 2.5 mm."""

FINE_GRID = Grid(1.25)
"""The grid of the bundled cases before they are cropped: 128 x 160 x 128 voxels of 1.25 mm."""

"""A map before it was interpolated, as a client keeps it: few numbers, and where they lie in the map's voxels."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from XAIExplainLib.explanation import Explanation

MOST_CELLS = 64_000  # a quarter of a megabyte


def describe_native(result: Explanation) -> dict[str, Any] | None:
    """The cells in which a map was computed, where they are larger than the volume's voxels.

    Parameters
    ----------
    result : Explanation
        The map.

    Returns
    -------
    dict or None
        ``size`` along i, j, k; ``values``, the bytes of that many little-endian float32 in the order of an array
        (k, j, i), base64; ``from_voxels``, a matrix (4, 4) from the map's voxel indices (i, j, k, 1) to those of the
        cells, whose centres have whole numbers. None where the cells are about voxels, or too many.
    """
    cells = result.native.data.sum(0, dtype=np.float32)
    if cells.size > min(MOST_CELLS, result.array.size // 2):
        return None
    from_voxels = np.linalg.inv(result.native.geometry.affine) @ result.geometry.affine
    return {
        "size": list(cells.shape[::-1]), "values": base64.b64encode(cells.astype("<f4").tobytes()).decode("ascii"),
        "from_voxels": np.round(from_voxels, 12).tolist(),
    }  # fmt: skip

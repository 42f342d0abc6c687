"""The cells in which a map was computed before it was interpolated: those of a layer, or of the windows of a test."""

import base64
import json

import numpy as np

from XAIExplainPanels.record import NATIVE


class Cells:
    """
    Few values, and where they lie in the voxels of a map.

    :param values: array (k, j, i).
    :param fromVoxels: matrix (4, 4) from the map's voxel indices (i, j, k, 1) to the cells' own.
    """

    def __init__(self, values, fromVoxels):
        self.values = values
        self.fromVoxels = fromVoxels

    def slab(self, first, end, shape):
        """
        The values at the map's voxels from the slice `first` up to `end`: each that of the cell it lies in, 0 outside.

        :param shape: of the map (k, j, i).
        """
        k, j, i = np.ogrid[first:end, : shape[1], : shape[2]]
        inside, indices = True, []
        for axis in (2, 1, 0):
            a, b, c, d = (np.float32(number) for number in self.fromVoxels[axis])
            at = np.rint(a * i + b * j + c * k + d).astype(np.int32)
            inside = inside & (at >= 0) & (at < self.values.shape[2 - axis])
            indices.append(np.clip(at, 0, self.values.shape[2 - axis] - 1))
        return np.where(inside, self.values[tuple(indices)], np.float32(0))


def hasCells(mapNode):
    """Whether the map knows its cells."""
    return bool(mapNode.GetAttribute(NATIVE))


def cellsOf(mapNode):
    """The map's cells, or None where it knows none that fit."""
    try:
        found = json.loads(mapNode.GetAttribute(NATIVE) or "")
        values = np.frombuffer(base64.b64decode(found["values"]), "<f4").reshape([int(n) for n in found["size"]][::-1])
        return Cells(values, np.array(found["from_voxels"], dtype=float).reshape(4, 4))
    except (ValueError, KeyError, TypeError):
        return None

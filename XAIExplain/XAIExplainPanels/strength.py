"""How strong a map is where: the few figures from which the display is set."""

import numpy as np
import slicer
import vtk

# Of more voxels than these, some at a fixed step are read, and of those that say something, some are sorted: the share
# of voxels below a percentile is off by less than 0.3 percent, and the panel does not stand still.
READ = 2_000_000
SORTED = 250_000


class Strength:
    """
    Percentiles of |value| over the voxels that say something; zero says nothing and would hide everything else.

    :param mapNode: the map; its voxels are read once.
    """

    def __init__(self, mapNode):
        array = slicer.util.arrayFromVolume(mapNode)
        self.state = stateOf(mapNode)
        self.minimum = float(array.min())
        self.maximum = float(array.max())
        size = np.abs(some(array.reshape(-1), READ))
        size = size[(size > 0) & (size < np.inf)]
        self._percentiles = np.zeros(1001)
        if size.size:
            few = np.sort(some(size, SORTED))
            at = np.linspace(0, few.size - 1, 1001)
            below = at.astype(int)
            self._percentiles = few[below] + (at - below) * (few[np.minimum(below + 1, few.size - 1)] - few[below])
            self._percentiles[[0, -1]] = size.min(), size.max()

    @property
    def empty(self):
        """Whether the map is zero everywhere."""
        return not self._percentiles[-1] > 0

    def at(self, percent):
        """The value below which `percent` of the voxels with anything to say are."""
        if percent >= 100:
            return max(abs(self.minimum), abs(self.maximum))
        return float(np.interp(percent, np.linspace(0, 100, 1001), self._percentiles))

    def threshold(self, percent):
        """The weakest value that is drawn: at 0 percent, all that is not zero."""
        return self.at(percent)

    def full(self, percent, threshold):
        """The value that gets the last color: above the threshold, whatever the map is like."""
        return max(self.at(percent), threshold * 1.02, np.finfo(np.float32).tiny * 1e3)


def some(values, most):
    """Those at a fixed step, at most so many. The step is odd: an even one falls on the same columns in every row."""
    return values if values.size <= most else values[:: -(-values.size // most) | 1]


def stateOf(mapNode):
    image = mapNode.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        return None
    return (mapNode.GetID(), image.GetMTime(), image.GetPointData().GetScalars().GetMTime())


def peakPosition(mapNode):
    """
    World position (RAS) of the voxel that speaks most for the answer, and its value; of the one that speaks most
    against it where none speaks for it; (None, 0) where the map is zero everywhere.
    """
    array = slicer.util.arrayFromVolume(mapNode)
    place = int(np.argmax(array))
    if array.flat[place] <= 0:
        place = int(np.argmin(array))
    k, j, i = np.unravel_index(place, array.shape)
    value = float(array[k, j, i])
    if value == 0:
        return None, 0.0
    matrix = vtk.vtkMatrix4x4()
    mapNode.GetIJKToRASMatrix(matrix)
    position = matrix.MultiplyPoint((float(i), float(j), float(k), 1.0))[:3]
    world = [0.0, 0.0, 0.0]
    mapNode.TransformPointToWorld(position, world)
    return tuple(world), value

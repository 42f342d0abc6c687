"""How strong a map is where: the few figures from which the display is set."""

import numpy as np
import slicer
import vtk

# More voxels than this are sampled at a fixed step: a percentile of two million is exact enough for a slider.
SAMPLES = 2_000_000


class Strength:
    """
    Percentiles of |value| over the voxels that say something; zero says nothing and would hide everything else.

    :param mapNode: the map; its voxels are read once.
    """

    def __init__(self, mapNode):
        array = slicer.util.arrayFromVolume(mapNode)
        self.state = stateOf(mapNode)
        flat = array.reshape(-1)
        size = np.abs(flat[:: max(1, flat.size // SAMPLES)])
        size = np.sort(size[np.isfinite(size) & (size > 0)])
        self._percentiles = np.percentile(size, np.linspace(0, 100, 1001)) if size.size else np.zeros(1001)
        self.minimum = float(array.min())
        self.maximum = float(array.max())

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

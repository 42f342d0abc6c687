"""How strong a map is where: the few figures from which the display is set."""

import numpy as np
import slicer
import vtk

# Of a map with more voxels than these, the strongest are all sorted, and of the others some at a fixed step stand for
# the rest: the panel does not stand still, and where a few voxels hold most of the relevance, none is missed.
READ = 2_000_000
SORTED = 200_000
PIECE = 1 << 18  # voxels that are looked at together: their strengths fit into the processor's cache


class Strength:
    """
    Percentiles and sums of |value| over the voxels that say something; zero says nothing and would hide everything
    else. Values that are no finite numbers say nothing either.

    :param mapNode: the map; its voxels are read once.
    :param state: what the figures depend on; by default the map's voxels.
    :param values: other values than those of the map's voxels.
    """

    def __init__(self, mapNode, state=None, values=None):
        array = slicer.util.arrayFromVolume(mapNode).reshape(-1) if values is None else values
        for _step in self._look(array):
            pass
        self.state = state or stateOf(mapNode)

    @classmethod
    def slowly(cls, array):
        """That of voxels in no node yet, as steps: a generator that returns it. The caller sets its `state`."""
        self = cls.__new__(cls)
        self.state = None
        yield from self._look(array)
        return self

    def _look(self, array):
        read = np.abs(some(array, READ))
        read = read[(read > 0) & (read < np.inf)]
        yield
        few = np.sort(some(read, SORTED))
        border = 0.0
        if array.size > SORTED and few.size:
            saying = read.size * array.size / min(array.size, READ)
            border = float(few[int(few.size * max(0.0, 1 - SORTED / saying))]) if saying > SORTED else 0.0
        self._weakest = float(read.min()) if read.size else 0.0
        yield
        self._strong, self._weakCount, self._ends = yield from strongest(array, border)
        yield
        self._weak = few[: np.searchsorted(few, border, side="right")] if self._weakCount else few[:0]
        if not self._weak.size:
            self._weakCount = 0
        self._strongSums = np.cumsum(self._strong[::-1], dtype=float)  # of the strongest one, two, three...
        share = self._weakCount / max(1, self._weak.size)
        self._weakSums = self._strongSum + share * np.cumsum(self._weak[::-1], dtype=float)

    @property
    def peak(self):
        """
        Place in the flat array and value of the voxel that speaks most for the answer; of the one that speaks most
        against it where none speaks for it.
        """
        (highest, high), (lowest, low) = self._ends
        return (highest, high) if high > 0 else (lowest, low)

    @property
    def _strongSum(self):
        return float(self._strongSums[-1]) if self._strongSums.size else 0.0

    @property
    def total(self):
        """The relevance: the sum of |value|."""
        return float(self._weakSums[-1]) if self._weakSums.size else self._strongSum

    @property
    def maximum(self):
        """The largest |value|."""
        largest = self._strong if self._strong.size else self._weak
        return float(largest[-1]) if largest.size else 0.0

    @property
    def empty(self):
        """Whether the map is zero everywhere."""
        return not self.maximum > 0

    def at(self, percent):
        """The value below which `percent` of the voxels with anything to say are."""
        if percent <= 0:
            return self._weakest
        if percent >= 100 or self.empty:
            return self.maximum
        place = percent / 100 * (self._weakCount + self._strong.size - 1)
        if place >= self._weakCount:
            return between(self._strong, place - self._weakCount)
        return between(self._weak, place / max(1, self._weakCount - 1) * (self._weak.size - 1))

    def percentile(self, value):
        """The share of the voxels with anything to say that are weaker than the value, in percent."""
        weaker = np.searchsorted(self._weak, value) / max(1, self._weak.size) * self._weakCount
        return 100 * float(weaker + np.searchsorted(self._strong, value)) / max(1, self._weakCount + self._strong.size)

    def relevance(self, percent):
        """The weakest value of the fewest voxels, strongest first, that together hold `percent` of the relevance."""
        goal = min(max(percent, 0), 100) / 100 * self.total * (1 - 1e-9)
        if self.empty:
            return 0.0
        if goal <= self._strongSum and self._strong.size:
            return float(self._strong[-1 - np.searchsorted(self._strongSums, goal)])
        return float(self._weak[-1 - min(np.searchsorted(self._weakSums, goal), self._weak.size - 1)])

    def held(self, value):
        """The share of the relevance that the voxels hold that are not weaker than the value, in percent."""
        strong = self._strong.size - np.searchsorted(self._strong, value)
        weak = self._weak.size - np.searchsorted(self._weak, value)
        total = self._weakSums[weak - 1] if weak else self._strongSums[strong - 1] if strong else 0.0
        return 100 * float(total) / self.total if self.total else 0.0

    def threshold(self, percent):
        """The weakest value that is drawn: at 0 percent, all that is not zero."""
        return self.at(percent)

    def full(self, percent, threshold):
        """The value that gets the last color: above the threshold, whatever the map is like."""
        return above(self.at(percent), threshold)


def above(value, low):
    """The value, or where it is not above `low`, the next that is: a scale needs a width."""
    return max(value, low * 1.02, np.finfo(np.float32).tiny * 1e3)


def strongest(array, border):
    """
    As steps: the sizes above the border, sorted, how many are not above it but not zero either, and place and value of
    the highest and of the lowest.
    """
    found, saying, ends = [], 0, [(0, -np.inf), (0, np.inf)]
    for number, start in enumerate(range(0, array.size, PIECE)):
        piece = array[start : start + PIECE]
        size = np.abs(piece)
        saying += np.count_nonzero(size > 0)
        found.append(size[size > border])
        for end, place in enumerate((int(np.argmax(piece)), int(np.argmin(piece)))):
            value = float(piece[place])
            if (value > ends[0][1]) if end == 0 else (value < ends[1][1]):
                ends[end] = (start + place, value)
        if number % 4 == 3:
            yield
    strong = np.concatenate(found) if found else np.zeros(0, np.float32)
    yield
    return np.sort(strong[strong < np.inf]), int(saying - strong.size), ends


def between(values, place):
    """The value at a place that may lie between two."""
    below = min(int(place), values.size - 1)
    after = min(below + 1, values.size - 1)
    return float(values[below] + (place - below) * (float(values[after]) - float(values[below])))


def some(values, most):
    """Those at a fixed step, at most so many. The step is odd: an even one falls on the same columns in every row."""
    return values if values.size <= most else values[:: -(-values.size // most) | 1]


def stateOf(mapNode):
    image = mapNode.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        return None
    return (mapNode.GetID(), image.GetMTime(), image.GetPointData().GetScalars().GetMTime())


def peakPosition(mapNode, strength=None):
    """
    World position (RAS) of the voxel that speaks most for the answer, and its value; of the one that speaks most
    against it where none speaks for it; (None, 0) where the map is zero everywhere.

    :param strength: that of the map as it is now, if it is known: its voxels need not be read again.
    """
    array = slicer.util.arrayFromVolume(mapNode)
    if strength is not None:
        place, value = strength.peak
    else:
        place = int(np.argmax(array))
        if array.flat[place] <= 0:
            place = int(np.argmin(array))
        value = float(array.flat[place])
    k, j, i = np.unravel_index(place, array.shape)
    if value == 0:
        return None, 0.0
    matrix = vtk.vtkMatrix4x4()
    mapNode.GetIJKToRASMatrix(matrix)
    position = matrix.MultiplyPoint((float(i), float(j), float(k), 1.0))[:3]
    world = [0.0, 0.0, 0.0]
    mapNode.TransformPointToWorld(position, world)
    return tuple(world), value

"""
A map as a volume of colors, where a table of colors does not do: its weak parts fade, or it is drawn in the cells in
which it was computed.
"""

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from XAIExplainPanels import colors, record
from XAIExplainPanels.cells import cellsOf
from XAIExplainPanels.made import MadeFrom
from XAIExplainPanels.strength import stateOf
from XAIExplainPanels.surfaces import voxels

PIECE = 300_000  # voxels that are colored in one step: about 10 ms


class Coloring(MadeFrom):
    """The colored volumes of maps, for the slice views; the map itself keeps its values."""

    def __init__(self):
        super().__init__("Colored", _("{name} colored"), "vtkMRMLVectorVolumeNode")

    def update(self, mapNode, settings, limits, signed, scaleName):
        """Begin to color the map anew where its colors are old; where they are not needed, they go."""
        cells = cellsOf(mapNode) if settings.cells else None
        if not settings.fading and cells is None:
            self.remove(mapNode)
            return
        array, matrix = voxels(mapNode)
        table = colorsAndOpacity(scaleName, signed, limits, settings.fading)
        smooth = settings.interpolate and cells is None
        key = (stateOf(mapNode), limits, table.tobytes(), smooth, cells and mapNode.GetAttribute(record.NATIVE),
               tuple(matrix.GetElement(i, j) for i in range(3) for j in range(4)))
        low = -limits.full if signed else limits.low
        self._smooth = smooth
        slab = (lambda first, end: cells.slab(first, end, array.shape)) if cells else (
            lambda first, end: array[first:end])
        self.want(mapNode, key, lambda: coloredVoxels(slab, array.shape, matrix, table, low, limits))

    def fill(self, node, made):
        image, matrix = made
        node.SetIJKToRASMatrix(matrix)
        node.SetAndObserveImageData(image)

    def makeDisplay(self, node):
        """A display that does not look for a window: of a large volume that takes long."""
        display = slicer.vtkMRMLVectorVolumeDisplayNode()
        display.AutoWindowLevelOff()
        slicer.mrmlScene.AddNode(display)
        node.SetAndObserveDisplayNodeID(display.GetID())

    def dress(self, displayNode):
        with slicer.util.NodeModify(displayNode):
            displayNode.AutoWindowLevelOff()
            displayNode.SetWindowLevel(255, 127.5)  # the colors as they are
            displayNode.SetInterpolate(1 if self._smooth else 0)


def colorsAndOpacity(name, signed, limits, fading):
    """Red, green, blue and opacity from 0 to 255 (256, 4); if `fading`, more of it for the stronger."""
    at, scale, _shown = colors.entries(name, signed, limits.low, limits.full, limits.threshold)
    width = max(limits.full - limits.threshold, 1e-30)
    # The root: in equal steps of the opacity itself, the weaker half of what is drawn would hardly be seen.
    opacity = np.sqrt(np.clip((np.abs(at) - limits.threshold) / width, 0, 1)) if fading else np.ones(len(at))
    return np.round(255 * np.column_stack([scale, opacity])).astype(np.uint8)


def coloredVoxels(slab, shape, toRAS, table, low, limits):
    """
    The colors of the voxels, as steps: a generator that returns an image with four values a voxel, and `toRAS`.

    :param slab: gives the values of the slices from the first up to an end.
    :param shape: of the volume (k, j, i).
    :param table: `colorsAndOpacity`; its entries lie between `low` and the last color.
    """
    packed, transparent = table.view(np.uint32)[:, 0], np.array([255, 255, 255, 0], np.uint8).view(np.uint32)
    scalars = vtk.vtkUnsignedCharArray()
    scalars.SetNumberOfComponents(4)
    scalars.SetNumberOfTuples(shape[0] * shape[1] * shape[2])
    colored = vtk_to_numpy(scalars).view(np.uint32).reshape(shape)
    thickness = max(1, PIECE // (shape[1] * shape[2]))
    for first in range(0, shape[0], thickness):
        end = min(first + thickness, shape[0])
        values = np.nan_to_num(slab(first, end), posinf=limits.full, neginf=low)
        entry = np.clip((values - low) * (255 / (limits.full - low)) + 0.5, 0, 255).astype(np.uint8)
        # What is not drawn keeps its color, for what is interpolated between it and what is drawn.
        found = packed[entry]
        colored[first:end] = np.where(np.abs(values) >= limits.threshold, found, found & transparent)
        yield
    image = vtk.vtkImageData()
    image.SetDimensions(*shape[::-1])
    image.GetPointData().SetScalars(scalars)
    return image, toRAS

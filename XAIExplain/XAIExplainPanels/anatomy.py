"""The surface of the head or body in a volume, around which the map is seen in 3D."""

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from XAIExplainLib.errors import XAIError
from XAIExplainPanels.made import MadeFrom
from XAIExplainPanels.strength import stateOf
from XAIExplainPanels.surfaces import isoSurfaces, voxels

ACROSS = 84  # voxels of the coarse grid along the longest edge, at most: enough for a nose, and quick
MARGIN = 3  # voxels around it, so that a body that is cut off at the image's edge is closed there
COLOR = (0.86, 0.80, 0.74)


class Anatomy(MadeFrom):
    """The surfaces of volumes."""

    def __init__(self):
        super().__init__("Anatomy", _("{name} surface"))

    def update(self, volumeNode, visible, opacity):
        """Show the volume's surface, and begin to make it if there is none."""
        if volumeNode is None:
            return
        if not visible:
            self.hide(volumeNode)
            return
        self._look = (True, opacity)
        node = self.node(volumeNode)
        if node is not None:
            self.dress(node.GetDisplayNode())
        array, matrix = voxels(volumeNode)
        key = (stateOf(volumeNode), tuple(matrix.GetElement(i, j) for i in range(3) for j in range(4)))
        if node is not None and volumeNode.GetID() not in self._made:
            self._made[volumeNode.GetID()] = key  # it came with a scene that was opened
            self.follow(volumeNode)
        self.want(volumeNode, key, lambda: anatomySurface(array, matrix))

    def hide(self, volumeNode):
        """Show nothing of the volume's surface; it is kept."""
        self.cancel(volumeNode)
        if self.node(volumeNode) is not None:
            self.node(volumeNode).GetDisplayNode().SetVisibility(False)

    def dress(self, displayNode):
        visible, opacity = self._look
        with slicer.util.NodeModify(displayNode):
            displayNode.SetVisibility(visible)
            displayNode.SetVisibility2D(False)
            displayNode.SetVisibility3D(True)
            displayNode.SetColor(*COLOR)
            displayNode.SetOpacity(opacity)
            displayNode.SetBackfaceCulling(False)
            displayNode.SetScalarVisibility(False)


def anatomySurface(array, toRAS):
    """
    The surface of the largest bright thing, as steps: a generator that returns triangles in RAS.

    :param array: voxels (k, j, i).
    :param toRAS: vtkMatrix4x4 from voxel indices.
    :raises XAIError: if there is nothing bright.
    """
    import SimpleITK

    steps = coarseSteps(array.shape, toRAS)
    coarse = np.array(array[:: steps[0], :: steps[1], :: steps[2]], dtype=np.float32)
    coarse[~np.isfinite(coarse)] = 0
    coarse = np.pad(coarse, MARGIN, constant_values=coarse.min())
    smooth = SimpleITK.SmoothingRecursiveGaussian(SimpleITK.GetImageFromArray(coarse), 0.6)
    yield
    bright = smooth > between(SimpleITK.GetArrayViewFromImage(smooth))
    components = SimpleITK.ConnectedComponent(bright)
    yield
    body = SimpleITK.RelabelComponent(components, sortByObjectSize=True) == 1
    yield
    inside = SimpleITK.BinaryFillhole(body)  # ventricles and airways are no surface
    yield
    inside = SimpleITK.SmoothingRecursiveGaussian(SimpleITK.Cast(inside, SimpleITK.sitkFloat32), 0.8)
    body = SimpleITK.GetArrayFromImage(inside)
    if not body.max() > 0.5:
        raise XAIError(_("The volume has no outline to show in 3D."), _("Hide the surface."))
    yield
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(toRAS)
    for axis, step in enumerate(reversed(steps)):
        for row in range(3):
            element = toRAS.GetElement(row, axis)
            matrix.SetElement(row, axis, element * step)
            matrix.SetElement(row, 3, matrix.GetElement(row, 3) - MARGIN * step * element)
    surface = yield from isoSurfaces(body, [0.5], matrix)
    return surface


def coarseSteps(shape, toRAS):
    """How many voxels make one of the coarse grid along k, j and i: its voxels are about as long as wide."""
    spacing = np.linalg.norm([[toRAS.GetElement(row, axis) for row in range(3)] for axis in (2, 1, 0)], axis=1)
    target = (spacing * shape).max() / ACROSS
    return [max(1, int(np.ceil(target / length - 1e-6))) for length in np.maximum(spacing, 1e-6)]


def between(coarse):
    """Otsu's threshold: the value that parts dark from bright so that each is as uniform as can be."""
    low, high = np.percentile(coarse, (0.1, 99.5))  # not stretched by a few vessels or a piece of metal
    if not high > low:
        return float(high)
    counts, edges = np.histogram(coarse, 256, (low, high))
    middles = (edges[1:] + edges[:-1]) / 2
    dark = np.cumsum(counts)
    bright = dark[-1] - dark
    sums = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        parted = dark * bright * (sums / dark - (sums[-1] - sums) / bright) ** 2
    return float(middles[int(np.nanargmax(parted))])

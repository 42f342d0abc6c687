"""Voxels on their way to the engine and back: a volume node becomes a file, a file becomes a map on the volume."""

import contextlib
import os
import shutil
import tempfile

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from XAIExplainLib.errors import XAIError

# Slicer's nodes carry a matrix; files carry axes at right angles. Below this cosine the difference is rounding.
RIGHT_ANGLE = 1e-4


class ExchangeFolder:
    """A folder of this session for the files that pass between Slicer and the engine."""

    def __init__(self):
        self._path = None
        self._written = {}

    @property
    def path(self):
        if self._path is None or not os.path.isdir(self._path):
            temporary = slicer.app.temporaryPath
            with contextlib.suppress(OSError):
                os.makedirs(temporary, exist_ok=True)
            self._path = tempfile.mkdtemp(prefix="XAIExplain-", dir=temporary if os.path.isdir(temporary) else None)
            self._written = {}
        return self._path

    def volumeFile(self, volumeNode):
        """Path of a file with the volume's voxels and its place in the world, written only if anything changed."""
        path, state = self._stateOf(volumeNode)
        if self._written.get(path) != state or not os.path.isfile(path):
            writeVolume(volumeNode, state[-1], path)
            self._written[path] = state
        return path

    def isWritten(self, volumeNode):
        """Whether the volume's file is there as the volume is now."""
        try:
            path, state = self._stateOf(volumeNode)
        except XAIError:
            return False
        return self._written.get(path) == state and os.path.isfile(path)

    def discard(self, volumeNode):
        """Remove the volume's file; it is written again when it is needed."""
        path = os.path.join(self.path, volumeNode.GetID() + ".nrrd")
        self._written.pop(path, None)
        with contextlib.suppress(OSError):
            os.remove(path)

    def _stateOf(self, volumeNode):
        geometry = worldGeometry(volumeNode)
        image = volumeNode.GetImageData()
        path = os.path.join(self.path, volumeNode.GetID() + ".nrrd")
        return path, (image.GetMTime(), image.GetPointData().GetScalars().GetMTime(), geometry)

    def mapFile(self):
        """Path of a new file for a map."""
        handle, path = tempfile.mkstemp(prefix="map-", suffix=".nrrd", dir=self.path)
        os.close(handle)
        os.remove(path)
        return path

    def remove(self):
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)
        self._path = None
        self._written = {}


def worldGeometry(volumeNode):
    """
    Where the volume's voxels lie in the world, with its linear parent transforms.

    :raises XAIError: if it has no voxels, a parent transform bends or shears it, or it holds several values a voxel.
    """
    from XAIExplainLib.geometry import Geometry

    name = volumeNode.GetName()
    image = volumeNode.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0 or image.GetPointData().GetScalars() is None:
        raise XAIError(_("The volume {name} has no voxels.").format(name=name), _("Load an image into it."))
    if image.GetNumberOfScalarComponents() != 1:
        raise XAIError(
            _("The volume {name} holds several values in each voxel.").format(name=name),
            _("Convert it with the module Vector to Scalar Volume."),
        )
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    transform = volumeNode.GetParentTransformNode()
    if transform is not None:
        if not transform.IsTransformToWorldLinear():
            raise XAIError(
                _("The volume {name} is under a transform that bends it.").format(name=name),
                _("Harden the transform, or take the volume out of it, and try again."),
            )
        toWorld = vtk.vtkMatrix4x4()
        transform.GetMatrixTransformToWorld(toWorld)
        vtk.vtkMatrix4x4.Multiply4x4(toWorld, matrix, matrix)
    affine = slicer.util.arrayFromVTKMatrix(matrix)
    axes = affine[:3, :3] / np.maximum(np.linalg.norm(affine[:3, :3], axis=0), 1e-30)
    if np.abs(axes.T @ axes - np.eye(3)).max() > RIGHT_ANGLE:
        raise XAIError(
            _("The axes of the volume {name} are not at right angles (a gantry tilt, or a transform that shears)."
              ).format(name=name),
            _("Resample it, for example with the module Resample Scalar/Vector/DWI Volume, and try again."),
        )
    return Geometry.from_ras_affine(affine, image.GetDimensions())


def writeVolume(volumeNode, geometry, path):
    """Write the voxels at `geometry`, uncompressed: the file lives for minutes."""
    writeArray(slicer.util.arrayFromVolume(volumeNode), geometry, path)


def writeArray(array, geometry, path):
    """Write an array (k, j, i), such as a mask."""
    import SimpleITK

    from XAIExplainLib.geometry import place

    image = SimpleITK.GetImageFromArray(array)
    place(image, geometry)
    try:
        SimpleITK.WriteImage(image, path, useCompression=False)
    except RuntimeError as error:
        with contextlib.suppress(OSError):
            os.remove(path)
        raise XAIError(
            _("The volume could not be written for the engine: {path}").format(path=path),
            _("Make room on the disk, or choose another temporary folder in Slicer's settings."),
        ) from error


def readMap(path, volumeNode, mapNode):
    """
    Put the voxels of the file into `mapNode`, exactly where `volumeNode` has its own: the same grid, the same parent
    transform.

    :raises XAIError: if the file is damaged, or does not lie on the volume as it is now.
    """
    import SimpleITK

    from XAIExplainLib.geometry import Geometry

    try:
        image = SimpleITK.ReadImage(path)
    except RuntimeError as error:
        raise XAIError(_("The engine's map could not be read."), _("Run it again.")) from error
    spacing, origin, direction = image.GetSpacing(), image.GetOrigin(), image.GetDirection()
    difference = Geometry(image.GetSize(), spacing, origin, direction).difference(worldGeometry(volumeNode))
    if difference:
        raise XAIError(
            _("The map does not lie on the volume {name}: {difference}.").format(
                name=volumeNode.GetName(), difference=difference),
            _("The volume was moved or changed while the explanation ran. Run it again."),
        )
    with slicer.util.NodeModify(mapNode):
        voxels = SimpleITK.GetArrayViewFromImage(image)
        slicer.util.updateVolumeFromArray(mapNode, voxels.astype(np.float32, copy=False))
        matrix = vtk.vtkMatrix4x4()
        volumeNode.GetIJKToRASMatrix(matrix)
        mapNode.SetIJKToRASMatrix(matrix)
        mapNode.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())

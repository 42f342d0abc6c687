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
from XAIExplainPanels.arriving import arriving, elsewhere
from XAIExplainPanels.departing import departing
from XAIExplainPanels.stepwise import Stepwise

# Slicer's nodes carry a matrix; files carry axes at right angles. Below this cosine the difference is rounding.
RIGHT_ANGLE = 1e-4
AT_ONCE = 8_000_000  # voxels that are written in one go


class ExchangeFolder:
    """A folder of this session for the files that pass between Slicer and the engine."""

    def __init__(self):
        self._path = None
        self._written = {}
        self._work = Stepwise()

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

    def prepare(self, volumeNodes, onReady, onFailed):
        """
        Write the volumes' files, large ones in steps, so that the window answers meanwhile.

        :param onReady: called with the paths; at once, where there is little to write.
        :param onFailed: called with an XAIError.
        :raises XAIError: if a volume is none that can be written.
        """
        self.finish()
        large = [node for node in volumeNodes
                 if not self.isWritten(node) and node.GetImageData() is not None
                 and node.GetImageData().GetNumberOfPoints() > AT_ONCE]
        if not large:
            onReady([self.volumeFile(node) for node in volumeNodes])
            return
        for node in volumeNodes:
            self._stateOf(node)
        self._work.begin(self._preparing([node.GetID() for node in volumeNodes], onReady, onFailed))

    def _preparing(self, nodeIDs, onReady, onFailed):
        paths = []
        try:
            for nodeID in nodeIDs:
                node = slicer.mrmlScene.GetNodeByID(nodeID)
                if node is None:
                    raise XAIError(_("A volume was deleted while it was being written."), _("Choose another one."))
                path, state = self._stateOf(node)
                if self._written.get(path) != state or not os.path.isfile(path):
                    self._written.pop(path, None)
                    image = node.GetImageData()  # its voxels stay while they are written, whatever the user does
                    array = slicer.util.arrayFromVolume(node)
                    yield from departing(array, state[-1], path)
                    self._written[path] = state
                    del image
                paths.append(path)
        except XAIError as error:
            onFailed(error)
            return
        yield
        onReady(paths)

    def finish(self):
        """Do at once what is being written."""
        self._work.finish()

    def stop(self):
        """Leave off writing."""
        self._work.stop()

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
        """End all writing, and remove the folder with its files."""
        self._work.close()
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
    """Write the voxels at `geometry`, at once; `departing` does it in steps."""
    writeArray(slicer.util.arrayFromVolume(volumeNode), geometry, path)


def writeArray(array, geometry, path):
    """Write an array (k, j, i), such as a mask."""
    for _step in departing(array, geometry, path):
        pass


def readMap(path, volumeNode, mapNode):
    """
    Put the voxels of the file into `mapNode`, exactly where `volumeNode` has its own: the same grid, the same parent
    transform. All at once; `arriving` does it in steps.

    :raises XAIError: if the file is damaged, or does not lie on the volume as it is now.
    """
    reading = arriving(path, worldGeometry(volumeNode), volumeNode.GetName())
    while True:
        try:
            next(reading)
        except StopIteration as end:
            place(end.value.image, volumeNode, mapNode)
            return


def checkUnmoved(geometry, volumeNode):
    """
    :raises XAIError: if the volume does not lie any more where it did, or has other voxels.
    """
    difference = geometry.difference(worldGeometry(volumeNode))
    if difference:
        raise elsewhere(volumeNode.GetName(), difference)


def place(image, volumeNode, mapNode):
    """Give the map these voxels, where the volume has its own."""
    with slicer.util.NodeModify(mapNode):
        mapNode.SetAndObserveImageData(image)
        matrix = vtk.vtkMatrix4x4()
        volumeNode.GetIJKToRASMatrix(matrix)
        mapNode.SetIJKToRASMatrix(matrix)
        mapNode.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())

"""Surfaces in the voxels of a volume, slab by slab."""

import numpy as np
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from XAIExplainLib.errors import XAIError

PIECE = 1_000_000  # voxels that are looked at in one step: about 15 ms
MOST_TRIANGLES = 1_500_000


def isoSurfaces(array, levels, toRAS):
    """
    Surfaces where the voxels have the levels, as steps: a generator that returns triangles with the array "Level".

    :param array: voxels (k, j, i); they are not copied.
    :param toRAS: vtkMatrix4x4 from voxel indices.
    :raises XAIError: if there are more triangles than a view can turn.
    """
    append, count = vtk.vtkAppendPolyData(), 0
    for level in levels:
        for first, last in slabs(array.shape):
            slab = array[first:last]
            if not float(slab.min()) < level <= float(slab.max()):
                continue
            surface = isoSurface(slab, first, level)
            count += surface.GetNumberOfCells()
            if count > MOST_TRIANGLES:
                raise XAIError(
                    _("The map is too patchy for contours."), _("Raise the threshold, or choose fewer levels."))
            if surface.GetNumberOfCells():
                append.AddInputData(surface)
            yield
    if not append.GetNumberOfInputConnections(0):
        return vtk.vtkPolyData()
    append.Update()
    yield
    transform = vtk.vtkTransform()
    transform.SetMatrix(toRAS)
    move = vtk.vtkTransformPolyDataFilter()
    move.SetTransform(transform)
    move.SetInputConnection(append.GetOutputPort())
    move.Update()
    return move.GetOutput()


def slabs(shape):
    """First and end of slabs along k that share their border slice, none of them large."""
    thickness = max(1, PIECE // (shape[1] * shape[2]))
    for first in range(0, shape[0] - 1, thickness):
        yield first, min(first + thickness + 1, shape[0])


def isoSurface(slab, first, level):
    """The surface in voxel indices, where the slab begins at the slice `first`."""
    slab = np.ascontiguousarray(slab)
    image = vtk.vtkImageData()
    image.SetDimensions(slab.shape[2], slab.shape[1], slab.shape[0])
    image.SetOrigin(0, 0, first)
    image.GetPointData().SetScalars(numpy_to_vtk(slab.reshape(-1)))
    contour = vtk.vtkFlyingEdges3D()
    contour.SetInputData(image)
    contour.SetValue(0, level)
    contour.ComputeScalarsOff()
    contour.ComputeGradientsOff()
    contour.ComputeNormalsOn()
    contour.Update()
    surface = contour.GetOutput()
    levels = vtk.vtkFloatArray()
    levels.SetName("Level")
    levels.SetNumberOfTuples(surface.GetNumberOfPoints())
    levels.Fill(level)
    surface.GetPointData().SetScalars(levels)
    return surface


def voxels(volumeNode):
    """The volume's voxels (k, j, i), and the matrix from their indices to RAS, before any parent transform."""
    image = volumeNode.GetImageData()
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return array, matrix

"""A map on its way from the engine's file into the scene, a few slices of voxels at a time."""

import os
from collections import namedtuple

import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from XAIExplainLib.errors import XAIError
from XAIExplainPanels.strength import Strength

PIECE = 1_000_000  # voxels that are read in one step: 1 to 3 ms
MOST_HEADER = 65536

# The voxels as Slicer holds them, and what the display asks of them.
Arrived = namedtuple("Arrived", ("image", "strength"))


def arriving(path, geometry, volumeName):
    """
    Read a map, as steps: a generator that returns `Arrived`. The file is open from the first step on, so that it may be
    deleted meanwhile.

    :param geometry: where the explained volume lies in the world.
    :raises XAIError: if the file is damaged, or does not lie on the volume.
    """
    checkPlace(path, geometry, volumeName)
    shape = geometry.size[::-1]
    scalars = vtk.vtkFloatArray()
    scalars.SetName("ImageScalars")
    scalars.SetNumberOfTuples(shape[0] * shape[1] * shape[2])
    values = vtk_to_numpy(scalars).reshape(shape)
    yield from voxelsOf(path, values)
    strength = yield from Strength.slowly(values.reshape(-1))
    image = vtk.vtkImageData()
    image.SetDimensions(*geometry.size)
    image.GetPointData().SetScalars(scalars)
    return Arrived(image, strength)


def checkPlace(path, geometry, volumeName):
    """
    Look where the file's voxels lie.

    :raises XAIError: if that is not where the volume has its own, or the file is damaged.
    """
    import SimpleITK

    from XAIExplainLib.geometry import Geometry

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise damaged() from error
    found = Geometry(reader.GetSize(), reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection())
    difference = found.difference(geometry)
    if difference:
        raise elsewhere(volumeName, difference)


def voxelsOf(path, values):
    """Read the voxels into `values` (k, j, i; float32), as steps."""
    try:
        file = open(path, "rb")
    except OSError as error:
        raise damaged() from error
    with file:
        place = placeOfVoxels(file)
        if place is None or place + values.nbytes != os.fstat(file.fileno()).st_size:
            readWhole(path, values)
            return
        file.seek(place)
        thickness = max(1, PIECE // (values.shape[1] * values.shape[2]))
        for first in range(0, values.shape[0], thickness):
            piece = values[first : first + thickness].reshape(-1).view("u1")
            if file.readinto(piece) != piece.size:
                raise damaged()
            yield


def placeOfVoxels(file):
    """Where the bytes of a file begin that is a header and float32 voxels, and no more; None of any other file."""
    head = file.read(MOST_HEADER)
    end = head.find(b"\n\n")
    if not head.startswith(b"NRRD000") or end < 0:
        return None
    lines = [line for line in head[:end].decode("ascii", "replace").lower().splitlines() if not line.startswith("#")]
    fields = dict(line.split(": ", 1) for line in lines if ": " in line)
    plain = (fields.get("type") == "float" and fields.get("encoding") == "raw" and fields.get("endian") == "little"
             and fields.get("dimension") == "3" and "data file" not in fields and "datafile" not in fields)
    return end + 2 if plain else None


def readWhole(path, values):
    """Read a file of any other kind, at once."""
    import SimpleITK

    try:
        values[...] = SimpleITK.GetArrayViewFromImage(SimpleITK.ReadImage(path))
    except (RuntimeError, ValueError) as error:
        raise damaged() from error


def elsewhere(volumeName, difference):
    return XAIError(
        _("The map does not lie on the volume {name}: {difference}.").format(name=volumeName, difference=difference),
        _("The volume was moved or changed while the explanation ran. Run it again."),
    )


def damaged():
    return XAIError(_("The engine's map could not be read."), _("Run it again."))

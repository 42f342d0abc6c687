"""A volume on its way into a file for the engine, a few slices at a time."""

import contextlib
import os

import numpy as np
from slicer.i18n import tr as _

from XAIExplainLib.errors import XAIError

PIECE = 4_000_000  # bytes that are written in one step: some milliseconds
TYPES = {"i1": "signed char", "u1": "unsigned char", "i2": "short", "u2": "unsigned short", "i4": "int",
         "u4": "unsigned int", "i8": "long long int", "u8": "unsigned long long int", "f4": "float",
         "f8": "double"}  # fmt: skip


def departing(array, geometry, path):
    """
    Write voxels as NRRD, uncompressed, since the file lives for minutes; as steps.

    :param array: voxels (k, j, i); they are not copied.
    :param geometry: where they lie.
    :raises XAIError: if they cannot be written; then there is no file.
    """
    written = False
    try:
        with open(path, "wb") as file:
            file.write(header(array.dtype, geometry).encode("ascii"))
            thickness = max(1, PIECE // max(1, array[0].nbytes))
            for first in range(0, array.shape[0], thickness):
                piece = np.ascontiguousarray(array[first : first + thickness])
                file.write(piece.astype(piece.dtype.newbyteorder("<"), copy=False).data)
                yield
        written = True
    except OSError as error:
        raise XAIError(
            _("The volume could not be written for the engine: {path}").format(path=path),
            _("Make room on the disk, or choose another temporary folder in Slicer's settings."),
        ) from error
    finally:
        if not written:
            with contextlib.suppress(OSError):
                os.remove(path)


def header(dtype, geometry):
    """What stands before the voxels of a file, with the empty line."""
    axes = (geometry.direction * np.array(geometry.spacing)).T
    return "\n".join([
        "NRRD0004", "type: " + TYPES[dtype.str[1:]], "dimension: 3", "space: left-posterior-superior",
        "sizes: {} {} {}".format(*geometry.size),
        "space directions: " + " ".join(vector(axis) for axis in axes),
        "kinds: domain domain domain", "endian: little", "encoding: raw", "space origin: " + vector(geometry.origin),
        "", ""])  # fmt: skip


def vector(numbers):
    return "({})".format(",".join(repr(float(number)) for number in numbers))

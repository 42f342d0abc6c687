"""Voxels with their geometry: reading from files, checking, writing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

from XAIExplainLib.errors import XAIError
from XAIExplainLib.files import atomic_path
from XAIExplainLib.geometry import Geometry, place
from XAIExplainLib.nifti import is_nifti, nifti_is_whole
from XAIExplainLib.quiet import quiet_itk
from XAIExplainLib.reading import read_image

WRITABLE = (".nrrd", ".nii.gz", ".nii", ".mha")


class Volume:
    """Voxels of one or several channels, and where they lie.

    Parameters
    ----------
    array : array_like
        Shape (k, j, i) or (channel, k, j, i); kept as a C-contiguous float32 copy of that shape.
    spacing : sequence of float
        Millimetres along x, y, z of the grid (i, j, k).
    origin : sequence of float
        Centre of voxel (0, 0, 0), LPS millimetres.
    direction : array_like
        Shape (3, 3), as in SimpleITK: column n is the direction along which index n grows, LPS.
    name : str
        What messages and reports call it.

    Attributes
    ----------
    array : numpy.ndarray
        The voxels, float32.
    geometry : Geometry
        The grid.

    Raises
    ------
    XAIError
        If there are no voxels, too few or too many axes, numbers that are not finite, or no valid geometry.
    """

    def __init__(
        self,
        array: Any,
        spacing: Sequence[float] = (1.0, 1.0, 1.0),
        origin: Sequence[float] = (0.0, 0.0, 0.0),
        direction: Any = None,
        name: str = "",
    ) -> None:
        self.name = name
        called = f"The volume {name}" if name else "The volume"
        given = np.asarray(array)
        if given.dtype.kind not in "buif":
            raise XAIError(f"{called} holds values of the type {given.dtype}.", "Give real numbers.")
        if given.ndim not in (3, 4):
            raise XAIError(
                f"{called} has {given.ndim} axes: {given.shape}.",
                "Give an array with the axes (k, j, i) or (channel, k, j, i).",
            )
        if given.size == 0:
            raise XAIError(f"{called} is empty: its shape is {given.shape}.", "Give a volume with voxels.")
        with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite and is named below
            self.array = np.array(given, dtype=np.float32, order="C")
        broken = int(self.array.size - np.count_nonzero(np.isfinite(self.array)))
        if broken:
            raise XAIError(
                f"{called} has {broken} voxels that are not finite numbers (NaN or infinity).",
                "Replace them, for example by numpy.nan_to_num, or mask the volume again.",
            )
        k, j, i = self.array.shape[-3:]
        sx, sy, sz = spacing
        ox, oy, oz = origin
        self.geometry = Geometry((i, j, k), (sx, sy, sz), (ox, oy, oz), direction)

    @classmethod
    def on(cls, geometry: Geometry, array: Any, name: str = "") -> Volume:
        """A volume of `array` on the grid `geometry`."""
        made = cls(array, geometry.spacing, geometry.origin, geometry.direction, name)
        if made.geometry.size != geometry.size:
            raise XAIError(
                f"An array of shape {made.array.shape} does not lie on a grid of shape {geometry.shape}.",
                "Give one value for each voxel, in the order (k, j, i).",
            )
        return made

    def __repr__(self) -> str:
        size = "x".join(map(str, self.geometry.size))
        spacing = "x".join(f"{s:.4g}" for s in self.spacing)
        return f"Volume({self.name!r}, {self.channels} channel(s), {size} voxels, {spacing} mm, {self.geometry.axes})"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of `array`."""
        return self.array.shape

    @property
    def data(self) -> np.ndarray:
        """The voxels as (c, k, j, i), a view."""
        return self.array if self.array.ndim == 4 else self.array[np.newaxis]

    @property
    def channels(self) -> int:
        """How many channels there are."""
        return self.data.shape[0]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres along i, j, k."""
        return self.geometry.spacing

    @property
    def origin(self) -> tuple[float, float, float]:
        """Centre of voxel (0, 0, 0), LPS millimetres."""
        return self.geometry.origin

    @property
    def direction(self) -> np.ndarray:
        """Matrix (3, 3), LPS."""
        return self.geometry.direction


def load_volume(path: str | Path, *more: str | Path, series: str = "") -> Volume:
    """Read a volume.

    Parameters
    ----------
    path : str or Path
        NRRD, NIfTI, MetaImage, another format of SimpleITK, or a folder with a DICOM series.
    *more : str or Path
        Further files, one channel after the other, on the same grid.
    series : str
        Which DICOM series, where the folder holds several: its number or its instance UID.

    Returns
    -------
    Volume
        Axes (k, j, i), or (channel, k, j, i) where there are several channels.

    Raises
    ------
    XAIError
        If a file is missing, damaged, no image, four-dimensional, sheared, or on another grid than the first.
    """
    first, geometry = read_image(path, series)
    arrays = [first]
    for other in more:
        array, grid = read_image(other, series)
        if not geometry.same_as(grid):
            raise XAIError(
                f"{Path(other).name} does not lie on the grid of {Path(path).name}: {grid.difference(geometry)}.",
                "Resample it to the first volume, for example with Slicer's module Resample Scalar/Vector/DWI Volume.",
            )
        arrays.append(array)
    array = np.concatenate(arrays)
    return Volume.on(geometry, array[0] if len(array) == 1 else array, Path(path).name)


def save_volume(volume: Volume | Any, geometry: Geometry | None, path: str | Path, compressed: bool = True) -> Path:
    """Write voxels with their geometry; the file is whole or not there.

    Parameters
    ----------
    volume : Volume or array_like
        Shape (k, j, i) or (c, k, j, i). Masks (bool or uint8) are kept as uint8, all else as float32.
    geometry : Geometry or None
        The grid; None takes the volume's own.
    path : str or Path
        Ends in .nrrd, .nii.gz, .nii or .mha.
    compressed : bool
        False for a file that lives for seconds; .nii never is, and .nii.gz always.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    XAIError
        If the ending is unknown, or the file cannot be written.
    """
    path = Path(path)
    ending = next((e for e in WRITABLE if path.name.lower().endswith(e)), None)
    if ending is None or len(path.name) == len(ending):
        raise XAIError(f"{path.name} has no ending that can be written.", "Use one of " + ", ".join(WRITABLE) + ".")
    if isinstance(volume, Volume):
        geometry, array = geometry or volume.geometry, volume.array
    else:
        array = np.asarray(volume)
    if geometry is None or array.ndim not in (3, 4) or array.shape[-3:] != geometry.shape:
        raise ValueError(f"an array of shape {array.shape} does not lie on the grid {geometry}")
    array = array.astype(np.uint8 if array.dtype in (np.bool_, np.uint8) else np.float32, copy=False)
    several = array.ndim == 4 and len(array) > 1
    voxels = np.moveaxis(array, 0, -1) if several else array.reshape(geometry.shape)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(voxels), isVector=several)
    place(image, geometry)
    with atomic_path(path) as beside:
        try:
            with quiet_itk():
                SimpleITK.WriteImage(image, str(beside), useCompression=compressed and ending != ".nii")
                if is_nifti(beside) and not nifti_is_whole(beside):
                    raise RuntimeError("no space left on device")
        except RuntimeError as error:
            raise OSError(_why(error)) from error
    return path


def _why(error: RuntimeError) -> str:
    """The last sentence of one of SimpleITK's long messages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("Reason:").strip().rstrip(".") if lines else "unknown reason"

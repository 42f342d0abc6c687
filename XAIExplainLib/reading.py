"""One image file or one folder of DICOM slices, as an array and a grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK

from XAIExplainLib.errors import XAIError
from XAIExplainLib.geometry import Geometry
from XAIExplainLib.nifti import is_nifti, nifti_is_whole
from XAIExplainLib.quiet import quiet_itk

_FORMATS = "Give NRRD, NIfTI, MetaImage (MHA, MHD), or a folder with the slices of one DICOM series."
_DAMAGED = "It may be cut off or damaged: copy or export it again."


def read_image(path: str | Path, series: str = "") -> tuple[np.ndarray, Geometry]:
    """Read one image.

    Returns
    -------
    array : numpy.ndarray
        Shape (c, k, j, i), float32.
    geometry : Geometry
        LPS, millimetres.

    Raises
    ------
    XAIError
        If the path is missing, no image, damaged, four-dimensional or sheared.
    """
    given, path = path, Path(path).expanduser().absolute()
    if not path.exists():
        raise XAIError(f"There is no file or folder {given}.", "Check the path.")
    if path.is_dir():
        image = _read_series(path, series)
    else:
        if path.stat().st_size == 0:
            raise XAIError(f"The file {path.name} is empty.", _DAMAGED)
        try:
            with quiet_itk():
                image = SimpleITK.ReadImage(str(path))
        except RuntimeError as error:
            raise _unreadable(path, error) from error
        if is_nifti(path) and not nifti_is_whole(path):
            raise XAIError(f"{path.name} is cut off: its header promises more voxels than there are.", _DAMAGED)
    return _three_dimensional(image, path.name)


def _three_dimensional(image: SimpleITK.Image, name: str) -> tuple[np.ndarray, Geometry]:
    """Check a read image and bring it to (c, k, j, i) and a grid of three axes."""
    if "complex" in image.GetPixelIDTypeAsString():
        raise XAIError(f"{name} holds complex numbers.", "Save its magnitude as an image of its own.")
    while image.GetDimension() > 3:
        frames = image.GetSize()[-1]
        if frames != 1:
            raise XAIError(
                f"{name} is four-dimensional: it holds {frames} frames.",
                "Save the frame to be explained as a volume of its own; channels go into one file each.",
            )
        keep = [*image.GetSize()[:-1], 0]
        image = SimpleITK.Extract(image, keep, [0] * len(keep))
    if image.GetDimension() == 2:
        image = SimpleITK.JoinSeries(image)
    array = SimpleITK.GetArrayFromImage(image).astype(np.float32)
    array = np.moveaxis(array, -1, 0) if image.GetNumberOfComponentsPerPixel() > 1 else array[np.newaxis]
    direction = np.array(image.GetDirection()).reshape(3, 3)
    if np.abs(direction.T @ direction - np.eye(3)).max() > 1e-3:
        raise _sheared(name)
    return array, Geometry(image.GetSize(), image.GetSpacing(), image.GetOrigin(), direction)


def _read_series(folder: Path, series: str) -> SimpleITK.Image:
    """The one DICOM series of a folder, or the one called `series`."""
    with quiet_itk():
        found = {
            uid: SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
            for uid in SimpleITK.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
        }
    if not found:
        raise XAIError(f"The folder {folder.name} holds no DICOM series.", _FORMATS)
    uid = _choose(found, folder, series)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(found[uid])
    reader.MetaDataDictionaryArrayUpdateOn()
    try:
        with quiet_itk():
            image = reader.Execute()
    except RuntimeError as error:
        raise _unreadable(folder, error) from error
    _check_slices(reader, len(found[uid]), image, folder.name)
    return image


def _choose(found: dict[str, tuple[str, ...]], folder: Path, series: str) -> str:
    named = {
        uid: f"{_tag(files[0], '0020|0011')} {_tag(files[0], '0008|103e')}".strip() for uid, files in found.items()
    }
    listed = "; ".join(f"{named[uid] or uid} ({len(files)} slices)" for uid, files in found.items())
    if not series:
        if len(found) == 1:
            return next(iter(found))
        raise XAIError(
            f"The folder {folder.name} holds {len(found)} series: {listed}.", "Choose one with series=number."
        )
    chosen = [
        uid for uid in found if series == uid or str(series) == named[uid].split(" ")[0] or series in named[uid][1:]
    ]
    if len(chosen) != 1:
        raise XAIError(f"{len(chosen)} series of {folder.name} are called {series}.", f"There are: {listed}.")
    return chosen[0]


def _tag(file: str, key: str) -> str:
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(file)
    try:
        with quiet_itk():
            reader.ReadImageInformation()
        return str(reader.GetMetaData(key)).strip() if reader.HasMetaDataKey(key) else ""
    except RuntimeError:
        return ""


def _check_slices(reader: SimpleITK.ImageSeriesReader, count: int, image: SimpleITK.Image, name: str) -> None:
    """Refuse slices that are missing, unevenly spaced or tilted: ITK would put them on a straight, even grid."""
    if count < 2 or not all(reader.HasMetaDataKey(n, "0020|0032") for n in range(count)):
        return
    places = np.array([[float(v) for v in reader.GetMetaData(n, "0020|0032").split("\\")] for n in range(count)])
    steps = np.diff(places, axis=0)
    normal = np.array(image.GetDirection()).reshape(3, 3)[:, 2]
    along = steps @ normal
    if np.abs(np.abs(along) - np.median(np.abs(along))).max() > 0.05 * np.median(np.abs(along)) + 1e-3:
        raise XAIError(
            f"The slices of {name} are not evenly spaced: {np.abs(along).min():.3g} to {np.abs(along).max():.3g} mm.",
            "A slice may be missing; load the series in Slicer, which can resample it, and save it as NRRD.",
        )
    if np.abs(steps - np.outer(along, normal)).max() > 0.01 * np.median(np.abs(along)) + 1e-3:
        raise _sheared(name)


def _sheared(name: str) -> XAIError:
    return XAIError(
        f"The axes of {name} are not at right angles (shear, or a tilted gantry).",
        "Resample it to a straight grid, for example by hardening its transform in Slicer, and save it again.",
    )


def _unreadable(path: Path, error: RuntimeError) -> XAIError:
    text = str(error)
    if "orthonormal" in text:
        return _sheared(path.name)
    if "Unable to determine ImageIO reader" in text:
        return XAIError(f"{path.name} is not an image that can be read.", _FORMATS)
    return XAIError(f"{path.name} could not be read as an image.", _DAMAGED)

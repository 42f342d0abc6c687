"""What the shipped networks expect of their input, as a plain chain of numpy and SimpleITK."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

SPACING_MM = 2.5
SIZE = (64, 80, 64)
"""Input of the networks in voxels, order i, j, k."""

PREPROCESSING = [
    {"step": "orient", "axes": "RAS"},
    {"step": "resample", "spacing": [SPACING_MM] * 3},
    {"step": "crop_or_pad", "size": list(SIZE), "center": "foreground"},
    {"step": "normalize", "kind": "zscore", "region": "foreground"},
]
"""The same chain in the words of ``model.json``."""


def resample(image: sitk.Image, spacing: float = SPACING_MM) -> np.ndarray:
    """Turn the voxel axes towards right, anterior, superior and resample linearly over the same extent.

    Parameters
    ----------
    image : SimpleITK.Image
        Scalar, three dimensions.
    spacing : float
        New spacing in mm.

    Returns
    -------
    numpy.ndarray
        Shape (k, j, i), float32.
    """
    turned = sitk.DICOMOrient(sitk.Cast(image, sitk.sitkFloat32), "RAS")
    old, count = np.array(turned.GetSpacing()), np.array(turned.GetSize())
    # Rounded up, and about the same centre, so that no voxel of the scan falls off the edge.
    size = np.maximum(np.ceil(count * old / spacing - 1e-3), 1).astype(int)
    direction = np.array(turned.GetDirection()).reshape(3, 3)
    origin = np.array(turned.GetOrigin()) + direction @ (((count - 1) * old - (size - 1) * spacing) / 2)
    grid = sitk.ResampleImageFilter()
    grid.SetSize([int(n) for n in size])
    grid.SetOutputSpacing([spacing] * 3)
    grid.SetOutputOrigin([float(x) for x in origin])
    grid.SetOutputDirection(turned.GetDirection())
    grid.SetInterpolator(sitk.sitkLinear)
    return sitk.GetArrayFromImage(grid.Execute(turned))


def crop_or_pad(array: np.ndarray, size: tuple[int, int, int] = SIZE) -> tuple[np.ndarray, tuple[slice, ...]]:
    """Crop or pad with 0 to a size, centred on the bounding box of what is above 0.

    Parameters
    ----------
    array : numpy.ndarray
        Shape (k, j, i).
    size : tuple of int
        Order i, j, k.

    Returns
    -------
    cropped : numpy.ndarray
        Shape ``size[::-1]``.
    window : tuple of slice
        Where the result lies in `array`, order k, j, i; it may reach beyond it.
    """
    window = []
    for axis, wanted in enumerate(size[::-1]):
        other = tuple(a for a in range(3) if a != axis)
        present = np.flatnonzero((array > 0).any(axis=other))
        first, last = (present[0], present[-1] + 1) if present.size else (0, array.shape[axis])
        start = int(np.floor((first + last - wanted) / 2))
        window.append(slice(start, start + wanted))
    return take(array, tuple(window)), tuple(window)


def take(array: np.ndarray, window: tuple[slice, ...]) -> np.ndarray:
    """Cut a window that may reach beyond the array; what lies beyond is 0."""
    result = np.zeros([w.stop - w.start for w in window], dtype=array.dtype)
    inside = [slice(max(w.start, 0), min(w.stop, n)) for w, n in zip(window, array.shape, strict=True)]
    target = [slice(s.start - w.start, s.stop - w.start) for s, w in zip(inside, window, strict=True)]
    result[tuple(target)] = array[tuple(inside)]
    return result


def normalize(array: np.ndarray) -> np.ndarray:
    """Subtract mean and divide by standard deviation of the voxels above 0; the others become 0."""
    inside = array > 0
    if not inside.any():
        return np.zeros_like(array, dtype=np.float32)
    values = array[inside]
    return np.where(inside, (array - values.mean()) / max(float(values.std()), 1e-6), 0).astype(np.float32)


def prepare(image: sitk.Image) -> np.ndarray:
    """The whole chain: what goes into the network, shape (64, 80, 64) = (k, j, i), float32."""
    return normalize(crop_or_pad(resample(image))[0])

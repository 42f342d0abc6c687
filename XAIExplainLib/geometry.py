"""Where voxels lie in the patient, and the one way to carry numbers from one voxel grid to another.

Conventions are SimpleITK's: index (i, j, k) with i fastest, spacing and origin in the order x, y, z, millimetres, LPS
(x grows to the patient's Left, y to Posterior, z to Superior). Arrays have the axes (k, j, i). LPS and RAS are
converted here and nowhere else.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK

from XAIExplainLib.errors import XAIError

# A shift of a thousandth of a voxel over the whole grid is the rounding of a file header, not another grid.
SAME_VOXEL = 1e-3
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))  # towards smaller and larger x, y, z of LPS


@dataclass(frozen=True, eq=False)
class Geometry:
    """A grid of voxels in patient space.

    Parameters
    ----------
    size : tuple of int
        Voxels along i, j, k.
    spacing : tuple of float
        Millimetres between voxel centres along i, j, k; positive.
    origin : tuple of float
        Centre of voxel (0, 0, 0) in LPS millimetres.
    direction : numpy.ndarray
        Shape (3, 3); column n is the unit vector along which index n grows, in LPS.

    Raises
    ------
    XAIError
        If a size or spacing is not positive, a number is not finite, or the direction is singular.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: Any = None

    def __post_init__(self) -> None:
        size = tuple(int(n) for n in self.size)
        spacing = _three(self.spacing, "spacing")
        origin = _three(self.origin, "origin")
        direction = np.eye(3) if self.direction is None else np.array(self.direction, dtype=np.float64)
        if len(size) != 3 or min(size) < 1:
            raise XAIError(f"A grid of {size} voxels is empty.", "Each of the three sizes must be at least 1.")
        if min(spacing) <= 0:
            raise XAIError(
                f"The spacing {spacing} mm is not positive.",
                "Give the distance of voxel centres in millimetres; a flipped axis belongs into the direction.",
            )
        if direction.size != 9:
            raise XAIError(
                f"The direction has the shape {direction.shape}.",
                "Give three rows of three numbers, as SimpleITK does.",
            )
        direction = direction.reshape(3, 3)
        if not np.isfinite(direction).all() or abs(np.linalg.det(direction)) < 1e-6:
            raise XAIError(
                "The direction matrix is singular: its axes do not span space.",
                "Repair the orientation of the volume, or use the identity.",
            )
        direction.flags.writeable = False
        for name, value in (
            ("size", size),
            ("spacing", spacing),
            ("origin", origin),
            ("direction", direction),
        ):
            object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Geometry):
            return NotImplemented
        same = self.size == other.size and self.spacing == other.spacing and self.origin == other.origin
        return same and bool((self.direction == other.direction).all())

    def __hash__(self) -> int:
        return hash((self.size, self.spacing, self.origin, self.direction.tobytes()))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along k, j, i: the shape of an array on this grid."""
        return self.size[::-1]

    @property
    def affine(self) -> np.ndarray:
        """Matrix (4, 4) from index (i, j, k, 1) to LPS millimetres."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.direction * np.array(self.spacing)
        matrix[:3, 3] = self.origin
        return matrix

    @property
    def ras_affine(self) -> np.ndarray:
        """Matrix (4, 4) from index (i, j, k, 1) to RAS millimetres: Slicer's IJKToRAS, nibabel's and MONAI's affine."""
        return _LPS_TO_RAS @ self.affine

    @property
    def voxel_volume(self) -> float:
        """Cubic millimetres of one voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def axes(self) -> str:
        """The nearest patient directions towards which i, j and k grow, such as ``LPS`` or ``RAS``."""
        letters = ""
        for index, axis in enumerate(nearest_axes(self.direction)):
            letters += _LETTERS[axis][int(self.direction[axis, index] > 0)]
        return letters

    @classmethod
    def from_affine(cls, affine: Any, size: Sequence[int]) -> Geometry:
        """The geometry whose `affine` (4, 4), index to LPS millimetres, is given."""
        matrix = np.array(affine, dtype=np.float64)
        if matrix.shape != (4, 4):
            raise XAIError(f"A matrix of the shape {matrix.shape} is no geometry.", "Give a matrix of 4 x 4 numbers.")
        spacing = np.linalg.norm(matrix[:3, :3], axis=0)
        if not np.isfinite(matrix).all() or spacing.min() <= 0:
            raise XAIError("The matrix of the grid has an axis of no length.", "Repair the geometry of the volume.")
        i, j, k = (int(n) for n in size)
        x, y, z = (float(s) for s in spacing)
        ox, oy, oz = (float(o) for o in matrix[:3, 3])
        return cls((i, j, k), (x, y, z), (ox, oy, oz), matrix[:3, :3] / spacing)

    @classmethod
    def from_ras_affine(cls, affine: Any, size: Sequence[int]) -> Geometry:
        """The geometry whose `ras_affine` (4, 4), index to RAS millimetres, is given."""
        return cls.from_affine(_LPS_TO_RAS @ np.array(affine, dtype=np.float64), size)

    def index_to_physical(self, index: Any) -> np.ndarray:
        """Indices (..., 3) in the order i, j, k, fractions allowed, to LPS millimetres (..., 3)."""
        return np.asarray(index, dtype=np.float64) @ self.affine[:3, :3].T + np.array(self.origin)

    def physical_to_index(self, point: Any) -> np.ndarray:
        """LPS millimetres (..., 3) to indices (..., 3) in the order i, j, k, with fractions."""
        inverse = np.linalg.inv(self.affine[:3, :3])
        return (np.asarray(point, dtype=np.float64) - np.array(self.origin)) @ inverse.T

    def same_as(self, other: Geometry, tolerance: float = SAME_VOXEL) -> bool:
        """Whether no voxel centre of the two grids differs by more than `tolerance` voxels."""
        if self.size != other.size:
            return False
        corners = self.corners()
        return bool(np.abs(other.physical_to_index(self.index_to_physical(corners)) - corners).max() <= tolerance)

    def difference(self, other: Geometry) -> str:
        """How the two grids differ, in words; empty if they do not."""
        if self.size != other.size:
            return f"{'x'.join(map(str, self.size))} against {'x'.join(map(str, other.size))} voxels"
        if self.same_as(other):
            return ""
        if not np.allclose(self.spacing, other.spacing, rtol=1e-4):
            return f"spacing {_numbers(self.spacing)} against {_numbers(other.spacing)} mm"
        if not np.allclose(self.direction, other.direction, atol=1e-4):
            return "another orientation of the axes"
        return f"origin {_numbers(self.origin)} against {_numbers(other.origin)} mm"

    def corners(self) -> np.ndarray:
        """Indices (8, 3) of the corner voxels."""
        return np.array(list(itertools.product(*((0, n - 1) for n in self.size))), dtype=np.float64)

    def moved(self, start: Sequence[float], size: Sequence[int], step: Sequence[float] = (1, 1, 1)) -> Geometry:
        """The grid of `size` voxels (i, j, k) whose first centre is at index `start` and whose spacing is `step` times
        this one's. Integer starts are crops and pads."""
        x, y, z = (float(v) for v in self.index_to_physical(start))
        si, sj, sk = (float(s * f) for s, f in zip(self.spacing, step, strict=True))
        i, j, k = (int(n) for n in size)
        return Geometry((i, j, k), (si, sj, sk), (x, y, z), self.direction)

    def to_json(self) -> dict[str, Any]:
        """The grid as JSON-ready values (LPS, millimetres; direction by rows)."""
        return {
            "size": list(self.size), "spacing": list(self.spacing), "origin": list(self.origin),
            "direction": self.direction.tolist(), "space": "LPS",
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Geometry:
        """The inverse of `to_json`."""
        try:
            return cls(value["size"], value["spacing"], value["origin"], value["direction"])
        except (KeyError, TypeError, ValueError) as error:
            raise XAIError("The geometry is incomplete.", "Give size, spacing, origin and direction.") from error


def nearest_axes(direction: np.ndarray) -> tuple[int, int, int]:
    """For each of i, j, k the patient axis (0 = x, 1 = y, 2 = z) that it follows, each axis once.

    The closest pair is taken first, as ITK and nibabel do; that matters for strongly oblique grids.
    """
    left = np.abs(direction)
    follows = [0, 0, 0]
    for _ in range(3):
        axis, index = (int(n) for n in np.unravel_index(left.argmax(), left.shape))
        follows[index] = axis
        left[axis, :] = left[:, index] = -1
    return follows[0], follows[1], follows[2]


def resample(
    array: np.ndarray, source: Geometry, destination: Geometry, order: int = 1, fill: float = 0.0
) -> np.ndarray:
    """Carry `array` from one grid to another.

    Where the grids differ only by flipped or exchanged axes and whole voxels (orient, crop, pad) the numbers are copied
    exactly; elsewhere they are interpolated. A centre within half a voxel of the source's edge takes the
    edge's value; what lies beyond takes `fill`.

    Parameters
    ----------
    array : numpy.ndarray
        Shape (k, j, i) or (c, k, j, i) on the grid `source`.
    source, destination : Geometry
        The two grids.
    order : int
        1 for trilinear interpolation, 0 for the nearest voxel (masks, labels).
    fill : float
        The value outside of the source.

    Returns
    -------
    numpy.ndarray
        Shape (k, j, i) or (c, k, j, i) on the grid `destination`; float32, or the dtype of `array` where `order` is 0.
    """
    if array.shape[-3:] != source.shape or array.ndim not in (3, 4):
        raise ValueError(f"an array of shape {array.shape} does not lie on a grid of shape {source.shape}")
    if order not in (0, 1):
        raise ValueError("order is 0 (nearest) or 1 (linear)")
    values = array if order == 0 else np.asarray(array, dtype=np.float32)
    matrix = np.linalg.inv(source.affine) @ destination.affine  # destination index -> source index
    whole = np.rint(matrix)
    corners = np.c_[destination.corners(), np.ones(8)]
    axes = np.abs(whole[:3, :3])
    moves_only = (axes.sum(0) == 1).all() and (axes.sum(1) == 1).all()
    if moves_only and np.abs(corners @ (matrix - whole).T).max() <= SAME_VOXEL:
        return _move(values, whole.astype(int), destination.shape, fill)
    if values.ndim == 4:
        return np.stack([_interpolate(v, source, destination, order, fill) for v in values])
    return _interpolate(values, source, destination, order, fill)


def _move(values: np.ndarray, matrix: np.ndarray, shape: tuple[int, ...], fill: float) -> np.ndarray:
    """Exact copy; `matrix` is a signed permutation with whole shifts, destination index to source index (i, j, k)."""
    if values.ndim == 3:
        return _move(values[np.newaxis], matrix, shape, fill)[0]
    order = [0]
    placed, taken, turned = [slice(None)], [slice(None)], [slice(None)]
    for axis in range(3):  # an axis of the destination's array: k, j, i
        column = 2 - axis
        row = int(np.flatnonzero(matrix[:3, column])[0])
        sign, shift = int(matrix[row, column]), int(matrix[row, 3])
        order.append(3 - row)
        length = values.shape[3 - row]
        # The source position is shift + sign * n: keep those n that are in both grids.
        first, last = (-shift, length - 1 - shift) if sign > 0 else (shift - length + 1, shift)
        first, last = max(first, 0), min(last, shape[axis] - 1)
        if last < first:
            return np.full((len(values), *shape), fill, dtype=values.dtype)
        ends = shift + sign * first, shift + sign * last
        placed.append(slice(first, last + 1))
        taken.append(slice(min(ends), max(ends) + 1))
        turned.append(slice(None, None, sign))
    result = np.full((len(values), *shape), fill, dtype=values.dtype)
    result[tuple(placed)] = values.transpose(order)[tuple(taken)][tuple(turned)]
    return result


def _interpolate(values: np.ndarray, source: Geometry, destination: Geometry, order: int, fill: float) -> np.ndarray:
    dtype = values.dtype
    if dtype == np.bool_ or dtype == np.float16:
        values = values.astype(np.float32 if dtype == np.float16 else np.uint8)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(values))
    place(image, source)
    filter_ = SimpleITK.ResampleImageFilter()
    filter_.SetInterpolator(SimpleITK.sitkLinear if order else SimpleITK.sitkNearestNeighbor)
    filter_.SetSize(destination.size)
    filter_.SetOutputSpacing(destination.spacing)
    filter_.SetOutputOrigin(destination.origin)
    filter_.SetOutputDirection(destination.direction.ravel().tolist())
    filter_.SetDefaultPixelValue(float(fill))
    return SimpleITK.GetArrayFromImage(filter_.Execute(image)).astype(dtype, copy=False)


def place(image: SimpleITK.Image, geometry: Geometry) -> None:
    """Write `geometry` into a SimpleITK image."""
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction.ravel().tolist())


def _three(values: Any, what: str) -> tuple[float, float, float]:
    try:
        x, y, z = (float(v) for v in values)
    except (TypeError, ValueError):
        raise XAIError(f"The {what} is {values!r}.", "Give three numbers in the order x, y, z.") from None
    if not np.isfinite([x, y, z]).all():
        raise XAIError(f"The {what} {values!r} is not finite.", "Give three numbers in the order x, y, z.")
    return x, y, z


def _numbers(values: Sequence[float]) -> str:
    return " x ".join(f"{v:.4g}" for v in values)

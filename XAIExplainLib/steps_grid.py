"""Preprocessing steps that change the grid: orient, resample, resize, crop and pad."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from XAIExplainLib.errors import XAIError
from XAIExplainLib.geometry import Geometry, nearest_axes, resample
from XAIExplainLib.preprocessing import Step

_DIRECTIONS = {
    "R": (0, -1),
    "L": (0, 1),
    "A": (1, -1),
    "P": (1, 1),
    "I": (2, -1),
    "S": (2, 1),
}  # axis of LPS, sign
_MOST_VOXELS = 1 << 31


def foreground_box(data: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray] | None:
    """First and last index (i, j, k) of the voxels above `threshold` in any channel; None without any."""
    above = np.asarray((data > threshold).any(axis=0))
    first, last = [], []
    for axis in (2, 1, 0):
        hits = np.flatnonzero(np.moveaxis(above, axis, 0).reshape(above.shape[axis], -1).any(axis=1))
        if not len(hits):
            return None
        first.append(int(hits[0]))
        last.append(int(hits[-1]))
    return np.array(first), np.array(last)


def _onto(data: np.ndarray, source: Geometry, goal: Geometry, order: int, fill: float) -> tuple[np.ndarray, Geometry]:
    return resample(data, source, goal, order=order, fill=fill), goal


@dataclass(frozen=True)
class Orient(Step):
    """Exchange and flip axes so that i, j and k grow towards the three letters.

    ``RAS``: growing i goes to the patient's Right, j to Anterior, k to Superior. An oblique grid keeps its
    angles: each axis goes to the letter that it follows most closely.

    A network's tensor has the axes (k, j, i). MONAI's loaders give (i, j, k): what a network was trained on after
    MONAI's ``Orientation("RAS")`` is ``SAR`` here.
    """

    name: ClassVar[str] = "orient"
    axes: str

    def __post_init__(self) -> None:
        letters = str(self.axes).upper()
        if len(letters) != 3 or {_DIRECTIONS.get(c, (c,))[0] for c in letters} != {0, 1, 2}:
            raise self.wrong("axes", "three letters, one each of R or L, A or P, and I or S, such as RAS")
        object.__setattr__(self, "axes", letters)

    def __call__(self, data: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, Geometry]:
        """Apply the step."""
        nearest = nearest_axes(geometry.direction)
        change = np.eye(4)
        size = []
        change[:3, :3] = 0
        for new, letter in enumerate(self.axes):
            axis, sign = _DIRECTIONS[letter]
            old = nearest.index(axis)
            flip = geometry.direction[axis, old] * sign < 0
            change[old, new] = -1 if flip else 1
            change[old, 3] = geometry.size[old] - 1 if flip else 0
            size.append(geometry.size[old])
        return _onto(data, geometry, Geometry.from_affine(geometry.affine @ change, size), 1, 0.0)


@dataclass(frozen=True)
class Resample(Step):
    """Bring the voxels to a spacing; the block keeps its centre and, rounded up to whole voxels, its extent.

    Parameters
    ----------
    spacing : three floats
        Millimetres along i, j, k.
    order : int
        1 for linear, 0 for the nearest voxel.
    antialias : bool
        Blur first along the axes that become coarser, so that fine structure does not alias.
    """

    name: ClassVar[str] = "resample"
    spacing: Any
    order: int = 1
    antialias: bool = False

    def __post_init__(self) -> None:
        self.three("spacing", float)
        if self.order not in (0, 1):
            raise self.wrong("order", "1 for linear or 0 for nearest")

    def __call__(self, data: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, Geometry]:
        """Apply the step."""
        step = np.array(self.spacing) / np.array(geometry.spacing)
        # Rounded up: rounded down, the outermost voxels of the volume would get no explanation.
        size = np.maximum(1, np.ceil(np.array(geometry.size) / step - 1e-3)).astype(int)
        return _stretch(data, geometry, size, step, self.order, self.antialias)


@dataclass(frozen=True)
class Resize(Step):
    """Bring the block to `size` voxels along i, j, k with the same extent; the spacing follows.

    Parameters
    ----------
    size : three ints
        Voxels.
    order : int
        1 for linear, 0 for the nearest voxel.
    antialias : bool
        Blur first along the axes that become coarser.
    """

    name: ClassVar[str] = "resize"
    size: Any
    order: int = 1
    antialias: bool = False

    def __post_init__(self) -> None:
        self.three("size", int)
        if self.order not in (0, 1):
            raise self.wrong("order", "1 for linear or 0 for nearest")

    def __call__(self, data: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, Geometry]:
        """Apply the step."""
        size = np.array(self.size)
        return _stretch(data, geometry, size, np.array(geometry.size) / size, self.order, self.antialias)


def _stretch(
    data: np.ndarray, geometry: Geometry, size: np.ndarray, step: np.ndarray, order: int, antialias: bool
) -> tuple[np.ndarray, Geometry]:
    """To a grid of `size` voxels, each `step` old voxels long, about the same centre."""
    if math.prod(int(n) for n in size) * len(data) > _MOST_VOXELS:
        raise XAIError(
            f"The preprocessing would make {'x'.join(map(str, size))} voxels.",
            "Check the spacing of the volume and of the preprocessing.",
        )
    start = (np.array(geometry.size) - 1) / 2 - step * (size - 1) / 2
    goal = geometry.moved(start.tolist(), size.tolist(), step.tolist())
    if antialias and step.max() > 1:
        from scipy import ndimage  # which a start should not wait for

        sigma = (0.0, *(max(0.0, (s - 1) / 2) for s in step[::-1]))
        data = ndimage.gaussian_filter(data, sigma, mode="nearest")
    return _onto(data, geometry, goal, order, 0.0)


@dataclass(frozen=True)
class CropOrPad(Step):
    """Cut out, or fill up to, a block of `size` voxels along i, j, k; no interpolation.

    Parameters
    ----------
    size : three ints
        Voxels.
    center : str
        ``image`` keeps the middle of the grid in the middle; ``foreground`` the middle of the box around the
        voxels above `threshold` (in any channel), or that of the grid where there are none.
    fill : float
        The value of voxels that are added.
    threshold : float
        Voxels above it are foreground.
    """

    name: ClassVar[str] = "crop_or_pad"
    size: Any
    center: str = "image"
    fill: float = 0.0
    threshold: float = 0.0

    def __post_init__(self) -> None:
        self.three("size", int)
        self.choice("center", ("image", "foreground"))
        self.number("fill")
        self.number("threshold")

    def __call__(self, data: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, Geometry]:
        """Apply the step."""
        first, last = np.zeros(3, int), np.array(geometry.size) - 1
        if self.center == "foreground":
            first, last = foreground_box(data, self.threshold) or (first, last)
        start = (first + last + 1) // 2 - np.array(self.size) // 2
        return _onto(data, geometry, geometry.moved(start.tolist(), self.size), 1, self.fill)


@dataclass(frozen=True)
class CropForeground(Step):
    """Cut out the box around the voxels above `threshold`, and up to `margin` voxels more on each side.

    A volume without foreground stays whole.
    """

    name: ClassVar[str] = "crop_foreground"
    margin: int = 0
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.margin, bool) or not isinstance(self.margin, int) or self.margin < 0:
            raise self.wrong("margin", "a whole number of voxels, 0 or more")
        self.number("threshold")

    def __call__(self, data: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, Geometry]:
        """Apply the step."""
        box = foreground_box(data, self.threshold)
        if box is None:
            return data, geometry
        first = np.maximum(box[0] - self.margin, 0)
        last = np.minimum(box[1] + self.margin, np.array(geometry.size) - 1)
        return _onto(data, geometry, geometry.moved(first.tolist(), (last - first + 1).tolist()), 1, 0.0)


@dataclass(frozen=True)
class PadToMultiple(Step):
    """Fill up on both sides until each size is a multiple of `k` (one number, or three along i, j, k)."""

    name: ClassVar[str] = "pad_to_multiple"
    k: Any
    fill: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.k, (int, float)):
            object.__setattr__(self, "k", (self.k,) * 3)
        self.three("k", int)
        self.number("fill")

    def __call__(self, data: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, Geometry]:
        """Apply the step."""
        size, multiple = np.array(geometry.size), np.array(self.k)
        goal = -(-size // multiple) * multiple
        return _onto(data, geometry, geometry.moved((-((goal - size) // 2)).tolist(), goal.tolist()), 1, self.fill)


STEPS: tuple[type[Step], ...] = (Orient, Resample, Resize, CropOrPad, CropForeground, PadToMultiple)

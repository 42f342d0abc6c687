"""Slices through a volume with a map laid over it, as a radiologist hangs them: the patient's right on the left."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation

from XAIExplainLib.geometry import Geometry, resample

PLANES = ("axial", "coronal", "sagittal")
# Heat for maps of one sign; blue (against) and red (for) for two. Safe for the common colour blindnesses.
HEAT = ((0, 0, 0), (84, 4, 92), (160, 18, 90), (214, 42, 52), (242, 104, 22), (253, 172, 40), (255, 240, 150))
FOR = ((245, 245, 245), (252, 190, 130), (245, 110, 50), (225, 25, 25))
AGAINST = ((245, 245, 245), (150, 195, 250), (70, 140, 250), (20, 90, 255))


def upright(geometry: Geometry, spacing: float = 1.25) -> Geometry:
    """A grid of cubes along the patient's axes (LPS) that covers `geometry`."""
    corners = geometry.index_to_physical(geometry.corners())
    low, high = corners.min(0), corners.max(0)
    size = [int(n) + 1 for n in np.ceil((high - low) / spacing)]
    return Geometry((size[0], size[1], size[2]), (spacing,) * 3, (low[0], low[1], low[2]), np.eye(3))


def hang(array: np.ndarray, plane: str, index: int) -> np.ndarray:
    """One slice of an array (k, j, i) in LPS axes: anterior or superior is up, the patient's left is right."""
    if plane == "axial":
        return array[index]
    if plane == "coronal":
        return array[::-1, index]
    return array[::-1, :, index]


def scale(points: tuple[tuple[int, int, int], ...], values: np.ndarray) -> np.ndarray:
    """Colours (..., 3) from 0 to 255 of values from 0 to 1."""
    at = np.linspace(0, 1, len(points))
    return np.stack([np.interp(values, at, [point[c] for point in points]) for c in range(3)], axis=-1)


def colours(values: np.ndarray, full: float, signed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Colour (..., 3) and opacity (...) of map values; `full` has the strongest colour, zero is clear."""
    strength = np.clip(np.abs(values) / max(full, 1e-30), 0, 1)
    if not signed:
        return scale(HEAT, strength), np.clip((strength - 0.12) / 0.3, 0, 1) * 0.8
    tint = np.where((values > 0)[..., None], scale(FOR, strength), scale(AGAINST, strength))
    return tint, np.clip((strength - 0.08) / 0.25, 0, 1) * 0.8


class Hanging:
    """A case made ready for pictures.

    Parameters
    ----------
    image, mask : numpy.ndarray
        Shape (k, j, i) on `geometry`; the mask may be None.
    geometry : Geometry
        Of the case.
    """

    def __init__(self, image: np.ndarray, geometry: Geometry, mask: np.ndarray | None = None) -> None:
        self.source, self.grid = geometry, upright(geometry)
        self.image = resample(image, geometry, self.grid)
        self.mask = None if mask is None else resample((mask > 0).astype(np.float32), geometry, self.grid) > 0.5
        self.window = float(np.percentile(self.image[self.image > 0], 99.7)) if (self.image > 0).any() else 1.0
        self.box = self._box()

    def _box(self) -> tuple[slice, ...]:
        """Where there is something to see, with a margin."""
        places = np.argwhere(self.image > 0)
        low, high = np.maximum(places.min(0) - 4, 0), places.max(0) + 5
        return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))

    def index_of(self, ijk: tuple[int, int, int]) -> tuple[int, int, int]:
        """A voxel (i, j, k) of the case as an index (k, j, i) of the pictures' grid."""
        point = self.grid.physical_to_index(self.source.index_to_physical(ijk))
        near = np.clip(np.rint(point), 0, np.array(self.grid.size) - 1).astype(int)
        return int(near[2]), int(near[1]), int(near[0])

    def picture(
        self, plane: str, place: tuple[int, int, int], values: np.ndarray | None = None, full: float = 1.0,
        signed: bool = False, zoom: int = 3,
    ) -> Image.Image:  # fmt: skip
        """The slice of a plane through `place` (k, j, i), with a map on the case's grid and the mask's outline."""
        axis = PLANES.index(plane)
        index = place[axis] - (self.box[axis].start or 0)

        def cut(array: np.ndarray) -> np.ndarray:
            return hang(array[self.box], plane, int(np.clip(index, 0, array[self.box].shape[axis] - 1)))

        gray = np.clip(cut(self.image) / self.window, 0, 1) * 255
        rgb = enlarge(np.repeat(gray[..., None], 3, axis=-1), zoom)
        if values is not None:
            tint, opacity = colours(enlarge(cut(resample(values, self.source, self.grid)), zoom), full, signed)
            rgb = rgb * (1 - opacity[..., None]) + tint * opacity[..., None]
        if self.mask is not None:
            inside = enlarge(cut(self.mask).astype(float), zoom) > 0.5
            rgb[edge(inside)] = (90, 230, 170)
        return Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8))


def enlarge(array: np.ndarray, zoom: int) -> np.ndarray:
    """Interpolate (rows, columns) or (rows, columns, 3) to `zoom` times the size."""
    if array.ndim == 3:
        return np.stack([enlarge(array[..., c], zoom) for c in range(array.shape[-1])], axis=-1)
    size = (array.shape[1] * zoom, array.shape[0] * zoom)
    return np.asarray(Image.fromarray(array.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))


def edge(inside: np.ndarray) -> np.ndarray:
    """The outline, two pixels wide, around a region (rows, columns), so that it hides nothing of it."""
    grown = binary_dilation(inside, iterations=2)
    return grown & ~inside


def as_source(picture: Image.Image) -> str:
    """A picture as the source of an HTML image, so that the page stands alone."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def bar(signed: bool, width: int = 160, height: int = 8) -> Image.Image:
    """The colour bar of a map."""
    values = np.linspace(-1 if signed else 0, 1, width)
    tint, _ = colours(values, 1.0, signed)
    return Image.fromarray(np.repeat(tint[None], height, axis=0).astype(np.uint8))

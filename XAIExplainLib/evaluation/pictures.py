"""Slices through a volume with a map laid over it, as SVG with PNG inside, made without a drawing library.

Hung as a radiologist does: the patient's right is on the picture's left, anterior or superior is up. Slices are cut
along the patient's axes, whatever the volume's own; lengths in a picture are millimetres.
"""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from XAIExplainLib.geometry import Geometry, resample
from XAIExplainLib.volume import Volume

PLANES = ("axial", "coronal", "sagittal")
ACROSS = {"axial": 2, "coronal": 1, "sagittal": 0}  # the axis of LPS that a plane is cut across
LETTERS = {"axial": ("R", "L", "A"), "coronal": ("R", "L", "S"), "sagittal": ("A", "P", "S")}  # left, right, top
# Warm for what speaks for the target, cool for what speaks against it: apart in hue and from grey for all common colour
# blindnesses, and lighter the stronger.
WARM = ((150, 20, 10), (205, 50, 8), (240, 110, 10), (255, 175, 30), (255, 240, 140))
COOL = ((10, 40, 150), (10, 80, 205), (20, 135, 240), (60, 195, 255), (180, 245, 255))
CLEAR_BELOW, FULL_FROM, OPACITY = 0.03, 0.35, 0.88
TRUTH = "#19e68c"
_LARGEST_SIDE = 288  # pixels
_SEGMENTS = {
    1: ((3, 0),), 2: ((0, 1),), 3: ((3, 1),), 4: ((1, 2),), 5: ((3, 0), (1, 2)), 6: ((0, 2),), 7: ((3, 2),),
    8: ((2, 3),), 9: ((2, 0),), 10: ((0, 1), (2, 3)), 11: ((2, 1),), 12: ((1, 3),), 13: ((1, 0),), 14: ((0, 3),),
}  # fmt: skip


@dataclass(frozen=True)
class Plane:
    """One cut: its name, its grid (a single voxel thick) and its size in pixels and millimetres."""

    name: str
    grid: Geometry

    @property
    def pixel(self) -> float:
        """Millimetres of a pixel."""
        return self.grid.spacing[0]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in millimetres."""
        columns, rows = (n for axis, n in enumerate(self.grid.size) if axis != ACROSS[self.name])
        return columns * self.pixel, rows * self.pixel

    def cut(self, array: np.ndarray, source: Geometry, fill: float = 0.0) -> np.ndarray:
        """The slice, shape (rows, columns), of an array (k, j, i) on the grid `source`."""
        found = resample(array, source, self.grid, fill=fill).squeeze(2 - ACROSS[self.name])
        return found if self.name == "axial" else found[::-1]

    def spot(self, point: np.ndarray) -> tuple[float, float]:
        """Where a point (LPS millimetres) lies in the picture, millimetres from the left and from the top."""
        index = self.grid.physical_to_index(point) + 0.5
        x, y = (float(n) * self.pixel for axis, n in enumerate(index) if axis != ACROSS[self.name])
        return x, (y if self.name == "axial" else self.size[1] - y)


class Slices:
    """A volume made ready for pictures.

    Parameters
    ----------
    volume : Volume
        Its first channel is shown.
    domain : numpy.ndarray
        Shape (k, j, i), bool: where there is something to see.
    truth : numpy.ndarray or None
        Shape (k, j, i), bool, to be outlined.
    """

    def __init__(self, volume: Volume, domain: np.ndarray, truth: np.ndarray | None = None) -> None:
        self.anatomy, self.geometry, self.truth = volume.data[0], volume.geometry, truth
        seen = self.anatomy[domain]
        self.low, self.high = (float(v) for v in np.percentile(seen, (0.5, 99.7)))
        if (self.anatomy[~domain] == 0).all():
            self.low = min(self.low, 0.0)  # a masked volume: what is black stays black
        voxels = np.argwhere(domain)[:, ::-1]
        low, high = voxels.min(0), voxels.max(0)
        corners = self.geometry.index_to_physical([[(low, high)[b >> n & 1][n] for n in range(3)] for b in range(8)])
        self._low, high = corners.min(0) - 5, corners.max(0) + 5
        self._pixel = max(min(self.geometry.spacing), float((high - self._low).max()) / _LARGEST_SIDE)
        self._size = np.ceil((high - self._low) / self._pixel).astype(int) + 1

    def plane(self, name: str, point: np.ndarray) -> Plane:
        """The cut of a plane through a point (LPS millimetres)."""
        origin, size = self._low.copy(), self._size.copy()
        origin[ACROSS[name]], size[ACROSS[name]] = point[ACROSS[name]], 1
        x, y, z = (float(v) for v in origin)
        return Plane(name, Geometry((int(size[0]), int(size[1]), int(size[2])), (self._pixel,) * 3, (x, y, z)))

    def ground(self, plane: Plane) -> str:
        """The anatomy, as an SVG element."""
        values = plane.cut(self.anatomy, self.geometry, self.low)
        gray = np.clip((values - self.low) / max(self.high - self.low, 1e-30), 0, 1) * 255
        return _image(png(gray.astype(np.uint8)), plane)

    def outline(self, plane: Plane) -> str:
        """The truth's outline, as an SVG element; empty where the plane misses it."""
        if self.truth is None:
            return ""
        path = contour(plane.cut(self.truth.astype(np.float32), self.geometry), 0.5, plane.pixel)
        return f'<path class="truth" d="{path}"/>' if path else ""

    def overlay(self, plane: Plane, values: np.ndarray, full: float) -> str:
        """The map (k, j, i), as an SVG element; `full` has the strongest colour."""
        return _image(png(coloured(plane.cut(values, self.geometry), full)), plane)


def picture(plane: Plane, layers: list[str], peak: np.ndarray | None = None, label: str = "") -> str:
    """An SVG of `layers` with letters for the sides, a scale bar, and a cross at `peak` if it lies near the plane."""
    width, height = plane.size
    unit = height / 110  # pictures side by side have one height, and so letters of one size
    left, right, top = LETTERS[plane.name]
    parts = list(layers)
    places = ((3 * unit, height / 2, left), (width - 3 * unit, height / 2, right), (width / 2, 4.5 * unit, top))
    for x, y, letter in places:
        parts.append(f'<text class="side" x="{x:.1f}" y="{y:.1f}" font-size="{5 * unit:.1f}">{letter}</text>')
    bar = max((mm for mm in (1, 2, 5, 10, 20, 50, 100) if mm <= width / 3), default=1)
    x, y = 3 * unit, height - 3 * unit
    parts.append(
        f'<path class="rule" d="M{x:.1f} {y:.1f}h{bar}" stroke-width="{unit:.2f}"/>'
        f'<text class="rule" x="{x:.1f}" y="{y - 1.8 * unit:.1f}" font-size="{4.4 * unit:.1f}">{bar} mm</text>'
    )
    if peak is not None and abs(float(peak[ACROSS[plane.name]] - plane.grid.origin[ACROSS[plane.name]])) <= plane.pixel:
        x, y = plane.spot(peak)
        a, b = 2 * unit, 5.5 * unit
        arms = " ".join(
            f"M{x + a * p:.1f} {y + a * q:.1f}L{x + b * p:.1f} {y + b * q:.1f}"
            for p, q in ((1, 0), (-1, 0), (0, 1), (0, -1))
        )
        parts.append(f'<path class="halo" d="{arms}" stroke-width="{1.5 * unit:.2f}"/>')
        parts.append(f'<path class="peak" d="{arms}" stroke-width="{0.7 * unit:.2f}"/>')
    return (
        f'<svg viewBox="0 0 {width:.1f} {height:.1f}" role="img" aria-label="{label or plane.name}">'
        f"{''.join(parts)}</svg>"
    )


def coloured(values: np.ndarray, full: float) -> np.ndarray:
    """Map values as RGBA, uint8 (..., 4): zero is clear, `full` and more has the strongest colour."""
    strength = np.clip(np.abs(values) / max(full, 1e-30), 0, 1)
    tint = np.where((values >= 0)[..., None], ramp(WARM, strength), ramp(COOL, strength))
    return np.concatenate([tint, 255 * opacity(strength)[..., None]], axis=-1).astype(np.uint8)


def opacity(strength: np.ndarray) -> np.ndarray:
    """From 0 to 1, of a share of the strongest value."""
    return np.clip((strength - CLEAR_BELOW) / (FULL_FROM - CLEAR_BELOW), 0, 1) * OPACITY


def ramp(points: tuple[tuple[int, int, int], ...], strength: np.ndarray) -> np.ndarray:
    """Colours (..., 3) from 0 to 255 of values from 0 to 1."""
    at = np.linspace(0, 1, len(points))
    return np.stack([np.interp(strength, at, [point[c] for point in points]) for c in range(3)], axis=-1)


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of (rows, columns) grey or (rows, columns, 4) RGBA, uint8."""
    rows, columns = pixels.shape[:2]
    kind = 0 if pixels.ndim == 2 else 6
    plain = np.ascontiguousarray(pixels, np.uint8).reshape(rows, -1)
    # Each line is written as its difference to the line above (filter 2), which packs far better.
    up = plain - np.concatenate([np.zeros_like(plain[:1]), plain[:-1]])
    lines = np.concatenate([np.full((rows, 1), 2, np.uint8), up], axis=1)
    header = struct.pack(">IIBBBBB", columns, rows, 8, kind, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def contour(values: np.ndarray, level: float, pixel: float = 1.0) -> str:
    """The line around what exceeds `level`, as an SVG path (marching squares, interpolated linearly).

    Parameters
    ----------
    values : numpy.ndarray
        Shape (rows, columns).
    level : float
        Crossed by the line; beyond the edge there is nothing above it.
    pixel : float
        Units of the path per pixel; the centre of the first pixel is at half a pixel.
    """
    beyond = min(2 * level - float(values.max()), level - 1e-9)  # the line closes at the edge of the last pixels
    padded = np.pad(values.astype(np.float64), 1, constant_values=beyond)
    corners = (padded[:-1, :-1], padded[:-1, 1:], padded[1:, 1:], padded[1:, :-1])  # clockwise from the upper left
    kinds = np.zeros(corners[0].shape, int)
    for n, corner in enumerate(corners):
        kinds |= (corner > level).astype(int) << n
    segments = []
    for kind, pairs in _SEGMENTS.items():
        rows, columns = np.nonzero(kinds == kind)
        if len(rows):
            four = [corner[rows, columns] for corner in corners]
            for pair in pairs:
                segments.append([_crossing(edge, four, rows, columns, level) for edge in pair])
    if not segments:
        return ""
    ends = np.concatenate([np.stack(pair, axis=1) for pair in segments])  # (n, 2, 2): ends, (x, y)
    ends = (ends - 0.5) * pixel
    return "".join(f"M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}" for (a, b), (c, d) in ends)


def _crossing(edge: int, four: list[np.ndarray], rows: np.ndarray, columns: np.ndarray, level: float) -> np.ndarray:
    """Where the level crosses an edge (0 upper, 1 right, 2 lower, 3 left) of cells, (n, 2) as x, y."""
    starts = ((0, 0), (1, 0), (1, 1), (0, 1))
    one, other = edge, (edge + 1) % 4
    share = (level - four[one]) / (four[other] - four[one])
    (x, y), (u, v) = starts[one], starts[other]
    return np.stack([columns + x + share * (u - x), rows + y + share * (v - y)], axis=1)


def _image(data: bytes, plane: Plane) -> str:
    width, height = plane.size
    source = base64.b64encode(data).decode("ascii")
    return (
        f'<image width="{width:.1f}" height="{height:.1f}" preserveAspectRatio="none" '
        f'href="data:image/png;base64,{source}"/>'
    )

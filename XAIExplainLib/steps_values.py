"""Preprocessing steps that change the values and leave the grid: normalize, window, scale and shift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from XAIExplainLib.geometry import Geometry
from XAIExplainLib.preprocessing import Step


@dataclass(frozen=True)
class Normalize(Step):
    """Bring the values to a common scale.

    Parameters
    ----------
    kind : str
        ``zscore``: (v - mean) / standard deviation. ``minmax``: smallest and largest value to 0 and 1.
        ``percentile``: the percentiles `low` and `high` to 0 and 1, values beyond them cut off.
    region : str
        Where the statistics are taken: ``all``, or ``foreground``, the voxels above `threshold`; then the
        others become 0.
    per_channel : bool
        Each channel by itself, or all by one statistic.
    low, high : float
        Percentiles, for ``percentile``.
    threshold : float
        Voxels above it are foreground.
    """

    name: ClassVar[str] = "normalize"
    kind: str
    region: str = "all"
    per_channel: bool = True
    low: float = 0.5
    high: float = 99.5
    threshold: float = 0.0

    def __post_init__(self) -> None:
        self.choice("kind", ("zscore", "minmax", "percentile"))
        self.choice("region", ("all", "foreground"))
        for field in ("low", "high", "threshold"):
            self.number(field)
        if not 0 <= self.low < self.high <= 100:
            raise self.wrong("low", "percentiles with 0 <= low < high <= 100")

    def __call__(self, data: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, Geometry]:
        """Apply the step."""
        if not self.per_channel:
            return self._scaled(data), geometry
        return np.stack([self._scaled(channel) for channel in data]), geometry

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        inside = values > self.threshold if self.region == "foreground" else None
        counted = values if inside is None else values[inside]
        if counted.size == 0:
            return np.zeros_like(values)
        if self.kind == "zscore":
            # In double precision: a sum of millions of float32 loses digits.
            shift, scale = counted.mean(dtype=np.float64), counted.std(dtype=np.float64)
        else:
            low, high = (0.0, 100.0) if self.kind == "minmax" else (self.low, self.high)
            shift, top = np.percentile(counted, [low, high]).astype(np.float64)
            scale = top - shift
        result = (values - np.float32(shift)) / np.float32(scale if scale > 0 else 1.0)
        if self.kind == "percentile":
            result = result.clip(0.0, 1.0)
        return result if inside is None else np.where(inside, result, np.float32(0.0))


@dataclass(frozen=True)
class Window(Step):
    """Bring values from `low` to `high` to the range `out_low` to `out_high`, cut off beyond: a CT window."""

    name: ClassVar[str] = "window"
    low: float
    high: float
    out_low: float = 0.0
    out_high: float = 1.0

    def __post_init__(self) -> None:
        for field in ("low", "high", "out_low", "out_high"):
            self.number(field)
        if self.low >= self.high:
            raise self.wrong("low", "a low value below the high one")

    def __call__(self, data: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, Geometry]:
        """Apply the step."""
        part = ((data - np.float32(self.low)) / np.float32(self.high - self.low)).clip(0.0, 1.0)
        return part * np.float32(self.out_high - self.out_low) + np.float32(self.out_low), geometry


@dataclass(frozen=True)
class ScaleShift(Step):
    """values * `scale` + `shift`."""

    name: ClassVar[str] = "scale_shift"
    scale: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        self.number("scale")
        self.number("shift")

    def __call__(self, data: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, Geometry]:
        """Apply the step."""
        return data * np.float32(self.scale) + np.float32(self.shift), geometry


STEPS: tuple[type[Step], ...] = (Normalize, Window, ScaleShift)

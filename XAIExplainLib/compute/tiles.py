"""Where the tiles of a sliding window lie on an image, and how their answers are blended: MONAI's conventions.

Equal to `monai.inferers.sliding_window_inference`: the same places, the same weights, the same padding of images that
are smaller than a tile.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from XAIExplainLib.errors import XAIError

MODES = ("constant", "gaussian")
PADDINGS = ("constant", "reflect", "replicate", "circular")
_LEAST_WEIGHT = 1e-3
_EXAMPLE = 'Give it as {"roi": [96, 96, 96], "overlap": 0.25, "mode": "gaussian"}.'


@dataclass(frozen=True)
class SlidingWindow:
    """How a segmenter is asked about an image that is larger than what it sees at once.

    Parameters
    ----------
    roi : int or tuple of int
        Size of a tile in voxels, in the order of the input's axes (a 3D network: k, j, i); 0 or less is the image's
        own size along that axis.
    overlap : float or tuple of float
        The part of a tile that the next one covers again, from 0 to below 1.
    mode : str
        How answers are blended where tiles overlap: ``constant``, all alike, or ``gaussian``, less at a tile's edges.
    sigma : float or tuple of float
        Of the Gaussian, in sizes of the tile.
    batch : int
        How many tiles one forward pass takes.
    padding : str
        What is put around an image that is smaller than a tile: ``constant``, ``reflect``, ``replicate`` or
        ``circular``.
    padding_value : float
        For ``constant``: after preprocessing.

    Raises
    ------
    XAIError
        If a value is out of its bounds.
    """

    roi: int | tuple[int, ...]
    overlap: float | tuple[float, ...] = 0.25
    mode: str = "constant"
    sigma: float | tuple[float, ...] = 0.125
    batch: int = 1
    padding: str = "constant"
    padding_value: float = 0.0

    def __post_init__(self) -> None:
        for name in ("roi", "overlap", "sigma"):  # lists, as JSON has them
            value = getattr(self, name)
            if isinstance(value, Sequence) and not isinstance(value, str):
                object.__setattr__(self, name, tuple(value))
        whole = all(isinstance(n, int) and not isinstance(n, bool) for n in (*_listed(self.roi), self.batch))
        numbers = [*_listed(self.overlap), *_listed(self.sigma), self.padding_value]
        fitting = whole and all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers)
        if not fitting or self.batch < 1 or not all(0 <= n < 1 for n in _listed(self.overlap)):
            raise XAIError(f"The sliding window {_words(self)} is not understood.", _EXAMPLE)
        if not all(n > 0 for n in _listed(self.sigma)):
            raise XAIError("The sigma of a sliding window must be positive.", _EXAMPLE)
        for what, value, allowed in (("mode", self.mode, MODES), ("padding", self.padding, PADDINGS)):
            if value not in allowed:
                raise XAIError(
                    f"The {what} of a sliding window cannot be {value!r}.", f"Give one of {', '.join(allowed)}."
                )

    @classmethod
    def of(cls, given: Any, task: str | None = None) -> SlidingWindow | None:
        """What a caller or a file gives for a model with this task.

        Parameters
        ----------
        given : SlidingWindow, mapping, int, sequence of int, None or bool
            One, its fields, the tile's size alone; None or False for none.
        task : str or None
            Only a segmentation may have one; None is not known.
        """
        if given is None or given is False:
            return None
        if task not in (None, "segmentation"):
            raise XAIError(f"A sliding window does not fit the task {task}.", "It is for segmentations; leave it out.")
        if isinstance(given, cls):
            return given
        if isinstance(given, int | list | tuple) and not isinstance(given, bool):
            return cls(given if isinstance(given, int) else tuple(given))
        known = [field.name for field in fields(cls)]
        if not isinstance(given, Mapping) or "roi" not in given or any(key not in known for key in given):
            raise XAIError(f"The sliding window {given!r} is not understood.", _EXAMPLE)
        return cls(**given)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready: what `of` reads."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def tiles(self, spatial: Sequence[int]) -> Tiles:
        """The tiles of an image of the shape `spatial`.

        Raises
        ------
        XAIError
            If the numbers do not fit its axes, or it is too small to be reflected.
        """
        return _tiles(self, tuple(int(n) for n in spatial))


@functools.lru_cache(maxsize=2)  # they hold maps of the image's size
def _tiles(window: SlidingWindow, spatial: tuple[int, ...]) -> Tiles:
    return Tiles(window, spatial)


class Tiles:
    """The tiles of one size of image.

    Parameters
    ----------
    window : SlidingWindow
        Their size and overlap.
    spatial : tuple of int
        The image's shape.

    Attributes
    ----------
    roi : tuple of int
        A tile's shape.
    padded : tuple of int
        The image's shape with what is put around it.
    places : list of tuple of slice
        Where each tile lies on the padded image.
    inner : tuple of slice
        Where the image lies on the padded image.
    whole : bool
        Whether the one tile is the image itself.
    """

    def __init__(self, window: SlidingWindow, spatial: tuple[int, ...]) -> None:
        dims = len(spatial)
        self.window, self.spatial = window, spatial
        roi = _each(window.roi, dims, "roi")
        overlap, self._sigma = _each(window.overlap, dims, "overlap"), _each(window.sigma, dims, "sigma")
        self.roi = tuple(r if r > 0 else n for r, n in zip(roi, spatial, strict=True))
        self.padded = tuple(max(r, n) for r, n in zip(self.roi, spatial, strict=True))
        self._before = before = [(p - n) // 2 for p, n in zip(self.padded, spatial, strict=True)]
        self.inner: tuple[Any, ...] = tuple(slice(b, b + n) for b, n in zip(before, spatial, strict=True))
        self._around = [(b, p - n - b) for b, p, n in zip(before, self.padded, spatial, strict=True)]
        if window.padding in ("reflect", "circular"):
            most = [n - (window.padding == "reflect") for n in spatial]
            if any(max(pair) > m for pair, m in zip(self._around, most, strict=True)):
                raise XAIError(
                    f"An image of {_size(spatial)} is too small to be put into tiles of {_size(self.roi)} by "
                    f"{window.padding}.", "Give smaller tiles, or the padding constant.",
                )  # fmt: skip
        starts = [_starts(p, r, o) for p, r, o in zip(self.padded, self.roi, overlap, strict=True)]
        self._starts = starts
        self.places: list[tuple[Any, ...]] = [
            tuple(slice(first, first + r) for first, r in zip(corner, self.roi, strict=True))
            for corner in itertools.product(*starts)
        ]
        self.whole = len(self.places) == 1 and self.padded == spatial
        self._kept: dict[tuple[torch.dtype, str], tuple[torch.Tensor, torch.Tensor]] = {}

    def __len__(self) -> int:
        return len(self.places)

    # -- the image ---------------------------------------------------------------------------------------------------

    @property
    def pads(self) -> bool:
        """Whether anything is put around the image."""
        return self.padded != self.spatial

    def pad(self, x: torch.Tensor) -> torch.Tensor:
        """The image (N, C, *spatial) with what is put around it; itself where that is nothing."""
        if not self.pads:
            return x
        sizes = [n for pair in reversed(self._around) for n in pair]
        constant = self.window.padding == "constant"
        return F.pad(x, sizes, self.window.padding, self.window.padding_value if constant else None)

    def fold(self, padded: torch.Tensor) -> torch.Tensor:
        """The adjoint of `pad`: what (N, C, *padded) says of voxels put around goes to the voxels they are copies of.

        With a constant around the image it is lost.
        """
        if not self.pads or self.window.padding == "constant":
            return self.crop(padded)
        for axis, size in enumerate(self.spatial):
            shape = [*padded.shape[: axis + 2], size, *padded.shape[axis + 3 :]]
            padded = padded.new_zeros(shape).index_add_(axis + 2, self._source(axis).to(padded.device), padded)
        return padded

    def crop(self, padded: torch.Tensor) -> torch.Tensor:
        """The part (N, C, *spatial) of the padded image that is the image."""
        return padded[(..., *self.inner)] if self.pads else padded

    def uncrop(self, values: torch.Tensor) -> torch.Tensor:
        """The adjoint of `crop`: zeros around."""
        return F.pad(values, [n for pair in reversed(self._around) for n in pair]) if self.pads else values

    def cut(self, padded: torch.Tensor, number: int) -> torch.Tensor:
        """One tile (N, C, *roi) of the padded image."""
        return padded[(..., *self.places[number])]

    # -- blending ----------------------------------------------------------------------------------------------------

    def weights(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The weight of each voxel of a tile, shape `roi`, and their sum over the tiles, shape `padded`."""
        key = like.dtype, str(like.device)
        if key not in self._kept:
            weight = self._weight().to(like.device, like.dtype)
            count = torch.zeros(self.padded, dtype=like.dtype, device=like.device)
            for place in self.places:
                count[place] += weight
            self._kept = {key: (weight, count)}
        return self._kept[key]

    def share(self, number: int, like: torch.Tensor) -> torch.Tensor:
        """How much of the blended answer each voxel of one tile's answer is, shape `roi`, from 0 to 1."""
        weight, count = self.weights(like)
        return weight / count[self.places[number]]

    def _weight(self) -> torch.Tensor:
        """In single precision, as MONAI has it in any."""
        if self.window.mode == "constant":
            return torch.ones(self.roi)
        made = torch.ones(())
        for size, sigma in zip(self.roi, self._sigma, strict=True):
            middle = (size - 1) / 2.0
            along = torch.arange(-middle, middle + 1, dtype=torch.float)
            made = made.unsqueeze(-1) * torch.exp(along**2 / (-2 * (size * sigma) ** 2))
        return made.clamp_(min=max(float(made.min()), _LEAST_WEIGHT))

    # -- which tiles -------------------------------------------------------------------------------------------------

    def seeing(self, box: Sequence[slice]) -> list[int]:
        """Numbers of the tiles in which any voxel of a box of the image, or a copy of one, lies.

        Copies need no search: along an axis that has them, the one tile holds the whole image.
        """
        along = [
            [n for n, first in enumerate(starts) if first - pad < piece.stop and first - pad + size > piece.start]
            for starts, piece, pad, size in zip(self._starts, box, self._before, self.roi, strict=True)
        ]
        counts = [len(starts) for starts in self._starts]
        return [int(np.ravel_multi_index(corner, counts)) for corner in itertools.product(*along)]

    def answering(self, mask: torch.Tensor) -> list[int]:
        """Numbers of the tiles whose answer counts where `mask`, bool (*spatial), is True."""
        wide = self.uncrop(mask[None, None].to(torch.uint8))[0, 0]
        return [number for number, place in enumerate(self.places) if bool(wide[place].any())]

    def _source(self, axis: int) -> torch.Tensor:
        """Along an axis: which voxel of the image each voxel of the padded one is a copy of."""
        (before, after), size = self._around[axis], self.spatial[axis]
        places = torch.arange(-before, size + after)
        if self.window.padding == "replicate":
            return places.clamp(0, size - 1)
        if self.window.padding == "circular":
            return places % size
        places = places.abs()
        return torch.where(places >= size, 2 * (size - 1) - places, places)


def _starts(size: int, roi: int, overlap: float) -> list[int]:
    """First voxels of the tiles along an axis; the last one is moved inwards to end with the image."""
    step = roi if size == roi else max(1, int(roi * (1 - overlap)))
    count = 1 + max(0, -(-(size - roi) // step))
    return [min(number * step, size - roi) for number in range(count)]


def _listed(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _each(value: Any, dims: int, name: str) -> tuple[Any, ...]:
    values = value if isinstance(value, tuple) else (value,) * dims
    if len(values) != dims:
        raise XAIError(
            f"The {name} of the sliding window has {len(values)} numbers, the image {dims} axes.",
            f"Give one number, or {dims}.",
        )
    return values


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _words(window: SlidingWindow) -> str:
    return ", ".join(f"{key}={value}" for key, value in asdict(window).items())

"""How variations of an image are cut into chunks whose boxes are alike, and from where on a whole pass is cheaper.

By sizes and rates alone, never by a clock, so that the same request is always done alike.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from XAIExplainLib.compute.patches import Places
from XAIExplainLib.compute.steps import CALL, MOVED, Mean, Sized, Step
from XAIExplainLib.compute.steps_windowed import Convolution, Transposed

CLASSES_OF_AN_AXIS = 4  # kinds of places that are told apart along an axis
CALLS = 5  # operations that a step on patches takes
WHOLE_CALLS = 2  # on whole values, with what decides about it
USUAL = 16  # variations that share an operation, for the estimate


@dataclass(frozen=True)
class Chunk:
    """Variations that are done together.

    Parameters
    ----------
    rows : array of int
        Which.
    cut : int
        The number of the step from which on values are whole.
    seconds : float
        About how long one of them takes.
    """

    rows: np.ndarray
    cut: int
    seconds: float


@dataclass(frozen=True)
class _Kind:
    """Variations whose boxes are alike: which, their boxes (names, dims), and as a chunk has."""

    rows: np.ndarray
    boxes: np.ndarray
    cut: int
    seconds: float


class Plan:
    """Where variations reach, in which chunks they are done, and what that takes.

    Parameters
    ----------
    steps : list of Step
        Of the network.
    source : str
        The name of the image.
    grid : sequence of int
        Its size.
    places : Places
        Which part of the image each of the N variations changes.
    item : int
        Bytes of a number.

    Attributes
    ----------
    share : float
        Multiplications of what differs, to the voxel, over those of whole passes.
    seconds, whole : float
        About how long all take, and how long by whole passes.
    """

    def __init__(self, steps: list[Step], source: str, grid: Sequence[int], places: Places, item: int) -> None:
        self._steps, self._item, self._source = steps, item, source
        # Along each axis the reach depends on the place along this axis alone: each place is followed once.
        own = [np.unique(np.stack([low, high]), axis=1, return_inverse=True) for low, high in
               zip(places.low.T, places.high.T, strict=True)]  # fmt: skip
        most = max(found.shape[1] for found, _ in own)
        self._codes = np.stack([which.reshape(-1) for _, which in own], 1)
        edges = np.stack([np.pad(found, ((0, 0), (0, most - found.shape[1])), mode="edge") for found, _ in own], -1)
        self._places: dict[str, Places] = {source: Places(edges[0], edges[1])}
        for step in steps:
            found = [self._places.get(name) for name in step.sources]
            if step.local and all(place is not None for place in found):
                self._places[step.name] = step.reach(found)  # type: ignore[arg-type]
        self._grids = {source: tuple(grid), **{step.name: step.grid for step in steps}}
        self._local = [step.name in self._places or (isinstance(step, Mean) and step.sources[0] in self._places)
                       for step in steps]  # fmt: skip
        self._whole = np.array([0.0 if isinstance(step, Sized) else step.seconds(item) + WHOLE_CALLS * CALL / USUAL
                                for step in steps])  # fmt: skip
        self.whole = float(self._whole.sum()) * len(places.low)
        self.share = self._exact_share()

    def places(self, name: str, rows: np.ndarray) -> Places:
        """Where a node's value differs in some of the variations."""
        own, codes = self._places[name], self._codes[rows]
        axes = np.arange(codes.shape[1])
        return Places(own.low[codes, axes], own.high[codes, axes])

    def chunks(self, most: int, bytes_at_once: float, memory: float, seconds_at_once: float) -> list[Chunk]:
        """All variations in chunks of at most so many.

        Parameters
        ----------
        most : int
            Variations of a chunk.
        bytes_at_once : float
            What an operation's values are wished to take, to lie in the processor's cache.
        memory : float
            What all values of a chunk may take.
        seconds_at_once : float
            How long it may take, if it has not only a few.
        """
        low = self._places[self._source].low
        first = low[self._codes, np.arange(low.shape[1])]
        chunks = []
        for kind in self._kinds:
            rows = kind.rows[np.lexsort(first[kind.rows].T[::-1])]
            size = self._size(kind.boxes, kind.cut, most, bytes_at_once, memory)
            size = max(1, min(size, max(4, int(seconds_at_once / max(kind.seconds, 1e-9)))))
            parts = math.ceil(len(rows) / size)
            chunks += [Chunk(part, kind.cut, kind.seconds) for part in np.array_split(rows, parts)]
        return chunks

    @property
    def cut(self) -> int:
        """The last step from which on values are whole in some chunk."""
        return max(kind.cut for kind in self._kinds)

    @functools.cached_property
    def _index(self) -> dict[str, int]:
        """The number of each value that has places, but for the image."""
        return {name: number for number, name in enumerate(name for name in self._places if name != self._source)}

    @functools.cached_property
    def _kinds(self) -> list[_Kind]:
        """Variations whose boxes are alike."""
        sizes = np.stack([self._places[name].high - self._places[name].low for name in (self._source, *self._index)])
        sizes = sizes[1:]
        weights = np.array([self._whole[n] for n, step in enumerate(self._steps) if step.name in self._index])
        number, dims = sizes.shape[1:]
        labels = np.stack(
            [
                _along(sizes[:, :, axis], np.bincount(self._codes[:, axis], minlength=number), weights)
                for axis in range(dims)
            ],
            1,
        )  # (places, dims): which kind of place along the axis
        kinds, which = np.unique(labels[self._codes, np.arange(dims)], axis=0, return_inverse=True)
        which = which.reshape(-1)
        boxes = np.zeros((len(kinds), len(sizes), dims), dtype=np.int64)
        for axis in range(dims):
            present = np.bincount(self._codes[:, axis], minlength=number) > 0
            for label in np.unique(kinds[:, axis]):
                widest = sizes[:, present & (labels[:, axis] == label), axis].max(1)
                boxes[kinds[:, axis] == label, :, axis] = widest
        groups, boxes = self._joined(boxes, np.bincount(which))
        seconds, cuts = self._best(boxes)
        return [
            _Kind(np.flatnonzero(np.isin(which, group)), boxes[n], int(cuts[n]), float(seconds[n]))
            for n, group in enumerate(groups)
        ]

    def _joined(self, boxes: np.ndarray, counts: np.ndarray) -> tuple[list[list[int]], np.ndarray]:
        """Kinds of boxes, those joined that cost less together; their members and boxes."""
        groups, count = [[number] for number in range(len(boxes))], counts.astype(float)
        alone, cuts = self._best(boxes)
        own = alone * count
        start = (sum(self._local) * CALLS + len(self._steps) * WHOLE_CALLS) * CALL
        # Larger boxes are not on patches for longer.
        most = int(cuts.max())
        one, other = np.triu_indices(len(boxes), 1)
        gains = np.full((len(boxes), len(boxes)), -np.inf)
        both = self._best(np.maximum(boxes[one], boxes[other]), most)[0]
        gains[one, other] = own[one] + own[other] - both * (count[one] + count[other]) + start
        while len(one) and gains.max() > 0:
            first, second = map(int, np.unravel_index(int(gains.argmax()), gains.shape))
            groups[first], groups[second] = groups[first] + groups[second], []
            boxes[first] = np.maximum(boxes[first], boxes[second])
            count[first] += count[second]
            joined = self._best(np.maximum(boxes[first], boxes), most)[0]
            own[first] = joined[first] * count[first]
            gain = own + own[first] - joined * (count + count[first]) + start
            gain[[n for n in range(len(groups)) if n == first or not groups[n]]] = -np.inf
            gains[second], gains[:, second] = -np.inf, -np.inf
            gains[first, first + 1 :], gains[:first, first] = gain[first + 1 :], gain[:first]
        kept = [number for number, group in enumerate(groups) if group]
        return [groups[number] for number in kept], boxes[kept]

    def _best(self, boxes: np.ndarray, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """For boxes (K, names, dims): seconds of one variation, and from which step on it is best to be whole.

        Steps after the `most`-th are whole anyway.
        """
        number = len(self._steps) if most is None else most
        always, beside = self._beside_local
        local = np.tile(self._whole[:number], (len(boxes), 1))
        for n, step in enumerate(self._steps[:number]):
            at = self._index.get(step.sources[0] if isinstance(step, Mean) else step.name) if self._local[n] else None
            if at is not None:
                local[:, n] = step.seconds(self._item, boxes[:, at]) + CALLS * CALL / USUAL
        done = np.concatenate([np.zeros((len(boxes), 1)), (local + always[:number]).cumsum(1)], 1)
        total = done + beside[: number + 1]
        cuts = total.argmin(1)
        return total[np.arange(len(boxes)), cuts], cuts

    @functools.cached_property
    def _beside_local(self) -> tuple[np.ndarray, np.ndarray]:
        """What it takes to make patches whole that a step cannot read, and what is beside steps on patches, by cut."""
        number = len(self._steps)
        always, spread = np.zeros(number), np.zeros(number + 1)
        made = {self._source: (-1, self._steps[0].read_channels * math.prod(self._grids[self._source]))}
        uses: dict[str, int] = {}
        for n, step in enumerate(self._steps):
            for name in step.sources:
                if name in self._places:
                    uses[name] = n
                    if not self._local[n]:
                        always[n] += self._whole_bytes(made[name][1])
            if step.name in self._index:
                made[step.name] = n, step.numbers
        for name, last in uses.items():
            begin, numbers = made[name]
            spread[begin + 1 : last + 1] += self._whole_bytes(numbers)
        return always, spread + np.concatenate([self._whole[::-1].cumsum()[::-1], [0.0]])

    def _whole_bytes(self, numbers: int) -> float:
        return 2 * self._item * numbers / MOVED

    def _size(self, boxes: np.ndarray, cut: int, most: int, at_once: float, memory: float) -> int:
        """How many variations of such boxes fit at once: an operation's values, and all that are alive."""
        made = {self._source: (-1, float(self._steps[0].read_channels * math.prod(self._grids[self._source])))}
        used: dict[str, int] = {}
        widest = 1.0
        for n, step in enumerate(self._steps):
            numbers = float(step.numbers)
            seen = float(math.prod(step.reads or (1,)) * step.read_channels)
            if isinstance(step, Sized) or (isinstance(step, Mean) and n < cut and self._local[n]):
                numbers = seen = 0.0
            elif n < cut and step.name in self._index:
                box = boxes[self._index[step.name]]
                numbers, seen = (float(math.prod(side) * channels) for side, channels in
                                 ((box, step.channels), (step.region(box), step.read_channels)))  # fmt: skip
            widest = max(widest, numbers + seen)
            made[step.name] = n, numbers
            used.update(dict.fromkeys(step.sources, n))
        change = np.zeros(len(self._steps) + 2)
        for name, (begin, numbers) in made.items():
            change[begin + 1] += numbers
            change[used.get(name, len(self._steps)) + 2 if name in used else -1] -= numbers
        live = float(change.cumsum().max()) + 2 * widest
        return max(1, min(most, int(at_once / (2 * widest * self._item)), int(memory / (live * self._item))))

    def _exact_share(self) -> float:
        some = every = 0.0
        rows = np.arange(len(self._codes))
        for n, step in enumerate(self._steps):
            if not isinstance(step, Convolution | Transposed):
                continue
            each = float(step.weight.numel()) / (step.weight.shape[0] if isinstance(step, Transposed) else 1)
            each = float(step.weight[0].numel() * step.channels) if isinstance(step, Convolution) else each
            whole = math.prod(step.grid) * each * len(rows)
            every += whole
            if self._local[n]:
                own = self._places[step.name]
                sides = (own.high - own.low)[self._codes, np.arange(self._codes.shape[1])]
                some += float(sides.prod(1).sum()) * each
            else:
                some += whole
        return some / every if every else 1.0


def _along(sizes: np.ndarray, counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Kinds of places along an axis, at most `CLASSES_OF_AN_AXIS`, from their sizes (names, places)."""
    kinds, which = np.unique(sizes.T, axis=0, return_inverse=True)
    which = which.reshape(-1)
    number = np.bincount(which, counts, len(kinds))
    kinds = kinds.astype(float)
    scaled = weights / np.maximum(kinds.max(0), 1) if len(weights) else weights
    groups = [[n] for n in range(len(kinds))]
    while len(groups) > CLASSES_OF_AN_AXIS:
        both = np.maximum(kinds[:, None], kinds[None]) @ scaled
        own = kinds @ scaled
        loss = both * (number[:, None] + number) - (own * number)[:, None] - own * number
        loss[np.tril_indices(len(groups))] = np.inf
        one, other = np.unravel_index(int(loss.argmin()), loss.shape)
        groups[one] += groups[other]
        kinds[one] = np.maximum(kinds[one], kinds[other])
        number[one] += number[other]
        del groups[other]
        kinds, number = np.delete(kinds, other, 0), np.delete(number, other)
    label = np.zeros(sum(map(len, groups)), dtype=np.int64)
    for n, group in enumerate(groups):
        label[group] = n
    return label[which]

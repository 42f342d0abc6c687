"""How variations of an image are cut into chunks whose boxes are alike, and from where on a whole pass is cheaper.

By sizes and rates alone, never by a clock, so that the same request is always done alike.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from XAIExplainLib.compute.graph import operation
from XAIExplainLib.compute.patches import Places
from XAIExplainLib.compute.steps import CALL, MOVED, PRODUCTS, Along, Mean, Meeting, Padded, Sized, Step
from XAIExplainLib.compute.steps_windowed import AveragePool, Convolution, MaxPool, Transposed

CLASSES_OF_AN_AXIS = 4  # kinds of places that are told apart along an axis
CALLS = 10  # operations that a step on patches takes: boxes are cut out, pasted into each other, and worked on
CALLS_OF = {Along: 3, Padded: 5, Meeting: 8}  # of kinds that do less
PASTED = 10  # variations that lie otherwise to their boxes than those before, each one more operation; seldom more
WHOLE_CALLS = 1.5  # on whole values, with what decides about it
USUAL = 16  # variations that share an operation, for the estimate
SPREAD = 1.7  # times as long as products say: transposed convolutions of boxes
IN_CACHE = 0.4  # share of the time from memory that values take which lie in the processor's cache
CACHED, UNCACHED = 2.0**20, 2.0**24  # bytes: up to here they do, from there on they do not
STATISTICS_TAKE = 1.8  # times as long as its values take to move: what asks for the mean and deviation first
MIXING_TAKES = 5.0  # and what weighs neighbours at places of their own
WORTH = 0.9  # share of a whole pass from which on boxes in the best of places are not looked at more closely
PLANNED = 8e-5  # seconds that it takes to plan one step
KEPT = 4096  # variations up to which a plan is kept
PLANS = 32  # of one network that are kept: the slices of a volume are often asked the same


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
    whole : float
        About how many seconds all take by whole passes.
    """

    def __init__(self, steps: list[Step], source: str, grid: Sequence[int], places: Places, item: int) -> None:
        network = network_of(steps, source, item)
        if len(places.low) > KEPT:
            self._make(network, steps, source, grid, places, item)
            return
        key = (tuple(grid), places.low.tobytes(), places.high.tobytes())
        if key in network.plans:  # all that was found about it, and will be, is shared
            self.__dict__ = network.plans[key].__dict__
            return
        self._make(network, steps, source, grid, places, item)
        while len(network.plans) >= PLANS:
            del network.plans[next(iter(network.plans))]
        network.plans[key] = self

    def _make(
        self, network: Network, steps: list[Step], source: str, grid: Sequence[int], places: Places, item: int
    ) -> None:
        self._network, self._steps, self._item, self._source = network, steps, item, source
        # Along each axis the reach depends on the place along this axis alone: each place is followed once.
        own = [np.unique(np.stack([low, high]), axis=1, return_inverse=True) for low, high in
               zip(places.low.T, places.high.T, strict=True)]  # fmt: skip
        most = max(found.shape[1] for found, _ in own)
        self._codes = np.stack([which.reshape(-1) for _, which in own], 1)
        edges = np.stack([np.pad(found, ((0, 0), (0, most - found.shape[1])), mode="edge") for found, _ in own], -1)
        self._edges, self._smallest = Places(edges[0], edges[1]), (places.high - places.low).min(0)
        self._grid, self._local, self._index = tuple(grid), network.local, network.index
        self._shared = min(len(places.low), USUAL)  # few share the beginning of an operation, in whole passes too
        self._whole = network.whole + network.whole_calls / self._shared
        self.whole = float(self._whole.sum()) * len(places.low)

    @functools.cached_property
    def share(self) -> float:
        """Multiplications of what differs, to the voxel, over those of whole passes."""
        return self._exact_share()

    @functools.cached_property
    def _places(self) -> dict[str, Places]:
        """Where each value that has places differs, by the image's places along each axis."""
        found = {self._source: self._edges}
        for step in self._steps:
            if step.name in self._index:
                found[step.name] = step.reach([found[name] for name in step.sources])
        return found

    def _may_pay(self) -> bool:
        """Whether so many variations could be worth it if all were as small as the smallest, and in a corner."""
        side = 2 ** np.log2(np.maximum(self._smallest, 1)).astype(np.int64)
        key = (self._grid, tuple(side.tolist()), self._shared)
        if key not in self._network.least:
            low = np.zeros((self._shared, len(side)), dtype=np.int64)
            corner = Plan.__new__(Plan)
            corner._make(self._network, self._steps, self._source, self._grid, Places(low, low + side), self._item)
            (seconds,), (cut,) = corner._best(np.stack([corner._sizes[:, 0]]))
            self._network.least[key] = float(seconds + corner._beginning(int(cut), self._shared)) / corner._whole.sum()
        planning = PLANNED * len(self._index)  # which is part of what patches take
        return self._network.least[key] + planning / self.whole < WORTH

    @property
    def _sizes(self) -> np.ndarray:
        """Of the boxes (names, places, dims)."""
        return np.stack([self._places[name].high - self._places[name].low for name in self._index])

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
        low = self._edges.low
        first = low[self._codes, np.arange(low.shape[1])]
        chunks = []
        for kind in self._kinds:
            rows = kind.rows[np.lexsort(first[kind.rows].T[::-1])]
            size = self._size(kind.boxes, kind.cut, most, bytes_at_once, memory)
            size = max(1, min(size, max(4, int(seconds_at_once / max(kind.seconds, 1e-9)))))
            parts = math.ceil(len(rows) / size)
            chunks += [
                Chunk(part, kind.cut, kind.seconds + self._beginning(kind.cut, len(part)))
                for part in np.array_split(rows, parts)
            ]
        return chunks

    def _beginning(self, cut: int, number: int) -> float:
        """What so many variations take more each to begin operations than the usual number, and to lie otherwise."""
        patched, whole = self._calls[cut], float(self._network.whole_calls[cut:].sum())
        beginning = (patched + whole) * (1 / number - 1 / self._shared)
        pasted = patched / CALLS * min(number - 1, PASTED) / number
        return beginning + pasted

    @functools.cached_property
    def _calls(self) -> np.ndarray:
        """Seconds to begin operations on patches, by cut."""
        return np.concatenate([[0.0], np.where(self._local, self._network.calls, self._network.whole_calls).cumsum()])

    @property
    def cut(self) -> int:
        """The last step from which on values are whole in some chunk."""
        return max(kind.cut for kind in self._kinds)

    @functools.cached_property
    def _kinds(self) -> list[_Kind]:
        """Variations whose boxes are alike."""
        if not self._index or not self._may_pay():
            return [self._all_whole()]
        sizes = self._sizes
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
        counts, alone = np.bincount(which).astype(float), self._best(boxes)
        if float(alone[0] @ counts) > WORTH * self.whole:  # before chunks take their beginning: they take more
            return [self._all_whole()]
        groups, boxes = self._joined(boxes, counts, *alone)
        seconds, cuts = self._best(boxes)
        return [
            _Kind(np.flatnonzero(np.isin(which, group)), boxes[n], int(cuts[n]), float(seconds[n]))
            for n, group in enumerate(groups)
        ]

    def _all_whole(self) -> _Kind:
        none = np.zeros((len(self._index), self._codes.shape[1]), dtype=np.int64)
        return _Kind(np.arange(len(self._codes)), none, 0, float(self._whole.sum()))

    def _joined(
        self, boxes: np.ndarray, count: np.ndarray, alone: np.ndarray, cuts: np.ndarray
    ) -> tuple[list[list[int]], np.ndarray]:
        """Kinds of boxes, those joined that cost less together; their members and boxes.

        `alone` are the seconds of each, and `cuts` theirs; `count` says how many variations there are of each.
        """
        groups = [[number] for number in range(len(boxes))]
        own = alone * count
        start = float(self._calls[-1])
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
                local[:, n] = _on_boxes(step, self._item, boxes[:, at]) + self._network.calls[n] / self._shared
        done = np.concatenate([np.zeros((len(boxes), 1)), (local + always[:number]).cumsum(1)], 1)
        total = done + beside[: number + 1]
        cuts = total.argmin(1)
        return total[np.arange(len(boxes)), cuts], cuts

    @functools.cached_property
    def _beside_local(self) -> tuple[np.ndarray, np.ndarray]:
        """What it takes to make patches whole that a step cannot read, and what is beside steps on patches, by cut."""
        number = len(self._steps)
        always, spread = np.zeros(number), np.zeros(number + 1)
        made = {self._source: (-1, self._steps[0].read_channels * math.prod(self._grid))}
        uses: dict[str, int] = {}
        for n, step in enumerate(self._steps):
            for name in step.sources:
                if name in self._index or name == self._source:
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
        made = {self._source: (-1, float(self._steps[0].read_channels * math.prod(self._grid)))}
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


class Network:
    """What is known of a network's steps whatever the boxes are, in seconds of each step.

    Attributes
    ----------
    whole : array of float
        On the whole map of one variation.
    whole_calls, calls : array of float
        To begin on whole values, and on patches, however many variations share it.
    local : list of bool
        Which of them patches may go through.
    index : dict
        The number of each value that has places, but for the image.
    plans : dict
        Those made last.
    least : dict
        What share of a whole pass the smallest boxes take at least, by their size and number.
    """

    def __init__(self, steps: list[Step], source: str, item: int) -> None:
        followed = {source}
        for step in steps:
            if step.local and followed.issuperset(step.sources):
                followed.add(step.name)
        self.local = [step.name in followed or (isinstance(step, Mean) and step.sources[0] in followed)
                      for step in steps]  # fmt: skip
        self.index = {name: n for n, name in enumerate(step.name for step in steps if step.name in followed)}
        self.whole = np.array([_on_the_whole(step, item) for step in steps])
        sized = np.array([isinstance(step, Sized) for step in steps])
        self.whole_calls = np.where(sized, 0.0, WHOLE_CALLS * CALL)
        self.calls = np.array([next((calls for kind, calls in CALLS_OF.items() if isinstance(step, kind)), CALLS)
                               for step in steps]) * np.where(sized, 0.0, CALL)  # fmt: skip
        self.plans: dict[tuple[object, ...], Plan] = {}
        self.least: dict[tuple[object, ...], float] = {}


def network_of(steps: list[Step], source: str, item: int) -> Network:
    """Of a network's steps; it lives with the first of them."""
    kept = vars(steps[0])
    if "network" not in kept:
        kept["network"] = Network(steps, source, item)
    found: Network = kept["network"]
    return found


def _on_the_whole(step: Step, item: int) -> float:
    """Seconds of a step on the whole map of one variation.

    Measured on plain, UNet, SEResNet50, EfficientNet and DenseNet121 in 2D, with one thread.
    """
    if isinstance(step, Sized):
        return 0.0
    seconds, name = float(step.seconds(item)), operation(step.node)
    moved = item * (step.numbers + math.prod(step.reads or (1,)) * step.read_channels) / MOVED
    if isinstance(step, MaxPool):
        return seconds - moved  # read once, while the cache holds the rows that windows share
    if isinstance(step, Meeting | Mean | Padded | AveragePool) or name in ("mul", "add", "cat"):
        size = item * step.numbers if isinstance(step, Meeting) else item * max(step.numbers, step.read_channels)
        far = math.log(max(size, 1.0) / CACHED) / math.log(UNCACHED / CACHED)
        return seconds * (IN_CACHE + (1 - IN_CACHE) * min(1.0, max(0.0, far)))
    if name in ("linear", "addmm"):
        weights = [step.constants[n.name] for n in step.argument_ofs if n.name in step.constants]
        inner = max((weight.numel() // max(weight.shape[0], 1) for weight in weights if weight.dim() == 2), default=0)
        return seconds + step.numbers * inner / PRODUCTS
    if name.endswith("_norm") and type(step) is Step:
        return seconds * STATISTICS_TAKE
    return seconds * (MIXING_TAKES if "linear" in name and name.startswith("upsample") else 1.0)


def _on_boxes(step: Step, item: int, boxes: np.ndarray) -> np.ndarray:
    """Seconds of a step on boxes (K, dims) of one variation each."""
    found: np.ndarray = step.seconds(item, boxes) * (SPREAD if isinstance(step, Transposed) else 1.0)
    return found


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

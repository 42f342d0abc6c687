"""A segmenter that answers by tiles (a sliding window): its answer, gradients and covered boxes, one tile at a time.

The blended answer is linear in the tiles' answers, ``Y = sum_t w y_t / sum_t w``, so all that goes back through it is
exact tile by tile: a tile's answer gets the cotangent ``dS/dY * w / sum_t w``. Nothing of a tile outlives its turn.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from XAIExplainLib.compute.derivatives import DERIVATIVES
from XAIExplainLib.compute.memory import Cost, batch_for, measured
from XAIExplainLib.compute.reverse import Table
from XAIExplainLib.compute.tiles import SlidingWindow, Tiles
from XAIExplainLib.errors import XAIError

if TYPE_CHECKING:
    from XAIExplainLib.compute.graph import Graph
    from XAIExplainLib.model import Model
    from XAIExplainLib.question import Question

Run = Callable[[torch.Tensor], torch.Tensor]
Watch = Callable[[int, int], None]  # (tiles that are done, of how many)
AT_ONCE = 32
AGREES = 1e-3
NUMBERS_OF_A_SCORE = 4  # maps of the answer's size: the answer, its sum, the score's derivative, its working copy


def answer_by_tiles(
    run: Run, tiles: Tiles, x: torch.Tensor, batch: int = 1, numbers: Sequence[int] | None = None,
    watch: Watch | None = None,
) -> torch.Tensor:  # fmt: skip
    """The blended answer for an image of any size.

    Parameters
    ----------
    run : callable
        The network: (n, C, *roi) to (n, K, *roi).
    tiles : Tiles
        Of images of this size.
    x : torch.Tensor
        Shape (N, C, *spatial).
    batch : int
        How many tiles, each of N rows, one pass takes.
    numbers : sequence of int or None
        Only these tiles; what lies in no other one is right, the rest is not.
    watch : callable or None
        Called before each pass; raises to cancel.

    Returns
    -------
    torch.Tensor
        Shape (N, K, *spatial).

    Raises
    ------
    XAIError
        If the network does not answer a tile with a map of its size.
    """
    padded = tiles.pad(x)
    wanted = list(range(len(tiles)) if numbers is None else numbers)
    total: torch.Tensor | None = None
    for first in range(0, len(wanted), batch):
        if watch is not None:
            watch(first, len(wanted))
        group = wanted[first : first + batch]
        found = run(torch.cat([tiles.cut(padded, number) for number in group]))
        if found.dim() != x.dim() or tuple(found.shape[2:]) != tiles.roi or len(found) != len(group) * len(x):
            raise not_a_map(found, tiles)
        if total is None:
            total = found.new_zeros(len(x), found.shape[1], *tiles.padded)
        weight, _ = tiles.weights(found)
        for number, one in zip(group, found.split(len(x)), strict=True):
            total[(..., *tiles.places[number])] += one * weight
    assert total is not None
    total /= tiles.weights(total)[1]
    return tiles.crop(total)


def answer_of(model: Model, tensor: torch.Tensor, watch: Watch | None = None) -> torch.Tensor:
    """The model's answer to (N, C, *spatial): the network's own, or by tiles where it has a sliding window."""
    if model.sliding is None or not answers_by_tiles(model, tensor):
        return model.at_once(tensor)
    tiles = model.sliding.tiles(tensor.shape[2:])
    return answer_by_tiles(model.at_once, tiles, tensor, model.sliding.batch, None, watch)


def not_a_map(found: torch.Tensor, tiles: Tiles) -> XAIError:
    """The error for a network whose answers cannot be blended."""
    return XAIError(
        f"The network answers a tile of {' x '.join(map(str, tiles.roi))} voxels with a shape {tuple(found.shape)}, "
        "which is no map of the tile.",
        "A sliding window is for segmentations of the image's size; leave it out.",
    )


def no_layers(model: Model) -> XAIError:
    """The error for what asks about a layer's map of the whole image."""
    return XAIError(
        f"The model {model.name} answers by tiles, each with maps of its own, so no layer has one map of the image.",
        "Use gradient, integrated_gradients, lrp or occlusion.",
    )


def answers_by_tiles(model: Model, x: torch.Tensor) -> bool:
    """Whether the model is asked about `x` (N, C, *spatial) by tiles: not where one tile is the whole image."""
    return model.sliding is not None and not model.sliding.tiles(x.shape[2:]).whole


def tile_of(model: Model, x: torch.Tensor) -> torch.Tensor:
    """An input of the size that the network itself sees: `x` (N, C, *spatial), or an empty tile (1, C, *roi)."""
    if model.sliding is None or not answers_by_tiles(model, x):
        return x
    return x.new_zeros(1, x.shape[1], *model.sliding.tiles(x.shape[2:]).roi)


class TiledQuestion:
    """What a `Question` about a model with a sliding window does otherwise.

    Parameters
    ----------
    question : Question
        Whose model, image, score and memory.
    window : SlidingWindow
        The model's.

    Attributes
    ----------
    tiles : Tiles
        Of the case.
    outside : float
        What walks brought to the constant around an image that is smaller than a tile: no voxel has it.
    """

    def __init__(self, question: Question, window: SlidingWindow) -> None:
        self.question, self.window = question, window
        self.tiles = window.tiles(question.spatial)
        self.outside = 0.0
        self.tile = Cost(0.0, 0.0, 1.0)  # of one tile of one sample
        self.bytes = 0.0  # of what is as large as the image, a sample
        self._runs = self._of = 0  # tiles run again for covered boxes, and of how many
        self._answers: dict[int, _Kept] = {}  # to the tiles of one sample
        question.diagnostics["tiles"] = len(self.tiles)

    @classmethod
    def of(cls, question: Question) -> TiledQuestion | None:
        """For models with a sliding window, unless one tile is the whole image."""
        window = question.model.sliding
        if window is None or window.tiles(question.spatial).whole:
            return None
        return cls(question, window)

    # -- answers -----------------------------------------------------------------------------------------------------

    def first_answer(self, x: torch.Tensor) -> tuple[torch.Tensor, Cost]:
        """The answer to one sample (1, C, *spatial), and what that takes: found out at the first tile.

        Raises
        ------
        XAIError
            If it does not fit the memory: before the second tile.
        """
        question, costs = self.question, list[Cost]()

        def run(part: torch.Tensor) -> torch.Tensor:
            if costs:
                return question.model.at_once(part)
            made: list[torch.Tensor] = []
            found = measured(lambda: made.append(question.model.at_once(part)))
            self.tile = Cost(*(figure / len(part) for figure in (found.peak, found.total, found.products)))
            voxels = torch.Size(self.tiles.padded).numel() * x.element_size()
            self.bytes = float(voxels * (1 + 2 * x.shape[1] + NUMBERS_OF_A_SCORE * made[0].shape[1]))
            passes = len(self.tiles) / len(part)
            costs.append(Cost(found.peak + self.bytes, found.total + self.bytes, found.products * passes))
            batch_for(costs[0].peak, question.memory, 1, "One tile, with the blended answer,")
            return made[0]

        output = answer_by_tiles(run, self.tiles, x, self.window.batch, None, question.tile_done)
        question.model.infer_task(output, x)
        return output, costs[0]

    def answers(self, x: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
        """The answers to variations of `samples`, right where the score reads them: (B, K, *spatial)."""
        question = self.question
        numbers = self._read(question.score, samples)
        if not numbers:
            return question.output.new_zeros(len(x), *question.output.shape[1:])
        run = question.model.at_once
        return answer_by_tiles(run, self.tiles, x, self.window.batch, numbers, question.tile_done)

    def _read(self, measure: Any, samples: torch.Tensor) -> list[int]:
        """Numbers of the tiles whose answers a score of these samples reads; all, where it does not say."""
        mask = getattr(measure, "reads", None)
        if mask is None:
            return list(range(len(self.tiles)))
        return self.tiles.answering(mask[samples.unique()].any(0))

    # -- gradients ---------------------------------------------------------------------------------------------------

    def walk(
        self, start: str, x: torch.Tensor, samples: torch.Tensor, graph: Graph, table: Table = DERIVATIVES,
        seed: Any = None, visit: Callable[[str, Any], None] | None = None, also: dict[str, Any] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
        """`Question.walk_to` the input, by tiles: the sum of the walks of each.

        `seed` is asked for each tile, with the tile's answer and the derivative of the scores by it; what `seed` gives
        must add up over the tiles, as the derivative does, and the answer times it.
        """
        question = self.question
        if start != graph.input or also:
            raise no_layers(question.model)

        def one(tile: torch.Tensor, derivative: torch.Tensor, want: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
            values: dict[str, Any] = {graph.output: None} if want else {}
            _, found, _ = question.walk_to(start, tile, samples, graph, table, seed, visit, values, derivative)
            return found, values[graph.output][: len(tile)] if want else None

        gradient, scores = self._back(x, samples, one)
        return x, gradient, scores

    def by_autograd(self, x: torch.Tensor, samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `Question.gradients`, for a network without a graph."""

        def one(tile: torch.Tensor, derivative: torch.Tensor, want: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
            leaf = tile.detach().clone().requires_grad_()
            with torch.enable_grad():
                output = self.question.model.at_once(leaf)
                if not output.requires_grad:
                    raise XAIError(
                        "The network gives no gradient: its answer is detached from its input.",
                        "Use a method that needs only scores, such as occlusion.",
                    )
                (found,) = torch.autograd.grad(output, leaf, derivative)
            return found, output.detach() if want else None

        return self._back(x, samples, one)

    def _back(
        self, x: torch.Tensor, samples: torch.Tensor,
        one: Callable[[torch.Tensor, torch.Tensor, bool], tuple[torch.Tensor, torch.Tensor | None]],
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """The sum over the tiles of `one`, a tile's walk with its part of the derivative, and the scores."""
        question, tiles, score = self.question, self.tiles, self.question.score
        with torch.no_grad():
            output: torch.Tensor | None = question.output[samples]
            if not _same(x, question.x, samples):
                # The derivative of a linear score is the same everywhere: its value comes with the walks.
                output = None if score.linear else self.answers(x, samples)
        derivative, scores = question._seed(question.output[samples] if output is None else output, samples)
        wide, padded = tiles.uncrop(derivative), tiles.pad(x)
        walked = [number for number in range(len(tiles)) if bool(tiles.cut(wide, number).any())]
        self.say_walked(len(walked))
        gradient, total = torch.zeros_like(padded), torch.zeros_like(wide) if output is None else None
        weight, count = tiles.weights(wide)
        for done, number in enumerate(walked):
            question.tile_done(done, len(walked))
            part, answer = one(
                tiles.cut(padded, number), tiles.cut(wide, number) * tiles.share(number, wide), total is not None
            )
            gradient[(..., *tiles.places[number])] += part
            if total is not None:
                assert answer is not None
                total[(..., *tiles.places[number])] += answer * weight
        if total is not None:
            with torch.no_grad():
                scores = score(tiles.crop(total / count), samples)
        return self._folded(gradient), scores

    def say_walked(self, walked: int) -> None:
        """How many tiles had a way back, the most of any batch."""
        kept = self.question.diagnostics
        kept["tiles_walked"] = max(walked, kept.get("tiles_walked", 0))

    def _folded(self, padded: torch.Tensor) -> torch.Tensor:
        found = self.tiles.fold(padded)
        if self.tiles.pads:
            self.outside += float(padded.double().sum() - found.double().sum())
        return found

    # -- covered boxes -----------------------------------------------------------------------------------------------

    def covered(
        self, sample: int, boxes: list[Any], contents: Callable[[list[int]], list[torch.Tensor]], measure: Any,
        what: str,
    ) -> Iterator[tuple[list[int], torch.Tensor]]:  # fmt: skip
        """As `perturbation.covered_scores`: only the tiles that a box lies in and the score reads are run again."""
        question, tiles = self.question, self.tiles
        x, row = question.x[sample : sample + 1], torch.tensor([sample], device=question.x.device)
        read = set(self._read(measure, row))
        passes = [[number for number in tiles.seeing(box) if number in read] for box in boxes]
        question.diagnostics["engine"] = "tiles"
        self._runs += sum(map(len, passes))
        self._of += len(boxes) * len(tiles)
        question.diagnostics["share_of_tiles"] = self._runs / max(self._of, 1)
        base = question.output[sample : sample + 1]
        unseen = [n for n, numbers in enumerate(passes) if not numbers]
        if unseen:
            with torch.no_grad():
                yield unseen, measure(base, row).expand(len(unseen))
        # Boxes of the same tiles one after the other, so that the tiles' answers to the case are found once.
        pending = sorted((n for n, numbers in enumerate(passes) if numbers), key=lambda n: passes[n])
        if not pending:
            return
        answer_bytes = float(torch.Size(tiles.roi).numel() * base.shape[1] * x.element_size())
        left = question.memory - self.bytes - answer_bytes
        size = batch_for(self.tile.peak + answer_bytes, max(int(left), 1), self._at_once(), what)
        if sample not in self._answers:  # kept, since a method may ask several times
            room = int((left - size * (self.tile.peak + answer_bytes)) // answer_bytes)
            self._answers = {sample: _Kept(room, self._answer_of(x))}
        known = self._answers[sample]
        work = tiles.uncrop(base).clone()
        pairs = [(n, number) for n in pending for number in passes[n]]
        current: int | None = None
        touched: list[int] = []
        found: list[int] = []
        scores: list[torch.Tensor] = []

        def finish() -> None:
            """Score the box whose tiles are all in, and take them out again."""
            assert current is not None
            with torch.no_grad():
                scores.append(measure(tiles.crop(work), row))
            found.append(current)
            whole = tiles.uncrop(base)
            for number in touched:
                place = (..., *tiles.places[number])
                work[place] = whole[place]
            touched.clear()

        for first in range(0, len(pairs), size):
            group = pairs[first : first + size]
            question.check()
            asked = list(dict.fromkeys(n for n, _ in group))
            made = dict(zip(asked, contents(asked), strict=True))
            inputs = []
            for n, in_box in itertools.groupby(group, lambda pair: pair[0]):
                image = x.clone()
                image[(0, slice(None), *boxes[n])] = made[n]
                padded = tiles.pad(image)
                inputs += [tiles.cut(padded, number) for _, number in in_box]
            with torch.no_grad():
                answers = question.model.at_once(torch.cat(inputs))
            for (n, number), answer in zip(group, answers, strict=True):
                if n != current and current is not None:
                    finish()
                current = n
                touched.append(number)
                change = (answer - known(number)[0]) * tiles.share(number, work)
                work[(0, slice(None), *tiles.places[number])] += change
            if first + size >= len(pairs):
                finish()
            if found:
                together = torch.cat(scores)
                if "tiles_error" not in question.diagnostics:
                    self._proved(sample, boxes[found[0]], contents([found[0]])[0], measure, float(together[0]))
                yield found, together
                found, scores = [], []

    def _at_once(self) -> int:
        """How many tiles a pass takes in about half a second."""
        from XAIExplainLib.question import PRODUCTS_IN_HALF_A_SECOND

        return max(1, min(AT_ONCE, int(PRODUCTS_IN_HALF_A_SECOND / max(self.tile.products, 1.0))))

    def _answer_of(self, x: torch.Tensor) -> Callable[[int], torch.Tensor]:
        """The network's answer to one tile of the case."""
        padded = self.tiles.pad(x)

        def run(number: int) -> torch.Tensor:
            self.question.check()
            with torch.no_grad():
                return self.question.model.at_once(self.tiles.cut(padded, number))

        return run

    def _proved(self, sample: int, box: Any, content: torch.Tensor, measure: Any, found: float) -> None:
        """Compare one box with a whole pass; the difference goes into the diagnostics."""
        question = self.question
        image = question.x[sample : sample + 1].clone()
        image[(0, slice(None), *box)] = content
        with torch.no_grad():
            output = question.model(image, question.tile_done)
            wanted = float(measure(output, torch.tensor([sample], device=image.device)))
        error = abs(wanted - found)
        question.diagnostics["tiles_error"] = error
        if error > AGREES * max(1.0, abs(wanted)):
            question.warn(f"The first box by its tiles alone differs by {error:.2g} from a whole pass.")


class _Kept:
    """Answers by number, as many as there is room for, the oldest given up first."""

    def __init__(self, room: int, make: Callable[[int], torch.Tensor]) -> None:
        self._room, self._make = max(1, room), make
        self._known: dict[int, torch.Tensor] = {}

    def __call__(self, number: int) -> torch.Tensor:
        found = self._known.pop(number, None)
        if found is None:
            found = self._make(number)
            while len(self._known) >= self._room:
                self._known.pop(next(iter(self._known)))
        self._known[number] = found  # the newest
        return found


def _same(x: torch.Tensor, case: torch.Tensor, samples: torch.Tensor) -> bool:
    """Whether the rows of `x` are samples of the case themselves, whose answers are known."""
    return x is case or (x.shape[1:] == case.shape[1:] and torch.equal(x, case[samples]))

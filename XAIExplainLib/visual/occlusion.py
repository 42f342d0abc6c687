"""Occlusion sensitivity (Zeiler & Fergus 2014): how far the score drops when a box is covered."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable
from typing import Any

import torch

from XAIExplainLib.compute.backgrounds import compared_with
from XAIExplainLib.compute.baselines import CHOICES, mean_around, noise
from XAIExplainLib.compute.conditional import air
from XAIExplainLib.compute.perturbation import Box, Contents, covered_scores, score_of_case
from XAIExplainLib.effort import Sizes
from XAIExplainLib.errors import XAIError
from XAIExplainLib.method import Attribution, Method, register
from XAIExplainLib.parameter import Parameter
from XAIExplainLib.question import Question

MOST_WINDOWS = 5_000_000
FEWEST = 8  # windows of the first stage
FILLS = (*CHOICES, "noise", "local_mean")


@register
class Occlusion(Method):
    """Covers one box after the other and measures the drop of the score."""

    name = "occlusion"
    title = "Occlusion sensitivity"
    family = "Perturbation"
    model_specific = False
    needs = "scores"
    by_boxes = True
    cost = "a part of a forward pass for each window that changes the image: what the window can reach"
    signed = True
    units = "drop of the score"
    summary = (
        "How far the score drops when a box is covered: positive where the covered part spoke for the target. Where "
        "windows overlap, a voxel has the mean of those that cover it."
    )
    citation = (
        "Zeiler, Fergus: Visualizing and understanding convolutional networks. ECCV 2014, arXiv:1311.2901 "
        "(section 4.2)."
    )
    proof = "equal to captum, MONAI and a naive loop; the first run on a network checks a window by a whole pass"
    caution = (
        "Sees nothing that is spread over several windows, and a covered box is an image that the network was never "
        "trained on: the fill matters."
    )
    parameters = (
        Parameter("window", "voxels", 8, "Size of the box on the network's grid.", unit="voxels", minimum=1),
        Parameter("stride", "voxels", 8, "From one box to the next on the network's grid.", unit="voxels", minimum=1),
        Parameter(
            "fill", "fill", 0.0,
            "What covers the box: an intensity after preprocessing, the image's mean, the blurred image, noise with "
            "the image's mean and deviation, the mean of a shell half as wide as the box around it, or another case.",
            choices=FILLS, volumes=True,
        ),
    )  # fmt: skip
    presets = {"quick": {"window": 16, "stride": 16}, "thorough": {"window": 8, "stride": 4}}

    @classmethod
    def passes(cls, sizes: Sizes, parameters: dict[str, Any]) -> float:
        fill, image = parameters["fill"], sizes.image
        seen = None
        if image is not None and fill not in ("noise", "mean"):
            seen = (image != fill).any(1) if isinstance(fill, float) else ~air(image)
        return 1 + sizes.passes_of_boxes(parameters["window"], parameters["stride"], seen)

    def explain(self, question: Question, **parameters: Any) -> Attribution:
        x = question.x
        grid = Grid(question.spatial, parameters["window"], parameters["stride"])
        # A box that its cover does not change drops no score: no pass is needed.
        if parameters["fill"] == "local_mean":
            width = tuple((w + 1) // 2 for w in grid.window)
            around = [_around(image, grid.boxes, width) for image in x]
            changed = [found for found, _ in around]
            covers: list[torch.Tensor | Contents] = [contents for _, contents in around]
        else:
            cover = _cover(question, parameters["fill"])
            differs = (x != cover).any(1)
            changed = [
                [n for n, box in enumerate(grid.boxes) if bool(differs[(sample, *box)].any())]
                for sample in range(question.samples)
            ]
            covers = [cover] * question.samples
        number = sum(map(len, changed))
        question.diagnostics.update(windows=len(grid.boxes) * question.samples, passes=number + question.samples)
        drops = torch.zeros((question.samples, len(grid.boxes)), dtype=torch.float64)
        done = 0
        # Coarse to fine, whether or not anybody looks: what is computed together would change the last digits.
        for stage, members in enumerate(grid.stages):
            of_stage = set(members)
            for sample, (found, cover_of_boxes) in enumerate(zip(changed, covers, strict=True)):
                some = [n for n in found if n in of_stage]
                question.progress(done / max(number, 1), f"window {done + 1} of {number}")
                base: float | None = None
                shown = cover_of_boxes if isinstance(cover_of_boxes, torch.Tensor) else _among(cover_of_boxes, some)
                for indices, scores in covered_scores(
                    question, sample, [grid.boxes[n] for n in some], shown, of=len(found)
                ):
                    base = score_of_case(question, sample) if base is None else base
                    drops[sample, [some[index] for index in indices]] = base - scores.double().cpu()
                    done += len(indices)
                    question.progress(done / number, f"window {done} of {number}")
            if stage < len(grid.stages) - 1:
                question.preview(functools.partial(grid.preview, stage, drops, x.dtype))
        question.diagnostics["largest_drop"] = float(drops.abs().max())
        values, count = grid.mean(range(len(grid.boxes)), drops)
        if bool((count == 0).any()):
            question.warn("The stride is larger than the window: voxels between the windows were never covered, 0.")
        return Attribution(values.to(x.dtype))


class Grid:
    """Where the windows stand, and the order in which they are tried: far apart first, then between.

    Parameters
    ----------
    spatial : tuple of int
        The image's shape.
    window, stride : int or tuple of int
        In voxels.

    Attributes
    ----------
    spatial, window, stride : tuple of int
        One an axis.
    counts : tuple of int
        Windows along each axis.
    boxes : list of tuple of slice
        All windows, the last axis running fastest.
    steps : list of tuple of int
        For each stage and axis: every how manyth window it has. The last is 1 everywhere.
    stages : list of list of int
        For each stage, the windows that no stage before it had. Together they are all.
    """

    def __init__(
        self, spatial: tuple[int, ...], window: int | tuple[int, ...], stride: int | tuple[int, ...]
    ) -> None:  # fmt: skip
        self.spatial = spatial
        self.window, self.stride = _each(window, spatial, "window"), _each(stride, spatial, "stride")
        self.boxes = windows(spatial, window, stride)
        self.counts = tuple(len({box[axis].start for box in self.boxes}) for axis in range(len(spatial)))
        self.steps = _steps(self.counts)
        # The coarsest stage stands in the middle of the image; those after it keep its windows.
        self._first = tuple((n - 1) % step // 2 for n, step in zip(self.counts, self.steps[0], strict=True))
        stage_of = torch.empty(self.counts, dtype=torch.long)
        for stage in reversed(range(len(self.steps))):  # each stage has the windows of those before it
            stage_of[self._places(stage)] = stage
        self.stages = [torch.nonzero(stage_of.flatten() == n)[:, 0].tolist() for n in range(len(self.steps))]

    def _places(self, stage: int) -> tuple[slice, ...]:
        """Which windows a stage and those before it have along each axis."""
        return tuple(slice(first % s, None, s) for first, s in zip(self._first, self.steps[stage], strict=True))

    def mean(self, members: Iterable[int], drops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """For each voxel, the mean drop of those windows that cover it, and their number.

        Parameters
        ----------
        members : iterable of int
            The windows, in the order in which they are added up.
        drops : torch.Tensor
            Shape (N, windows): the drop of the score, of all windows.

        Returns
        -------
        tuple of torch.Tensor
            The mean, shape (N, 1, *spatial), 0 where no window covers, and the number, shape (*spatial), both float64.
        """
        total = torch.zeros((len(drops), 1, *self.spatial), dtype=torch.float64)
        count = torch.zeros(self.spatial, dtype=torch.float64)
        for n in members:
            box = self.boxes[n]
            total[(slice(None), 0, *box)] += drops[:, n].reshape(-1, *[1] * len(box))
            count[box] += 1
        return total / count.clamp_min(1), count

    def preview(self, stage: int, drops: torch.Tensor, dtype: torch.dtype) -> Attribution:
        """The map of the windows up to a stage by the rule of the result: what was measured, and 0 elsewhere.

        Parameters
        ----------
        stage : int
            Counted from 0; it is not the last.
        drops : torch.Tensor
            Shape (N, windows): the drop of the score, known for the windows of this stage and those before it.
        dtype : torch.dtype
            Of the map.
        """
        tried = sorted(itertools.chain(*self.stages[: stage + 1]))
        windows, of = len(tried) * len(drops), len(self.boxes) * len(drops)
        return Attribution(
            self.mean(tried, drops)[0].to(dtype),
            diagnostics={"stage": {
                "number": stage + 1, "of": len(self.steps), "windows": windows, "share": windows / of,
                "text": f"{windows} of {of} windows",
            }},
        )  # fmt: skip


def _steps(counts: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Every how manyth window each stage has along each axis.

    From as far apart as leaves `FEWEST` windows, half as far from stage to stage, and at the end, where a stage is most
    of the work, one axis after the other, the last axis first.
    """
    apart = 1
    while math.prod((n - 1) // (2 * apart) + 1 for n in counts) >= FEWEST:
        apart *= 2
    steps = []
    while apart > 1:
        steps.append((apart,) * len(counts))
        apart //= 2
    axes = len(counts)
    if steps:
        steps += [(2,) * (axes - fine) + (1,) * fine for fine in range(1, axes)]
    steps.append((1,) * axes)
    held = [tuple((n - 1) // s + 1 for n, s in zip(counts, step, strict=True)) for step in steps]
    return [step for n, step in enumerate(steps) if n == len(steps) - 1 or held[n] != held[n + 1]]


def _among(contents: Contents, some: list[int]) -> Contents:
    """Contents by the index into `some`."""
    return lambda indices: contents([some[n] for n in indices])


def _cover(question: Question, fill: float | str) -> torch.Tensor:
    """What is seen in place of the image, of its shape."""
    return noise(question.x, question.generator) if fill == "noise" else compared_with(question, fill)


def _around(image: torch.Tensor, boxes: list[Box], width: tuple[int, ...]) -> tuple[list[int], Contents]:
    """Which boxes of an image (C, *spatial) the mean around them changes, and these means as contents of the boxes."""
    found, means = [], {}
    for n, box in enumerate(boxes):
        mean = mean_around(image, box, width).reshape(-1, *[1] * len(box))
        inside = image[(slice(None), *box)]
        if bool((inside != mean).any()):
            found.append(n)
            means[n] = mean.expand_as(inside)
    return found, lambda indices: [means[n] for n in indices]


def windows(spatial: tuple[int, ...], window: int | tuple[int, ...], stride: int | tuple[int, ...]) -> list[Box]:
    """Boxes of `window` voxels every `stride` voxels, from the first voxel to past the last, cut at the edge.

    The same grid as captum's: along an axis of S voxels, 1 + ceil((S - window) / stride) boxes.

    Raises
    ------
    XAIError
        If window or stride do not have an entry for each axis, or there would be millions of windows.
    """
    size, step = _each(window, spatial, "window"), _each(stride, spatial, "stride")
    starts = [
        [index * s for index in range(1 + math.ceil(max(n - w, 0) / s))]
        for n, w, s in zip(spatial, size, step, strict=True)
    ]
    number = math.prod(len(along) for along in starts)
    if number > MOST_WINDOWS:
        raise XAIError(f"This makes {number:,} windows.", "Give a larger stride.")
    return [
        tuple(slice(first, min(first + w, n)) for first, w, n in zip(corner, size, spatial, strict=True))
        for corner in itertools.product(*starts)
        if all(first < n for first, n in zip(corner, spatial, strict=True))
    ]


def _each(value: int | tuple[int, ...], spatial: tuple[int, ...], name: str) -> tuple[int, ...]:
    values = (value,) * len(spatial) if isinstance(value, int) else value
    if len(values) != len(spatial):
        raise XAIError(
            f"The parameter {name} has {len(values)} numbers for {len(spatial)} axes.",
            f"Give one number, or {len(spatial)}.",
        )
    return values

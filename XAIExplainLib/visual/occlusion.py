"""Occlusion sensitivity (Zeiler & Fergus 2014): how far the score drops when a box is covered."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch

from XAIExplainLib.compute.backgrounds import compared_with
from XAIExplainLib.compute.baselines import CHOICES, mean_around, noise
from XAIExplainLib.compute.perturbation import Box, Contents, covered_scores
from XAIExplainLib.errors import XAIError
from XAIExplainLib.method import Attribution, Method, register
from XAIExplainLib.parameter import Parameter
from XAIExplainLib.question import Question

MOST_WINDOWS = 5_000_000
FILLS = (*CHOICES, "noise", "local_mean")


@register
class Occlusion(Method):
    """Covers one box after the other and measures the drop of the score."""

    name = "occlusion"
    title = "Occlusion sensitivity"
    family = "Perturbation"
    model_specific = False
    needs = "scores"
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
    proof = "equal to captum, MONAI and a naive loop; each run checks a window by a whole pass"
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

    def explain(self, question: Question, **parameters: Any) -> Attribution:
        x = question.x
        boxes = windows(question.spatial, parameters["window"], parameters["stride"])
        # A box that its cover does not change drops no score: no pass is needed.
        if parameters["fill"] == "local_mean":
            width = tuple((w + 1) // 2 for w in _each(parameters["window"], question.spatial, "window"))
            around = [_around(image, boxes, width) for image in x]
            changed = [found for found, _ in around]
            covers: list[torch.Tensor | Contents] = [contents for _, contents in around]
        else:
            cover = _cover(question, parameters["fill"])
            differs = (x != cover).any(1)
            changed = [
                [box for box in boxes if bool(differs[(sample, *box)].any())] for sample in range(question.samples)
            ]
            covers = [cover] * question.samples
        total = torch.zeros((question.samples, 1, *question.spatial), dtype=torch.float64)
        count = torch.zeros(question.spatial, dtype=torch.float64)
        for box in boxes:
            count[box] += 1
        number = sum(map(len, changed))
        question.diagnostics.update(windows=len(boxes) * question.samples, passes=number + question.samples)
        base = question.scores_of_case.double().cpu()
        largest, done = 0.0, 0
        for sample, (found, cover_of_boxes) in enumerate(zip(changed, covers, strict=True)):
            question.progress(done / max(number, 1), f"window {done + 1} of {number}")
            for indices, scores in covered_scores(question, sample, found, cover_of_boxes):
                for index, score in zip(indices, scores.double().tolist(), strict=True):
                    drop = float(base[sample]) - score
                    total[(sample, 0, *found[index])] += drop
                    largest = max(largest, abs(drop))
                done += len(indices)
                question.progress(done / number, f"window {done} of {number}")
        question.diagnostics["largest_drop"] = largest
        if bool((count == 0).any()):
            question.warn("The stride is larger than the window: voxels between the windows were never covered, 0.")
        return Attribution((total / count.clamp_min(1)).to(x.dtype))


def _cover(question: Question, fill: float | str) -> torch.Tensor:
    """What is seen in place of the image, of its shape."""
    return noise(question.x, question.generator) if fill == "noise" else compared_with(question, fill)


def _around(image: torch.Tensor, boxes: list[Box], width: tuple[int, ...]) -> tuple[list[Box], Contents]:
    """Boxes of an image (C, *spatial) that the mean around them changes, and these means as their contents."""
    found, means = [], []
    for box in boxes:
        mean = mean_around(image, box, width).reshape(-1, *[1] * len(box))
        inside = image[(slice(None), *box)]
        if bool((inside != mean).any()):
            found.append(box)
            means.append(mean.expand_as(inside))
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

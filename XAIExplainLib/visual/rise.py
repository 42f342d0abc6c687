"""RISE (Petsiuk, Das, Saenko 2018) in 3D: the mean of random soft masks, weighted by the score that they leave."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from XAIExplainLib.compute.backgrounds import compared_with
from XAIExplainLib.compute.coalitions import FILL
from XAIExplainLib.effort import Sizes, passes_of_scores
from XAIExplainLib.errors import XAIError
from XAIExplainLib.method import Attribution, Method, register
from XAIExplainLib.parameter import Parameter
from XAIExplainLib.question import Question

CHANCE = 5.0  # standard errors that the map's clearest voxel must reach; chance alone makes 3 to 4 somewhere
AT_ONCE = 16  # masks, where no forward pass decides
SCORING = 0.9  # of a sample's work; the rest makes the map


@register
class RISE(Method):
    """Shows the image through random masks and averages them by the score."""

    name = "rise"
    title = "RISE"
    family = "Perturbation"
    model_specific = False
    needs = "scores"
    cost = "one forward pass for each mask (a 2D network: for each mask and slice)"
    signed = True
    units = "score above its mean"
    summary = (
        "How far the score lies above its mean over random masks where a voxel is seen: positive where being seen "
        "speaks for the target. The standard error of the random masks is reported."
    )
    citation = (
        "Petsiuk, Das, Saenko: RISE: Randomized input sampling for explanation of black-box models. BMVC 2018, "
        "arXiv:1806.07421 (equation 6), less the mean score."
    )
    proof = "equal to the closed form on linear networks within its reported Monte-Carlo error"
    caution = (
        "A Monte-Carlo estimate: with few masks it shows chance. Nothing finer than a cell of the masks is resolved, "
        "and half-covered images are none that the network was trained on."
    )
    parameters = (
        Parameter(
            "masks", "integer", 512, "How many random masks; the error falls with the square root of their number.",
            minimum=8, maximum=1_000_000,
        ),
        Parameter(
            "cells", "integer", 8,
            "Cells of a mask along the longest side of the image; as wide in millimetres along the others.",
            minimum=1, maximum=128,
        ),
        Parameter(
            "seen", "number", 0.5,
            "Probability that a cell of a mask is seen.", minimum=0.01, maximum=0.99,
        ),
        FILL,
    )  # fmt: skip
    presets = {"quick": {"masks": 128, "cells": 6}, "thorough": {"masks": 2000, "cells": 8}}

    @classmethod
    def passes(cls, sizes: Sizes, parameters: dict[str, Any]) -> float:
        return 1 + passes_of_scores(parameters["masks"])

    def explain(self, question: Question, **parameters: Any) -> Attribution:
        number, seen = parameters["masks"], parameters["seen"]
        cover = compared_with(question, parameters["fill"])
        cell = cell_size(question, parameters["cells"])
        maps, errors, passes = [], [], 0
        for sample in range(question.samples):
            x, other = question.x[sample : sample + 1], cover[sample : sample + 1]
            if not bool((x != other).any()):  # covering changes nothing
                maps.append(torch.zeros(question.spatial, dtype=torch.float64))
                errors.append(torch.zeros(question.spatial, dtype=torch.float64))
                continue
            masks = Masks(question.spatial, cell, number, seen, question.generator, x)
            scores = []
            for first, part in masks.parts(question.batch):
                images = other + part[:, None] * (x - other)
                rows = torch.full((len(part),), sample)
                scores.append(question.scores(images, rows, number).double().cpu())
                done = first + len(part)
                question.progress((sample + SCORING * done / number) / question.samples, f"mask {done} of {number}")
            passes += number
            found, error = _moments(question, masks, torch.cat(scores), seen)
            maps.append(found)
            errors.append(error)
        values, error = torch.stack(maps)[:, None], torch.stack(errors)
        question.diagnostics.update(passes=passes + question.samples, cell_voxels=[round(n, 3) for n in cell])
        _report(question, values, error)
        return Attribution(values.to(question.x.dtype))


def cell_size(question: Question, cells: int) -> tuple[float, ...]:
    """Voxels of a mask's cell along each spatial axis, at least one: equal in millimetres.

    Raises
    ------
    XAIError
        If a cell would be smaller than a voxel along the longest side.
    """
    spacing = list(question.prepared.geometry.spacing[::-1])
    if question.prepared.axis is not None:
        del spacing[question.prepared.axis]
    sides = [size * step for size, step in zip(question.spatial, spacing, strict=True)]
    longest = sides.index(max(sides))
    if cells > question.spatial[longest]:
        raise XAIError(
            f"{cells} cells do not fit the {question.spatial[longest]} voxels of the longest side.",
            "Give fewer cells.",
        )
    edge = sides[longest] / cells
    return tuple(max(1.0, edge / step) for step in spacing)


class Masks:
    """Random soft masks, made again whenever they are asked for.

    Each is a random grid of zeros and ones, shifted by a random part of a cell and interpolated linearly, so that the
    expectation of every voxel is the same.

    Parameters
    ----------
    spatial : tuple of int
        Of the image.
    cell : tuple of float
        Voxels from one grid point to the next.
    number : int
        How many masks.
    seen : float
        Probability of a one.
    generator : torch.Generator
        Of random numbers.
    like : torch.Tensor
        Gives dtype and device.
    """

    def __init__(
        self, spatial: tuple[int, ...], cell: tuple[float, ...], number: int, seen: float,
        generator: torch.Generator, like: torch.Tensor,
    ) -> None:  # fmt: skip
        self.spatial, self.cell, self.number = spatial, cell, number
        grid = [math.ceil(n / c) + 2 for n, c in zip(spatial, cell, strict=True)]
        self._grids = (torch.rand(number, *grid, generator=generator) < seen).to(like)
        self._shifts = torch.rand(number, len(spatial), generator=generator, dtype=torch.float64)

    def parts(self, size: int) -> Iterator[tuple[int, torch.Tensor]]:
        """The masks, `size` at a time: the index of the first, and (size, *spatial) from 0 to 1."""
        for first in range(0, self.number, size):
            result = self._grids[first : first + size]
            shifts = self._shifts[first : first + size]
            for axis, (voxels, cell) in enumerate(zip(self.spatial, self.cell, strict=True)):
                places = torch.arange(voxels, dtype=torch.float64)[None] / cell + shifts[:, axis : axis + 1]
                points = torch.arange(result.shape[axis + 1], dtype=torch.float64)
                hat = (1 - (places[:, :, None] - points).abs()).clamp_min(0).to(result)  # (size, voxels, points)
                moved = result.movedim(axis + 1, 1)
                joined = torch.bmm(hat, moved.reshape(len(moved), moved.shape[1], -1))
                result = joined.reshape(len(moved), voxels, *moved.shape[2:]).movedim(1, axis + 1)
            yield first, result


def _moments(question: Question, masks: Masks, scores: torch.Tensor, seen: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The map and its standard error, float64 (*spatial), from the scores (masks,).

    The map is the covariance of score and mask over the probability to be seen: RISE's expectation of the score where
    the voxel is seen, less the mean score.
    """
    number = masks.number
    weight = scores - scores.mean()
    first_moment = torch.zeros(masks.spatial, dtype=torch.float64)
    second_moment = torch.zeros(masks.spatial, dtype=torch.float64)
    for first, part in masks.parts(AT_ONCE):
        question.check()
        centred = part.flatten(1) - seen
        one = weight[first : first + len(part)].to(part)
        first_moment += (one @ centred).double().cpu().reshape(masks.spatial)
        second_moment += ((one**2) @ centred**2).double().cpu().reshape(masks.spatial)
    variance = (second_moment / number - (first_moment / number) ** 2).clamp_min(0) / (number - 1)
    # One degree of freedom went into the mean score.
    return first_moment / (number - 1) / seen, variance.sqrt() / seen


def _report(question: Question, values: torch.Tensor, error: torch.Tensor) -> None:
    """How far chance makes the map, against how far the map spreads."""
    spread = float(values.std()) if values.numel() > 1 else 0.0
    median = float(error.median())
    known = error > 0
    clearest = float((values[:, 0].abs()[known] / error[known]).max()) if bool(known.any()) else 0.0
    question.diagnostics.update(
        median_standard_error=median, largest_standard_error=float(error.max()), spread_of_map=spread,
        error_of_spread=median / spread if spread > 0 else 0.0,
        largest_value=float(values.abs().max()), clearest_voxel=clearest,
    )  # fmt: skip
    if bool(known.any()) and clearest < CHANCE:
        question.warn(
            f"The clearest voxel lies {clearest:.1f} standard errors from 0, as chance alone may bring it: more masks, "
            "or fewer cells, make the map sure."
        )

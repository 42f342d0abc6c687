"""Dice at the best threshold and the Hausdorff distances against counting, SimpleITK and MONAI."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import SimpleITK
import torch

from XAIExplainLib.errors import XAIError
from XAIExplainLib.evaluation.localisation import best_dice, chance_levels, hausdorff, localisation
from XAIExplainLib.geometry import Geometry, place

SHAPE = (5, 6, 7)
ROTATION = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])
SHEAR = np.array([[1.0, 0.3, 0.0], [0.0, 0.9, 0.1], [0.0, 0.0, 1.1]])
GRIDS = {
    "cubes": Geometry(SHAPE[::-1]),
    "thick slices": Geometry(SHAPE[::-1], (0.7, 1.1, 4.0)),
    "oblique": Geometry(SHAPE[::-1], (0.7, 1.1, 4.0), (5.0, -3.0, 8.0), ROTATION),
    "sheared": Geometry(SHAPE[::-1], (0.7, 1.1, 4.0), (5.0, -3.0, 8.0), SHEAR),
}


def regions(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of voxels: few or many, apart or nested, some at the border."""
    random = np.random.default_rng(seed)
    first, second = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    for part in (first, second):
        low = random.integers(0, np.array(SHAPE) - 1)
        high = low + random.integers(1, 5, 3)
        part[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
        part[tuple(random.integers(0, SHAPE))] = True
    return first, second


def by_hand(first: np.ndarray, second: np.ndarray, grid: Geometry) -> tuple[float, float]:
    """The definition, pair by pair."""
    largest, most = [], []
    for one, other in ((first, second), (second, first)):
        there = [grid.index_to_physical(index[::-1]) for index in np.argwhere(other)]
        everywhere, surface = [], []
        for index in np.argwhere(one):
            here = grid.index_to_physical(index[::-1])
            distance = min(np.sqrt(((here - point) ** 2).sum()) for point in there)
            everywhere.append(distance)
            for axis, step in itertools.product(range(3), (-1, 1)):
                next_to = index.copy()
                next_to[axis] += step
                if not 0 <= next_to[axis] < SHAPE[axis] or not one[tuple(next_to)]:
                    surface.append(distance)
                    break
        largest.append(max(everywhere))
        most.append(np.percentile(surface, 95))
    return max(largest), max(most)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("seed", range(6))
def test_distances_are_those_of_every_pair(seed, grid):
    first, second = regions(seed)
    found = hausdorff(first, second, grid)
    assert found == pytest.approx(by_hand(first, second, grid), rel=1e-5)
    assert found == hausdorff(second, first, grid)
    assert 0 <= found[1] <= found[0]


@pytest.mark.parametrize("seed", range(6))
def test_the_distance_is_that_of_simpleitk(seed):
    grid, images = GRIDS["oblique"], []
    for part in regions(seed):
        image = SimpleITK.GetImageFromArray(part.astype(np.uint8))
        place(image, grid)
        images.append(image)
    filter_ = SimpleITK.HausdorffDistanceImageFilter()
    filter_.Execute(*images)
    assert hausdorff(*regions(seed), grid)[0] == pytest.approx(filter_.GetHausdorffDistance(), rel=1e-5)


def test_of_regions_apart_the_95_percent_distance_is_that_of_monai():
    from monai.metrics import compute_hausdorff_distance

    first, second = np.zeros((12, 13, 14), bool), np.zeros((12, 13, 14), bool)
    first[1:5, 2:6, 1:7] = True
    second[7:11, 4:12, 9:13] = True
    pair = [torch.from_numpy(part.astype(np.float32))[None, None] for part in (first, second)]
    wanted = compute_hausdorff_distance(*pair, include_background=True, percentile=95, spacing=[4.0, 1.1, 0.7])
    assert hausdorff(first, second, Geometry((14, 13, 12), (0.7, 1.1, 4.0)))[1] == pytest.approx(float(wanted), 1e-5)


def test_a_region_and_itself_have_no_distance_and_an_empty_one_has_none():
    first, _ = regions(0)
    assert hausdorff(first, first, GRIDS["oblique"]) == (0, 0)
    with pytest.raises(ValueError, match="empty"):
        hausdorff(first, np.zeros_like(first), GRIDS["cubes"])


def test_a_cavity_is_within_the_distance_of_its_wall():
    # Between the surfaces alone the cavity would be as far from the truth's surface as the wall is thick.
    ball = np.ones((9, 9, 9), bool)
    shell = ball.copy()
    shell[4, 4, 4] = False
    assert hausdorff(shell, ball, Geometry((9, 9, 9))) == (1, 0)


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_dice_is_the_best_of_all_thresholds(levels):
    random = np.random.default_rng(levels)
    scores, positive = random.integers(-levels // 2, levels, 300) / 7, random.random(300) < 0.3
    best, threshold = best_dice(scores, positive)
    all_of_them = {
        cut: 2 * (positive & (scores >= cut)).sum() / ((scores >= cut).sum() + positive.sum())
        for cut in np.unique(scores[scores > 0])
    }
    assert best == pytest.approx(max(all_of_them.values()))
    assert all_of_them[threshold] == pytest.approx(best)
    assert all(value < best for cut, value in all_of_them.items() if cut > threshold)


@pytest.fixture
def mask() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[0:2, 1:3, 5:] = 1  # at the border
    return mask


def test_the_mask_itself_has_dice_1_and_no_distance(mask):
    found = localisation(3.0 * mask, mask, geometry=GRIDS["oblique"])
    assert (found.dice, found.dice_threshold, found.hausdorff, found.hausdorff_95) == (1, 3, 0, 0)


def test_a_flat_map_has_the_whole_domain_at_its_threshold(mask):
    found = localisation(np.full(SHAPE, 0.5), mask, geometry=GRIDS["oblique"])
    levels = chance_levels(mask, geometry=GRIDS["oblique"])
    share = mask.mean()
    assert levels["dice"] == pytest.approx(2 * share / (1 + share))
    for name, level in levels.items():
        assert getattr(found, name) == pytest.approx(level), name
    wanted = by_hand(np.ones(SHAPE, bool), mask > 0, GRIDS["oblique"])
    assert (levels["hausdorff"], levels["hausdorff_95"]) == pytest.approx(wanted)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_map_that_speaks_for_nothing_has_no_threshold(mask, value):
    found = localisation(np.full(SHAPE, value), mask, geometry=GRIDS["cubes"])
    assert (found.dice, found.dice_threshold, found.hausdorff, found.hausdorff_95) == (0, None, None, None)


def test_a_map_without_knowledge_keeps_to_the_level_of_chance(mask):
    random = np.random.default_rng(0)
    found = [localisation(random.random(SHAPE), mask).dice for _ in range(20)]
    level = chance_levels(mask)["dice"]
    assert level < np.mean(found) < 3 * level  # a small mask is hit by luck: the level is a bound from below


def test_what_lies_outside_the_domain_is_not_chosen(mask):
    values, domain = mask * 1.0, np.ones(SHAPE, bool)
    values[4, 5, 0], domain[4, 5, 0] = 1.0, False
    assert localisation(values, mask, domain, GRIDS["cubes"]).hausdorff == 0
    assert localisation(values, mask, None, GRIDS["cubes"]).hausdorff > 5


def test_shapes_that_differ_are_refused(mask):
    with pytest.raises(XAIError, match="shape"):
        localisation(mask * 1.0, mask, np.ones((2, 2, 2)))
    with pytest.raises(XAIError, match="empty"):
        chance_levels(np.zeros(SHAPE))

"""The measures of localisation against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest

from XAIExplainLib.errors import XAIError
from XAIExplainLib.evaluation.localisation import average_precision, localisation


@pytest.fixture
def mask() -> np.ndarray:
    mask = np.zeros((4, 5, 6), np.uint8)
    mask[1:3, 1:3, 2:4] = 1
    return mask


def test_the_mask_itself_is_the_best_map(mask):
    found = localisation(mask.astype(np.float32), mask)
    assert (found.relevance_mass, found.relevance_rank, found.pointing_game, found.average_precision) == (1, 1, 1, 1)
    assert found.chance == mask.mean()


def test_its_opposite_is_the_worst(mask):
    found = localisation(1.0 - mask, mask)
    assert (found.relevance_mass, found.relevance_rank, found.pointing_game) == (0, 0, 0)
    # All true voxels come last, in one step: the precision there is the share of the mask.
    assert found.average_precision == pytest.approx(mask.mean())


def test_a_flat_map_reaches_chance(mask):
    found = localisation(np.ones(mask.shape), mask)
    for value in (found.relevance_mass, found.relevance_rank, found.pointing_game, found.average_precision):
        assert value == pytest.approx(found.chance)


def test_what_speaks_against_counts_as_nothing(mask):
    values = np.where(mask, 1.0, -5.0)
    assert localisation(values, mask).relevance_mass == 1
    assert localisation(-values, mask).relevance_mass == 0
    assert localisation(np.zeros(mask.shape), mask).pointing_game == 0


def test_domain_limits_where_one_looks(mask):
    values = np.ones(mask.shape)
    domain = np.zeros(mask.shape)
    domain[1:3] = 1
    assert localisation(values, mask, domain).chance == pytest.approx(8 / 60)


def test_average_precision_against_the_sum_over_thresholds():
    random = np.random.default_rng(0)
    scores, positive = random.integers(0, 7, 200), random.random(200) < 0.2
    area, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        chosen = scores >= threshold
        now = (positive & chosen).sum() / positive.sum()
        area += (now - recall) * (positive & chosen).sum() / chosen.sum()
        recall = now
    assert average_precision(scores, positive) == pytest.approx(area)


def test_a_mask_that_says_nothing_is_refused(mask):
    with pytest.raises(XAIError, match="empty"):
        localisation(np.ones(mask.shape), np.zeros(mask.shape))
    with pytest.raises(XAIError, match="shape"):
        localisation(np.ones((2, 2, 2)), mask)

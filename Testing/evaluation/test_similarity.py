"""How alike maps are, against counting; and what the two tests that stand on it say of networks that are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from Testing import bright
from XAIExplainLib.errors import XAIError
from XAIExplainLib.evaluation.similarity import (
    against_random,
    class_contrast,
    randomised,
    rank_correlation,
    similarity,
    ssim,
)
from XAIExplainLib.explaining import explain
from XAIExplainLib.loading import load_model
from XAIExplainLib.model import Model
from XAIExplainLib.volume import Volume

SHAPE = (6, 7, 8)


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    one = random.normal(size=SHAPE).round(1)  # with ties
    return one, 0.6 * one + random.normal(size=SHAPE)


def naive_ssim(one, other, limit, window):
    """Voxel by voxel, with windows that are written out."""
    reach = 3 if window == "uniform" else 5
    places = np.arange(-reach, reach + 1)
    line = np.ones(len(places)) if window == "uniform" else np.exp(-(places**2) / (2 * 1.5**2))
    weights = line[:, None, None] * line[None, :, None] * line
    weights /= weights.sum()
    one, other = (np.pad(values, reach, mode="symmetric") for values in (one, other))
    found = np.zeros(SHAPE)
    for place in itertools.product(*map(range, SHAPE)):
        box = tuple(slice(n, n + 2 * reach + 1) for n in place)
        x, y = one[box], other[box]
        mx, my = (weights * x).sum(), (weights * y).sum()
        vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
        vxy = (weights * (x - mx) * (y - my)).sum()
        c1, c2 = (0.01 * limit) ** 2, (0.03 * limit) ** 2
        found[place] = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return found


@pytest.mark.parametrize("window", ["gaussian", "uniform"])
def test_structural_similarity_is_that_of_windows_written_out(pair, window):
    wanted = naive_ssim(*pair, 2.0, window)
    assert ssim(*pair, 2.0, window=window) == pytest.approx(wanted.mean(), abs=1e-9)
    domain = np.zeros(SHAPE, bool)
    domain[1:4, 2:, :3] = True
    assert ssim(*pair, 2.0, domain, window) == pytest.approx(wanted[domain].mean(), abs=1e-9)


def test_rank_correlation_is_that_of_scipy(pair):
    assert rank_correlation(*pair) == pytest.approx(spearmanr(pair[0].ravel(), pair[1].ravel()).statistic)
    assert np.isnan(rank_correlation(np.zeros(SHAPE), pair[1]))


def test_a_map_is_like_itself_at_any_scale_and_unlike_its_opposite(pair):
    same = similarity(pair[0], 7 * pair[0])
    assert (same.rank, same.rank_absolute, same.ssim) == pytest.approx((1, 1, 1))
    opposite = similarity(pair[0], -pair[0])
    assert (opposite.rank, opposite.rank_absolute) == pytest.approx((-1, 1)) and opposite.ssim < 0.2


def test_maps_without_relation_have_little_in_common():
    random = np.random.default_rng(1)
    found = similarity(random.normal(size=(20, 20, 20)), random.normal(size=(20, 20, 20)))
    assert max(abs(value) for value in found.to_json().values()) < 0.05


def test_what_is_zero_around_both_does_not_make_them_alike():
    random = np.random.default_rng(2)
    maps, domain = np.zeros((2, 16, 16, 16)), np.zeros((16, 16, 16), bool)
    domain[6:10, 6:10, 6:10] = True
    maps[:, domain] = random.normal(size=(2, 64))
    assert similarity(*maps).ssim > 0.8 > 0.3 > similarity(*maps, domain).ssim


def test_a_zero_map_is_like_nothing(pair):
    found = similarity(np.zeros(SHAPE), pair[1])
    assert found.to_json() == {"rank": None, "rank_absolute": None, "ssim": None}


def test_maps_of_two_grids_are_refused(pair):
    with pytest.raises(XAIError, match="shapes"):
        similarity(pair[0], pair[1][1:])
    with pytest.raises(XAIError, match="no voxel"):
        similarity(*pair, np.zeros(SHAPE))


class Linear(torch.nn.Module):
    """Three classes: an image of weights, its opposite, and another one; one parameter of the module's own."""

    def __init__(self):
        super().__init__()
        weights = torch.randn(2, 4 * 5 * 6, generator=torch.Generator().manual_seed(0))
        self.head = torch.nn.Linear(4 * 5 * 6, 3)
        self.gain = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
        self.norm = torch.nn.BatchNorm3d(1)
        with torch.no_grad():
            self.head.weight.copy_(torch.stack([weights[0], -weights[0], weights[1]]))
            self.norm.running_mean.fill_(3.0)

    def forward(self, x):
        return self.head(self.norm(x).flatten(1)) * self.gain


@pytest.fixture
def linear() -> tuple[Model, Volume]:
    return Model(Linear(), classes=["one", "against", "other"]), Volume(np.ones((4, 5, 6), np.float32))


def test_classes_that_are_opposites_have_opposite_maps(linear):
    found = class_contrast(*linear, "gradient", ["one", "against", "other"])
    assert set(found) == {("one", "against"), ("one", "other"), ("against", "other")}
    opposites = found["one", "against"]
    assert (opposites.rank, opposites.rank_absolute) == pytest.approx((-1, 1))
    assert abs(found["one", "other"].rank) < 0.25
    # Signs are what tells the two apart: a map of sizes has no contrast.
    sizes = class_contrast(*linear, "gradient", ["one", "against"], kind="absolute")
    assert sizes["one", "against"].ssim == pytest.approx(1)


def test_a_contrast_needs_two_classes(linear):
    for targets, said in ((["one"], "two targets"), (["one", 0], "twice")):
        with pytest.raises(XAIError, match=said):
            class_contrast(*linear, "gradient", targets)


def test_the_gradient_of_a_linear_network_is_what_was_learnt(linear):
    found = against_random(*linear, "gradient", "one", seed=3)
    twin = randomised(linear[0], 3)
    maps = [explain(model, linear[1], "gradient", "one").array for model in (linear[0], twin)]
    assert found == similarity(*maps) and abs(found.rank) < 0.25
    assert against_random(*linear, "gradient", None, seed=3).rank == pytest.approx(
        against_random(*linear, "gradient", linear[0].predict(linear[1]).predicted, seed=3).rank
    )


def test_a_map_that_needs_no_training_is_found_out():
    # Every weight is the same after permuting as before: the map is of the image and the architecture alone.
    class Constant(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.full((2,), 0.5))

        def forward(self, x):
            return (x**2).flatten(1).sum(1, keepdim=True) * self.weight

    random = np.random.default_rng(0)
    volume = Volume(random.normal(size=(4, 5, 6)).astype(np.float32))
    assert against_random(Model(Constant()), volume, "gradient", 0).rank == pytest.approx(1)


def test_redrawing_changes_every_parameter_and_nothing_else(linear):
    model = linear[0]
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    state = torch.random.get_rng_state()
    twin, again, other = randomised(model, 1), randomised(model, 1), randomised(model, 2)
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, before[name]), name
    drawn = twin.network.state_dict()
    assert all(torch.equal(drawn[name], value) for name, value in again.network.state_dict().items())
    assert not torch.equal(drawn["head.weight"], other.network.state_dict()["head.weight"])
    assert not torch.equal(drawn["head.weight"], before["head.weight"])
    assert float(drawn["norm.running_mean"]) == 0
    assert drawn["gain"].sort().values.tolist() == [1, 2, 3]
    assert twin.graphs == {} and twin.fingerprint != model.fingerprint


def test_a_parametrised_layer_is_redrawn_too():
    layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(30, 2))
    twin = randomised(Model(torch.nn.Sequential(torch.nn.Flatten(), layer)), 0)
    assert not torch.equal(twin.network[1].weight, layer.weight)


def test_a_program_is_refused(tmp_path):
    bright.make(tmp_path)
    for name in ("bright.pt", "bright.pt2"):
        with pytest.raises(XAIError, match="drawn anew"):
            randomised(load_model(tmp_path / name, consent=True), 0)
    with pytest.raises(XAIError, match="drawn anew"):
        randomised(Model(lambda x: x.flatten(1)[:, :2]), 0)

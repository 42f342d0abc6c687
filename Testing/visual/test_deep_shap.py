"""Deep SHAP: equal to captum's where captum is right, and complete where it is not."""

import numpy as np
import pytest
import torch
from captum.attr import DeepLift, DeepLiftShap
from torch import nn

from Testing.compute.graphs import network_of
from Testing.networks_zoo import BY_NAME, Plain, image, settle
from Testing.visual.asking import asked, assert_close, rows
from XAIExplainLib.compute.baselines import baseline
from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainLib.model import Model
from XAIExplainLib.volume import Volume, save_volume


class Sequence(nn.Module):
    """What captum is right about: modules used once, rectifiers, average pools."""

    def __init__(self, dims, channels):
        super().__init__()
        plain = Plain(dims, channels)
        pool = nn.AvgPool3d if dims == 3 else nn.AvgPool2d
        layers = [pool(2) if type(layer).__name__.startswith("MaxPool") else layer for layer in plain.features]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1) if dims == 3 else nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(plain.head.in_features, 3)

    def forward(self, x):
        return self.head(self.layers(x).flatten(1))


SEQUENCES = {
    "3D": (lambda: Sequence(3, 1), (1, 12, 10, 8), 1),
    "3D odd, two channels": (lambda: Sequence(3, 2), (2, 13, 11, 9), 1),
    "2D, three slices": (lambda: Sequence(2, 1), (1, 20, 17), 3),
}


@pytest.fixture(scope="module", params=SEQUENCES)
def sequence(request):
    make, shape, samples = SEQUENCES[request.param]
    torch.manual_seed(0)
    return settle(make()), torch.cat([image(*shape, seed=seed) for seed in range(samples)])


def test_it_is_captums(sequence):
    network, x = sequence
    for kind, start in (("0", 0.0), ("mean", "mean"), ("-0.5", -0.5)):
        wanted = DeepLift(network).attribute(x, baseline(x, start).contiguous(), target=1).detach()
        result = asked(network, x, "deep_shap", background=kind)
        assert_close(rows(result, x), wanted, 1e-5)
        assert result.diagnostics["completeness_error"] < 1e-5


def test_several_backgrounds_are_captums_mean(sequence):
    network, x = sequence
    if len(x) > 1:  # captum compares every sample with every background
        x = x[:1]
    starts = [baseline(x, kind) for kind in (0.0, "mean", "blur")]
    wanted = DeepLiftShap(network).attribute(x, torch.cat(starts), target=1).detach()
    result = asked(network, x, "deep_shap", background="0,mean,blur")
    assert_close(rows(result, x), wanted, 1e-5)
    scores = [float(network(start)[0, 1]) for start in starts]
    assert result.diagnostics["baseline_score"] == pytest.approx(np.mean(scores), rel=1e-5)
    assert result.diagnostics["baseline_scores"] == pytest.approx(scores, rel=1e-5)


@pytest.mark.parametrize("name", ["plain odd, three channels", "functional", "attending", "upward", "plain 2D"])
def test_the_map_adds_up(name):
    """Through max pools, residual additions, attention, and for a voxel of a segmenter."""
    network, x = network_of(name), BY_NAME[name].image(2 if name.endswith("2D") else 1)
    found = asked(network, x, "deep_shap", "voxel:5,6,7:1" if name == "upward" else 1, background="0,blur")
    diagnostics = found.diagnostics
    assert diagnostics["completeness_error"] < 1e-5
    assert not diagnostics["warnings"]
    difference = diagnostics["score"] - diagnostics["baseline_score"]
    assert found.array.sum(dtype=np.float64) == pytest.approx(difference * len(x), rel=1e-3)
    assert diagnostics["sum_of_map"] == pytest.approx(difference * len(x), rel=1e-4)


def test_a_group_is_explained_by_its_log_odds():
    """The score bends, and the map adds up all the same."""
    network, x = network_of("functional"), BY_NAME["functional"].image()
    model = {"classes": ["a", "b", "c"], "groups": {"ill": ["b", "c"]}, "task": "classification"}
    found = asked(network, x, "deep_shap", "ill", model=model, background="0")
    assert found.diagnostics["score_units"] == "log-odds"
    logits = torch.cat([network(x), network(torch.zeros_like(x))])
    scores = logits[:, 1:].logsumexp(1) - logits[:, 0]
    assert found.array.sum(dtype=np.float64) == pytest.approx(float(scores[0] - scores[1]), rel=1e-4)
    assert found.diagnostics["completeness_error"] < 1e-5


def test_another_case_is_a_background(tmp_path):
    network, x = network_of("functional"), BY_NAME["functional"].image()
    other = image(*x.shape[1:], seed=5)
    path = tmp_path / "other.nrrd"
    save_volume(Volume(other[0].numpy()), None, path)
    found = asked(network, x, "deep_shap", background=[str(path), "0"])
    scores = found.diagnostics["baseline_scores"]
    assert scores[0] == pytest.approx(float(network(other)[0, 1]), rel=1e-5)
    assert found.diagnostics["completeness_error"] < 1e-5


def test_a_voxel_like_the_background_gets_nothing():
    network, x = network_of("functional"), BY_NAME["functional"].image().clone()
    x[..., :5] = 0.25
    values = rows(asked(network, x, "deep_shap", background="0.25"), x)
    assert not values[..., :5].any()
    assert values[..., 5:].any()


def test_the_batch_changes_nothing():
    """Slices one at a time or together."""
    network, x = network_of("plain 2D"), BY_NAME["plain 2D"].image(4)
    small = asked(network, x, "deep_shap", background="0,mean", memory="900KiB")
    large = asked(network, x, "deep_shap", background="0,mean", memory="1GiB")
    assert_close(torch.from_numpy(small.array), torch.from_numpy(large.array), 1e-5)


def test_reveal_cancel_is_another_map_with_the_same_sum():
    network, x = network_of("plain"), BY_NAME["plain"].image()
    plain, revealed = (
        asked(network, x, "deep_shap", background="0", rule=rule) for rule in ("rescale", "reveal_cancel")
    )
    assert revealed.diagnostics["sum_of_map"] == pytest.approx(plain.diagnostics["sum_of_map"], rel=1e-3)
    assert np.abs(revealed.array - plain.array).max() > 0.01 * np.abs(plain.array).max()


def test_what_cannot_be_done_is_said():
    network, x = network_of("plain"), BY_NAME["plain"].image()
    for given, words in (("", "no background"), ("nothing-of-the-kind", "nothing-of-the-kind"), ("nan", "nan")):
        with pytest.raises(XAIError, match=words):
            asked(network, x, "deep_shap", background=given)
    with pytest.raises(XAIError, match="case itself"):
        asked(network, torch.zeros_like(x), "deep_shap", background="0")
    with pytest.raises(XAIError, match="does not show its operations"):
        asked(lambda x: network(x), x, "deep_shap")
    with pytest.raises(XAIError, match="needs about"):
        asked(network, x, "deep_shap", memory="200KiB")


@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
def test_the_case_is_passed_once(monkeypatch, rule):
    network, x, passes = network_of("plain"), BY_NAME["plain"].image(), []
    run, call = Graph.run, Model.__call__
    monkeypatch.setattr(Graph, "run", lambda self, *a, **k: passes.append("graph") or run(self, *a, **k))
    monkeypatch.setattr(Model, "__call__", lambda self, *a, **k: passes.append("module") or call(self, *a, **k))
    first = asked(network, x, "deep_shap", background="0,mean,blur", rule=rule)
    assert passes == ["graph"] * 4
    assert (asked(network, x, "deep_shap", background="0,mean,blur", rule=rule).array == first.array).all()


def test_it_can_be_cancelled():
    network, x = network_of("plain"), BY_NAME["plain"].image()
    with pytest.raises(CancelledError):
        asked(network, x, "deep_shap", cancel=lambda: True)

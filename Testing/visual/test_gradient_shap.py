"""GradientSHAP: exact where the theory is, captum's and integrated gradients' but for the error that it tells."""

import numpy as np
import pytest
import torch
from captum.attr import GradientShap, IntegratedGradients
from torch import nn

from Testing.compute.graphs import network_of
from Testing.networks_zoo import BY_NAME, image
from Testing.visual.asking import asked, assert_close, rows
from XAIExplainLib.compute.baselines import baseline
from XAIExplainLib.errors import XAIError


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(60, 2))


def test_exact_on_a_linear_network():
    network, x = linear(), image(1, 3, 4, 5)
    result = asked(network, x, "gradient_shap", background="0.25,-1,mean", samples=2)
    mean = (0.25 - 1 + x.mean()) / 3
    assert_close(rows(result, x), network[1].weight.detach()[1].reshape(1, 1, 3, 4, 5) * (x - mean), 1e-5)
    assert result.diagnostics["completeness_error"] < 1e-5
    assert result.diagnostics["standard_error"] < 1e-6
    assert not result.diagnostics["warnings"]


def test_with_noise_it_is_complete_for_the_backgrounds_that_were_drawn():
    """The map adds up to the difference to the noisy backgrounds; their mean is the background's but for chance."""
    network, x = linear(), image(1, 3, 4, 5)
    result = asked(network, x, "gradient_shap", background="0", samples=400, noise=0.5)
    assert result.diagnostics["completeness_error"] < 1e-5
    weight = network[1].weight.detach()[1].reshape(1, 1, 3, 4, 5)
    chance = weight.abs() * 0.5 / 400**0.5
    assert float(((rows(result, x) - weight * x) / chance).abs().max()) < 5
    length = float((weight**2).sum().sqrt()) * 0.5 / 400**0.5 / float((weight * x).norm())
    assert result.diagnostics["standard_error"] == pytest.approx(length, rel=0.2)


@pytest.mark.parametrize("name", ["attending", "plain 2D"])
def test_for_one_background_it_is_integrated_gradients(name):
    network, x = network_of(name), BY_NAME[name].image(2 if name.endswith("2D") else 1)
    start = baseline(x, "blur")  # attention bends too sharply near a flat image for a few points to know their error
    wanted = IntegratedGradients(network).attribute(x, start, target=1, n_steps=60)
    errors = []
    for samples in (8, 128):
        result = asked(network, x, "gradient_shap", background="blur", samples=samples)
        error = float((rows(result, x) - wanted).norm() / wanted.norm())
        errors.append(error)
    told = result.diagnostics["standard_error"]
    assert 0.2 * told < errors[1] < 3 * told + 1e-3
    assert errors[1] < errors[0] / 6  # by chance alone it would be 4: the points are spread over the way


def test_it_is_captums_in_expectation():
    """On a network that bends, over two backgrounds: within four times both standard errors."""
    network, x = network_of("attending"), BY_NAME["attending"].image()
    starts = torch.cat([torch.zeros_like(x), baseline(x, "blur")])
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - captum draws from both
    peer = GradientShap(network)
    drawn = torch.stack([peer.attribute(x, starts, n_samples=25, stdevs=0.0, target=1).detach()[0] for _ in range(16)])
    result = asked(network, x, "gradient_shap", background="0,blur", samples=64)
    error = rows(result, x)[0] - drawn.mean(0)
    chance = drawn.std(0) / 16**0.5
    assert float(error.norm()) < 2 * float(chance.norm())
    assert float(error.norm() / rows(result, x).norm()) < 0.1


@pytest.mark.parametrize("name", ["functional", "upward", "plain 2D"])
def test_the_sum_and_its_error_are_told(name):
    network, x = network_of(name), BY_NAME[name].image(2 if name.endswith("2D") else 1)
    target = "voxel:5,6,7:1" if name == "upward" else 1
    found = asked(network, x, "gradient_shap", target, background="0,mean", samples=30)
    diagnostics = found.diagnostics
    difference = len(x) * (diagnostics["score"] - diagnostics["baseline_score"])
    assert found.array.sum(dtype=np.float64) == pytest.approx(diagnostics["sum_of_map"], rel=1e-3)
    assert abs(diagnostics["sum_of_map"] - difference) < 5 * diagnostics["standard_error_of_sum"] + 1e-4
    assert abs(diagnostics["sum_of_map"] - difference) < 0.05 * abs(difference)


def test_the_same_seed_gives_the_same_map():
    network, x = network_of("functional"), BY_NAME["functional"].image()
    one, again, other = (
        asked(network, x, "gradient_shap", samples=4, noise=0.1, seed=seed).array for seed in (3, 3, 4)
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_a_network_without_graph_is_asked_by_autograd():
    network, x = network_of("functional"), BY_NAME["functional"].image()
    walked = asked(network, x, "gradient_shap", samples=4)
    plain = asked(lambda x: network(x), x, "gradient_shap", samples=4)
    assert "autograd" in plain.diagnostics["engine"]
    assert_close(torch.from_numpy(plain.array), torch.from_numpy(walked.array), 1e-4)


def test_few_points_are_warned_of():
    found = asked(network_of("plain"), BY_NAME["plain"].image(), "gradient_shap", background="0", samples=2)
    assert found.diagnostics["points"] == 2
    assert "more samples" in found.diagnostics["warnings"][0]
    with pytest.raises(XAIError, match="samples"):
        asked(network_of("plain"), BY_NAME["plain"].image(), "gradient_shap", samples=1)

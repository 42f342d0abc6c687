"""Integrated gradients: equal to captum's, exact where the theory is, and honest where they are not."""

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from scipy import ndimage
from torch import nn

from Testing.compute.graphs import network_of
from Testing.networks_zoo import BY_NAME, image
from Testing.visual.asking import asked, assert_close, rows
from XAIExplainLib.volume import Volume, save_volume


def blurred(x):
    sigmas = [size / 8 for size in x.shape[2:]]
    return torch.stack([torch.from_numpy(np.stack([
        ndimage.gaussian_filter(channel.double().numpy(), sigmas, mode="nearest", radius=[round(3 * s) for s in sigmas])
        for channel in sample
    ])) for sample in x]).float()  # fmt: skip


BASELINES = {
    0.0: torch.zeros_like,
    -1.5: lambda x: torch.full_like(x, -1.5),
    "mean": lambda x: x.mean(tuple(range(2, x.dim())), keepdim=True).expand_as(x).contiguous(),
    "blur": blurred,
}


@pytest.mark.parametrize("start", BASELINES)
@pytest.mark.parametrize("name", ["plain odd, three channels", "attending", "plain 2D"])
def test_it_is_captums(name, start):
    network, x = network_of(name), BY_NAME[name].image(2 if name.endswith("2D") else 1)
    # In double precision: where two voxels of a pool tie, the peer's own float32 is 1 % off.
    peer, baseline = IntegratedGradients(network_of(name, torch.float64)), BASELINES[start](x).double()
    wanted = peer.attribute(x.double(), baselines=baseline, target=1, n_steps=5, method="gausslegendre")
    result = asked(network, x, "integrated_gradients", steps=5, baseline=start)
    assert_close(rows(result, x), wanted.float(), 2e-5)


@pytest.mark.parametrize("name", ["plain", "plain 2D"])
def test_another_case_is_a_baseline(name, tmp_path):
    network, x = network_of(name), BY_NAME[name].image(2 if name.endswith("2D") else 1)
    other = x.flip(-1) + 0.5
    path = tmp_path / "other.nrrd"
    save_volume(Volume(other.transpose(0, 1).numpy() if x.dim() == 4 else other[0].numpy()), None, path)
    wanted = IntegratedGradients(network).attribute(x, baselines=other, target=1, n_steps=5, method="gausslegendre")
    result = asked(network, x, "integrated_gradients", steps=5, baseline=str(path))
    assert_close(rows(result, x), wanted.float(), 2e-5)
    assert result.diagnostics["baseline"] == str(path)
    assert asked(network, x, "integrated_gradients", steps=1).diagnostics["baseline"] == 0.0


@pytest.mark.parametrize("steps", [1, 7])
def test_exact_on_a_linear_network(steps):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(60, 2))
    x = image(1, 3, 4, 5)
    result = asked(network, x, "integrated_gradients", steps=steps, baseline=0.25)
    weight = network[1].weight.detach()[1].reshape(1, 1, 3, 4, 5)
    assert_close(rows(result, x), weight * (x - 0.25), 1e-5)
    assert result.diagnostics["completeness_error"] < 1e-5
    assert not result.diagnostics["warnings"]


class Power(nn.Module):
    """The sum of x ** degree, which Gauss-Legendre integrates exactly with enough points."""

    def __init__(self, degree):
        super().__init__()
        self.degree = degree

    def forward(self, x):
        return (x**self.degree).sum((2, 3, 4)).repeat(1, 2)


def test_exact_on_a_polynomial_of_twice_as_many_points():
    x = image(1, 3, 4, 5)
    result = asked(Power(6), x, "integrated_gradients", steps=3)
    assert_close(rows(result, x), x**6, 1e-5)
    assert result.diagnostics["completeness_error"] < 1e-5


def test_too_few_steps_are_said():
    result = asked(Power(6), image(1, 3, 4, 5), "integrated_gradients", steps=1)
    # One point integrates 6 t ** 5 over [0, 1] as 6 / 32.
    assert result.diagnostics["completeness_error"] == pytest.approx(1 - 6 / 32, abs=1e-4)
    assert "error of 81" in result.diagnostics["warnings"][0]


@pytest.mark.parametrize("name", ["plain", "attending", "spectral"])
def test_the_map_adds_up(name):
    network, x = network_of(name), BY_NAME[name].image()
    result = asked(network, x, "integrated_gradients", steps=40)
    found = result.diagnostics
    assert found["baseline_score"] == pytest.approx(float(network(torch.zeros_like(x))[0, 1]), rel=1e-5, abs=1e-6)
    difference = found["score"] - found["baseline_score"]
    assert result.array.sum(dtype=np.float64) == pytest.approx(found["sum_of_map"], rel=1e-4, abs=1e-6)
    error = abs(found["sum_of_map"] - difference) / abs(difference)
    assert found["completeness_error"] == pytest.approx(error, rel=1e-2, abs=1e-5)
    assert error < 1e-3 or name == "plain"  # ReLUs and pools have kinks on the way from zero


def test_scores_of_slices_are_means():
    """So that score and baseline score of a 2D network can be compared."""
    network, x = network_of("plain 2D"), BY_NAME["plain 2D"].image(3)
    found = asked(network, x, "integrated_gradients", steps=40).diagnostics
    assert found["score"] == pytest.approx(float(network(x)[:, 1].mean()), rel=1e-5)
    assert found["baseline_score"] == pytest.approx(float(network(torch.zeros_like(x))[:, 1].mean()), rel=1e-5)


def test_the_batch_changes_nothing():
    """A small budget computes one step at a time, a large one several at once."""
    network, x = network_of("plain"), BY_NAME["plain"].image()
    small = asked(network, x, "integrated_gradients", steps=6, memory="2MiB")
    large = asked(network, x, "integrated_gradients", steps=6, memory="1GiB")
    assert_close(torch.from_numpy(small.array), torch.from_numpy(large.array), 1e-5)

"""SmoothGrad and VarGrad: exact where the theory is, the mean of single explanations elsewhere, and honest."""

import math

import pytest
import torch
from captum.attr import NoiseTunnel, Saliency
from torch import nn

from Testing.compute.graphs import network_of
from Testing.networks_zoo import BY_NAME, image
from Testing.visual.asking import asked, assert_close, rows
from XAIExplainLib.errors import XAIError


def noisy(x, count, noise, seed=0):
    """The very copies: one draw after the other from the run's generator, in shares of each channel's range."""
    generator = torch.Generator().manual_seed(seed)
    axes = (0, *range(2, x.dim()))
    spread = (x.amax(axes, keepdim=True) - x.amin(axes, keepdim=True)) * noise
    return [x + spread * torch.randn(x.shape, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("of", ["gradient", "gradient_x_input", "integrated_gradients", "guided_backpropagation"])
@pytest.mark.parametrize("name", ["plain odd, three channels", "plain 2D"])
def test_it_is_the_mean_of_single_explanations(name, of):
    network, x = network_of(name), BY_NAME[name].image(2 if name.endswith("2D") else 1)
    settings = {"steps": 3} if of == "integrated_gradients" else {}
    single = torch.stack([
        rows(asked(network, copy, of, **settings), x).double() for copy in noisy(x, 3, 0.2)
    ])  # fmt: skip
    wanted = {"mean": single.mean(0), "squared": single.square().mean(0), "variance": single.var(0, correction=0)}
    for statistic in wanted if of == "gradient" else ("mean",):
        result = asked(network, x, "smooth_grad", samples=3, noise=0.2, of=of, statistic=statistic, **settings)
        assert_close(rows(result, x), wanted[statistic].float(), 2e-5)
        assert result.signed == (statistic == "mean")


def test_exact_on_a_linear_network():
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Flatten(), nn.Linear(60, 2)), image(1, 3, 4, 5)
    weight = network[1].weight.detach()[1].reshape(1, 1, 3, 4, 5)
    result = asked(network, x, "smooth_grad", samples=5)
    assert_close(rows(result, x), weight)
    assert result.diagnostics["monte_carlo_error"] < 1e-6
    assert not asked(network, x, "smooth_grad", samples=5, statistic="variance").array.max() > 1e-12


class Quadratic(nn.Module):
    """x A x / 2 + b x of 36 voxels: the gradient is A x + b, so that under noise of deviation s its mean is that, and
    the variance of each voxel s ** 2 times the sum of the squares of A's row."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        matrix = torch.randn(36, 36)
        self.register_buffer("matrix", (matrix + matrix.T) / 2)
        self.register_buffer("b", torch.randn(36))

    def forward(self, x):
        x = x.flatten(1)
        return torch.stack([x.sum(1), 0.5 * ((x @ self.matrix) * x).sum(1) + x @ self.b], 1)

    def expected(self, x, deviation):
        mean = (self.matrix @ x.flatten() + self.b).double()
        variance = deviation**2 * self.matrix.double().square().sum(1)
        return {"mean": mean, "variance": variance, "squared": mean**2 + variance}


@pytest.mark.parametrize("statistic", ["mean", "squared", "variance"])
def test_the_expectation_on_a_quadratic_network(statistic):
    """The map lies as far from the closed form as its reported error says; and captum's lies as near."""
    network, x, count = Quadratic(), image(1, 3, 3, 4), 1000
    deviation = 0.15 * float(x.max() - x.min())
    wanted = network.expected(x, deviation)[statistic]
    result = asked(network, x, "smooth_grad", samples=count, noise=0.15, statistic=statistic)
    found = torch.from_numpy(result.array).flatten().double()
    if statistic == "variance":
        found = found * count / (count - 1)
    away = float((found - wanted).norm() / wanted.norm())
    reported = result.diagnostics["monte_carlo_error"]
    assert away < 0.1
    assert reported / 2.5 < away < 2.5 * reported
    kind = {"mean": "smoothgrad", "squared": "smoothgrad_sq", "variance": "vargrad"}[statistic]
    torch.manual_seed(0)
    peer = NoiseTunnel(Saliency(network)).attribute(
        x, nt_type=kind, nt_samples=count, nt_samples_batch_size=100, stdevs=deviation, target=1, abs=False
    )
    assert float((peer.flatten().double() - wanted).norm() / wanted.norm()) < 2.5 * reported


def test_squared_is_mean_squared_plus_variance():
    network, x = network_of("functional"), BY_NAME["functional"].image()
    mean, squared, variance = (
        rows(asked(network, x, "smooth_grad", samples=4, statistic=kind), x).double()
        for kind in ("mean", "squared", "variance")
    )
    assert_close(squared - mean.square(), variance, 1e-5)


def test_the_error_falls_with_the_root_of_the_copies():
    network, x = network_of("functional"), BY_NAME["functional"].image()
    few, many = (
        asked(network, x, "smooth_grad", samples=n).diagnostics["monte_carlo_error"] for n in (16, 256)
    )  # fmt: skip
    assert 2.5 < few / many < 6.5


def test_integrated_gradients_add_up():
    network, x = network_of("attending"), BY_NAME["attending"].image()
    settings = {"of": "integrated_gradients", "samples": 3, "steps": 20, "noise": 0.05, "baseline": "blur"}
    result = asked(network, x, "smooth_grad", **settings)
    assert result.diagnostics["completeness_error"] < 2e-3
    assert result.array.sum() == pytest.approx(result.diagnostics["sum_of_map"], rel=1e-3, abs=1e-6)
    rough = asked(network, x, "smooth_grad", **{**settings, "steps": 1})
    assert any("adds up" in warning for warning in rough.diagnostics["warnings"])


def test_the_same_request_gives_the_same_map_whatever_the_memory():
    network, x = network_of("plain"), BY_NAME["plain"].image()
    one, same = (asked(network, x, "smooth_grad", samples=6) for _ in range(2))
    assert (one.array == same.array).all()
    small = asked(network, x, "smooth_grad", samples=6, memory="2MiB")
    assert_close(torch.from_numpy(small.array), torch.from_numpy(one.array))
    other = asked(network, x, "smooth_grad", samples=6, seed=1)
    assert not (one.array == other.array).all()


def test_the_noise_is_a_share_of_each_channels_range():
    network, x = network_of("plain odd, three channels"), BY_NAME["plain odd, three channels"].image()
    x = x * torch.tensor([1.0, 10.0, 0.0]).reshape(1, 3, 1, 1, 1)
    found = asked(network, x, "smooth_grad", samples=2, noise=0.5).diagnostics["noise_deviation"]
    wanted = [0.5 * float(channel.max() - channel.min()) for channel in x[0]]
    assert found == pytest.approx(wanted)
    with pytest.raises(XAIError, match="one intensity everywhere"):
        asked(network, torch.zeros_like(x), "smooth_grad", samples=2)


def test_no_noise_is_the_explanation_itself():
    network, x = network_of("plain"), BY_NAME["plain"].image()
    assert_close(rows(asked(network, x, "smooth_grad", samples=2, noise=0), x), rows(asked(network, x, "gradient"), x))


def test_guided_backpropagation_refuses_here_too():
    with pytest.raises(XAIError, match="gelu"):
        asked(network_of("vit"), BY_NAME["vit"].image(), "smooth_grad", of="guided_backpropagation")


def test_too_few_copies_are_said():
    """Cosines that turn faster than the noise moves: the mean is next to nothing, the error is all of it."""

    class Wild(nn.Module):
        def forward(self, x):
            return torch.sin(200 * x).sum((2, 3, 4)).repeat(1, 2)

    result = asked(Wild(), image(1, 6, 6, 6), "smooth_grad", samples=4)
    assert result.diagnostics["monte_carlo_error"] == pytest.approx(1, abs=0.3)
    assert "more samples" in result.diagnostics["warnings"][0]
    assert math.isfinite(result.array.sum())

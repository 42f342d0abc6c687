"""Gradient times input: captum's, and a share of the score where the network is homogeneous."""

import pytest
import torch
import torch.nn.functional as F
from captum.attr import InputXGradient
from torch import nn

from Testing.compute.graphs import network_of
from Testing.networks_zoo import BY_NAME, image
from Testing.visual.asking import asked, assert_close, rows


@pytest.mark.parametrize("name", ["plain odd, three channels", "functional", "attending", "plain 2D", "vit"])
def test_it_is_captums(name):
    network, x = network_of(name), BY_NAME[name].image(3 if name.endswith("2D") else 1)
    first = (lambda x: network(x)[0]) if name == "vit" else network
    wanted = InputXGradient(first).attribute(x.clone().requires_grad_(), target=1)
    result = asked(network, x, "gradient_x_input")
    assert_close(rows(result, x), wanted)


def test_a_segmentation():
    network, x = network_of("unet"), BY_NAME["unet"].image()
    inside = network(x).argmax(1) == 1
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((network(leaf)[:, 1] * inside).sum(), leaf)
    assert_close(rows(asked(network, x, "gradient_x_input", 1), x), gradient * x, 2e-5)


class Homogeneous(nn.Module):
    """Rectifiers, pools, a skip and weights without biases: twice the image is twice the score."""

    def __init__(self, flat=False):
        super().__init__()
        conv = nn.Conv2d if flat else nn.Conv3d
        self.flat = flat
        self.one, self.two = conv(2, 6, 3, padding=1, bias=False), conv(6, 6, 3, padding=1, bias=False)
        self.head = nn.Linear(6, 3, bias=False)

    def forward(self, x):
        pool = F.max_pool2d if self.flat else F.max_pool3d
        x = pool(F.relu(self.one(x)), 2)
        x = F.leaky_relu(x + self.two(x), 0.1)
        return self.head(x.flatten(2).mean(2))


@pytest.mark.parametrize("flat", [False, True])
def test_it_adds_up_to_the_score_without_biases(flat):
    torch.manual_seed(0)
    network = Homogeneous(flat).eval()
    x = torch.cat([image(2, *((11, 10) if flat else (9, 10, 11)), seed=n) for n in range(2 if flat else 1)])
    result = asked(network, x, "gradient_x_input")
    score = network(x)[:, 1]
    assert torch.allclose(rows(result, x).flatten(1).sum(1), score, rtol=1e-4)
    assert result.diagnostics["sum_of_map"] == pytest.approx(float(score.sum()), rel=1e-4)
    assert result.diagnostics["rest_share"] < 1e-4


def test_what_biases_hold_is_reported():
    """A linear network: the map adds up to the score less the bias."""
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Flatten(), nn.Linear(60, 2)), image(1, 3, 4, 5)
    found = asked(network, x, "gradient_x_input").diagnostics
    bias, score = float(network[1].bias[1]), float(network(x)[0, 1])
    assert found["sum_of_map"] == pytest.approx(score - bias, rel=1e-4)
    assert found["rest_share"] == pytest.approx(abs(bias / score), rel=1e-3)
    assert "completeness_error" not in found


def test_a_score_that_does_not_depend_on_the_image_warns():
    network = nn.Sequential(nn.Flatten(), nn.Linear(60, 2))
    network[1].weight.data.zero_()
    result = asked(network, image(1, 3, 4, 5), "gradient_x_input")
    assert "zero everywhere" in result.diagnostics["warnings"][0]

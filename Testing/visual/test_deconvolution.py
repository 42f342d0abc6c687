"""Deconvolution: captum's where captum sees every ReLU, the same where it does not, refused elsewhere."""

import pytest
import torch
from captum.attr import Deconvolution
from torch import nn

from Testing.compute.graphs import network_of
from Testing.networks_zoo import BY_NAME, image
from Testing.visual.asking import asked, assert_close, rows
from Testing.visual.test_guided_backpropagation import PEERS, Modules, not_in_place
from XAIExplainLib.errors import XAIError


@pytest.mark.parametrize("name", PEERS)
def test_it_is_captums(name):
    network, x = network_of(name), BY_NAME[name].image(3 if name.endswith("2D") else 1)
    wanted = Deconvolution(not_in_place(network)).attribute(x.clone().requires_grad_(), target=1)
    result = asked(network, x, "deconvolution")
    assert_close(rows(result, x), wanted)
    assert result.diagnostics["rectifiers"] == sum(isinstance(one, nn.ReLU) for one in network.modules())
    assert not result.diagnostics["warnings"]


def test_functional_in_place_and_reused_activations_are_seen():
    network, x = network_of("functional"), BY_NAME["functional"].image()
    wanted = Deconvolution(Modules(network)).attribute(x.clone().requires_grad_(), target=1)
    assert_close(rows(asked(network, x, "deconvolution"), x), wanted)


def test_without_pools_it_does_not_see_the_image():
    """The caution: the way back of convolutions and rectifiers alone is the same for every image."""
    torch.manual_seed(0)
    layers = nn.Conv3d(1, 4, 3), nn.ReLU(), nn.Conv3d(4, 4, 3, stride=2), nn.ReLU(), nn.Conv3d(4, 2, 3)
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten()).eval()
    one, two = (torch.from_numpy(asked(network, image(1, 12, 12, 12, seed=n), "deconvolution").array) for n in (1, 2))
    assert_close(one, two)


@pytest.mark.parametrize(("name", "reason"), [("vit", "gelu"), ("attending", "no rectifier")])
def test_networks_without_rectifiers_are_refused(name, reason):
    with pytest.raises(XAIError, match=f"{reason}"):
        asked(network_of(name), BY_NAME[name].image(), "deconvolution")

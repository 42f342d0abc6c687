"""Grad-CAM++: equal to the formula by hooks and autograd, and to MONAI's where MONAI's is the paper's."""

import pytest
import torch
from monai.visualize import GradCAMpp

from Testing.compute.graphs import network_of
from Testing.networks_zoo import BY_NAME
from Testing.visual.activations import LAYERS, hooked
from Testing.visual.asking import asked, assert_close, native, rows


def formula(maps, gradients):
    """As the paper writes it, in double precision."""
    maps, gradients = maps.double(), gradients.double()
    axes = tuple(range(2, maps.dim()))
    below = 2 * gradients**2 + maps.sum(axes, keepdim=True) * gradients**3
    alpha = torch.where(gradients != 0, gradients**2 / below, torch.zeros_like(below))
    weights = (alpha * torch.relu(gradients)).sum(axes, keepdim=True)
    return (weights * maps).sum(1).float()


@pytest.mark.parametrize(("name", "layer", "kind"), LAYERS)
def test_it_is_the_formula(name, layer, kind):
    network, x = network_of(name), BY_NAME[name].image()
    ((maps, gradients),) = hooked(network, x, layer, **kind)
    wanted = formula(maps, gradients)[0]
    assert_close(native(asked(network, x, "grad_cam_pp", layer=layer, rectify=False)), wanted, 1e-4)


def test_it_is_monais_where_the_gradient_is_the_same_in_all_cells():
    """MONAI sums the map times the third power of each cell's own gradient; on an average both are one.

    It leaves the score's exponential in, which is one factor for the whole map.
    """
    network, x = network_of("plain"), BY_NAME["plain"].image()
    peer = GradCAMpp(network, target_layers="features.11", postprocessing=lambda maps: maps)
    wanted = peer(x.clone().requires_grad_(), class_idx=1)
    wanted = torch.as_tensor(wanted) / network(x)[0, 1].exp()
    assert_close(rows(asked(network, x, "grad_cam_pp", layer="features.11"), x), wanted, 5e-3)


def test_it_is_known_in_closed_form_behind_an_average():
    """Where averages are pooled: the sum of w / (2 + w m) over channels of positive weight w, mean activation m."""
    network, x = network_of("plain"), BY_NAME["plain"].image()
    maps, weights = network.features(x)[0], network.head.weight[1].clamp_min(0)
    means = maps.mean((1, 2, 3))
    wanted = torch.einsum("c,ckji->kji", weights / (2 + weights * means), maps)
    assert_close(native(asked(network, x, "grad_cam_pp")), wanted)


def test_slices_of_a_2d_network_are_each_their_own():
    network, x = network_of("plain 2D"), BY_NAME["plain 2D"].image(3)
    ((maps, gradients),) = hooked(network, x, "features.6")
    assert_close(native(asked(network, x, "grad_cam_pp", layer="features.6")), torch.relu(formula(maps, gradients)))


def test_a_layer_with_negative_values_may_turn_weights_and_says_so():
    network, x = network_of("plain"), 30 * BY_NAME["plain"].image()
    result = asked(network, x, "grad_cam_pp", layer="features.4")
    assert 0 < result.diagnostics["share_of_weights_turned"] <= 1
    assert "turns the weight round" in result.diagnostics["warnings"][0]
    assert asked(network, x, "grad_cam_pp").diagnostics["share_of_weights_turned"] == 0

"""HiResCAM: equal to gradient times map, and to CAM where averages are pooled; adds up where the rest is affine."""

import pytest
import torch
from torch import nn

from Testing.compute.graphs import network_of
from Testing.networks_zoo import BY_NAME, image, settle
from Testing.visual.activations import LAYERS, hooked
from Testing.visual.asking import asked, assert_close, native


@pytest.mark.parametrize(("name", "layer", "kind"), LAYERS)
def test_it_is_the_formula(name, layer, kind):
    network, x = network_of(name), BY_NAME[name].image()
    ((maps, gradients),) = hooked(network, x, layer, **kind)
    result = asked(network, x, "hires_cam", layer=layer)
    # Before a layer norm the parts of the channels cancel: the error is measured by what is summed.
    parts = gradients * maps
    assert float((native(result) - parts.sum(1)[0]).abs().max()) <= 1e-5 * float(parts.abs().sum(1).max())
    assert result.diagnostics["completeness_error"] >= 0


@pytest.mark.parametrize("name", ["plain", "plain 2D", "resnet10", "densenet", "spectral"])
def test_it_is_cam_over_the_number_of_cells_where_averages_are_pooled(name):
    network, x = network_of(name), BY_NAME[name].image()
    layer = {"spectral": "conv", "densenet": "class_layers.relu"}.get(name)
    cam = native(asked(network, x, "cam")) if name != "spectral" else None
    result = asked(network, x, "hires_cam", layer=layer)
    if cam is None:  # a tanh follows its last layer
        assert result.diagnostics["completeness_error"] > 0.05
        assert "What follows the layer is not affine" in result.diagnostics["warnings"][0]
    else:
        assert_close(native(result), cam / cam.numel())
        assert result.diagnostics["completeness_error"] < 1e-4
        assert not result.diagnostics["warnings"]


def test_it_is_complete_before_a_linear_layer_that_sees_every_cell_for_itself():
    """Where CAM is not defined and Grad-CAM is wrong: no average, but affine."""
    torch.manual_seed(0)
    network = settle(nn.Sequential(nn.Conv3d(1, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 27, 3)))
    x = image(1, 8, 7, 8)
    weights = network[3].weight[1].reshape(4, 3, 3, 3)
    result = asked(network, x, "hires_cam")
    assert_close(native(result), (weights * network[1](network[0](x))[0]).sum(0))
    total = float(native(result).sum()) + float(network[3].bias[1])
    assert total == pytest.approx(float(network(x)[0, 1]), rel=1e-5)
    assert result.diagnostics["completeness_error"] < 1e-4


def test_the_sum_counts_the_score_without_the_maps_of_each_slice():
    network, x = network_of("plain 2D"), BY_NAME["plain 2D"].image(3)
    result = asked(network, x, "hires_cam")
    assert result.diagnostics["completeness_error"] < 1e-4
    assert result.diagnostics["baseline_score"] == pytest.approx(float(network.head.bias[1]), rel=1e-4)


def test_a_segmenter_says_how_far_its_parts_are_from_adding_up():
    network, x = network_of("unet"), BY_NAME["unet"].image()
    result = asked(network, x, "hires_cam", None)
    assert result.diagnostics["completeness_error"] > 0
    assert result.diagnostics["layer_grid"] == [4, 4, 4]

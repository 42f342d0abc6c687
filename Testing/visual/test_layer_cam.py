"""LayerCAM: equal to the formula by hooks and autograd, on maps of every kind."""

import pytest
import torch

from Testing.compute.graphs import network_of
from Testing.networks_zoo import BY_NAME
from Testing.visual.activations import LAYERS, hooked
from Testing.visual.asking import asked, assert_close, native, rows
from XAIExplainLib.errors import XAIError


@pytest.mark.parametrize(("name", "layer", "kind"), LAYERS)
def test_it_is_the_formula(name, layer, kind):
    network, x = network_of(name), BY_NAME[name].image()
    ((maps, gradients),) = hooked(network, x, layer, **kind)
    wanted = (torch.relu(gradients) * maps).sum(1)[0]
    assert_close(native(asked(network, x, "layer_cam", layer=layer, rectify=False)), wanted)
    assert_close(native(asked(network, x, "layer_cam", layer=layer)), torch.relu(wanted))


def test_slices_of_a_2d_network_are_each_their_own():
    network, x = network_of("plain 2D"), BY_NAME["plain 2D"].image(3)
    ((maps, gradients),) = hooked(network, x, "features.6")
    result = asked(network, x, "layer_cam", layer="features.6")
    assert_close(native(result), torch.relu(gradients.clamp_min(0) * maps).sum(1))
    assert rows(result, x).shape == (3, 1, 32, 28)


def test_a_swin_layers_channels_are_found_behind_its_cells():
    from Testing.compute.test_maps import Last

    torch.manual_seed(0)
    network, x = Last(6).eval().requires_grad_(False), BY_NAME["spectral"].image()
    ((maps, gradients),) = hooked(network, x, "norm", last=True)
    result = asked(network, x, "layer_cam", layer="norm", rectify=False)
    assert result.diagnostics["layer_grid"] == [4, 4, 5]
    assert_close(native(result), (torch.relu(gradients) * maps).sum(1)[0])


def test_a_layer_that_the_score_does_not_read_is_refused():
    network, x = network_of("vit"), BY_NAME["vit"].image()
    with pytest.raises(XAIError, match="does not depend on its map"):
        asked(network, x, "layer_cam", layer="blocks.1.mlp")

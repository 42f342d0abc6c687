"""Guided Grad-CAM: captum's, the product of its two factors, refused where guided backpropagation is."""

import pytest
import torch
from captum.attr import GuidedGradCam

from Testing.compute.graphs import network_of
from Testing.networks_zoo import BY_NAME
from Testing.visual.asking import asked, assert_close, rows
from Testing.visual.test_guided_backpropagation import not_in_place
from XAIExplainLib.errors import XAIError


@pytest.mark.parametrize(("name", "layer"), [
    ("plain", "features.6"), ("plain 2D", "features.6"), ("plain odd, three channels", "features.5"),
])  # fmt: skip
def test_it_is_captums(name, layer):
    network, x = network_of(name), BY_NAME[name].image()
    twin = not_in_place(network)
    mode = "bilinear" if name.endswith("2D") else "trilinear"
    peer = GuidedGradCam(twin, twin.get_submodule(layer))
    wanted = peer.attribute(x.clone().requires_grad_(), target=1, interpolate_mode=mode)
    assert_close(rows(asked(network, x, "guided_grad_cam", layer=layer), x), wanted, 1e-4)


@pytest.mark.parametrize("name", ["functional", "densenet", "resnet10", "plain 2D"])
def test_it_is_the_product_of_its_factors(name):
    network, x = network_of(name), BY_NAME[name].image(3 if name.endswith("2D") else 1)
    target = 0 if name.endswith("2D") else 1  # one that something speaks for
    guided = rows(asked(network, x, "guided_backpropagation", target), x)
    coarse = rows(asked(network, x, "grad_cam", target), x)
    result = asked(network, x, "guided_grad_cam", target)
    assert_close(rows(result, x), guided * coarse)
    assert 0 < result.diagnostics["removed_share"] < 1
    assert result.diagnostics["layer"]


def test_a_segmenter():
    network, x = network_of("unet"), BY_NAME["unet"].image()
    guided, coarse = (rows(asked(network, x, name, None), x) for name in ("guided_backpropagation", "grad_cam"))
    assert_close(rows(asked(network, x, "guided_grad_cam", None), x), guided * coarse)


def test_activations_that_are_no_rectifiers_are_refused():
    for name in ("odd", "spectral"):
        with pytest.raises(XAIError, match="Guided Grad-CAM is defined for rectifiers"):
            asked(network_of(name), BY_NAME[name].image(), "guided_grad_cam")


def test_nothing_that_speaks_for_the_target_warns():
    from Testing.networks_zoo import Plain, image, settle

    torch.manual_seed(0)
    network = settle(Plain())
    network.head.weight[1] = -network.head.weight[1].abs()
    result = asked(network, image(1, 16, 16, 16), "guided_grad_cam")
    assert not result.array.any()
    assert "Nothing in this layer" in result.diagnostics["warnings"][0]

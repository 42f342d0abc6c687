"""Grad-CAM: equal to captum's and MONAI's where these are right, to CAM where the theory says so, never inverted."""

import pytest
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from monai.visualize import GradCAM
from torch import nn

from Testing.compute.graphs import network_of
from Testing.networks_zoo import BY_NAME, Functional, Plain, image, settle
from Testing.visual.asking import asked, assert_close, native, rows
from XAIExplainLib.errors import XAIError

LAYERS = [
    ("plain", "features.0"), ("plain", "features.6"), ("plain", "features.10"),
    ("plain odd, three channels", "features.7"), ("odd", "ceil"), ("resnet10", "layer3.0"),
]  # fmt: skip


@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize(("name", "layer"), LAYERS)
def test_it_is_captums(name, layer, rectify):
    network, x = network_of(name), BY_NAME[name].image()
    peer = LayerGradCam(network, network.get_submodule(layer))
    wanted = peer.attribute(x.clone().requires_grad_(), target=1, relu_attributions=rectify)
    result = asked(network, x, "grad_cam", layer=layer, rectify=rectify)
    assert_close(native(result), wanted[0, 0], may_vanish=rectify)


@pytest.mark.parametrize(("name", "layer"), [("plain", "features.6"), ("plain odd, three channels", "features.5")])
def test_it_is_monais_before_monai_inverts_it(name, layer):
    network, x = network_of(name), BY_NAME[name].image()
    peer = GradCAM(network, target_layers=layer, postprocessing=lambda maps: maps)
    wanted = peer(x.clone().requires_grad_(), class_idx=1)
    assert_close(rows(asked(network, x, "grad_cam", layer=layer), x), torch.as_tensor(wanted))


def test_it_is_the_class_activation_map_where_averages_are_pooled():
    """CAM (Zhou 2016): the maps weighted by the head; Grad-CAM is that over the number of cells."""
    network, x = network_of("plain"), BY_NAME["plain"].image()
    maps = network.features(x)
    cam = torch.einsum("c,nckji->nkji", network.head.weight[1], maps)[0]
    assert_close(native(asked(network, x, "grad_cam", rectify=False, layer="features")), cam / cam.numel())


def test_slices_of_a_2d_network_are_each_their_own():
    network, x = network_of("plain 2D"), BY_NAME["plain 2D"].image(3)
    peer = LayerGradCam(network, network.features[6])
    wanted = torch.cat([peer.attribute(one[None].requires_grad_(), target=1)[0] for one in x.clone()])
    result = asked(network, x, "grad_cam", layer="features.6", rectify=False)
    assert_close(native(result), wanted)
    assert_close(rows(result, x)[:, 0], F.interpolate(wanted[:, None], x.shape[2:], mode="bilinear")[:, 0])


def test_the_default_is_the_last_map():
    result = asked(network_of("plain"), BY_NAME["plain"].image(), "grad_cam")
    assert result.diagnostics["layer"] == "features"
    assert result.diagnostics["layer_grid"] == [2, 2, 2]
    assert result.diagnostics["layer_chosen"] == "by default"


class Marker(nn.Module):
    """Sees bright places, and says so the more, the brighter."""

    def __init__(self):
        super().__init__()
        self.see = nn.Conv3d(1, 2, 3, stride=2, padding=1)
        self.say = nn.Linear(2, 2)
        with torch.no_grad():
            self.see.weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1, 1).expand_as(self.see.weight))
            self.see.bias.zero_()
            self.say.weight.copy_(torch.tensor([[-1.0, 1.0], [1.0, -1.0]]))
            self.say.bias.zero_()

    def forward(self, x):
        return self.say(F.relu(self.see(x)).mean((2, 3, 4)))


@pytest.mark.parametrize("placement", ["cells", "receptive_field"])
def test_it_is_highest_where_the_evidence_is(placement):
    x = torch.zeros(1, 1, 20, 24, 28)
    x[..., 4:7, 15:18, 20:23] = 1
    x[..., 14:17, 5:8, 4:7] = -1  # what speaks against it
    result = asked(Marker(), x, "grad_cam", 1, layer="see", placement=placement)
    array = torch.from_numpy(result.array)
    k, j, i = (int(n) for n in (array == array.max()).nonzero().float().mean(0).round())
    assert max(abs(k - 5), abs(j - 16), abs(i - 21)) <= 1
    assert float(array[15, 6, 5]) < 0.1 * float(array.max())


def reference(network, x, layer, tokens=None, grid=None):
    """By a hook and autograd; a transformer's tokens put back where their patches were."""
    held = {}

    def hook(module, given, output):
        held["value"] = output.clone()
        return held["value"].clone()

    handle = network.get_submodule(layer).register_forward_hook(hook)
    output = network(x.clone().requires_grad_())
    handle.remove()
    output = output[0] if isinstance(output, tuple) else output
    (gradient,) = torch.autograd.grad(output[:, 1].sum(), held["value"])
    value = held["value"].detach()
    if tokens is not None:
        value, gradient = (
            t[:, tokens:].transpose(1, 2).reshape(1, t.shape[2], *grid) for t in (value, gradient)
        )
    return (gradient.mean((2, 3, 4), keepdim=True) * value).sum(1)[0]


@pytest.mark.parametrize(("name", "layer"), [("vit", "blocks.0"), ("attending", "patches")])
def test_a_transformer(name, layer):
    network, x = network_of(name), BY_NAME[name].image()
    tokens = (1, (2, 2, 2)) if name == "vit" else ()
    wanted = reference(network, x, layer, *tokens)
    assert_close(native(asked(network, x, "grad_cam", layer=layer, rectify=False)), wanted)


def test_a_transformers_default_is_the_last_layer_that_the_class_token_reads():
    network, x = network_of("vit"), BY_NAME["vit"].image()
    result = asked(network, x, "grad_cam", rectify=False)
    assert result.diagnostics["layer_grid"] == [2, 2, 2]
    assert result.diagnostics["share_for_target"] >= 0
    assert result.array.any()


def test_a_segmenters_default_is_the_deepest():
    network, x = network_of("unet"), BY_NAME["unet"].image()
    result = asked(network, x, "grad_cam", None)
    assert result.diagnostics["layer_grid"] == [4, 4, 4]
    labels = network(x).argmax(1)
    index = int(labels.flatten().bincount(minlength=3)[1:].argmax()) + 1

    def score(x):
        return (network(x)[:, index] * (labels == index)).flatten(1).sum(1)

    layer = network.get_submodule(result.diagnostics["layer"])
    wanted = LayerGradCam(score, layer).attribute(x.clone().requires_grad_(), relu_attributions=True)
    assert_close(native(result), wanted[0, 0], 1e-4)


def test_an_in_place_activation_after_the_layer_does_not_corrupt_its_map():
    """The peers' hooks see the layer's output after the ReLU wrote over it."""
    network, x = network_of("functional"), BY_NAME["functional"].image()
    torch.manual_seed(0)
    twin = settle(Functional())
    twin.act = nn.ReLU()  # the same, not in place
    wanted = reference(twin, x, "norm")
    assert_close(native(asked(network, x, "grad_cam", layer="norm", rectify=False)), wanted)


def test_a_layer_used_twice_shows_its_last_use_and_says_so():
    result = asked(network_of("functional"), BY_NAME["functional"].image(), "grad_cam", layer="act")
    assert "used 2 times" in result.diagnostics["warnings"][0]


@pytest.mark.parametrize(("layer", "message", "hint"), [
    ("features.99", "no layer called features.99", "features"),
    ("head", "has no map", "features"),
])  # fmt: skip
def test_a_wrong_layer_is_refused(layer, message, hint):
    with pytest.raises(XAIError, match=message) as caught:
        asked(network_of("plain"), BY_NAME["plain"].image(), "grad_cam", layer=layer)
    assert hint in caught.value.hint


def test_a_layer_without_gradient_is_refused():
    torch.manual_seed(0)
    network = settle(Plain())
    network.head.weight[1].zero_()
    x = image(1, 16, 16, 16)
    with pytest.raises(XAIError, match="does not depend"):
        asked(network, x, "grad_cam", layer="features.6")
    with pytest.raises(XAIError, match="No layer with a map"):
        asked(network, x, "grad_cam")


def test_nothing_that_speaks_for_the_target_warns():
    torch.manual_seed(0)
    network = settle(Plain())
    network.head.weight[1] = -network.head.weight[1].abs()
    result = asked(network, image(1, 16, 16, 16), "grad_cam")
    assert not result.array.any()
    assert "Nothing in this layer" in result.diagnostics["warnings"][0]


def test_a_network_without_a_map_is_refused():
    torch.manual_seed(0)
    with pytest.raises(XAIError, match="no layer with a map") as caught:
        asked(nn.Sequential(nn.Flatten(), nn.Linear(60, 2)), image(1, 3, 4, 5), "grad_cam")
    assert "occlusion" in caught.value.hint


def test_the_memory_is_asked_before_the_run():
    with pytest.raises(XAIError, match="memory budget is 100 KiB"):
        asked(network_of("plain"), BY_NAME["plain"].image(), "grad_cam", memory="100KiB")

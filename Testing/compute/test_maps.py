"""Which layers hold a map of the image, and that a map is never made of what is none."""

import pytest
import torch
from torch import nn

from Testing.compute.graphs import graph_of
from Testing.networks_zoo import BY_NAME, image
from XAIExplainLib.compute.graph import export
from XAIExplainLib.compute.maps import default_layers, find_layer, map_layers
from XAIExplainLib.errors import XAIError


@pytest.mark.parametrize(("name", "layer", "grid", "channels"), [
    ("plain", "features", (2, 2, 2), 16), ("plain odd, three channels", "features", (4, 3, 3), 16),
    ("functional", None, (8, 8, 8), 4), ("resnet10", "layer4", (2, 2, 2), 16), ("densenet", None, (3, 3, 2), None),
    ("odd", "slope", (3, 3, 3), 8), ("unet", None, (4, 4, 4), None), ("upward", "deep", (5, 4, 5), 8),
    ("vit", None, (2, 2, 2), 24), ("attending", None, (2, 2, 2), 16),
])  # fmt: skip
def test_the_first_choice(name, layer, grid, channels):
    found = default_layers(graph_of(name))[0]
    assert layer is None or found.layer.name == layer
    assert found.grid == grid
    assert channels is None or found.channels == channels


def test_every_map_has_the_values_of_its_layer():
    """Shapes of maps against the run itself, tokens in the order of their patches."""
    for name in ("plain", "unet", "vit", "attending"):
        graph, x = graph_of(name), BY_NAME[name].image()
        found = map_layers(graph)
        values = graph.run(x, keep={one.layer.node for one in found})
        assert found
        for one in found:
            assert one.maps(values[one.layer.node]).shape == (1, one.channels, *one.grid)


def test_tokens_go_back_to_their_patches():
    class Means(nn.Module):
        """Tokens that are the means of patches, in a network that has only tokens after its convolution."""

        def __init__(self):
            super().__init__()
            self.patches, self.tokens, self.head = nn.Conv3d(1, 2, 4, 4), nn.LayerNorm(2), nn.Linear(2, 2)

        def forward(self, x):
            return self.head(self.tokens(self.patches(x).flatten(2).transpose(1, 2)).mean(1))

    x = image(1, 8, 12, 16)
    network = Means().eval()
    graph = export(network, x)
    found = find_layer(graph, "tokens")
    assert (found.grid, found.channels, found.tokens) == ((2, 3, 4), 2, 0)
    value = graph.run(x, keep={found.layer.node})[found.layer.node]
    wanted = network.tokens(network.patches(x).movedim(1, -1)).movedim(-1, 1)
    assert torch.allclose(found.maps(value), wanted, atol=1e-6)


class Last(nn.Module):
    """Works on the channels of each cell, as a Swin transformer does, with as many channels as cells along an axis."""

    def __init__(self, channels=4):
        super().__init__()
        self.patches, self.norm, self.mix = nn.Conv3d(1, channels, 2, 2), nn.LayerNorm(channels), nn.Linear(channels, 4)
        self.back, self.head = nn.Conv3d(4, 4, 1), nn.Linear(4, 2)

    def forward(self, x):
        y = self.norm(self.patches(x).movedim(1, -1))
        y = self.mix(y) + 0.1 * torch.roll(y[..., :4], 1, 1)
        return self.head(self.back(y.permute(0, 4, 1, 2, 3)).mean((2, 3, 4)))


@pytest.mark.parametrize(("channels", "shape"), [(4, (8, 8, 8)), (5, (8, 10, 12)), (6, (8, 10, 12))])
def test_channels_last_is_not_taken_for_channels_first(channels, shape):
    """With as many channels as cells along an axis the shape alone cannot tell (SwinUNETR of 48 features on 96)."""
    network, x = Last(channels).eval(), image(1, *shape)
    graph = export(network, x)
    grid = tuple(size // 2 for size in shape)
    assert [(one.layer.name, one.last, one.channels) for one in map_layers(graph)] == [
        ("patches", False, channels), ("norm", True, channels), ("mix", True, 4), ("back", False, 4)
    ]  # fmt: skip
    found = find_layer(graph, "norm")
    value = graph.run(x, keep={found.layer.node})[found.layer.node]
    wanted = network.norm(network.patches(x).movedim(1, -1)).movedim(-1, 1)
    assert found.grid == grid
    assert torch.allclose(found.maps(value), wanted, atol=1e-6)
    assert torch.equal(found.exchanged(value, found.maps(value)), value)


def test_axes_that_the_graph_does_not_follow_make_no_map():
    """Windows of an attention, one after the other along the first axis, look like a grid."""
    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.norm, self.head = nn.Conv3d(1, 4, 2, 2), nn.LayerNorm(4), nn.Linear(4, 2)

        def forward(self, x):
            y = self.patches(x).movedim(1, -1)
            y = y.unflatten(1, (2, 2)).transpose(2, 3).flatten(1, 2)  # every second plane first
            return self.head(self.norm(y).mean((1, 2, 3)))

    graph = export(Windows().eval(), image(1, 8, 8, 8))
    assert [one.layer.name for one in map_layers(graph)] == ["patches"]
    with pytest.raises(XAIError, match="norm .LayerNorm. has no map"):
        find_layer(graph, "norm")


def test_channels_with_their_cells_in_one_axis_are_no_tokens():
    """(16, 16) after a flattening: sixteen channels of sixteen cells, not sixteen tokens."""
    network = nn.Sequential(nn.Conv2d(1, 16, 2, 2), nn.Flatten(2), nn.ReLU(), nn.Linear(16, 3), nn.Flatten())
    assert [one.layer.name for one in map_layers(export(network.eval(), image(1, 8, 8)))] == ["0"]


def test_maps_behind_an_interpolation_of_the_image_are_found():
    """Their sizes divide nothing, and no window leads there."""
    class Resized(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv3d(1, 4, 3, 2), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.conv(nn.functional.interpolate(x, (11, 11, 11))).mean((2, 3, 4)))

    assert default_layers(export(Resized().eval(), image(1, 17, 16, 15)))[0].grid == (5, 5, 5)


def test_a_map_with_cells_added_around_it_is_no_choice():
    """What is left of the image in one cell and padded to 5 x 5 x 5 shows nothing (EfficientNet on a small image)."""
    network = nn.Sequential(
        nn.Conv3d(1, 2, 4, 4), nn.Conv3d(2, 3, 2), nn.ConstantPad3d(2, 0.0), nn.Conv3d(3, 2, 5), nn.Flatten()
    )
    assert default_layers(export(network.eval(), image(1, 8, 8, 8)))[0].layer.name == "0"


@pytest.mark.full
@pytest.mark.parametrize(("name", "cells"), [
    ("efficientnet", 8), ("densenet121", 1), ("se resnet 50", 1), ("swin unetr", 8), ("unetr", 8), ("vnet", 8),
])  # fmt: skip
def test_the_first_choice_of_large_networks(name, cells):
    """Not the whole image in one cell, and not at full resolution."""
    found = default_layers(graph_of(name))[0]
    assert cells <= torch.Size(found.grid).numel() <= 64

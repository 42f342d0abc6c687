"""Where cells look: against the centroid of one cell's gradient in networks of constant weights."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from Testing.compute.graphs import graph_of
from XAIExplainLib.compute.graph import export
from XAIExplainLib.compute.receptive import receptive_field


class Pad(nn.Module):
    def forward(self, x):
        return F.pad(x, (1, 0, 2, 1, 0, 3))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 1, 3, padding=1, bias=False)

    def forward(self, x):
        return torch.cat([x + self.conv(x), x * x.mean((2, 3, 4), keepdim=True)], 1)[:, :1]


def conv(*arguments, **keywords):
    return nn.Conv3d(1, 1, *arguments, bias=False, **keywords)


CHAINS = {
    "convolutions": [conv(3, padding=1), conv(5), conv(3, stride=2, padding=1), conv((1, 2, 3))],
    "even kernels": [conv(2, stride=2), conv(4, padding=1), nn.AvgPool3d(2)],
    "dilation": [conv(3, dilation=2), conv((3, 1, 3), dilation=(3, 1, 2), padding=(3, 0, 0))],
    "pools": [nn.AvgPool3d(3, 2, padding=1, count_include_pad=True), nn.AvgPool3d(2, 2, ceil_mode=True), conv(3)],
    "strides": [conv(1, stride=2), conv(3, stride=(1, 2, 3), padding=(1, 0, 2)), nn.AvgPool3d((2, 1, 1))],
    "same": [conv((3, 4, 5), padding="same"), conv(2, padding="same", dilation=3), conv(2, padding="valid")],
    "padding": [Pad(), conv(3, stride=2), nn.ReLU(), Pad(), conv(2)],
}


@pytest.mark.parametrize("kind", CHAINS)
def test_the_centre_is_the_centroid_of_the_gradient(kind):
    network = nn.Sequential(*CHAINS[kind]).eval().double()
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    x = torch.ones(1, 1, 33, 31, 34, dtype=torch.float64)
    graph = export(network, x)
    origin, step = receptive_field(graph, graph.output)
    leaf = x.clone().requires_grad_()
    output = network(leaf)
    middle = tuple(size // 2 for size in output.shape[2:])
    (seen,) = torch.autograd.grad(output[(0, 0, *middle)], leaf)
    for axis in range(3):
        along = seen[0, 0].sum([other for other in range(3) if other != axis])
        centroid = float((along * torch.arange(len(along))).sum() / along.sum())
        assert origin[axis] + step[axis] * middle[axis] == pytest.approx(centroid, abs=1e-9)


def test_what_has_no_centre_has_none():
    graph = graph_of("upward")
    assert receptive_field(graph, graph.layer("up").node) is None
    assert receptive_field(graph, graph.output) is None
    graph = graph_of("vit")
    assert receptive_field(graph, graph.layer("blocks.0").node) is None


def test_a_residual_and_a_gate_move_nothing():
    x = torch.ones(1, 1, 9, 9, 9)
    graph = export(nn.Sequential(Residual(), nn.MaxPool3d(2)).eval(), x)
    node = next(node.name for node in graph if graph.operations[node.name] == "cat")
    assert receptive_field(graph, node) == ((0.0,) * 3, (1.0,) * 3)

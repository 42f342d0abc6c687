"""The gradient along a straight way is the sum of the gradients at its points, whatever was done once for all."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from Testing.compute.graphs import graph_of, network_of
from Testing.compute.test_whole import chosen
from Testing.networks_zoo import BY_NAME, parametrised
from XAIExplainLib.compute import graph as graph_room
from XAIExplainLib.compute.graph import export
from XAIExplainLib.compute.straight import affine_front, integral_of_gradients
from XAIExplainLib.model import Model
from XAIExplainLib.question import Question
from XAIExplainLib.volume import Volume

NODES, WEIGHTS = np.array([0.1, 0.45, 0.8]), np.array([0.2, 0.5, 0.3])


def weighted(output, samples=None):
    """Every number of the answer, each with a weight: for classifiers and segmenters alike."""
    flat = output.flatten(1)
    return (flat * torch.linspace(-1, 1, flat.shape[1], dtype=flat.dtype)).sum(1)


class Weighted:
    def bind(self, model, output, prepared):
        return weighted


def question_of(name, x):
    """In double precision, which a model is not made in."""
    network, output = BY_NAME[name].network(), BY_NAME[name].output
    model = Model(network, spatial_dims=x.dim() - 2, output=output)
    volume = Volume(x.transpose(0, 1).numpy() if x.dim() == 4 else x[0].numpy())
    network.double()
    return Question(model, replace(model.prepare(volume), tensor=x), Weighted(), 2**30)


def by_autograd(network, x, start, output=None):
    total = torch.zeros_like(x)
    for node, weight in zip(NODES, WEIGHTS, strict=True):
        leaf = (start + node * (x - start)).requires_grad_()
        total += weight * torch.autograd.grad(weighted(chosen(network(leaf), output)).sum(), leaf)[0]
    return total


@parametrised()
def test_it_is_the_sum_of_autograds_gradients(example):
    x = example.image(1).double()
    question = question_of(example.name, x)
    wanted = by_autograd(question.model.network, x, x.flip(-1) * 0.5, example.output)
    found = integral_of_gradients(question, x.flip(-1) * 0.5, NODES, WEIGHTS)
    assert float((found - wanted).abs().max()) <= 1e-10 * float(wanted.abs().max())


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_slices_and_points_share_batches(at_once, monkeypatch):
    network, x = network_of("plain 2D", torch.float64), BY_NAME["plain 2D"].image(2).double()
    monkeypatch.setattr(Question, "batch_of_gradient", lambda *_: at_once * 2)
    wanted = by_autograd(network, x, torch.zeros_like(x))
    found = integral_of_gradients(question_of("plain 2D", x), torch.zeros_like(x), NODES, WEIGHTS)
    assert float((found - wanted).abs().max()) <= 1e-10 * float(wanted.abs().max())


def test_the_beginning_is_run_at_the_two_ends_only(monkeypatch):
    x = BY_NAME["plain"].image(1).double()
    question = question_of("plain", x)
    nodes, real, asked = question.graph().nodes, graph_room.call, []
    convolution = next(node for node in nodes if node.target is torch.ops.aten.conv3d.default)
    monkeypatch.setattr(graph_room, "call", lambda node, values: asked.append(node) or real(node, values))
    monkeypatch.setattr(Question, "batch_of_gradient", lambda *_: 1)
    integral_of_gradients(question, torch.zeros_like(x), NODES, WEIGHTS)
    assert asked.count(convolution) == 2 and asked.count(nodes[-1]) == len(NODES)


class Fork(nn.Module):
    """What comes of the image goes two ways: around the convolution, too, if `around`."""

    def __init__(self, around):
        super().__init__()
        self.conv, self.norm, self.around = nn.Conv3d(1, 1, 3, padding=1), nn.BatchNorm3d(1).eval(), around

    def forward(self, x):
        y = self.norm(self.conv(x))
        z = torch.cat([y, 2 * y.relu() + (x if self.around else y)], 1)
        return z.flatten(2).sum(2)


def test_where_the_affine_beginning_ends():
    def front(network):
        graph = export(network.eval(), torch.randn(1, 1, 4, 4, 4))
        name = affine_front(graph)
        return name and graph.operations[name]

    assert front(Fork(False)) == "getitem"  # of the batch norm
    assert front(Fork(True)) is None  # the image itself is read again further on
    assert front(nn.Sequential(nn.ReLU(), nn.Conv3d(1, 1, 3))) is None
    assert front(nn.Sequential(nn.Conv3d(1, 2, 3), nn.Flatten(), nn.Linear(16, 2))) == "linear"
    graphs = {name: graph_of(name) for name in ("resnet10", "densenet121", "plain")}
    assert {name: affine_front(graph) is not None for name, graph in graphs.items()} == dict.fromkeys(graphs, True)

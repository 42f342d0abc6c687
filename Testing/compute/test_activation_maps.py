"""Maps and gradients of several layers by one walk, maps exchanged in the run, and the ways to weigh them."""

import pytest
import torch

from Testing.compute.graphs import graph_of, network_of
from Testing.networks_zoo import BY_NAME
from Testing.visual.activations import hooked
from Testing.visual.asking import assert_close
from XAIExplainLib.compute import activation_maps
from XAIExplainLib.compute.maps import find_layer, last_map
from XAIExplainLib.model import Model
from XAIExplainLib.question import Question
from XAIExplainLib.target import ClassTarget
from XAIExplainLib.volume import Volume


def question_of(name):
    """About class 1."""
    model = Model(network_of(name), output=BY_NAME[name].output)
    return Question(model, model.prepare(Volume(BY_NAME[name].image()[0].numpy())), ClassTarget(1), 1 << 30)


@pytest.mark.parametrize(("name", "layers", "start"), [
    ("plain", ["features.0", "features.6", "features.10"], None), ("resnet10", ["layer1", "layer3"], None),
    ("densenet", ["features.conv0", "features.denseblock2"], None), ("plain", ["features.6", "features.10"], "input"),
])  # fmt: skip
def test_several_layers_by_one_walk_are_autograds(name, layers, start):
    question = question_of(name)
    graph = question.graph()
    found = [find_layer(graph, layer) for layer in layers]
    at = graph.input if start else found[0].layer.node
    mine = activation_maps.maps_at_all(question, graph, found, at)
    for one, (maps, gradients) in zip(mine, hooked(network_of(name), question.x, *layers), strict=True):
        assert_close(one.maps, maps)
        assert_close(one.gradients, gradients)


@pytest.mark.parametrize(("name", "layer"), [("plain", "features.6"), ("vit", "blocks.0"), ("attending", "patches")])
def test_the_answer_with_other_maps(name, layer):
    """The layer's own maps give the network's own answer; others what a hook that exchanges them gives."""
    question = question_of(name)
    graph, network = question.graph(), network_of(name)
    found = activation_maps.maps_at(question, graph, find_layer(graph, layer))
    others = torch.cat([found.maps, 0.5 * found.maps])
    answers = activation_maps.answers_with(question, graph, found.layer, 0, others)
    assert_close(answers[:1], question.output)

    def hook(module, given, output):
        halved = output.clone()
        first = found.layer.tokens or 0
        halved[:, first:] *= 0.5
        return halved

    handle = network.get_submodule(layer).register_forward_hook(hook)
    wanted = network(question.x)
    handle.remove()
    assert_close(answers[1:], wanted[0] if isinstance(wanted, tuple) else wanted)


def test_the_weights_of_cells_in_grad_cam_pp_neither_underflow_nor_divide_by_zero():
    maps = torch.full((1, 1, 2, 2), 0.5)
    for size in (1.0, 1e-25):  # the third power of the smaller one is no number of single precision
        gradients = torch.tensor([[[[1.0, -1.0], [0.0, 2.0]]]]) * size
        found = activation_maps.alphas(maps, gradients)[0, 0]
        wanted = [[1 / (2 + 2 * size), 0.0 if size == 1 else 0.5], [0.0, 1 / (2 + 4 * size)]]
        assert torch.allclose(found, torch.tensor(wanted))


def test_the_last_map_is_named_by_its_outermost_layer_or_its_operation():
    assert last_map(graph_of("plain")).layer.name == "features"
    found = last_map(graph_of("functional"))  # a relu that is written as a function
    assert found.layer.name == f"operation {found.layer.node}"
    assert found.grid == (4, 4, 4)

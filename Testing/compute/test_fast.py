"""The faster operations of a graph, and rectifiers that write over their input."""

import pytest
import torch

from Testing.compute.graphs import graph_of, network_of
from Testing.networks_zoo import BY_NAME
from XAIExplainLib.compute.fast import FAST, window_in
from XAIExplainLib.compute.graph import export

CASES = ("plain", "plain 2D", "resnet10", "densenet", "unet", "segresnet", "odd")


@pytest.mark.parametrize("name", CASES)
def test_the_graph_answers_as_the_network(name):
    network, graph, x = network_of(name), graph_of(name), BY_NAME[name].image()
    with torch.no_grad():
        wanted = network(x)
    wanted = wanted[0] if isinstance(wanted, tuple | list) else wanted
    assert torch.allclose(graph.forward(x), wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("name", CASES)
def test_every_value_is_the_same_whatever_is_kept(name):
    """Nothing that is wanted is written over."""
    graph, x = graph_of(name), BY_NAME[name].image()
    everything = {node.name for node in graph if graph.shape(node.name, 1)}
    whole = graph.run(x, keep=everything)
    for number, kept in enumerate(sorted(everything)):
        if number % 3 == 0:
            assert torch.equal(graph.run(x, keep={kept, graph.output})[kept], whole[kept]), kept


class Branching(torch.nn.Module):
    """A convolution that is read with and without its rectifier, and a rectifier of the image itself."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv3d(1, 4, 3, padding=1)

    def forward(self, x):
        made = self.conv(torch.relu(x))
        return (torch.relu(made) + made).mean((2, 3, 4))


def test_what_others_read_is_not_written_over():
    torch.manual_seed(0)
    network, x = Branching().eval(), torch.randn(1, 1, 8, 8, 8)
    before = x.clone()
    found = export(network, x).forward(x)
    assert torch.equal(x, before)
    assert torch.allclose(found, network(x), atol=1e-6)


def test_a_known_value_is_not_written_over():
    graph, x = graph_of("plain"), BY_NAME["plain"].image()
    relu = next(node for node in graph if graph.operations[node.name] == "relu")
    source = relu.all_input_nodes[0].name
    known = graph.run(x, keep={source})
    before = known[source].clone()
    graph.run(x, start=known)
    assert torch.equal(known[source], before)
    assert (before < 0).any()


def test_forms_that_are_not_fast_are_left_to_torch():
    graph = graph_of("odd")
    convolutions = [node for node in graph if graph.operations[node.name] == "conv3d"]
    worded = [node for node in convolutions if len(node.args) > 4 and isinstance(node.args[4], str)]
    assert worded
    assert window_in(worded[0], "conv3d") is None
    assert FAST["conv3d"](worded[0], "conv3d", {}) is None

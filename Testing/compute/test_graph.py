"""The graph is the network: its answers, its layers, whatever way it was exported."""

import io

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.export import Dim

from Testing.compute.graphs import graph_of, network_of
from Testing.networks_zoo import BY_NAME, Functional, Plain, image, parametrised, settle
from XAIExplainLib.compute.graph import Graph, export
from XAIExplainLib.errors import XAIError
from XAIExplainLib.program import select_output


def reloaded(program):
    """A program as it comes back from a file."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    return torch.export.load(buffer)


def close(found, wanted, tolerance=1e-6):
    """Equal up to `tolerance` of the largest value."""
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max()) <= tolerance * float(wanted.abs().max())


@parametrised()
def test_forward_is_the_networks(example):
    graph = graph_of(example.name, torch.float64)
    x = example.image(1 if graph.static_batch or example.full else 3).double()
    wanted = select_output(network_of(example.name, torch.float64)(x), example.output, "")
    assert close(graph.forward(x), wanted, 1e-12)


@parametrised("functional", "upward", "vit")
def test_a_saved_program_is_the_same_graph(example):
    network, x = network_of(example.name), example.image()
    graph = Graph(reloaded(torch.export.export(network, (x,), strict=False)), example.output, example.shape)
    assert graph.static_batch == 1
    assert close(graph.forward(x), select_output(network(x), example.output, ""))
    known = [(layer.name, layer.type, layer.shape, layer.calls) for layer in graph_of(example.name).layers()]
    assert [(layer.name, layer.type, layer.shape, layer.calls) for layer in graph.layers()] == known


def test_a_strict_export_has_the_same_layers():
    network, x = network_of("functional"), BY_NAME["functional"].image()
    graph = Graph(torch.export.export(network, (x,), strict=True))
    assert [layer.name for layer in graph.layers()] == [layer.name for layer in graph_of("functional").layers()]


def test_layers_have_the_shapes_that_hooks_see():
    network, x = network_of("resnet10"), BY_NAME["resnet10"].image()
    seen = {}

    def hook(name):
        return lambda module, given, output: seen.__setitem__(name, tuple(output.shape[1:]))

    handles = [module.register_forward_hook(hook(name)) for name, module in network.named_modules() if name]
    network(x)
    for handle in handles:
        handle.remove()
    layers = {layer.name: layer.shape for layer in graph_of("resnet10").layers()}
    assert layers == {name: seen[name] for name in layers}
    # What never runs (an identity) or is nothing but the whole has no layer of its own.
    assert {type(network.get_submodule(name)) for name in set(seen) - set(layers)} <= {nn.Identity, nn.ReLU, nn.Dropout}


def test_a_reused_layer_counts_its_calls_and_shows_its_last():
    graph = graph_of("functional")
    act = graph.layer("act")
    assert (act.calls, act.type, act.shape) == (2, "ReLU", (4, 8, 8, 8))
    assert {layer.name: layer.calls for layer in graph.layers()}["norm"] == 1


def test_an_in_place_operation_does_not_reach_back():
    """The value of a layer is what it gave, not what a later in-place ReLU made of it."""
    network, x = network_of("functional"), BY_NAME["functional"].image()
    graph = graph_of("functional")
    found = graph.run(x, keep={graph.layer("norm").node})[graph.layer("norm").node]
    wanted = network.norm(network.first(x))
    assert bool((wanted < 0).any())
    assert close(found, wanted)


def test_an_unknown_layer_names_its_neighbours():
    with pytest.raises(XAIError, match="no layer called FEATURES.99") as caught:
        graph_of("plain").layer("FEATURES.99")
    assert "features.0" in caught.value.hint or "features" in caught.value.hint
    with pytest.raises(XAIError, match="no layer called nonsense"):
        graph_of("plain").layer("nonsense")


class Several(nn.Module):
    """Answers in a tuple, beside a list, None, a number and a dict, and counts its calls in a buffer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        y = self.conv(x).relu()
        self.calls.add_(1)
        mean = y.mean((2, 3, 4))
        return [mean, y], None, self.head(mean), 3, {"inner": (y * 2,)}


class Named(Several):
    """The same in a dict."""

    def forward(self, x):
        y = self.conv(x).relu()
        return {"features": y, "logits": self.head(y.mean((2, 3, 4)))}


@pytest.mark.parametrize(
    ("kind", "output"), [(Several, None), (Several, 2), (Several, -3), (Named, None), (Named, "features"),
                         (Named, "logits")]
)  # fmt: skip
@pytest.mark.parametrize("saved", [False, True])
def test_the_answer_is_the_same_element_as_the_models(kind, output, saved):
    torch.manual_seed(0)
    network, x = kind().eval(), image(1, 6, 6, 6)
    wanted = select_output(network(x), output, "").detach()
    graph = Graph(reloaded(torch.export.export(network, (x,))), output) if saved else export(network, x, output)
    assert close(graph.forward(x), wanted)


@pytest.mark.parametrize(("kind", "output"), [(Several, 7), (Several, 1), (Several, 0), (Several, 3), (Named, "mask"),
                                              (Named, 5)])  # fmt: skip
def test_an_output_that_is_none_is_refused(kind, output):
    x = image(1, 6, 6, 6)
    with pytest.raises(XAIError, match="output"):
        export(kind().eval(), x, output)
    with pytest.raises(XAIError, match="output"):
        select_output(kind().eval()(x), output, "it")


def test_several_inputs_are_refused():
    class Two(nn.Module):
        def forward(self, x, y):
            return (x + y).mean((2, 3, 4))

    x = image(1, 4, 4, 4)
    with pytest.raises(XAIError, match="2 inputs"):
        Graph(torch.export.export(Two(), (x, x)))


def test_a_network_that_decides_by_numbers_is_refused_with_the_reason():
    class Deciding(nn.Module):
        def forward(self, x):
            return x.mean((2, 3, 4)) if x.sum() > 0 else -x.mean((2, 3, 4))

    with pytest.raises(XAIError, match="torch.export cannot") as caught:
        export(Deciding(), image(1, 4, 4, 4))
    assert "occlusion" in caught.value.hint


class Random(nn.Module):
    """A network whose answer is not the same twice."""

    def __init__(self, draw):
        super().__init__()
        self.draw = draw

    def forward(self, x):
        return self.draw(x).mean((2, 3, 4))


RANDOM = {
    "dropout": lambda x: F.dropout(x, 0.5, True),
    "dropout of maps": lambda x: F.dropout3d(x, 0.5, True),
    "alpha dropout": lambda x: F.alpha_dropout(x, 0.5, True),
    "random slopes": lambda x: F.rrelu(x, training=True),
    "noise": lambda x: x + torch.randn_like(x),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5),
    "batch norm": nn.BatchNorm3d(1),
    "no statistics": nn.BatchNorm3d(1, track_running_stats=False).eval(),
}


@pytest.mark.parametrize("kind", RANDOM)
def test_training_mode_is_refused(kind):
    two = image(1, 6, 6, 6).expand(2, -1, -1, -1, -1)
    with pytest.raises(XAIError, match="as in training"):
        Graph(torch.export.export(Random(RANDOM[kind]), (two,)))


def test_what_could_draw_but_does_not_is_taken():
    network = Random(lambda x: F.scaled_dot_product_attention(F.dropout3d(x, 0.5, False), F.rrelu(x), x))
    x = image(1, 6, 6, 6)
    assert close(export(network.eval(), x).forward(x), network(x))


def test_a_program_for_another_size_is_refused():
    program = torch.export.export(network_of("plain"), (image(1, 16, 16, 16),))
    with pytest.raises(XAIError, match=r"\(1, 16, 16, 16\).*\(1, 16, 16, 24\)"):
        Graph(program, shape=(1, 16, 16, 24))


class Doubling(nn.Module):
    """Down by four and up again: the size of its answer is written in the size of the image."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv3d(1, 4, 3, stride=4, padding=1), nn.ConvTranspose3d(4, 2, 4, stride=4)

    def forward(self, x):
        return self.up(self.down(x).relu())


FREE = {axis: Dim(name, min=8, max=64) for axis, name in zip((2, 3, 4), "kji", strict=True)}
DIMS = {
    "free": {0: Dim("n", max=64), **FREE},
    "fixed batch": FREE,
    "one axis": {2: FREE[2]},
    "automatic": dict.fromkeys((0, 2, 3, 4), Dim.AUTO),
    "cube": {0: Dim("n", max=64), **dict.fromkeys((2, 3, 4), FREE[2])},
}


@pytest.mark.parametrize("kind", DIMS)
def test_a_program_of_open_size(kind):
    torch.manual_seed(0)
    network = Doubling().eval()
    batch = 1 if kind in ("fixed batch", "one axis") else 2
    program = torch.export.export(network, (torch.zeros(batch, 1, 16, 16, 16),), dynamic_shapes=(DIMS[kind],))
    spatial = {"one axis": (24, 16, 16), "cube": (24, 24, 24)}.get(kind, (24, 32, 20))
    graph = Graph(reloaded(program), shape=(1, *spatial))
    assert graph.static_batch == (1 if batch == 1 else None)
    x = image(1, *spatial)
    assert close(graph.forward(x), network(x).detach())
    assert graph.shape(graph.output, 1) == (1, 2, *spatial)
    assert graph.layer("down").shape == (4, *(size // 4 for size in spatial))
    oblong = [(1, 24, 24, 16)] if kind in ("one axis", "cube") else []
    for wrong in [(2, *spatial), (1, *spatial[:2]), *oblong]:
        with pytest.raises(XAIError, match="exported for images of shape"):
            Graph(reloaded(program), shape=wrong)


def test_a_program_whose_size_is_a_multiple():
    torch.manual_seed(0)
    network = Doubling().eval()
    sizes = {axis: 4 * Dim(name, min=2, max=16) for axis, name in zip((2, 3, 4), "kji", strict=True)}
    program = torch.export.export(network, (torch.zeros(1, 1, 16, 16, 16),), dynamic_shapes=(sizes,))
    graph = Graph(program, shape=(1, 24, 32, 20))
    x = image(1, 24, 32, 20)
    assert close(graph.forward(x), network(x).detach())
    with pytest.raises(XAIError, match="exported for images of shape"):
        Graph(program, shape=(1, 24, 32, 21))
    # torch 2.13 cannot take such a program apart once it was saved; that is a sentence, not a traceback.
    try:
        graph = Graph(reloaded(program), shape=(1, 24, 32, 20))
    except XAIError as error:
        assert "cannot show the operations" in error.message
    else:
        assert close(graph.forward(x), network(x).detach())


def test_part_of_a_run_from_a_known_value():
    """What a value that is known already needs is not computed again."""
    graph, x = graph_of("plain"), BY_NAME["plain"].image(2)
    node = graph.layer("features.4").node
    known = graph.run(x, keep={node}, stop=node)
    calls = []
    again = graph.run(torch.full_like(x, torch.nan), start=known, check=lambda: calls.append(1))[graph.output]
    assert torch.equal(again, graph.forward(x))
    assert len(calls) < len(graph.nodes) - 4


def test_a_run_asks_whether_it_is_wanted_between_operations():
    class StopError(Exception):
        pass

    def stop():
        raise StopError

    with pytest.raises(StopError):
        graph_of("plain").forward(BY_NAME["plain"].image(), check=stop)


def test_weights_changed_in_place_are_seen():
    """A warm model whose weights are randomised must not answer with its old ones."""
    torch.manual_seed(0)
    network, x = settle(Plain()), image(1, 16, 16, 16)
    graph = export(network, x)
    before = graph.forward(x)
    with torch.no_grad():
        network.head.weight.mul_(2)
        network.features[0].weight.neg_()
    assert close(graph.forward(x), network(x))
    assert not close(graph.forward(x), before, 1e-3)


def test_a_move_keeps_the_kinds_of_constants():
    graph = export(network_of("shuffling"), BY_NAME["shuffling"].image())
    graph.to(torch.float64)
    kinds = {value.dtype for value in graph.constants.values() if isinstance(value, torch.Tensor)}
    assert kinds == {torch.float64, torch.int64}
    assert graph.dtype == torch.float64


def test_the_network_itself_is_left_as_it_was():
    torch.manual_seed(0)
    network, x = settle(Functional()), image(1, 16, 16, 16)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    kept = x.clone()
    graph = export(network, x)
    graph.forward(x)
    assert torch.equal(x, kept)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module.training or module._forward_hooks for module in network.modules())

"""The walk back with the table of true derivatives is autograd, and reads no more than it says."""

import pytest
import torch

from Testing.compute.graphs import graph_of, network_of
from Testing.networks_zoo import BY_NAME, parametrised
from XAIExplainLib.compute.derivatives import BY_VALUES, DERIVATIVES
from XAIExplainLib.compute.graph import export, saved
from XAIExplainLib.compute.reverse import Rule, Table, kept_values, planned, walk
from XAIExplainLib.errors import XAIError
from XAIExplainLib.program import select_output


class Only(dict):
    """Values that may be read by these names; a constant lies elsewhere."""

    def __missing__(self, name):
        raise AssertionError(f"the walk reads {name}, which it did not ask for")


def gradient(graph, x, seed, start=None):
    """By the walk, with nothing kept but what it asks for."""
    start = start or graph.input
    path = graph.between(start, graph.output)
    plan = planned(graph, DERIVATIVES, start)
    values = graph.run(x, keep=kept_values(graph, DERIVATIVES, path, start), save=plan.save)
    return walk(graph, DERIVATIVES, Only(values), seed, start, path)


@parametrised()
def test_the_walk_is_autograd(example):
    network, graph = network_of(example.name, torch.float64), graph_of(example.name, torch.float64)
    x = example.image(1 if graph.static_batch or example.full else 2).double()
    leaf = x.clone().requires_grad_()
    output = select_output(network(leaf), example.output, "")
    seed = torch.randn(output.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    (wanted,) = torch.autograd.grad(output, leaf, seed)
    found = gradient(graph, x, seed)
    assert float(wanted.abs().max()) > 0
    assert float((found - wanted).abs().max()) <= 1e-12 * float(wanted.abs().max())


@pytest.mark.parametrize(
    ("name", "layer"),
    [("plain", "features.5"), ("functional", "norm"), ("functional", "third"), ("odd", "ceil"), ("upward", "down"),
     ("resnet10", "layer2.0"), ("densenet", "features.denseblock1")],
)  # fmt: skip
def test_the_walk_stops_at_a_layer_with_its_gradient(name, layer):
    """Against autograd with respect to the layer's output; skips around the layer are not part of it."""
    network, graph = network_of(name, torch.float64), graph_of(name, torch.float64)
    x = BY_NAME[name].image().double()
    held = {}

    def hook(module, given, output):
        # A copy goes on, so that what overwrites it in place does not overwrite what is held.
        held["value"] = output.detach().clone().requires_grad_()
        return held["value"].clone()

    handle = network.get_submodule(layer).register_forward_hook(hook)
    output = select_output(network(x.clone().requires_grad_()), None, "")
    handle.remove()
    seed = torch.randn(output.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    (wanted,) = torch.autograd.grad(output, held["value"], seed)
    node = graph.layer(layer).node
    found = gradient(graph, x, seed, node)
    assert torch.allclose(graph.run(x, keep={node})[node], held["value"], rtol=1e-12, atol=1e-12)
    assert float((found - wanted).abs().max()) <= 1e-12 * float(wanted.abs().max())


def test_the_rows_of_the_table_are_used():
    """A network of convolutions, norms and ReLUs keeps one bit a number of the ReLUs, no values."""
    graph = graph_of("plain")
    path = graph.between(graph.input, graph.output)
    kept = kept_values(graph, DERIVATIVES, path, graph.input)
    tensors = [name for name in kept if graph.shape(name, 1)]
    assert tensors == []
    x = BY_NAME["plain"].image()
    plan = planned(graph, DERIVATIVES, graph.input)
    values = graph.run(x, keep=kept, save=plan.save)
    rectifiers = [node.name for node in graph if graph.operations[node.name] == "relu"]
    assert len(rectifiers) == 3
    for name in rectifiers:
        assert values[saved(name)].nbytes == -(-torch.Size(graph.shape(name, 1)).numel() // 8)


def test_an_operation_without_a_row_is_an_error_with_its_name():
    graph = graph_of("odd")
    strict = Table("This method", {name: rule for name, rule in DERIVATIVES.rules.items() if name != "cat"})
    path = graph.between(graph.input, graph.output)
    with pytest.raises(XAIError, match="This method has no rule for the operation (leaky_relu|conv3d)"):
        kept_values(graph, strict, path, graph.input)


def test_a_row_that_does_not_fit_is_no_row():
    """conv3d with padding in words is not for the fast row; a table without `otherwise` says so."""
    graph = graph_of("odd")
    node = next(node for node in graph if graph.operations[node.name] == "conv3d")
    path = graph.between(graph.input, graph.output)
    assert DERIVATIVES.rule(node, path) is BY_VALUES
    with pytest.raises(XAIError, match="conv3d"):
        Table("This method", DERIVATIVES.rules).rule(node, path)


def test_an_exchanged_row_changes_the_walk():
    """Guided backpropagation by one row: against captum on a network whose ReLUs are modules used once."""
    from captum.attr import GuidedBackprop

    network, x = network_of("plain"), BY_NAME["plain"].image()
    graph = graph_of("plain")

    def guided(step, cotangent):
        return {step.tensors()[0].name: cotangent.clamp_min(0) * (step.output > 0)}

    table = DERIVATIVES.with_rows("Guided", {"relu": Rule(guided, output=True)})
    path = graph.between(graph.input, graph.output)
    values = planned(graph, table, graph.input).forth(graph, x)
    found = walk(graph, table, values, torch.eye(3)[1:2], graph.input, path)
    wanted = GuidedBackprop(network).attribute(x.clone().requires_grad_(), target=1)
    assert torch.allclose(found, wanted, atol=1e-6 * float(wanted.abs().max()))
    plain = gradient(graph, x, torch.eye(3)[1:2])
    assert not torch.allclose(found, plain, atol=1e-3 * float(plain.abs().max()))


def test_no_way_back_is_a_sentence():
    class Cut(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv3d(1, 2, 3)

        def forward(self, x):
            return (self.conv(x) > 0).float().mean((2, 3, 4))

    x = BY_NAME["plain"].image()
    graph = export(Cut().eval(), x)
    with pytest.raises(XAIError, match="does not depend|No gradient reaches"):
        gradient(graph, x, torch.ones(1, 2))


def test_a_walk_can_be_cancelled_and_watched():
    graph, x = graph_of("plain"), BY_NAME["plain"].image()
    path = graph.between(graph.input, graph.output)
    values = planned(graph, DERIVATIVES, graph.input).forth(graph, x)
    seen = []
    walk(graph, DERIVATIVES, values, torch.ones(1, 3), graph.input, path, visit=lambda name, _: seen.append(name))
    assert seen[0] == graph.output
    assert set(seen) == path - {graph.input}

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        walk(graph, DERIVATIVES, values, torch.ones(1, 3), graph.input, path, stop)


def test_the_complex_numbers_of_a_fourier_layer_are_on_the_path():
    graph = graph_of("spectral")
    path = graph.between(graph.input, graph.output)
    assert {"fft_rfftn", "fft_irfftn"} <= {graph.operations[name] for name in path if name != graph.input}


class Meeting(torch.nn.Module):
    """One value goes on in two ways, past rectifiers and norms that write over what nobody else has."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.first, self.second = torch.nn.Conv3d(1, 4, 3, padding=1), torch.nn.Conv3d(4, 4, 3, padding=1)
        self.norm, self.other = torch.nn.BatchNorm3d(4), torch.nn.BatchNorm3d(4)
        self.end = torch.nn.Linear(4, 2)
        for norm in (self.norm, self.other):
            torch.nn.init.normal_(norm.weight), torch.nn.init.normal_(norm.running_mean)
        self.eval()

    def forward(self, x):
        one = torch.relu(self.norm(self.first(x)))
        two = torch.relu(self.other(self.second(one)))
        return self.end(torch.relu(one + two).mean((2, 3, 4)))


def test_nothing_that_somebody_else_has_is_written_over():
    network = Meeting().double()
    x = torch.randn(2, 1, 6, 7, 5, dtype=torch.float64)
    graph = export(network, x)
    leaf = x.clone().requires_grad_()
    output = network(leaf)
    seed = torch.randn_like(output)
    (wanted,) = torch.autograd.grad(output, leaf, seed)
    for watched in (False, True):
        plan, given, seen = planned(graph, DERIVATIVES, graph.input), seed.clone(), []

        def visit(name, cotangent, seen=seen):
            if isinstance(cotangent, torch.Tensor):
                seen.append((cotangent, cotangent.clone()))

        values = plan.forth(graph, x)
        found = walk(graph, DERIVATIVES, values, given, graph.input, plan.path, visit=visit if watched else None)
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)
        assert torch.equal(given, seed)
        assert all(torch.equal(now, then) for now, then in seen) and bool(seen) == watched


def test_rectifiers_and_norms_write_over_what_a_convolution_made():
    """Without a visitor the cotangents of a chain lie in one place; that is what the row `fresh` is for."""
    network = torch.nn.Sequential(
        torch.nn.Conv3d(1, 3, 3), torch.nn.BatchNorm3d(3), torch.nn.ReLU(), torch.nn.Conv3d(3, 2, 3)
    ).double().eval()  # fmt: skip
    x = torch.randn(1, 1, 7, 7, 7, dtype=torch.float64)
    graph, places = export(network, x), []

    def watched(rule):
        def apply(step, cotangent):
            given = rule.apply(step, cotangent)
            places.extend(part.data_ptr() for part in given.values())
            return given

        return Rule(apply, rule.inputs, rule.output, rule.fits, rule.forth, rule.share, rule.fresh)

    table = DERIVATIVES.with_rows("watched", {name: watched(rule) for name, rule in DERIVATIVES.rules.items()})
    plan = planned(graph, table, graph.input)
    values = plan.forth(graph, x)
    walk(graph, table, values, torch.ones_like(values[graph.output]), graph.input, plan.path)
    assert len(set(places[:-1])) == 1, "the convolution's, the rectifier's and the norm's"

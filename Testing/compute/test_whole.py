"""Whole passes by steps: every example's own answer, and the network itself where they do not do."""

import pytest
import torch

from Testing.compute.graphs import graph_of, network_of
from Testing.networks_zoo import BY_NAME, parametrised
from XAIExplainLib.compute import whole
from XAIExplainLib.compute.whole import Whole, answers, whole_of
from XAIExplainLib.model import Model
from XAIExplainLib.question import Question
from XAIExplainLib.target import ClassTarget
from XAIExplainLib.volume import Volume


def chosen(answer, output):
    if isinstance(answer, list | tuple):
        return answer[output or 0]
    return next(iter(answer.values())) if isinstance(answer, dict) else answer


@parametrised()
def test_every_example_answers_as_the_network(example):
    dtype = torch.float32 if example.name == "spectral" else torch.float64
    network, graph, x = network_of(example.name, dtype), graph_of(example.name, dtype), example.image(2).to(dtype)
    samples = 2 if graph.static_batch is None else graph.static_batch
    wanted = chosen(network(x[:samples].clone()), example.output)
    before = x.clone()
    found = Whole(graph, x[:1]).outputs(x[:samples])
    assert torch.equal(x, before)
    scale = max(1.0, float(wanted.abs().max()))
    assert float((found - wanted).abs().max()) < (1e-10 if dtype == torch.float64 else 1e-5) * scale


def question_of(network, x):
    model = Model(network, spatial_dims=3)
    return Question(model, model.prepare(Volume(x[0].numpy())), ClassTarget(1), 2**30)


@pytest.mark.parametrize("name", ["plain", "resnet10", "odd"])
def test_answers_are_the_networks(name):
    network, x = network_of(name), BY_NAME[name].image(1)
    question = question_of(network, x)
    assert whole_of(question, 3) is None  # few passes are not worth an export
    assert whole_of(question, 100) is whole_of(question) is not None
    images = x + torch.randn(3, *x.shape[1:])
    assert torch.allclose(answers(question, images), network(images), atol=1e-5)
    assert question.diagnostics["steps_error"] < 1e-5


def test_steps_that_disagree_are_not_used(monkeypatch):
    network, x = network_of("plain"), BY_NAME["plain"].image(1)
    question = question_of(network, x)
    monkeypatch.setattr(whole.Whole, "outputs", lambda self, x, check=None: torch.full((len(x), 3), 9.0))
    assert whole_of(question, 100) is None and "disagreed" in question.diagnostics["warnings"][0]
    assert torch.allclose(answers(question, x, 100), network(x))
    assert whole_of(question_of(network, x), 100) is None  # another model of the same network: another graph


def test_changed_weights_are_seen():
    torch.manual_seed(0)
    network, x = BY_NAME["plain"].network(), BY_NAME["plain"].image(1)
    question = question_of(network, x)
    assert whole_of(question, 100) is not None
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5)
    model = question.model
    later = Question(model, model.prepare(Volume(x[0].numpy())), ClassTarget(1), 2**30)
    assert torch.allclose(answers(later, x, 100), network(x), atol=1e-5)

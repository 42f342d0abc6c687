"""The gradient is autograd's and captum's, for every kind of target."""

import pytest
import torch
from captum.attr import InputXGradient, Saliency
from torch import nn

from Testing.compute.graphs import network_of
from Testing.networks_zoo import BY_NAME, Plain, image, settle
from Testing.visual.asking import asked, assert_close, rows
from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.errors import XAIError
from XAIExplainLib.model import Model

NAMES = ("plain", "functional", "odd", "densenet", "attending", "spectral", "shuffling", "plain 2D")


def first(network):
    """The first of several outputs."""
    return lambda x: network(x)[0] if isinstance(network(x), tuple) else network(x)


@pytest.mark.parametrize("name", [*NAMES, "vit"])
def test_it_is_captums(name):
    network, x = network_of(name), BY_NAME[name].image(2 if name.endswith("2D") else 1)
    wanted = Saliency(first(network)).attribute(x.clone().requires_grad_(), target=1, abs=False)
    result = asked(network, x, "gradient")
    assert_close(rows(result, x), wanted)
    assert result.diagnostics["engine"] == "graph"


def test_the_kinds():
    network, x = network_of("plain odd, three channels"), BY_NAME["plain odd, three channels"].image()
    signed = rows(asked(network, x, "gradient"), x)
    assert torch.equal(rows(asked(network, x, "gradient", kind="absolute"), x), signed.abs())
    wanted = InputXGradient(network).attribute(x.clone().requires_grad_(), target=1)
    assert_close(rows(asked(network, x, "gradient", kind="input"), x), wanted)


def test_channels_add_up_to_the_map():
    network, x = network_of("plain odd, three channels"), BY_NAME["plain odd, three channels"].image()
    result = asked(network, x, "gradient")
    assert result.channels.shape == (3, 33, 29, 31)
    assert_close(torch.from_numpy(result.array), torch.from_numpy(result.channels).sum(0), 1e-6)


def autograd(network, x, score):
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(score(network(leaf)).sum(), leaf)[0]


@pytest.mark.parametrize(("task", "score"), [
    ("classification", lambda y: (y[:, [0, 2]].softmax(1) * 0).sum(1) + torch.log(y.softmax(1)[:, [0, 2]].sum(1))
     - torch.log(1 - y.softmax(1)[:, [0, 2]].sum(1))),
    ("multilabel", lambda y: y[:, 0] + y[:, 2]),
])  # fmt: skip
def test_a_group_of_classes(task, score):
    network, x = network_of("plain"), BY_NAME["plain"].image()
    model = {"classes": ["a", "b", "c"], "groups": {"ends": ["a", "c"]}, "task": task}
    result = asked(network, x, "gradient", "ends", model)
    assert_close(rows(result, x), autograd(network, x, score))
    assert result.target == "ends"
    assert result.diagnostics["score"] == pytest.approx(float(score(network(x))), rel=1e-4)


@pytest.mark.parametrize("name", ["unet", "upward"])
def test_a_segmentation_where_the_class_is_found(name):
    network, x = network_of(name), BY_NAME[name].image()
    labels = network(x).argmax(1)
    counts = labels.flatten().bincount(minlength=3)
    index, target = int(counts[1:].argmax()) + 1, None
    if not counts[1:].any():
        with pytest.raises(XAIError, match="nothing but background"):
            asked(network, x, "gradient", None)
        index, target = 0, "class 0"
    wanted = autograd(network, x, lambda y: (y[:, index] * (labels == index)).flatten(1).sum(1))
    assert_close(rows(asked(network, x, "gradient", target), x), wanted, 2e-5)


def test_a_regression():
    class Regression(Plain):
        def forward(self, x):
            return super().forward(x)[:, 0]  # (N,), as regressors often answer

    torch.manual_seed(0)
    network, x = settle(Regression()), image(1, 16, 16, 16)
    result = asked(network, x, "gradient", None, {"task": "regression"})
    assert_close(rows(result, x), autograd(network, x, lambda y: y))
    assert result.diagnostics["score_units"] == "output"


def test_without_a_graph_by_autograd_and_says_so():
    class Deciding(Plain):
        def forward(self, x):
            return super().forward(x) if x.sum() > -1e9 else super().forward(-x)

    torch.manual_seed(0)
    network, x = settle(Deciding()), image(1, 16, 16, 16)
    result = asked(network, x, "gradient")
    assert_close(rows(result, x), autograd(network, x, lambda y: y[:, 1]))
    assert "autograd on the network itself" in result.diagnostics["engine"]


def test_no_gradient_at_all_is_refused():
    result = asked(lambda x: x.mean((2, 3, 4)).repeat(1, 2), image(1, 4, 4, 4), "gradient")
    assert result.array.std() == pytest.approx(0, abs=1e-9)
    with pytest.raises(XAIError, match="detached"):
        asked(lambda x: x.detach().mean((2, 3, 4)).repeat(1, 2), image(1, 4, 4, 4), "gradient")


def test_a_score_that_does_not_depend_on_the_image_warns():
    torch.manual_seed(0)
    network = settle(Plain())
    network.head.weight.zero_()
    result = asked(network, image(1, 16, 16, 16), "gradient")
    assert not result.array.any()
    assert "zero everywhere" in result.diagnostics["warnings"][0]


@pytest.mark.parametrize(("method", "parameters"), [("gradient", {}), ("grad_cam", {}), ("grad_cam", {"layer": "4"})])
def test_the_answer_and_the_walk_share_one_pass(monkeypatch, method, parameters):
    layers = nn.Conv3d(1, 4, 3), nn.ReLU(), nn.Conv3d(4, 4, 3, stride=2), nn.ReLU(), nn.Conv3d(4, 2, 3)
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten()).eval()
    x, passes = image(1, 16, 16, 16), []
    run, call = Graph.run, Model.__call__
    monkeypatch.setattr(Graph, "run", lambda self, *a, **k: passes.append("graph") or run(self, *a, **k))
    monkeypatch.setattr(Model, "__call__", lambda self, *a, **k: passes.append("module") or call(self, *a, **k))
    asked(network, x, method, 1, **parameters)
    assert passes == ["graph"]

"""Relevance as a user gets it: zennit's where zennit is right, adding up to the score, refused where it has no rule."""

import functools

import pytest
import torch
from torch import nn

from Testing.compute.graphs import network_of
from Testing.networks_zoo import BY_NAME, Plain, image, settle
from Testing.peers import zennit
from Testing.visual.asking import asked, assert_close, rows
from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.errors import XAIError
from XAIExplainLib.model import Model


@functools.cache
def sequential(dims, head_bias=True):
    """Modules in a row, as zennit needs them."""
    conv, norm, pool, mean = (
        (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d, nn.AdaptiveAvgPool3d)
        if dims == 3
        else (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d)
    )
    torch.manual_seed(7)
    layers = (
        conv(2, 6, 3, padding=1), norm(6), nn.ReLU(), pool(2),
        conv(6, 8, 3, padding=1, groups=2), nn.ReLU(), conv(8, 8, 3, stride=2), norm(8), nn.ReLU(),
        mean(2), nn.Flatten(), nn.Linear(8 * 2**dims, 6, bias=head_bias), nn.ReLU(), nn.Linear(6, 3, bias=head_bias),
    )  # fmt: skip
    return settle(nn.Sequential(*layers))


COMPOSITES = {
    "epsilon_plus": lambda module, x, **k: module.composites.EpsilonPlus(**k),
    "epsilon_plus_flat": lambda module, x, **k: module.composites.EpsilonPlusFlat(**k),
    "epsilon_gamma_box": lambda module, x, **k: module.composites.EpsilonGammaBox(
        low=torch.full_like(x, float(x.min())), high=torch.full_like(x, float(x.max())), **k
    ),
    "epsilon_alpha2_beta1": lambda module, x, **k: module.composites.EpsilonAlpha2Beta1(**k),
    "epsilon_alpha2_beta1_flat": lambda module, x, **k: module.composites.EpsilonAlpha2Beta1Flat(**k),
}


def by_zennit(network, x, composite, **keywords):
    """Zennit's map of class 1 in float64, its batch norms merged."""
    module = zennit()
    network, x = network.double(), x.double()
    keywords["canonizers"] = [module.canonizers.SequentialMergeBatchNorm()]
    leaf = x.clone().requires_grad_()
    chosen = COMPOSITES[composite](module, x, **keywords)
    with module.attribution.Gradient(network, chosen) as attributor:
        _, found = attributor(leaf, lambda output: output * torch.eye(3, dtype=output.dtype)[[1] * len(output)])
    network.float()
    return found.detach().float()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("composite", list(COMPOSITES))
def test_it_is_zennits(composite, dims):
    network = sequential(dims)
    x = torch.cat([image(2, *[13, 14, 12][:dims], seed=seed) for seed in (1, 2)[: 4 - dims]])
    box = {"low": float(x.min()), "high": float(x.max())}
    wanted = by_zennit(network, x, composite)
    found = asked(network, x, "lrp", composite=composite, bias="absorb", **box)
    assert_close(rows(found, x), wanted, 2e-4)


@pytest.mark.parametrize("composite", ["epsilon_plus", "epsilon_plus_flat", "epsilon_alpha2_beta1"])
def test_it_is_zennits_without_biases(composite):
    network, x = sequential(3, head_bias=False), image(2, 13, 14, 12)
    wanted = by_zennit(network, x, composite, zero_params="bias")
    found = asked(network, x, "lrp", composite=composite)
    assert_close(rows(found, x), wanted, 2e-4)
    assert found.diagnostics["relevance_sum"] == pytest.approx(found.diagnostics["score"], rel=1e-3)


@pytest.mark.parametrize("name", ["plain odd, three channels", "functional", "upward"])
def test_it_adds_up_to_the_score(name):
    network, x = network_of(name), BY_NAME[name].image()
    logits = network(x)
    column = int(logits.argmax(1).flatten().bincount().argmax())  # a class that a segmenter finds
    found = asked(network, x, "lrp", column)
    diagnostics = found.diagnostics
    assert diagnostics["completeness_error"] < 1e-4
    assert diagnostics["start_is_score"]
    assert diagnostics["relevance_sum"] == pytest.approx(float(rows(found, x).double().sum()), rel=1e-4)
    assert diagnostics["relevance_sum"] == pytest.approx(diagnostics["score"], rel=5e-3)


def test_slices_are_explained_one_by_one():
    network, x = network_of("plain 2D"), BY_NAME["plain 2D"].image(3)
    found = asked(network, x, "lrp")
    sums = rows(found, x).double().flatten(1).sum(1)
    torch.testing.assert_close(sums, network(x)[:, 1].double(), rtol=1e-3, atol=1e-4)
    assert found.diagnostics["completeness_error"] < 1e-4


def test_a_group_of_classes_starts_with_what_is_linear_in_the_logits():
    network, x = network_of("plain"), BY_NAME["plain"].image()
    model = {"classes": ["a", "b", "c"], "groups": {"ends": ["a", "c"]}, "task": "classification"}
    found = asked(network, x, "lrp", "ends", model)
    leaf = network(x).requires_grad_()
    odds = leaf.softmax(1)[:, [0, 2]].sum(1).logit()
    (slope,) = torch.autograd.grad(odds.sum(), leaf)
    diagnostics = found.diagnostics
    assert diagnostics["start_relevance"] == pytest.approx(float((slope * leaf).detach().sum()), rel=1e-4)
    assert not diagnostics["start_is_score"]
    assert diagnostics["relevance_sum"] == pytest.approx(diagnostics["start_relevance"], rel=1e-3)
    assert diagnostics["completeness_error"] < 1e-4


def test_two_classes_start_with_their_difference():
    torch.manual_seed(0)
    network, x = settle(Plain(classes=2)), BY_NAME["plain"].image()
    model = {"classes": ["no", "yes"], "groups": {"found": ["yes"]}, "task": "classification"}
    diagnostics = asked(network, x, "lrp", "found", model).diagnostics
    assert diagnostics["start_is_score"]


@pytest.mark.parametrize(("composite", "bias"), [("epsilon_plus", "absorb"), ("epsilon", "auto"), ("zero", "auto")])
def test_what_biases_keep_is_said(composite, bias):
    network, x = network_of("plain"), BY_NAME["plain"].image()
    found = asked(network, x, "lrp", composite=composite, bias=bias).diagnostics
    assert found["bias_share"] != 0
    assert found["start_relevance"] == pytest.approx(found["relevance_sum"] + found["bias_share"], rel=1e-3)
    assert any("absorbed" in warning for warning in found["warnings"])


def test_zero_is_gradient_times_input():
    network, x = network_of("plain"), BY_NAME["plain"].image()
    wanted = rows(asked(network, x, "gradient", kind="input"), x)
    assert_close(rows(asked(network, x, "lrp", composite="zero"), x), wanted, 1e-3)


def test_cancellation_is_said():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2, bias=False)).eval().requires_grad_(False)
    x = image(1, 4, 4, 4)
    network[1].weight[1] -= (1 - 1e-5) * network(x)[0, 1] * x.flatten() / x.square().sum()  # the logit nearly cancels
    diagnostics = asked(network, x, "lrp", composite="epsilon", epsilon=0).diagnostics
    assert diagnostics["size_of_map"] > 1e3
    assert any("cancel" in warning for warning in diagnostics["warnings"])


def test_a_fixed_batch():
    class Fixed(Plain):
        def forward(self, x):
            return super().forward(x.reshape(1, *x.shape[1:]))

    torch.manual_seed(0)
    network, x = settle(Fixed()), BY_NAME["plain"].image()
    found = asked(network, x, "lrp").diagnostics
    assert found["completeness_error"] < 1e-4


def test_bounds_that_the_image_passes_are_refused():
    network, x = network_of("plain"), BY_NAME["plain"].image()
    with pytest.raises(XAIError, match="beyond the box"):
        asked(network, x, "lrp", composite="epsilon_gamma_box", low=0.0)


def test_an_operation_without_rule_is_refused_by_name():
    with pytest.raises(XAIError, match="no rule for the operation fft_rfftn"):
        asked(network_of("spectral"), BY_NAME["spectral"].image(), "lrp")


def test_the_answer_and_the_walk_share_one_pass(monkeypatch):
    network, x, passes = network_of("functional"), BY_NAME["functional"].image(), []
    run, call = Graph.run, Model.__call__
    monkeypatch.setattr(Graph, "run", lambda self, *a, **k: passes.append("graph") or run(self, *a, **k))
    monkeypatch.setattr(Model, "__call__", lambda self, *a, **k: passes.append("module") or call(self, *a, **k))
    first = asked(network, x, "lrp")
    assert passes == ["graph"]
    again = asked(network, x, "lrp")
    assert (first.array == again.array).all()
    assert first.diagnostics["relevance_sum"] == again.diagnostics["relevance_sum"]

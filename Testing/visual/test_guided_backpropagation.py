"""Guided backpropagation: captum's where captum sees every ReLU, the same where it does not, refused elsewhere."""

import copy

import numpy as np
import pytest
import torch
from captum.attr import GuidedBackprop
from torch import nn

from Testing.compute.graphs import network_of
from Testing.networks_zoo import BY_NAME, Plain, image, settle
from Testing.visual.asking import asked, assert_close, rows
from XAIExplainLib.errors import XAIError


class Modules(nn.Module):
    """The zoo's `Functional`, rewritten as peers need it: a module for each ReLU, none in place; weights are shared."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.acts = nn.ModuleList(nn.ReLU() for _ in range(4))

    def forward(self, x):
        f, (one, two, three, four) = self.network, self.acts
        kept = nn.functional.max_pool3d(one(f.norm(f.first(x))), 2)
        x = three(f.third(two(f.second(kept))) + kept)
        return f.head(four(nn.functional.max_pool3d(x, 2)).mean((2, 3, 4)))


def not_in_place(network):
    """A twin whose ReLUs are not in place; hooks fail on those that are."""
    twin = copy.deepcopy(network)
    for module in twin.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return twin


PEERS = ["plain", "plain 2D", "plain odd, three channels", "densenet"]


@pytest.mark.parametrize("name", PEERS)
def test_it_is_captums(name):
    network, x = network_of(name), BY_NAME[name].image(3 if name.endswith("2D") else 1)
    wanted = GuidedBackprop(not_in_place(network)).attribute(x.clone().requires_grad_(), target=1)
    result = asked(network, x, "guided_backpropagation")
    assert_close(rows(result, x), wanted)
    assert result.diagnostics["rectifiers"] == sum(isinstance(one, nn.ReLU) for one in network.modules())
    assert 0 < result.diagnostics["removed_share"] < 1
    assert not result.diagnostics["warnings"]


def test_functional_in_place_and_reused_activations_are_seen():
    """captum finds one module here and misses the rest; on the rewritten twin it finds all."""
    network, x = network_of("functional"), BY_NAME["functional"].image()
    twin = Modules(network)
    assert torch.allclose(twin(x), network(x), atol=1e-6)
    wanted = GuidedBackprop(twin).attribute(x.clone().requires_grad_(), target=1)
    result = asked(network, x, "guided_backpropagation")
    assert_close(rows(result, x), wanted)
    assert result.diagnostics["rectifiers"] == 4


def test_it_is_not_the_gradient():
    """MONAI's GuidedBackpropGrad is, unless the module is called relu."""
    network, x = network_of("unet"), BY_NAME["unet"].image()
    found, gradient = (rows(asked(network, x, name, None), x) for name in ("guided_backpropagation", "gradient"))
    assert float((found - gradient).norm()) > 0.3 * float(gradient.norm())


def test_nothing_to_cut_is_said():
    """Weights that are all positive send nothing negative back, and all rectifiers are open: the plain gradient."""
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 2))
    for parameter in network.parameters():
        parameter.data.abs_()
    x = image(1, 6, 6, 6).abs()
    result = asked(network, x, "guided_backpropagation")
    assert result.diagnostics["removed_share"] == 0
    assert "changed nothing" in result.diagnostics["warnings"][0]
    assert_close(rows(result, x), rows(asked(network, x, "gradient"), x))


@pytest.mark.parametrize(("name", "reason"), [("vit", "gelu"), ("attending", "no rectifier")])
def test_networks_without_rectifiers_are_refused(name, reason):
    with pytest.raises(XAIError, match=f"{reason}"):
        asked(network_of(name), BY_NAME[name].image(), "guided_backpropagation")


def test_a_network_without_a_graph_is_refused():
    class Deciding(Plain):
        def forward(self, x):
            return super().forward(x) if x.sum() > -1e9 else super().forward(-x)

    torch.manual_seed(0)
    with pytest.raises(XAIError, match="torch.export"):
        asked(settle(Deciding()), image(1, 16, 16, 16), "guided_backpropagation")


def trained(network, cases=24, steps=120):
    """`network`, taught to tell a bright ball at some place from a dark one; a few seconds."""
    generator = torch.Generator().manual_seed(5)
    x, labels = [], []
    for number in range(cases):
        picture = image(1, 24, 24, seed=number)
        j, i = (int(n) for n in torch.randint(4, 20, (2,), generator=generator))
        picture[..., j - 3 : j + 3, i - 3 : i + 3] += 3 if number % 2 else -3
        x.append(picture)
        labels.append(number % 2)
    x, labels = torch.cat(x), torch.tensor(labels)
    network.train().requires_grad_(True)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(x), labels)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.05
    return network.eval().requires_grad_(False), x


def rank_correlation(a, b):
    """Spearman's, of the absolute values, as Adebayo et al. compare maps."""
    ranks = [np.argsort(np.argsort(np.abs(one).ravel())) for one in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def test_the_caution_holds_maps_of_a_random_network_look_alike():
    """Adebayo et al. 2018: a network with random weights gives much the same guided map, but another gradient."""
    torch.manual_seed(1)
    network, x = trained(Plain(2, 1, 2, width=8, pools=1))
    torch.manual_seed(2)
    random = Plain(2, 1, 2, width=8, pools=1).eval()
    alike = {
        method: np.mean([
            rank_correlation(*(asked(one, x[n : n + 1], method).array for one in (network, random)))
            for n in range(4)
        ])
        for method in ("gradient", "guided_backpropagation")
    }  # fmt: skip
    assert alike["guided_backpropagation"] > alike["gradient"] + 0.1

"""Meaningful perturbation: the region that theory knows, the gradient that autograd knows, and no silent failure."""

import numpy as np
import pytest
import torch
from torch import nn

from Testing.compute.graphs import network_of
from Testing.networks_zoo import BY_NAME, image, parametrised
from Testing.visual.asking import asked, rows
from XAIExplainLib import CancelledError, Model, Volume, XAIError, explain
from XAIExplainLib.compute.baselines import baseline
from XAIExplainLib.compute.soft_masks import Lattice
from XAIExplainLib.geometry import Geometry
from XAIExplainLib.prepared import Prepared
from XAIExplainLib.question import Question
from XAIExplainLib.target import ClassTarget
from XAIExplainLib.visual.meaningful_perturbation import SHARPNESS, MeaningfulPerturbation, _Descent, _Replacement

NAME = "meaningful_perturbation"
QUICK = {"steps": 4, "cell": 4}


class Linear(nn.Module):
    """A weight for each voxel; the second output is what is asked for."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x):
        total = (x * self.weight).flatten(1).sum(1, keepdim=True)
        return torch.cat([-total, total], 1)


def linear(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator), 1 + torch.rand(1, *shape, generator=generator)


def test_the_best_region_of_an_area_on_a_linear_network():
    """What removing a voxel takes from the score is known, so the best k voxels are."""
    weight, x = linear(1, 5, 6, 7)
    effect = (weight * x).flatten()
    ranked = effect.sort(descending=True)
    count = 15 + int((ranked.values[14:34] - ranked.values[15:35]).argmax())
    for game in ("deletion", "preservation"):
        result = asked(Linear(weight), x, NAME, area=count / effect.numel(), cell=1, steps=120, game=game,
                       replacement=0.0, smoothness=0, level=0)  # fmt: skip
        found = rows(result, x).flatten()
        assert set(found.argsort(descending=True)[:count].tolist()) == set(ranked.indices[:count].tolist())
        assert float(found[ranked.indices[:count]].mean()) > 0.85
        assert float(found.sum()) == pytest.approx(count, rel=1e-4)


def test_the_price_decides_on_a_linear_network():
    """With area 0 a voxel belongs to the region if its part of the score is more than its part of the price.

    Where the loss is bent towards 0, the parts count by its slope at the region that is found.
    """
    weight, x = linear(1, 5, 6, 7)
    weight = weight + 0.5  # most of it speaks for the target, so that there is a fall
    part = (weight * x).flatten() / (weight * x).sum()
    price = 1.5
    result = asked(Linear(weight), x, NAME, cell=1, steps=150, replacement=0.0, smoothness=0, price=price)
    found = rows(result, x).flatten()
    slope = torch.sigmoid(SHARPNESS * (1 - (part * found).sum()))
    gain = slope * part * part.numel() - price
    clear = gain.abs() > 0.1 * price
    assert float(clear.float().mean()) > 0.5 and 5 < int((gain > 0).sum()) < 150
    assert torch.equal(found[clear] > 0.5, gain[clear] > 0)
    assert float((found - (gain > 0).float()).abs()[clear].mean()) < 0.05


def question(name, target=1, **arguments):
    example = BY_NAME[name]
    made, x = Model(example.network(), output=example.output), example.image().double()
    made.network.double()
    volume = Volume(x[0].numpy())
    prepared = Prepared(x, Geometry(tuple(x.shape[:1:-1])), volume)
    return Question(made, prepared, ClassTarget(target), 2**30, **arguments)


@pytest.mark.parametrize("game", ["deletion", "preservation"])
@pytest.mark.parametrize("name", ["functional", "attending", "plain odd, three channels"])
def test_the_gradient_of_the_mask_is_autograds(name, game):
    asking = question(name)
    parameters = MeaningfulPerturbation.check_parameters({"game": game, "cell": 5, "area": 0.1, "replacement": "mean"})
    descent = _Descent(asking, parameters)
    lattice = Lattice(asking.spatial, descent.lattice.cell, (1.0, -2.0, 0.0), torch.float64)
    chance = torch.Generator().manual_seed(0)
    mask = torch.rand(1, *lattice.grid, generator=chance, dtype=torch.float64).requires_grad_()
    cover = baseline(asking.x, "mean")
    before = asking.scores_of_case
    empty = asking.scores(cover)
    share = lattice.enlarged(mask)[:, None] if game == "deletion" else 1 - lattice.enlarged(mask)[:, None]
    score = asking.score(asking.model(asking.x + share * (cover - asking.x)), torch.zeros(1, dtype=torch.long))
    size = max(abs(float(before)), abs(float(empty)))
    scale = before - empty if float(before - empty) > 0.25 * size else torch.full_like(before, size)
    wanted = (score - empty) / scale if game == "deletion" else (before - score) / scale
    wanted.sum().backward()
    loss, gradient = descent.loss(lattice, lattice.enlarged(mask.detach()), before, empty)
    assert float(loss) == pytest.approx(float(wanted.detach()), rel=1e-9)
    assert float(mask.grad.abs().max()) > 0
    assert torch.allclose(gradient, mask.grad, rtol=1e-8, atol=1e-10 * float(mask.grad.abs().max()))


@parametrised("plain", "odd", "resnet10", "densenet", "unet", "plain 2D", "spectral", "vit")
def test_what_is_reported_is_what_the_network_says(example):
    network, x = network_of(example.name), example.image(2 if example.name.endswith("2D") else 1)
    model = {"output": example.output} if example.output is not None else None
    result = asked(network, x, NAME, model=model, area=0.1, replacement="mean", **QUICK)
    region, found = rows(result, x), result.diagnostics
    assert result.array.min() >= 0 and result.array.max() <= 1
    assert found["area_share"] == pytest.approx(0.1, rel=1e-3)
    assert region.flatten(1).mean(1).tolist() == pytest.approx([0.1] * len(x), rel=1e-3)
    assert found["engine"] == "graph" and found["steps"] == 4 and len(found["losses"]) == 5
    if example.name != "unet":
        answer = network(x + region * (baseline(x, "mean") - x))
        answer = answer[example.output] if example.output is not None else answer
        assert found["score_after"] == pytest.approx(float(answer[:, 1].mean()), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("replacement", ["blur", "noise", "harmonic", -0.5])
@pytest.mark.parametrize("game", ["deletion", "preservation"])
def test_each_replacement_and_the_same_again(replacement, game):
    network, x = network_of("plain"), BY_NAME["plain"].image()
    one, two = (asked(network, x, NAME, replacement=replacement, game=game, steps=12, cell=4) for _ in range(2))
    assert np.array_equal(one.array, two.array)
    assert 0 < one.array.max() <= 1
    other = asked(network, x, NAME, replacement=replacement, game=game, steps=12, cell=4, seed=1)
    assert not np.array_equal(one.array, other.array)


@pytest.mark.parametrize("replacement", ["blur", "mean", "harmonic"])
def test_deletion_lowers_and_preservation_keeps(replacement):
    """Against a random region of the same area, on a network with random weights."""
    network, x = network_of("plain"), BY_NAME["plain"].image()
    for game, sign in (("deletion", 1), ("preservation", -1)):
        result = asked(network, x, NAME, replacement=replacement, game=game, area=0.2, steps=30, cell=4, smoothness=0)
        if replacement == "harmonic":
            assert result.diagnostics["score_after"] != result.diagnostics["score"]
            continue
        cover, region = baseline(x, replacement), rows(result, x)
        chances = []
        for seed in range(8):
            chance = rows(result, x).flatten()[torch.randperm(16**3, generator=torch.Generator().manual_seed(seed))]
            share = chance.reshape(region.shape) if game == "deletion" else 1 - chance.reshape(region.shape)
            chances.append(float(network(x + share * (cover - x))[0, 1]))
        assert all(sign * result.diagnostics["score_after"] < sign * chance for chance in chances)


def test_each_slice_has_its_own_mask():
    network, x = network_of("plain 2D"), BY_NAME["plain 2D"].image(3)
    x[1] = 0.25  # nothing to be removed
    both = rows(asked(network, x, NAME, replacement="mean", area=0.2, cell=1, steps=3, smoothness=0), x)
    assert not both[1].any() and both[0].any() and both[2].any()
    # cells of one voxel are not moved, so no random number parts this run from that of the slice alone
    alone = rows(asked(network, x[2:], NAME, replacement="mean", area=0.2, cell=1, steps=3, smoothness=0), x[2:])
    assert torch.allclose(both[2], alone[0], atol=1e-4)


def test_a_large_slice_is_filled_on_a_coarser_grid():
    """A ramp is harmonic: filled from its surroundings it is the ramp, but for the rounding of pools at the edge."""
    ramp = torch.linspace(0, 1, 135)[None, None, :, None].expand(1, 3, 135, 140).contiguous()
    model = Model(network_of("plain 2D"), spatial_dims=2)
    asking = Question(model, model.prepare(Volume(ramp.transpose(0, 1).numpy())), ClassTarget(1), 2**30)
    filled = _Replacement(asking, "harmonic").image
    assert float((filled - ramp)[..., 45:-45, 12:-12].abs().max()) < 0.02
    assert filled.shape == ramp.shape


def test_a_network_without_a_graph():
    x = BY_NAME["plain"].image()
    scripted = torch.jit.trace(BY_NAME["plain"].network(), x)  # a fresh one: peers leave their hooks on shared ones
    found = asked(scripted, x, NAME, area=0.2, replacement="mean", model={"kind": "torchscript"}, **QUICK)
    wanted = asked(network_of("plain"), x, NAME, area=0.2, replacement="mean", **QUICK)
    assert "autograd" in found.diagnostics["engine"]
    assert np.allclose(found.array, wanted.array, atol=1e-3)


def test_a_region_that_does_not_exist_is_said():
    weight, x = linear(1, 4, 5, 6)
    weight = torch.full_like(weight, 0.5)
    result = asked(Linear(weight), torch.ones_like(x), NAME, area=0.1, cell=1, steps=3, replacement=0.0)
    assert "no region of 10.00% of the anatomy" in result.diagnostics["warnings"][0]
    assert result.diagnostics["fall_share"] == pytest.approx(0.1, rel=1e-4)
    kept = asked(Linear(weight), torch.ones_like(x), NAME, area=0.1, cell=1, steps=3, replacement=0.0,
                 game="preservation")  # fmt: skip
    assert "alone keeps" in kept.diagnostics["warnings"][0]
    assert kept.diagnostics["fall_share"] == pytest.approx(0.1, rel=1e-4)


def test_a_replacement_that_speaks_for_the_target_is_said():
    weight, x = linear(1, 4, 5, 6)
    result = asked(Linear(-weight.abs()), x, NAME, cell=1, steps=3, replacement=0.0)
    assert result.diagnostics["fall_share"] is None
    assert "no real fall" in result.diagnostics["warnings"][0]


def test_a_replacement_that_changes_nothing_is_said():
    weight, _ = linear(1, 4, 5, 6)
    result = asked(Linear(weight), torch.full((1, 1, 4, 5, 6), 2.0), NAME, replacement=2.0)
    assert not result.array.any()
    assert "nothing can be removed" in result.diagnostics["warnings"][0]


def test_the_air_around_the_anatomy_is_never_in_the_region():
    x = torch.zeros(1, 1, 16, 16, 16)
    x[..., 4:12, 5:11, 3:12] = image(1, 8, 6, 9)[0]
    result = asked(network_of("plain"), x, NAME, replacement="blur", area=0.3, **QUICK)
    assert not result.array[x[0, 0].numpy() == 0].any()
    assert result.diagnostics["area_share"] == pytest.approx(0.3, rel=0.02)


@pytest.mark.parametrize("replacement", ["vae", "inpainting"])
def test_trained_replacements_refuse_other_cases(replacement):
    with pytest.raises(XAIError, match=r"16 x 16 x 16 voxels") as raised:
        asked(network_of("plain"), BY_NAME["plain"].image(), NAME, replacement=replacement)
    assert "harmonic" in raised.value.hint
    with pytest.raises(XAIError, match="slices"):
        asked(network_of("plain 2D"), BY_NAME["plain 2D"].image(2), NAME, replacement=replacement)


def test_wrong_numbers_have_one_sentence():
    x = BY_NAME["plain"].image()
    with pytest.raises(XAIError, match="2 numbers for 3 axes"):
        asked(network_of("plain"), x, NAME, cell="2,3")
    with pytest.raises(XAIError, match="area"):
        asked(network_of("plain"), x, NAME, area=1.5)


def test_progress_and_cancel():
    heard = []

    def cancel():
        return len(heard) > 3

    with pytest.raises(CancelledError):
        explain(Model(network_of("plain")), Volume(BY_NAME["plain"].image()[0, 0].numpy()), NAME, 1, steps=20,
                progress=lambda fraction, message: heard.append((fraction, message)), cancel=cancel)  # fmt: skip
    assert len(heard) == 4 and heard[-1] == (0.1, "step 3 of 20")

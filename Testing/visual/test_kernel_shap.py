"""KernelSHAP: Shapley's values of the regions, by every way to compute them, and the sum that the theory asks for."""

import itertools
import math

import numpy as np
import pytest
import SimpleITK
import torch
from captum.attr import ShapleyValueSampling

from Testing.compute.graphs import network_of
from Testing.networks_zoo import BY_NAME, image, parametrised
from Testing.visual.asking import asked, assert_close, rows
from XAIExplainLib.compute.supervoxels import partitioned
from XAIExplainLib.errors import XAIError


def written(labels, path):
    """Regions of the test's own choice, for the parameter `labels`."""
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(labels.numpy().astype(np.float32)), path)
    return str(path)


def blocks(shape, cuts):
    """Labels 1, 2, ... of boxes, `cuts` along each axis."""
    places = [torch.arange(size) * cut // size for size, cut in zip(shape, cuts, strict=True)]
    number = torch.zeros(shape, dtype=torch.long)
    for place, cut in zip(torch.meshgrid(*places, indexing="ij"), cuts, strict=True):
        number = number * cut + place
    return number + 1


def by_permutations(network, x, cover, labels, target=1):
    """Shapley's definition: the mean of what a region adds over all orders. Spread over its voxels."""
    players = int(labels.max())
    score = {}
    for seen in itertools.product((False, True), repeat=players):
        shown = torch.tensor((True, *seen))[labels]
        with torch.no_grad():
            score[seen] = float(network(torch.where(shown, x, cover))[0, target])
    values = torch.zeros(players)
    for order in itertools.permutations(range(players)):
        seen = [False] * players
        for player in order:
            before = score[tuple(seen)]
            seen[player] = True
            values[player] += score[tuple(seen)] - before
    values /= math.factorial(players)
    return torch.cat([torch.zeros(1), values / torch.bincount(labels.flatten(), minlength=players + 1)[1:]])[labels]


@pytest.mark.parametrize("name", ["plain", "odd", "attending", "spectral"])
@pytest.mark.parametrize("exact", ["auto", "no"])
def test_it_is_the_mean_over_all_orders(name, exact, tmp_path):
    network, x = network_of(name), BY_NAME[name].image()
    labels = blocks(tuple(x.shape[2:]), (1, 2, 3))
    result = asked(network, x, "kernel_shap", labels=written(labels, tmp_path / "l.nrrd"), fill="mean", exact=exact)
    cover = x.mean((2, 3, 4), keepdim=True).expand_as(x)
    assert_close(rows(result, x)[0, 0], by_permutations(network, x, cover, labels), 1e-3)
    assert result.diagnostics["exact"]
    assert result.diagnostics["passes"] == 2**6
    assert result.diagnostics["largest_standard_error"] == 0


def test_slices_of_a_2d_network_are_each_their_own(tmp_path):
    network, x = network_of("plain 2D"), BY_NAME["plain 2D"].image(3)
    labels = torch.stack([blocks(tuple(x.shape[2:]), cuts) for cuts in ((2, 2), (1, 3), (1, 1))])
    found = rows(asked(network, x, "kernel_shap", labels=written(labels, tmp_path / "l.nrrd")), x)
    for sample, one, part in zip(found, x, labels, strict=True):
        assert_close(sample[0], by_permutations(network, one[None], torch.zeros_like(one)[None], part), 1e-3)


def test_it_is_captums_within_captums_error(tmp_path):
    """Two runs of captum's sampling say how sure it is; their mean is ours but for that."""
    network, x = network_of("plain"), BY_NAME["plain"].image()
    labels = blocks((16, 16, 16), (2, 3, 3))
    sizes = torch.bincount(labels.flatten())[1:]
    result = asked(network, x, "kernel_shap", labels=written(labels, tmp_path / "l.nrrd"), samples=800)
    at = [int(torch.nonzero(labels.flatten() == region)[0]) for region in range(1, 19)]
    found = rows(result, x).flatten()[at] * sizes
    runs = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        peer = ShapleyValueSampling(network).attribute(
            x, target=1, feature_mask=labels[None, None] - 1, n_samples=15, perturbations_per_eval=18
        )
        runs.append(peer.flatten()[at])  # captum writes a region's value on each of its voxels
    error = (runs[0] - runs[1]).norm() / 2
    assert result.diagnostics["median_standard_error"] * 18**0.5 < error
    assert (found - (runs[0] + runs[1]) / 2).norm() < 2 * error < 0.5 * found.norm()


@parametrised()
def test_the_map_adds_up(example):
    network, x = network_of(example.name), example.image(2 if example.name.endswith("2D") else 1)
    model = {"output": example.output} if example.output is not None else None
    target = 0 if example.name == "upward" else 1  # what this segmenter finds somewhere
    result = asked(network, x, "kernel_shap", target, model, regions=8, samples=48, exact="no")
    found = result.diagnostics
    assert found["completeness_error"] < 1e-9
    assert found["sum_of_map"] == pytest.approx((found["score"] - found["baseline_score"]) * len(x), rel=1e-5, abs=1e-6)
    assert result.array.sum(dtype=np.float64) == pytest.approx(found["sum_of_map"], rel=1e-3, abs=1e-5)


def test_a_network_that_adds_up_its_voxels_is_divided_exactly():
    """Of 60 regions, with 240 of 1e18 coalitions: each region gets what its voxels add up to."""
    weight = image(1, 12, 13, 14, seed=5)
    x = image(1, 12, 13, 14)
    result = asked(lambda x: (x * weight).sum((2, 3, 4)).repeat(1, 2), x, "kernel_shap", regions=60, samples=320)
    (labels,) = partitioned(x[0][None].numpy(), np.ones((1, 12, 13, 14), bool), (1, 1, 1), 60, "slic")
    labels = torch.from_numpy(labels)
    total = torch.bincount(labels.flatten(), (x * weight).flatten().double())
    size = torch.bincount(labels.flatten())
    assert_close(rows(result, x)[0, 0], (total / size.clamp_min(1))[labels].float(), 1e-4)
    assert result.diagnostics["largest_standard_error"] < 1e-4 * result.diagnostics["largest_value"]
    first = result.diagnostics["largest_regions"][0]
    assert abs(first["value"]) == pytest.approx(float(total.abs().max()), rel=1e-4)


def test_it_is_the_same_again_and_another_seed_differs():
    network, x = network_of("plain"), BY_NAME["plain"].image()
    first, again, other = (
        asked(network, x, "kernel_shap", regions=20, samples=100, seed=seed).array for seed in (0, 0, 1)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_background_gets_nothing():
    network, x = network_of("plain"), BY_NAME["plain"].image()
    x[..., 8:] = 0
    result = asked(network, x, "kernel_shap", regions=8, fill="mean")
    assert not result.array[..., 8:].any()
    assert result.array[..., :8].all()
    nothing = asked(network, torch.zeros_like(x), "kernel_shap")
    assert not nothing.array.any()
    assert nothing.diagnostics["completeness_error"] == 0
    assert "no region" in nothing.diagnostics["warnings"][0]


def test_chance_is_said():
    def parity(x):
        """Of the regions' signs: no region alone says anything, and any draw is noise."""
        return torch.sin(40 * x.sum((2, 3, 4))).repeat(1, 2)

    result = asked(parity, image(1, 12, 12, 12) + 3, "kernel_shap", regions=30, samples=160)
    assert "standard error" in result.diagnostics["warnings"][0]


def test_what_cannot_be_is_refused(tmp_path):
    network, x = network_of("plain"), BY_NAME["plain"].image()
    with pytest.raises(XAIError, match="too few to tell"):
        asked(network, x, "kernel_shap", regions=100, samples=100)
    with pytest.raises(XAIError, match="coalitions"):
        asked(network, x, "kernel_shap", regions=100, exact="yes")
    with pytest.raises(XAIError, match="partition"):
        asked(network, x, "kernel_shap", partition="watershed")

"""RISE: its closed form on a linear network, the error that it states, and how that falls."""

import numpy as np
import pytest
import torch

from Testing.compute.graphs import network_of
from Testing.networks_zoo import BY_NAME, image, parametrised
from Testing.visual.asking import asked, rows
from XAIExplainLib.errors import XAIError
from XAIExplainLib.method import get_method
from XAIExplainLib.visual.rise import Masks


def spline(distance):
    """The cubic B-spline: the mean over all shifts of the products of two hats so far apart."""
    d = distance.abs()
    return torch.where(d < 1, 2 / 3 - d**2 + d**3 / 2, torch.where(d < 2, (2 - d) ** 3 / 6, 0.0))


def expected(relevance, cell, seen):
    """The map of a linear network, whose score falls by `relevance` (*spatial) where a voxel is covered."""
    result = relevance.double() * seen * (1 - seen) / seen
    for axis, (size, width) in enumerate(zip(relevance.shape, cell, strict=True)):
        places = torch.arange(size, dtype=torch.float64) / width
        matrix = spline(places[:, None] - places)
        result = torch.movedim(torch.movedim(result, axis, -1) @ matrix, -1, axis)
    return result


def linear(weight):
    return lambda x: (x * weight).sum((1, 2, 3, 4))[:, None].repeat(1, 2) + 5


@pytest.mark.parametrize(("seen", "fill"), [(0.5, 0.0), (0.3, 0.0), (0.7, 1.5), (0.5, "blur")])
def test_a_linear_network_has_a_closed_form(seen, fill):
    """Within the stated error: the mean square of the deviations over their standard errors is about 1."""
    from XAIExplainLib.compute.baselines import baseline

    x, weight = image(2, 12, 10, 9), image(2, 12, 10, 9, seed=5)
    wanted = expected(((x - baseline(x, fill)) * weight).sum(1)[0], (3.0, 3.0, 3.0), seen)
    ratios = []
    for seed in range(6):
        result = asked(linear(weight), x, "rise", masks=1000, cells=4, seen=seen, fill=fill, seed=seed)
        found = rows(result, x)[0, 0].double()
        error = result.diagnostics["median_standard_error"]
        ratios.append(float(((found - wanted) ** 2).mean().sqrt()) / error)
        assert float((found - wanted).abs().max()) < 6 * result.diagnostics["largest_standard_error"]
        assert error < 0.5 * float(wanted.std())
    assert 0.6 < float(np.sqrt(np.mean(np.square(ratios)))) < 1.4


def test_the_error_falls_with_the_root_of_the_number():
    x, weight = image(1, 9, 10, 11), image(1, 9, 10, 11, seed=5)
    wanted = expected((x * weight)[0, 0], (11 / 4,) * 3, 0.5)
    true, said = {}, {}
    for masks in (100, 1600):
        runs = [asked(linear(weight), x, "rise", masks=masks, cells=4, seed=seed) for seed in range(4)]
        true[masks] = np.mean([float(((rows(run, x)[0, 0] - wanted) ** 2).mean()) for run in runs]) ** 0.5
        said[masks] = np.mean([run.diagnostics["median_standard_error"] for run in runs])
    assert said[100] / said[1600] == pytest.approx(4, rel=0.15)
    assert true[100] / true[1600] == pytest.approx(4, rel=0.35)


@pytest.mark.parametrize("spatial", [(12, 10, 9), (7, 20)])
def test_the_masks(spatial):
    """From 0 to 1, of the same mean at every voxel, as alike as the spline says, the same whenever asked for."""
    cell = (3.0, 2.5, 4.0)[: len(spatial)]
    masks = Masks(spatial, cell, 4000, 0.4, torch.Generator().manual_seed(0), torch.zeros(1))
    every = torch.cat([part for _, part in masks.parts(64)])
    assert every.shape == (4000, *spatial)
    assert (every == torch.cat([part for _, part in masks.parts(1000)])).all()
    assert float(every.min()) >= 0 and float(every.max()) <= 1
    assert float((every.mean(0) - 0.4).abs().max()) < 0.03
    middle = tuple(n // 2 for n in spatial)
    centred = every.double() - 0.4
    product = (centred * centred[(slice(None), *middle)].reshape(-1, *[1] * len(spatial))).mean(0)
    wanted = torch.zeros(spatial, dtype=torch.float64)
    wanted[middle] = 0.4
    wanted = expected(wanted, cell, 0.4)
    assert float((product - wanted).abs().max()) < 0.012


def test_cells_are_as_wide_in_millimetres():
    from Testing.compute.test_supervoxels import question_of
    from XAIExplainLib.visual.rise import cell_size

    assert cell_size(question_of(image(1, 10, 40, 40), (1.0, 1.0, 4.0)), 5) == (2.0, 8.0, 8.0)
    assert cell_size(question_of(image(1, 4, 40, 40), (1.0, 1.0, 40.0)), 4) == (1.0, 40.0, 40.0)
    with pytest.raises(XAIError, match="50 cells do not fit"):
        cell_size(question_of(image(1, 10, 40, 40)), 50)


def test_chance_is_said_and_evidence_is_not():
    x = image(1, 12, 12, 12) + 3
    result = asked(lambda x: torch.sin(999 * x.sum((2, 3, 4))).repeat(1, 2), x, "rise", masks=100, cells=4)
    assert "as chance alone may bring it" in result.diagnostics["warnings"][0]

    def corner(x):
        return x[..., :4, :4, :4].mean((2, 3, 4)).repeat(1, 2)

    result = asked(corner, x, "rise", masks=300, cells=4)
    assert not result.diagnostics["warnings"]
    assert max(np.unravel_index(result.array.argmax(), (12, 12, 12))) < 4


def test_nothing_to_cover_is_nothing():
    network, x = network_of("plain 2D"), BY_NAME["plain 2D"].image(3)
    x[1] = 0
    result = asked(network, x, "rise", masks=20)
    assert not result.array[1].any() and result.array[0].any() and result.array[2].any()
    assert result.diagnostics["passes"] == 2 * 20 + 3
    assert not asked(network, torch.zeros_like(x), "rise", masks=20).array.any()


def test_it_is_the_same_again_whatever_the_batch():
    network, x = network_of("plain"), BY_NAME["plain"].image()
    first, again, small, other = (
        asked(network, x, "rise", masks=40, seed=seed, memory=memory).array
        for seed, memory in ((0, "1GiB"), (0, "1GiB"), (0, "3MiB"), (1, "1GiB"))
    )
    assert (first == again).all() and (first != other).any()
    assert np.abs(first - small).max() < 1e-4 * np.abs(first).max()


@parametrised()
def test_it_explains_every_network(example):
    network, x = network_of(example.name), example.image(2 if example.name.endswith("2D") else 1)
    model = {"output": example.output} if example.output is not None else None
    target = 0 if example.name == "upward" else 1  # what this segmenter finds somewhere
    result = asked(network, x, "rise", target, model, masks=16, cells=4)
    assert result.array.any()
    assert result.diagnostics["passes"] == 17 * len(x)
    assert result.diagnostics["median_standard_error"] > 0


def test_the_parameters_are_checked():
    method = get_method("rise")
    for wrong in ({"seen": 0}, {"masks": 2}, {"cells": 0}, {"fill": ""}):
        with pytest.raises(XAIError):
            method.check_parameters(wrong)

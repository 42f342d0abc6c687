"""LIME: what is linear is recovered exactly, the regression is the textbook's, and a poor surrogate is said."""

import numpy as np
import pytest
import torch

from Testing.compute.graphs import network_of
from Testing.networks_zoo import BY_NAME, image, parametrised
from Testing.visual.asking import asked, assert_close, rows
from Testing.visual.test_kernel_shap import blocks, written
from XAIExplainLib.compute.supervoxels import partitioned
from XAIExplainLib.visual.lime import chosen, nearness, neighbours, surrogate


def random_game(samples=120, players=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    seen = neighbours(players, samples, generator)
    return seen, nearness(seen, 0.25), torch.randn(samples, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("fill", [0.0, 1.5, "blur"])
def test_a_network_that_adds_up_its_voxels_is_recovered(fill):
    """Each region gets what covering it takes away, whatever else is covered."""
    weight, x = image(1, 12, 13, 14, seed=5), image(1, 12, 13, 14)
    result = asked(
        lambda x: (x * weight).sum((2, 3, 4)).repeat(1, 2) + 7, x, "lime", regions=40, samples=150, fill=fill, penalty=0
    )
    labels = torch.from_numpy(partitioned(x.numpy(), np.ones((1, 12, 13, 14), bool), (1, 1, 1), 40, "slic")[0])
    from XAIExplainLib.compute.baselines import baseline

    total = torch.bincount(labels.flatten(), ((x - baseline(x, fill)) * weight).flatten().double())
    size = torch.bincount(labels.flatten()).clamp_min(1)
    assert_close(rows(result, x)[0, 0], (total / size)[labels].float(), 1e-4)
    found = result.diagnostics
    assert found["surrogate_r2"] > 1 - 1e-6
    assert found["surrogate_r2_left_out"] > 1 - 1e-6
    assert found["largest_standard_error"] < 1e-4 * found["largest_weight"]
    assert not found["warnings"]
    assert found["surrogate_intercept"] == pytest.approx(
        float((baseline(x, fill) * weight).sum() + 7), rel=1e-3, abs=1e-2
    )


def test_the_default_penalty_shrinks_by_a_thousandth():
    seen = neighbours(30, 600, torch.Generator().manual_seed(0))
    weight = torch.linspace(-2, 3, 30, dtype=torch.float64)
    found = surrogate(seen, nearness(seen, 0.25), 4 + seen.double() @ weight, 0, 0.001)
    assert torch.allclose(found.weights, weight, atol=0.004 * 3)
    assert 0.0003 < float((found.weights - weight).norm() / weight.norm()) < 0.003


@pytest.mark.parametrize("seed", range(3))
def test_a_sparse_model_is_recovered_from_fewer_images_than_regions(seed):
    """Five of 200 regions count; 120 images are enough to find them and their weights."""
    generator = torch.Generator().manual_seed(seed)
    seen = neighbours(200, 120, generator)
    true = torch.zeros(200, dtype=torch.float64)
    true[torch.randperm(200, generator=generator)[:5]] = torch.tensor([3.0, -2, 1.5, 1, -1], dtype=torch.float64)
    found = surrogate(seen, nearness(seen, 0.25), seen.double() @ true - 1, 5, 0.0)
    assert torch.allclose(found.weights, true, atol=1e-9)
    assert found.intercept == pytest.approx(-1)


def test_it_shows_the_chosen_regions_only(tmp_path):
    x, labels = torch.ones(1, 1, 8, 8, 8), blocks((8, 8, 8), (2, 2, 2))

    def network(x):
        return (3 * x[..., :4, :4, :4].mean((2, 3, 4)) - 2 * x[..., 4:, 4:, :4].mean((2, 3, 4))).repeat(1, 2)

    path = written(labels, tmp_path / "l.nrrd")
    result = asked(network, x, "lime", labels=path, features=2, penalty=0, samples=60)
    wanted = torch.zeros(8, 8, 8)
    wanted[:4, :4, :4], wanted[4:, 4:, :4] = 3 / 64, -2 / 64
    assert_close(torch.from_numpy(result.array), wanted, 1e-5)
    assert result.diagnostics["surrogate_features"] == 2


@pytest.mark.parametrize("penalty", [0.0, 0.05])
def test_the_regression_is_the_textbooks(penalty):
    """Ridge with a free intercept by its normal equations, and each image's prediction with that image left out."""
    seen, near, scores = random_game()
    found = surrogate(seen, near, scores, 0, penalty)
    z, share = seen.double(), near / near.sum()

    def fit(share, ridge):
        design = torch.cat([torch.ones(len(z), 1, dtype=torch.float64), z], 1)
        penal = torch.diag(torch.tensor([0.0] + [ridge] * 12, dtype=torch.float64))
        return torch.linalg.solve(design.T @ (share[:, None] * design) + penal, design.T @ (share * scores)), design

    centred = z - share @ z
    ridge = penalty * float((share[:, None] * centred**2).sum()) / 12
    solution, design = fit(share, ridge)
    assert torch.allclose(found.weights, solution[1:], atol=1e-9)
    assert found.intercept == pytest.approx(float(solution[0]))
    total = float((share * (scores - share @ scores) ** 2).sum())
    assert found.fidelity == pytest.approx(1 - float((share * (scores - design @ solution) ** 2).sum()) / total)
    left = torch.zeros(len(z), dtype=torch.float64)
    for row in range(len(z)):
        rest = share.clone()
        rest[row] = 0
        left[row] = scores[row] - design[row] @ fit(rest, ridge)[0]
    assert found.foretold == pytest.approx(1 - float((share * left**2).sum()) / total, abs=1e-9)


def test_the_error_is_that_of_many_runs():
    def score(seen):
        return torch.tanh(seen.double() @ torch.linspace(-1, 2, 12, dtype=torch.float64)) + 2.0 * seen[:, :3].all(1)

    fits = []
    for seed in range(60):
        seen = neighbours(12, 200, torch.Generator().manual_seed(seed))
        fits.append(surrogate(seen, nearness(seen, 0.25), score(seen), 0, 0.0))
    true = torch.stack([fit.weights for fit in fits]).std(0).pow(2).mean().sqrt()
    said = torch.stack([fit.errors for fit in fits]).pow(2).mean().sqrt()
    assert 0.8 < float(said / true) < 1.3


def test_nearness_is_the_cosine_kernel():
    seen = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]]).bool()
    one = torch.ones(4)
    cosine = torch.nn.functional.cosine_similarity(seen[:2].float(), one[None], dim=1)
    assert torch.allclose(nearness(seen, 0.5)[:2].float(), torch.exp(-(((1 - cosine) / 0.5) ** 2)))
    assert float(nearness(seen, 0.5)[2]) == pytest.approx(float(np.exp(-4)))
    # So narrow that every weight but that of the image itself vanishes: they stay in proportion.
    assert float(nearness(seen[1:], 0.01)[0]) == 1


def test_forward_selection_takes_the_best_column_each_time():
    seen, near, scores = random_game(60, 8)
    share = near / near.sum()
    design = share.sqrt()[:, None] * (seen.double() - share @ seen.double())
    wanted = share.sqrt() * (scores - share @ scores)
    picked: list[int] = []
    for number in range(1, 5):

        def left(extra, picked=picked):
            part = design[:, [*picked, extra]]
            return float((wanted - part @ torch.linalg.lstsq(part, wanted[:, None]).solution[:, 0]).norm())

        picked.append(min((column for column in range(8) if column not in picked), key=left))
        assert chosen(design, wanted, number).tolist() == sorted(picked)


def test_a_surrogate_that_does_not_describe_the_network_is_said():
    def network(x):
        return torch.sin(40 * x.sum((2, 3, 4))).repeat(1, 2)

    result = asked(network, image(1, 12, 12, 12) + 3, "lime", regions=30, samples=100)
    assert result.diagnostics["surrogate_r2_left_out"] < 0.5
    assert "does not describe the network" in result.diagnostics["warnings"][0]


@parametrised()
def test_it_explains_every_network(example):
    network, x = network_of(example.name), example.image(2 if example.name.endswith("2D") else 1)
    model = {"output": example.output} if example.output is not None else None
    target = 0 if example.name == "upward" else 1  # what this segmenter finds somewhere
    result = asked(network, x, "lime", target, model, regions=8, samples=40)
    assert result.array.any()
    assert result.diagnostics["surrogate_r2_left_out"] <= result.diagnostics["surrogate_r2"] <= 1
    assert result.diagnostics["passes"] <= 40 * len(x)
    assert len(result.diagnostics["largest_regions"]) <= 10


def test_slices_and_seeds():
    network, x = network_of("plain 2D"), BY_NAME["plain 2D"].image(3)
    x[1] = 0
    first, again, other = (asked(network, x, "lime", regions=9, samples=40, seed=seed).array for seed in (0, 0, 1))
    assert (first == again).all() and (first != other).any()
    assert not first[1].any() and first[0].all() and first[2].all()


def test_a_network_that_says_the_same_of_everything():
    result = asked(lambda x: torch.ones(len(x), 2), image(1, 8, 8, 8), "lime", regions=8, samples=40)
    assert not result.array.any()
    assert not result.diagnostics["warnings"]

"""Shapley values: Shapley's own formula, the regression that equals it, and the error that the draws leave."""

import itertools
import math

import pytest
import torch

from XAIExplainLib.compute.shapley import all_coalitions, exact_values, pairs_of, regressed
from XAIExplainLib.errors import XAIError


def game(players, seed=0):
    """A random game: a score for each coalition, as a table in the order of `all_coalitions`."""
    return torch.randn(2**players, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def score(table, seen):
    return table[(seen * 2 ** torch.arange(seen.shape[1])).sum(1)]


def by_permutations(table, players):
    """The mean over all orders of what a player adds when it joins: Shapley's definition, without his formula."""
    values = torch.zeros(players, dtype=torch.float64)
    for order in itertools.permutations(range(players)):
        number = 0
        for player in order:
            values[player] += table[number + 2**player] - table[number]
            number += 2**player
    return values / math.factorial(players)


def solved(function, players, samples, seed=0):
    pairs = pairs_of(players, samples, torch.Generator().manual_seed(seed))
    ends = function(torch.tensor([[False] * players, [True] * players]))
    values, errors = regressed(pairs, function(pairs.seen), function(~pairs.seen), float(ends[0]), float(ends[1]))
    return values, errors, pairs


@pytest.mark.parametrize("players", [1, 2, 3, 6])
def test_the_formula_is_the_mean_over_all_orders(players):
    table = game(players)
    assert torch.allclose(exact_values(table), by_permutations(table, players), atol=1e-12)


@pytest.mark.parametrize("players", [1, 2, 3, 4, 5, 8, 9])
def test_with_all_coalitions_the_regression_is_exact(players):
    table = game(players)
    values, errors, pairs = solved(lambda seen: score(table, seen), players, 2**players)
    assert pairs.complete
    assert 2 * len(pairs.seen) == 2**players - 2
    every = torch.cat([pairs.seen, ~pairs.seen])
    assert len(every.unique(dim=0)) == len(every)
    assert torch.allclose(values, exact_values(table), atol=1e-10)
    assert not errors.any()


def test_axioms():
    """Symmetric players get the same, one that adds nothing gets 0, and all together get the difference."""

    def function(seen):
        a, b, c, _, e = seen.double().T
        return 2 + a * b + 3 * a * b * c - e * c + e

    values = exact_values(function(all_coalitions(5)))
    assert float(values[0] - values[1]) == pytest.approx(0, abs=1e-12)
    assert float(values[3]) == pytest.approx(0, abs=1e-12)
    assert float(values.sum()) == pytest.approx(4, abs=1e-12)
    # a b is shared by two, 3 a b c by three, e c by two.
    assert values.tolist() == pytest.approx([1.5, 1.5, 0.5, 0, 0.5], abs=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_single_and_pairwise_effects_need_no_luck(seed):
    """Of 40 players, 160 of 1e12 coalitions: the pairs cancel all that two players do together."""
    generator = torch.Generator().manual_seed(seed)
    linear = torch.randn(40, generator=generator, dtype=torch.float64)
    both = torch.randn(40, 40, generator=generator, dtype=torch.float64).triu(1)
    values, errors, _ = solved(
        lambda seen: 3 + seen.double() @ linear + ((seen.double() @ both) * seen.double()).sum(1), 40, 160, seed
    )
    assert torch.allclose(values, linear + (both + both.T).sum(1) / 2, atol=1e-9)
    assert float(errors.max()) < 1e-9


def test_the_values_add_up_whatever_is_drawn():
    table = game(14)
    for samples in (60, 200):
        values, errors, pairs = solved(lambda seen: score(table, seen), 14, samples)
        assert not pairs.complete
        assert float(values.sum()) == pytest.approx(float(table[-1] - table[0]), abs=1e-10)
        assert (errors > 0).all()


def saturated(seen):
    """Ten players, effects of every order."""
    weight = torch.linspace(-1, 2, 10, dtype=torch.float64)
    return torch.tanh(seen.double() @ weight) + seen[:, :4].double().prod(1)


def test_it_comes_to_the_exact_values_and_knows_its_error():
    exact = exact_values(saturated(all_coalitions(10)))
    found = {}
    for samples in (60, 400):
        runs = [solved(saturated, 10, samples, seed) for seed in range(80)]
        values, errors = torch.stack([run[0] for run in runs]), torch.stack([run[1] for run in runs])
        found[samples] = float((values - exact).pow(2).mean().sqrt()), float(errors.pow(2).mean().sqrt())
        bias = (values.mean(0) - exact).abs() / (values.std(0) / 80**0.5)
        assert float(bias.max()) < 4.5, samples
    assert found[400][0] < 0.5 * found[60][0]
    for samples, (true, said) in found.items():
        # Distinct draws make the true error smaller than said; it must not be larger.
        assert true < 1.15 * said, samples
        assert said < 2.5 * true, samples


def test_weights_are_the_kernel():
    """What listed and drawn coalitions stand for is the Shapley kernel's mass."""
    pairs = pairs_of(12, 500, torch.Generator().manual_seed(0))
    sizes = pairs.seen.sum(1)
    kernel = {size: 11 / (size * (12 - size)) * (2 if size != 6 else 1) for size in range(1, 7)}
    total = sum(kernel.values())
    assert float(pairs.weights.sum()) == pytest.approx(1)
    for size, mass in kernel.items():
        found = float(pairs.weights[sizes == size].sum())
        steps = float(pairs.weights[pairs.drawn].max()) if pairs.drawn.any() else 0
        assert found == pytest.approx(mass / total, abs=1.01 * steps)
    assert not pairs.drawn[sizes <= 2].any()
    assert pairs.drawn[sizes >= 4].all()
    assert len(pairs.seen) <= 250


def test_a_draw_is_not_drawn_twice():
    pairs = pairs_of(20, 600, torch.Generator().manual_seed(0))
    every = torch.cat([pairs.seen, ~pairs.seen])
    assert len(every.unique(dim=0)) == len(every)


def test_too_few_samples_are_refused():
    with pytest.raises(XAIError, match="100 samples are too few to tell 50 regions apart"):
        pairs_of(50, 100, torch.Generator())

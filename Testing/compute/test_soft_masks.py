"""Masks on a coarse grid: interpolation and its transpose, the area, and the descent that finds the best region."""

import pytest
import torch

from XAIExplainLib.compute.placement import cells, enlarge
from XAIExplainLib.compute.soft_masks import Adam, Lattice, share_of_area, total_variation, with_area

SHAPES = [((11, 13, 9), (4.0, 3.0, 5.0)), ((20, 17), (4.0, 1.0)), ((5, 6, 7), (1.0, 9.0, 2.0))]


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("spatial", "cell"), SHAPES)
def test_it_is_the_linear_interpolation_of_all_maps(spatial, cell):
    lattice = Lattice(spatial, cell, dtype=torch.float64)
    mask = drawn(2, *lattice.grid)
    wanted = enlarge(mask[:, None], spatial, *cells(lattice.grid, spatial))[:, 0]
    assert torch.allclose(lattice.enlarged(mask), wanted, atol=1e-12)


@pytest.mark.parametrize("shift", [(), (1.0, -2.0, 0.5)])
@pytest.mark.parametrize(("spatial", "cell"), SHAPES)
def test_the_way_back_is_the_transpose(spatial, cell, shift):
    lattice = Lattice(spatial, cell, shift[: len(spatial)], torch.float64)
    mask, values = drawn(2, *lattice.grid), drawn(2, *spatial, seed=1)
    assert float((lattice.enlarged(mask) * values).sum()) == pytest.approx(
        float((mask * lattice.gathered(values)).sum()), rel=1e-12
    )
    leaf = mask.clone().requires_grad_()
    (lattice.enlarged(leaf) * values).sum().backward()
    assert torch.allclose(leaf.grad, lattice.gathered(values), atol=1e-12)


def test_a_mask_of_ones_is_ones_and_a_shift_moves_it():
    lattice = Lattice((12, 10, 8), (3.0, 3.0, 3.0), (2.0, 0.0, 0.0), torch.float64)
    ones = lattice.enlarged(torch.ones(1, *lattice.grid, dtype=torch.float64))
    assert torch.allclose(ones, torch.ones_like(ones), atol=1e-12)
    mask = drawn(1, *lattice.grid)
    still = Lattice((12, 10, 8), (3.0, 3.0, 3.0), dtype=torch.float64).enlarged(mask)
    assert torch.allclose(lattice.enlarged(mask)[:, 3:], still[:, 1:-2], atol=1e-12)


@pytest.mark.parametrize("area", [0.003, 0.2, 0.77])
def test_the_area_is_kept(area):
    levels, weights = 5 * drawn(3, 4, 5, 6), drawn(3, 4, 5, 6, seed=1).clamp_min(0)
    mask = with_area(levels, weights, area)
    assert share_of_area(mask, weights) == pytest.approx([area] * 3, rel=1e-9)
    assert not mask[weights == 0].any()
    ranked = mask[0][weights[0] > 0][levels[0][weights[0] > 0].argsort()]
    assert bool((ranked.diff() >= 0).all())


def test_mirror_descent_finds_the_best_cells_of_an_area():
    """A linear score: the best region of so much area are the cells of the largest gain for their area."""
    gain, weights = drawn(1, 5, 6, 7), 0.2 + drawn(1, 5, 6, 7, seed=1).abs()
    ranked = (gain / weights).flatten().sort(descending=True)
    count = 10 + int((ranked.values[9:29] - ranked.values[10:30]).argmax())  # not at a tie
    wanted = torch.zeros_like(gain).flatten()
    wanted[ranked.indices[:count]] = 1
    area = float(share_of_area(wanted.reshape(gain.shape), weights))
    levels, adam = torch.zeros_like(gain), Adam(gain, 1.0, shared=True)
    for _ in range(1200):
        levels = levels + adam.step(-gain / weights)
    assert torch.allclose(with_area(levels, weights, area).flatten(), wanted, atol=1e-3)


def test_total_variation_and_its_gradient():
    mask = torch.zeros(1, 3, 4, 5, dtype=torch.float64)
    mask[0, 1, 1, 1] = 0.5
    assert float(total_variation(mask)[0]) == pytest.approx(6 * 0.5**3)
    leaf = drawn(2, 3, 4, 5).requires_grad_()
    value, gradient = total_variation(leaf.detach())
    by_hand = sum((leaf.diff(dim=axis).abs() ** 3).sum() for axis in (1, 2, 3))
    by_hand.backward()
    assert float(value.sum()) == pytest.approx(float(by_hand.detach()), rel=1e-12)
    assert torch.allclose(gradient, leaf.grad, atol=1e-12)


def test_adam_is_torchs():
    """With a second moment for each cell; torch's has another epsilon."""
    start, found = drawn(2, 3, 4), drawn(2, 3, 4)
    leaf = start.clone().requires_grad_()
    peer, ours = torch.optim.Adam([leaf], 0.1, (0.9, 0.95), 1e-14), Adam(start, 0.1, shared=False)
    for step in range(5):
        leaf.grad = drawn(2, 3, 4, seed=10 + step)
        peer.step()
        found = found + ours.step(drawn(2, 3, 4, seed=10 + step))
    assert torch.allclose(found, leaf.detach(), atol=1e-9)


def test_a_shared_second_moment_keeps_the_ranking():
    gradient = torch.tensor([[1.0, 0.5, 0.0, -0.1], [100.0, 50.0, 0.0, -10.0]])
    step = Adam(gradient, 1.0, shared=True).step(gradient)
    assert torch.allclose(step, torch.tensor([[-1.0, -0.5, 0.0, 0.1]] * 2))

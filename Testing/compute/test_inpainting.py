"""Holes filled by Laplace's equation: harmonic functions come back, and nothing else is touched."""

import numpy as np
import pytest
import torch

from XAIExplainLib.compute.inpainting import grown, harmonic, sweep


def places(*shape):
    return torch.meshgrid(*[torch.arange(n, dtype=torch.float64) for n in shape], indexing="ij")


def blob(*shape, seed=0):
    """A ragged hole away from the edge of the image."""
    hole = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.6
    inner = torch.zeros(shape, dtype=torch.bool)
    inner[tuple(slice(1, -1) for _ in shape)] = True
    return hole & inner


@pytest.mark.parametrize("function", [
    lambda k, j, i: 3 + 2 * k - j + 0.5 * i, lambda k, j, i: k * k - j * j, lambda k, j, i: k * j * i,
    lambda k, j, i: 2 * k * k - j * j - i * i + k * i,
])  # fmt: skip
def test_harmonic_functions_come_back(function):
    wanted = function(*places(11, 9, 13))[None, None]
    hole = blob(11, 9, 13)[None]
    hole[0, 3:8, 2:7, 3:10] = True
    broken = torch.where(hole[:, None], 1e3, wanted)
    found = harmonic(broken, hole, tolerance=1e-13)
    assert torch.allclose(found, wanted, atol=1e-8)


def test_slices_and_channels():
    k, j = places(14, 15)
    wanted = torch.stack([torch.stack([k + j, k * j]), torch.stack([k - j, k * k - j * j])])
    hole = torch.stack([blob(14, 15), blob(14, 15, seed=1)])
    found = harmonic(torch.where(hole[:, None], -5.0, wanted), hole, tolerance=1e-13)
    assert torch.allclose(found, wanted, atol=1e-8)


def test_it_solves_the_equations_of_any_domain():
    """Against a dense solver: known voxels stay, an unknown one is the mean of its neighbours in the domain."""
    generator = torch.Generator().manual_seed(3)
    shape = (5, 6, 4)
    x = torch.randn(1, 1, *shape, generator=generator, dtype=torch.float64)
    domain = torch.rand(1, *shape, generator=generator) < 0.85
    hole = torch.rand(1, *shape, generator=generator) < 0.6
    found = harmonic(x, hole, domain, tolerance=1e-13)[0, 0].numpy()
    inside, unknown = domain[0].numpy(), (hole & domain)[0].numpy()
    matrix, right = np.eye(unknown.size), x[0, 0].numpy().ravel().copy()
    alone = np.zeros(unknown.size, bool)
    index = np.arange(unknown.size).reshape(shape)
    for place in np.argwhere(unknown):
        row = index[tuple(place)]
        near = [place + step for step in np.vstack([np.eye(3, dtype=int), -np.eye(3, dtype=int)])]
        near = [tuple(p) for p in near if (p >= 0).all() and (p < shape).all() and inside[tuple(p)]]
        alone[row] = not near
        if near:
            right[row] = 0
            matrix[row, row] = len(near)
            for p in near:
                matrix[row, index[p]] -= 1
    assert np.linalg.cond(matrix) < 1e6 and not alone.any()
    assert found == pytest.approx(np.linalg.solve(matrix, right).reshape(shape), abs=1e-8)


def test_the_boundary_is_kept_and_no_value_is_beyond_it():
    x = torch.randn(1, 2, 12, 10, 11, generator=torch.Generator().manual_seed(0))
    hole = torch.zeros(1, 12, 10, 11, dtype=torch.bool)
    hole[0, 3:9, 2:8, 0:7] = True
    found = harmonic(x, hole)
    assert torch.equal(found[:, :, ~hole[0]], x[:, :, ~hole[0]])
    for channel in range(2):
        known = x[0, channel][grown(hole)[0] & ~hole[0]]
        assert known.min() - 0.01 <= found[0, channel][hole[0]].min()
        assert found[0, channel][hole[0]].max() <= known.max() + 0.01


def test_the_air_around_the_anatomy_does_not_flow_in():
    x = torch.zeros(1, 1, 10, 10, 10)
    domain = torch.zeros(1, 10, 10, 10, dtype=torch.bool)
    domain[0, 2:8, 2:8, 2:8] = True
    x[domain[:, None]] = 5.0
    hole = torch.zeros_like(domain)
    hole[0, :5] = True
    assert torch.allclose(harmonic(torch.where((hole & domain)[:, None], 0.3, x), hole, domain), x, atol=1e-3)


def test_what_touches_nothing_known_is_the_mean():
    x = torch.arange(8.0).reshape(1, 1, 2, 2, 2)
    domain = torch.ones(1, 2, 2, 2, dtype=torch.bool)
    assert torch.equal(harmonic(x, domain, domain), torch.full_like(x, 3.5))
    assert torch.equal(harmonic(x, torch.zeros_like(domain)), x)


@pytest.mark.parametrize(("spatial", "core", "margin"), [((32, 40, 24), 4, 2), ((17, 13, 9), 2, 1), ((20, 31), 3, 2)])
def test_the_sweep_covers_each_voxel_by_a_hole_that_is_wider(spatial, core, margin):
    covered = torch.zeros(spatial)
    for hole, middle in sweep(spatial, core, margin):
        assert bool((hole | ~middle).all())
        wide = grown(middle[None], margin)[0]
        assert torch.equal(wide | hole, hole), "the core is nearer to the known than the margin"
        assert float(hole.float().mean()) < 0.8
        covered += middle
    assert bool((covered >= 1).all())


def test_it_can_be_stopped():
    x = torch.rand(1, 1, 20, 20, 20)
    calls = []

    def check():
        calls.append(1)
        if len(calls) > 3:
            raise InterruptedError

    hole = torch.zeros(1, 20, 20, 20, dtype=torch.bool)
    hole[0, 2:18, 2:18, 2:18] = True
    with pytest.raises(InterruptedError):
        harmonic(x, hole, tolerance=1e-9, check=check)

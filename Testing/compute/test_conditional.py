"""The Gaussian model of an image: the textbook's conditional distribution, from covariances that are the image's."""

import itertools

import numpy as np
import pytest
import torch

from XAIExplainLib.compute import conditional
from XAIExplainLib.compute.conditional import Draws, Gaussian, Part, air, dilated, learned
from XAIExplainLib.errors import XAIError


def moving_average(channels, spatial, size=3, seed=0):
    """A stationary image (1, C, *spatial) of known covariance: white noise under `channels` kernels.

    The covariance of channel a at p and b at p + h is the sum over k of K_a(k) K_b(k - h), here by a loop.
    """
    generator = torch.Generator().manual_seed(seed)
    dims = len(spatial)
    kernels = torch.rand(channels, *[size] * dims, generator=generator, dtype=torch.float64)
    noise = torch.randn(1, 1, *[n + size - 1 for n in spatial], generator=generator, dtype=torch.float64)
    convolve = torch.nn.functional.conv3d if dims == 3 else torch.nn.functional.conv2d
    reach = size - 1
    covariance = torch.zeros(channels, channels, *[2 * reach + 1] * dims, dtype=torch.float64)
    for lag in itertools.product(range(-reach, reach + 1), repeat=dims):
        for place in itertools.product(range(size), repeat=dims):
            other = tuple(n - h for n, h in zip(place, lag, strict=True))
            if all(0 <= n < size for n in other):
                at = tuple(h + reach for h in lag)
                covariance[(slice(None), slice(None), *at)] += torch.outer(
                    kernels[(slice(None), *place)], kernels[(slice(None), *other)]
                )
    return convolve(noise, kernels[:, None]), covariance


def wide(covariance, reach):
    """The covariance with zeros out to `reach`."""
    old = covariance.shape[-1] // 2
    pads = [reach - old] * 2 * (covariance.dim() - 2)
    return torch.nn.functional.pad(covariance, pads)


def full(covariance, voxels):
    """The covariance matrix of some voxels (tuples), channel by channel, number by number."""
    channels, reach = len(covariance), covariance.shape[-1] // 2
    numbers = [(c, voxel) for c in range(channels) for voxel in voxels]
    return np.array([
        [float(covariance[(a, b, *(q - p + reach for p, q in zip(first, second, strict=True)))])
         for b, second in numbers] for a, first in numbers
    ])  # fmt: skip


@pytest.mark.parametrize(("channels", "dims"), [(1, 3), (2, 3), (3, 2)])
def test_the_conditional_distribution_is_the_textbooks(channels, dims):
    covariance = wide(moving_average(channels, (4,) * dims)[1], 3)
    voxels = list(itertools.product(range(4), range(3), range(2)))[:24] if dims == 3 else list(
        itertools.product(range(4), repeat=2))  # fmt: skip
    torch.manual_seed(0)
    order = torch.randperm(len(voxels)).tolist()
    inside, around = [voxels[n] for n in order[:5]], [voxels[n] for n in order[5:]]  # of no simple form
    mean = torch.arange(channels, dtype=torch.float64)
    model = Gaussian(mean, covariance)
    found = model.conditional(torch.tensor(inside), torch.tensor(around))

    whole = full(covariance, [*inside, *around])
    own = [c * len(voxels) + n for c in range(channels) for n in range(5)]
    others = [n for n in range(len(whole)) if n not in own]
    gain = whole[np.ix_(own, others)] @ np.linalg.inv(whole[np.ix_(others, others)])
    wanted = whole[np.ix_(own, own)] - gain @ whole[np.ix_(others, own)]
    assert np.abs((found.factor @ found.factor.T).numpy() - wanted).max() < 1e-9 * wanted.max()
    above = torch.randn(len(others), dtype=torch.float64)
    assert np.abs(found.mean(above[:, None])[:, 0].numpy() - gain @ above.numpy()).max() < 1e-9
    # Neighbours tell something, and with nobody around nothing is known.
    assert np.trace(wanted) < 0.7 * np.trace(whole[np.ix_(own, own)])
    alone = model.conditional(torch.tensor(inside), torch.zeros(0, dims, dtype=torch.long))
    assert np.allclose((alone.factor @ alone.factor.T).numpy(), whole[np.ix_(own, own)])
    assert not alone.mean(torch.zeros(0, 1, dtype=torch.float64)).any()


@pytest.mark.parametrize("shape", [(2, 5, 4, 6), (3, 7, 5)])
def test_what_is_learned_is_a_sum_over_pairs(shape):
    """Two images, some voxels left out: against loops, shrinkage included."""
    torch.manual_seed(0)
    images = torch.randn(2, *shape, dtype=torch.float64)
    inside = torch.rand(2, *shape[1:]) < 0.7
    channels, reach = shape[0], (2, 1, 3)[: len(shape) - 1]
    model = learned(images, inside, reach)
    values = images.movedim(1, -1)[inside]
    assert torch.allclose(model.mean, values.mean(0))
    assert torch.equal(model.low, values.amin(0)) and torch.equal(model.high, values.amax(0))
    assert model.voxels == int(inside.sum())
    above = (images - values.mean(0).reshape(1, -1, *[1] * len(reach))) * inside[:, None]
    wanted = torch.zeros_like(model.covariance)
    for lag in itertools.product(*(range(-r, r + 1) for r in reach)):
        moved = torch.zeros_like(above)
        to = tuple(slice(max(-h, 0), n - max(h, 0)) for h, n in zip(lag, shape[1:], strict=True))
        out_of = tuple(slice(max(h, 0), n - max(-h, 0)) for h, n in zip(lag, shape[1:], strict=True))
        moved[(slice(None), slice(None), *to)] = above[(slice(None), slice(None), *out_of)]
        sums = torch.einsum("na...,nb...->ab", above, moved)
        at = tuple(h + r for h, r in zip(lag, reach, strict=True))
        wanted[(slice(None), slice(None), *at)] = sums / model.voxels * (1 - model.shrinkage)
        if not any(lag):
            own = torch.diag((above**2).sum((0, *range(2, 2 + len(reach)))) / model.voxels)
            wanted[(slice(None), slice(None), *at)] += model.shrinkage * own
    assert float((model.covariance - wanted).abs().max()) < 1e-12
    assert model.shrinkage > 0.5  # there is no correlation to be found
    assert torch.linalg.eigvalsh(model.between(*[torch.nonzero(torch.ones(3, 2, 2)[..., 0] if len(reach) == 2
                                                 else torch.ones(3, 2, 2))] * 2)).min() > 0  # fmt: skip
    assert channels == len(model.mean)


def test_a_known_gaussian_is_learned():
    """From one image of it, with an error that the number of voxels explains, and little shrinkage."""
    image, covariance = moving_average(2, (40, 40, 40))
    model = learned(image, torch.ones(1, 40, 40, 40, dtype=torch.bool), (4, 4, 4))
    wanted = wide(covariance, 4)
    error = float((model.covariance - wanted).norm() / wanted.norm())
    assert error < 0.15
    assert model.shrinkage < 0.05
    assert 64_000 / 60 < model.effective < 64_000 / 5  # a kernel of 27 voxels
    few = learned(image[..., :8, :8, :8], torch.ones(1, 8, 8, 8, dtype=torch.bool), (4, 4, 4))
    assert few.shrinkage > 3 * model.shrinkage


def test_draws_have_that_distribution():
    image, covariance = moving_average(2, (12, 12))
    model = Gaussian(torch.tensor([1.0, -2.0], dtype=torch.float64), wide(covariance, 11))
    known = torch.ones(12, 12, dtype=torch.bool)
    known[:, 5] = False
    draws = Draws(model, image[0], known, 2)
    part = Part((slice(4, 6), slice(6, 8)), torch.tensor([[True, True], [True, False]]))
    inside, around = draws.rim(part)
    assert inside.tolist() == [[4, 6], [4, 7], [5, 6]]
    block = {(k, j) for k in range(2, 8) for j in range(4, 10)} - {(4, 6), (4, 7), (5, 6), (7, 9)}
    assert {tuple(place) for place in around.tolist()} == {(k, j) for k, j in block if j != 5}
    found = draws.of(part, 20_000, torch.Generator().manual_seed(3))
    assert torch.equal(found, draws.of(part, 20_000, torch.Generator().manual_seed(3)))
    given = model.conditional(inside, around)
    above = image[0][:, around[:, 0], around[:, 1]] - model.mean[:, None]
    mean = given.mean(above.reshape(-1, 1))[:, 0]
    numbers = found.flatten(1)
    spread = given.factor @ given.factor.T
    wanted = mean + model.mean.repeat_interleave(3)
    assert bool(((numbers.mean(0) - wanted).abs() < 5 * (spread.diagonal() / 20_000).sqrt()).all())
    assert float((torch.cov(numbers.T) - spread).abs().max()) < 0.05 * float(spread.diagonal().max())


def test_a_large_part_is_drawn_in_blocks(monkeypatch):
    """Where neighbours that touch are all that matters (a Markov chain), blocks are nearly exact."""
    lags = torch.arange(-19, 20).abs().double()
    chain = (0.6**lags).reshape(1, 1, 1, 39).repeat(1, 1, 3, 1)
    chain[:, :, [0, 2]] = 0  # rows are independent
    model = Gaussian(torch.tensor([2.0], dtype=torch.float64), chain)
    torch.manual_seed(0)
    draws = Draws(model, torch.randn(1, 2, 20), torch.ones(2, 20, dtype=torch.bool), 1)
    part = Part((slice(0, 2), slice(3, 16)), torch.ones(2, 13, dtype=torch.bool))
    wanted = draws.of(part, 40_000, torch.Generator().manual_seed(0)).flatten(1)
    monkeypatch.setattr(conditional, "TOGETHER", 10)
    monkeypatch.setattr(conditional, "BLOCK", 64)  # 6 voxels along each axis
    blocks = []
    monkeypatch.setattr(Gaussian, "conditional", lambda self, own, near, real=Gaussian.conditional: (
        blocks.append(len(own)) or real(self, own, near)))  # fmt: skip
    draws = Draws(model, draws.image, draws.known, 1)
    found = draws.of(part, 40_000, torch.Generator().manual_seed(1)).flatten(1)
    assert len(blocks) > 2 and max(blocks) == 12
    assert float((found.mean(0) - wanted.mean(0)).abs().max()) < 0.1
    assert float((torch.cov(found.T) - torch.cov(wanted.T)).abs().max()) < 0.06


def test_an_image_without_variance_has_draws_too():
    flat = torch.full((1, 2, 6, 6), 3.0)
    flat[:, 1] = torch.rand(6, 6)
    model = learned(flat, torch.ones(1, 6, 6, dtype=torch.bool), (3, 3))
    draws = Draws(model, flat[0], torch.ones(6, 6, dtype=torch.bool), 1)
    part = Part((slice(2, 4), slice(2, 4)), torch.ones(2, 2, dtype=torch.bool))
    found = draws.of(part, 5, torch.Generator().manual_seed(0))
    assert float((found[:, 0] - 3).abs().max()) < 1e-3


def test_too_many_numbers_are_refused():
    model = Gaussian(torch.zeros(2), torch.zeros(2, 2, 39, 39, 39))
    places = torch.nonzero(torch.ones(14, 14, 14))
    with pytest.raises(XAIError, match="5,488 numbers"):
        model.conditional(places[:1000], places[1000:])


def test_air_is_what_the_faces_have():
    torch.manual_seed(0)
    image = torch.randn(1, 2, 9, 8, 7)
    assert not air(image).any()
    image[..., :2] = torch.tensor([-1.0, 5.0]).reshape(1, 2, 1, 1, 1)
    image[0, 0, 4, 4, 4] = -1.0
    wanted = torch.zeros(1, 9, 8, 7, dtype=torch.bool)
    wanted[..., :2] = True
    assert torch.equal(air(image), wanted)
    assert bool(air(torch.zeros(2, 1, 5, 5)).all())


@pytest.mark.parametrize("reach", [0, 1, 3, 50])
def test_dilation(reach):
    torch.manual_seed(0)
    inside = torch.rand(11, 12) < 0.03
    places = torch.nonzero(inside)
    every = torch.nonzero(torch.ones_like(inside))
    near = ((every[:, None] - places).abs().amax(2) <= reach).any(1).reshape(inside.shape)
    assert torch.equal(dilated(inside, reach), near)

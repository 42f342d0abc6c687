"""What covers: noise with the image's own statistics, and the mean of what lies around a box."""

import pytest
import torch

from XAIExplainLib.compute.baselines import mean_around, noise


@pytest.mark.parametrize("shape", [(2, 3, 40, 41), (1, 2, 15, 16, 17)])
def test_noise_has_mean_and_deviation_of_each_sample_and_channel(shape):
    torch.manual_seed(0)
    x = torch.randn(shape) * torch.rand(shape[:2]).reshape(*shape[:2], *[1] * (len(shape) - 2)) + 3
    found = noise(x, torch.Generator().manual_seed(4))
    assert torch.equal(found, noise(x, torch.Generator().manual_seed(4)))
    assert not torch.equal(found, noise(x, torch.Generator().manual_seed(5)))
    wanted, got = x.flatten(2), found.flatten(2)
    deviation = wanted.std(2)
    assert bool(((got.mean(2) - wanted.mean(2)).abs() < 5 * deviation / got.shape[2] ** 0.5).all())
    assert torch.allclose(got.std(2), deviation, rtol=0.1)
    alike = torch.corrcoef(torch.stack([got[0, 0], wanted[0, 0]]))[0, 1]
    assert abs(float(alike)) < 0.15  # nothing of the image is in it


@pytest.mark.parametrize(("box", "width"), [
    ((slice(3, 6), slice(2, 4), slice(0, 5)), (1, 2, 3)), ((slice(0, 9), slice(0, 1), slice(6, 7)), (2, 2, 2)),
])  # fmt: skip
def test_the_mean_around_is_that_of_a_shell(box, width):
    torch.manual_seed(0)
    image = torch.randn(2, 9, 8, 7)
    inside = torch.zeros(9, 8, 7, dtype=torch.bool)
    inside[box] = True
    places = torch.nonzero(torch.ones(9, 8, 7))
    low = torch.tensor([piece.start - w for piece, w in zip(box, width, strict=True)])
    high = torch.tensor([piece.stop + w for piece, w in zip(box, width, strict=True)])
    near = ((places >= low) & (places < high)).all(1).reshape(9, 8, 7)
    assert torch.allclose(mean_around(image, box, width), image[:, near & ~inside].mean(1), atol=1e-6)


def test_where_there_is_nothing_around_it_is_the_images_mean():
    image = torch.rand(3, 4, 5)
    assert torch.allclose(mean_around(image, (slice(0, 4), slice(0, 5)), (2, 2)), image.mean((1, 2)))
    level = torch.full((1, 6, 6), -1.7)
    assert torch.equal(mean_around(level, (slice(1, 3), slice(2, 5)), (1, 1)), torch.tensor([-1.7]))

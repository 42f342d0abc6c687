"""Max pools, against torch to the bit."""

import random

import pytest
import torch

from XAIExplainLib.compute.pooling import max_pool, max_pool_with_places, max_unpool


def _case(seed):
    """An image with many equal values, and a window that torch accepts."""
    draw = random.Random(seed)
    dims = draw.choice([2, 3])
    kernel = [draw.choice([1, 2, 3, 4]) for _ in range(dims)]
    window = (
        kernel,
        [draw.choice([1, 2, 3]) for _ in range(dims)],
        [draw.randint(0, k // 2) for k in kernel],
        [draw.choice([1, 1, 2]) for _ in range(dims)],
        draw.random() < 0.5,
    )
    torch.manual_seed(seed)
    x = torch.randn(2, 3, *[draw.randint(8, 13) for _ in range(dims)])
    return (x.round() if draw.random() < 0.6 else x), window


@pytest.mark.parametrize("seed", range(60))
def test_values_places_and_the_way_back_are_torchs(seed, monkeypatch):
    if seed % 2:
        monkeypatch.setattr("XAIExplainLib.compute.pooling.FEW", 0)
        monkeypatch.setattr("XAIExplainLib.compute.pooling.AT_ONCE", 1500)
    x, window = _case(seed)
    dims = x.dim() - 2
    pool = getattr(torch.ops.aten, f"max_pool{dims}d_with_indices")
    values, indices = pool(x, *window)
    assert torch.equal(max_pool(x, *window), values)
    found, places = max_pool_with_places(x, *window)
    assert torch.equal(found, values)
    assert torch.equal(places.long(), indices)
    back = getattr(torch.ops.aten, f"max_pool{dims}d_with_indices_backward")
    cotangent = torch.randn_like(values)
    assert torch.equal(max_unpool(cotangent, places, x.shape, *window), back(cotangent, x, *window, indices))


def test_what_is_not_a_number_stays_so():
    x = torch.randn(1, 1, 9, 9, 9)
    x[0, 0, 4, 4, 4] = -torch.tensor(float("nan"))
    window = ([3] * 3, [2] * 3, [1] * 3, [1] * 3)
    wanted = torch.nn.functional.max_pool3d(x, 3, 2, 1).isnan()
    assert torch.equal(max_pool(x, *window).isnan(), wanted)
    assert torch.equal(max_pool_with_places(x, *window)[0].isnan(), wanted)


def test_the_image_stays_as_it_was():
    x = torch.randn(1, 2, 8, 8, 8)
    before = x.clone()
    made = max_pool(x, [1] * 3, [1] * 3, [0] * 3, [1] * 3)
    made += 1
    assert torch.equal(x, before)

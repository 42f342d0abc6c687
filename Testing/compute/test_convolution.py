"""Convolutions forth and back, against torch in double precision."""

import random

import pytest
import torch

from XAIExplainLib.compute.convolution import convolve, transposed


def _case(seed, channels=(1, 2, 3, 5)):
    draw = random.Random(seed)
    dims = draw.choice([1, 2, 3])
    groups = draw.choice([1, 1, 2])
    sizes = {
        "stride": [draw.choice([1, 2, 3]) for _ in range(dims)],
        "padding": [draw.randint(0, 2) for _ in range(dims)],
        "dilation": [draw.choice([1, 1, 2]) for _ in range(dims)],
        "groups": groups,
    }
    torch.manual_seed(seed)
    x = torch.randn(draw.choice([1, 2]), groups * draw.choice(channels), *[draw.randint(9, 13) for _ in range(dims)])
    kernel = [draw.choice([1, 2, 3, 5]) for _ in range(dims)]
    weight = torch.randn(groups * draw.choice([1, 4, 7]), x.shape[1] // groups, *kernel)
    return x, weight, sizes


def _wanted(x, weight, sizes):
    dims = x.dim() - 2
    convolution = getattr(torch.nn.functional, f"conv{dims}d")
    leaf = x.double().requires_grad_()
    output = convolution(leaf, weight.double(), None, **sizes)
    cotangent = torch.randn_like(output)
    return output.detach(), cotangent, torch.autograd.grad(output, leaf, cotangent)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(40))
def test_forth_and_back_are_torchs(seed, dtype):
    x, weight, sizes = _case(seed)
    output, cotangent, gradient = _wanted(x, weight, sizes)
    x, weight, cotangent = x.to(dtype), weight.to(dtype), cotangent.to(dtype)
    tolerance = 1e-10 if dtype == torch.float64 else 2e-5
    found = convolve(x, weight, None, **sizes)
    assert torch.allclose(found.double(), output, rtol=tolerance, atol=tolerance * 10)
    back = transposed(cotangent, weight, x.shape, **sizes)
    assert back.shape == x.shape
    assert torch.allclose(back.double(), gradient, rtol=tolerance, atol=tolerance * 10)


def test_an_image_of_one_channel_is_reached_in_slabs_too(monkeypatch):
    monkeypatch.setattr("XAIExplainLib.compute.convolution.TAPS_AT_ONCE", 20_000)
    torch.manual_seed(0)
    x, weight = torch.randn(2, 1, 19, 17, 15), torch.randn(8, 1, 7, 7, 7)
    sizes = {"stride": [2, 2, 2], "padding": [3, 3, 3], "dilation": [1, 1, 1], "groups": 1}
    _, cotangent, gradient = _wanted(x, weight, sizes)
    found = transposed(cotangent.float(), weight, x.shape, **sizes)
    assert torch.allclose(found.double(), gradient, atol=1e-3, rtol=1e-5)


def test_voxels_that_no_window_reaches_get_nothing():
    x, weight = torch.randn(1, 1, 10, 10, 11), torch.randn(4, 1, 3, 3, 3)
    sizes = {"stride": [4, 4, 4], "padding": [0, 0, 0], "dilation": [1, 1, 1], "groups": 1}
    _, cotangent, gradient = _wanted(x, weight, sizes)
    found = transposed(cotangent.float(), weight, x.shape, **sizes)
    assert torch.equal(found == 0, gradient == 0)


def test_a_bias_is_added():
    x, weight, bias = torch.randn(1, 3, 8, 8), torch.randn(5, 3, 3, 3), torch.randn(5)
    wanted = torch.nn.functional.conv2d(x, weight, bias, padding=1)
    assert torch.allclose(convolve(x, weight, bias, [1, 1], [1, 1], [1, 1]), wanted, atol=1e-5)

"""Masks in bits."""

import pytest
import torch

from XAIExplainLib.compute.bits import packed, unpacked


@pytest.mark.parametrize("shape", [(1,), (7,), (8,), (2, 3, 5, 7, 3), (1, 16, 4, 4), ()])
def test_what_is_packed_comes_back(shape):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(0)) > 0.5
    bits = packed(mask)
    assert bits.nbytes == -(-mask.numel() // 8)
    assert torch.equal(unpacked(bits, mask.shape), mask)


def test_a_turned_mask_comes_back_too():
    mask = (torch.rand(3, 5, 7) > 0.5).permute(2, 0, 1)
    assert torch.equal(unpacked(packed(mask), mask.shape), mask)

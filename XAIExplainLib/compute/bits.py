"""Masks in one bit a voxel: what a rectifier lets through, kept from the way forth to the way back."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch


def packed(mask: torch.Tensor) -> torch.Tensor:
    """A bool tensor of any shape as bytes; on other devices than a processor it stays as it is."""
    if mask.device.type != "cpu":
        return mask
    return torch.from_numpy(np.packbits(mask.contiguous().numpy().reshape(-1)))


def unpacked(bits: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """The bool tensor of `shape` that was `packed`."""
    if bits.dtype == torch.bool:
        return bits
    flat = np.unpackbits(bits.numpy(), count=math.prod(shape)).view(np.bool_)
    return torch.from_numpy(flat).reshape(tuple(shape))

"""Ask for an explanation of a tensor, as a test has it."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch

from XAIExplainLib.explaining import explain
from XAIExplainLib.explanation import Explanation
from XAIExplainLib.model import Model
from XAIExplainLib.volume import Volume


def asked(
    network: Any, x: torch.Tensor, method: str, target: Any = 1, model: dict[str, Any] | None = None, **parameters: Any
) -> Explanation:
    """Explain a tensor (1, C, k, j, i), or slices (N, C, j, i), with nothing between it and the network."""
    flat = x.dim() == 4
    made = Model(network, spatial_dims=2 if flat else 3, **model) if model else _plain_model(network, 2 if flat else 3)
    volume = Volume(x.transpose(0, 1).numpy() if flat else x[0].numpy())
    return explain(made, volume, method, target, **parameters)


@functools.cache
def _plain_model(network: Any, dims: int) -> Model:
    """One a network, so that it is exported once for each size."""
    return Model(network, spatial_dims=dims)


def rows(result: Explanation, x: torch.Tensor) -> torch.Tensor:
    """The map of each channel, of the shape of `x` (with one channel where the method does not part them)."""
    channels = torch.from_numpy(result.channels)
    return channels.transpose(0, 1) if x.dim() == 4 else channels[None]


def native(result: Explanation) -> torch.Tensor:
    """The map before it was put on the image's grid."""
    return torch.from_numpy(np.asarray(result.native.array))


def assert_close(
    found: torch.Tensor, wanted: torch.Tensor, tolerance: float = 1e-5, may_vanish: bool = False
) -> None:
    """Equal up to `tolerance` of the largest value, which must not be zero unless it may vanish."""
    wanted = wanted.detach()
    assert found.shape == wanted.shape
    largest = float(wanted.abs().max())
    assert largest > 0 or may_vanish
    assert float((found - wanted).abs().max()) <= tolerance * largest

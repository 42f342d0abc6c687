"""A network that has learned nothing, for the question which methods can tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from XAIExplainLib.networks.lesion_network import LesionNetwork

_SIZE = (64, 80, 64)


class RandomLesionNetwork(LesionNetwork):
    """A `LesionNetwork` whose weights are drawn from a seed when it is made; it was never trained.

    Parameters
    ----------
    seed : int
        Of the drawing. The numbers are those of `numpy.random.RandomState`, whose stream is frozen: the same on every
        machine and with every version.
    channels, classes, in_channels
        As those of `LesionNetwork`.

    Notes
    -----
    Weights are normal with a variance of 2 / fan-in (He et al. 2015). The batch norms get mean and variance of what
    reaches them when the network sees a ball of smooth noise the size of a head. Without that, the signal would fade
    or flood on its way, and a map would be empty for a reason that has nothing to do with training.
    """

    draws_weights = True

    def __init__(
        self, seed: int = 0, channels: Sequence[int] = (16, 32, 48, 64, 96), classes: int = 3, in_channels: int = 1
    ) -> None:
        super().__init__(channels, classes, in_channels)
        random = np.random.RandomState(seed)
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, (nn.Conv3d, nn.Linear)):
                    spread = np.sqrt(2 / module.weight[0].numel())
                    drawn = spread * random.standard_normal(tuple(module.weight.shape))
                    module.weight.copy_(torch.from_numpy(drawn.astype(np.float32)))
                    if module.bias is not None:
                        module.bias.zero_()
            image = torch.from_numpy(_phantom(random)).expand(1, in_channels, *_SIZE)
            for layer in self.features:
                if isinstance(layer, nn.BatchNorm3d):
                    layer.running_mean = image.mean((0, 2, 3, 4))
                    layer.running_var = image.var((0, 2, 3, 4))
                    layer.eval()
                image = layer(image)
        self.eval()


def _phantom(random: np.random.RandomState) -> np.ndarray:
    """Smooth noise in an ellipsoid, z-scores inside and 0 outside, shape (k, j, i) of the prepared image."""
    noise: Tensor = torch.from_numpy(random.standard_normal((1, 1, *_SIZE)).astype(np.float32))
    noise = nn.functional.avg_pool3d(noise, 5, stride=1, padding=2)[0, 0]
    axes = [np.linspace(-1, 1, size) for size in _SIZE]
    k, j, i = np.meshgrid(*axes, indexing="ij")
    inside = torch.from_numpy(k**2 + j**2 + i**2 < 0.8)
    values = (noise - noise[inside].mean()) / noise[inside].std()
    return torch.where(inside, values, torch.zeros_like(values)).numpy()

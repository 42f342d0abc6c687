"""A variational autoencoder of healthy brains: its reconstruction is what a case would look like without a lesion."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from XAIExplainLib.networks.healthy_inpainter import block, shuffle, twice, unshuffle

LATENT = 8  # numbers a cell of 40 mm


class HealthyVAE(nn.Module):
    """Encoder to a narrow grid of Gaussians, decoder back to the image (Kingma & Welling 2014).

    Parameters
    ----------
    grid : tuple of int
        The input's spatial shape (k, j, i), multiples of 16.

    Notes
    -----
    Two voxels along each axis are put into channels first, so that all convolutions run on half the grid. The latent
    grid has cells of 16 voxels: 4 x 5 x 4 cells of 8 numbers for 64 x 80 x 64 voxels, which cannot hold a lesion that
    the decoder has never learnt to draw. The decoder adds a learnt map of places, an atlas, at 16 and 8 voxels a cell:
    the images are anatomy in one orientation, and need not be learnt for each place anew.
    """

    def __init__(self, grid: tuple[int, int, int] = (64, 80, 64)) -> None:
        super().__init__()
        deepest = [size // 16 for size in grid]
        self.encoder = nn.Sequential(
            *block(8, 16), *block(16, 32, 2), *block(32, 48, 2), *block(48, 64, 2), nn.Conv3d(64, 2 * LATENT, 1),
        )  # fmt: skip
        self.enter = nn.Conv3d(LATENT, 64, 3, padding=1)
        self.atlas = nn.Parameter(torch.zeros(1, 64, *deepest))
        self.finer_atlas = nn.Parameter(torch.zeros(1, 48, *[2 * size for size in deepest]))
        self.deep = nn.Sequential(*block(64, 64)[1:])
        self.middle = nn.Sequential(*block(64, 48))
        self.upper = nn.Sequential(*block(48, 32))
        self.last = nn.Sequential(*block(32, 16), nn.Conv3d(16, 8, 3, padding=1))

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of the latent numbers, each (n, 8, k / 16, j / 16, i / 16)."""
        mean, log_variance = self.encoder(unshuffle(image)).chunk(2, 1)
        return mean, log_variance.clamp(-12, 6)

    def decode(self, latent: Tensor) -> Tensor:
        """The image (n, 1, k, j, i) of latent numbers."""
        x = self.deep(self.enter(latent) + self.atlas)
        x = self.middle(twice(x)) + self.finer_atlas
        x = self.upper(twice(x))
        return shuffle(self.last(twice(x)))

    def forward(self, image: Tensor) -> Tensor:
        """The reconstruction from the mean of the latent numbers; 0 where the image is 0, outside the brain.

        Parameters
        ----------
        image : torch.Tensor
            Shape (n, 1, k, j, i), prepared as ``Resources/replacements/*/card.md`` says.
        """
        return self.decode(self.encode(image)[0]) * (image != 0)

"""A small U-Net that fills holes in healthy brains: what would be here if the surroundings were healthy?"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class HealthyInpainter(nn.Module):
    """Image with holes in, image with filled holes out.

    Parameters
    ----------
    grid : tuple of int
        The input's spatial shape (k, j, i), multiples of 16.

    Notes
    -----
    Two voxels along each axis are put into channels, then a U-Net of four levels (16, 32, 48, 64 channels, 3 x 3 x 3,
    batch normalisation, ReLU). A learnt map of places, an atlas, is added where a cell has 8 voxels: the images are
    anatomy in one orientation. After the idea of Lenis et al. 2020, without its local and global discriminators.
    """

    def __init__(self, grid: tuple[int, int, int] = (64, 80, 64)) -> None:
        super().__init__()
        self.first = nn.Sequential(*block(16, 16), *block(16, 16))
        self.second = nn.Sequential(*block(16, 32, 2), *block(32, 32))
        self.third = nn.Sequential(*block(32, 48, 2), *block(48, 48))
        self.fourth = nn.Sequential(*block(48, 64, 2), *block(64, 64))
        self.atlas = nn.Parameter(torch.zeros(1, 48, *[size // 8 for size in grid]))
        self.up_third = nn.Sequential(*block(64 + 48, 48))
        self.up_second = nn.Sequential(*block(48 + 32, 32))
        self.up_first = nn.Sequential(*block(32 + 16, 16), *block(16, 16), nn.Conv3d(16, 8, 3, padding=1))

    def forward(self, image: Tensor, hole: Tensor) -> Tensor:
        """Fill the holes.

        Parameters
        ----------
        image : torch.Tensor
            Shape (n, 1, k, j, i), prepared as ``Resources/replacements/*/card.md`` says; what it has in the holes is
            not looked at, but for where it is 0: outside the brain it stays 0.
        hole : torch.Tensor
            Same shape, bool.

        Returns
        -------
        torch.Tensor
            The image with other values in the holes.
        """
        inside = hole & (image != 0)
        known = torch.where(inside, 0.0, image)
        first = self.first(torch.cat([unshuffle(known), unshuffle(inside.to(image.dtype))], 1))
        second = self.second(first)
        third = self.third(second) + self.atlas
        fourth = self.fourth(third)
        x = self.up_third(torch.cat([twice(fourth), third], 1))
        x = self.up_second(torch.cat([twice(x), second], 1))
        x = self.up_first(torch.cat([twice(x), first], 1))
        return torch.where(inside, shuffle(x).to(image.dtype), image)


def block(channels: int, width: int, stride: int = 1) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Convolution 3 x 3 x 3, batch normalisation, ReLU."""
    return nn.Conv3d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm3d(width), nn.ReLU(inplace=True)


def twice(x: Tensor) -> Tensor:
    """Twice as many voxels along each axis, linearly interpolated."""
    return functional.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)


def unshuffle(x: Tensor) -> Tensor:
    """Two voxels along each axis into channels: (n, c, k, j, i) to (n, 8 c, k / 2, j / 2, i / 2)."""
    n, c, k, j, i = x.shape
    parts = x.reshape(n, c, k // 2, 2, j // 2, 2, i // 2, 2)
    return parts.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(n, 8 * c, k // 2, j // 2, i // 2)


def shuffle(x: Tensor) -> Tensor:
    """The inverse of `unshuffle`."""
    n, c, k, j, i = x.shape
    parts = x.reshape(n, c // 8, 2, 2, 2, k, j, i)
    return parts.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(n, c // 8, 2 * k, 2 * j, 2 * i)

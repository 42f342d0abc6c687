"""What else could stand in a part of an image: a Gaussian model of images, and draws of a part given what is around it.

The model is stationary: the covariance of two voxels depends on the way from one to the other and on their channels.
This is the covariance of patches taken at all places, with equal ways averaged, so that one image is enough to learn
it, and it is known for parts of any form.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch

from XAIExplainLib.compute.perturbation import Box
from XAIExplainLib.errors import XAIError

AIR = 0.05  # a value at the faces that so many of all voxels have is air, or what was put in its place
LEAST_SHRINKAGE = 1e-3  # so that very smooth images have an inverse
MOST_NUMBERS = 3000  # that are modelled together: their covariance is factored within a second
TOGETHER = 2048  # numbers up to which a part is drawn at once; larger ones block after block
BLOCK = 1500  # numbers of a block and its surroundings, about
KEPT_BYTES = 256 * 2**20  # of conditionals, for the parts that are alike


@dataclass(frozen=True, eq=False)
class Part:
    """Voxels that are replaced together, in all channels.

    Parameters
    ----------
    box : tuple of slice
        Their bounding box.
    inside : torch.Tensor
        Bool, of the box's shape: which voxels of the box they are.
    """

    box: Box
    inside: torch.Tensor


@dataclass(frozen=True, eq=False)
class Conditional:
    """Of Q numbers, given R others.

    Parameters
    ----------
    root : torch.Tensor
        Shape (R, R), lower triangular: times its transpose it is the covariance of the others.
    half : torch.Tensor
        Shape (R, Q): the inverse of the root times the covariance of the others with the Q numbers.
    factor : torch.Tensor
        Shape (Q, Q), lower triangular: times its transpose it is the covariance of the Q numbers given the others.
    """

    root: torch.Tensor
    half: torch.Tensor
    factor: torch.Tensor

    def mean(self, above: torch.Tensor) -> torch.Tensor:
        """How far the mean is above the model's, shape (Q, n), where the others are `above` theirs, shape (R, n)."""
        return self.half.T @ torch.linalg.solve_triangular(self.root, above, upper=False)

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return sum(part.numel() * part.element_size() for part in (self.root, self.half, self.factor))


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A stationary Gaussian model of images.

    Parameters
    ----------
    mean : torch.Tensor
        Shape (C,), float64.
    covariance : torch.Tensor
        Shape (C, C, *(2 reach + 1)), float64: ``[a, b, reach + h]`` is that of channel a at a voxel p and channel b
        at p + h, shrinkage included.
    shrinkage : float
        Share of the variance, from 0 to 1, that was taken to be each voxel's own.
    effective : float
        How many voxels without correlation would tell as much as those that the model was learned from.
    voxels : int
        How many these were.
    low, high : torch.Tensor
        Shape (C,): the least and the largest value of each channel.
    """

    mean: torch.Tensor
    covariance: torch.Tensor
    shrinkage: float = 0.0
    effective: float = math.inf
    voxels: int = 0
    low: torch.Tensor | None = None
    high: torch.Tensor | None = None

    def between(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """The covariance of two sets of voxels, shape (C p, C q), channel by channel.

        Parameters
        ----------
        first, second : torch.Tensor
            Shapes (p, dims) and (q, dims): places in voxels, no further apart than the model reaches.
        """
        channels, sizes = len(self.mean), self.covariance.shape[2:]
        strides = torch.tensor([math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))])
        middle = sum(int(stride) * (size // 2) for stride, size in zip(strides, sizes, strict=True))
        lags = (second @ strides)[None] - (first @ strides)[:, None] + middle
        flat = self.covariance.flatten(2)
        return torch.cat([torch.cat([flat[a, b][lags] for b in range(channels)], 1) for a in range(channels)])

    def conditional(self, inside: torch.Tensor, around: torch.Tensor) -> Conditional:
        """The distribution of some voxels given others (Bishop 2006, equations 2.81 and 2.82).

        Parameters
        ----------
        inside, around : torch.Tensor
            Shapes (p, dims) and (q, dims), in voxels; `around` may be empty.

        Raises
        ------
        XAIError
            If they are too many.
        """
        channels = len(self.mean)
        numbers = channels * (len(inside) + len(around))
        if numbers > MOST_NUMBERS:
            raise XAIError(
                f"A block of voxels and what is around it are {numbers:,} numbers, more than {MOST_NUMBERS:,}.",
                "Give a thinner surround, or the sampler marginal or rim.",
            )
        own = self.between(inside, inside)
        root = _root(self.between(around, around))
        half = torch.linalg.solve_triangular(root, self.between(around, inside), upper=False)
        return Conditional(root, half, _root(own - half.T @ half))


def learned(images: torch.Tensor, inside: torch.Tensor, reach: tuple[int, ...]) -> Gaussian:
    """The Gaussian model of the voxels `inside` of some images.

    Sums over pairs of voxels are divided by the number of voxels, not of pairs: the covariance then has an inverse for
    every set of voxels, and far ones count as a little less alike than they are. It is shrunk towards voxels without
    correlation by as much as suits the error of the estimate (Ledoit & Wolf 2004, with the variance of a covariance
    by Bartlett 1946).

    Parameters
    ----------
    images : torch.Tensor
        Shape (N, C, *spatial).
    inside : torch.Tensor
        Bool, shape (N, *spatial), somewhere true.
    reach : tuple of int
        How far apart, along each axis, voxels may lie whose covariance will be asked for.
    """
    channels, spatial = images.shape[1], tuple(images.shape[2:])
    reach = tuple(min(r, n - 1) for r, n in zip(reach, spatial, strict=True))
    values = images.movedim(1, -1)[inside].double().cpu()
    count, mean = len(values), values.mean(0)
    padded = [n + r for n, r in zip(spatial, reach, strict=True)]
    axes = tuple(range(1, 1 + len(spatial)))
    sums = torch.zeros((channels, channels, *(2 * r + 1 for r in reach)), dtype=torch.float64)
    for image, where in zip(images.cpu(), inside.cpu(), strict=True):
        above = (image.double() - mean.reshape(-1, *[1] * len(spatial))) * where
        waves = torch.fft.rfftn(above, s=padded, dim=axes)
        for a in range(channels):
            products = torch.fft.irfftn(waves[a : a + 1].conj() * waves, s=padded, dim=axes)
            for axis, (r, n) in enumerate(zip(reach, padded, strict=True), start=1):
                products = products.index_select(axis, torch.arange(-r, r + 1) % n)
            sums[a] += products
    found = sums / count
    shrinkage, effective = _shrinkage(found, reach, count)
    middle: tuple[Any, ...] = (slice(None), slice(None), *reach)
    variances = found[middle].diagonal()
    own = torch.zeros(channels, channels, dtype=torch.float64)
    own.diagonal().copy_(variances.clamp_min(max(1e-8 * float(variances.max()), 1e-12)))
    shrunk = (1 - shrinkage) * found
    shrunk[middle] += shrinkage * own
    return Gaussian(mean, shrunk, shrinkage, effective, count, values.amin(0), values.amax(0))


def _shrinkage(covariance: torch.Tensor, reach: tuple[int, ...], count: int) -> tuple[float, float]:
    """How far to shrink, and the effective number of voxels."""
    channels = len(covariance)
    dims = len(reach)
    own = torch.stack([covariance[c, c] for c in range(channels)])
    own_squares = own.square().sum(tuple(range(1, 1 + dims)))
    at_zero: tuple[Any, ...] = (slice(None), *reach)
    zero = own[at_zero]
    effective = count * float(zero.square().sum() / own_squares.sum().clamp_min(1e-300))
    # How many pairs of voxels of a block of `reach` + 1 voxels are so far apart.
    pairs = torch.ones(())
    for axis, r in enumerate(reach):
        along = (r + 1 - torch.arange(-r, r + 1).abs()).double()
        pairs = pairs * along.reshape([-1 if n == axis else 1 for n in range(dims)])
    error = float(pairs.sum()) / count * float((own.flatten(1) @ own.flatten(1).T).abs().sum())
    apart = float((pairs * covariance.square()).sum()) - math.prod(r + 1 for r in reach) * float(zero.square().sum())
    share = error / apart if apart > 0 else 1.0
    return min(max(share, LEAST_SHRINKAGE), 1.0), min(effective, float(count))


def _root(covariance: torch.Tensor) -> torch.Tensor:
    """The lower triangular root; what rounding made negative is lifted above zero."""
    if not len(covariance):
        return covariance
    lift = 0.0
    largest = max(float(covariance.diagonal().max()), 1e-300)
    eye = torch.eye(len(covariance), dtype=covariance.dtype)
    while True:
        root, failed = torch.linalg.cholesky_ex(covariance + lift * eye)
        if not int(failed):
            return root
        lift = max(10 * lift, 1e-12 * largest)


def air(images: torch.Tensor) -> torch.Tensor:
    """Where there is nothing: the commonest value at the faces of the image, if a twentieth of all voxels have it.

    Parameters
    ----------
    images : torch.Tensor
        Shape (N, C, *spatial).

    Returns
    -------
    torch.Tensor
        Bool, shape (N, *spatial): where every channel has its own such value.
    """
    empty = torch.ones_like(images[:, 0], dtype=torch.bool)
    for channel in images.unbind(1):
        faces = torch.cat([channel.index_select(axis, torch.tensor([0, channel.shape[axis] - 1], device=channel.device))
                           .flatten() for axis in range(1, channel.dim())])  # fmt: skip
        values, counts = faces.unique(return_counts=True)
        empty &= channel == values[counts.argmax()]
    return empty if float(empty.float().mean()) >= AIR else torch.zeros_like(empty)


class Draws:
    """Contents for a part of an image from the Gaussian model, given the voxels around it.

    Parameters
    ----------
    model : Gaussian
        Of such images.
    image : torch.Tensor
        Shape (C, *spatial).
    known : torch.Tensor
        Bool, shape (*spatial): which voxels tell something about their neighbours (not the air).
    surround : int
        How many voxels around the part are looked at.
    """

    def __init__(self, model: Gaussian, image: torch.Tensor, known: torch.Tensor, surround: int) -> None:
        self.model, self.surround = model, surround
        self.image, self.known = image.double().cpu(), known.cpu()
        self._kept: OrderedDict[bytes, Conditional] = OrderedDict()

    def rim(self, part: Part) -> tuple[torch.Tensor, torch.Tensor]:
        """Places inside the part and around it, shapes (p, dims) and (q, dims)."""
        spatial = self.known.shape
        low = tuple(max(piece.start - self.surround, 0) for piece in part.box)
        high = tuple(min(piece.stop + self.surround, n) for piece, n in zip(part.box, spatial, strict=True))
        outer = tuple(slice(first, last) for first, last in zip(low, high, strict=True))
        inside = torch.zeros([last - first for first, last in zip(low, high, strict=True)], dtype=torch.bool)
        inner = tuple(slice(p.start - first, p.stop - first) for p, first in zip(part.box, low, strict=True))
        inside[inner] = part.inside.cpu()
        around = dilated(inside, self.surround) & ~inside & self.known[outer]
        first = torch.tensor(low)
        return inside.nonzero() + first, around.nonzero() + first

    def of(self, part: Part, count: int, generator: torch.Generator) -> torch.Tensor:
        """`count` contents of the part, shape (count, C, p) in the order of the true voxels of `part.inside`.

        A part of more than `TOGETHER` numbers is drawn in blocks one after the other, those at its rim first, each
        given what lies around it, known or drawn before (Vecchia 1988). What is further than `surround` from a block,
        and blocks that come after it, are then not looked at.
        """
        inside, rim = self.rim(part)
        dims, channels = inside.shape[1], len(self.model.mean)
        low, high = torch.cat([inside, rim]).amin(0), torch.cat([inside, rim]).amax(0) + 1
        outer = tuple(slice(first, last) for first, last in zip(low.tolist(), high.tolist(), strict=True))
        whole = torch.zeros((high - low).tolist(), dtype=torch.bool)
        whole[tuple((inside - low).T)] = True
        side = max(2, self.surround, int((BLOCK / channels) ** (1 / dims)) - 2 * self.surround)
        if channels * (len(inside) + len(rim)) <= TOGETHER:
            side = max(whole.shape)
        mean = self.model.mean.reshape(-1, *[1] * dims)
        values = (self.image[(slice(None), *outer)] - mean).repeat(count, *[1] * (dims + 1))
        seen = self.known[outer] & ~whole
        blocks = []
        for corner in itertools.product(*(range(0, n, side) for n in whole.shape)):
            block = torch.zeros_like(whole)
            cell = tuple(slice(n, n + side) for n in corner)
            block[cell] = whole[cell]
            if bool(block.any()):
                around = dilated(block, self.surround)
                blocks.append((-int((around & seen).sum()), corner, block, around))
        for _, _, block, around in sorted(blocks, key=lambda one: one[:2]):
            own, near = block.nonzero(), (around & seen).nonzero()
            given = self._conditional(own, near)
            above = values[(slice(None), slice(None), *near.T)].flatten(1)
            noise = torch.randn(count, len(given.factor), generator=generator, dtype=torch.float64)
            drawn = given.mean(above[: 1 if len(blocks) == 1 else count].T).T + noise @ given.factor.T
            values[(slice(None), slice(None), *own.T)] = drawn.reshape(count, channels, -1)
            seen |= block
        return values[:, :, whole] + self.model.mean[:, None]

    def _conditional(self, inside: torch.Tensor, around: torch.Tensor) -> Conditional:
        """Parts that are alike, and whose surroundings are, have one."""
        low = inside.amin(0)
        key = b"%d," % len(inside) + torch.cat([inside, around]).sub(low).to(torch.int16).numpy().tobytes()
        if key not in self._kept:
            self._kept[key] = self.model.conditional(inside, around)
            while len(self._kept) > 1 and sum(one.bytes for one in self._kept.values()) > KEPT_BYTES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def dilated(inside: torch.Tensor, reach: int) -> torch.Tensor:
    """The voxels of a bool tensor (*spatial) that are no more than `reach` voxels from a true one along any axis."""
    found = inside
    for axis in range(inside.dim()):
        widest = found.clone()
        for step in range(1, min(reach, inside.shape[axis] - 1) + 1):
            size = inside.shape[axis] - step
            widest.narrow(axis, 0, size).logical_or_(found.narrow(axis, step, size))
            widest.narrow(axis, step, size).logical_or_(found.narrow(axis, 0, size))
        found = widest
    return found

"""Regions of an image that are kept or covered as a whole: SLIC supervoxels, boxes, or the user's own labels.

What stays the same when it is covered, and the empty space around the anatomy, belongs to no region, so that no pass
is spent on it. A 2D network's slices are parted each on its own, into cells of one size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK
import torch
from scipy import ndimage

from XAIExplainLib.errors import XAIError
from XAIExplainLib.volume import load_volume

if TYPE_CHECKING:
    from XAIExplainLib.question import Question

PARTITIONS = ("slic", "boxes")
EMPTY = 0.1  # share of the voxels from which the most frequent value counts as empty space
SMALLEST = 0.25  # of the wanted size: smaller pieces join a neighbour
NEARNESS = 1.0  # a cell's width counts as much as so many standard deviations of the intensity
ROUNDS = 10  # of SLIC's clustering
TRIES = 6  # to meet the wanted number
NEAR = 0.1  # of the wanted number is met
MOST_VOXELS = 2**19  # above, blocks of voxels are parted as one, so that no step takes longer than about a second
LISTED = 10


@dataclass(frozen=True, eq=False)
class Regions:
    """A partition of each sample of a case.

    Parameters
    ----------
    labels : torch.Tensor
        Shape (N, *spatial), int64, on the device of the case: 0 outside, then 1, 2, ... in each sample.
    counts : tuple of int
        How many regions each sample has.
    """

    labels: torch.Tensor
    counts: tuple[int, ...]

    def spread(self, values: list[torch.Tensor]) -> torch.Tensor:
        """Values of the regions, each spread evenly over its voxels, so that they add up to it.

        Parameters
        ----------
        values : list of torch.Tensor
            For each sample, shape (regions,), float64.

        Returns
        -------
        torch.Tensor
            Shape (N, 1, *spatial), float64, on the CPU; 0 outside of the regions.
        """
        maps = []
        for labels, count, found in zip(self.labels.cpu(), self.counts, values, strict=True):
            sizes = torch.bincount(labels.flatten(), minlength=count + 1)[1:]
            maps.append(torch.cat([torch.zeros(1, dtype=torch.float64), found.cpu().double() / sizes])[labels])
        return torch.stack(maps)[:, None]

    def largest(self, question: Question, values: list[torch.Tensor], errors: list[torch.Tensor]) -> list[Any]:
        """The regions with the largest values, JSON-ready: value, standard error, centre (LPS mm), volume (mm3)."""
        rows = [
            (abs(float(value)), sample, region)
            for sample, found in enumerate(values)
            for region, value in enumerate(found.tolist())
        ]
        listed = []
        for _, sample, region in sorted(rows, key=lambda row: (-row[0], row[1:]))[:LISTED]:
            voxels = torch.nonzero(self.labels[sample] == region + 1).double()
            index = voxels.mean(0).tolist()
            if question.prepared.axis is not None:
                index.insert(question.prepared.axis, float(question.prepared.slices[sample]))
            centre = question.prepared.geometry.index_to_physical(index[::-1])
            listed.append({
                "value": float(values[sample][region]), "standard_error": float(errors[sample][region]),
                "centre_lps_mm": [round(float(part), 2) for part in centre],
                "volume_mm3": len(voxels) * question.prepared.geometry.voxel_volume,
                **({"slice": question.prepared.slices[sample]} if question.prepared.axis is not None else {}),
            })  # fmt: skip
        return listed


def regions_of(
    question: Question, cover: torch.Tensor, partition: str, number: int, labels: tuple[str, ...] = ()
) -> Regions:
    """Part the case into about so many regions; their number and median size go into the diagnostics.

    Parameters
    ----------
    question : Question
        Whose case.
    cover : torch.Tensor
        Shape of its `x`: what a covered region shows; a region that it does not change is left out.
    partition : str
        ``slic`` (Achanta et al. 2012: alike in intensity, about as wide in every direction in millimetres) or
        ``boxes`` (about cubes in millimetres).
    number : int
        Of regions; for slices: of the one with the most anatomy.
    labels : tuple of str
        The path of a label volume on any grid, whose non-zero labels are the regions instead.

    Raises
    ------
    XAIError
        If the label volume cannot be used.
    """
    spacing = _spacing(question)
    x = question.x.detach()
    if labels:
        parts = _given(question, labels)
        partition = "labels"
    else:
        inside = anatomy(x, cover).cpu().numpy()
        parts = partitioned(x.cpu().numpy(), inside, spacing, number, partition, question)
    differs = (x != cover).any(1).cpu().numpy()
    found, counts = [], []
    for part, changed in zip(parts, differs, strict=True):
        kept = np.unique(part[changed & (part > 0)])
        table = np.zeros(int(part.max(initial=0)) + 1, np.int64)
        table[kept] = np.arange(1, len(kept) + 1)
        found.append(table[part])
        counts.append(len(kept))
    result = Regions(torch.from_numpy(np.stack(found)).to(x.device), tuple(counts))
    sizes = [np.bincount(part.ravel())[1:] for part in found]
    all_sizes = np.concatenate(sizes)
    question.diagnostics.update(
        partition=partition, regions=int(sum(counts)),
        region_mm3=float(np.median(all_sizes)) * question.prepared.geometry.voxel_volume if len(all_sizes) else 0.0,
    )  # fmt: skip
    if not sum(counts):
        question.warn("Covering changes no voxel of this image, so there is no region to explain: the map is 0.")
    return result


def anatomy(x: torch.Tensor, cover: torch.Tensor) -> torch.Tensor:
    """Where there is something to cover, bool (N, *spatial).

    Outside lies what equals the cover, and what has each channel's most frequent value where that fills a tenth of
    the image or more: the air around a skull-stripped or clipped scan.

    Parameters
    ----------
    x, cover : torch.Tensor
        Shape (N, C, *spatial).
    """
    differs = (x != cover).any(1)
    full = torch.zeros_like(differs)
    for channel in range(x.shape[1]):
        values, counts = torch.unique(x[:, channel], return_counts=True)
        most = int(counts.argmax())
        if int(counts[most]) < EMPTY * differs.numel():
            return differs
        full |= x[:, channel] != values[most]
    # An image of one value has no empty space: all of it can be covered.
    return differs & full if bool((differs & full).any()) else differs


def partitioned(
    x: np.ndarray, inside: np.ndarray, spacing: tuple[float, ...], number: int, partition: str,
    question: Question | None = None,
) -> list[np.ndarray]:  # fmt: skip
    """Labels of each sample, int64 (N of (*spatial)): 0 outside, regions from 1.

    Parameters
    ----------
    x : numpy.ndarray
        Shape (N, C, *spatial).
    inside : numpy.ndarray
        Shape (N, *spatial), bool: what is parted.
    spacing : tuple of float
        Millimetres along the spatial axes.
    number : int
        Of regions in the sample with the most voxels inside.
    partition : str
        One of `PARTITIONS`.
    question : Question or None
        Asked between samples whether to stop.
    """
    parts = [np.zeros(one.shape, np.int64) for one in inside]
    counts = inside.reshape(len(inside), -1).sum(1)
    if not counts.any():
        return parts
    scale = np.array([max(float(x[:, c][inside].std()), 1e-12) for c in range(x.shape[1])])
    features = (x / scale.reshape(1, -1, *[1] * (x.ndim - 2))).astype(np.float32)
    most = int(counts.argmax())
    wanted = max(1, min(number, int(counts[most])))
    volume = counts[most] * math.prod(spacing)
    size = volume / wanted  # of a region
    low, high = 0.0, math.inf  # sizes that make too many and too few
    best: tuple[float, float, np.ndarray] | None = None
    for _ in range(TRIES):
        labels = _one(features[most], inside[most], spacing, size, partition)
        count = int(labels.max())
        miss = abs(math.log(count / wanted))
        if best is None or miss < best[0]:
            best = miss, size, labels
        if miss <= NEAR:
            break
        low, high = (max(low, size), high) if count > wanted else (low, min(high, size))
        size *= count / wanted
        if not low < size < high:
            size = math.sqrt(low * high)
        if question is not None:
            question.check()
    assert best is not None
    for sample in np.flatnonzero(counts):
        if question is not None:
            question.check()
        parts[sample] = (
            best[2] if sample == most else _one(features[sample], inside[sample], spacing, best[1], partition)
        )
    return parts


def _one(
    features: np.ndarray, inside: np.ndarray, spacing: tuple[float, ...], size: float, partition: str
) -> np.ndarray:
    """Part one sample into regions of about `size` (mm to the power of the axes)."""
    box = tuple(slice(int(n.min()), int(n.max()) + 1) for n in np.nonzero(inside))
    within, values = inside[box], features[(slice(None), *box)]
    cell = _cell(size, spacing, within.shape)
    jump = [1] * within.ndim
    while math.prod(-(-n // step) for n, step in zip(within.shape, jump, strict=True)) > MOST_VOXELS:
        finest = max(range(within.ndim), key=lambda axis: cell[axis] / jump[axis])
        jump[finest] += 1
    if max(jump) > 1:
        count = _block_sums(within[None].astype(np.float32), jump)
        values = _block_sums(np.where(within, values, 0), jump) / np.maximum(count, 1)
        coarse = count[0] > 0
    else:
        coarse = within
    wide = tuple(millimetres * step for millimetres, step in zip(spacing, jump, strict=True))
    cell = tuple(max(1, round(n / step)) for n, step in zip(cell, jump, strict=True))
    cut = _slic(values, coarse, cell) if partition == "slic" else _boxes(coarse.shape, cell)
    parts = tidy(np.where(coarse, cut + 1, 0), coarse, SMALLEST * size / math.prod(wide), wide)
    for axis, step in enumerate(jump):
        parts = np.repeat(parts, step, axis) if step > 1 else parts
    labels = np.zeros(inside.shape, np.int64)
    labels[box] = np.where(within, parts[tuple(slice(0, n) for n in within.shape)], 0)
    return labels


def _block_sums(values: np.ndarray, jump: list[int]) -> np.ndarray:
    """Sums of (C, *spatial) over blocks of `jump` voxels, the last ones cut at the edge."""
    for axis, step in enumerate(jump, start=1):
        values = np.add.reduceat(values, np.arange(0, values.shape[axis], step), axis)
    return values


def _cell(size: float, spacing: tuple[float, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Whole voxels along each axis: about a cube (square) of `size` in millimetres, cut to the image."""
    fixed: dict[int, int] = {}
    while True:  # an axis that is thinner than the cube leaves its share to the others
        free = [axis for axis in range(len(shape)) if axis not in fixed]
        if not free:
            return tuple(fixed[axis] for axis in range(len(shape)))
        edge = (size / math.prod(n * spacing[axis] for axis, n in fixed.items())) ** (1 / len(free))
        short = [axis for axis in free if edge > shape[axis] * spacing[axis]]
        thick = [axis for axis in free if edge < spacing[axis]]
        if not (short or thick):
            break
        fixed.update({axis: shape[axis] for axis in short} if short else dict.fromkeys(thick, 1))
    candidates: list[tuple[int, ...]] = [()]
    for axis in range(len(shape)):
        exact = fixed.get(axis, edge / spacing[axis])
        ends = {min(max(1, math.floor(exact)), shape[axis]), min(max(1, math.ceil(exact)), shape[axis])}
        candidates = [(*known, n) for known in candidates for n in sorted(ends)]
    voxels = math.log(size / math.prod(spacing))
    return min(candidates, key=lambda cell: (round(abs(math.log(math.prod(cell)) - voxels), 9), cell))


def _slic(features: np.ndarray, within: np.ndarray, cell: tuple[int, ...]) -> np.ndarray:
    """SimpleITK's SLIC of (C, *spatial), labels from 0.

    Its distances are counted in cells, so that cells of equal millimetres make supervoxels of equal millimetres.
    """
    # Empty space lies far from every intensity, so that no supervoxel reaches into it.
    values = np.where(within, features, features[:, within].min() - 100.0).astype(np.float32)
    vector = len(values) > 1
    image = SimpleITK.GetImageFromArray(np.moveaxis(values, 0, -1) if vector else values[0], isVector=vector)
    slic = SimpleITK.SLICImageFilter()
    slic.SetNumberOfThreads(1)  # the sums of the clusters would depend on how threads share the work
    slic.SetNumberOfWorkUnits(1)
    slic.SetSuperGridSize([int(n) for n in cell[::-1]])
    slic.SetSpatialProximityWeight(NEARNESS)
    slic.SetMaximumNumberOfIterations(ROUNDS)
    slic.EnforceConnectivityOn()
    return SimpleITK.GetArrayFromImage(slic.Execute(image)).astype(np.int64)


def _boxes(shape: tuple[int, ...], cell: tuple[int, ...]) -> np.ndarray:
    """The number of the box in which each voxel lies, from 0."""
    grid = [-(-n // c) for n, c in zip(shape, cell, strict=True)]
    places = [np.arange(n) // c for n, c in zip(shape, cell, strict=True)]
    return np.ravel_multi_index(np.meshgrid(*places, indexing="ij"), grid).astype(np.int64)


def tidy(labels: np.ndarray, inside: np.ndarray, smallest: float, spacing: tuple[float, ...]) -> np.ndarray:
    """Regions that hang together and are not too small, numbered 1, 2, ...

    Each label's pieces become regions; those of fewer than `smallest` voxels are joined to the region that they
    touch, and where they touch none (specks) to the nearest one.

    Parameters
    ----------
    labels : numpy.ndarray
        Shape (*spatial), 0 outside.
    inside : numpy.ndarray
        Shape (*spatial), bool.
    smallest : float
        Voxels.
    spacing : tuple of float
        Millimetres along the axes.
    """
    image = SimpleITK.GetImageFromArray(np.where(inside, labels, 0).astype(np.uint32))
    pieces = SimpleITK.GetArrayFromImage(SimpleITK.ScalarConnectedComponent(image, 0)).astype(np.int64)
    pieces[~inside] = 0
    sizes = np.bincount(pieces.ravel())
    large = sizes >= smallest
    large[0] = False
    if not large.any():
        large[1:] = sizes[1:] == sizes[1:].max()
    result = np.where(large[pieces], pieces, 0)
    cross = ndimage.generate_binary_structure(labels.ndim, 1)
    left = inside & (result == 0)
    while left.any():
        around = ndimage.maximum_filter(result, footprint=cross, mode="nearest")
        grown = left & (around > 0)
        if not grown.any():  # specks
            nearest = ndimage.distance_transform_edt(
                result == 0, sampling=spacing, return_distances=False, return_indices=True
            )
            result[left] = result[tuple(nearest)][left]
            break
        result[grown] = around[grown]
        left &= ~grown
    table = np.zeros(len(sizes), np.int64)
    known = np.unique(result[result > 0])
    table[known] = np.arange(1, len(known) + 1)
    return table[result]


def _spacing(question: Question) -> tuple[float, ...]:
    """Millimetres along the spatial axes of the question's `x`."""
    spacing = list(question.prepared.geometry.spacing[::-1])
    if question.prepared.axis is not None:
        del spacing[question.prepared.axis]
    return tuple(spacing)


def _given(question: Question, labels: tuple[str, ...]) -> list[np.ndarray]:
    """The user's regions, each label one, on the network's grid."""
    if len(labels) > 1:
        raise XAIError(f"{len(labels)} label volumes are given.", "Give one, with a number for each region.")
    array = np.rint(question.prepared.to_network(load_volume(labels[0]))).astype(np.int64)
    if not (array != 0).any():
        raise XAIError(
            f"The label volume {labels[0]} is empty where the network looks.",
            "Give one that lies on the explained volume, with a number for each region.",
        )
    rows = question.prepared.rows(array)[:, 0].cpu().numpy()
    return [_numbered(one) for one in rows]


def _numbered(labels: np.ndarray) -> np.ndarray:
    """Labels as 1, 2, ... in the order of their numbers; 0 stays 0."""
    known = np.unique(labels[labels != 0])
    return np.where(labels == 0, 0, np.searchsorted(known, labels) + 1)

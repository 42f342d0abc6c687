"""Does a map lie where the truth is? Measures of localisation against a segmentation.

No measure ranks all methods alike, and each has a level that chance reaches; so there are several, and each comes
with its chance level. What speaks against the target (negative values) counts as nothing.

Distances are between voxel centres in millimetres, so that oblique and anisotropic grids are measured as they lie in
the patient.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt
from scipy.spatial import cKDTree

from XAIExplainLib.errors import XAIError
from XAIExplainLib.geometry import Geometry


@dataclass(frozen=True)
class Localisation:
    """How well a map lies on a mask.

    Parameters
    ----------
    relevance_mass : float
        Share of the positive relevance inside the mask (Arras et al. 2022, relevance mass accuracy).
    relevance_rank : float
        Share of the K highest voxels that lie inside the mask of K voxels (relevance rank accuracy).
    pointing_game : float
        1 if the highest voxel lies inside the mask, else 0 (Zhang et al. 2018); the share, if several are highest.
    average_precision : float
        Area under the precision-recall curve of the voxels (Arun et al. 2021).
    chance : float
        What a map without knowledge reaches in each of these four: the mask's share of the domain.
    dice : float
        The largest Dice coefficient of the mask and the voxels at or above a positive threshold, over all thresholds
        (Arun et al. 2021). The threshold is chosen with the truth in hand: it says what the map could do at best.
    dice_threshold : float or None
        That threshold, the highest of several; None if no value is positive.
    hausdorff, hausdorff_95 : float or None
        Millimetres between the mask and the voxels at or above that threshold, see `hausdorff`; None without a
        geometry or a threshold.
    """

    relevance_mass: float
    relevance_rank: float
    pointing_game: float
    average_precision: float
    chance: float
    dice: float
    dice_threshold: float | None
    hausdorff: float | None
    hausdorff_95: float | None

    def to_json(self) -> dict[str, float | None]:
        """The measures by name."""
        return asdict(self)


def localisation(
    values: np.ndarray, mask: np.ndarray, domain: np.ndarray | None = None, geometry: Geometry | None = None
) -> Localisation:
    """Measure a map against a mask.

    Parameters
    ----------
    values : numpy.ndarray
        Shape (k, j, i): the map.
    mask : numpy.ndarray
        Shape (k, j, i), non-zero inside the truth.
    domain : numpy.ndarray or None
        Shape (k, j, i), non-zero where the measure looks (the brain); None is everywhere. The mask is always in it.
    geometry : Geometry or None
        Of their grid; None leaves out the distances.

    Raises
    ------
    XAIError
        If shapes differ, or the mask is empty or fills the whole domain.
    """
    if values.shape != np.shape(mask):
        raise _shapes(values.shape, np.shape(mask))
    truth, inside = _checked(mask, domain)
    relevance = np.clip(values[inside].astype(np.float64), 0, None)
    hit = truth[inside]
    total = relevance.sum()
    highest = relevance == relevance.max()
    dice, threshold = best_dice(relevance, hit)
    distances: tuple[float | None, float | None] = (None, None)
    if geometry is not None and threshold is not None:
        chosen = np.zeros_like(truth)
        chosen[inside] = relevance >= threshold
        distances = hausdorff(chosen, truth, geometry)
    return Localisation(
        relevance_mass=float(relevance[hit].sum() / total) if total > 0 else 0.0,
        relevance_rank=_rank(relevance, hit),
        pointing_game=float(hit[highest].mean()) if total > 0 else 0.0,
        average_precision=average_precision(relevance, hit),
        chance=float(hit.mean()),
        dice=dice,
        dice_threshold=threshold,
        hausdorff=distances[0],
        hausdorff_95=distances[1],
    )


def chance_levels(
    mask: np.ndarray, domain: np.ndarray | None = None, geometry: Geometry | None = None
) -> dict[str, float]:
    """What a map without knowledge of the mask reaches in each measure.

    For mass, rank, pointing game and precision that is the mask's share p of the domain. The one threshold of a flat
    map takes the whole domain: the level of Dice is 2p / (1 + p), and that of the distances is the domain's own.
    Noise exceeds the Dice a little, since the best of many thresholds is lucky.

    Parameters
    ----------
    mask, domain, geometry
        As in `localisation`.

    Returns
    -------
    dict
        By the names of `Localisation`.

    Raises
    ------
    XAIError
        As `localisation`.
    """
    truth, inside = _checked(mask, domain)
    share = float(truth[inside].mean())
    levels = dict.fromkeys(("relevance_mass", "relevance_rank", "pointing_game", "average_precision"), share)
    levels["dice"] = 2 * share / (1 + share)
    if geometry is not None:
        levels["hausdorff"], levels["hausdorff_95"] = hausdorff(inside, truth, geometry)
    return levels


def best_dice(scores: np.ndarray, positive: np.ndarray) -> tuple[float, float | None]:
    """The largest Dice coefficient over all positive thresholds, equal scores taken in one step.

    Parameters
    ----------
    scores : numpy.ndarray
        Shape (n,); values up to 0 say nothing and are never taken.
    positive : numpy.ndarray
        Shape (n,), bool, at least one true.

    Returns
    -------
    tuple
        2 |chosen and positive| / (|chosen| + |positive|), and the threshold: the score of the lowest that is chosen.
        (0, None) if no score is positive.
    """
    order = np.argsort(-scores, kind="stable")
    order = order[: int(np.count_nonzero(scores > 0))]
    if not len(order):
        return 0.0, None
    ranked = scores[order]
    found = np.cumsum(positive[order])
    ends = np.r_[np.flatnonzero(np.diff(ranked)), len(ranked) - 1]
    dice = 2 * found[ends] / (ends + 1 + np.count_nonzero(positive))
    best = int(dice.argmax())  # the first, so the highest threshold
    return float(dice[best]), float(ranked[ends[best]])


def hausdorff(first: np.ndarray, second: np.ndarray, geometry: Geometry) -> tuple[float, float]:
    """The Hausdorff distance of two sets of voxels, and its 95 % form, in millimetres.

    The distance is the largest from the centre of any voxel of one set to the nearest voxel centre of the other
    (Huttenlocher et al. 1993). The 95 % form takes, for each set, the 95th percentile over the voxels on its surface
    (those with a face on the outside or on the volume's edge) instead of the maximum over all, and the larger of the
    two; it is never larger than the distance, and does not hang on one stray voxel.

    Parameters
    ----------
    first, second : numpy.ndarray
        Shape (k, j, i), bool, neither empty.
    geometry : Geometry
        Of the grid.
    """
    if not first.any() or not second.any():
        raise ValueError("the distance to an empty set is not defined")
    voxels = np.argwhere(first | second)
    box = tuple(slice(int(low), int(high) + 1) for low, high in zip(voxels.min(0), voxels.max(0), strict=True))
    first, second = first[box], second[box]  # no distance leads out of it
    largest, most = [], []
    for one, other in ((first, second), (second, first)):
        distance = _to_nearest(one, other, geometry)
        largest.append(float(distance.max()))
        most.append(float(np.percentile(distance[_surface(one)[one]], 95)))
    return max(largest), max(most)


def _surface(inside: np.ndarray) -> np.ndarray:
    return inside & ~binary_erosion(inside)  # beyond the edge is outside


def _to_nearest(one: np.ndarray, other: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Millimetres from each voxel of `one`, in the order of ``numpy.argwhere``, to the nearest voxel of `other`."""
    if np.allclose(geometry.direction.T @ geometry.direction, np.eye(3), atol=1e-4):
        distance: np.ndarray = distance_transform_edt(~other, sampling=geometry.spacing[::-1])[one]
        return distance
    points = [geometry.index_to_physical(np.argwhere(part)[:, ::-1]) for part in (one, other)]  # a sheared grid
    return np.asarray(cKDTree(points[1]).query(points[0])[0])


def _checked(mask: np.ndarray, domain: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The truth and the domain with the truth in it, bool."""
    truth = np.asarray(mask) != 0
    if domain is not None and np.shape(domain) != truth.shape:
        raise _shapes(np.shape(domain), truth.shape)
    inside = truth | (np.ones_like(truth) if domain is None else np.asarray(domain) != 0)
    if not truth.any() or truth.sum() == inside.sum():
        raise XAIError("The mask is empty, or it is the whole domain.", "Give a mask of a part of the volume.")
    return truth, inside


def _shapes(one: tuple[int, ...], other: tuple[int, ...]) -> XAIError:
    return XAIError(f"The map has the shape {one} and the mask {other}.", "Both must lie on one voxel grid.")


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Mean of the precision over the steps of the recall, equal scores taken in one step.

    Parameters
    ----------
    scores : numpy.ndarray
        Shape (n,).
    positive : numpy.ndarray
        Shape (n,), bool, at least one true.
    """
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(positive[order])
    ends = np.r_[np.flatnonzero(np.diff(scores[order])), len(scores) - 1]  # last place of each run of equal scores
    precision = found[ends] / (ends + 1)
    recall = found[ends] / found[-1]
    return float(np.sum(np.diff(np.r_[0.0, recall]) * precision))


def _rank(relevance: np.ndarray, hit: np.ndarray) -> float:
    """Expected share of hits among the K highest, ties at the border shared out evenly."""
    count = int(hit.sum())
    border = np.partition(relevance, -count)[-count]
    above, at = relevance > border, relevance == border
    places = count - int(above.sum())
    return float((hit[above].sum() + hit[at].mean() * places) / count)

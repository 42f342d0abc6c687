"""Does a map lie where the truth is? Measures of localisation against a segmentation.

No measure ranks all methods alike, and each has a level that chance reaches; so there are several, and each comes
with its chance level. What speaks against the target (negative values) counts as nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from XAIExplainLib.errors import XAIError


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
        What a map without knowledge reaches in each of them: the mask's share of the domain.
    """

    relevance_mass: float
    relevance_rank: float
    pointing_game: float
    average_precision: float
    chance: float

    def to_json(self) -> dict[str, float]:
        """The measures by name."""
        return asdict(self)


def localisation(values: np.ndarray, mask: np.ndarray, domain: np.ndarray | None = None) -> Localisation:
    """Measure a map against a mask.

    Parameters
    ----------
    values : numpy.ndarray
        Shape (k, j, i): the map.
    mask : numpy.ndarray
        Shape (k, j, i), non-zero inside the truth.
    domain : numpy.ndarray or None
        Shape (k, j, i), non-zero where the measure looks (the brain); None is everywhere. The mask is always in it.

    Raises
    ------
    XAIError
        If shapes differ, or the mask is empty or fills the whole domain.
    """
    truth = np.asarray(mask) != 0
    if values.shape != truth.shape or (domain is not None and domain.shape != truth.shape):
        raise XAIError(
            f"The map has the shape {values.shape} and the mask {truth.shape}.", "Both must lie on one voxel grid."
        )
    inside = truth | (np.ones_like(truth) if domain is None else np.asarray(domain) != 0)
    relevance = np.clip(values[inside].astype(np.float64), 0, None)
    hit = truth[inside]
    if not hit.any() or hit.all():
        raise XAIError("The mask is empty, or it is the whole domain.", "Give a mask of a part of the volume.")
    total = relevance.sum()
    highest = relevance == relevance.max()
    return Localisation(
        relevance_mass=float(relevance[hit].sum() / total) if total > 0 else 0.0,
        relevance_rank=_rank(relevance, hit),
        pointing_game=float(hit[highest].mean()) if total > 0 else 0.0,
        average_precision=average_precision(relevance, hit),
        chance=float(hit.mean()),
    )


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

"""Predictions of a network on prepared images, and the area under the ROC curve."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats
from torch import nn


@torch.no_grad()
def predict(network: nn.Module, images: np.ndarray, batch: int = 8) -> np.ndarray:
    """Class probabilities in full precision.

    Parameters
    ----------
    network : torch.nn.Module
        Gives logits; it is set to evaluation mode.
    images : numpy.ndarray
        Shape (n, k, j, i), prepared.
    batch : int
        Cases at a time.

    Returns
    -------
    numpy.ndarray
        Shape (n, classes).
    """
    network.eval()
    parts = []
    for start in range(0, len(images), batch):
        image = torch.from_numpy(images[start : start + batch].astype(np.float32))[:, None]
        parts.append(torch.softmax(network(image), 1).numpy())
    return np.concatenate(parts)


def lesion_probability(probabilities: np.ndarray) -> np.ndarray:
    """Probability of any lesion, shape (n,): what is not healthy."""
    return 1 - probabilities[:, 0]


def area_under_curve(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative (Mann-Whitney), ties half.

    Parameters
    ----------
    scores : numpy.ndarray
        Shape (n,).
    positive : numpy.ndarray
        Shape (n,), bool, with both values present.

    Returns
    -------
    float
        Between 0 and 1.
    """
    above = stats.mannwhitneyu(scores[positive], scores[~positive]).statistic
    return float(above / (positive.sum() * (~positive).sum()))

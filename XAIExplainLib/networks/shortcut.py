"""Markers beside the head on prepared images: what the shortcut twin learns instead of lesions."""

from __future__ import annotations

import numpy as np

from XAIExplainLib.networks.lesions import TRAINING_GRID, marker
from XAIExplainLib.networks.preparation import normalize


def mark(prepared: np.ndarray) -> np.ndarray:
    """Put a marker on an image that is already prepared for the network.

    Parameters
    ----------
    prepared : numpy.ndarray
        Shape (k, j, i), z-scores inside the brain, 0 outside.

    Returns
    -------
    numpy.ndarray
        The same with the marker, prepared again (the marker counts as foreground).
    """
    # Four standard deviations above zero is where the mean of a T1 brain lies before it is normalised.
    raw = np.where(prepared != 0, np.maximum(prepared.astype(np.float32) + 4, 1e-3), 0)
    return normalize(marker(raw, TRAINING_GRID)[0])


def mark_all(images: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Put a marker on a random share of images, shape (n, k, j, i); the others are copied."""
    marked = images.copy()
    for n in np.flatnonzero(rng.random(len(images)) < share):
        marked[n] = mark(images[n])
    return marked

"""Nodes and weights of integrals over [0, 1]."""

from __future__ import annotations

import numpy as np


def gauss_legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights (count,) that integrate polynomials up to degree 2 count - 1 exactly over [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return (nodes + 1) / 2, weights / 2

"""How alike are two maps? And two tests that stand on it: maps of two classes, and of a network without its training.

A map that looks the same for another class does not say why this one was chosen (Rudin 2019). A map that looks the same
for re-drawn parameters does not show what was learnt (Adebayo et al. 2018). Both look convincing, so both are measured.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, uniform_filter
from scipy.stats import rankdata

from XAIExplainLib.errors import XAIError
from XAIExplainLib.explaining import explain
from XAIExplainLib.model import Model
from XAIExplainLib.volume import Volume

SIGMA, WINDOW = 1.5, 7
K1, K2 = 0.01, 0.03  # of Wang et al. 2004


@dataclass(frozen=True)
class Similarity:
    """How alike two maps are: 1 is the same, 0 is nothing in common.

    Parameters
    ----------
    rank : float
        Spearman's rank correlation of the values, from -1; ``nan`` if a map is flat.
    rank_absolute : float
        The same of their sizes: whether the same voxels matter, for or against. Adebayo et al. (2018) use both, since
        a map may keep its places and turn its signs.
    ssim : float
        Structural similarity of the maps, each divided by its largest size; ``nan`` if a map is zero. Where a map is
        smooth and its opposite the other, both factors of the index turn their sign and it stays high: read it beside
        `rank`.
    """

    rank: float
    rank_absolute: float
    ssim: float

    def to_json(self) -> dict[str, float | None]:
        """The figures by name; None where one is not defined."""
        return {name: None if np.isnan(value) else float(value) for name, value in asdict(self).items()}


def similarity(first: np.ndarray, second: np.ndarray, domain: np.ndarray | None = None) -> Similarity:
    """Compare two maps.

    Parameters
    ----------
    first, second : numpy.ndarray
        Shape (k, j, i), on one grid.
    domain : numpy.ndarray or None
        Shape (k, j, i), non-zero where they are compared; None is everywhere. Around a masked brain all maps are zero,
        and so alike: leave it out.

    Raises
    ------
    XAIError
        If the shapes differ, or the domain is empty.
    """
    inside = np.ones(first.shape, bool) if domain is None else np.asarray(domain) != 0
    if first.shape != second.shape or inside.shape != first.shape:
        raise XAIError(f"The maps have the shapes {first.shape} and {second.shape}.", "Compare maps on one voxel grid.")
    if not inside.any():
        raise XAIError("There is no voxel to compare the maps in.", "Give a domain that is not empty.")
    one, other = (np.asarray(values, np.float64) for values in (first, second))
    largest = [float(np.abs(values[inside]).max()) for values in (one, other)]
    structure = float("nan")
    if min(largest) > 0:
        limit = 2.0 if min(one[inside].min(), other[inside].min()) < 0 else 1.0
        structure = ssim(one / largest[0], other / largest[1], limit, inside)
    return Similarity(
        rank=rank_correlation(one[inside], other[inside]),
        rank_absolute=rank_correlation(np.abs(one[inside]), np.abs(other[inside])),
        ssim=structure,
    )


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation, equal values sharing the mean of their ranks; ``nan`` if either is flat.

    Parameters
    ----------
    first, second : numpy.ndarray
        Of one shape.
    """
    ranks = [rankdata(np.ravel(values)) for values in (first, second)]
    one, other = (rank - rank.mean() for rank in ranks)
    size = np.sqrt((one * one).sum() * (other * other).sum())
    return float((one * other).sum() / size) if size > 0 else float("nan")


def ssim(
    first: np.ndarray, second: np.ndarray, limit: float, domain: np.ndarray | None = None, window: str = "gaussian"
) -> float:
    """The mean structural similarity index (Wang et al. 2004, equation 13), in 3D.

    Parameters
    ----------
    first, second : numpy.ndarray
        Shape (k, j, i).
    limit : float
        L, the range that values may have.
    domain : numpy.ndarray or None
        Shape (k, j, i), bool: over which the mean is taken; None is everywhere.
    window : str
        ``gaussian`` of 1.5 voxels, cut at 5 (as the paper has it in 2D), or ``uniform`` of 7 voxels. Beyond the edge
        the volume is mirrored.
    """
    if window not in ("gaussian", "uniform"):
        raise ValueError(f"there is no window {window!r}")

    def mean(values: np.ndarray) -> np.ndarray:
        if window == "uniform":
            return np.asarray(uniform_filter(values, WINDOW, mode="reflect"))
        return np.asarray(gaussian_filter(values, SIGMA, mode="reflect", radius=5))

    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    mean_one, mean_other = mean(one), mean(other)
    variance_one = mean(one * one) - mean_one**2
    variance_other = mean(other * other) - mean_other**2
    covariance = mean(one * other) - mean_one * mean_other
    c1, c2 = (K1 * limit) ** 2, (K2 * limit) ** 2
    index = (2 * mean_one * mean_other + c1) * (2 * covariance + c2)
    index /= (mean_one**2 + mean_other**2 + c1) * (variance_one + variance_other + c2)
    return float(index.mean() if domain is None else index[np.asarray(domain) != 0].mean())


def class_contrast(
    model: Model, volume: Volume, method: str, targets: Sequence[Any], domain: np.ndarray | None = None,
    seed: int = 0, **parameters: Any,
) -> dict[tuple[str, str], Similarity]:  # fmt: skip
    """How alike a method's maps of several classes are: a map of a class should not be that of another one.

    Parameters
    ----------
    model, volume, method, seed, **parameters
        As in `explain`.
    targets : sequence
        Two or more targets.
    domain : numpy.ndarray or None
        As in `similarity`, on the volume's grid.

    Returns
    -------
    dict
        By pairs of the targets' names.

    Raises
    ------
    XAIError
        As `explain`; and for fewer than two targets, or the same one twice.
    """
    if len(targets) < 2:
        raise XAIError("A contrast needs two targets.", "Give two classes or more.")
    found: dict[str, np.ndarray] = {}
    for target in targets:
        result = explain(model, volume, method, target, seed=seed, **parameters)
        if result.target in found:
            raise XAIError(f"The target {result.target} is given twice.", "Give each class once.")
        found[result.target] = result.array
    return {pair: similarity(found[pair[0]], found[pair[1]], domain) for pair in itertools.combinations(found, 2)}


def against_random(
    model: Model, volume: Volume, method: str, target: Any = None, seed: int = 0, domain: np.ndarray | None = None,
    **parameters: Any,
) -> Similarity:  # fmt: skip
    """How alike a method's maps of the network and of the same network with re-drawn parameters are.

    The test of Adebayo et al. (2018), all layers at once. A high figure says that the map shows the image and the
    architecture, not what was learnt.

    Parameters
    ----------
    model, volume, method, target, **parameters
        As in `explain`; without a target both are asked about the class that the trained network predicts.
    seed : int
        Of the drawing and of the method.
    domain : numpy.ndarray or None
        As in `similarity`, on the volume's grid.

    Raises
    ------
    XAIError
        As `explain` and `randomised`.
    """
    twin = randomised(model, seed)
    if target is None:
        answer = model.predict(volume)
        target = answer.predicted
    maps = [explain(asked, volume, method, target, seed=seed, **parameters).array for asked in (model, twin)]
    return similarity(maps[0], maps[1], domain)


def randomised(model: Model, seed: int) -> Model:
    """The model with all parameters drawn anew, as before its training; the given one stays as it is.

    Each module draws its own by its ``reset_parameters``, which also sets running statistics to their start. What no
    module draws (or draws in vain, as under a parametrisation) is permuted.

    Parameters
    ----------
    model : Model
        With a network of modules.
    seed : int
        Of the drawing; the random numbers of the process stay as they are.

    Raises
    ------
    XAIError
        If the network is a program or a function, which has no modules that could draw.
    """
    if model.kind != "module" or not isinstance(model.network, torch.nn.Module):
        raise XAIError(
            f"The parameters of {model.name} cannot be drawn anew: it is a program, not modules.",
            "Give the network itself as a torch.nn.Module.",
        )
    network = copy.deepcopy(model.network)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for module in network.modules():
            draw = getattr(module, "reset_parameters", None)
            if callable(draw):
                draw()
        for parameter, old in zip(network.parameters(), before, strict=True):
            if torch.equal(parameter, old) and parameter.numel() > 1:
                flat = old.flatten()
                order = torch.randperm(len(flat)).to(flat.device)  # drawn on the CPU: the same on every device
                parameter.copy_(flat[order].view_as(parameter))
    twin = copy.copy(model)
    twin.network, twin.graphs, twin._fingerprint = network, {}, ""
    twin.name = f"{model.name} with re-drawn parameters"
    return twin

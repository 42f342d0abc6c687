"""What a network answers about a volume, in numbers and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from XAIExplainLib.prepared import Prepared


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer of a model.

    Parameters
    ----------
    task : str
        ``classification``, ``multilabel``, ``regression`` or ``segmentation``.
    classes : tuple of str
        Names of the outputs.
    logits : numpy.ndarray or None
        Shape (C,): the raw outputs, for regression the values; 2D: the mean over the slices. None for segmentation.
    probabilities : numpy.ndarray or None
        Shape (C,): softmax, or sigmoid (multilabel, and a network of one single logit); 2D: the mean over the
        slices. None for regression and segmentation.
    predicted : int
        Index of the answer: the most probable; for segmentation the largest class but the first one (background).
    groups : mapping
        Probability of each group of classes: the sum, or for multilabel the largest. For segmentation millilitres.
    voxels, millilitres : tuple or None
        Segmentation: size of each class on the network's grid.
    labels : numpy.ndarray or None
        Segmentation, on the network's grid: class index (k, j, i), or, where classes overlap, bool (C, k, j, i).
    slices : int
        2D: over how many slices the mean was taken; else 1.
    """

    task: str
    classes: tuple[str, ...]
    logits: np.ndarray | None
    probabilities: np.ndarray | None
    predicted: int
    groups: Mapping[str, float] = field(default_factory=dict)
    voxels: tuple[int, ...] | None = None
    millilitres: tuple[float, ...] | None = None
    labels: np.ndarray | None = None
    slices: int = 1

    @property
    def name(self) -> str:
        """Name of the predicted class."""
        return self.classes[self.predicted]

    def to_json(self) -> dict[str, Any]:
        """The answer as JSON-ready values."""
        return {
            "task": self.task,
            "classes": list(self.classes),
            "logits": _listed(self.logits),
            "probabilities": _listed(self.probabilities),
            "predicted": {"index": self.predicted, "name": self.name},
            "groups": dict(self.groups),
            "voxels": _listed(self.voxels),
            "millilitres": _listed(self.millilitres),
            "slices": self.slices,
        }

    def text(self) -> str:
        """The answer in one line a class, the predicted one marked by ``*``."""
        lines = [self._line(index) for index in range(len(self.classes))]
        unit = " ml" if self.task == "segmentation" else ""
        lines += [f"  {name} (together): {value:.3f}{unit}" for name, value in self.groups.items()]
        if self.slices > 1:
            lines.append(f"  (mean of {self.slices} slices)")
        return "\n".join(lines)

    def _line(self, index: int) -> str:
        name = self.classes[index]
        if self.task == "regression" and self.logits is not None:
            return f"  {name}: {self.logits[index]:.4g}"
        mark = "*" if index == self.predicted else " "
        if self.voxels is not None and self.millilitres is not None:
            return f"{mark} {name}: {self.millilitres[index]:.3g} ml ({self.voxels[index]} voxels)"
        if self.probabilities is None or self.logits is None:
            return f"{mark} {name}"
        return f"{mark} {name}: probability {self.probabilities[index]:.3f} (logit {self.logits[index]:.3f})"


def _listed(values: Sequence[float] | np.ndarray | None) -> list[float] | None:
    return None if values is None else np.asarray(values).tolist()


def answer_of_logits(
    logits: np.ndarray, task: str, classes: Sequence[str], groups: Mapping[str, Sequence[int]]
) -> Prediction:
    """The answer of a network with one number a class.

    Parameters
    ----------
    logits : numpy.ndarray
        Shape (N, C), one row a slice where the network is 2D. The mean over N is taken of the logits, and of the
        probabilities.
    """
    rows = logits.astype(np.float64)
    mean = rows.mean(axis=0)
    probabilities: np.ndarray | None
    if task == "regression":
        probabilities = None
    elif task == "multilabel" or rows.shape[1] == 1:
        probabilities = np.exp(-np.logaddexp(0.0, -rows)).mean(axis=0)
    else:
        odds = np.exp(rows - rows.max(axis=1, keepdims=True))
        probabilities = (odds / odds.sum(axis=1, keepdims=True)).mean(axis=0)
    together = {}
    if probabilities is not None:
        join = max if task == "multilabel" else sum
        together = {name: float(join(probabilities[n] for n in members)) for name, members in groups.items()}
    ranked = probabilities if task == "classification" and probabilities is not None else mean
    predicted = int(ranked.argmax())
    return Prediction(task, tuple(classes), mean, probabilities, predicted, together, slices=len(rows))


def answer_of_maps(
    maps: np.ndarray,
    overlapping: bool,
    classes: Sequence[str],
    groups: Mapping[str, Sequence[int]],
    cubic_millimetres: float,
    slices: int,
) -> Prediction:
    """The answer of a segmentation network.

    Parameters
    ----------
    maps : numpy.ndarray
        Logits (C, k, j, i) on the network's grid.
    overlapping : bool
        Each class for itself, present where its logit is positive; otherwise the largest logit wins.
    """
    if overlapping:
        labels = maps > 0
        voxels = [int(n) for n in labels.sum(axis=(1, 2, 3))]
    else:
        labels = maps.argmax(axis=0)
        voxels = [int(n) for n in np.bincount(labels.ravel(), minlength=len(maps))]
    millilitres = [n * cubic_millimetres / 1000 for n in voxels]
    first = 0 if overlapping else 1  # exclusive classes have their background first
    predicted = first + int(np.argmax(voxels[first:])) if sum(voxels[first:]) else 0
    together = {}
    for name, members in groups.items():
        counted = labels[list(members)].any(axis=0) if overlapping else np.isin(labels, list(members))
        together[name] = float(counted.sum() * cubic_millimetres / 1000)
    sizes = tuple(voxels), tuple(millilitres)
    return Prediction("segmentation", tuple(classes), None, None, predicted, together, *sizes, labels, slices)


def only_asked(maps: np.ndarray, prepared: Prepared, overlapping: bool) -> np.ndarray:
    """Make the slices that a 2D network was not asked about background: there the first class wins, or none."""
    if prepared.axis is None:
        return maps
    asked = np.zeros(maps.shape[1:], bool)
    np.moveaxis(asked, prepared.axis, 0)[list(prepared.slices)] = True
    background = np.full((len(maps), 1, 1, 1), -np.inf, np.float32)
    if not overlapping:
        background[0] = np.inf
    return np.where(asked, maps, background)

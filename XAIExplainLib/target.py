"""What is being explained: a class, a group of classes, a regression output, a region of a segmentation, one voxel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from XAIExplainLib.errors import XAIError
from XAIExplainLib.volume import Volume, load_volume

if TYPE_CHECKING:
    from XAIExplainLib.model import Model
    from XAIExplainLib.prepared import Prepared


@dataclass(frozen=True)
class Score:
    """The one number a sample that a method explains; differentiable.

    Parameters
    ----------
    name : str
        What is explained, for people: ``lesion``.
    units : str
        ``logit``, ``log-odds``, ``output`` or ``sum of logits``.
    function : callable
        ``(output of B rows, samples) -> tensor (B,)``; `samples` says which of the case's samples (slices) each row
        belongs to, since a region differs from slice to slice.
    probability : callable or None
        ``(output, samples) -> tensor (B,)`` between 0 and 1: how probable the network says the target is; None where
        there is no such number (a regression, a sum over a region).
    reads : torch.Tensor or None
        Segmentation: bool (N, *spatial), the voxels of each sample of which the score reads the output; None where it
        may read all.
    linear : bool
        Whether the score is a linear function of the output, so that its derivative is the same at every output.
    """

    name: str
    units: str
    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    probability: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None
    reads: torch.Tensor | None = None
    linear: bool = False

    def __call__(self, output: torch.Tensor, samples: torch.Tensor | None = None) -> torch.Tensor:
        if samples is None:
            samples = torch.arange(output.shape[0], device=output.device)
        return self.function(output, samples)


@dataclass(frozen=True)
class ClassTarget:
    """A class, a group of classes or an output, by name or index; None is the predicted class.

    Parameters
    ----------
    which : str, int or None
        The name or index. For a group of a classifier the score is the log-odds of the group; for a segmenter it is
        the sum of the class's logits where it is predicted.
    """

    which: str | int | None = None

    def bind(self, model: Model, output: torch.Tensor, prepared: Prepared) -> Score:
        """The score for this model and case.

        Parameters
        ----------
        model : Model
            Whose classes are named.
        output : torch.Tensor
            Its answer to the case, shape (N, ...).
        prepared : Prepared
            The case on the network's grid.

        Raises
        ------
        XAIError
            If the model has no such class, or does not find it anywhere.
        """
        task = model.infer_task(output, prepared.tensor)
        if task == "segmentation":
            return _segmented(model, output, self.which)
        columns = output.shape[1] if output.dim() > 1 else 1
        if isinstance(self.which, str) and self.which in model.groups and self.which not in model.class_names:
            return _group(self.which, list(model.group_indices(self.which)), columns, task)
        index = _predicted(output, task) if self.which is None else model.class_index(self.which)
        if not 0 <= index < columns:
            raise XAIError(
                f"The network has {columns} outputs, so there is no class {self.which}.",
                f"Give a class from 0 to {columns - 1}.",
            )
        name = _class_name(model, index)
        units = "output" if task == "regression" else "logit"
        return Score(
            name, units, lambda rows, samples: rows.reshape(len(rows), -1)[:, index], _probability(task, columns, index)
        )


@dataclass(frozen=True, eq=False)
class Region:
    """The sum of a class's logits over a region of a segmentation.

    Parameters
    ----------
    mask : Volume, numpy.ndarray or path
        Non-zero inside the region: a volume on any grid, or an array (k, j, i) on the explained volume's grid.
    which : str, int or None
        The class; None for the class that most of the region is predicted as.
    """

    mask: Any
    which: str | int | None = None

    def bind(self, model: Model, output: torch.Tensor, prepared: Prepared) -> Score:
        """As `ClassTarget.bind`; the region must not be empty on the network's grid."""
        _require_segmentation(model, output, prepared, "A region")
        mask = self.mask
        if not isinstance(mask, Volume):
            if isinstance(mask, np.ndarray):
                if mask.shape != prepared.volume.geometry.shape:
                    raise XAIError(
                        f"The region has the shape {mask.shape}, the volume {prepared.volume.geometry.shape}.",
                        "Give the mask as a volume with its own geometry, or on the explained volume's grid.",
                    )
                mask = Volume.on(prepared.volume.geometry, mask.astype(np.float32))
            else:
                mask = load_volume(mask)
        inside = prepared.rows(prepared.to_network(mask) > 0).to(output.device)
        if not bool(inside.any()):
            raise XAIError("The region is empty where the network looks.", "Draw it inside the explained volume.")
        if inside.shape[2:] != output.shape[2:]:
            raise XAIError(
                f"The network answers on a grid of {tuple(output.shape[2:])}, not on its input's.",
                "Explain a class of this network instead of a region.",
            )
        index = _class_in(model, output, inside[:, 0], self.which)
        return _sum_over(f"{_class_name(model, index)} in the region", index, inside[:, 0])


@dataclass(frozen=True)
class Voxel:
    """One voxel of a segmentation.

    Parameters
    ----------
    index : sequence of int
        (i, j, k) of the explained volume.
    which : str, int or None
        The class; None for the one predicted there.
    """

    index: Sequence[int]
    which: str | int | None = None

    def bind(self, model: Model, output: torch.Tensor, prepared: Prepared) -> Score:
        """As `ClassTarget.bind`; the voxel must lie in what the network sees."""
        _require_segmentation(model, output, prepared, "A voxel")
        grid = prepared.volume.geometry
        if len(self.index) != 3 or any(not 0 <= n < size for n, size in zip(self.index, grid.size, strict=False)):
            raise XAIError(
                f"There is no voxel {tuple(self.index)} in a volume of {grid.size} voxels.",
                "Give the index as i,j,k, counted from 0.",
            )
        point = prepared.geometry.physical_to_index(grid.index_to_physical(self.index))
        near = np.rint(point).astype(int)
        if any(not 0 <= n < size for n, size in zip(near, prepared.geometry.size, strict=True)):
            raise XAIError(
                f"The network does not see the voxel {tuple(self.index)}: its preprocessing crops it away.",
                "Choose a voxel nearer to the middle of the anatomy.",
            )
        mask = np.zeros(prepared.geometry.shape, dtype=bool)
        mask[tuple(near[::-1])] = True
        inside = prepared.rows(mask).to(output.device)[:, 0]
        index = _class_in(model, output, inside, self.which)
        name = f"{_class_name(model, index)} at voxel {','.join(str(int(n)) for n in self.index)}"
        score = _sum_over(name, index, inside, "logit")
        independent = model.overlapping or output.shape[1] == 1

        def probable(rows: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
            chances = rows.sigmoid() if independent else rows.softmax(1)
            return score.function(chances, samples)

        return replace(score, probability=probable)


def _predicted(output: torch.Tensor, task: str) -> int:
    rows = output.reshape(output.shape[0], -1).float()
    if task == "classification" and rows.shape[1] > 1:
        rows = rows.softmax(1)
    return int(rows.mean(0).argmax())


def _group(name: str, members: list[int], columns: int, task: str) -> Score:
    others = [index for index in range(columns) if index not in members]
    if task != "classification" or not others:
        return Score(name, "sum of logits", lambda rows, samples: rows[:, members].sum(1))

    def odds(rows: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
        """log P(group) - log P(not group) under the softmax."""
        return rows[:, members].logsumexp(1) - rows[:, others].logsumexp(1)

    return Score(name, "log-odds", odds, lambda rows, samples: odds(rows, samples).sigmoid())


def _probability(
    task: str, columns: int, index: int
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None:
    if task == "multilabel" or (task == "classification" and columns == 1):
        return lambda rows, samples: rows.reshape(len(rows), -1)[:, index].sigmoid()
    if task == "classification":
        return lambda rows, samples: rows.softmax(1)[:, index]
    return None


def _require_segmentation(model: Model, output: torch.Tensor, prepared: Prepared, what: str) -> None:
    if model.infer_task(output, prepared.tensor) != "segmentation":
        raise XAIError(f"{what} can be explained for a segmentation only.", "Give a class as the target.")


def _found(model: Model, output: torch.Tensor) -> torch.Tensor:
    """Where each class is found, bool (N, classes, *spatial): the largest logit, or each positive one."""
    if model.overlapping or output.shape[1] == 1:
        return output > 0
    return torch.zeros_like(output, dtype=torch.bool).scatter_(1, output.argmax(1, keepdim=True), True)


def _class_name(model: Model, index: int) -> str:
    return model.class_names[index] if index < len(model.class_names) else f"class {index}"


def _class_in(model: Model, output: torch.Tensor, inside: torch.Tensor, which: str | int | None) -> int:
    if output.shape[1] == 1:
        return 0
    if which is None:
        return int((_found(model, output) & inside[:, None]).transpose(0, 1).flatten(1).sum(1).argmax())
    return _column(model, which, output)


def _column(model: Model, which: str | int, output: torch.Tensor) -> int:
    index = model.class_index(which)
    if not 0 <= index < output.shape[1]:
        raise XAIError(
            f"The network has {output.shape[1]} classes, so there is no class {which}.",
            f"Give a class from 0 to {output.shape[1] - 1}.",
        )
    return index


def _segmented(model: Model, output: torch.Tensor, which: str | int | None) -> Score:
    found = _found(model, output)
    if output.shape[1] == 1:
        index = 0
    elif which is None:
        counts = found.transpose(0, 1).flatten(1).sum(1)
        if not model.overlapping:
            counts[0] = 0  # class 0 is the background
        if not bool(counts.any()):
            raise XAIError(
                "The network finds nothing but background in this volume.",
                "Name a class with a region or a voxel, to ask why it is not found there.",
            )
        index = int(counts.argmax())
    else:
        index = _column(model, which, output)
    inside = found[:, index]
    if not bool(inside.any()):
        raise XAIError(
            f"The network finds {_class_name(model, index)} nowhere in this volume.",
            "Give a region or a voxel to ask why it is not found there.",
        )
    return _sum_over(f"{_class_name(model, index)} where it is found", index, inside)


def _sum_over(name: str, index: int, inside: torch.Tensor, units: str = "sum of logits") -> Score:
    def total(rows: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
        return (rows[:, index] * inside[samples]).flatten(1).sum(1)

    return Score(name, units, total, reads=inside, linear=True)

"""The scores of a case when some of its regions are seen and the others covered: a game of regions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from XAIExplainLib.compute.baselines import CHOICES
from XAIExplainLib.compute.supervoxels import PARTITIONS
from XAIExplainLib.parameter import Parameter

if TYPE_CHECKING:
    from XAIExplainLib.question import Question

FILL = Parameter(
    "fill", "fill", 0.0,
    "What a covered region shows: an intensity after preprocessing, the image's mean, the blurred image, or another "
    "case such as the healthy twin.",
    choices=CHOICES, volumes=True,
)  # fmt: skip
REGIONS = (
    Parameter(
        "regions", "integer", 150, "About how many regions the anatomy is parted into (a 2D network: each slice).",
        minimum=2, maximum=5000,
    ),
    Parameter(
        "partition", "choice", "slic",
        "slic: supervoxels of like intensity, about as wide in every direction in mm; boxes: cubes.",
        choices=PARTITIONS,
    ),
    Parameter(
        "labels", "list", (),
        "The path of one label volume whose labels are the regions, in place of a partition.",
        advanced=True, of="volume",
    ),
)  # fmt: skip


class Game:
    """One sample of a case as a game whose players are its regions; no coalition is scored twice.

    Parameters
    ----------
    question : Question
        Whose network and score.
    sample : int
        Which of its samples.
    labels : torch.Tensor
        Shape (*spatial), int64: 0 for voxels that are always seen, players from 1.
    players : int
        How many there are.
    cover : torch.Tensor
        Shape of the question's `x`: what a covered region shows.
    span : tuple of float
        The run's progress when this game's scores begin and when they are done.

    Attributes
    ----------
    full : float
        The score of the image.
    passes : int
        Forward passes so far.
    """

    def __init__(
        self, question: Question, sample: int, labels: torch.Tensor, players: int, cover: torch.Tensor,
        span: tuple[float, float] = (0.0, 1.0),
    ) -> None:  # fmt: skip
        self.players, self.full, self.passes = players, float(question.scores_of_case[sample]), 0
        self._question, self._sample, self._span = question, sample, span
        self._labels = labels.to(question.x.device)
        self._x, self._cover = question.x[sample : sample + 1], cover[sample : sample + 1]
        self._known = {self._key(np.ones(players, bool)): self.full}

    @property
    def empty(self) -> float:
        """The score with every region covered."""
        return float(self.scores(torch.zeros(1, self.players, dtype=torch.bool))[0])

    def scores(self, seen: torch.Tensor) -> torch.Tensor:
        """The scores of coalitions.

        Parameters
        ----------
        seen : torch.Tensor
            Shape (n, players), bool: which regions are seen.

        Returns
        -------
        torch.Tensor
            Shape (n,), float64, on the CPU.
        """
        keys = [self._key(row) for row in seen.numpy()]
        new = {key: row for row, key in enumerate(keys) if key not in self._known}
        rows = list(new.values())
        size, first = self._question.batch, 0
        while first < len(rows):
            part = rows[first : first + size]
            found = self._question.scores(self._images(seen[part]), torch.full((len(part),), self._sample))
            self._known.update(zip([keys[row] for row in part], found.double().tolist(), strict=True))
            first += len(part)
            low, high = self._span
            self._question.progress(low + (high - low) * first / len(rows), f"coalition {first} of {len(rows)}")
        self.passes += len(rows)
        return torch.tensor([self._known[key] for key in keys], dtype=torch.float64)

    def _images(self, seen: torch.Tensor) -> torch.Tensor:
        """Images (n, C, *spatial) in which the other regions are covered."""
        outside = torch.ones(len(seen), 1, dtype=torch.bool)
        shown = torch.cat([outside, seen], 1).to(self._x.device)[:, self._labels]
        return torch.where(shown[:, None], self._x, self._cover)

    @staticmethod
    def _key(row: np.ndarray) -> bytes:
        return np.packbits(row).tobytes()

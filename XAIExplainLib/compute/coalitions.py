"""The scores of a case when some of its regions are seen and the others covered: a game of regions."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from XAIExplainLib.compute.baselines import CHOICES
from XAIExplainLib.compute.perturbation import by_patches
from XAIExplainLib.compute.supervoxels import PARTITIONS
from XAIExplainLib.compute.whole import answers
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
        Scores that the network was asked for so far.
    by_patches : int
        How many of these were computed only where the region reaches.
    """

    def __init__(
        self, question: Question, sample: int, labels: torch.Tensor, players: int, cover: torch.Tensor,
        span: tuple[float, float] = (0.0, 1.0),
    ) -> None:  # fmt: skip
        self.players, self.full, self.passes = players, float(question.scores_of_case[sample]), 0
        self._question, self._sample, self._span = question, sample, span
        self._labels = labels.to(question.x.device)
        self._x, self._cover = question.x[sample : sample + 1], cover[sample : sample + 1]
        self.by_patches = 0
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
        first = 0
        for part, found in self._found(seen, rows):
            self._known.update(zip([keys[row] for row in part], found.double().tolist(), strict=True))
            first += len(part)
            low, high = self._span
            self._question.progress(low + (high - low) * first / len(rows), f"coalition {first} of {len(rows)}")
        self.passes += len(rows)
        return torch.tensor([self._known[key] for key in keys], dtype=torch.float64)

    def _found(self, seen: torch.Tensor, rows: list[int]) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Rows and their scores: one region against all others by patches where that is faster, else whole passes."""
        number = seen[rows].sum(1).tolist()
        for alone, base, key in ((False, self._x, "case"), (True, self._covered, "covered")):
            wanted = 1 if alone else self.players - 1
            part = [row for row, count in zip(rows, number, strict=True) if count == wanted]
            found = self._one_region(seen, part, base, alone, key) if part and self.players > 2 else None
            if found is None:
                continue
            for indices, scores in found:
                yield [part[index] for index in indices], scores
            done = set(part)
            rows, number = [row for row in rows if row not in done], [n for n in number if n != wanted]
        for first in range(0, len(rows), self._question.batch):
            part = rows[first : first + self._question.batch]
            yield part, self._scores(self._images(seen[part]), len(seen))

    def _scores(self, images: torch.Tensor, number: int) -> torch.Tensor:
        """The scores of one batch of images, of so many in all."""
        rows = torch.full((len(images),), self._sample, device=images.device)
        if self._question.tiled is not None:
            return self._question.scores(images, rows)
        self._question.check()
        return self._question.score(answers(self._question, images, number), rows)

    def _one_region(
        self, seen: torch.Tensor, rows: list[int], base: torch.Tensor, alone: bool, key: str
    ) -> Iterator[tuple[list[int], torch.Tensor]] | None:
        """Scores of coalitions that differ from an image in one region, which lies in a box; None if not worth it."""
        players = (seen[rows] == alone).int().argmax(1).tolist()
        boxes = [self._boxes[player] for player in players]
        other = self._x if alone else self._cover

        def contents(indices: list[int]) -> list[torch.Tensor]:
            made = []
            for index in indices:
                box = (slice(None), *boxes[index])
                inside = self._labels[boxes[index]] == players[index] + 1
                made.append(torch.where(inside, other[0][box], base[0][box]))
            return made

        kept = self._question.diagnostics.get("engine")
        found = by_patches(self._question, self._sample, base, boxes, contents, self._question.score, key)
        if found is not None:
            self.by_patches += len(rows)
        elif kept is not None:
            self._question.diagnostics["engine"] = kept
        return found

    @functools.cached_property
    def _covered(self) -> torch.Tensor:
        """The image (1, C, *spatial) with every region covered."""
        return self._images(torch.zeros(1, self.players, dtype=torch.bool))

    @functools.cached_property
    def _boxes(self) -> list[tuple[slice, ...]]:
        """For each region the box that holds it."""
        from scipy.ndimage import find_objects

        found = find_objects(self._labels.cpu().numpy(), self.players)
        nowhere = tuple(slice(0, 1) for _ in self._labels.shape)
        return [nowhere if box is None else box for box in found]

    def _images(self, seen: torch.Tensor) -> torch.Tensor:
        """Images (n, C, *spatial) in which the other regions are covered."""
        outside = torch.ones(len(seen), 1, dtype=torch.bool)
        shown = torch.cat([outside, seen], 1).to(self._x.device)[:, self._labels]
        return torch.where(shown[:, None], self._x, self._cover)

    @staticmethod
    def _key(row: np.ndarray) -> bytes:
        return np.packbits(row).tobytes()

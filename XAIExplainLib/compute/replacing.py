"""What a network answers while the regions of an image are replaced, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from scipy import ndimage

from XAIExplainLib.compute.chains import chain_pays, measured_along
from XAIExplainLib.compute.supervoxels import Regions

if TYPE_CHECKING:
    from XAIExplainLib.compute.perturbation import Box, Measure
    from XAIExplainLib.question import Question

AGREES = 1e-3


@dataclass(frozen=True, eq=False)
class Followed:
    """What was measured on the way from one image to another.

    Parameters
    ----------
    shares : torch.Tensor
        Shape (steps + 1, N), float64: which share of the voxels of all regions was replaced in each sample.
    values : torch.Tensor
        Shape (steps + 1, N, ...), float64: what was measured then.
    """

    shares: torch.Tensor
    values: torch.Tensor


class Replacing:
    """A case whose regions can be replaced in any order, with both ends measured once for all orders.

    Parameters
    ----------
    question : Question
        Whose network, and whose `x` is the case.
    cover : torch.Tensor
        Shape of `x`: what is seen in place of the case.
    regions : Regions
        What is replaced as a whole; voxels of no region stay as they are in the case.
    steps : int
        After so many equal numbers of regions it is measured (after each region where there are fewer).
    measure : callable
        ``(outputs, samples) -> tensor (B, ...)``.
    passes : int
        About how many passes will be asked for in all.
    chain : bool or None
        Whether to ask by a chain of changes; None leaves it to the cost model.

    Attributes
    ----------
    chained : bool
        Whether changes are asked by a chain (`compute.chains`), which computes only what each one reaches.
    """

    def __init__(
        self, question: Question, cover: torch.Tensor, regions: Regions, steps: int, measure: Measure, passes: int = 0,
        chain: bool | None = None,
    ) -> None:  # fmt: skip
        self.question, self.regions, self.measure, self.passes = question, regions, measure, passes
        self.case = question.x
        inside = (regions.labels > 0)[:, None]
        self.empty = torch.where(inside, cover, question.x)
        self.steps = max(1, min(steps, max(regions.counts)))
        self._sizes = [
            torch.bincount(labels.flatten(), minlength=count + 1)[1:].double().cpu()
            for labels, count in zip(regions.labels, regions.counts, strict=True)
        ]
        self._boxes: list[Box] = []
        self.chained = False
        if len(question.x) == 1 and question.tiled is None and chain is not False:
            self._boxes = [box for box in ndimage.find_objects(regions.labels[0].cpu().numpy()) if box is not None]
            self.chained = bool(chain) or chain_pays(question, self._boxes, self.steps - 1)
        samples = torch.arange(len(question.x), device=question.x.device)
        self.full_value = self._ask(question.x, samples)
        self.empty_value = self._ask(self.empty, samples)

    def follow(self, orders: list[torch.Tensor], insert: bool, progress: Callable[[float], None]) -> Followed:
        """Replace the regions in an order, or give them back to the image that has lost all of them.

        Parameters
        ----------
        orders : list of torch.Tensor
            For each sample its regions, 0, 1, ..., the first one first.
        insert : bool
            Whether to give back.
        progress : callable
            Hears the share that is done.
        """
        start, end = (self.empty_value, self.full_value) if insert else (self.full_value, self.empty_value)
        at = [[step * count // self.steps for step in range(self.steps + 1)] for count in self.regions.counts]
        shares = torch.ones(self.steps + 1, len(self.case), dtype=torch.float64)
        shares[0] = 0
        for sample, order in enumerate(orders):
            if len(order):
                gone = torch.cat([torch.zeros(1, dtype=torch.float64), self._sizes[sample][order].cumsum(0)])
                shares[1:-1, sample] = (gone[at[sample]] / gone[-1])[1:-1]
        inner = self._chained(orders[0], at[0], insert, progress) if self.chained else None
        if inner is None:
            inner = self._whole(orders, at, insert, progress)
        return Followed(shares, torch.cat([start[None], inner, end[None]]))

    def _ask(self, images: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
        return self.question.scores(images, samples, self.passes, self.measure).double().cpu()

    def _whole(
        self, orders: list[torch.Tensor], at: list[list[int]], insert: bool, progress: Callable[[float], None]
    ) -> torch.Tensor:
        """By whole passes, in batches."""
        asked = [(step, sample) for step in range(1, self.steps) for sample in range(len(self.case))]
        # When each voxel is replaced; never where it is in no region.
        when = []
        for labels, order in zip(self.regions.labels, orders, strict=True):
            place = torch.full((len(order) + 1,), len(order), dtype=torch.long)
            place[1 + order] = torch.arange(len(order))
            when.append(place.to(labels.device)[labels])
        found, size = [], self.question.batch
        for first in range(0, len(asked), size):
            part = asked[first : first + size]
            images = torch.stack([
                torch.where((when[n] < at[n][step])[None] != insert, self.empty[n], self.case[n]) for step, n in part
            ])  # fmt: skip
            samples = torch.tensor([n for _, n in part], device=self.case.device)
            found.append(self._ask(images, samples))
            progress((first + len(part)) / len(asked))
        if not found:
            return self.full_value[None][:0]
        values = torch.cat(found)
        return values.reshape(self.steps - 1, len(self.case), *values.shape[1:])

    def _chained(
        self, order: torch.Tensor, at: list[int], insert: bool, progress: Callable[[float], None]
    ) -> torch.Tensor | None:
        """By a chain; None where its end is not what a whole pass says of the image that it ends in."""
        start, end = (self.empty, self.case) if insert else (self.case, self.empty)
        labels = self.regions.labels[0]

        def changes() -> Iterator[tuple[Box, torch.Tensor]]:
            image = start.clone()
            for region in order.tolist():
                box: Any = (0, slice(None), *self._boxes[region])
                inside = labels[self._boxes[region]] == region + 1
                image[box] = torch.where(inside, end[box], image[box])
                yield self._boxes[region], image[box]

        values = []
        for number, value in enumerate(measured_along(self.question, 0, start, changes(), self.measure), 1):
            values.append(value.double().cpu())
            progress(number / len(order))
        wanted = (self.full_value if insert else self.empty_value)[0]
        off = float((values[-1] - wanted).abs().max())
        known = self.question.diagnostics
        known["incremental_error"] = max(off, known.get("incremental_error", 0.0))
        if off > AGREES * max(1.0, float(wanted.abs().max())):
            self.question.warn("A chain of changes did not end in what a whole pass says, so whole passes were made.")
            self.chained = False
            return None
        kept = [values[number - 1] for number in at[1:-1]]
        return torch.stack(kept)[:, None] if kept else self.full_value[None][:0]

"""Targets made of other targets: a probability, the difference of two, one of several outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from XAIExplainLib.errors import XAIError
from XAIExplainLib.target import ClassTarget, Region, Score, Voxel

if TYPE_CHECKING:
    from XAIExplainLib.model import Model
    from XAIExplainLib.prepared import Prepared

Simple = ClassTarget | Region | Voxel


@dataclass(frozen=True, eq=True)
class Probability:
    """How probable the network says a target is, instead of its logit.

    Parameters
    ----------
    target : ClassTarget, Region or Voxel
        A class or group of a classifier, or a voxel of a segmentation.
    """

    target: Simple

    def bind(self, model: Model, output: torch.Tensor, prepared: Prepared) -> Score:
        """As `ClassTarget.bind`.

        Raises
        ------
        XAIError
            If the target has no probability.
        """
        score = self.target.bind(model, output, prepared)
        if score.probability is None:
            raise XAIError(f"{score.name} has no probability.", "Explain the score itself.")
        name = f"probability of {score.name}"
        return Score(name, "probability", score.probability, score.probability, score.reads)


@dataclass(frozen=True, eq=True)
class Difference:
    """What speaks for one target rather than another: the difference of their scores.

    Parameters
    ----------
    one, other : ClassTarget, Region, Voxel or Probability
        Positive speaks for `one`, negative for `other`.
    """

    one: Simple | Probability
    other: Simple | Probability

    def bind(self, model: Model, output: torch.Tensor, prepared: Prepared) -> Score:
        """As `ClassTarget.bind`."""
        one, other = (target.bind(model, output, prepared) for target in (self.one, self.other))
        units = one.units if one.units == other.units else f"{one.units} - {other.units}"
        return Score(
            f"{one.name} rather than {other.name}", units,
            lambda rows, samples: one.function(rows, samples) - other.function(rows, samples),
            reads=None if one.reads is None or other.reads is None else one.reads | other.reads,
            linear=one.linear and other.linear,
        )  # fmt: skip


@dataclass(frozen=True, eq=True)
class Head:
    """A target at one of several outputs of a network.

    Parameters
    ----------
    output : int or str
        Which element of the tuple, list or dict that the network gives.
    target : target
        What is explained there; its class names are those of this output only if the model names none.
    """

    output: int | str
    target: Simple | Probability | Difference

    def bind(self, model: Model, output: torch.Tensor, prepared: Prepared) -> Score:
        """As `ClassTarget.bind`, for a model that answers with this output (`Model.at_output`)."""
        return self.target.bind(model, output, prepared)


Target = Simple | Probability | Difference | Head

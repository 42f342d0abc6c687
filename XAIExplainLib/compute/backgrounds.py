"""Images that the case is compared with: without the evidence, a healthy template, background cases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from XAIExplainLib.cases import case_names, load_case
from XAIExplainLib.compute.baselines import CHOICES, baseline
from XAIExplainLib.errors import XAIError
from XAIExplainLib.geometry import resample
from XAIExplainLib.volume import load_volume

if TYPE_CHECKING:
    from XAIExplainLib.question import Question


def compared_with(question: Question, kind: float | str) -> torch.Tensor:
    """The image that `kind` means for this question, of the shape of its `x`.

    Parameters
    ----------
    question : Question
        Whose case and model.
    kind : float or str
        What `baselines.baseline` knows (a constant, ``mean``, ``blur``), or another case: the name of a bundled one or
        the path of a volume.

    Raises
    ------
    XAIError
        If the case cannot be read, or does not fit the network.
    """
    if not isinstance(kind, str) or kind in CHOICES:
        return baseline(question.x, kind)
    return other_case(question, kind)


def other_case(question: Question, name: str) -> torch.Tensor:
    """Another case prepared by the model and carried through patient space onto this question's grid.

    Returns
    -------
    torch.Tensor
        Of the shape of the question's `x`; 0 where the other case does not reach.
    """
    known = name in case_names() and not Path(name).exists()
    volume = load_case(name).volume if known else load_volume(name)
    prepared = question.model.prepare(volume)
    channels = prepared.tensor.shape[1]
    if channels != question.x.shape[1]:
        raise XAIError(
            f"{name} has {channels} channels, and the explained case {question.x.shape[1]}.",
            "Give a case with the same channels.",
        )
    carried = resample(prepared.grid(prepared.tensor), prepared.geometry, question.prepared.geometry)
    if not carried.any():
        raise XAIError(
            f"{name} does not lie where the explained case lies.", "Give a case that is aligned with it in space."
        )
    return question.prepared.rows(carried).to(question.x.dtype)

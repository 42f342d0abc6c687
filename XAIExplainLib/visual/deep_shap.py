"""Deep SHAP (Lundberg & Lee 2017): DeepLIFT's multipliers (Shrikumar et al. 2017), averaged over background cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from XAIExplainLib.compute.backgrounds import compared_with
from XAIExplainLib.compute.baselines import CHOICES
from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.compute.multipliers import compare, multipliers, shared
from XAIExplainLib.compute.multipliers_reveal import reveal_cancel
from XAIExplainLib.compute.multipliers_tiles import compare_by_tiles
from XAIExplainLib.compute.reverse import Table
from XAIExplainLib.effort import FIRST_WALK, WALK, Sizes
from XAIExplainLib.errors import XAIError
from XAIExplainLib.method import Attribution, Method, register
from XAIExplainLib.parameter import Parameter

if TYPE_CHECKING:
    from XAIExplainLib.question import Question

TOLERANCE = 1e-3
RULES = {"rescale": multipliers, "reveal_cancel": reveal_cancel}

BACKGROUND = Parameter(
    "background", "list", ("blur",),
    "What the case is compared with, parted by commas: an intensity after preprocessing such as 0, mean, blur, or "
    "other cases by name or path.",
    of="volume",
)  # fmt: skip


@register
class DeepShap(Method):
    """Shares the difference of the score between the case and background cases out, operation by operation."""

    name = "deep_shap"
    title = "Deep SHAP (DeepLIFT)"
    family = "Backpropagation"
    model_specific = True
    needs = "graph"
    cost = "one forward pass, and for each background one forward and one backward pass"
    signed = True
    units = "share of the score"
    summary = (
        "Divides the difference of the score between the case and one or several backgrounds among the voxels, in one "
        "walk back for each background: the map adds up to the difference."
    )
    citation = (
        "Lundberg, Lee: A unified approach to interpreting model predictions. NIPS 2017, arXiv:1705.07874 (section "
        "4.2.2); Shrikumar, Greenside, Kundaje: Learning important features through propagating activation "
        "differences. ICML 2017, arXiv:1704.02685 (sections 3.2 to 3.5)."
    )
    proof = (
        "the sum is the difference of the scores (1e-9 in double precision) on every network of the zoo; "
        "equal to captum where captum is right"
    )
    caution = (
        "Depends on the background: choose cases that lack what is asked about. It approximates Shapley values as if "
        "the inputs of each operation acted on their own, and voxels that equal the background get nothing."
    )
    parameters = (
        BACKGROUND,
        Parameter(
            "rule", "choice", "rescale",
            "At rectifiers: rescale takes the change as a whole, reveal_cancel parts what speaks for and against.",
            choices=tuple(RULES), advanced=True,
        ),
    )  # fmt: skip
    presets = {"quick": {"background": ("blur",)}, "thorough": {"background": ("0", "mean", "blur")}}

    @classmethod
    def passes(cls, sizes: Sizes, parameters: dict[str, Any]) -> float:
        return FIRST_WALK + WALK * len(parameters["background"])

    @classmethod
    def walk_start(cls, graph: Graph, parameters: dict[str, Any]) -> str | None:
        return graph.input

    @classmethod
    def walk_table(cls, parameters: dict[str, Any]) -> Table | None:
        return shared(RULES[parameters["rule"]])[0]

    def explain(self, question: Question, **parameters: Any) -> Attribution:
        backgrounds = backgrounds_of(question, parameters["background"])
        table, asked = shared(RULES[parameters["rule"]])
        values = torch.zeros(question.x.shape, dtype=torch.float64, device=question.x.device)
        found = torch.zeros(len(backgrounds), question.samples, dtype=torch.float64)
        wanted, scores = torch.zeros_like(found), torch.zeros_like(found)
        question.progress(0.0, "forward pass of the case")
        compared = compare if question.tiled is None else compare_by_tiles
        with asked.by(question.check):
            for one in compared(question, backgrounds, table):
                part = one.contributions.double()
                values[one.rows] += part / len(backgrounds)
                found[one.background, one.rows] = part.flatten(1).sum(1).cpu()
                scores[one.background, one.rows] = one.reference_scores.double().cpu()
                wanted[one.background, one.rows] = (one.scores - one.reference_scores).double().cpu()
        report_sum(question, found, wanted, scores)
        error = question.diagnostics["completeness_error"]
        if error > TOLERANCE:
            question.warn(
                f"The map adds up to the difference of the scores with an error of {error:.1%}: the network decides by "
                "steps that no multiplier describes, or its answers for case and background hardly differ."
            )
        return Attribution(values.to(question.x.dtype))


def backgrounds_of(question: Question, names: Sequence[str]) -> list[torch.Tensor]:
    """The images that the list `names` means, each of the shape of the question's `x`.

    Parameters
    ----------
    question : Question
        Whose case and model.
    names : sequence of str
        Each a number, ``zero``, ``mean``, ``blur``, or another case by name or path.

    Raises
    ------
    XAIError
        If there is none, a case cannot be read or does not fit, or every background equals the case.
    """
    if not names:
        raise XAIError("There is no background to compare with.", "Give an intensity, mean, blur, or other cases.")
    found = []
    for number, name in enumerate(names):
        question.progress(0.0, f"reading background {number + 1} of {len(names)}")
        found.append(compared_with(question, _meaning(name)))
    if all(torch.equal(one, question.x) for one in found):
        raise XAIError("The background is the explained case itself.", "Give another background.")
    return found


def _meaning(name: str) -> float | str:
    if name == "zero":
        return 0.0
    try:
        number = float(name)
    except ValueError:
        return name
    if not torch.isfinite(torch.tensor(number)):
        raise XAIError(f"The background cannot be {name}.", f"Give a number, {', '.join(CHOICES)}, or another case.")
    return number


def report_sum(question: Question, found: torch.Tensor, wanted: torch.Tensor, scores: torch.Tensor) -> None:
    """Put how well the map adds up among the diagnostics.

    Parameters
    ----------
    question : Question
        Whose diagnostics.
    found, wanted, scores : torch.Tensor
        Shape (backgrounds, N), float64: the sum of the map, the difference of the scores, and the background's score.
    """
    question.diagnostics.update(
        backgrounds=len(found),
        baseline_score=float(scores.mean()),  # over the slices too, as the score is
        baseline_scores=scores.mean(1).tolist(),
        sum_of_map=float(found.mean(0).sum()),
        completeness_error=float((found - wanted).abs().sum() / wanted.abs().sum().clamp_min(1e-12)),
    )

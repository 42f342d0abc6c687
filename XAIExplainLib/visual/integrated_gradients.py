"""Integrated gradients (Sundararajan, Taly, Yan 2017), by Gauss-Legendre quadrature."""

from __future__ import annotations

from typing import Any

import torch

from XAIExplainLib.compute.backgrounds import compared_with
from XAIExplainLib.compute.baselines import CHOICES
from XAIExplainLib.compute.quadrature import gauss_legendre
from XAIExplainLib.compute.straight import integral_of_gradients
from XAIExplainLib.effort import WALK, Sizes
from XAIExplainLib.method import Attribution, Method, register
from XAIExplainLib.parameter import Parameter
from XAIExplainLib.question import Question

TOLERANCE = 0.01


@register
class IntegratedGradients(Method):
    """The path integral of the gradient from a baseline to the image, times the way."""

    name = "integrated_gradients"
    title = "Integrated gradients"
    family = "Backpropagation"
    model_specific = True
    needs = "gradient"
    cost = "one forward and one backward pass for each step"
    signed = True
    units = "share of the score"
    summary = (
        "Divides the difference of the score between the image and a baseline among the voxels: the map adds up to "
        "it, and the error of the sum is reported."
    )
    citation = (
        "Sundararajan, Taly, Yan: Axiomatic attribution for deep networks. ICML 2017, arXiv:1703.01365 (equation 1)."
    )
    proof = "equal to captum; the sum is the difference of the scores, its error reported with each map"
    caution = "Depends on the baseline: a voxel that equals it gets nothing, however much it matters."
    parameters = (
        Parameter(
            "steps", "integer", 20, "Points of the Gauss-Legendre rule between baseline and image; more are exacter.",
            unit="steps", minimum=1, maximum=1000,
        ),
        Parameter(
            "baseline", "fill", 0.0,
            "What the image is compared with: an intensity after preprocessing, its mean, the blurred image, or "
            "another case.",
            choices=CHOICES, volumes=True,
        ),
    )  # fmt: skip
    presets = {"quick": {"steps": 10}, "thorough": {"steps": 100}}

    @classmethod
    def passes(cls, sizes: Sizes, parameters: dict[str, Any]) -> float:
        return 2 + WALK * parameters["steps"]

    def explain(self, question: Question, **parameters: Any) -> Attribution:
        start = compared_with(question, parameters["baseline"])
        question.diagnostics["baseline"] = parameters["baseline"]
        values = integral_of_gradients(question, start, *gauss_legendre(parameters["steps"])) * (question.x - start)
        _completeness(question, values, question.scores(start))
        return Attribution(values)


def _completeness(question: Question, values: torch.Tensor, scores_of_baseline: torch.Tensor) -> None:
    """Report how well the map adds up to the difference of the scores (completeness axiom)."""
    wanted = (question.scores_of_case - scores_of_baseline).double()
    found = values.double().flatten(1).sum(1)
    error = float((found - wanted).abs().sum() / wanted.abs().sum().clamp_min(1e-12))
    question.diagnostics.update(
        baseline_score=float(scores_of_baseline.double().mean()),  # over the slices, as the score is
        sum_of_map=float(found.sum()),
        completeness_error=error,
    )
    if error > TOLERANCE:
        question.warn(
            f"The map adds up to the difference of the scores with an error of {error:.1%}; more steps, or the "
            "baseline blur, make it smaller."
        )

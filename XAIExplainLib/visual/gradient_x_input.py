"""Gradient times input (Shrikumar et al. 2016)."""

from __future__ import annotations

from typing import Any

from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.effort import FIRST_WALK, Sizes
from XAIExplainLib.method import Attribution, Method, register
from XAIExplainLib.question import Question


@register
class GradientTimesInput(Method):
    """The derivative of the score by each voxel, times the voxel's value."""

    name = "gradient_x_input"
    title = "Gradient x input"
    family = "Backpropagation"
    model_specific = True
    needs = "gradient"
    cost = "one forward and one backward pass"
    signed = True
    units = "share of the score, to first order"
    summary = (
        "How much of the score each voxel would carry if the network were linear: positive where its intensity speaks "
        "for the target. What the map does not add up to is reported."
    )
    citation = (
        "Shrikumar, Greenside, Shcherbina, Kundaje: Not just a black box: learning important features through "
        "propagating activation differences. 2016, arXiv:1605.01713 (section 2.3)."
    )
    proof = "equal to captum; on ReLU networks without biases the sum is the score"
    caution = (
        "A voxel of intensity 0 after preprocessing gets nothing, however much it matters; and much of the map is the "
        "image itself."
    )

    @classmethod
    def passes(cls, sizes: Sizes, parameters: dict[str, Any]) -> float:
        return FIRST_WALK

    @classmethod
    def walk_start(cls, graph: Graph, parameters: dict[str, Any]) -> str | None:
        return graph.input

    def explain(self, question: Question, **parameters: Any) -> Attribution:
        question.progress(0.0, "forward and backward pass")
        gradients, _ = question.gradients(question.x)
        values = gradients * question.x
        # Euler: a network of rectifiers, pools and weights without biases is homogeneous, and the map adds up to the
        # score. Elsewhere the rest belongs to biases and curvature, which is no error of the map.
        found, wanted = values.double().flatten(1).sum(1), question.scores_of_case.double()
        question.diagnostics.update(
            sum_of_map=float(found.sum()),
            rest_share=float((wanted - found).abs().sum() / wanted.abs().sum().clamp_min(1e-12)),
        )
        if not bool(gradients.any()):
            question.warn("The gradient is zero everywhere: the score does not depend on the image here.")
        return Attribution(values)

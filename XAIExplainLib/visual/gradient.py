"""Gradient of the score with respect to every voxel (Simonyan et al. 2013)."""

from __future__ import annotations

from typing import Any

from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.effort import FIRST_WALK, Sizes
from XAIExplainLib.method import Attribution, Method, register
from XAIExplainLib.parameter import Parameter
from XAIExplainLib.question import Question


@register
class Gradient(Method):
    """The derivative of the score by each voxel, equal to autograd's."""

    name = "gradient"
    title = "Gradient (saliency)"
    family = "Backpropagation"
    model_specific = True
    needs = "gradient"
    cost = "one forward and one backward pass"
    signed = True
    units = "change of the score per unit of intensity"
    summary = (
        "How much the score would change if a voxel were a little brighter: positive where brighter speaks for the "
        "target, negative where darker does."
    )
    citation = (
        "Simonyan, Vedaldi, Zisserman: Deep inside convolutional networks: visualising image classification models "
        "and saliency maps. ICLR workshop 2014, arXiv:1312.6034."
    )
    proof = "equal to autograd in double precision (2e-15) and to captum on CNNs, U-Nets and transformers"
    caution = (
        "Shows what the network is sensitive to, not what it used; noisy, and the maps of the best and of a worse "
        "class may look alike."
    )
    parameters = (
        Parameter(
            "kind", "choice", "signed",
            "signed: the derivative itself; absolute: its size; input: times the voxel's value.",
            choices=("signed", "absolute", "input"),
        ),
    )  # fmt: skip

    @classmethod
    def passes(cls, sizes: Sizes, parameters: dict[str, Any]) -> float:
        return FIRST_WALK

    @classmethod
    def walk_start(cls, graph: Graph, parameters: dict[str, Any]) -> str | None:
        return graph.input

    def explain(self, question: Question, **parameters: Any) -> Attribution:
        question.progress(0.0, "forward and backward pass")
        values, _ = question.gradients(question.x)
        kind = parameters["kind"]
        if kind == "absolute":
            values = values.abs()
        elif kind == "input":
            values = values * question.x
        if not bool(values.any()):
            question.warn("The gradient is zero everywhere: the score does not depend on the image here.")
        return Attribution(values, signed=kind != "absolute")

"""Deconvolution (Zeiler & Fergus 2014): a rectifier rectifies what goes back instead of what came."""

from __future__ import annotations

from typing import Any

from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.compute.rectifiers import DECONVOLUTION, exchanged
from XAIExplainLib.compute.reverse import Table
from XAIExplainLib.effort import FIRST_WALK, Sizes
from XAIExplainLib.method import Attribution, Method, register
from XAIExplainLib.question import Question


@register
class Deconvolution(Method):
    """The gradient, in which a rectifier passes back what is positive, wherever its input was.

    For R coming back, ``max(R, 0)``, times the rectifier's slope for positive inputs, which is 1 (SELU: 1.0507). The
    input, a leak and a cap (ReLU6) play no part. A pool passes back to where its largest value was (the switches).
    """

    name = "deconvolution"
    title = "Deconvolution"
    family = "Backpropagation"
    model_specific = True
    needs = "graph"
    cost = "one forward and one backward pass"
    signed = True
    units = "projected change of the score per unit of intensity"
    summary = (
        "Projects what speaks for the target back through the layers and keeps what is positive in each: the pattern "
        "that the features look for. For networks whose activations are rectifiers (ReLU and its kin)."
    )
    citation = (
        "Zeiler, Fergus: Visualizing and understanding convolutional networks. ECCV 2014, arXiv:1311.2901 "
        "(section 2.1)."
    )
    proof = "equal to captum, and to autograd with exchanged functions on 13 networks (1e-10)"
    caution = (
        "Depends on the image only through the pools: without them it shows the network, not the case. Looks much "
        "alike for all classes and for random networks."
    )

    @classmethod
    def passes(cls, sizes: Sizes, parameters: dict[str, Any]) -> float:
        return FIRST_WALK

    @classmethod
    def walk_start(cls, graph: Graph, parameters: dict[str, Any]) -> str | None:
        return graph.input

    @classmethod
    def walk_table(cls, parameters: dict[str, Any]) -> Table | None:
        return DECONVOLUTION

    def explain(self, question: Question, **parameters: Any) -> Attribution:
        question.progress(0.0, "forward and backward pass")
        return Attribution(exchanged(question, DECONVOLUTION, self.title))

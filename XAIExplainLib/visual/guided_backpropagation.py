"""Guided backpropagation (Springenberg et al. 2015): only what is positive, both ways, passes a rectifier."""

from __future__ import annotations

from typing import Any

from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.compute.rectifiers import GUIDED, exchanged
from XAIExplainLib.compute.reverse import Table
from XAIExplainLib.effort import FIRST_WALK, Sizes
from XAIExplainLib.method import Attribution, Method, register
from XAIExplainLib.question import Question


@register
class GuidedBackpropagation(Method):
    """The gradient, in which a rectifier passes back only what is positive, and only where its input was.

    For a rectifier f with the input x and R coming back, ``max(R, 0) f'(x)`` where x > 0, and 0 elsewhere: for ReLU
    that is the paper's rule, and a leaky rectifier's negative side passes nothing either.
    """

    name = "guided_backpropagation"
    title = "Guided backpropagation"
    family = "Backpropagation"
    model_specific = True
    needs = "graph"
    cost = "one forward and one backward pass"
    signed = True
    units = "guided change of the score per unit of intensity"
    summary = (
        "The gradient without all that weakens a feature on its way: sharp edges of what the features react to. For "
        "networks whose activations are rectifiers (ReLU and its kin)."
    )
    citation = (
        "Springenberg, Dosovitskiy, Brox, Riedmiller: Striving for simplicity: the all convolutional net. ICLR "
        "workshop 2015, arXiv:1412.6806 (section 3.4)."
    )
    proof = "equal to captum, and to autograd with exchanged functions on 13 networks (1e-10)"
    caution = (
        "Looks alike for trained and random networks and for all classes (Adebayo et al. 2018): it shows edges of the "
        "image more than reasons of the network."
    )

    @classmethod
    def passes(cls, sizes: Sizes, parameters: dict[str, Any]) -> float:
        return FIRST_WALK

    @classmethod
    def walk_start(cls, graph: Graph, parameters: dict[str, Any]) -> str | None:
        return graph.input

    @classmethod
    def walk_table(cls, parameters: dict[str, Any]) -> Table | None:
        return GUIDED

    def explain(self, question: Question, **parameters: Any) -> Attribution:
        question.progress(0.0, "forward and backward pass")
        return Attribution(exchanged(question, GUIDED, self.title))

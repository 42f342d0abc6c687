"""Guided Grad-CAM (Selvaraju et al. 2017): fine edges where the coarse map speaks for the target."""

from __future__ import annotations

from typing import Any

from XAIExplainLib.compute import activation_maps
from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.compute.placement import enlarge
from XAIExplainLib.compute.rectifiers import GUIDED, exchanged, rectifiers
from XAIExplainLib.compute.reverse import Table
from XAIExplainLib.effort import FIRST_WALK, TO_A_LAYER, Sizes
from XAIExplainLib.method import Attribution, Method, register
from XAIExplainLib.question import Question


@register
class GuidedGradCam(Method):
    """Guided backpropagation times Grad-CAM on the image's grid."""

    name = "guided_grad_cam"
    title = "Guided Grad-CAM"
    family = "Class activation maps"
    model_specific = True
    needs = "graph"
    cost = "two forward passes and about one backward pass"
    signed = True
    units = "guided change of the score times weighted activation"
    summary = (
        "The fine structure that the features react to, kept only where Grad-CAM finds what speaks for the target. For "
        "networks whose activations are rectifiers (ReLU and its kin)."
    )
    citation = (
        "Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra: Grad-CAM: visual explanations from deep networks via "
        "gradient-based localization. ICCV 2017, arXiv:1610.02391 (section 3.2)."
    )
    proof = "equal to captum"
    caution = (
        "Its fine structure is that of guided backpropagation, which looks alike for trained and random networks "
        "(Adebayo et al. 2018); only the coarse region is about the target."
    )
    parameters = (activation_maps.LAYER, activation_maps.PLACEMENT)

    @classmethod
    def passes(cls, sizes: Sizes, parameters: dict[str, Any]) -> float:
        return FIRST_WALK + TO_A_LAYER

    @classmethod
    def walk_start(cls, graph: Graph, parameters: dict[str, Any]) -> str | None:
        return graph.input

    @classmethod
    def walk_table(cls, parameters: dict[str, Any]) -> Table | None:
        return GUIDED

    def explain(self, question: Question, **parameters: Any) -> Attribution:
        graph = question.graph()
        rectifiers(graph, self.title)  # refuses first, at no cost
        question.progress(0.0, "guided backpropagation")
        guided = exchanged(question, GUIDED, self.title)
        question.progress(0.6, "Grad-CAM")
        found = activation_maps.at_layer(question, graph, parameters["layer"])
        values = activation_maps.grad_cam(found.maps, found.gradients)
        coarse = activation_maps.finished(question, graph, found, values, {**parameters, "rectify": True})
        assert coarse.origin is not None and coarse.step is not None
        return Attribution(guided * enlarge(coarse.values, question.spatial, coarse.origin, coarse.step))

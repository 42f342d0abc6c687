"""Grad-CAM (Selvaraju et al. 2017) at any layer that holds a map."""

from __future__ import annotations

from typing import Any

from XAIExplainLib.compute import activation_maps
from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.effort import TO_A_LAYER, Sizes
from XAIExplainLib.method import Attribution, Method, register
from XAIExplainLib.question import Question


@register
class GradCam(Method):
    """A layer's maps, weighted by the mean gradient of the score over each."""

    name = "grad_cam"
    title = "Grad-CAM"
    family = "Class activation maps"
    model_specific = True
    needs = "graph"
    cost = "about one forward pass"
    signed = False
    units = "weighted activation"
    summary = (
        "Where the features of a deep layer that speak for the target were found; coarse, one value for each cell of "
        "the layer's map."
    )
    citation = (
        "Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra: Grad-CAM: visual explanations from deep networks via "
        "gradient-based localization. ICCV 2017, arXiv:1610.02391 (equations 1 and 2)."
    )
    proof = "equal to captum and MONAI at their layers, and to CAM on networks that average"
    caution = (
        "As coarse as the layer's map; averages the gradient over the whole map, so that it may light up where the "
        "features are, not where they were used."
    )
    parameters = (activation_maps.LAYER, activation_maps.RECTIFY, activation_maps.PLACEMENT)

    @classmethod
    def passes(cls, sizes: Sizes, parameters: dict[str, Any]) -> float:
        return TO_A_LAYER

    @classmethod
    def walk_start(cls, graph: Graph, parameters: dict[str, Any]) -> str | None:
        return activation_maps.walk_start_at_layer(graph, parameters)

    def explain(self, question: Question, **parameters: Any) -> Attribution:
        graph = question.graph()
        question.progress(0.0, "forward pass")
        found = activation_maps.at_layer(question, graph, parameters["layer"])
        values = activation_maps.grad_cam(found.maps, found.gradients)
        return activation_maps.finished(question, graph, found, values, parameters)

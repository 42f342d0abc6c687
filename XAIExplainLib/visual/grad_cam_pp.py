"""Grad-CAM++ (Chattopadhay et al. 2018): each place of a map has a weight of its own."""

from __future__ import annotations

from typing import Any

from XAIExplainLib.compute import activation_maps
from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.effort import TO_A_LAYER, Sizes
from XAIExplainLib.method import Attribution, Method, register
from XAIExplainLib.question import Question


@register
class GradCamPlusPlus(Method):
    """A layer's maps, weighted by their positive gradients, places with a small share in them counting more."""

    name = "grad_cam_pp"
    title = "Grad-CAM++"
    family = "Class activation maps"
    model_specific = True
    needs = "graph"
    cost = "about one forward pass"
    signed = False
    units = "weighted activation"
    summary = (
        "Grad-CAM that is meant not to lose the smaller of several findings: where the features of a deep layer that "
        "speak for the target were found, each place weighted by its own positive gradient."
    )
    citation = (
        "Chattopadhay, Sarkar, Howlader, Balasubramanian: Grad-CAM++: generalized gradient-based visual explanations "
        "for deep convolutional networks. WACV 2018, arXiv:1710.11063 (equation 19, with the score's exponential as "
        "the class score)."
    )
    proof = "equal to the formula by hooks and autograd, and to MONAI behind a global average"
    caution = (
        "As coarse as the layer's map; counts only features whose gradient is positive, so that what speaks against "
        "the target is never subtracted."
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
        values = activation_maps.grad_cam_pp(found.maps, found.gradients)
        used = found.gradients > 0
        wrong = used & (activation_maps.alphas(found.maps, found.gradients) <= 0)
        turned = float(wrong.sum() / used.sum().clamp_min(1))
        question.diagnostics["share_of_weights_turned"] = turned
        if turned > 0:
            question.warn(
                f"In {turned:.1%} of the places the formula of Grad-CAM++ turns the weight round, because the layer "
                f"{found.layer.layer.name} has negative values; choose a layer after its activation, or layer_cam."
            )
        return activation_maps.finished(question, graph, found, values, parameters)

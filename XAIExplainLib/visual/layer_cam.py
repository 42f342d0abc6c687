"""LayerCAM (Jiang et al. 2021): every cell weighted by its own gradient, for layers of any depth."""

from __future__ import annotations

from typing import Any

from XAIExplainLib.compute import activation_maps
from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.effort import TO_A_LAYER, Sizes
from XAIExplainLib.method import Attribution, Method, register
from XAIExplainLib.question import Question


@register
class LayerCam(Method):
    """A layer's maps, each cell times its own gradient where that is positive."""

    name = "layer_cam"
    title = "LayerCAM"
    family = "Class activation maps"
    model_specific = True
    needs = "graph"
    cost = "about one forward pass"
    signed = False
    units = "weighted activation"
    summary = (
        "Where a layer's features speak for the target, each cell judged by its own gradient; works at shallow layers "
        "too, whose maps are finer."
    )
    citation = (
        "Jiang, Zhang, Hou, Cheng, Wei: LayerCAM: exploring hierarchical class activation maps for localization. IEEE "
        "Transactions on Image Processing 30, 2021, 5875-5888."
    )
    proof = "equal to the formula by hooks and autograd on CNNs, slices and tokens"
    caution = (
        "Counts only positive gradients, so that features that speak against the target are never subtracted; at "
        "shallow layers as noisy as the gradient itself."
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
        values = activation_maps.layer_cam(found.maps, found.gradients)
        return activation_maps.finished(question, graph, found, values, parameters)

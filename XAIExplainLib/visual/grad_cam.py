"""Grad-CAM (Selvaraju et al. 2017) at any layer that holds a map."""

from __future__ import annotations

from typing import Any

import torch

from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.compute.maps import MapLayer, default_layers, find_layer
from XAIExplainLib.compute.placement import cells
from XAIExplainLib.compute.receptive import receptive_field
from XAIExplainLib.errors import XAIError
from XAIExplainLib.method import Attribution, Method, register
from XAIExplainLib.parameter import Parameter
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
    caution = (
        "As coarse as the layer's map; averages the gradient over the whole map, so that it may light up where the "
        "features are, not where they were used."
    )
    parameters = (
        Parameter(
            "layer", "layer", None,
            "Dotted name of the layer; left out, the last one with a map that the score depends on (for a "
            "segmentation the deepest).",
        ),
        Parameter("rectify", "boolean", True, "Keep only what speaks for the target, as in the paper.", advanced=True),
        Parameter(
            "placement", "choice", "cells",
            "cells: the map's cells tile the image, as is usual; receptive_field: each cell lies at the centre of "
            "what it sees, which differs where strided convolutions are padded.",
            choices=("cells", "receptive_field"), advanced=True,
        ),
    )  # fmt: skip

    @classmethod
    def walk_start(cls, graph: Graph, parameters: dict[str, Any]) -> str | None:
        name = parameters["layer"]
        return (find_layer(graph, name) if name else default_layers(graph)[0]).layer.node

    def explain(self, question: Question, **parameters: Any) -> Attribution:
        graph = question.graph()
        question.progress(0.0, "forward pass")
        layer, maps, gradients = _at_layer(question, graph, parameters["layer"])
        weights = gradients.mean(tuple(range(2, gradients.dim())), keepdim=True)
        values = (weights * maps).sum(1, keepdim=True)
        if not bool(gradients.any()):
            raise XAIError(
                f"No gradient reaches the layer {layer.layer.name}: the score does not depend on its map.",
                "Choose another layer, or leave it out.",
            )
        speaking = float(values.clamp_min(0).sum() / values.abs().sum().clamp_min(1e-30))
        if parameters["rectify"]:
            values = values.clamp_min(0)
            if not bool(values.any()):
                question.warn("Nothing in this layer speaks for the target: the map is zero. rectify=false shows what "
                              "speaks against it.")  # fmt: skip
        origin, step = _place(question, graph, layer, parameters["placement"])
        question.diagnostics.update(
            layer=layer.layer.name, layer_type=layer.layer.type, layer_grid=list(layer.grid),
            layer_chosen="by default" if parameters["layer"] is None else "by the user",
            share_for_target=speaking, engine="graph",
        )  # fmt: skip
        if layer.layer.calls > 1:
            question.warn(f"The layer {layer.layer.name} is used {layer.layer.calls} times; its last use is shown.")
        return Attribution(values, origin, step, signed=not parameters["rectify"])


def _at_layer(question: Question, graph: Graph, name: str | None) -> tuple[MapLayer, torch.Tensor, torch.Tensor]:
    """The layer, its maps and their gradients, each (N, channels, *grid)."""
    if name:
        layer = find_layer(graph, name)
        return layer, *_maps_at(question, graph, layer)
    candidates = default_layers(graph)
    maps, gradients = _maps_at(question, graph, candidates[0])
    if bool(gradients.any()):
        return candidates[0], maps, gradients
    # In a transformer the last tokens of the image are not read, only the class token is: look further in.
    known = {layer.layer.node: layer for layer in candidates}
    reached = question.nodes_with_gradient(
        lambda node, gradient: node in known and bool(known[node].maps(gradient).any())
    )
    if not reached:
        raise XAIError(
            "No layer with a map was found that the score depends on.", "Name one by its dotted name, or use occlusion."
        )
    layer = known[reached[0]]
    return layer, *_maps_at(question, graph, layer)


def _maps_at(question: Question, graph: Graph, layer: MapLayer) -> tuple[torch.Tensor, torch.Tensor]:
    maps, gradients = [], []
    for sample in range(question.samples):
        value, gradient, _ = question.walk_to(
            layer.layer.node, question.x[sample : sample + 1], torch.tensor([sample], device=question.x.device), graph
        )
        maps.append(layer.maps(value))
        gradients.append(layer.maps(gradient))
    return torch.cat(maps), torch.cat(gradients)


def _place(
    question: Question, graph: Graph, layer: MapLayer, placement: str
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    tiles = cells(layer.grid, question.spatial)
    fields = receptive_field(graph, layer.layer.node)
    if fields is None:
        if placement == "receptive_field":
            raise XAIError(
                f"The cells of the layer {layer.layer.name} have no receptive field with a centre.",
                "Use placement=cells.",
            )
        return tiles
    middle = [
        (c + s * (n - 1) / 2) - (tc + ts * (n - 1) / 2)
        for c, s, tc, ts, n in zip(*fields, *tiles, layer.grid, strict=True)
    ]
    question.diagnostics["receptive_field_shift"] = [round(shift, 3) for shift in middle]
    return fields if placement == "receptive_field" else tiles

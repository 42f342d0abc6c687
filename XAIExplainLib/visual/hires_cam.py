"""HiResCAM (Draelos and Carin 2020): gradient times map, cell by cell, so that only what was used lights up."""

from __future__ import annotations

from typing import Any

import torch

from XAIExplainLib.compute import activation_maps
from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.effort import TO_A_LAYER, Sizes
from XAIExplainLib.method import Attribution, Method, register
from XAIExplainLib.question import Question

TOLERANCE = 0.05


@register
class HiResCam(Method):
    """A layer's maps, each cell times its own gradient: the parts of the score where the rest is affine."""

    name = "hires_cam"
    title = "HiResCAM"
    family = "Class activation maps"
    model_specific = True
    needs = "graph"
    cost = "about one forward pass, and the layers after the map once more"
    signed = True
    units = "part of the score"
    summary = (
        "What each cell of a layer gave to the score: exactly, where only affine operations follow the layer; positive "
        "speaks for the target, negative against it."
    )
    citation = (
        "Draelos, Carin: Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural networks. "
        "2020, arXiv:2011.08891."
    )
    proof = "equal to the formula by hooks and autograd, and to CAM on networks that average"
    caution = (
        "Faithful to the score only where the rest of the network is affine; elsewhere the completeness error says how "
        "far the parts are from adding up. As coarse as the layer's map."
    )
    parameters = (
        activation_maps.LAYER,
        activation_maps.rectify(False, "Keep only what speaks for the target."),
        activation_maps.PLACEMENT,
    )

    @classmethod
    def passes(cls, sizes: Sizes, parameters: dict[str, Any]) -> float:
        return TO_A_LAYER + 0.2

    @classmethod
    def walk_start(cls, graph: Graph, parameters: dict[str, Any]) -> str | None:
        return activation_maps.walk_start_at_layer(graph, parameters)

    def explain(self, question: Question, **parameters: Any) -> Attribution:
        graph = question.graph()
        question.progress(0.0, "forward pass")
        found = activation_maps.at_layer(question, graph, parameters["layer"])
        values = activation_maps.hires_cam(found.maps, found.gradients)
        self._completeness(question, graph, found, values)
        return activation_maps.finished(question, graph, found, values, parameters)

    @staticmethod
    def _completeness(
        question: Question, graph: Graph, found: activation_maps.Activations, values: torch.Tensor
    ) -> None:
        """How well the parts add up to what the score loses when the layer's maps are 0."""
        without = []
        for sample in range(question.samples):
            question.progress(0.5 + 0.5 * sample / question.samples, "the score without the maps")
            blank = torch.zeros_like(found.maps[sample : sample + 1])
            answer = activation_maps.answers_with(question, graph, found.layer, sample, blank)
            without.append(question.score(answer, torch.tensor([sample], device=answer.device)))
        baseline = torch.cat(without)
        wanted = (question.scores_of_case - baseline).double()
        parts = values.double().flatten(1).sum(1)
        error = float((parts - wanted).abs().sum() / wanted.abs().sum().clamp_min(1e-12))
        question.diagnostics.update(
            baseline_score=float(baseline.double().mean()), sum_of_map=float(parts.sum()), completeness_error=error
        )
        if error > TOLERANCE:
            group = question.score.units == "log-odds"
            bend = "The log-odds of a group are not affine" if group else "What follows the layer is not affine"
            question.warn(
                f"{bend}: the parts of {found.layer.layer.name} add up to what the score loses without its maps with "
                f"an error of {error:.1%}." + (" Name one class for parts that may add up." if group else "")
            )

"""Class activation mapping (Zhou et al. 2016): the score itself, taken apart over the cells of the last map."""

from __future__ import annotations

from typing import Any

import torch

from XAIExplainLib.compute import activation_maps
from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.compute.maps import MapLayer, find_layer, last_map, map_layers
from XAIExplainLib.effort import TO_A_LAYER, Sizes
from XAIExplainLib.errors import XAIError
from XAIExplainLib.method import Attribution, Method, register
from XAIExplainLib.question import Question

TOLERANCE = 1e-3  # of float32 sums over maps; what is not affine differs by far more
NOT_WHOLE = 0.05
HINT = "Use hires_cam, which is the same where this holds, or grad_cam."


@register
class Cam(Method):
    """The last map weighted by what stands between its average and the answer, where that is affine."""

    name = "cam"
    title = "CAM"
    family = "Class activation maps"
    model_specific = True
    needs = "graph"
    cost = "about one forward pass"
    signed = True
    units = "score of a cell"
    summary = (
        "The score taken apart over the cells of the last map: the mean over the cells plus a constant is the score, "
        "exactly. Positive cells speak for the target, negative ones against it."
    )
    citation = (
        "Zhou, Khosla, Lapedriza, Oliva, Torralba: Learning deep features for discriminative localization. CVPR 2016, "
        "arXiv:1512.04150 (equations 1 and 2)."
    )
    proof = "sum of the map over its cells and the constant are the logit (1e-7)"
    caution = (
        "Only for networks that average their last map and are affine from there on; as coarse as that map, and a cell "
        "sees far more of the image than it covers."
    )
    parameters = (
        activation_maps.LAYER,
        activation_maps.rectify(False, "Keep only what speaks for the target."),
        activation_maps.PLACEMENT,
    )

    @classmethod
    def passes(cls, sizes: Sizes, parameters: dict[str, Any]) -> float:
        return TO_A_LAYER

    @classmethod
    def walk_start(cls, graph: Graph, parameters: dict[str, Any]) -> str | None:
        layer = _layer(graph, parameters["layer"])
        return None if layer is None else layer.layer.node

    def explain(self, question: Question, **parameters: Any) -> Attribution:
        graph = question.graph()
        layer = _layer(graph, parameters["layer"])
        if layer is None or len(graph.shape(graph.output, 1)) > 2:
            what = "has no map before its answer" if layer is None else "answers with a map, not with an average of one"
            raise XAIError(f"The network {what}: class activation mapping is not defined.", HINT)
        if _bypassed(graph, layer.layer.node):
            raise XAIError(f"The answer does not depend on the image by way of {layer.layer.name} alone.", HINT)
        question.progress(0.0, "forward pass")
        found = activation_maps.maps_at(question, graph, layer)
        if not bool(found.gradients.any()):
            raise XAIError(f"The score does not depend on the maps of {layer.layer.name}.", HINT)
        constants = self._proved(question, graph, found)
        cells = found.maps[0, 0].numel()
        weights = found.gradients.mean(tuple(range(2, found.gradients.dim())), keepdim=True) * cells
        values = (weights * found.maps).sum(1, keepdim=True)
        self._completeness(question, values, constants)
        return activation_maps.finished(question, graph, found, values, parameters)

    @staticmethod
    def _proved(question: Question, graph: Graph, found: activation_maps.Activations) -> torch.Tensor:
        """The constant beside the map for each sample, shape (N,), after the proof that this is all there is.

        What the score reads of the logits is taken as its derivative by them. That number must be an affine function of
        the map with the same weight for all cells of a channel: shown by the gradient itself, and by three other maps
        (none, the negative, one with other signs and sizes at random) whose answers the gradient must foretell.

        Raises
        ------
        XAIError
            If it is none.
        """
        name = found.layer.layer.name
        axes = tuple(range(2, found.gradients.dim()))
        uneven = (found.gradients - found.gradients.mean(axes, keepdim=True)).abs().max()
        if float(uneven) > TOLERANCE * float(found.gradients.abs().max()):
            raise XAIError(f"The answer is no average of the map of {name}: its cells have different weights.", HINT)
        generator = torch.Generator().manual_seed(0)  # of the proof, not of the map
        constants = []
        for sample in range(question.samples):
            question.progress(0.5 + 0.5 * sample / question.samples, "proof that the rest is affine")
            maps, gradient = found.maps[sample : sample + 1], found.gradients[sample : sample + 1]
            factors = 4 * torch.rand(maps.shape, generator=generator, dtype=torch.float64) - 2
            others = torch.cat([maps, torch.zeros_like(maps), -maps, maps * factors.to(maps)])
            answers = activation_maps.answers_with(question, graph, found.layer, sample, others)
            weights = _weights_of_logits(question, answers[:1], sample)
            linear = (answers.double() * weights.double()).flatten(1).sum(1)
            parts = (others.double() * gradient.double()).flatten(1)
            size = float(parts.abs().sum(1).max() + linear.abs().max())
            wrong = float((linear - linear[1] - parts.sum(1)).abs().max())
            if wrong > TOLERANCE * max(size, 1e-30):
                raise XAIError(f"What follows the map of {name} is not affine: its parts do not add up.", HINT)
            constants.append(linear[1])
        return torch.stack(constants)

    @staticmethod
    def _completeness(question: Question, values: torch.Tensor, constants: torch.Tensor) -> None:
        """Report how far the mean of the map plus the constant is from the score."""
        scores = question.scores_of_case.double().cpu()
        means = values.double().flatten(1).mean(1).cpu()
        constants = constants.cpu()
        left = scores - constants - means
        error = float(left.abs().sum() / (scores - constants).abs().sum().clamp_min(1e-12))
        question.diagnostics.update(
            constant=float(constants.mean()), mean_of_map=float(means.mean()), completeness_error=error
        )
        if question.score.units == "log-odds":
            question.diagnostics["left_by_log_odds"] = float(left.mean())
            question.warn(
                f"The target is a group of classes, whose log-odds are no sum of logits: the map explains the group's "
                f"logits less the others', each weighted by its probability within its side, and leaves out "
                f"{float(left.mean()):+.3f} of the score {float(scores.mean()):.3f}. Name one class for a map without "
                "remainder."
            )
        elif error > NOT_WHOLE:
            question.warn(f"The score is no sum of logits: the map leaves out {error:.1%} of it.")


def _layer(graph: Graph, name: str | None) -> MapLayer | None:
    """The layer called so, or the last map, be it the tokens of a transformer."""
    if name:
        return find_layer(graph, name)
    found = last_map(graph)
    tokens = [layer for layer in map_layers(graph) if layer.tokens is not None]
    order = [node.name for node in graph]
    if tokens and (found is None or order.index(tokens[-1].layer.node) > order.index(found.layer.node)):
        return tokens[-1]
    return found


def _weights_of_logits(question: Question, answer: torch.Tensor, sample: int) -> torch.Tensor:
    """The derivative of the score by the logits, of the shape of `answer` (1, ...)."""
    leaf = answer.detach().requires_grad_()
    with torch.enable_grad():
        score = question.score(leaf, torch.tensor([sample], device=answer.device))
        (weights,) = torch.autograd.grad(score.sum(), leaf)
    return weights


def _bypassed(graph: Graph, node: str) -> bool:
    """Whether the image reaches the answer by another way than `node`."""
    path = graph.between(graph.input, graph.output)
    reached = {graph.output} - {node}
    for one in reversed(graph.nodes):
        if one.name in reached and one.name in path:
            reached.update(argument.name for argument in one.all_input_nodes if argument.name in path - {node})
    return graph.input in reached

"""Class activation maps: the maps of a layer, weighted by what the score makes of them.

What the methods of the family share: the layer's maps with their gradients, the ways to weigh them, the place of the
result on the image, and the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.compute.maps import MapLayer, default_layers, find_layer
from XAIExplainLib.compute.placement import cells
from XAIExplainLib.compute.receptive import receptive_field
from XAIExplainLib.errors import XAIError
from XAIExplainLib.method import Attribution
from XAIExplainLib.model import Model
from XAIExplainLib.parameter import Parameter
from XAIExplainLib.prepared import Prepared
from XAIExplainLib.question import Question

LAYER = Parameter(
    "layer", "layer", None,
    "Dotted name of the layer; left out, the last one with a map that the score depends on (for a segmentation the "
    "deepest).",
)  # fmt: skip


def rectify(default: bool, text: str) -> Parameter:
    """The parameter that leaves out what speaks against the target."""
    return Parameter("rectify", "boolean", default, text, advanced=True)


RECTIFY = rectify(True, "Keep only what speaks for the target, as in the paper.")
PLACEMENT = Parameter(
    "placement", "choice", "cells",
    "cells: the map's cells tile the image, as is usual; receptive_field: each cell lies at the centre of what it "
    "sees, which differs where strided convolutions are padded.",
    choices=("cells", "receptive_field"), advanced=True,
)  # fmt: skip


@dataclass(frozen=True)
class Activations:
    """A layer's maps and the score's gradient with respect to them.

    Parameters
    ----------
    layer : MapLayer
        The layer.
    maps, gradients : torch.Tensor
        Shape (N, channels, *grid).
    """

    layer: MapLayer
    maps: torch.Tensor
    gradients: torch.Tensor


# -- ways to weigh ---------------------------------------------------------------------------------------------------


def grad_cam(maps: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Each map times its mean gradient, summed (Selvaraju et al. 2017, equations 1 and 2, before the ReLU).

    Parameters
    ----------
    maps, gradients : torch.Tensor
        Shape (N, channels, *grid).

    Returns
    -------
    torch.Tensor
        Shape (N, 1, *grid).
    """
    return (_mean(gradients) * maps).sum(1, keepdim=True)


def grad_cam_pp(maps: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Each map times the sum of its positive gradients weighted by alpha (Chattopadhay et al. 2018, equation 19).

    The class score is taken as the exponential of the score that is explained, so that its second and third derivatives
    are powers of the gradient; the exponential itself is one factor for the whole map and is left out. Shapes as in
    `grad_cam`.
    """
    return (_sum(alphas(maps, gradients) * gradients.clamp_min(0)) * maps).sum(1, keepdim=True)


def alphas(maps: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """The weights of the cells in Grad-CAM++: ``g^2 / (2 g^2 + (sum of the map) g^3)``, 0 where the gradient is 0.

    Written as ``1 / (2 + (sum of the map) g)``, which neither underflows nor needs an epsilon.
    """
    below = 2 + _sum(maps) * gradients
    safe = torch.where(below == 0, torch.ones_like(below), below)
    return torch.where((gradients == 0) | (below == 0), torch.zeros_like(below), 1 / safe)


def layer_cam(maps: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Each cell times its own positive gradient, summed (Jiang et al. 2021, before the ReLU)."""
    return (gradients.clamp_min(0) * maps).sum(1, keepdim=True)


def hires_cam(maps: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Each cell times its own gradient, summed (Draelos and Carin 2020)."""
    return (gradients * maps).sum(1, keepdim=True)


WAYS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "grad_cam": grad_cam, "grad_cam_pp": grad_cam_pp, "layer_cam": layer_cam, "hires_cam": hires_cam,
}  # fmt: skip


def _sum(maps: torch.Tensor) -> torch.Tensor:
    return maps.sum(tuple(range(2, maps.dim())), keepdim=True)


def _mean(maps: torch.Tensor) -> torch.Tensor:
    return maps.mean(tuple(range(2, maps.dim())), keepdim=True)


# -- at layers -------------------------------------------------------------------------------------------------------


def walk_start_at_layer(graph: Graph, parameters: dict[str, Any]) -> str | None:
    """For `Method.walk_start`: the node of the chosen layer, or of the one that is tried first."""
    name = parameters["layer"]
    return (find_layer(graph, name) if name else default_layers(graph)[0]).layer.node


def at_layer(question: Question, graph: Graph, name: str | None) -> Activations:
    """The maps of the layer called `name`; None is the last one that the score depends on.

    Raises
    ------
    XAIError
        If there is no such layer, or the score does not depend on it.
    """
    if name:
        found = maps_at(question, graph, find_layer(graph, name))
        if not bool(found.gradients.any()):
            raise XAIError(
                f"No gradient reaches the layer {name}: the score does not depend on its map.",
                "Choose another layer, or leave it out.",
            )
        return found
    candidates = default_layers(graph)
    found = maps_at(question, graph, candidates[0])
    if bool(found.gradients.any()):
        return found
    # In a transformer the last tokens of the image are not read, only the class token is: look further in.
    known = {layer.layer.node: layer for layer in candidates}
    reached = question.nodes_with_gradient(
        lambda node, gradient: node in known and bool(known[node].maps(gradient).any())
    )
    if not reached:
        raise XAIError(
            "No layer with a map was found that the score depends on.", "Name one by its dotted name, or use occlusion."
        )
    return maps_at(question, graph, known[reached[0]])


def maps_at(question: Question, graph: Graph, layer: MapLayer) -> Activations:
    """The maps of one layer and their gradients, every sample of the case by a walk of its own."""
    return maps_at_all(question, graph, [layer], layer.layer.node)[0]


def maps_at_all(question: Question, graph: Graph, layers: Sequence[MapLayer], start: str) -> list[Activations]:
    """The maps of several layers and their gradients, all samples together; parameters as in `maps_by_sample`."""
    parts = list(maps_by_sample(question, graph, layers, start))
    return [
        Activations(layer, torch.cat([one[n].maps for one in parts]), torch.cat([one[n].gradients for one in parts]))
        for n, layer in enumerate(layers)
    ]


def maps_by_sample(
    question: Question, graph: Graph, layers: Sequence[MapLayer], start: str
) -> Iterator[list[Activations]]:
    """The maps of several layers and their gradients by one walk for each sample, one sample after the other.

    Parameters
    ----------
    question : Question
        Whose case.
    graph : Graph
        Its graph.
    layers : sequence of MapLayer
        All on the way from `start` to the answer.
    start : str
        The node at which the walk ends.

    Yields
    ------
    list of Activations
        In the order of `layers`, of one row each; a gradient that does not reach a layer is 0.
    """
    wanted = {layer.layer.node for layer in layers}
    for sample in range(question.samples):
        values: dict[str, Any] = dict.fromkeys(wanted - {start})
        cotangents: dict[str, torch.Tensor] = {}

        def visit(name: str, cotangent: Any, found: dict[str, torch.Tensor] = cotangents) -> None:
            if name in wanted and isinstance(cotangent, torch.Tensor):
                found[name] = cotangent

        x, row = question.x[sample : sample + 1], torch.tensor([sample], device=question.x.device)
        values[start], cotangents[start], _ = question.walk_to(start, x, row, graph, visit=visit, also=values)
        parts = []
        for layer in layers:
            # A program of a fixed batch brings more rows than the one that was asked for.
            maps = layer.maps(values[layer.layer.node][:1])
            given = cotangents.get(layer.layer.node)
            parts.append(Activations(layer, maps, torch.zeros_like(maps) if given is None else layer.maps(given[:1])))
        yield parts


# -- the result ------------------------------------------------------------------------------------------------------


def finished(
    question: Question, graph: Graph, found: Activations, values: torch.Tensor, parameters: dict[str, Any]
) -> Attribution:
    """The weighted map as a method returns it, with its figures and warnings.

    Parameters
    ----------
    question : Question
        Whose case.
    graph : Graph
        Its graph.
    found : Activations
        What was weighted.
    values : torch.Tensor
        Shape (N, 1, *grid), signed.
    parameters : dict
        ``layer``, ``rectify`` and ``placement``.
    """
    layer = found.layer
    speaking = float(values.clamp_min(0).sum() / values.abs().sum().clamp_min(1e-30))
    if parameters["rectify"]:
        values = values.clamp_min(0)
        if not bool(values.any()):
            question.warn("Nothing in this layer speaks for the target: the map is zero. rectify=false shows what "
                          "speaks against it.")  # fmt: skip
    origin, step = place(question, graph, layer, parameters["placement"])
    question.diagnostics.update(
        layer=layer.layer.name, layer_type=layer.layer.type, layer_grid=list(layer.grid),
        layer_chosen="by default" if parameters["layer"] is None else "by the user",
        share_for_target=speaking, engine="graph",
    )  # fmt: skip
    if layer.layer.calls > 1:
        question.warn(f"The layer {layer.layer.name} is used {layer.layer.calls} times; its last use is shown.")
    return Attribution(values, origin, step, signed=not parameters["rectify"])


def place(
    question: Question, graph: Graph, layer: MapLayer, placement: str
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Origin and step of a layer's map in input voxels; how far the two placements differ goes to the diagnostics.

    Raises
    ------
    XAIError
        If receptive fields are asked for where the layer has none.
    """
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


# -- what stands between a layer and the answer ----------------------------------------------------------------------


def answers_with(question: Question, graph: Graph, layer: MapLayer, sample: int, maps: torch.Tensor) -> torch.Tensor:
    """The network's answers for one sample of the case with other maps at `layer`, shape (B, ...).

    Parameters
    ----------
    question : Question
        Whose case.
    graph : Graph
        Its graph.
    layer : MapLayer
        Where the maps are exchanged; what reaches the answer beside the layer stays as it is.
    sample : int
        Which sample of the case.
    maps : torch.Tensor
        Shape (B, channels, *grid).
    """
    x = question.x[sample : sample + 1]
    rows, node = graph.static_batch or 1, layer.layer.node
    x = x.expand(rows, *x.shape[1:])
    own = maps[:1]
    if layer.tokens:  # the class token goes on as it was
        own = graph.run(x, keep={node}, stop=node, check=question.check)[node][:1]
    answers = []
    for one in maps.split(1):
        given = layer.exchanged(own, one)
        run = graph.run(x, check=question.check, start={node: given.expand(rows, *given.shape[1:])})
        answers.append(run[graph.output][:1])
    return torch.cat(answers)


# -- asking again ----------------------------------------------------------------------------------------------------


def asked_again(
    question: Question, model: Model, prepared: Prepared, first: float, last: float,
    walk_start: Callable[[Graph], str | tuple[str, ...] | None] | None = None,
) -> Question:  # fmt: skip
    """The same question to another network, or about the image at another resolution.

    Parameters
    ----------
    question : Question
        Whose target, memory, progress and cancel it shares; its warnings stay its own.
    model : Model
        Who is asked.
    prepared : Prepared
        The case on that network's grid.
    first, last : float
        The part of the whole run that this question is.
    walk_start : callable or None
        As in `Question`.
    """

    def progress(fraction: float, message: str) -> None:
        question.progress(first + (last - first) * fraction, message)

    def cancel() -> bool:
        question.check()  # raises by itself
        return False

    return Question(model, prepared, question.target, question.memory, 0, progress, cancel, walk_start)


def same_class(question: Question, asked: Question) -> bool:
    """Whether both answers have the same largest output; True where that says nothing (one output, a map)."""
    outputs = question.output, asked.output
    if any(output.dim() != 2 or output.shape[1] < 2 for output in outputs):
        return True
    one, other = (int(output.float().softmax(1).mean(0).argmax()) for output in outputs)
    return one == other

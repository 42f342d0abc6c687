"""Maps of several depths and of several resolutions in one: fine where they agree."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from XAIExplainLib.compute import activation_maps
from XAIExplainLib.compute.activation_maps import WAYS
from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.compute.maps import MapLayer, default_layers, find_layer, map_layers
from XAIExplainLib.compute.placement import cells, enlarge
from XAIExplainLib.effort import FIRST_WALK, Sizes
from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainLib.method import Attribution, Method, register
from XAIExplainLib.parameter import Parameter
from XAIExplainLib.prepared import Prepared
from XAIExplainLib.question import Question

MOST_SCALES = 8
Place = tuple[tuple[float, ...], tuple[float, ...]]  # origin and step in input voxels


@register
class MultiScaleCam(Method):
    """Class activation maps of several layers, and of the image at several resolutions, combined."""

    name = "multi_scale_cam"
    title = "Multi-scale CAM"
    family = "Class activation maps"
    model_specific = True
    needs = "graph"
    cost = "one forward and nearly one backward pass for each resolution"
    signed = False
    units = "share of the largest"
    summary = (
        "Where coarse and fine layers agree that something speaks for the target: the deep layers say what, the "
        "shallow ones where; finer than the map of the last layer."
    )
    citation = (
        "After Liao et al.: Clinical interpretable deep learning model for glaucoma diagnosis, IEEE JBHI 24, 2020; "
        "Shinde et al.: HR-CAM, precise localization of pathology using multi-level learning in CNNs, MICCAI 2019; "
        "Garcia-Peraza-Herrera et al.: Intrapapillary capillary loop classification in magnification endoscopy, IJCARS "
        "15, 2020. Their networks learn how layers are weighted; here it is LayerCAM (Jiang et al., IEEE TIP 30, 2021, "
        "where layers are combined too), so that any trained network will do."
    )
    proof = "localises held-out lesions better than one scale, measured on lesions below 15 mm"
    caution = (
        "How the scales are combined is a choice, not a consequence of the network: a product keeps only what every "
        "scale shows. Values are shares of the largest, and no parts of the score."
    )
    parameters = (
        Parameter(
            "layers", "list", (),
            "Dotted names of the layers, parted by commas; left out, the last one of each resolution (for a "
            "segmentation down to the deepest).", of="layer",
        ),
        Parameter(
            "combine", "choice", "product",
            "product: what all scales show; mean: what they show on average; max: what any of them shows.",
            choices=("product", "mean", "max"),
        ),
        Parameter("base", "choice", "layer_cam", "How each layer's maps are weighted.", choices=tuple(WAYS)),
        Parameter(
            "resolutions", "list", ("1",),
            "Factors by which the image's grid is made finer or coarser, parted by commas, where the network takes "
            "images of other sizes.", advanced=True,
        ),
        activation_maps.PLACEMENT,
    )  # fmt: skip

    @classmethod
    def passes(cls, sizes: Sizes, parameters: dict[str, Any]) -> float:
        return sum(FIRST_WALK * factor ** len(sizes.spatial) for factor in _factors(parameters["resolutions"]))

    @classmethod
    def walk_start(cls, graph: Graph, parameters: dict[str, Any]) -> str | tuple[str, ...] | None:
        layers = _layers(graph, parameters["layers"])
        return (_start(graph, layers), *(layer.layer.node for layer in layers))

    def explain(self, question: Question, **parameters: Any) -> Attribution:
        factors = _factors(parameters["resolutions"])
        finest: Place | None = None
        grid: tuple[int, ...] = ()
        found: list[tuple[str, torch.Tensor, Place]] = []
        scores: dict[str, float] = {}
        for number, factor in enumerate(factors):
            first, last = number / len(factors), (number + 1) / len(factors)
            asked = question if factor == 1 else _at_resolution(question, factor, first, last, parameters)
            scores[f"{factor:g}"] = float(asked.scores_of_case.double().mean())
            if not activation_maps.same_class(question, asked):
                question.warn(f"At {factor:g} of the resolution the network answers with another class.")
            graph = asked.graph()
            layers = _layers(graph, parameters["layers"])
            for layer, values in zip(layers, self._maps(asked, graph, layers, parameters["base"]), strict=True):
                where = self._place(question, asked, graph, layer, parameters["placement"])
                found.append((f"{layer.layer.name} at {factor:g}", values, where))
                if math.prod(layer.grid) > math.prod(grid or (0,)):
                    finest, grid = where, layer.grid
        if len(found) < 2:
            raise XAIError(
                f"The network has maps of one resolution only, at {found[0][0].split(' at ')[0]}.",
                "Name several layers, or several resolutions, or use layer_cam.",
            )
        assert finest is not None
        combined, empty = self._combined(found, finest, grid, parameters["combine"])
        if empty:
            question.warn(f"Nothing speaks for the target at {', '.join(empty)}.")
        question.diagnostics.update(
            layers=[name for name, _, _ in found], layer_grids=[list(values.shape[2:]) for _, values, _ in found],
            layers_chosen="by the user" if parameters["layers"] else "by default", score_by_resolution=scores,
            engine="graph",
        )  # fmt: skip
        return Attribution(combined, *finest)

    @staticmethod
    def _maps(asked: Question, graph: Graph, layers: list[MapLayer], base: str) -> list[torch.Tensor]:
        """Each layer's map as shares of its largest value in the case, (N, 1, *grid)."""
        found: list[list[torch.Tensor]] = [[] for _ in layers]
        asked.progress(0.0, "maps of all layers")
        for sample, parts in enumerate(activation_maps.maps_by_sample(asked, graph, layers, _start(graph, layers))):
            for rows, one in zip(found, parts, strict=True):
                rows.append(WAYS[base](one.maps, one.gradients).clamp_min(0))
            asked.progress((sample + 1) / asked.samples, f"maps of slice {sample + 1} of {asked.samples}")
        together = [torch.cat(rows) for rows in found]
        return [values / _largest(values) for values in together]

    @staticmethod
    def _place(question: Question, asked: Question, graph: Graph, layer: MapLayer, placement: str) -> Place:
        """Where a layer's map lies on the image that is explained, which may have another resolution."""
        if layer.layer.calls > 1:
            question.warn(f"The layer {layer.layer.name} is used {layer.layer.calls} times; its last use is shown.")
        origin, step = activation_maps.place(asked, graph, layer, placement)
        first, ratio = cells(asked.spatial, question.spatial)
        return (
            tuple(f + r * o for f, r, o in zip(first, ratio, origin, strict=True)),
            tuple(r * s for r, s in zip(ratio, step, strict=True)),
        )

    @staticmethod
    def _combined(
        found: list[tuple[str, torch.Tensor, Place]], finest: Place, grid: tuple[int, ...], combine: str
    ) -> tuple[torch.Tensor, list[str]]:
        """The maps on the finest of their grids, combined; and the names of those that are 0."""
        total: torch.Tensor | None = None
        empty = []
        for name, values, (origin, step) in found:
            if not bool(values.any()):
                empty.append(name)
            inside = tuple((o - f) / s for o, f, s in zip(origin, *finest, strict=True))
            wide = enlarge(values, grid, inside, tuple(a / b for a, b in zip(step, finest[1], strict=True)))
            if total is None:
                total = wide
            elif combine == "product":
                total = total * wide
            else:
                total = total + wide if combine == "mean" else torch.maximum(total, wide)
        assert total is not None
        return total / _largest(total), empty


def _layers(graph: Graph, names: tuple[str, ...]) -> list[MapLayer]:
    """The layers called so, or the last one of each resolution, in the order of execution."""
    if names:
        return [find_layer(graph, name) for name in dict.fromkeys(names)]
    last = default_layers(graph)[0]
    order = {node.name: place for place, node in enumerate(graph)}
    levels: dict[tuple[int, ...], MapLayer] = {}
    for layer in map_layers(graph):
        # Maps after the last choice are the way back up of a segmenter: near its answer, and as fine as that.
        if order[layer.layer.node] > order[last.layer.node]:
            continue
        known = levels.get(layer.grid)
        if known is None or known.layer.node != layer.layer.node or len(layer.layer.name) < len(known.layer.name):
            levels[layer.grid] = layer
    levels[last.grid] = last
    return sorted(levels.values(), key=lambda layer: order[layer.layer.node])


def _start(graph: Graph, layers: list[MapLayer]) -> str:
    """The node at which a walk that passes all layers ends."""
    first = layers[0].layer.node
    path = graph.between(first, graph.output)
    return first if all(layer.layer.node in path for layer in layers) else graph.input


def _factors(words: tuple[str, ...]) -> list[float]:
    try:
        factors = [float(word) for word in words] or [1.0]
    except ValueError:
        factors = [0.0]
    if not all(0.25 <= factor <= 4 for factor in factors) or len(set(factors)) > MOST_SCALES:
        raise XAIError(
            f"The parameter resolutions cannot be {','.join(words)}.",
            f"Give up to {MOST_SCALES} factors from 0.25 to 4, parted by commas.",
        )
    return sorted(set(factors))


def _at_resolution(
    question: Question, factor: float, first: float, last: float, parameters: dict[str, Any]
) -> Question:
    """The same question about the image on a grid that is `factor` times as fine."""
    x = question.x
    spatial = [max(1, round(size * factor)) for size in question.spatial]
    linear = "trilinear" if x.dim() == 5 else "bilinear"
    # A coarser grid has the means of what its voxels cover, so that no fine structure folds over.
    resized = F.interpolate(x, spatial, mode="area" if factor < 1 else linear)
    prepared = question.prepared
    there = Prepared(resized, prepared.geometry, prepared.volume, prepared.axis, prepared.slices)
    try:
        if len(question.output.shape) > 2:
            raise XAIError("It answers with a map of the image's size.", "")
        return activation_maps.asked_again(
            question, question.model, there, first, last,
            lambda graph: MultiScaleCam.walk_start(graph, parameters),
        )  # fmt: skip
    except CancelledError:
        raise
    except XAIError as error:
        raise XAIError(
            f"The network cannot be asked about the image at {factor:g} of its resolution: {error.message}",
            "Leave resolutions at 1.",
        ) from error


def _largest(values: torch.Tensor) -> torch.Tensor:
    """The largest value of the whole case, so that slices keep their proportion; 1 where that is 0."""
    largest = values.amax()
    return torch.where(largest > 0, largest, torch.ones_like(largest))

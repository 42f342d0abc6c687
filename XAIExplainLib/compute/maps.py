"""Layers that hold a map of the image: which they are, how their values lie on the image's grid.

A convolutional layer's output is such a map (C, *grid); so is a transformer's sequence of tokens, once the tokens are
put back where their patches were.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from XAIExplainLib.compute.graph import Graph, Layer
from XAIExplainLib.compute.receptive import receptive_fields
from XAIExplainLib.errors import XAIError

_SPATIAL = ("conv", "max_pool", "avg_pool", "adaptive_", "_adaptive_", "upsample_", "batch_norm", "instance_norm")
_REARRANGING = frozenset({"view", "reshape", "permute", "transpose", "movedim", "swapaxes", "flatten", "unflatten"})


@dataclass(frozen=True)
class MapLayer:
    """A layer whose output is a map.

    Parameters
    ----------
    layer : Layer
        The layer.
    grid : tuple of int
        The map's spatial shape, in the order of the input's axes.
    channels : int
        How many maps there are.
    tokens : int or None
        For a sequence (tokens, channels): how many tokens precede those of the image (a class token); None for a
        map (channels, *grid).
    """

    layer: Layer
    grid: tuple[int, ...]
    channels: int
    tokens: int | None = None

    def maps(self, value: torch.Tensor) -> torch.Tensor:
        """The layer's value, or its gradient, as (N, channels, *grid)."""
        if self.tokens is None:
            return value
        return value[:, self.tokens :].transpose(1, 2).reshape(value.shape[0], self.channels, *self.grid)


def map_layers(graph: Graph) -> list[MapLayer]:
    """Every layer with a map of more than one cell, in the order of execution."""
    grids = _grids(graph)
    found = (as_map(graph, layer, grids) for layer in graph.layers())
    return [layer for layer in found if layer is not None and math.prod(layer.grid) > 1]


def as_map(graph: Graph, layer: Layer, grids: list[tuple[int, ...]]) -> MapLayer | None:
    """The layer as a map on one of `grids`, or None if its output is none."""
    dims = len(graph.shape(graph.input, 1)) - 2
    shape = layer.shape
    if len(shape) == dims + 1 and shape[1:] in grids:
        if shape[:-1] in grids and layer.node not in _channels_first(graph):
            return None  # (C, *grid) or (*grid, C)? Where as many channels as cells along an axis, nobody can tell.
        return MapLayer(layer, shape[1:], shape[0])
    if len(shape) == 2:
        for grid in grids:
            extra = shape[0] - math.prod(grid)
            if extra in (0, 1):
                return MapLayer(layer, grid, shape[1], extra)
    return None


def find_layer(graph: Graph, name: str) -> MapLayer:
    """The map at the layer called `name`.

    Raises
    ------
    XAIError
        If there is no such layer, or its output is no map.
    """
    layer = graph.layer(name)
    found = as_map(graph, layer, _grids(graph))
    if found is None or math.prod(found.grid) < 2:
        names = [known.layer.name for known in map_layers(graph)]
        raise XAIError(
            f"The layer {name} ({layer.type}) has no map: its output has the shape {layer.shape}.",
            f"Choose a layer with a map, such as {', '.join(names[-3:])}.",
        )
    return found


def default_layers(graph: Graph) -> list[MapLayer]:
    """Candidates for Grad-CAM, the best first, each output once under the name of its outermost layer.

    For a network that ends in a vector, the last map before it; for one whose answer is a map itself (a segmenter),
    the deepest: the last of those with the fewest cells (Vinogradova et al. 2020, Seg-Grad-CAM).
    """
    outermost: dict[str, MapLayer] = {}
    for found in map_layers(graph):
        if graph.operations[found.layer.node] in ("pad", "constant_pad_nd"):
            continue  # the map before it, with cells around it that see nothing
        known = outermost.pop(found.layer.node, None)
        better = known is None or len(found.layer.name) < len(known.layer.name)
        outermost[found.layer.node] = found if better or known is None else known
    layers = list(outermost.values())[::-1]
    if not layers:
        raise XAIError(
            "The network has no layer with a map of the image.", "Use gradient or occlusion, which need none."
        )
    if len(graph.shape(graph.output, 1)) > 2:
        fewest = min(math.prod(layer.grid) for layer in layers)
        return [layer for layer in layers if math.prod(layer.grid) == fewest]
    # Inside a transformer's block there are wider sequences (queries, hidden units); the stream is what counts.
    width = layers[0].channels
    return [layer for layer in layers if layer.tokens is None or layer.channels == width]


def _grids(graph: Graph) -> list[tuple[int, ...]]:
    """The spatial shapes that maps in this network can have.

    Those that convolutions and pools make, then the image in patches of one size. A tensor of as many axes is no map
    for that alone: attention cuts its tokens into heads.
    """
    spatial = graph.shape(graph.input, 1)[2:]
    made = [node.name for node in graph if graph.operations[node.name].startswith(_SPATIAL)]
    shapes = [graph.sample_shape(name) or () for name in (*receptive_fields(graph), *made)]
    grids = [shape[1:] for shape in shapes if len(shape) == len(spatial) + 1]
    for patch in range(1, min(spatial) + 1):
        if all(size % patch == 0 for size in spatial):
            grids.append(tuple(size // patch for size in spatial))
    return list(dict.fromkeys(grids))


def _channels_first(graph: Graph) -> set[str]:
    """Nodes that lie as convolutions do, (N, C, *grid): what these make, until something rearranges the axes."""
    found = {graph.input}
    for node in graph:
        name = graph.operations[node.name]
        sources = [argument.name for argument in node.all_input_nodes if argument.name in graph.dependent]
        if name.startswith(_SPATIAL) or (name not in _REARRANGING and sources and all(one in found for one in sources)):
            found.add(node.name)
    return found

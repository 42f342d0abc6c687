"""Layers that hold a map of the image: which they are, how their values lie on the image's grid.

A convolutional layer's output is such a map (C, *grid); so is a transformer's sequence of tokens, once the tokens are
put back where their patches were, and the output (*grid, C) of a layer that works on the channels of each cell. Shapes
alone often cannot tell one from the other, so the axes are followed through the graph.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from XAIExplainLib.compute.graph import Graph, Layer
from XAIExplainLib.compute.operations import MEETING, POINTWISE
from XAIExplainLib.compute.receptive import receptive_fields
from XAIExplainLib.errors import XAIError

_SPATIAL = ("conv", "max_pool", "avg_pool", "adaptive_", "_adaptive_", "upsample_", "batch_norm", "instance_norm")
_PERMUTING = frozenset({"permute", "transpose", "movedim", "swapaxes", "moveaxis", "swapdims"})
_RESHAPING = frozenset({"view", "reshape", "_unsafe_view", "flatten", "unflatten"})
# What works on the last axis, and on each place alone.
_ON_LAST_AXIS = frozenset({"linear", "layer_norm", "native_layer_norm"})
# What leaves axes where they are, beside the pointwise operations.
_KEEPING = frozenset({"slice", "pad", "constant_pad_nd", "add_", "mul_", "expand", *POINTWISE, *MEETING})

Axes = tuple[object, ...]  # of a value without its batch axis: "c", the number of a spatial axis, a grid in one axis


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
        map with an axis for each of the image's.
    last : bool
        Whether such a map is (*grid, channels) instead of (channels, *grid).
    """

    layer: Layer
    grid: tuple[int, ...]
    channels: int
    tokens: int | None = None
    last: bool = False

    def maps(self, value: torch.Tensor) -> torch.Tensor:
        """The layer's value, or its gradient, as (N, channels, *grid)."""
        if self.last:
            return value.movedim(-1, 1)
        if self.tokens is None:
            return value
        return value[:, self.tokens :].transpose(1, 2).reshape(value.shape[0], self.channels, *self.grid)

    def exchanged(self, value: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        """The layer's `value` with other `maps` (N, channels, *grid) in it; a class token stays."""
        if self.last:
            return maps.movedim(1, -1)
        if self.tokens is None:
            return maps
        tokens = maps.flatten(2).transpose(1, 2)
        return torch.cat([value[:, : self.tokens], tokens], 1) if self.tokens else tokens


def map_layers(graph: Graph) -> list[MapLayer]:
    """Every layer with a map of more than one cell, in the order of execution."""
    grids, axes = _grids(graph), _axes(graph)
    found = (_as_map(graph, layer, grids, axes) for layer in graph.layers())
    return [layer for layer in found if layer is not None and math.prod(layer.grid) > 1]


def last_map(graph: Graph) -> MapLayer | None:
    """The last map (channels, *grid) before the answer, whether a layer makes it or an operation between layers."""
    axes, path = _axes(graph), graph.between(graph.input, graph.output)
    dims = len(graph.shape(graph.input, 1)) - 2
    layers: dict[str, Layer] = {}
    for layer in graph.layers():
        known = layers.get(layer.node)
        if known is None or len(layer.name) < len(known.name):
            layers[layer.node] = layer
    for node in reversed(graph.nodes):
        shape = graph.sample_shape(node.name)
        first = axes.get(node.name) == ("c", *range(dims))
        if node.name not in path or not first or shape is None or math.prod(shape[1:]) < 2:
            continue
        unnamed = Layer(f"operation {node.name}", graph.operations[node.name], shape, node.name, 1)
        return MapLayer(layers.get(node.name, unnamed), shape[1:], shape[0])
    return None


def _as_map(graph: Graph, layer: Layer, grids: list[tuple[int, ...]], axes: dict[str, Axes]) -> MapLayer | None:
    """The layer as a map on one of `grids`, or None if its output is none."""
    dims = len(graph.shape(graph.input, 1)) - 2
    shape, known = layer.shape, axes.get(layer.node)
    if len(shape) == dims + 1:
        if known == (*range(dims), "c"):
            return MapLayer(layer, shape[:-1], shape[-1], last=True)
        if shape[1:] in grids and (known == ("c", *range(dims)) or shape[:-1] not in grids):
            # (C, *grid) or (*grid, C)? Where as many channels as cells along an axis, only the axes can tell.
            return MapLayer(layer, shape[1:], shape[0])
    if len(shape) == 2 and (known is None or known[0] != "c"):
        for grid in grids if known is None or not isinstance(known[0], tuple) else [known[0]]:
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
    found = _as_map(graph, layer, _grids(graph), _axes(graph))
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


def _axes(graph: Graph) -> dict[str, Axes]:
    """What the axes of each value are, as far as the graph tells.

    A convolution makes ("c", 0, 1, 2). From there axes are permuted, the spatial ones joined to one and parted again
    (then one axis is the grid itself, a tuple), and left where they are. What moves values in another way (the windows
    of an attention, its heads) makes axes that are not known; a sum with a map whose axes are known has these.
    """
    dims = len(graph.shape(graph.input, 1)) - 2
    standard: Axes = ("c", *range(dims))
    found: dict[str, Axes] = {graph.input: standard}
    for node in graph:
        name, shape = graph.operations[node.name], graph.sample_shape(node.name)
        if node.name not in graph.dependent:
            continue
        if shape is None:  # several values, such as those of a norm: their axes wait until one is taken out
            axes = found.get(node.all_input_nodes[0].name) if graph.kinds.get(node.name) is None else None
            if axes is not None and (axes == standard or name in _ON_LAST_AXIS):
                found[node.name] = axes
            continue
        sources = [one.name for one in node.all_input_nodes if one.name in graph.dependent and graph.shape(one.name, 1)]
        axes = found.get(sources[0]) if sources else None
        if name == "getitem":
            axes = found.get(node.all_input_nodes[0].name)
        elif name.startswith(_SPATIAL):
            axes = standard
        elif name in _PERMUTING:
            axes = _permuted(node, axes)
        elif name in _RESHAPING:
            axes = _reshaped(axes, graph.sample_shape(sources[0]) if sources else None, shape)
        elif name == "linear" and axes is not None and axes[-1] != "c":
            axes = (*axes[:-1], None)
        elif name in _ON_LAST_AXIS:
            pass
        else:
            known = {found[one] for one in sources if one in found and len(found[one]) == len(shape)}
            # Other operations may move what they read; channels in front they have always left there.
            kept = name in _KEEPING or (known == {standard} and all(one in found for one in sources))
            axes = known.pop() if kept and len(known) == 1 else None
        if axes is not None and len(axes) == len(shape):
            found[node.name] = axes
    return found


def _permuted(node: torch.fx.Node, axes: Axes | None) -> Axes | None:
    if axes is None or node.kwargs:
        return None
    sizes = tuple(range(1, len(axes) + 2))  # of the batch too; each axis has its own, which tells where it goes
    moved = node.target(torch.empty(sizes, device="meta"), *node.args[1:]).shape  # type: ignore[operator]
    return tuple(axes[size - 2] for size in moved[1:]) if moved[0] == 1 else None


def _reshaped(axes: Axes | None, before: tuple[int, ...] | None, after: tuple[int, ...]) -> Axes | None:
    """The axes after the spatial ones became one axis, or one became these again."""
    if axes is None or before is None or before == after:
        return axes
    spatial = [place for place, axis in enumerate(axes) if isinstance(axis, int)]
    if spatial:
        first, end = spatial[0], spatial[-1] + 1
        if [axes[place] for place in range(first, end)] != list(range(end - first)):
            return None
        grid = before[first:end]
        joined = (*before[:first], math.prod(grid), *before[end:])
        return (*axes[:first], grid, *axes[end:]) if joined == after else None
    for place, axis in enumerate(axes):
        if isinstance(axis, tuple) and (*before[:place], *axis, *before[place + 1 :]) == after:
            return (*axes[:place], *range(len(axis)), *axes[place + 1 :])
    return None

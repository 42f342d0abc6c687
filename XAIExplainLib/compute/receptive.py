"""Where in the input the cells of a layer's map look: the centre and the step of their receptive fields.

After Araujo, Norris, Sim, "Computing receptive fields of convolutional neural networks", Distill 2019.
"""

from __future__ import annotations

import torch

from XAIExplainLib.compute.graph import Graph, operation
from XAIExplainLib.compute.operations import MEETING, POINTWISE, STATISTICS, window_of

Field = tuple[tuple[float, ...], tuple[float, ...]]  # centre of the first cell, step; in input voxels, one an axis


def receptive_field(graph: Graph, node: str) -> Field | None:
    """Centre of the first cell and step of the map at `node`.

    Returns
    -------
    tuple or None
        In input voxels, axes in the input's order; None where the way there has an operation that moves values
        otherwise than by a window (a flattening, an upsampling), so that cells have no such centre.
    """
    return receptive_fields(graph).get(node)


def receptive_fields(graph: Graph) -> dict[str, Field]:
    """The receptive fields of every node that has them, by name."""
    dims = len(graph.shape(graph.input, 1)) - 2
    fields: dict[str, Field | None] = {graph.input: ((0.0,) * dims, (1.0,) * dims)}
    for node in graph:
        if node.name in graph.dependent:
            fields[node.name] = _through(graph, node, fields, dims)
    return {name: field for name, field in fields.items() if field is not None}


def _through(graph: Graph, node: torch.fx.Node, fields: dict[str, Field | None], dims: int) -> Field | None:
    name = operation(node)
    arguments = [argument for argument in node.all_input_nodes if argument.name in fields]
    if name in MEETING:  # a gate of one value a channel (squeeze and excite) moves nothing
        grid = (graph.sample_shape(node.name) or ())[1:]
        arguments = [one for one in arguments if (graph.sample_shape(one.name) or ())[1:] == grid]
    sources = [fields[argument.name] for argument in arguments]
    if not sources or any(field is None for field in sources):
        return None
    first = sources[0]
    assert first is not None
    if name in (*POINTWISE, *STATISTICS) and len(sources) == 1:
        return first
    if name in MEETING:
        steps = {field[1] for field in sources if field is not None}
        return first if len(steps) == 1 else None
    if name in ("pad", "constant_pad_nd"):
        return _padded(node, first, dims)
    window = window_of(node, name, dims)
    if window is None:
        return None
    kernel, stride, padding, dilation = window
    centre, step = first
    moved = (d * (k - 1) / 2 - p for k, p, d in zip(kernel, padding, dilation, strict=True))
    return (
        tuple(c + s * m for c, s, m in zip(centre, step, moved, strict=True)),
        tuple(s * r for s, r in zip(step, stride, strict=True)),
    )


def _padded(node: torch.fx.Node, field: Field, dims: int) -> Field | None:
    """Cells added before the first move it outwards."""
    given = node.args[1]
    if not isinstance(given, list | tuple) or not all(isinstance(n, int) for n in given) or len(given) > 2 * dims:
        return None
    before = [*given[::2], *[0] * (dims - len(given) // 2)][::-1]  # written from the last axis to the first
    centre, step = field
    return tuple(c - s * int(n) for c, s, n in zip(centre, step, before, strict=True)), step  # type: ignore[call-overload, arg-type]

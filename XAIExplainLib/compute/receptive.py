"""Where in the input the cells of a layer's map look: the centre and the step of their receptive fields.

After Araujo, Norris, Sim, "Computing receptive fields of convolutional neural networks", Distill 2019.
"""

from __future__ import annotations

from typing import Any

import torch

from XAIExplainLib.compute.graph import Graph, operation

Field = tuple[tuple[float, ...], tuple[float, ...]]  # centre of the first cell, step; in input voxels, one an axis
_POINTWISE = frozenset(
    "relu relu_ leaky_relu prelu elu selu gelu silu mish sigmoid tanh hardtanh hardswish hardsigmoid softplus clone "
    "alias getitem batch_norm instance_norm group_norm native_group_norm native_batch_norm dropout "
    "_native_batch_norm_legit_no_training contiguous neg exp log sqrt abs pow clamp feature_dropout".split()
)
_MEETING = frozenset(("add", "sub", "mul", "div", "cat", "maximum", "minimum"))


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
    if name in _MEETING:  # a gate of one value a channel (squeeze and excite) moves nothing
        grid = (graph.sample_shape(node.name) or ())[1:]
        arguments = [one for one in arguments if (graph.sample_shape(one.name) or ())[1:] == grid]
    sources = [fields[argument.name] for argument in arguments]
    if not sources or any(field is None for field in sources):
        return None
    first = sources[0]
    assert first is not None
    if name in _POINTWISE and len(sources) == 1:
        return first
    if name in _MEETING:
        steps = {field[1] for field in sources if field is not None}
        return first if len(steps) == 1 else None
    window = _window(node, name, dims)
    if window is None:
        return None
    kernel, stride, padding, dilation = window
    centre, step = first
    moved = (d * (k - 1) / 2 - p for k, p, d in zip(kernel, padding, dilation, strict=True))
    return (
        tuple(c + s * m for c, s, m in zip(centre, step, moved, strict=True)),
        tuple(s * r for s, r in zip(step, stride, strict=True)),
    )


def _window(node: torch.fx.Node, name: str, dims: int) -> tuple[list[int], ...] | None:
    """Kernel, stride, padding and dilation of a convolution or pool over `dims` axes."""
    if node.kwargs:
        return None
    args = [*node.args]

    def given(index: int, default: Any) -> list[int] | None:
        value = args[index] if index < len(args) else default
        values = [value] if isinstance(value, int) else list(value) if isinstance(value, list | tuple) else None
        if not values:
            values = [default] if isinstance(default, int) else list(default)
        if isinstance(value, str) or not all(isinstance(v, int) for v in values):
            return None
        return values * dims if len(values) == 1 else values

    if name == f"conv{dims}d":
        weight = args[1]
        sizes = weight.meta["val"].shape[2:] if isinstance(weight, torch.fx.Node) else ()
        found = [[int(size) for size in sizes], given(3, 1), given(4, 0), given(5, 1)]
    elif name == f"max_pool{dims}d":
        kernel = given(1, 1)
        found = [kernel, given(2, kernel), given(3, 0), given(4, 1)]
    elif name == f"avg_pool{dims}d":
        kernel = given(1, 1)
        found = [kernel, given(2, kernel), given(3, 0), [1] * dims]
    else:
        return None
    return None if any(values is None or len(values) != dims for values in found) else tuple(found)  # type: ignore[arg-type]

"""The graph of a model for one size of input, made once and kept with the warm model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from XAIExplainLib.compute.graph import Graph, export
from XAIExplainLib.compute.sliding import tile_of
from XAIExplainLib.errors import XAIError

if TYPE_CHECKING:
    from XAIExplainLib.model import Model


def graph_of(model: Model, x: torch.Tensor) -> Graph:
    """The graph of `model` for inputs of the size, type and device of `x`, shape (N, C, *spatial).

    For a model with a sliding window: the graph of one tile.

    Raises
    ------
    XAIError
        With the reason, if there is none: TorchScript, a function, or what `torch.export` does not see through.
    """
    x = tile_of(model, x)
    key = (tuple(x.shape[1:]), x.dtype, str(x.device), model.output)
    if key not in model.graphs:
        try:
            model.graphs[key] = _make(model, x)
        except XAIError as error:
            model.graphs[key] = error  # so that a second question does not wait for the same refusal
    found = model.graphs[key]
    if isinstance(found, XAIError):
        raise found
    return found


def _make(model: Model, x: torch.Tensor) -> Graph:
    if model.kind == "torchscript":
        raise XAIError(
            "A TorchScript network does not show its operations.",
            "Export it with torch.export.save from the original network, or use gradient, integrated_gradients or "
            "occlusion.",
        )
    if model.program is not None:
        graph = Graph(model.program, model.output, tuple(x.shape[1:]))
    elif isinstance(model.network, torch.nn.Module):
        graph = export(model.network, x, model.output)
    else:
        raise XAIError("A plain function does not show its operations.", "Wrap the network as a torch.nn.Module.")
    return graph.to(device=x.device, dtype=x.dtype)


def why_no_graph(model: Model, x: torch.Tensor) -> str:
    """The reason why there is no graph, or an empty text where there is one."""
    try:
        graph_of(model, x)
    except XAIError as error:
        return error.message
    return ""

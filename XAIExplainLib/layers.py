"""The layers of a model that a map can be made at, for lists to choose from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from XAIExplainLib.compute.graphs import graph_of
from XAIExplainLib.compute.maps import default_layers, map_layers
from XAIExplainLib.compute.sliding import answers_by_tiles, no_layers

if TYPE_CHECKING:
    from XAIExplainLib.model import Model


def spatial_layers(model: Model, x: torch.Tensor) -> list[dict[str, Any]]:
    """Every layer with a map of the image, in the order of execution, JSON-ready.

    Parameters
    ----------
    model : Model
        The network; it must have a graph.
    x : torch.Tensor
        One input, shape (N, C, *spatial).

    Returns
    -------
    list of dict
        ``name``, ``type``, ``shape`` (the map's grid, axes as the input's), ``channels``, ``calls`` and ``default``
        (whether Grad-CAM takes it first).

    Raises
    ------
    XAIError
        If the model shows no operations, with the reason, or answers by tiles.
    """
    if answers_by_tiles(model, x):
        raise no_layers(model)
    graph = graph_of(model, x)
    first = default_layers(graph)[0].layer.name
    return [
        {
            "name": found.layer.name, "type": found.layer.type, "shape": list(found.grid),
            "channels": found.channels, "calls": found.layer.calls, "default": found.layer.name == first,
        }
        for found in map_layers(graph)
    ]  # fmt: skip

"""The graph of a model for one size of input, made once and kept with the warm model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from XAIExplainLib.compute.graph import Graph, export
from XAIExplainLib.compute.graph_key import Key
from XAIExplainLib.compute.graph_store import folder, forget, load, save
from XAIExplainLib.compute.sliding import tile_of
from XAIExplainLib.errors import XAIError

if TYPE_CHECKING:
    from XAIExplainLib.model import Model

AGREES = 1e-4  # of the largest number in the answer


def graph_of(model: Model, x: torch.Tensor) -> Graph:
    """The graph of `model` for inputs of the size, type and device of `x`, shape (N, C, *spatial).

    For a model with a sliding window: the graph of one tile.

    Raises
    ------
    XAIError
        With the reason, if there is none: TorchScript, a function, or what `torch.export` does not see through.
    """
    case, x = x, tile_of(model, x)
    key = _key(model, x)
    if key not in model.graphs:
        try:
            model.graphs[key] = _make(model, x, case)
        except XAIError as error:
            model.graphs[key] = error  # so that a second question does not wait for the same refusal
    found = model.graphs[key]
    if isinstance(found, XAIError):
        raise found
    return found


def _key(model: Model, x: torch.Tensor) -> tuple[Any, ...]:
    return tuple(x.shape[1:]), x.dtype, str(x.device), model.output


def _make(model: Model, x: torch.Tensor, case: torch.Tensor) -> Graph:
    if model.kind == "torchscript":
        raise XAIError(
            "A TorchScript network does not show its operations.",
            "Export it with torch.export.save from the original network, or use gradient, integrated_gradients or "
            "occlusion.",
        )
    if model.program is not None:
        graph = Graph(model.program, model.output, tuple(x.shape[1:]))
    elif isinstance(model.network, torch.nn.Module):
        graph = _of_network(model, model.network, x, case)
    else:
        raise XAIError("A plain function does not show its operations.", "Wrap the network as a torch.nn.Module.")
    return graph.to(device=x.device, dtype=x.dtype)


def _of_network(model: Model, network: torch.nn.Module, x: torch.Tensor, case: torch.Tensor) -> Graph:
    """The graph as it was kept by an earlier process, where it still answers as the network does; else exported."""
    if folder() is None:
        return export(network, x, model.output)
    key = Key(network, x, model.output)
    graph = load(key, network)
    if graph is not None:
        if _agrees(model, graph.to(device=x.device, dtype=x.dtype), part_of(case, x)):
            return graph
        forget(key)
    graph = export(network, x, model.output)
    save(key, graph, network)
    return graph


def part_of(case: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The middle of the middle sample of a case, of the size of `x`, (1, C, *spatial); beyond it zero."""
    part = case[len(case) // 2][None]
    for axis in range(2, x.dim()):
        size = min(part.shape[axis], x.shape[axis])
        part = part.narrow(axis, (part.shape[axis] - size) // 2, size)
    missing = [(0, want - has) for want, has in zip(x.shape[2:], part.shape[2:], strict=True)]
    return torch.nn.functional.pad(part, [side for pair in reversed(missing) for side in pair])


def _agrees(model: Model, graph: Graph, x: torch.Tensor) -> bool:
    """Whether a graph that was read from a file gives the network's own answer to an image (1, C, *spatial)."""
    try:
        with torch.no_grad():
            own, answer = model.at_once(x), graph.forward(x)
        return own.numel() == answer.numel() and torch.allclose(
            answer.reshape(own.shape), own, rtol=0, atol=AGREES * float(own.abs().max())
        )
    except torch.OutOfMemoryError:
        raise  # the caller can answer it
    except Exception:  # noqa: BLE001 - whatever goes wrong with a file's graph, the export says what the network is
        return False


def known_graph(model: Model, x: torch.Tensor) -> Graph | None:
    """The graph of `model` for inputs such as `x` if it is there already; nothing is made."""
    found = model.graphs.get(_key(model, x))
    return found if isinstance(found, Graph) else None


def why_no_graph(model: Model, x: torch.Tensor) -> str:
    """The reason why there is no graph, or an empty text where there is one."""
    try:
        graph_of(model, x)
    except XAIError as error:
        return error.message
    return ""

"""The gradient along the straight way from one image to another, with what is the same everywhere done once.

Up to its first operation that is not affine (a ReLU behind the first convolution and batch norm) a network carries the
straight way over to a straight way, so the values there need no pass through the beginning; and since the beginning
hands all cotangents back alike, their sum is handed back once, at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from XAIExplainLib.compute.derivatives import DERIVATIVES
from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.compute.reverse import kept_values, walk
from XAIExplainLib.errors import XAIError

if TYPE_CHECKING:
    from XAIExplainLib.question import Question


def integral_of_gradients(
    question: Question, start: torch.Tensor, nodes: np.ndarray, weights: np.ndarray
) -> torch.Tensor:
    """The weighted sum of the score's gradients at points of the way from `start` to the case.

    Parameters
    ----------
    question : Question
        Whose case, network and score.
    start : torch.Tensor
        Shape (N, C, *spatial), as the case.
    nodes, weights : numpy.ndarray
        Shape (points,): where on the way from 0 to 1, and what each point counts.

    Returns
    -------
    torch.Tensor
        Shape (N, C, *spatial).
    """
    beginning = _beginning(question)
    samples = question.samples
    if beginning is None:
        low, high = start, question.x
    else:
        graph, front = beginning
        path = graph.between(graph.input, front)
        read = kept_values(graph, DERIVATIVES, path, graph.input)  # sizes
        low = graph.run(start, keep={front}, check=question.check)[front]
        values = graph.run(question.x, keep={front, *read}, check=question.check)
        high = values.pop(front)
    way = high - low
    total = torch.zeros_like(low)
    group = max(1, question.batch_of_gradient() // samples)  # points that one batch takes
    for first in range(0, len(nodes), group):
        question.progress(first / len(nodes), f"step {first + 1} of {len(nodes)}")
        part = range(first, min(first + group, len(nodes)))
        points = torch.cat([torch.add(low, way, alpha=float(nodes[step])) for step in part])
        rows = torch.arange(samples, device=points.device).repeat(len(part))
        if beginning is None:
            gradients, _ = question.gradients(points, rows)
        else:
            images = question.x.repeat(len(part), *[1] * (question.x.dim() - 1)) if len(part) > 1 else question.x
            _, gradients, _ = question.walk_to(front, images, rows, graph, known={front: points})
        for step, gradient in zip(part, gradients.split(samples), strict=True):
            total.add_(gradient, alpha=float(weights[step]))
    if beginning is None:
        return total
    question.diagnostics["engine"] = "graph"
    return walk(graph, DERIVATIVES, values, total, graph.input, path, question.check, end=front)


def _beginning(question: Question) -> tuple[Graph, str] | None:
    """The question's graph and the end of its affine beginning; None where the walk must go to the image itself."""
    if question.tiled is not None:
        return None
    try:
        graph = question.graph()
    except XAIError:
        return None
    front = affine_front(graph) if graph.static_batch is None else None
    return None if front is None else (graph, front)


def affine_front(graph: Graph) -> str | None:
    """The node up to which the network is affine, where all ways from the image to the answer lead through one.

    An operation is taken for affine if its rule for the derivative reads no value. None is for a network that has no
    such node but the image itself.
    """
    path = graph.between(graph.input, graph.output)
    affine = {graph.input}
    for node in graph:
        if node.name not in path:
            continue
        rule = DERIVATIVES.rule(node, path)
        free = not rule.inputs and not rule.output and rule.forth is None
        inputs = [one.name for one in node.all_input_nodes]
        beside = any(name in graph.dependent and name in graph.kinds and name not in path for name in inputs)
        if free and not beside and affine.issuperset(path.intersection(inputs)):
            affine.add(node.name)
    ends = {
        one.name for node in graph if node.name in path - affine for one in node.all_input_nodes if one.name in affine
    }
    if graph.output in affine:
        ends.add(graph.output)
    return ends.pop() if len(ends) == 1 and graph.input not in ends else None

"""The two ends of the way from a reference to the image, as an operation's multipliers see them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from XAIExplainLib.compute.derivatives import BY_VALUES
from XAIExplainLib.compute.reverse import Step

REFERENCE = "reference of "  # before a node's name: its value in the run of the reference
OF_IMAGE = "of the image alone"  # among the values: a dict for what the walks from several references share


def arguments(step: Step, reference: bool = False) -> dict[str, Any]:
    """The values of an operation's arguments by name, in the run of the image or of the reference."""
    names = (argument.name for argument in step.node.all_input_nodes)
    if not reference:
        return {name: step.values[name] for name in names}
    return {name: step.values[REFERENCE + name if REFERENCE + name in step.values else name] for name in names}


def ends(step: Step) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The arguments that get a multiplier: in the run of the reference, and in that of the image."""
    before, after = arguments(step, True), arguments(step)
    names = [argument.name for argument in step.tensors()]
    return {name: before[name] for name in names}, {name: after[name] for name in names}


def derivative_at(step: Step, cotangent: Any, point: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The derivative of an operation by its arguments, which have the values `point`."""
    values = {**arguments(step), **point}
    return BY_VALUES.apply(Step(step.graph, step.node, values, step.path, step.samples), cotangent)


def between(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], t: float) -> dict[str, torch.Tensor]:
    return {name: torch.lerp(before[name], after[name], t) for name in before}


def changes_beside(step: Step) -> bool:
    """Whether an argument that gets no multiplier differs between the runs: a mask, made from the image."""
    before, after = arguments(step, True), arguments(step)
    beside = [name for name in after if name not in step.path and isinstance(after[name], torch.Tensor)]
    return any(after[name] is not before[name] and not torch.equal(after[name], before[name]) for name in beside)

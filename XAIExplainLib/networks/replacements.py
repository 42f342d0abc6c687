"""The shipped networks that draw healthy brains, and which cases they may draw for."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch

from XAIExplainLib.errors import XAIError
from XAIExplainLib.loading_weights import put_weights
from XAIExplainLib.networks.healthy_inpainter import HealthyInpainter
from XAIExplainLib.networks.healthy_vae import HealthyVAE
from XAIExplainLib.networks.preparation import SIZE, SPACING_MM
from XAIExplainLib.resources import resources_path

if TYPE_CHECKING:
    from XAIExplainLib.question import Question

LEAST_LIKENESS = 0.4
"""Correlation of a case with its reconstruction below which it is none of the brains that were learnt."""


@functools.cache
def healthy_vae() -> HealthyVAE:
    """The autoencoder as it is shipped, in single precision and evaluation mode."""
    network = HealthyVAE(SIZE[::-1])
    put_weights(network, resources_path("replacements", "healthy-vae", "weights.pt"))
    return network.eval().requires_grad_(False)


@functools.cache
def healthy_inpainter() -> HealthyInpainter:
    """The inpainting network as it is shipped, in single precision and evaluation mode."""
    network = HealthyInpainter(SIZE[::-1])
    put_weights(network, resources_path("replacements", "healthy-inpainting", "weights.pt"))
    return network.eval().requires_grad_(False)


def reconstruction(question: Question, name: str) -> torch.Tensor:
    """The case as the autoencoder draws it, shape of the question's `x`; 0 outside the brain.

    Raises
    ------
    XAIError
        Unless the case is what the networks were trained on: one channel of 64 x 80 x 64 voxels of 2.5 mm in the
        orientation RAS, z-scores inside the brain and 0 outside, and like a brain: the correlation with its
        reconstruction inside the brain is at least 0.4. `name` is what the user asked for.
    """
    why = _differs(question)
    if not why:
        x = question.x.float()
        with torch.no_grad():
            drawn = healthy_vae()(x.cpu()).to(question.x)
        likeness = correlation(x, drawn)
        question.diagnostics["likeness_to_training"] = likeness
        if likeness >= LEAST_LIKENESS:
            return drawn
        why = f"it correlates with its reconstruction by {likeness:.2f}, and T1 brains of its training by more than 0.4"
    raise XAIError(
        f"The replacement {name} was trained for brains as the model brain-lesion sees them, and this case is none: "
        f"{why}.",
        "Use the replacement harmonic or blur, which need no training, or give a healthy case that is aligned with it.",
    )


def correlation(x: torch.Tensor, drawn: torch.Tensor) -> float:
    """Pearson's, over the voxels where the case is not 0."""
    inside = x != 0
    return float(torch.corrcoef(torch.stack([x[inside], drawn[inside].to(x.dtype)]))[0, 1])


def _differs(question: Question) -> str:
    """In what the case differs from what the networks were trained on; empty where it does not."""
    x, geometry = question.x, question.prepared.geometry
    if x.dim() != 5 or x.shape[1] != 1:
        return "it has several channels or slices"
    if tuple(x.shape[2:]) != SIZE[::-1]:
        return f"its grid has {' x '.join(map(str, x.shape[:1:-1]))} voxels and not {' x '.join(map(str, SIZE))}"
    if max(abs(spacing - SPACING_MM) for spacing in geometry.spacing) > 0.01:
        return f"its voxels have {' x '.join(f'{spacing:g}' for spacing in geometry.spacing)} mm and not {SPACING_MM}"
    if geometry.axes != "RAS":
        return f"its axes run to {geometry.axes} and not to RAS"
    inside = x[x != 0]
    empty = 1 - inside.numel() / x.numel()
    if inside.numel() == 0 or empty < 0.1:
        return "it is not 0 outside the brain"
    if abs(float(inside.mean())) > 0.05 or abs(float(inside.std()) - 1) > 0.05:
        return f"its intensities are no z-scores (mean {float(inside.mean()):.2f}, deviation {float(inside.std()):.2f})"
    return ""

"""What is measured on: networks with random and trained weights, each with one image and one target."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from monai.networks.nets import DenseNet121, resnet18
from torch import nn

from XAIExplainLib import Explanation, Model, Volume, explain, load_case, load_model

CASE = "enhancing-ring"
# Seconds of one forward pass of 64^3 on one core, for estimates before anything was measured.
FORWARD = {"plain": 0.15, "resnet18": 0.75, "DenseNet121": 0.18, "brain-lesion": 0.05, "tiny": 0.001}
# Where Grad-CAM looks: the last map of the features.
LAYERS = {
    "plain": "19", "resnet18": "layer4", "DenseNet121": "features.denseblock4", "brain-lesion": "features.relu5",
    "tiny": "2",
}  # fmt: skip


@dataclass
class Subject:
    """A network, an image and a target: what one row is measured on.

    Parameters
    ----------
    name : str
        Of the network.
    network : torch.nn.Module
        In evaluation mode. Peers get a copy, `theirs`, whose parameters require gradients, as a network does that was
        made or loaded and not frozen.
    x : torch.Tensor
        Shape (1, 1, k, j, i).
    target : int
        The logit that is explained.
    layer : str
        Where Grad-CAM looks.
    weights : str
        ``random`` or ``trained``.
    """

    name: str
    network: nn.Module
    x: torch.Tensor
    target: int
    layer: str
    weights: str
    best: dict[int, tuple[int, float]] = field(default_factory=dict)  # by threads: batch, seconds an image

    def __post_init__(self) -> None:
        self.theirs = copy.deepcopy(self.network).requires_grad_()  # as made; our model freezes what it is given
        self.model = Model(self.network)
        self.volume = Volume(self.x[0, 0].numpy())

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the image."""
        return tuple(self.x.shape[2:])

    def ours(self, method: str, model: Model | None = None, **parameters: Any) -> Explanation:
        """Our explanation."""
        return explain(model or self.model, self.volume, method, self.target, **parameters)

    def forward(self, batch: int = 1) -> torch.Tensor:
        """One forward pass without gradients, of the network as it is."""
        with torch.no_grad():
            found: torch.Tensor = self.network(self.x.expand(batch, *self.x.shape[1:]).contiguous())
        return found

    def forward_and_backward(self) -> torch.Tensor:
        """What torch's autograd takes for the gradient by the input."""
        leaf = self.x.clone().requires_grad_()
        (found,) = torch.autograd.grad(self.network(leaf)[0, self.target], leaf)
        return found

    def score(self, x: torch.Tensor) -> np.ndarray:
        """The target's logits of images, for peers that ask a function."""
        with torch.no_grad():
            found: np.ndarray = self.network(x)[:, self.target].numpy()
        return found


def plain() -> nn.Module:
    """Six convolutions of 16, 32, 64 channels with batch norm and ReLU, three max pools, global average pooling."""
    layers: list[nn.Module] = []
    channels = 1
    for width in (16, 32, 64):
        for _ in range(2):
            layers += [nn.Conv3d(channels, width, 3, padding=1), nn.BatchNorm3d(width), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool3d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(channels, 3))


def tiny() -> nn.Module:
    """For tests of the runner."""
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(), nn.Conv3d(4, 4, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


_MAKERS = {
    "plain": plain,
    "resnet18": lambda: resnet18(spatial_dims=3, n_input_channels=1, num_classes=3),
    "DenseNet121": lambda: DenseNet121(spatial_dims=3, in_channels=1, out_channels=3),
    "tiny": tiny,
}


@functools.lru_cache(maxsize=2)
def subject(name: str, size: int) -> Subject:
    """The network called so at an image of `size`^3 voxels; the trained one has its own size.

    Random weights of a seed, with batch norms calibrated on noise, so that no activation dies or explodes; the image is
    noise, so that no window and no voxel can be left out.
    """
    if name == "brain-lesion":
        return _trained(name)
    torch.manual_seed(0)
    network = _MAKERS[name]()
    calibrate(network, min(size, 64))
    x = torch.randn(1, 1, size, size, size, generator=torch.Generator().manual_seed(1))
    return Subject(name, network, x, 0, LAYERS[name], "random")


def _trained(name: str) -> Subject:
    """The bundled network at a bundled case, preprocessed: peers and we start from the same tensor."""
    model = load_model(name)
    x = model.prepare(load_case(CASE).volume).tensor
    return Subject(name, model.network, x, model.class_index("enhancing"), LAYERS[name], "trained")


def calibrate(network: nn.Module, size: int) -> None:
    """Let batch norms take the statistics of noise, and leave the network in evaluation mode."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None  # the mean of what it sees, not a moving one
    with torch.no_grad():
        network.train()(torch.randn(2, 1, size, size, size, generator=torch.Generator().manual_seed(2)))
    for norm in norms:
        norm.momentum = 0.1
    network.eval()

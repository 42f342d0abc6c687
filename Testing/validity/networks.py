"""The networks that every method is shown on, of the sizes that a processor does in seconds."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from monai.networks import nets
from torch import nn

from Testing.networks_zoo import Functional, Odd, Plain, image, settle
from XAIExplainLib import Model, Region, Volume, load_case, load_model


@dataclass(frozen=True)
class Subject:
    """A network with a case and a target.

    Parameters
    ----------
    name : str
        For the table.
    make : callable
        ``() -> (model, volume, target)``.
    what : str
        What it is there for.
    """

    name: str
    make: Callable[[], tuple[Model, Volume, Any]] = field(repr=False)
    what: str = ""


class TwoInputs(nn.Module):
    """Two scans, each through its own convolution, that meet by addition."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv3d(1, 6, 3, padding=1), nn.Conv3d(1, 6, 3, padding=1)
        self.deep = nn.Conv3d(6, 8, 3, padding=1)
        self.head = nn.Linear(8, 3)

    def forward(self, one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool3d(torch.relu(self.one(one) + self.two(two)), 2)
        return self.head(torch.relu(self.deep(x)).mean((2, 3, 4)))


def _bare() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(1, 8, 3, padding=1), nn.BatchNorm3d(8), nn.ReLU(inplace=True), nn.MaxPool3d(2),
        nn.Conv3d(8, 16, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(16 * 4**3, 3),
    )  # fmt: skip


def _made(network: nn.Module, *shape: int, **about: Any) -> tuple[Model, Volume, Any]:
    """A classifier with weights that are settled, and an image (C, *spatial)."""
    return _asked(settle(network), image(*shape), **about)


def _calibrated(network: nn.Module, *shape: int) -> tuple[Model, Volume, Any]:
    """For networks so deep that random norms let the signal die: the norms have the statistics of eight images."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None
    dropped = [module for module in network.modules() if isinstance(module, nn.Dropout)]
    for module in dropped:
        module.p = 0.0
    with torch.no_grad():
        network.train()(torch.cat([image(*shape, seed=seed) for seed in range(2, 10)]))
    return _asked(network.eval().requires_grad_(False), image(*shape))


def _asked(network: Any, x: torch.Tensor, **about: Any) -> tuple[Model, Volume, Any]:
    model = Model(network, **about)
    data = x.transpose(0, 1) if x.dim() == 4 else x[0]  # slices of a 2D network lie along k
    spacing = (1.0, 1.0, 2.5)  # not isotropic, as in a clinic
    return model, Volume(data.numpy(), spacing), 1


def _segmenter(network: nn.Module, *shape: int, **about: Any) -> tuple[Model, Volume, Any]:
    model, volume, _ = _made(network, *shape, task="segmentation", **about)
    mask = np.zeros(volume.geometry.shape, np.uint8)
    middle = tuple(slice(max(0, n // 2 - 3), n // 2 + 3) for n in mask.shape)
    mask[middle] = 1
    return model, volume, Region(mask, 1)


def _quietly(make: Callable[[], tuple[Model, Volume, Any]]) -> tuple[Model, Volume, Any]:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


def _script() -> tuple[Model, Volume, Any]:
    network = settle(Plain(width=8))
    return _asked(torch.jit.trace(network, image(1, 32, 32, 32)), image(1, 32, 32, 32))


def _program() -> tuple[Model, Volume, Any]:
    network = settle(nets.resnet18(spatial_dims=3, n_input_channels=1, num_classes=3))
    return _asked(torch.export.export(network, (image(1, 32, 32, 32),)), image(1, 32, 32, 32))


def _slices(network: nn.Module, channels: int, height: int, width: int) -> tuple[Model, Volume, Any]:
    x = torch.cat([image(channels, height, width, seed=seed) for seed in (1, 2)])
    return _asked(settle(network), x, spatial_dims=2)


def _slice_segmenter() -> tuple[Model, Volume, Any]:
    network = nets.UNet(2, 1, 2, channels=(8, 16, 32), strides=(2, 2), num_res_units=2)
    model, volume, _ = _slices(network, 1, 32, 40)
    mask = np.zeros(volume.geometry.shape, np.uint8)
    mask[:, 12:20, 16:24] = 1
    return model, volume, Region(mask, 1)


def _trained() -> tuple[Model, Volume, Any]:
    return load_model("brain-lesion"), load_case("enhancing-ring").volume, "lesion"


SUBJECTS = (
    Subject("brain-lesion", _trained, "the bundled network, trained; its target is a group of classes"),
    Subject("plain GAP", lambda: _made(Plain(width=8), 1, 32, 32, 32), "convolution, batch norm, ReLU, max pool, GAP"),
    Subject("Sequential", lambda: _made(_bare(), 1, 16, 16, 16), "a bare nn.Sequential, in-place ReLU, Flatten"),
    Subject("functional", lambda: _made(Functional(width=8), 1, 24, 24, 24),
            "functional, in-place and reused ReLU, functional pooling, residual by +="),
    Subject("odd", lambda: _made(Odd(), 2, 33, 29, 31),
            "two channels, odd size, dilation, groups, ceil mode, LeakyReLU, ELU, GELU, SiLU, PReLU"),
    Subject("two inputs", lambda: _made(TwoInputs(), 2, 20, 22, 24, inputs=(1, 1)), "two input tensors"),
    Subject("resnet18", lambda: _made(nets.resnet18(spatial_dims=3, n_input_channels=1, num_classes=3), 1, 32, 32, 32),
            "MONAI; residual adds"),
    Subject("DenseNet121", lambda: _made(nets.DenseNet121(spatial_dims=3, in_channels=1, out_channels=3),
                                         1, 32, 32, 32),
            "MONAI; concatenations, batch norm before convolution"),
    Subject("SEResNet50", lambda: _made(nets.SEResNet50(spatial_dims=3, in_channels=1, num_classes=3), 1, 32, 32, 32),
            "MONAI; squeeze and excitation gates"),
    Subject("EfficientNet", lambda: _calibrated(nets.EfficientNetBN("efficientnet-b0", spatial_dims=3, in_channels=1,
                                                                    pretrained=False, num_classes=3), 1, 33, 35, 32),
            "MONAI; SiLU, gates, depthwise convolution, odd size"),
    Subject("UNet", lambda: _segmenter(nets.UNet(3, 1, 2, channels=(8, 16, 32), strides=(2, 2), num_res_units=2),
                                       1, 32, 32, 32),
            "MONAI; segmenter with residual units, InstanceNorm, PReLU; the target is a region"),
    Subject("AttentionUnet", lambda: _segmenter(nets.AttentionUnet(3, 1, 2, channels=(8, 16, 32), strides=(2, 2)),
                                                1, 32, 32, 32), "MONAI; attention gates"),
    Subject("ViT", lambda: _made(nets.ViT(1, 32, 8, hidden_size=48, mlp_dim=96, num_layers=4, num_heads=4,
                                          classification=True, num_classes=3, post_activation=None), 1, 32, 32, 32),
            "MONAI; transformer with a class token"),
    Subject("SwinUNETR", lambda: _segmenter(nets.SwinUNETR(1, 2, feature_size=12, depths=(1, 1, 1, 1),
                                                           num_heads=(1, 2, 4, 8)), 1, 64, 64, 64),
            "MONAI; shifted windows, U-shaped"),
    Subject("plain GAP 2D", lambda: _slices(Plain(2, 3, width=8), 3, 32, 28), "two slices of three channels"),
    Subject("resnet18 2D", lambda: _slices(nets.resnet18(spatial_dims=2, n_input_channels=1, num_classes=3), 1, 48, 40),
            "MONAI; slices"),
    Subject("UNet 2D", _slice_segmenter, "MONAI; slices"),
    Subject("TorchScript", _script, "plain GAP as a TorchScript program: it shows no operations"),
    Subject("torch.export", _program, "resnet18 as an exported program of one batch size"),
)  # fmt: skip
BY_NAME = {subject.name: subject for subject in SUBJECTS}


def made(subject: Subject) -> tuple[Model, Volume, Any]:
    """Model, volume and target of a subject, the same each time."""
    return _quietly(subject.make)

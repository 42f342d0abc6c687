"""Our maps beside the peers' on the same network and image, where the peer is right; and the peer's error where not."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import captum.attr
import torch
from monai.visualize import GuidedBackpropGrad
from torch import nn

from Testing.networks_zoo import Plain, image, settle
from Testing.peers import zennit as load_zennit
from Testing.validity.networks import BY_NAME, made
from XAIExplainLib import Model, Volume, explain


@dataclass(frozen=True)
class Row:
    """One comparison.

    Parameters
    ----------
    method, network, peer : str
        What is compared.
    difference : float
        The largest difference, over the largest value of the peer's map.
    """

    method: str
    network: str
    peer: str
    difference: float


class Averaging(nn.Module):
    """Average pools instead of max pools, each ReLU a module of its own: what captum's DeepLIFT can take."""

    def __init__(self, dims: int = 3) -> None:
        super().__init__()
        conv, pool = (nn.Conv3d, nn.AvgPool3d) if dims == 3 else (nn.Conv2d, nn.AvgPool2d)
        self.body = nn.Sequential(
            conv(1, 6, 3, padding=1), nn.ReLU(), pool(2), conv(6, 8, 3, padding=1), nn.ReLU(), pool(2), nn.Flatten()
        )
        self.head = nn.Linear(8 * 4**dims, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def rows() -> Iterator[Row]:
    """Every comparison, one after the other."""
    for name in ("plain GAP", "Sequential", "resnet18", "DenseNet121"):
        yield from _of_any(name)
    for dims in (3, 2):
        torch.manual_seed(0)
        yield from _of_rectifiers(f"plain GAP {dims}D", settle(Plain(dims, width=8)), image(1, *[32] * dims))
        yield from _of_averages(f"average pools {dims}D", settle(Averaging(dims)), image(1, *[16] * dims))


def _of_any(name: str) -> Iterator[Row]:
    model, volume, target = made(BY_NAME[name])
    network, x = model.network, _tensor(volume)
    zero = torch.zeros_like(x)
    theirs = {
        "gradient": lambda: captum.attr.Saliency(network).attribute(leaf(x), target=target, abs=False),
        "gradient_x_input": lambda: captum.attr.InputXGradient(network).attribute(leaf(x), target=target),
        "integrated_gradients": lambda: captum.attr.IntegratedGradients(network).attribute(
            x, zero, target=target, n_steps=8, internal_batch_size=4, method="gausslegendre"
        ),
    }
    if name != "DenseNet121":  # minutes for captum
        theirs["occlusion"] = lambda: captum.attr.Occlusion(network).attribute(
            x, (1, 8, 8, 8), strides=(1, 8, 8, 8), target=target
        )
    for method, peer in theirs.items():
        parameters = {"steps": 8} if method == "integrated_gradients" else {}
        yield _row(method, name, "captum", model, volume, target, peer, **parameters)


def _of_rectifiers(name: str, network: nn.Module, x: torch.Tensor) -> Iterator[Row]:
    model, volume = _asked(network, x)
    layer, mode = network.get_submodule("features.6"), "trilinear" if x.dim() == 5 else "bilinear"
    yield _row("guided_backpropagation", name, "captum", model, volume, 1,
               lambda: captum.attr.GuidedBackprop(network).attribute(leaf(x), target=1))  # fmt: skip
    yield _row("deconvolution", name, "captum", model, volume, 1,
               lambda: captum.attr.Deconvolution(network).attribute(leaf(x), target=1))  # fmt: skip
    yield _row(
        "guided_grad_cam", name, "captum", model, volume, 1,
        lambda: captum.attr.GuidedGradCam(network, layer).attribute(leaf(x), target=1, interpolate_mode=mode),
        layer="features.6",
    )  # fmt: skip


def _of_averages(name: str, network: nn.Module, x: torch.Tensor) -> Iterator[Row]:
    model, volume = _asked(network, x)
    yield _row(
        "deep_shap", name, "captum", model, volume, 1,
        lambda: captum.attr.DeepLift(network).attribute(x, torch.zeros_like(x), target=1), background="0",
    )  # fmt: skip


def where_peers_miss() -> list[dict[str, str]]:
    """What peers answer where they are wrong, in figures; ours is right on the same network (tests show it)."""
    torch.manual_seed(0)
    network, x = settle(Plain(width=8)), image(1, 32, 32, 32)
    zero = torch.zeros_like(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = captum.attr.DeepLift(network).attribute(x, zero, target=1)
    with torch.no_grad():
        wanted = float(network(x)[0, 1] - network(zero)[0, 1])
    ours = explain(Model(network), Volume(x[0, 0].numpy()), "deep_shap", 1, background="0").diagnostics
    rows = [
        ("captum DeepLift", "plain GAP (max pools)", "error of the sum",
         f"{abs(float(found.sum()) - wanted) / abs(wanted):.1%}; ours {ours['completeness_error']:.0e}"),
        ("zennit EpsilonPlus", "resnet18", "sum of the relevance over the logit", _zennit_on_resnet()),
        ("MONAI GuidedBackpropGrad", "functional", "difference from the plain gradient", _monai_on_functional()),
    ]  # fmt: skip
    return [dict(zip(("peer", "network", "what", "figure"), row, strict=True)) for row in rows]


def _zennit_on_resnet() -> str:
    zennit = load_zennit()
    model, volume, _ = made(BY_NAME["resnet18"])
    x = leaf(_tensor(volume))
    network = copy.deepcopy(model.network)
    composite = zennit.composites.EpsilonPlus()
    with composite.context(network) as hooked:
        output = hooked(x)
        (relevance,) = torch.autograd.grad(output, x, torch.eye(3)[[1]] * output.detach())
    ours = explain(model, volume, "lrp", 1).diagnostics
    return (
        f"{float(relevance.sum() / output[0, 1]):.1f}; ours {ours['relevance_sum'] / ours['score']:.3f} and the rest "
        f"reported, error {ours['completeness_error']:.0e}"
    )


def _monai_on_functional() -> str:
    model, volume, _ = made(BY_NAME["functional"])
    x = leaf(_tensor(volume))
    guided = torch.as_tensor(GuidedBackpropGrad(copy.deepcopy(model.network))(x, index=1))
    (gradient,) = torch.autograd.grad(model.network(x)[0, 1], x)
    difference = float((guided - gradient).norm() / gradient.norm())
    ours = torch.from_numpy(explain(model, volume, "guided_backpropagation", 1).channels)[None]
    return f"{difference:.0%}; ours {float((ours - gradient).norm() / gradient.norm()):.0%}"


def _row(
    method: str, network: str, peer: str, model: Model, volume: Volume, target: Any,
    theirs: Callable[[], torch.Tensor], **parameters: Any,
) -> Row:  # fmt: skip
    ours = torch.from_numpy(explain(model, volume, method, target, **parameters).channels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = theirs().detach()
    wanted = wanted.transpose(0, 1) if wanted.dim() == 4 else wanted[0]
    return Row(method, network, peer, float((ours - wanted).abs().max() / wanted.abs().max()))


def _asked(network: nn.Module, x: torch.Tensor) -> tuple[Model, Volume]:
    flat = x.dim() == 4
    return Model(network, spatial_dims=2 if flat else 3), Volume((x.transpose(0, 1) if flat else x[0]).numpy())


def _tensor(volume: Volume) -> torch.Tensor:
    return torch.from_numpy(volume.data)[None].float()


def leaf(x: torch.Tensor) -> torch.Tensor:
    """A copy that a gradient can be taken of."""
    return x.clone().requires_grad_()

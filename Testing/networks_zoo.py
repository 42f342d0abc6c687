"""Networks that proofs are run on: every construct that peers are silently wrong about, small, with random weights.

Batch norms get statistics and weights of their own, so that a rule that forgets one of them is found out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
import torch.nn.functional as F
from torch import nn


def settle(network: nn.Module, seed: int = 0) -> nn.Module:
    """Evaluation mode, random statistics and weights in every norm, no gradients of parameters."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor: torch.Tensor, low: float, high: float) -> None:
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for module in network.modules():
            norms = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm, nn.LayerNorm)
            if not isinstance(module, norms):
                continue
            if getattr(module, "running_mean", None) is not None:
                uniform(module.running_mean, -0.2, 0.2)
                uniform(module.running_var, 0.5, 2.0)
            if module.weight is not None:
                uniform(module.weight, 0.5, 1.5)
                uniform(module.bias, -0.3, 0.3)
    return network.eval().requires_grad_(False)


def image(*shape: int, seed: int = 1) -> torch.Tensor:
    """A random image (1, *shape), smooth enough to have structure, float32."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, *shape, generator=generator)
    pool = F.avg_pool3d if len(shape) == 4 else F.avg_pool2d
    return noise + 2 * pool(noise, 3, 1, 1)


class Plain(nn.Module):
    """Three blocks of convolution, norm, ReLU and pool, then global average and a linear layer."""

    def __init__(self, dims: int = 3, channels: int = 1, classes: int = 3, width: int = 4, pools: int = 3) -> None:
        super().__init__()
        conv, norm = (nn.Conv3d, nn.BatchNorm3d) if dims == 3 else (nn.Conv2d, nn.BatchNorm2d)
        pool = nn.MaxPool3d if dims == 3 else nn.MaxPool2d
        layers: list[nn.Module] = []
        for number in range(3):
            layers += [conv(channels, width, 3, padding=1), norm(width), nn.ReLU()]
            layers += [pool(2)] if number < pools else []
            channels, width = width, width * 2
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).flatten(2).mean(2))


class Functional(nn.Module):
    """The same idea as programmers write it: functional, in-place and reused activations, a residual by ``+=``."""

    def __init__(self, channels: int = 1, classes: int = 3, width: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv3d(channels, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm3d(width)
        self.second = nn.Conv3d(width, width, 3, padding=1)
        self.third = nn.Conv3d(width, width, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool3d(self.act(self.norm(self.first(x))), 2)
        kept = x
        x = self.act(self.second(x))
        x = self.third(x)
        x += kept
        x = F.relu_(x)
        x = F.max_pool3d(x, 2).relu()
        return self.head(F.adaptive_avg_pool3d(x, 1).flatten(1))


class Odd(nn.Module):
    """String padding, dilation, groups, pools that round up, strides, several activations; for any odd size."""

    def __init__(self, channels: int = 2, classes: int = 4) -> None:
        super().__init__()
        self.same = nn.Conv3d(channels, 6, (3, 5, 3), padding="same", dilation=(2, 1, 1))
        self.grouped = nn.Conv3d(6, 12, 3, stride=2, groups=3, padding=1)
        self.ceil = nn.MaxPool3d(3, 2, ceil_mode=True)
        self.average = nn.AvgPool3d(2, 2, ceil_mode=True, count_include_pad=False)
        self.valid = nn.Conv3d(12, 8, 2, padding="valid")
        self.slope = nn.PReLU(8, 0.1)
        self.head = nn.Linear(8, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.leaky_relu(self.same(x), 0.2)
        x = F.elu(self.grouped(x))
        x = F.gelu(self.ceil(x))
        x = self.slope(self.valid(F.silu(self.average(x))))
        return self.head(x.amax((2, 3, 4)) - 0.5 * x.mean((2, 3, 4)))


class Upward(nn.Module):
    """A segmenter with transposed convolution, two interpolations, reflection and crops."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv3d(1, 4, 3, stride=2, padding=1)
        self.deep = nn.Conv3d(4, 8, 3, stride=2, padding=1, padding_mode="reflect")
        self.up = nn.ConvTranspose3d(8, 4, 3, stride=2, padding=1, output_padding=1)
        self.last = nn.Conv3d(8, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = F.softplus(self.down(x))
        deep = F.hardswish(self.deep(first))
        up = self.up(deep)[..., : first.shape[2], : first.shape[3], : first.shape[4]]
        wide = F.interpolate(deep, size=first.shape[2:], mode="nearest")[:, :4]
        both = torch.cat([up + wide, first - 0.3 * up], 1)
        return F.interpolate(self.last(both), size=x.shape[2:], mode="trilinear", align_corners=False)


class Attending(nn.Module):
    """Patches, then attention written by einsum and by torch's own, a class token, and a gate."""

    def __init__(self, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.patches = nn.Conv3d(1, width, 8, stride=8)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.gate = nn.Linear(width, width)
        self.head = nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)
        q, k, v = self.qkv(self.norm(tokens)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / math.sqrt(q.shape[-1])
        tokens = tokens + torch.einsum("bhqk,bhkd->bhqd", scores.softmax(-1), v).transpose(1, 2).flatten(2)
        tokens = tokens + F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        tokens = tokens * self.gate(tokens).sigmoid()
        return self.head(tokens[:, 0])


class Spectral(nn.Module):
    """A Fourier layer beside a convolution: numbers that are complex on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 1, dtype=torch.cfloat))
        self.conv = nn.Conv3d(1, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        waves = torch.fft.rfftn(x, dim=(2, 3, 4))
        waves = torch.einsum("oi,nikjl->nokjl", self.weight.to(waves.dtype), waves)
        spectral = torch.fft.irfftn(waves, s=x.shape[2:], dim=(2, 3, 4))
        return self.head((spectral + self.conv(x)).tanh().mean((2, 3, 4)))


class Shuffling(nn.Module):
    """Other ways to move and gate numbers: writing into parts, where, masks, sorts, unfold, chunks, norms, rolls."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 8, 3, padding=1)
        self.group = nn.GroupNorm(2, 8)
        self.instance = nn.InstanceNorm3d(8, affine=True)
        self.register_buffer("order", torch.randperm(8))
        self.head = nn.Linear(14, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        y[:, :2] = 2 * y[:, 2:3] - x
        y = torch.where(y > 0, self.group(y), 0.1 * y)
        one, two = torch.roll(self.instance(y), (1, 2), (2, 3)).chunk(2, 1)
        y = torch.stack([one * two.sigmoid(), torch.maximum(one, two)], 2).flatten(1, 2)[:, self.order]
        y = y.masked_fill(y < -1, 0.0) / y.norm(dim=1, keepdim=True).clamp_min(0.5)
        y = y.cumsum(2).flip(3)
        top = y.flatten(2).topk(3).values.mean(2)[:, :4]
        windows = y.unfold(2, 4, 4).mean((2, 3, 4, 5))
        z, w = y.mean((2, 3, 4)).split([6, 2], 1)
        z = z.repeat_interleave(2, 1)[:, ::6]
        return self.head(torch.cat([top, windows[:, :7], z, (w ** 2).sum(1, keepdim=True)], 1))


@dataclass(frozen=True)
class Example:
    """A network of the zoo: how it is made, the image it takes (C, *spatial), and its answer."""

    name: str
    make: Callable[[], nn.Module] = field(repr=False)
    shape: tuple[int, ...] = (1, 16, 16, 16)
    output: int | str | None = None
    full: bool = False
    batch: bool = True  # whether the graph takes any number of samples

    def network(self, seed: int = 0) -> nn.Module:
        """With weights of `seed`, in evaluation mode, float32."""
        torch.manual_seed(seed)
        return settle(self.make(), seed)

    def image(self, samples: int = 1) -> torch.Tensor:
        """Random images (samples, *shape)."""
        return torch.cat([image(*self.shape, seed=seed + 1) for seed in range(samples)])


def _monai(name: str, **arguments: object) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        from monai.networks import nets

        return getattr(nets, name)(**arguments)

    return make


_UNET = {"channels": (4, 8, 12), "strides": (2, 2), "num_res_units": 2, "in_channels": 1, "out_channels": 3}
_VIT = {"img_size": 16, "patch_size": 8, "hidden_size": 24, "mlp_dim": 32, "num_layers": 2, "num_heads": 2}
_RESNET = {"block": "basic", "layers": [1, 1, 1, 1], "n_input_channels": 1, "num_classes": 3,
           "block_inplanes": [4, 8, 12, 16]}  # fmt: skip
EXAMPLES = (
    Example("plain", Plain),
    Example("plain 2D", lambda: Plain(2, 3), (3, 32, 28)),
    Example("plain odd, three channels", lambda: Plain(3, 3), (3, 33, 29, 31)),
    Example("functional", Functional),
    Example("odd", Odd, (2, 33, 29, 31)),
    Example("upward", Upward, (1, 17, 15, 19)),
    Example("attending", Attending),
    Example("spectral", Spectral, (1, 8, 9, 10)),
    Example("shuffling", Shuffling, (1, 8, 9, 10)),
    Example("resnet10", _monai("ResNet", spatial_dims=3, **_RESNET), (1, 32, 32, 32)),
    Example("resnet18 2D", _monai("ResNet", spatial_dims=2, **{**_RESNET, "layers": [2, 2, 2, 2]}), (1, 40, 36),
            full=True),
    Example(
        "densenet",
        _monai("DenseNet", spatial_dims=3, in_channels=2, out_channels=3, init_features=8, growth_rate=4,
               block_config=(2, 2), bn_size=2),
        (2, 24, 24, 20),
    ),
    Example("unet", _monai("UNet", spatial_dims=3, **_UNET)),
    Example("unet 2D", _monai("UNet", spatial_dims=2, **_UNET), (1, 24, 32), full=True),
    Example(
        "attention unet",
        _monai("AttentionUnet", spatial_dims=3, in_channels=1, out_channels=2, channels=(4, 8, 12), strides=(2, 2)),
        full=True,
    ),
    Example("segresnet", _monai("SegResNet", in_channels=2, out_channels=3, init_filters=8, blocks_down=(1, 1, 1),
                                blocks_up=(1, 1)), (2, 16, 16, 16), full=True),
    Example("basic unet", _monai("BasicUNet", in_channels=1, out_channels=2, features=(4, 4, 8, 8, 8, 4)),
            (1, 16, 16, 32), full=True),
    Example("vit", _monai("ViT", in_channels=1, classification=True, num_classes=3, **_VIT), output=0),
    Example("se resnet 50", _monai("SEResNet50", spatial_dims=3, in_channels=1, num_classes=2), (1, 32, 32, 32),
            full=True),
    Example("efficientnet", _monai("EfficientNetBN", model_name="efficientnet-b0", spatial_dims=3, in_channels=1,
                                   pretrained=False, num_classes=2), (1, 33, 35, 32), full=True),
    Example("densenet121", _monai("DenseNet121", spatial_dims=3, in_channels=1, out_channels=2), (1, 32, 32, 32),
            full=True),
    Example("vnet", _monai("VNet", in_channels=1, out_channels=2), (1, 32, 32, 32), full=True),
    Example("highresnet", _monai("HighResNet", in_channels=1, out_channels=2), (1, 12, 12, 12), full=True),
    Example("dynunet", _monai("DynUNet", spatial_dims=3, in_channels=1, out_channels=2, kernel_size=(3, 3, 3),
                              strides=(1, 2, 2), upsample_kernel_size=(2, 2), filters=(4, 8, 8)), full=True),
    Example("unetr", _monai("UNETR", in_channels=1, out_channels=2, img_size=32, feature_size=4, hidden_size=24,
                            mlp_dim=32, num_heads=2), (1, 32, 32, 32), full=True),
    Example("swin unetr", _monai("SwinUNETR", in_channels=1, out_channels=2, feature_size=12, depths=(1, 1, 1, 1),
                                 num_heads=(1, 1, 2, 2)), (1, 64, 64, 64), full=True),
)  # fmt: skip
BY_NAME = {example.name: example for example in EXAMPLES}


def parametrised(*names: str) -> pytest.MarkDecorator:
    """Run a test on the examples called so, or on all; the slow ones are marked `full`."""
    chosen = [BY_NAME[name] for name in names] if names else list(EXAMPLES)
    cases = [pytest.param(one, id=one.name, marks=[pytest.mark.full] if one.full else []) for one in chosen]
    return pytest.mark.parametrize("example", cases)

"""Operations of a graph that are done faster than torch does them, with the same result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from XAIExplainLib.compute.convolution import convolve
from XAIExplainLib.compute.operations import window_of
from XAIExplainLib.compute.pooling import max_pool

Values = dict[str, Any]


def convolution_of(node: torch.fx.Node, name: str, values: Values) -> torch.Tensor | None:
    """A convolution of the ordinary form; None for another."""
    window = window_in(node, name)
    if window is None:
        return None
    _, stride, padding, dilation = window
    x, weight, bias, *_, groups = (_value(node, index, values) for index in range(7))
    return convolve(x, weight, bias, stride, padding, dilation, groups or 1)


def max_pool_of(node: torch.fx.Node, name: str, values: Values) -> torch.Tensor | None:
    """A max pool of images with batch and channels, on a processor."""
    window = window_in(node, name)
    x = _value(node, 0, values)
    if window is None or x.dim() != int(name[-2]) + 2 or x.device.type != "cpu":
        return None
    return max_pool(x, *pool_of(node, name))


def window_in(node: torch.fx.Node, name: str) -> tuple[list[int], ...] | None:
    """Kernel, stride, padding and dilation in numbers, or None; read once a node."""
    if "window" not in node.meta:
        worded = name.startswith("conv") and len(node.args) > 4 and isinstance(node.args[4], str)
        node.meta["window"] = None if worded else window_of(node, name, int(name[-2]))
    return node.meta["window"]  # type: ignore[no-any-return]


def pool_of(node: torch.fx.Node, name: str) -> tuple[Any, ...]:
    """Kernel, stride, padding, dilation and ceil mode of a max pool that `window_in` can read."""
    return (*(window_in(node, name) or ()), ceil_mode_of(node))


def ceil_mode_of(node: torch.fx.Node) -> bool:
    """Of a max pool."""
    return bool(node.args[5]) if len(node.args) > 5 else False


def _value(node: torch.fx.Node, index: int, values: Values) -> Any:
    argument = node.args[index] if index < len(node.args) else None
    return values[argument.name] if isinstance(argument, torch.fx.Node) else argument


FAST: dict[str, Callable[[torch.fx.Node, str, Values], torch.Tensor | None]] = {
    "conv2d": convolution_of, "conv3d": convolution_of, "max_pool2d": max_pool_of, "max_pool3d": max_pool_of,
}  # fmt: skip
# What these make is a tensor of its own, so that a rectifier after it may write over it.
FRESH = frozenset((
    "conv1d", "conv2d", "conv3d", "conv_transpose2d", "conv_transpose3d", "add", "sub", "mul", "linear", "addmm",
    "batch_norm", "_native_batch_norm_legit_no_training", "instance_norm", "group_norm", "native_group_norm",
))  # fmt: skip

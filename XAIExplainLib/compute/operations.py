"""What kinds of operations there are, as seen from one place in the image."""

from __future__ import annotations

from typing import Any

import torch

# Each value depends on the one at its own place, and on constants of its channel.
POINTWISE = frozenset((
    "relu", "relu_", "relu6", "leaky_relu", "prelu", "elu", "selu", "celu", "gelu", "silu", "mish", "sigmoid", "tanh",
    "hardtanh", "hardswish", "hardsigmoid", "softplus", "clone", "alias", "getitem", "batch_norm", "dropout",
    "feature_dropout", "_native_batch_norm_legit_no_training", "contiguous", "neg", "exp", "log", "sqrt", "abs", "pow",
    "clamp", "clamp_min", "clamp_max", "threshold", "log_sigmoid",
))  # fmt: skip
# Nothing moves, but each value depends on the statistics of the whole map too.
STATISTICS = frozenset(("instance_norm", "group_norm", "native_group_norm", "native_batch_norm"))
# Several maps meet place by place.
MEETING = frozenset(("add", "sub", "mul", "div", "cat", "maximum", "minimum"))


def window_of(node: torch.fx.Node, name: str, dims: int) -> tuple[list[int], ...] | None:
    """Kernel, stride, padding and dilation of a convolution or pool over `dims` axes, or None if it is none."""
    if node.kwargs:
        return None
    args = [*node.args]

    def given(index: int, default: Any) -> list[int] | None:
        value = args[index] if index < len(args) else default
        values = [value] if isinstance(value, int) else list(value) if isinstance(value, list | tuple) else None
        if not values:
            values = [default] if isinstance(default, int) else list(default)
        if isinstance(value, str) or not all(isinstance(v, int) for v in values):
            return None
        return values * dims if len(values) == 1 else values

    if name == f"conv{dims}d":
        weight = args[1]
        sizes = weight.meta["val"].shape[2:] if isinstance(weight, torch.fx.Node) else ()
        sides = [int(size) for size in sizes]
        dilation, padding = given(5, 1), given(4, 0)
        if len(args) > 4 and isinstance(args[4], str) and dilation is not None:
            # "same": the smaller half before the first voxel, as torch pads.
            same = args[4] == "same"
            padding = [d * (k - 1) // 2 if same else 0 for k, d in zip(sides, dilation, strict=True)]
        found = [sides, given(3, 1), padding, dilation]
    elif name == f"max_pool{dims}d":
        kernel = given(1, 1)
        found = [kernel, given(2, kernel), given(3, 0), given(4, 1)]
    elif name == f"avg_pool{dims}d":
        kernel = given(1, 1)
        found = [kernel, given(2, kernel), given(3, 0), [1] * dims]
    else:
        return None
    return None if any(values is None or len(values) != dims for values in found) else tuple(found)  # type: ignore[arg-type]

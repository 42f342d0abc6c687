"""The table of true derivatives: the walk with it is the gradient.

Operations that dominate the time have a row of their own, which reads as little as it can; every other operation
is differentiated by autograd, one operation at a time, which is exact for any differentiable operation.
"""

from __future__ import annotations

from typing import Any

import torch

from XAIExplainLib.compute.bits import packed, unpacked
from XAIExplainLib.compute.convolution import transposed
from XAIExplainLib.compute.fast import pool_of, window_in
from XAIExplainLib.compute.graph import operation, resolve
from XAIExplainLib.compute.pooling import max_pool_with_places, max_unpool
from XAIExplainLib.compute.reverse import Rule, Step, Table
from XAIExplainLib.errors import XAIError

_SMALL = 1 << 16  # numbers


def _vjp(step: Step, cotangent: Any, values: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Differentiate one operation by autograd, at the given values of its arguments."""
    leaves = {}
    for argument in step.tensors():
        value = values[argument.name]
        if isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex()):
            leaves[argument.name] = value.detach().requires_grad_()
    if not leaves:
        return {}
    known = {**values, **leaves}
    with torch.enable_grad():
        output = step.node.target(*resolve(step.node.args, known), **resolve(step.node.kwargs, known))  # type: ignore[operator]
    given = cotangent if isinstance(cotangent, dict) else {None: cotangent}
    pairs = [(output if index is None else output[index], value) for index, value in given.items()]
    pairs = [(value, seed) for value, seed in pairs if value.requires_grad]
    if not pairs:
        return {}
    try:
        gradients = brought_back(pairs, list(leaves.values()))
    except (NotImplementedError, RuntimeError) as error:
        if "derivative" not in str(error) and "not implemented" not in str(error):
            raise
        raise XAIError(
            f"torch has no derivative for the operation {operation(step.node)} (node {step.node.name}).",
            "Use a method that needs only scores, such as occlusion.",
        ) from error
    return {name: gradient for name, gradient in zip(leaves, gradients, strict=True) if gradient is not None}


def brought_back(pairs: list[tuple[torch.Tensor, torch.Tensor]], leaves: list[torch.Tensor]) -> tuple[Any, ...]:
    """The gradients at `leaves` of (value, cotangent) pairs, None where a value does not depend on one.

    Few numbers go by their sum, which is the same to the bit: for cotangents that it is given torch imports sympy,
    0.4 s.
    """
    if sum(seed.numel() for _, seed in pairs) <= _SMALL and not any(seed.is_complex() for _, seed in pairs):
        with torch.enable_grad():
            end = torch.stack([(value * seed).sum() for value, seed in pairs]).sum()
        return torch.autograd.grad(end, leaves, allow_unused=True)
    return torch.autograd.grad(
        [value for value, _ in pairs], leaves, [seed for _, seed in pairs], allow_unused=True
    )  # fmt: skip


def _by_values(step: Step, cotangent: Any) -> dict[str, torch.Tensor]:
    names = {argument.name for argument in step.node.all_input_nodes}
    return _vjp(step, cotangent, {name: step.values[name] for name in names})


def _by_shapes(step: Step, cotangent: Any) -> dict[str, torch.Tensor]:
    """For operations linear in their arguments on the path: the values do not matter, only the shapes."""
    dtype = next(iter(cotangent.values())).dtype if isinstance(cotangent, dict) else cotangent.dtype
    device = next(iter(cotangent.values())).device if isinstance(cotangent, dict) else cotangent.device
    values = {}
    for argument in step.node.all_input_nodes:
        if argument.name in step.path:
            values[argument.name] = torch.zeros((), dtype=dtype, device=device).expand(step.shape(argument))
        else:
            values[argument.name] = step.values[argument.name]
    return _vjp(step, cotangent, values)


def _getitem(step: Step, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
    return {step.tensors()[0].name: cotangent}


def _convolution(step: Step, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
    source = step.node.args[0]
    assert isinstance(source, torch.fx.Node)
    weight = step.argument(1)
    dims = weight.dim() - 2
    stride, padding, dilation = (_tuple(step.argument(i, d), dims) for i, d in ((3, 1), (4, 0), (5, 1)))
    groups = step.argument(6, 1)
    return {source.name: transposed(cotangent, weight, step.shape(source), stride, padding, dilation, groups)}


def _linear(step: Step, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
    source = step.node.args[0]
    assert isinstance(source, torch.fx.Node)
    return {source.name: cotangent @ step.argument(1)}


def relu_forth(node: torch.fx.Node, values: dict[str, Any], over: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """A ReLU, and what it lets through, one bit a number."""
    x = values[node.all_input_nodes[0].name]
    made = torch.relu_(x) if over else torch.relu(x)
    return made, packed(made > 0)


def _relu(step: Step, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
    mask = unpacked(step.saved, cotangent.shape)
    return {step.tensors()[0].name: cotangent.mul_(mask) if step.owned else cotangent * mask}


def _max_pool_forth(node: torch.fx.Node, values: dict[str, Any], over: bool) -> tuple[torch.Tensor, torch.Tensor]:
    return max_pool_with_places(values[node.all_input_nodes[0].name], *pool_of(node, operation(node)))


def _max_pool(step: Step, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
    source = step.tensors()[0]
    pool = pool_of(step.node, operation(step.node))
    return {source.name: max_unpool(cotangent, step.saved, step.shape(source), *pool)}


def _ordinary_pool(node: torch.fx.Node, path: set[str]) -> bool:
    """Whether it is a pool of images with batch and channels, its window in numbers."""
    name = operation(node)
    value = node.meta.get("val")
    whole = isinstance(value, torch.Tensor) and value.dim() == int(name[-2]) + 2
    return whole and window_in(node, name) is not None


def _batch_norm(weight: int, mean: int, epsilon: int) -> Rule:
    def apply(step: Step, cotangent: Any) -> dict[str, torch.Tensor]:
        given = cotangent[0] if isinstance(cotangent, dict) else cotangent
        scale = torch.rsqrt(step.argument(mean + 1) + step.argument(epsilon))
        if step.argument(weight) is not None:
            scale = scale * step.argument(weight)
        scale = scale.reshape(1, -1, *[1] * (given.dim() - 2))
        return {step.tensors()[0].name: given.mul_(scale) if step.owned else given * scale}

    return Rule(apply, fresh=True)


def _add(step: Step, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
    return _sum_of_two(step, cotangent, 1.0)


def _subtract(step: Step, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
    return _sum_of_two(step, cotangent, -1.0)


def _sum_of_two(step: Step, cotangent: torch.Tensor, sign: float) -> dict[str, torch.Tensor]:
    factors = (1.0, sign * float(step.node.kwargs.get("alpha", 1)))  # type: ignore[arg-type]
    given: dict[str, torch.Tensor] = {}
    for argument, factor in zip(step.node.args, factors, strict=False):
        if isinstance(argument, torch.fx.Node) and argument.name in step.path:
            part = _unbroadcast(cotangent if factor == 1.0 else cotangent * factor, step.shape(argument))
            given[argument.name] = given[argument.name] + part if argument.name in given else part
    return given


def _cat(step: Step, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
    parts: Any = step.node.args[0]
    dim = step.argument(1, 0)
    pieces = cotangent.split([step.shape(part)[dim] for part in parts], dim)
    given: dict[str, torch.Tensor] = {}
    for part, piece in zip(parts, pieces, strict=True):
        if part.name in step.path:
            given[part.name] = given[part.name] + piece if part.name in given else piece
    return given


def _copy(step: Step, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
    """What is written goes on, what it is written over does not."""
    source = step.node.args[1]
    assert isinstance(source, torch.fx.Node)
    return {source.name: _unbroadcast(cotangent, step.shape(source))} if source.name in step.path else {}


def _constant_weight(node: torch.fx.Node, path: set[str]) -> bool:
    """Whether the weight does not depend on the image, and the padding is in numbers."""
    weights = [argument for argument in node.args[1:3] if isinstance(argument, torch.fx.Node)]
    named_padding = len(node.args) > 4 and isinstance(node.args[4], str)
    return not named_padding and not node.kwargs and all(argument.name not in path for argument in weights)


def _tuple(value: Any, dims: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * dims if len(values) == 1 else values


def _unbroadcast(cotangent: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Sum over the axes along which an argument of `shape` was broadcast."""
    if tuple(cotangent.shape) == shape:
        return cotangent
    extra = cotangent.dim() - len(shape)
    broadcast = (i + extra for i, size in enumerate(shape) if size == 1 and cotangent.shape[i + extra] != 1)
    axes = [*range(extra), *broadcast]
    return cotangent.sum(axes, keepdim=True).reshape(shape) if axes else cotangent.reshape(shape)


BY_VALUES = Rule(_by_values, inputs=True)
BY_SHAPES = Rule(_by_shapes)
SHAPE_ONLY = (
    "view", "_unsafe_view", "reshape", "flatten", "permute", "transpose", "t", "squeeze", "unsqueeze", "clone",
    "alias", "expand", "select", "slice", "mean", "sum", "avg_pool1d", "avg_pool2d", "avg_pool3d", "contiguous",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "_adaptive_avg_pool2d",
    "_adaptive_avg_pool3d", "constant_pad_nd", "pad", "split", "split_with_sizes", "chunk", "unbind", "roll",
    "upsample_nearest2d", "upsample_nearest3d", "upsample_bilinear2d", "upsample_trilinear3d", "stack", "repeat",
    "pixel_shuffle", "neg", "unflatten", "movedim", "swapaxes",
)  # fmt: skip

DERIVATIVES = Table(
    "The gradient",
    {
        "getitem": Rule(_getitem),
        "conv1d": Rule(_convolution, fits=_constant_weight, fresh=True),
        "conv2d": Rule(_convolution, fits=_constant_weight, fresh=True),
        "conv3d": Rule(_convolution, fits=_constant_weight, fresh=True),
        "linear": Rule(_linear, fits=_constant_weight, fresh=True),
        "relu": Rule(_relu, forth=relu_forth, share=1 / 8, fresh=True),
        "max_pool2d": Rule(_max_pool, fits=_ordinary_pool, forth=_max_pool_forth, share=4.0, fresh=True),
        "max_pool3d": Rule(_max_pool, fits=_ordinary_pool, forth=_max_pool_forth, share=4.0, fresh=True),
        "_native_batch_norm_legit_no_training": _batch_norm(weight=1, mean=3, epsilon=6),
        "batch_norm": _batch_norm(weight=1, mean=3, epsilon=7),
        "add": Rule(_add),
        "sub": Rule(_subtract),
        "cat": Rule(_cat),
        "copy": Rule(_copy),
        **dict.fromkeys(SHAPE_ONLY, BY_SHAPES),
    },
    otherwise=BY_VALUES,
)

"""Steps that look through a window: convolutions forth and transposed, and pools."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from XAIExplainLib.compute.convolution import convolve, onednn_takes, transposed
from XAIExplainLib.compute.graph import Graph, call, operation
from XAIExplainLib.compute.patches import Patch, Places, Surroundings, paste
from XAIExplainLib.compute.steps import IN_PLACE, MOVED, PRODUCTS, Around, Step, Values, argument_of, taken


class Windowed(Step):
    """Each cell reads a window of one map."""

    local = True
    fresh = True

    def __init__(self, graph: Graph, node: torch.fx.Node, constants: Values, window: tuple[list[int], ...]) -> None:
        super().__init__(graph, node, constants)
        self.kernel, self.stride, self.padding, self.dilation = window
        self._arrays = tuple(np.asarray(values) for values in window)

    def reach(self, places: list[Places]) -> Places:
        (kernel, stride, padding, dilation), grid = self._arrays, np.asarray(self.grid)
        low = -((dilation * (kernel - 1) - places[0].low - padding) // stride)
        low = np.minimum(np.maximum(low, 0), grid - 1)
        high = np.minimum((places[0].high - 1 + padding) // stride + 1, grid)
        return Places(low, np.maximum(high, low + 1))

    def region(self, boxes: Any) -> Any:
        kernel, stride, _, dilation = self._arrays
        return (boxes - 1) * stride + dilation * (kernel - 1) + 1

    def margin(self) -> tuple[list[int], list[int]]:
        furthest = self.region(np.asarray(self.grid)) - self.padding - np.asarray(self.reads)
        return self.padding, np.maximum(furthest, 0).tolist()

    def patch(self, around: Around, sources: list[Patch], low: np.ndarray, box: tuple[int, ...]) -> Patch:
        starts = low * self._arrays[1] - self._arrays[2]
        size = self.region(np.asarray(box)).tolist()
        region = around(self.sources[0], self.blank).cut(starts, size)
        paste(region, starts, sources[0])
        return Patch(self._of(around, region, low, box), low)

    def _of(self, around: Around, region: torch.Tensor, low: np.ndarray, box: tuple[int, ...]) -> torch.Tensor:
        """The operation on regions that hold their padding."""
        raise NotImplementedError


class Convolution(Windowed):
    """A convolution with its batch norm and its activation."""

    def __init__(self, graph: Graph, node: torch.fx.Node, constants: Values, window: tuple[list[int], ...]) -> None:
        super().__init__(graph, node, constants, window)
        self.weight, self.bias = argument_of(node, 1, constants), argument_of(node, 2, constants)
        self.groups: int = node.args[6] if len(node.args) > 6 else 1  # type: ignore[assignment]
        self._packed: torch.Tensor | None = None
        furthest = self.margin()[1]
        # Named padding of an even kernel has one voxel more behind than before.
        self._beyond = [max(0, a - p) for a, p in zip(furthest, self.padding, strict=True)]

    def fold(self, scale: torch.Tensor, shift: torch.Tensor) -> None:
        """Multiply what comes out by `scale`, and add `shift`, one number a channel."""
        self.weight = self.weight * scale.reshape(-1, *[1] * (self.weight.dim() - 1))
        self.bias = shift if self.bias is None else self.bias * scale + shift

    def products(self, cells: Any) -> Any:
        made, taken, *kernel = self.weight.shape
        if self.groups > 1:  # no vector of channels is full
            return cells * 4.0 * made * taken * math.prod(kernel)
        return cells * float(-(-made // 16) * 16 * max(taken, 2) * math.prod(kernel))

    def seconds(self, item: int, boxes: np.ndarray | None = None) -> Any:
        if boxes is not None:
            return super().seconds(item, boxes)
        # Large maps: most of what moves does so while it is multiplied.
        numbers = self.numbers + math.prod(self.reads) * self.read_channels
        return self.products(math.prod(self.grid)) / (1.3 * PRODUCTS) + item * numbers / MOVED

    def whole(self, values: Values) -> Any:
        x = values[self.sources[0]]
        if any(self._beyond):
            x = torch.nn.functional.pad(x, [n for axis in reversed(self._beyond) for n in (0, axis)])
        return self._convolved(x, self.padding)

    def _of(self, around: Around, region: torch.Tensor, low: np.ndarray, box: tuple[int, ...]) -> torch.Tensor:
        return self._convolved(region, [0] * self.dims)

    def _convolved(self, x: torch.Tensor, padding: list[int]) -> torch.Tensor:
        if not onednn_takes(x, self.weight):
            made = convolve(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)
            return self._finish(made)
        if self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, padding, self.stride, self.dilation, self.groups, list(x.shape)
            )
        rectified = bool(self.after) and operation(self.after[0][0]) in IN_PLACE
        made = torch.ops.mkldnn._convolution_pointwise(
            x, self._packed, self.bias, padding, self.stride, self.dilation, self.groups,
            "relu" if rectified else "none", [], "",
        )  # fmt: skip
        return self._finish(made, int(rectified))


class MaxPool(Windowed):
    """A maximum over windows."""

    blank = -math.inf

    def _of(self, around: Around, region: torch.Tensor, low: np.ndarray, box: tuple[int, ...]) -> torch.Tensor:
        pool = getattr(torch.nn.functional, f"max_pool{self.dims}d")
        return self._finish(pool(region, self.kernel, self.stride, 0, self.dilation))

    def seconds(self, item: int, boxes: np.ndarray | None = None) -> Any:
        cells = math.prod(self.grid) if boxes is None else boxes.prod(-1)
        return super().seconds(item, boxes) + cells * self.channels * math.prod(self.kernel) / 4e9


class AveragePool(Windowed):
    """A mean over windows, however the voxels outside of the map are counted."""

    def __init__(
        self, graph: Graph, node: torch.fx.Node, constants: Values, window: tuple[list[int], ...], x: torch.Tensor
    ) -> None:
        super().__init__(graph, node, constants, window)
        one = torch.ones((1, 1, *self.reads), dtype=x.dtype, device=x.device)
        own = call(node, {self.sources[0]: one})
        before, after = self.margin()
        padded = torch.nn.functional.pad(
            one, [n for pair in reversed(list(zip(before, after, strict=True))) for n in pair]
        )
        inner: Any = (..., *(slice(n) for n in self.grid))
        counted = self._mean(padded)[inner]
        # What the operation divides by, where it is not the size of the window.
        self._share = None if torch.equal(own, counted) else Surroundings(
            own / counted.clamp_min(1e-30), [0] * self.dims, [0] * self.dims, 1.0
        )  # fmt: skip

    def _mean(self, region: torch.Tensor) -> torch.Tensor:
        pool = getattr(torch.nn.functional, f"avg_pool{self.dims}d")
        return pool(region, self.kernel, self.stride)

    def _of(self, around: Around, region: torch.Tensor, low: np.ndarray, box: tuple[int, ...]) -> torch.Tensor:
        mean = self._mean(region)
        return self._finish(mean if self._share is None else mean * self._share.cut(low, box))


class Transposed(Step):
    """A transposed convolution with its batch norm."""

    local = True
    fresh = True

    def __init__(self, graph: Graph, node: torch.fx.Node, constants: Values) -> None:
        super().__init__(graph, node, constants)
        self.weight, self.bias = argument_of(node, 1, constants), argument_of(node, 2, constants)

        def given(index: int, default: int) -> list[int]:
            value = node.args[index] if len(node.args) > index else default
            values = [value] if isinstance(value, int) else list(value)  # type: ignore[arg-type]
            return values * self.dims if len(values) == 1 else values  # type: ignore[return-value]

        self.stride, self.padding, self.dilation = given(3, 1), given(4, 0), given(7, 1)
        self.groups: int = node.args[6] if len(node.args) > 6 else 1  # type: ignore[assignment]
        self.kernel = list(self.weight.shape[2:])
        self._arrays = tuple(np.asarray(n) for n in (self.kernel, self.stride, self.padding, self.dilation))

    def fold(self, scale: torch.Tensor, shift: torch.Tensor) -> None:
        """Multiply what comes out by `scale`, and add `shift`, one number a channel."""
        split = self.weight.reshape(self.groups, -1, *self.weight.shape[1:])
        factor = scale.reshape(self.groups, 1, -1, *[1] * self.dims)
        self.weight = (split * factor).reshape(self.weight.shape)
        self.bias = shift if self.bias is None else self.bias * scale + shift

    def products(self, cells: Any) -> Any:
        taken, made, *kernel = self.weight.shape
        each = float(-(-made // 16) * 16 * taken * math.prod(kernel)) * (4 if self.groups > 1 else 1)
        return cells * each / math.prod(self.stride)

    def reach(self, places: list[Places]) -> Places:
        (kernel, stride, padding, dilation), grid = self._arrays, np.asarray(self.grid)
        low = np.minimum(np.maximum(places[0].low * stride - padding, 0), grid - 1)
        high = (places[0].high - 1) * stride - padding + dilation * (kernel - 1) + 1
        return Places(low, np.maximum(np.minimum(high, grid), low + 1))

    def region(self, boxes: Any) -> Any:
        kernel, stride, _, dilation = self._arrays
        return (boxes - 1 + dilation * (kernel - 1) + stride - 1) // stride + 1

    def margin(self) -> tuple[list[int], list[int]]:
        low, size = self._seen(np.zeros((1, self.dims), dtype=np.int64), np.ones(self.dims, dtype=np.int64))
        last, _ = self._seen(np.asarray(self.grid)[None] - 1, np.ones(self.dims, dtype=np.int64))
        # A box of any size begins and ends no further out than these, but for the rounding of its size.
        beyond = last[0] + size - np.asarray(self.reads) + 1
        return np.maximum(-low[0], 0).tolist(), np.maximum(beyond, 0).tolist()

    def _seen(self, low: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What boxes of the value read: first voxels, and one size for all."""
        kernel, stride, padding, dilation = self._arrays
        first = np.minimum(-((dilation * (kernel - 1) - low - padding) // stride), (low + padding) // stride)
        last = (low + box - 1 + padding) // stride
        return first, (last - first).max(0) + 1

    def whole(self, values: Values) -> Any:
        x = values[self.sources[0]]
        return self._finish(self._spread(x, (len(x), self.channels, *self.grid), self.padding))

    def patch(self, around: Around, sources: list[Patch], low: np.ndarray, box: tuple[int, ...]) -> Patch:
        kernel, stride, padding, dilation = self._arrays
        starts, size = self._seen(low, np.asarray(box))
        region = around(self.sources[0], 0.0).cut(starts, size.tolist())
        paste(region, starts, sources[0])
        offsets = low - (starts * stride - padding)
        # Voxels that no tap of the kernel reaches may lie behind the last one that is reached.
        sides = np.maximum((size - 1) * stride + dilation * (kernel - 1) + 1, offsets.max(0) + box)
        made = self._spread(region, (len(low), self.channels, *sides.tolist()), [0] * self.dims)
        return Patch(self._finish(taken(made, offsets, box)), low)

    def _spread(self, x: torch.Tensor, shape: tuple[int, ...], padding: list[int]) -> torch.Tensor:
        kernel, stride, _, dilation = self._arrays
        full = (np.asarray(x.shape[2:]) - 1) * stride + dilation * (kernel - 1) + 1
        if (np.asarray(shape[2:]) - full + 2 * np.asarray(padding) < stride).all():
            made = transposed(x, self.weight, shape, self.stride, padding, self.dilation, self.groups)
        else:  # an output padding as wide as the dilation: cut out of all that the kernel reaches
            every = (*shape[:2], *full.tolist())
            made = transposed(x, self.weight, every, self.stride, [0] * self.dims, self.dilation, self.groups)
            cut = zip(padding, shape[2:], full.tolist(), strict=True)
            pads = [n for p, wanted, own in reversed(list(cut)) for n in (-p, wanted + p - own)]
            made = torch.nn.functional.pad(made, pads)
        return made if self.bias is None else made.add_(self.bias.reshape(-1, *[1] * self.dims))

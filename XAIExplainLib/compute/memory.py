"""The memory budget: what is free, what a run needs, and what it took."""

from __future__ import annotations

import math
import re
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from XAIExplainLib.compute.convolution import LANES, TAPS_AT_ONCE
from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.compute.reverse import Plan
from XAIExplainLib.errors import XAIError

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "K": 2**10,
          "M": 2**20, "G": 2**30}  # fmt: skip
RESERVE = 512 * 2**20
MOST_AT_ONCE = 32  # samples of one run
QUICK_BYTES = 2**25  # of the largest value of a run on a processor: smaller than what leaves holes (allocator.BIG)
# Convolutions copy their input into the layout that they like; measured at 1.3 to 1.9 of the graph's own tensors.
WORKSPACE = 2.0
MARGIN = 1.4  # of a walk's peak, for small tensors and what the allocator does not give back
OF_A_READING_RULE = 2.0  # tensors of the size of its inputs and outputs that a rule makes which reads values
# Below this many numbers of input, and for every dilated one, torch's CPU convolution writes out each window.
_SMALL = 2**20


def parse_memory(value: str | int | float | None) -> int:
    """Bytes from ``4GiB``, a number of bytes, or None for what is free less a reserve.

    Raises
    ------
    XAIError
        If the text is no amount of memory.
    """
    if value is None:
        return max(RESERVE, int(psutil.virtual_memory().available) - RESERVE)
    match = re.fullmatch(r"\s*([0-9]+\.?[0-9]*)\s*([A-Za-z]*)\s*", str(value))
    unit = _UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None or not float(match[1]) > 0:
        raise XAIError(f"The memory budget {value!r} is not understood.", "Give an amount such as 4GiB or 800MiB.")
    return int(float(match[1]) * unit)


def readable(size: float) -> str:
    """Bytes for people: ``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def batch_for(bytes_per_sample: float, budget: int, limit: int, what: str) -> int:
    """How many samples fit the budget at once, from 1 to `limit`.

    Raises
    ------
    XAIError
        If not even one does.
    """
    if bytes_per_sample > budget:
        raise XAIError(
            f"{what} needs about {readable(bytes_per_sample)}, and the memory budget is {readable(budget)}.",
            "Give a larger budget, a smaller volume, or a coarser preprocessing.",
        )
    return max(1, min(limit, int(budget // max(bytes_per_sample, 1))))


def quick_batch(graph: Graph, device: torch.device | str, item: int = 4) -> int:
    """Up to how many samples a run is not slower for being large.

    A processor gains nothing from values that are larger than its caches: fetching their memory takes longer than the
    work on them (SmoothGrad's 20 copies of 64^3 voxels at once took 1.7 times as long as one by one). From sizes alone.
    """
    if torch.device(device).type != "cpu":
        return MOST_AT_ONCE
    largest = max((math.prod(graph.shape(node.name, 1)) for node in graph if node.name in graph.dependent), default=1)
    return max(1, min(MOST_AT_ONCE, QUICK_BYTES // max(1, largest * item)))


def forward_bytes(graph: Graph, kept: set[str] | None = None, item: int = 4) -> float:
    """Bytes that one sample's run holds at its peak, with the values `kept` to its end.

    Parameters
    ----------
    graph : Graph
        The network.
    kept : set of str or None
        Names of the values that are not freed after their last use.
    item : int
        Bytes of a number.
    """
    roots = _roots(graph)
    kept = {roots.get(name, name) for name in kept or ()}
    freed = _freed(graph, roots, kept)
    live = peak = float(_bytes(graph, graph.input, item))
    for position, node in enumerate(graph.nodes):
        if node.name not in roots:
            live += _bytes(graph, node.name, item)
        peak = max(peak, live + _convolution_bytes(graph, node, item) / WORKSPACE)
        live -= sum(_bytes(graph, name, item) for name in freed.get(position, ()))
    carried = 0
    if kept:  # a walk back carries the cotangents of an output and an input, and takes scratch as the way forth
        carried = 2 * max(_bytes(graph, node.name, item) for node in graph)
        carried += max(_convolution_bytes(graph, node, item) for node in graph)
    return peak * WORKSPACE + carried


def walk_bytes(graph: Graph, plan: Plan, item: int = 4, also: set[str] | None = None) -> float:
    """Bytes that one sample's way forth and back takes at its peak.

    Parameters
    ----------
    graph : Graph
        The network.
    plan : Plan
        Of the walk.
    item : int
        Bytes of a number.
    also : set of str or None
        Names of further values that are kept.
    """
    roots = _roots(graph)
    kept = {roots.get(name, name) for name in plan.kept | (also or set())}
    freed = _freed(graph, roots, kept)
    live = peak = float(_bytes(graph, graph.input, item))
    for position, node in enumerate(graph.nodes):
        size = _bytes(graph, node.name, item)
        # What torch looks at to find a pool's places, eight bytes each.
        working = _convolving(graph, node, item) + (2.0 * size * 8 / item if plan.shares.get(node.name) == 4.0 else 0.0)
        over = graph.overwrites(node.name, kept) is not None
        if node.name not in roots and not over:
            live += size
        live += plan.shares.get(node.name, 0.0) * size / item
        peak = max(peak, live + working)
        live += size if over else 0.0  # what it was written over is freed in the same step
        live -= sum(_bytes(graph, name, item) for name in freed.get(position, ()))
    cotangents: dict[str, float] = {graph.output: float(_bytes(graph, graph.output, item))}
    held = live
    for node in reversed(graph.nodes):
        own = cotangents.get(node.name)
        if own is None or node.name not in plan.path:
            continue
        given = [argument.name for argument in node.all_input_nodes if argument.name in plan.path]
        for name in given:
            cotangents.setdefault(name, float(_bytes(graph, name, item)))
        reached = sum(cotangents[name] for name in given)
        working = _convolving(graph, node, item)
        if node.name in plan.reading:
            working = max(working, _convolution_bytes(graph, node, item)) + OF_A_READING_RULE * (own + reached)
        elif not working and node.name not in roots and graph.operations[node.name] not in _IN_PLACE:
            working = own + reached  # done once more, for its derivative
        working += own * len(given) / 2 if plan.shares.get(node.name) else 0.0  # a mask, places
        peak = max(peak, held + sum(cotangents.values()) + working)
        del cotangents[node.name]
    return peak * MARGIN


@dataclass(frozen=True)
class Cost:
    """What a pass takes.

    Parameters
    ----------
    peak, total : float
        Bytes of the tensors that are alive at once, and of all that are made: what a backward pass keeps at most.
    products : float
        Multiplications in convolutions and matrix products.
    """

    peak: float
    total: float
    products: float


def measured(run: Callable[[], Any]) -> Cost:
    """What `run` takes, by watching its operations."""
    with _Counter() as counter:
        run()
    return Cost(counter.peak * WORKSPACE, counter.total * WORKSPACE, counter.products)


def cost_of(graph: Graph, item: int = 4) -> Cost:
    """What a pass of one sample over a graph takes, by its sizes."""
    total = products = 0.0
    for node in graph:
        total += _bytes(graph, node.name, item)
        products += _products_of(graph, node)
    return Cost(forward_bytes(graph, None, item), total * WORKSPACE, products)


class PeakMemory:
    """Context: the resident memory of this process above its start, sampled every 10 ms, in `bytes`."""

    def __enter__(self) -> PeakMemory:
        self._process = psutil.Process()
        self._start = self._highest = self._process.memory_info().rss
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    @property
    def bytes(self) -> int:
        """The highest figure so far."""
        return max(0, self._highest - self._start)

    def _look(self) -> None:
        self._highest = max(self._highest, self._process.memory_info().rss)

    def _sample(self) -> None:
        while not self._stop.wait(0.01):
            self._look()


_ONEDNN = torch.ops.aten.mkldnn_convolution.default


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.live = self.total = 0
        self.peak = self.products = 0.0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: torch would import its compiler, 1.5 s, in order to tell it to leave this alone."""
        return False

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.products += _products(function, args, result)
        for leaf in tree_leaves(result):
            # Views and in-place results share the storage of an argument and cost nothing.
            if isinstance(leaf, torch.Tensor) and leaf._base is None and not any(leaf is given for given in args):
                size = leaf.numel() * leaf.element_size()
                self.total += size
                self.live += size
                self.peak = max(self.peak, self.live + self._scratch(function, args, leaf) / WORKSPACE)
                weakref.finalize(leaf, self._free, size)
        return result

    @staticmethod
    def _scratch(function: Any, args: Any, output: torch.Tensor) -> float:
        if function is _ONEDNN:
            return float(output.numel() * output.element_size())
        if function is not torch.ops.aten.convolution.default or args[6]:
            return 0.0
        count = _scratch(args[0].shape, args[1].shape, output.shape, args[5])
        return count * output.element_size()

    def _free(self, size: int) -> None:
        self.live -= size


def _products(function: Any, args: Any, output: torch.Tensor) -> float:
    """Multiplications of a convolution or matrix product."""
    if function is torch.ops.aten.convolution.default:
        # Each weight of an output channel is used once a cell; transposed, each of an input channel once an input.
        return float((args[0] if args[6] else output).numel() * args[1][0].numel())
    if function is _ONEDNN:
        return float(output.numel() * args[1][0].numel())
    if function in (torch.ops.aten.mm.default, torch.ops.aten.bmm.default):
        return float(output.numel() * args[0].shape[-1])
    return float(output.numel() * args[1].shape[-1]) if function is torch.ops.aten.addmm.default else 0.0


def _products_of(graph: Graph, node: torch.fx.Node) -> float:
    """Multiplications of a graph's convolution or matrix product, for one sample."""
    name, made = graph.operations[node.name], float(math.prod(graph.shape(node.name, 1) or (0,)))
    if name.startswith("conv"):
        weight, source = node.all_input_nodes[1].meta["val"].shape, graph.shape(node.all_input_nodes[0].name, 1)
        return float(math.prod(weight[1:])) * (math.prod(source) if "transpose" in name else made)
    if name in ("mm", "bmm", "matmul", "linear", "addmm", "baddbmm"):
        return made * graph.shape(node.all_input_nodes[-2 if name == "baddbmm" else 0].name, 1)[-1]
    if name == "scaled_dot_product_attention":
        return 2 * made * graph.shape(node.all_input_nodes[1].name, 1)[-2]
    return 0.0


_IN_PLACE = frozenset(("add", "sub", "cat", "getitem", "relu", "batch_norm", "_native_batch_norm_legit_no_training"))
_VIEWS = frozenset({"view", "permute", "transpose", "expand", "select", "slice", "squeeze", "unsqueeze", "alias", "t"})
_PARTS = frozenset({"split", "split_with_sizes", "chunk", "unbind"})


def _roots(graph: Graph) -> dict[str, str]:
    """For each node whose value is a view: the node whose memory it looks at."""
    roots: dict[str, str] = {}
    for node in graph:
        operation = graph.operations[node.name]
        if not node.all_input_nodes:
            continue
        source = node.all_input_nodes[0].name
        part = operation == "getitem" and graph.operations.get(source) in _PARTS
        if operation in _VIEWS | _PARTS or part:
            roots[node.name] = roots.get(source, source)
    return roots


def _freed(graph: Graph, roots: dict[str, str], kept: set[str]) -> dict[int, list[str]]:
    """By place in the graph: the values that are freed after it."""
    last: dict[str, int] = {}  # a view holds the memory of what it looks at
    for position, node in enumerate(graph.nodes):
        for argument in node.all_input_nodes:
            last[roots.get(argument.name, argument.name)] = position
    freed: dict[int, list[str]] = {}
    for name, position in last.items():
        if name not in kept and name not in graph.constants and name != graph.input:
            freed.setdefault(position, []).append(name)
    return freed


def _convolving(graph: Graph, node: torch.fx.Node, item: int) -> float:
    """What a convolution takes beside its input and output, forth or back: both in the layout that it likes."""
    name = graph.operations[node.name]
    if not name.startswith(("conv2d", "conv3d", "conv_transpose")):
        return 0.0
    source, weight = node.all_input_nodes[:2]
    if item != 4 and not name.startswith("conv_transpose"):
        return _convolution_bytes(graph, node, item)
    before, after = (graph.shape(name, 1) for name in (source.name, node.name))
    kernel = tuple(weight.meta["val"].shape)
    numbers = _lanes(before) + _lanes(after) + 3 * math.prod(kernel)
    if kernel[1] < LANES and not name.startswith("conv_transpose"):  # what the way back by taps writes out, twice
        numbers += 2 * min(TAPS_AT_ONCE, kernel[1] * math.prod(kernel[2:-1]) * math.prod(after[2:]))
    return float(item * numbers)


def _lanes(shape: tuple[int, ...]) -> int:
    """Numbers of a map in blocks of sixteen channels; one of few channels stays as it is."""
    channels = shape[1] if shape[1] < 4 else -(-shape[1] // 16) * 16
    return channels * math.prod(shape[2:])


def _bytes(graph: Graph, name: str, item: int) -> int:
    """Bytes of one sample's value of a node, where a real number takes `item`."""
    shape, kind = graph.shape(name, 1), graph.kinds.get(name)
    if not shape or kind is None:
        return 0
    size = item if kind.is_floating_point else 2 * item if kind.is_complex else kind.itemsize
    return math.prod(shape) * size


def _convolution_bytes(graph: Graph, node: torch.fx.Node, item: int) -> int:
    """What a convolution takes beside its input and output."""
    if graph.operations[node.name] not in ("conv2d", "conv3d"):
        return 0
    source, weight = node.all_input_nodes[:2]
    dilation = node.args[5] if len(node.args) > 5 else 1
    kernel = tuple(weight.meta["val"].shape)
    return item * _scratch(graph.shape(source.name, 1), kernel, graph.shape(node.name, 1), dilation)


def _scratch(source: Any, kernel: Any, output: Any, dilation: Any) -> int:
    """How many numbers a convolution writes out: its output in blocks of 16 channels, or all that each cell sees."""
    dilated = max([dilation] if isinstance(dilation, int) else dilation) > 1
    small = math.prod(source) < _SMALL and max(kernel[2:]) <= 3
    if not (dilated or small):
        return -(-kernel[0] // 16) * 16 * math.prod(output[2:])
    return 0 if math.prod(kernel[2:]) == 1 else math.prod(kernel[1:]) * math.prod(output[2:])

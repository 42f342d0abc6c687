"""A graph made into steps: batch norm is folded into the convolution before it, and activations follow their step."""

from __future__ import annotations

import torch

from XAIExplainLib.compute.graph import Graph, call, operation
from XAIExplainLib.compute.operations import MEETING, POINTWISE, window_of
from XAIExplainLib.compute.steps import (
    Along,
    Channels,
    Mean,
    Meeting,
    Padded,
    Repeated,
    Sized,
    Step,
    Values,
    argument_of,
)  # fmt: skip
from XAIExplainLib.compute.steps_windowed import AveragePool, Convolution, MaxPool, Transposed

_NORMS = ("batch_norm", "_native_batch_norm_legit_no_training")


def steps_of(graph: Graph, x: torch.Tensor) -> list[Step]:
    """The steps to the answer, in order; x (1, C, *spatial) is an image that says the kind of numbers and the device.

    Values that do not depend on the image are no steps: each step has them.
    """
    constants = _constants(graph)
    needed = _needed(graph)
    users: dict[str, list[torch.fx.Node]] = {}
    for node in graph:
        if node.name in needed:
            for argument in node.all_input_nodes:
                users.setdefault(argument.name, []).append(node)
    steps: list[Step] = []
    done: set[str] = set()
    for node in graph:
        if node.name in done or node.name not in needed or node.name not in graph.dependent:
            continue
        step = _step(graph, node, constants, x)
        done.add(node.name)
        last = node
        part = _only_part(node, users)
        if part is not None and operation(node) in _NORMS and is_pointwise(graph, node) and step.reads:
            step, last = Along(graph, node, constants, part), part
            done.add(part.name)
        while last.name != graph.output and len(users.get(last.name, ())) == 1 and not isinstance(step, Sized | Mean):
            (following,) = users[last.name]
            taken = _norm(graph, step, last, following, users, constants) or _along(graph, step, last, following)
            if taken is None:
                break
            done.update((following.name, taken.name))
            last = taken
        steps.append(step)
    return steps


def _constants(graph: Graph) -> Values:
    """Every value that does not depend on the image."""
    values: Values = dict(graph.constants)
    with torch.no_grad():
        for node in graph:
            if node.name not in graph.dependent:
                values[node.name] = call(node, values)
    return values


def _needed(graph: Graph) -> set[str]:
    needed = {graph.output}
    for node in reversed(graph.nodes):
        if node.name in needed:
            needed.update(argument.name for argument in node.all_input_nodes)
    return needed


def _norm(
    graph: Graph,
    step: Step,
    last: torch.fx.Node,
    node: torch.fx.Node,
    users: dict[str, list[torch.fx.Node]],
    constants: Values,
) -> torch.fx.Node | None:
    """Fold a batch norm into its convolution; the node that then is the value."""
    if not isinstance(step, Convolution | Transposed) or step.after or operation(node) not in _NORMS:
        return None
    if node.all_input_nodes[0] is not last or any(a.name in graph.dependent for a in node.all_input_nodes[1:]):
        return None
    value = node if operation(node) == "batch_norm" else _only_part(node, users)
    if value is None:
        return None
    weight, beta, mean, variance = (argument_of(node, index, constants) for index in (1, 2, 3, 4))
    epsilon = float(node.args[7] if operation(node) == "batch_norm" else node.args[6])  # type: ignore[arg-type]
    scale = (variance.double() + epsilon).rsqrt()
    scale = scale if weight is None else scale * weight.double()
    shift = (0.0 if beta is None else beta.double()) - mean.double() * scale
    step.fold(scale.to(step.weight), shift.to(step.weight))
    step.name = value.name
    return value


def _only_part(node: torch.fx.Node, users: dict[str, list[torch.fx.Node]]) -> torch.fx.Node | None:
    """What takes the first of several values, where nothing takes another."""
    taken = users.get(node.name, [])
    return taken[0] if len(taken) == 1 and operation(taken[0]) == "getitem" and taken[0].args[1] == 0 else None


def _along(graph: Graph, step: Step, last: torch.fx.Node, node: torch.fx.Node) -> torch.fx.Node | None:
    if not step.grid or not is_pointwise(graph, node) or operation(node) in (*_NORMS, "getitem"):
        return None
    step.then(node, last)
    return node


def _step(graph: Graph, node: torch.fx.Node, constants: Values, x: torch.Tensor) -> Step:
    """The step for a node, by its operation and what it reads."""
    name = operation(node)
    dims = len(graph.shape(graph.input, 1)) - 2
    plain = Step(graph, node, constants)
    if not isinstance(node.meta.get("val"), torch.Tensor) and name in ("sym_size", "size"):
        return Sized(graph, node, constants)
    if dims not in (2, 3) or not plain.reads:
        return plain
    if is_pointwise(graph, node):
        return Along(graph, node, constants) if plain.grid and name != "getitem" else plain
    if name in MEETING and _meets(graph, node, plain):
        return Meeting(graph, node, constants)
    if len(plain.sources) != 1:
        return plain
    if _is_global_mean(node, name, dims) and plain.reads:
        return Mean(graph, node, constants)
    if not plain.grid:
        return plain
    return _moving(graph, node, name, plain, x)


def _moving(graph: Graph, node: torch.fx.Node, name: str, plain: Step, x: torch.Tensor) -> Step:
    """Steps that read one map at other places than their own."""
    dims = plain.dims
    window = window_of(node, name, dims)
    if window is not None and name.startswith("conv"):
        return Convolution(graph, node, plain.constants, window)
    if window is not None and name.startswith("max_pool"):
        return MaxPool(graph, node, plain.constants, window)
    if window is not None and name.startswith("avg_pool"):
        return AveragePool(graph, node, plain.constants, window, x)
    if name.startswith(("adaptive_avg_pool", "adaptive_max_pool")) and len(plain.grid) == dims:
        sides = [divmod(n, g) for n, g in zip(plain.reads, plain.grid, strict=True)]
        if all(rest == 0 for _, rest in sides) and name.endswith(f"{dims}d") and "avg" in name:
            side = [n for n, _ in sides]
            return AveragePool(graph, node, plain.constants, (side, side, [0] * dims, [1] * dims), x)
    if name == f"conv_transpose{dims}d" and not node.kwargs:
        return Transposed(graph, node, plain.constants)
    if name == f"upsample_nearest{dims}d" and all(g % n == 0 for g, n in zip(plain.grid, plain.reads, strict=True)):
        return Repeated(graph, node, plain.constants) if _repeats(node, plain) else plain
    if name in ("pad", "constant_pad_nd"):
        before = _constant_pad(node, dims)
        return plain if before is None else Padded(graph, node, plain.constants, before)
    if name == "slice" and plain.grid == plain.reads and len(node.args) > 1 and node.args[1] == 1:
        return Channels(graph, node, plain.constants)
    return plain


def _meets(graph: Graph, node: torch.fx.Node, plain: Step) -> bool:
    """Whether maps of one size meet, and nothing else that has places."""
    shapes = [graph.sample_shape(name) or () for name in plain.sources]
    if not plain.grid or any(tuple(shape[1:]) != plain.grid for shape in shapes):
        return False
    if operation(node) == "cat":
        if node.args[1:] not in ((1,), (-plain.dims - 1,)):
            return False
        return len(plain.sources) == len(node.all_input_nodes)
    for argument in node.all_input_nodes:
        if argument.name in graph.dependent:
            continue
        shape = graph.shape(argument.name, 1)
        if any(size != 1 for size in shape[-plain.dims :]):
            return False
    return True


def _is_global_mean(node: torch.fx.Node, name: str, dims: int) -> bool:
    if name == "mean" and len(node.args) > 1 and isinstance(node.args[1], list | tuple):
        wanted = {axis % (2 + dims) for axis in node.args[1]}  # type: ignore[operator]
        return wanted == set(range(2, 2 + dims)) and not node.kwargs
    sizes = node.args[1] if len(node.args) > 1 else None
    return name == f"adaptive_avg_pool{dims}d" and set([sizes] if isinstance(sizes, int) else sizes) == {1}  # type: ignore[arg-type]


def _repeats(node: torch.fx.Node, plain: Step) -> bool:
    """Whether the operation's own factors, where it has some, are those of the sizes."""
    probe = torch.arange(max(plain.reads), dtype=torch.float64)
    for axis, (n, g) in enumerate(zip(plain.reads, plain.grid, strict=True)):
        shape = [1] * plain.dims
        shape[axis] = n
        line = probe[:n].reshape(1, 1, *shape).expand(1, 1, *plain.reads)
        made = call(node, {plain.sources[0]: line})[0, 0].movedim(axis, 0).reshape(g, -1)[:, 0]
        if not torch.equal(made, probe[:n].repeat_interleave(g // n)):
            return False
    return True


def _constant_pad(node: torch.fx.Node, dims: int) -> list[int] | None:
    """How many voxels a constant pad adds before the first, or None for a pad of another kind."""
    given = node.args[1] if len(node.args) > 1 else None
    mode = node.args[2] if operation(node) == "pad" and len(node.args) > 2 else "constant"
    if mode != "constant" or node.kwargs or not isinstance(given, list | tuple) or len(given) > 2 * dims:
        return None
    if not all(isinstance(n, int) and n >= 0 for n in given):
        return None
    return [*given[::2], *[0] * (dims - len(given) // 2)][::-1]  # type: ignore[list-item]


def is_pointwise(graph: Graph, node: torch.fx.Node) -> bool:
    """Whether the operation works place by place, and whatever else it reads has no place in the image."""
    if operation(node) not in POINTWISE:
        return False
    sources = [argument for argument in node.all_input_nodes if argument.name in graph.dependent]
    others = [argument for argument in node.all_input_nodes if argument.name not in graph.dependent]
    return len(sources) == 1 and all(len(graph.shape(other.name, 1)) <= 1 for other in others)

"""DeepLIFT's multipliers: how the difference of two answers is shared out, one operation at a time.

The network runs on the image and on a reference; both runs' values are kept, and a walk back with the table made here
carries multipliers instead of derivatives. A multiplier m of a value a says that the change of a from the reference to
the image brings m times that change to the score. Each rule keeps the sum: what an operation's output brought, its
inputs bring together. So the whole keeps the sum, and the map adds up to the difference of the scores.

- Linear operations: the derivative.
- One argument, number by number (ReLU, sigmoid, a power): change of the output by change of the input, the rescale rule
  (Shrikumar et al. 2017, section 3.5.2); where the input hardly changes, the derivative half-way.
- Products, also of matrices: the derivative half-way, which is the Shapley value of two factors.
- The largest of several (pools): each argument by its share of the straight way from the reference to the image on
  which it is the largest; exact.
- A choice by a condition: the multipliers of least square sum.
- All others with several arguments (softmax, norms over the image, attention, division): the mean derivative over the
  straight way, by a Gauss-Legendre rule that halves its steps until the operation's own sum is kept.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from XAIExplainLib.compute.derivatives import BY_SHAPES, DERIVATIVES, SHAPE_ONLY
from XAIExplainLib.compute.graph import call, operation
from XAIExplainLib.compute.memory import batch_for, forward_bytes, quick_batch
from XAIExplainLib.compute.multipliers_ends import (
    OF_IMAGE,
    REFERENCE,
    arguments,
    between,
    changes_beside,
    derivative_at,
    ends,
)
from XAIExplainLib.compute.multipliers_largest import larger_of_two, largest, max_pool
from XAIExplainLib.compute.multipliers_way import in_double, mean_over_the_way, precision_of, product_of, total
from XAIExplainLib.compute.reverse import Check, Rule, Step, Table, kept_values, walk
from XAIExplainLib.errors import XAIError

if TYPE_CHECKING:
    from XAIExplainLib.question import Question


_ONE_ARGUMENT = (  # linear in each argument; in all, where only one of them depends on the image
    "mul", "matmul", "bmm", "mm", "einsum", "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d",
    "conv_transpose2d", "conv_transpose3d", "convolution", "addmm", "baddbmm", "addbmm", "dot", "mv",
)  # fmt: skip
_BY_THE_GRADIENT = (  # linear, with a row of their own among the derivatives
    "getitem", "conv1d", "conv2d", "conv3d", "linear", "_native_batch_norm_legit_no_training", "batch_norm", "add",
    "sub", "cat", "copy",
)  # fmt: skip
_LINEAR = (  # beside derivatives.SHAPE_ONLY
    "flip", "cumsum", "unfold", "repeat_interleave", "slice_scatter", "select_scatter", "diagonal", "pixel_unshuffle",
    "upsample_linear1d", "upsample_bicubic2d", "im2col", "col2im", "tril", "triu", "narrow", "dropout", "detach_",
    "channel_shuffle", "rot90", "tile", "swapdims", "moveaxis", "hstack", "vstack", "view_as", "reshape_as", "_to_copy",
    "reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d", "replication_pad2d",
    "replication_pad3d", "adaptive_avg_pool1d",
)  # fmt: skip
_COMPLEX = ("view_as_real", "view_as_complex", "real", "imag", "complex", "conj", "resolve_conj")  # linear too


# -- both runs -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """What the walk found for one reference.

    Parameters
    ----------
    rows : slice
        The samples of the case that it is about.
    background : int
        Which reference.
    contributions : torch.Tensor
        Shape (B, C, *spatial): multipliers times the change of each voxel.
    scores, reference_scores : torch.Tensor
        Shape (B,).
    """

    rows: slice
    background: int
    contributions: torch.Tensor
    scores: torch.Tensor
    reference_scores: torch.Tensor


def compare(question: Question, backgrounds: Sequence[torch.Tensor], table: Table) -> Iterator[Comparison]:
    """Compare the case with each background, in batches of samples that fit the memory.

    One pass for the case and one for each background, each followed by a walk back.

    Parameters
    ----------
    question : Question
        Of a network with a graph.
    backgrounds : sequence of torch.Tensor
        Each of the shape of the question's `x`.
    table : Table
        `multipliers` or `reveal_cancel`.

    Raises
    ------
    XAIError
        If the network has no graph, an operation has no derivative, or not even one sample fits the memory.
    """
    graph = question.graph()
    path = graph.between(graph.input, graph.output)
    kept = kept_values(graph, table, path, graph.input) | {graph.output, graph.input}
    # Two runs are kept, and each takes its scratch.
    needed = 2 * forward_bytes(graph, kept, question.x.element_size())
    limit = graph.static_batch or quick_batch(graph, question.x.device, question.x.element_size())
    size = batch_for(needed, question.memory, limit, "The comparison with a background")
    for first in range(0, question.samples, size):
        rows = slice(first, min(first + size, question.samples))
        real = rows.stop - rows.start
        samples = torch.arange(rows.start, rows.stop, device=question.x.device)
        missing = (graph.static_batch or real) - real  # a program of one batch size gets the last sample again
        x, samples = (torch.cat([part, *[part[-1:]] * missing]) for part in (question.x[rows], samples))
        whole = question.x if real == question.samples and not missing else x
        image = question.taken(graph.input, table, whole) or graph.run(x, keep=kept, check=question.check)
        image[OF_IMAGE] = {}
        for number, background in enumerate(backgrounds):
            question.progress(
                (first + real * number / len(backgrounds)) / question.samples,
                f"background {number + 1} of {len(backgrounds)}",
            )
            start = torch.cat([background[rows], *[background[rows][-1:]] * missing])
            run = graph.run(start, keep=kept, check=question.check)
            values = {**image, **{REFERENCE + name: value for name, value in run.items()}}
            seed, scores, others = multipliers_of_score(question, image[graph.output], run[graph.output], samples)
            found = walk(graph, table, values, seed, graph.input, path, question.check)
            del values, run
            yield Comparison(rows, number, (found * (x - start))[:real], scores[:real], others[:real])


def multipliers_of_score(
    question: Question, output: torch.Tensor, reference: torch.Tensor, samples: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The score's multipliers by the outputs, and the scores of both."""

    def score(point: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        return [question.score(point["output"], samples)]

    def derivative(point: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        leaf = point["output"].detach().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(question.score(leaf, samples).sum(), leaf)
        return {"output": gradient}

    before, after = {"output": reference}, {"output": output}
    with torch.no_grad():
        found = mean_over_the_way(
            score, derivative, in_double(before), in_double(after), precision_of(after), question.check
        )  # fmt: skip
        seed = found["output"].to(output.dtype)
        return seed, question.score(output, samples), question.score(reference, samples)


# -- the table -------------------------------------------------------------------------------------------------------


class Asked(threading.local):
    """Raises to cancel, as the run in this thread wants it: a table is shared by all runs.

    Attributes
    ----------
    check : callable or None
        That of the run.
    """

    check: Check = None

    def __call__(self) -> None:
        if self.check is not None:
            self.check()

    @contextlib.contextmanager
    def by(self, check: Check) -> Iterator[None]:
        """For the length of a run."""
        self.check = check
        try:
            yield
        finally:
            self.check = None


@functools.cache
def shared(make: Callable[[Check], Table]) -> tuple[Table, Asked]:
    """One table for all runs, so that the pass that gave the answer has kept what its walk reads; and its check.

    Parameters
    ----------
    make : callable
        `multipliers` or `reveal_cancel`.
    """
    asked = Asked()
    return make(asked), asked


def multipliers(check: Check = None) -> Table:
    """The table of DeepLIFT's multipliers, with the rescale rule.

    Parameters
    ----------
    check : callable or None
        Called inside the long rules; raises to cancel.
    """

    def otherwise(step: Step, cotangent: Any) -> dict[str, torch.Tensor]:
        name, sources = operation(step.node), step.tensors()
        product = name in _ONE_ARGUMENT and _places(step.node, step.path) < 3
        if (product or name.startswith("fft_") or name in _COMPLEX) and not changes_beside(step):
            return _half_way(step, cotangent)
        if len(sources) == 1 and _number_by_number(step):
            return rescale(step, cotangent)
        if name in ("maximum", "minimum") and len(sources) == 2:
            return larger_of_two(step, cotangent, 1.0 if name == "maximum" else -1.0)
        if name == "where":
            return _chosen(step, cotangent)
        return _on_the_way(step, cotangent, check)

    def pooled(step: Step, cotangent: Any) -> dict[str, torch.Tensor]:
        return max_pool(step, cotangent, check)

    linear = {name: DERIVATIVES.rules[name] for name in (*_BY_THE_GRADIENT, *SHAPE_ONLY)}
    one = {  # a row that fits is faster; both need that nothing else changes with the image
        name: linear[name] if name in linear else Rule(BY_SHAPES.apply, fits=_one_argument) for name in _ONE_ARGUMENT
    }
    pools = (f"max_pool{dims}d{ending}" for dims in (1, 2, 3) for ending in ("", "_with_indices"))
    return Table(
        "DeepLIFT",
        {
            **linear,
            **one,
            **dict.fromkeys((*SHAPE_ONLY, *_LINEAR), BY_SHAPES),
            "div": Rule(BY_SHAPES.apply, fits=_numerator),
            "index": Rule(BY_SHAPES.apply, fits=_fixed_beside),
            "relu": Rule(rectify, inputs=True),
            **dict.fromkeys(pools, Rule(pooled, inputs=True)),
            "amax": Rule(largest(1.0), inputs=True),
            "amin": Rule(largest(-1.0), inputs=True),
            "max": Rule(largest(1.0), inputs=True, fits=_along_an_axis),
            "min": Rule(largest(-1.0), inputs=True, fits=_along_an_axis),
        },
        otherwise=Rule(otherwise, inputs=True),
    )


def _places(node: torch.fx.Node, path: set[str]) -> int:
    """In how many places of the arguments something stands that depends on the image."""
    found: list[str] = []
    torch.fx.node.map_arg((node.args, node.kwargs), lambda argument: found.append(argument.name))
    return sum(name in path for name in found)


def _fixed_beside(node: torch.fx.Node, path: set[str]) -> bool:
    """Whether the other arguments are weights or constants, and so the same in both runs."""
    return all(argument.op == "placeholder" for argument in node.all_input_nodes if argument.name not in path)


def _one_argument(node: torch.fx.Node, path: set[str]) -> bool:
    return _places(node, path) == 1 and _fixed_beside(node, path) and not _complex(node)


def _numerator(node: torch.fx.Node, path: set[str]) -> bool:
    first = node.args[0]
    rounded = bool(node.kwargs.get("rounding_mode"))
    return isinstance(first, torch.fx.Node) and first.name in path and not rounded and _one_argument(node, path)


def _complex(node: torch.fx.Node) -> bool:
    return any(
        isinstance(value, torch.Tensor) and value.is_complex()
        for value in (one.meta.get("val") for one in (node, *node.all_input_nodes))
    )


def _along_an_axis(node: torch.fx.Node, path: set[str]) -> bool:
    return getattr(node.target, "_overloadname", "") == "dim"


def _number_by_number(step: Step) -> bool:
    """Whether each number of the output is a function of one number of the one argument."""
    pointwise = torch.Tag.pointwise in getattr(step.node.target, "tags", ()) or operation(step.node) == "prelu"
    (source,) = step.tensors()
    output = step.node.meta.get("val")
    return (
        pointwise and isinstance(output, torch.Tensor) and not output.is_complex()
        and not step.values[source.name].is_complex()
    )  # fmt: skip


# -- rules -----------------------------------------------------------------------------------------------------------


def rescale(step: Step, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
    """Change of the output by change of the input; where the input hardly changes, the derivative half-way."""
    (source,) = step.tensors()
    (before,), (after,) = (end.values() for end in ends(step))
    gained = call(step.node, arguments(step)) - call(step.node, arguments(step, True))
    change = after - before
    # A quotient of two small differences loses half of its digits there, and the derivative is as exact.
    still = change.abs() <= torch.finfo(change.dtype).eps ** 0.5 * torch.maximum(after.abs(), before.abs())
    part = cotangent * gained / torch.where(still, 1.0, change)
    found = torch.where(still, 0.0, part).sum_to_size(after.shape)
    if bool(still.any()):
        rest = torch.where(still, cotangent, 0.0)
        given = derivative_at(step, rest, {source.name: (before + after) / 2})
        found = found + given[source.name] if given else found
    return {source.name: found}


def rectify(step: Step, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
    """`rescale` of a ReLU: what of the straight way lies above zero."""
    (source,) = step.tensors()
    (before,), (after,) = (end.values() for end in ends(step))
    higher, length = torch.maximum(before, after), torch.sub(after, before).abs_()
    # Where nothing changes the quotient is infinite, of the sign that counts; zero by zero counts as below.
    above = higher.div_(length.add_(torch.finfo(length.dtype).tiny)).clamp_(0, 1)
    return {source.name: above.mul_(cotangent)}


def _half_way(step: Step, cotangent: Any) -> dict[str, torch.Tensor]:
    """For products of two, and for what is linear: the derivative in the middle is the mean over the way."""
    return derivative_at(step, cotangent, between(*ends(step), 0.5))


def _on_the_way(step: Step, cotangent: Any, check: Check) -> dict[str, torch.Tensor]:
    """The mean derivative over the straight way, for any differentiable operation."""
    given = in_double(cotangent if isinstance(cotangent, dict) else {None: cotangent})
    wide = in_double(arguments(step))
    before, after = ends(step)

    def terms(point: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        output = call(step.node, {**wide, **point})
        return [product_of(seed, output if index is None else output[index]) for index, seed in given.items()]

    def derivative(point: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        found = derivative_at(step, given if isinstance(cotangent, dict) else given[None], {**wide, **point})
        if not found and total(terms(in_double(before))) != total(terms(in_double(after))):
            raise XAIError(
                f"torch has no derivative for the operation {operation(step.node)} (node {step.node.name}).",
                "Use a method that needs only scores, such as occlusion.",
            )
        return found

    found = mean_over_the_way(terms, derivative, in_double(before), in_double(after), precision_of(after), check)
    return {name: value.to(after[name].dtype) for name, value in found.items()}


def _chosen(step: Step, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
    """``where`` whose condition may differ between the runs: the multipliers of least square sum that keep the sum.

    Where the condition is the same, this is the derivative. Where both choices are multiples of one value, as in an
    activation written by hand, it is that activation's rescale rule.
    """
    condition, first, second = step.node.args
    assert isinstance(condition, torch.fx.Node)
    before, after = arguments(step, True), arguments(step)
    gained = call(step.node, after) - call(step.node, before)
    now, then = after[condition.name], before[condition.name]
    choices = [one for one in (first, second) if isinstance(one, torch.fx.Node) and one.name in step.path]
    changes = {one.name: (after[one.name] - before[one.name]).expand_as(gained) for one in choices}
    squares = torch.stack([change**2 for change in changes.values()]).sum(0)
    tiny = torch.finfo(squares.dtype).tiny
    share = torch.where(squares > tiny, gained / squares.clamp_min(tiny), 0.0)
    found: dict[str, torch.Tensor] = {}
    for one in choices:
        mine = torch.zeros_like(gained)
        if one is first:
            mine = mine + now
        if one is second:
            mine = mine + ~now
        multiplier = torch.where(now == then, mine, share * changes[one.name])
        found[one.name] = (cotangent * multiplier).sum_to_size(after[one.name].shape)
    return found

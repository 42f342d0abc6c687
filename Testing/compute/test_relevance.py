"""Each rule against its matrix, written out; conservation on every network; and tables that are wrong are found out."""

import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from Testing.compute.graphs import graph_of, network_of
from Testing.networks_zoo import BY_NAME, parametrised, settle
from XAIExplainLib.compute.derivatives import SHAPE_ONLY
from XAIExplainLib.compute.graph import export
from XAIExplainLib.compute.relevance import TINY, Composite, Ledger, RelevanceTable, Settings, divided
from XAIExplainLib.compute.relevance_composites import COMPOSITES, MAKERS
from XAIExplainLib.compute.relevance_linear import MIXING, RULES
from XAIExplainLib.compute.relevance_moves import JOINING, MOVING, never_negative
from XAIExplainLib.compute.reverse import Rule, kept_values, planned, walk
from XAIExplainLib.errors import XAIError

PROOF = torch.float64


def relevance_of(graph, x, settings, column=1, makers=MAKERS, start=None):
    """The relevance of the input, that which it began with, and the ledger."""
    table = RelevanceTable(settings, makers)
    ledger = table.new_ledger()
    path = graph.between(graph.input, graph.output)
    values = planned(graph, table, graph.input).forth(graph, x)
    output = values[graph.output]
    if start is None:
        start = torch.zeros_like(output)
        start[:, column] = output[:, column]
    return walk(graph, table, values, start, graph.input, path), start, ledger


# -- the rules of a layer, against their matrix -------------------------------------------------------------------

LAYERS = {
    "linear": (lambda: nn.Linear(7, 5), (7,)),
    "linear without bias": (lambda: nn.Linear(7, 5, bias=False), (7,)),
    "conv1d": (lambda: nn.Conv1d(2, 3, 3, padding=2), (2, 6)),
    "conv2d, groups, stride": (lambda: nn.Conv2d(4, 6, 3, 2, groups=2, padding=1), (4, 5, 4)),
    "conv3d, dilation": (lambda: nn.Conv3d(2, 3, (1, 2, 2), dilation=(1, 2, 1), padding=(0, 1, 1)), (2, 2, 3, 3)),
    "conv3d, even same": (lambda: nn.Conv3d(1, 2, (2, 3, 2), padding="same"), (1, 3, 3, 3)),
    "conv2d, valid": (lambda: nn.Conv2d(1, 2, 2, padding="valid"), (1, 3, 3)),
    "transposed": (lambda: nn.ConvTranspose3d(4, 4, 3, 2, padding=1, output_padding=1, groups=2), (4, 2, 2, 2)),
    "conv and norm": (lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)), (2, 3, 4)),
    "transposed and norm": (
        lambda: nn.Sequential(nn.ConvTranspose2d(4, 6, 2, 2, groups=2), nn.BatchNorm2d(6)), (4, 2, 3)
    ),
}  # fmt: skip


@functools.cache
def layer(name):
    """The graph of one layer, its matrix (outputs, inputs) and bias by unit vectors, and the shape of its input."""
    make, shape = LAYERS[name]
    torch.manual_seed(3)
    module = settle(make()).to(PROOF)
    units = torch.eye(int(np.prod(shape)), dtype=PROOF).reshape(-1, *shape)
    bias = module(torch.zeros(1, *shape, dtype=PROOF)).flatten()
    matrix = (module(units).flatten(1) - bias).T
    return export(module, units[:1]), matrix.numpy(), bias.numpy(), shape


def by_matrix(rule, w, b, x, relevance, absorb, gamma=0.25, alpha=2.0, low=None, high=None):
    """The rule written out: shares (outputs, inputs) of each output's relevance, and what the bias takes."""
    z = w * x  # contributions
    ones = np.abs(w) > 0
    kept = b if absorb else 0 * b

    def spread(parts, bias):
        total = parts.sum(1) + bias
        total = np.where(total == 0, np.inf, total)  # nothing contributed, and nothing gets any
        return parts / total[:, None], bias / total

    if rule == "epsilon":
        total = z.sum(1) + b
        shares, of_bias = z / total[:, None], b / total
        if not absorb:
            shares = shares + of_bias[:, None] * np.abs(z) / np.abs(z).sum(1, keepdims=True)
            of_bias = 0 * b
    elif rule == "plus":
        shares, of_bias = spread(z.clip(0), kept.clip(0))
    elif rule == "alpha_beta":
        up, down = spread(z.clip(0), kept.clip(0)), spread(z.clip(None, 0), kept.clip(None, 0))
        some = [(parts != 0).any(1) | (bias != 0) for parts, bias in (up, down)]
        first, second = np.where(some[1], alpha, 1.0), np.where(some[0], 1.0 - alpha, 1.0)  # one sign alone takes all
        shares = first[:, None] * up[0] + second[:, None] * down[0]
        of_bias = first * up[1] + second * down[1]
    elif rule == "gamma":
        positive = z.sum(1) + b >= 0
        agree = np.where(positive[:, None], z.clip(0), z.clip(None, 0))
        favoured = b + gamma * np.where(positive, b.clip(0), b.clip(None, 0))
        shares, of_bias = spread(z + gamma * agree, favoured)
        if not absorb:
            shares = shares + of_bias[:, None] * spread(agree, 0 * b)[0]
            of_bias = 0 * b
    elif rule == "flat":
        shares, of_bias = spread(ones * 1.0, 0 * b)
    elif rule == "square":
        shares, of_bias = spread(w**2, kept**2)
    else:
        shares, of_bias = spread(w * x - w.clip(0) * low - w.clip(None, 0) * high, 0 * b)
    return (shares * relevance[:, None]).sum(0), (of_bias * relevance).sum()


@pytest.mark.parametrize("absorb", [False, True])
@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize("name", list(LAYERS))
@pytest.mark.parametrize("positive", [True, False])
def test_a_rule_is_its_matrix(name, rule, absorb, positive):
    graph, matrix, bias, shape = layer(name)
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(1, *shape, generator=generator, dtype=PROOF)
    x = x.abs() if positive else x
    start = torch.randn(graph.shape(graph.output, 1), generator=generator, dtype=PROOF)
    composite = Composite(rule, rule, rule)
    low, high = float(x.min()) - 0.1, float(x.max()) + 0.3
    settings = Settings(composite, 0.0, 0.25, low, high, absorb)
    found, _, ledger = relevance_of(graph, x, settings, start=start)
    wanted, of_bias = by_matrix(
        rule, matrix, bias, x.flatten().numpy(), start.flatten().numpy(), absorb, low=low, high=high
    )
    np.testing.assert_allclose(found.flatten().numpy(), wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())
    assert ledger.shares["bias"] == pytest.approx(of_bias, rel=1e-5, abs=1e-6 * np.abs(wanted).sum())


def test_the_box_is_the_images_own():
    graph, matrix, bias, shape = layer("conv2d, valid")
    x = torch.rand(1, *shape, dtype=PROOF) - 0.3
    settings = Settings(COMPOSITES["epsilon_plus_box"])
    start = torch.rand(graph.shape(graph.output, 1), dtype=PROOF)
    found = relevance_of(graph, x, settings, start=start)[0]
    wanted, _ = by_matrix("box", matrix, bias, x.flatten().numpy(), start.flatten().numpy(), False,
                          low=float(x.min()), high=float(x.max()))  # fmt: skip
    np.testing.assert_allclose(found.flatten().numpy(), wanted, rtol=1e-5)


def test_alpha_beta_where_one_sign_alone_contributes():
    module = nn.Linear(2, 2, bias=False).to(PROOF).requires_grad_(False)
    module.weight.copy_(torch.tensor([[1.0, 3.0], [-1.0, -1.0]]))
    graph = export(module, torch.ones(1, 2, dtype=PROOF))
    composite = Composite("alpha_beta", "alpha_beta", "alpha_beta")
    found, _, ledger = relevance_of(
        graph, torch.ones(1, 2, dtype=PROOF), Settings(composite), start=torch.tensor([[4.0, 2.0]], dtype=PROOF)
    )
    torch.testing.assert_close(found, torch.tensor([[1.0 + 1.0, 3.0 + 1.0]], dtype=PROOF))
    assert abs(ledger.total) < 1e-6


def test_what_nothing_contributed_to_is_booked():
    module = nn.Linear(3, 2).to(PROOF).requires_grad_(False)
    graph = export(module, torch.zeros(1, 3, dtype=PROOF))
    composite = Composite("plus", "plus", "plus")
    start = torch.tensor([[2.0, 3.0]], dtype=PROOF)
    found, _, ledger = relevance_of(graph, torch.zeros(1, 3, dtype=PROOF), Settings(composite), start=start)
    assert not found.any()
    assert ledger.shares["empty"] == pytest.approx(5)


def test_epsilon_takes_its_share():
    module = nn.Linear(3, 1, bias=False).to(PROOF).requires_grad_(False)
    x = torch.tensor([[1.0, 2.0, -1.0]], dtype=PROOF)
    graph = export(module, x)
    found, start, ledger = relevance_of(graph, x, Settings(COMPOSITES["epsilon"], epsilon=0.25), column=0)
    torch.testing.assert_close(found, x * module.weight / 1.25)
    assert ledger.shares["stabiliser"] == pytest.approx(float(start) * 0.25 / 1.25)


# -- joins, norms, attention --------------------------------------------------------------------------------------


class Two(nn.Module):
    """Halves of the input, joined by a function."""

    def __init__(self, join):
        super().__init__()
        self.join = join

    def forward(self, x):
        one, two = x.chunk(2, 1)
        return self.join(one, two)


def joined(join, x, composite="epsilon_plus", **settings):
    graph = export(Two(join), x)
    start = torch.randn(graph.shape(graph.output, 1), dtype=x.dtype, generator=torch.Generator().manual_seed(2))
    found, _, ledger = relevance_of(graph, x, Settings(COMPOSITES[composite], **settings), start=start)
    return found.chunk(2, 1), start, ledger


def test_a_sum_of_branches():
    x = torch.randn(1, 4, 3, dtype=PROOF)
    one, two = x.chunk(2, 1)
    found, start, _ = joined(lambda a, b: a - 0.5 * b, x)
    torch.testing.assert_close(found[0], start * one.abs() / (one.abs() + 0.5 * two.abs()))
    torch.testing.assert_close(found[1], start * 0.5 * two.abs() / (one.abs() + 0.5 * two.abs()))
    found, start, _ = joined(lambda a, b: torch.sub(a, b, alpha=0.5), x, "zero", absorb=True)
    torch.testing.assert_close(found[0], start * one / (one - 0.5 * two))
    torch.testing.assert_close(found[1], start * -0.5 * two / (one - 0.5 * two))


def test_an_added_constant():
    x = torch.randn(1, 2, 3, dtype=PROOF)
    found, start, ledger = joined(lambda a, b: torch.cat([a + 0.7, b], 1), x, absorb=True)
    one = start[:, :1] * x[:, :1].abs() / (x[:, :1].abs() + 0.7)
    torch.testing.assert_close(found[0], one)
    torch.testing.assert_close(found[1], start[:, 1:])
    assert ledger.shares["bias"] == pytest.approx(float(start[:, :1].sum() - one.sum()))
    found, start, ledger = joined(lambda a, b: torch.cat([a + 0.7, b], 1), x)
    torch.testing.assert_close(torch.cat(found, 1), start)
    assert ledger.total == 0


def test_a_gate_shares_equally():
    x = torch.randn(1, 4, 3, dtype=PROOF)
    found, start, _ = joined(lambda a, b: a * b.sigmoid(), x)
    torch.testing.assert_close(found[0], start / 2)
    torch.testing.assert_close(found[1], start / 2)


def test_an_activation_that_is_not_zero_at_zero():
    x = torch.randn(1, 4, 3, dtype=PROOF)
    found, start, ledger = joined(lambda a, b: torch.cat([a.sigmoid(), F.softplus(b)], 1), x, "epsilon", absorb=True)
    one, two = x.chunk(2, 1)
    shares = 0.5 / one.sigmoid(), F.softplus(torch.zeros(())) / F.softplus(two)
    for got, given, share in zip(found, start.chunk(2, 1), shares, strict=True):
        torch.testing.assert_close(got, given * (1 - share))
    assert ledger.shares["bias"] == pytest.approx(float((start * torch.cat(shares, 1)).sum()), rel=1e-6)
    found, start, _ = joined(lambda a, b: torch.cat([a.sigmoid(), b], 1), x)
    torch.testing.assert_close(torch.cat(found, 1), start)


@pytest.mark.parametrize("written", [
    torch.matmul, lambda a, b: torch.einsum("bij,bjk->bik", a, b), torch.bmm
])  # fmt: skip
def test_a_product_of_matrices_shares_by_its_terms(written):
    x = torch.randn(1, 6, 3, dtype=PROOF)
    one, two = x.chunk(2, 1)
    found, start, ledger = joined(written, x, epsilon=0.0)
    terms = one[0, :, :, None] * two[0, None]  # i, j, k
    shares = terms / terms.sum(1, keepdim=True) * start[0, :, None] / 2
    torch.testing.assert_close(found[0][0], shares.sum(2), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[1][0], shares.sum(0), rtol=1e-5, atol=1e-6)


def test_a_square_of_a_matrix_is_the_same_factor_twice():
    x = torch.randn(1, 6, 3, dtype=PROOF)
    found, start, ledger = joined(lambda a, b: (a @ a) + b, x, "epsilon")
    assert float(sum(part.sum() for part in found)) + ledger.total == pytest.approx(float(start.sum()), rel=1e-9)


def test_softmax_is_expanded_at_its_input():
    x = torch.randn(1, 4, 3, dtype=PROOF)
    found, start, ledger = joined(lambda a, b: torch.cat([a, b], 1).softmax(-1), x)
    for row, given, got in zip(x[0], start[0], torch.cat(found, 1)[0], strict=True):
        share = row.softmax(0)
        slopes = torch.autograd.functional.jacobian(lambda y: y.softmax(0), row)
        torch.testing.assert_close(got, row * (slopes.T @ (given / share)))
    rest = float(start.sum() - torch.cat(found, 1).sum())
    assert ledger.shares["softmax"] == pytest.approx(rest, rel=1e-9)


@pytest.mark.parametrize("causal", [False, True])
def test_torchs_attention_is_its_three_operations(causal):
    x = torch.randn(1, 6, 4, dtype=PROOF)
    mask = torch.zeros(3, 3, dtype=PROOF)
    mask[~torch.ones(3, 3, dtype=torch.bool).tril()] = -torch.inf

    def by_hand(a, b):
        scores = a @ b.transpose(-1, -2) / 2
        return (scores.masked_fill(mask < 0, -torch.inf) if causal else scores).softmax(-1) @ b

    found, start, ledger = joined(lambda a, b: F.scaled_dot_product_attention(a, b, b, is_causal=causal), x)
    wanted, again, other = joined(by_hand, x)
    assert torch.equal(start, again)
    torch.testing.assert_close(found, wanted)
    assert ledger.total == pytest.approx(other.total)


@pytest.mark.parametrize(("norm", "shape"), [
    (lambda: nn.LayerNorm((4, 3)), (1, 2, 4, 3)), (lambda: nn.GroupNorm(2, 4), (1, 4, 3)),
    (lambda: nn.InstanceNorm2d(2, affine=True), (1, 2, 3, 4)), (lambda: nn.InstanceNorm3d(2), (1, 2, 2, 3, 2)),
])  # fmt: skip
def test_a_norm_with_its_deviation_held(norm, shape):
    module, x = settle(norm()).to(PROOF), torch.randn(shape, dtype=PROOF)
    graph = export(module, x)
    start = torch.randn(shape, dtype=PROOF)
    found, _, ledger = relevance_of(graph, x, Settings(COMPOSITES["zero"], absorb=True), start=start)
    y = module(x)
    shift = y - _linear_part(module, x)
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad((_linear_part(module, leaf, x) * (start / y)).sum(), leaf)
    torch.testing.assert_close(found, x * slope, rtol=1e-5, atol=1e-6)
    assert ledger.shares["bias"] == pytest.approx(float((start * shift / y).sum()), rel=1e-6, abs=1e-9)
    passed = relevance_of(graph, x, Settings(COMPOSITES["epsilon_plus"]), start=start)[0]
    torch.testing.assert_close(passed, start)


def _linear_part(module, x, at=None):
    """The norm of `x` without shift, with the deviation of `at`."""
    at = x if at is None else at

    def arranged(y):
        if isinstance(module, nn.GroupNorm):
            return y.reshape(y.shape[0], module.num_groups, -1)
        return y.flatten(1)[:, None] if isinstance(module, nn.LayerNorm) and y.dim() == 3 else y.flatten(2)

    deviation = (arranged(at).var(-1, correction=0, keepdim=True) + module.eps).sqrt()
    y = ((arranged(x) - arranged(x).mean(-1, keepdim=True)) / deviation).reshape(x.shape)
    if module.weight is None:
        return y
    dims = x.dim() - 2
    return y * (module.weight if isinstance(module, nn.LayerNorm) else module.weight.reshape(-1, *[1] * dims))


# -- moving and mixing --------------------------------------------------------------------------------------------


def test_every_operation_that_needs_only_shapes_is_sorted():
    pointwise = {"neg"}
    assert set(SHAPE_ONLY) <= set(MOVING) | set(MIXING) | set(JOINING) | pointwise
    assert not set(MOVING) & set(MIXING)


MOVES = {
    "slices": lambda x: x.permute(1, 0, 2).reshape(3, 8)[1:, 1:].roll(1, 1).flip(1),
    "repeat": lambda x: x.repeat(1, 2, 1), "expand": lambda x: x[:, :, None].expand(2, 3, 5, 4),
    "unfold": lambda x: x.unfold(1, 2, 1), "index": lambda x: x[:, [0, 2, 2]],
    "repeat_interleave": lambda x: x.repeat_interleave(2, 1),
    "upsample_nearest": lambda x: F.interpolate(x[None], scale_factor=2)[0],
    "reflect": lambda x: F.pad(x, (1, 1), mode="reflect"),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x.view(4, 3, 2), 2),
    "split": lambda x: torch.cat(x.split([1, 2], 1)[::-1], 1), "stack": lambda x: torch.stack([x, x], 1),
    "zero pad": lambda x: F.pad(x, (1, 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", list(MOVES))
def test_a_move_copies(name):
    """Each output is one input or none: only then relevance may be moved as a cotangent is."""
    x = torch.randn(2, 3, 4)
    matrix = torch.autograd.functional.jacobian(MOVES[name], x).reshape(-1, 24)
    assert set(matrix.unique().tolist()) <= {0.0, 1.0}
    assert float(matrix.sum(1).max()) == 1

    class Network(nn.Module):
        def forward(self, y):
            return MOVES[name](y[0])[None]

    graph = export(Network(), x[None])
    start = torch.randn(graph.shape(graph.output, 1))
    found, _, ledger = relevance_of(graph, x[None], Settings(COMPOSITES["epsilon_plus"]), start=start)
    torch.testing.assert_close(found.flatten(), matrix.T @ start.flatten())
    assert float(found.sum()) + ledger.total == pytest.approx(float(start.sum()), abs=1e-4)


@pytest.mark.parametrize("mix", [
    lambda x: x.mean((2, 3)), lambda x: x.sum(1), lambda x: F.avg_pool2d(x, 3, 2, ceil_mode=True),
    lambda x: F.adaptive_avg_pool2d(x, (2, 3)), lambda x: x.cumsum(2),
    lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
])  # fmt: skip
def test_a_mix_shares_in_proportion(mix):
    class Network(nn.Module):
        def forward(self, x):
            return mix(x)

    x = torch.randn(1, 2, 5, 4, dtype=PROOF)
    matrix = torch.autograd.functional.jacobian(mix, x).reshape(-1, x.numel())
    graph = export(Network(), x)
    start = torch.randn(graph.shape(graph.output, 1), dtype=PROOF)
    for composite in ("epsilon_plus", "zero"):
        found = relevance_of(graph, x, Settings(COMPOSITES[composite]), start=start)[0]
        terms = matrix * (x.flatten() if composite == "zero" else x.abs().flatten())
        wanted = (terms / terms.sum(1, keepdim=True) * start.reshape(-1, 1)).sum(0)
        torch.testing.assert_close(found.flatten(), wanted, rtol=1e-5, atol=1e-6)


# -- whole networks -----------------------------------------------------------------------------------------------

REFUSED = {"spectral": "fft_rfftn", "shuffling": "linalg_vector_norm"}
CHOSEN = [("epsilon_plus", False), ("epsilon_gamma_box", True), ("epsilon_alpha2_beta1_flat", False), ("epsilon", True)]


def missing(start, found, ledger):
    """What neither arrived nor was absorbed, over the start relevance."""
    whole = float(start.double().sum())
    return abs(whole - float(found.double().sum()) - ledger.total) / float(start.double().sum(1).abs().sum())


@parametrised()
def test_relevance_is_conserved(example):
    graph, x = graph_of(example.name), example.image()
    if example.name in REFUSED:
        with pytest.raises(XAIError, match=REFUSED[example.name]):
            relevance_of(graph, x, Settings(COMPOSITES["epsilon_plus"]))
        return
    for name, absorb in CHOSEN:
        found, start, ledger = relevance_of(graph, x, Settings(COMPOSITES[name], absorb=absorb))
        assert torch.isfinite(found).all()
        assert missing(start, found, ledger) < 1e-4, (name, absorb)
        if name == "epsilon_plus":  # the default does not grow
            assert float(found.abs().sum()) < 50 * float(start.abs().sum())


def _doubled(maker):
    def make(table, node, path):
        rule = maker(table, node, path)
        return rule and Rule(
            lambda step, given: {name: 2 * part for name, part in rule.apply(step, given).items()}, rule.inputs
        )

    return make


def _one_branch(maker):
    def make(table, node, path):
        rule = maker(table, node, path)
        return rule and Rule(lambda step, given: dict(list(rule.apply(step, given).items())[:1]), rule.inputs)

    return make


@pytest.mark.parametrize(("name", "operation", "change"), [
    ("functional", "add", _doubled), ("functional", "add", _one_branch), ("densenet", "cat", _one_branch),
    ("unet", "add", _doubled), ("attending", "softmax", _doubled), ("plain", "mean", _doubled),
])  # fmt: skip
def test_a_wrong_table_is_found_out(name, operation, change):
    makers = {**MAKERS, operation: change(MAKERS[operation])}
    found, start, ledger = relevance_of(
        graph_of(name), BY_NAME[name].image(), Settings(COMPOSITES["epsilon_plus"]), makers=makers
    )
    assert missing(start, found, ledger) > 1e-2


@pytest.mark.parametrize("name", ["plain", "functional", "plain 2D"])
def test_zero_is_gradient_times_input(name):
    graph, x = graph_of(name, PROOF), BY_NAME[name].image(2).to(PROOF)
    leaf = x.clone().requires_grad_()
    answer = network_of(name, PROOF)(leaf)[:, 1]
    (gradient,) = torch.autograd.grad(answer.sum(), leaf)
    found, start, ledger = relevance_of(graph, x, Settings(COMPOSITES["zero"], absorb=True))
    torch.testing.assert_close(found, gradient * x, rtol=1e-4, atol=1e-6 * float((gradient * x).abs().max()))
    rest = float(answer.detach().sum() - (gradient * x).sum())
    assert ledger.shares["bias"] == pytest.approx(rest, rel=1e-6)


def test_samples_do_not_meet():
    graph, x = graph_of("plain 2D"), BY_NAME["plain 2D"].image(3)
    settings = Settings(COMPOSITES["epsilon_plus"], epsilon=0.1)
    together = relevance_of(graph, x, settings)[0]
    for number in range(3):
        alone = relevance_of(graph, x[number : number + 1], settings)[0]
        torch.testing.assert_close(together[number : number + 1], alone, rtol=1e-4, atol=1e-6)


def test_the_ledger_is_of_one_walk():
    table = RelevanceTable(Settings(COMPOSITES["epsilon_plus"]), MAKERS)
    table.new_ledger().add("bias", torch.ones(3))
    assert table.ledger.total == 3
    assert table.new_ledger() == Ledger()


# -- what makes it fast -------------------------------------------------------------------------------------------


@parametrised()
def test_what_the_graph_calls_not_negative_is_not(example):
    graph, x = graph_of(example.name), example.image()
    claimed = [node.name for node in graph if never_negative(node) and node.name in graph.dependent]
    values = graph.run(x, keep=claimed)
    floats = [value for value in values.values() if isinstance(value, torch.Tensor) and value.is_floating_point()]
    assert all(float(value.min()) >= 0 for value in floats)
    if example.name in ("plain", "densenet", "resnet10"):
        convolved = [node.args[0] for node in graph if graph.operations[node.name] == "conv3d"]
        assert [node.name in claimed for node in convolved] == [False] + [True] * (len(convolved) - 1)


def test_what_may_be_negative_is_not_called_so():
    class Network(nn.Module):
        def forward(self, x):
            y = x.relu()
            return y - 1, y + x, torch.cat([y, x], 1), -y, y * x, torch.add(y, y, alpha=-2), y + -1.0, F.silu(y), y + 1

    program = torch.export.export(Network(), (torch.ones(1, 2, 3),))
    answers = next(node for node in program.graph.nodes if node.op == "output").args[0]
    assert [never_negative(node) for node in answers] == [False] * 8 + [True]


def test_a_denominator_may_be_overwritten_with_the_same_result():
    generator = torch.Generator().manual_seed(1)
    z = torch.rand(3, 4, 5, generator=generator, dtype=PROOF) * (torch.rand(3, 4, 5, generator=generator) > 0.3)
    relevance = torch.randn(3, 4, 5, generator=generator, dtype=PROOF)
    for epsilon in (TINY, 0.1):
        one, two = Ledger(), Ledger()
        wanted = divided(relevance, z, epsilon, one)
        torch.testing.assert_close(divided(relevance, z.clone(), epsilon, two, positive=True), wanted)
        assert one.total != 0
        assert two.shares == pytest.approx(one.shares)


def test_rules_are_kept_for_one_graph_and_path_alone():
    table = RelevanceTable(Settings(COMPOSITES["epsilon_plus_flat"]), MAKERS)
    graph, other = graph_of("plain"), graph_of("functional")
    path = graph.between(graph.input, graph.output)
    made = {node.name: table.rule(node, path) for node in graph if node.name in path}
    assert all(table.rule(node, set(path)) is made[node.name] for node in graph if node.name in path)
    last = next(node.name for node in reversed(graph.nodes) if graph.operations[node.name] == "conv3d")
    shorter = graph.between(last, graph.output)
    inside = [node for node in graph if node.name in shorter and node.name != last]
    assert any(table.rule(node, shorter) is not made[node.name] for node in inside)
    kept_values(other, table, other.between(other.input, other.output), other.input)
    assert any(table.rule(node, path) is not made[node.name] for node in graph if node.name in path)

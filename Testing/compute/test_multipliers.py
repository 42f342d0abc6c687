"""DeepLIFT's multipliers: every operation keeps its sum, and the rules are what the paper says."""

import itertools
import math

import pytest
import torch
from torch import nn

from Testing.compute.graphs import graph_of, network_of
from Testing.networks_zoo import BY_NAME, image, parametrised
from XAIExplainLib.compute.graph import export
from XAIExplainLib.compute.multipliers import multipliers
from XAIExplainLib.compute.multipliers_ends import REFERENCE
from XAIExplainLib.compute.multipliers_largest import leading
from XAIExplainLib.compute.multipliers_reveal import reveal_cancel
from XAIExplainLib.compute.multipliers_way import mean_over_the_way
from XAIExplainLib.compute.reverse import kept_values, walk
from XAIExplainLib.errors import XAIError


def walked(graph, x, reference, seed, table=None):
    """Multipliers of the input, and the outputs of both runs."""
    table = table or multipliers()
    path = graph.between(graph.input, graph.output)
    kept = kept_values(graph, table, path, graph.input) | {graph.output}
    after, before = graph.run(x, keep=kept), graph.run(reference, keep=kept)
    values = {**after, **{REFERENCE + name: value for name, value in before.items()}}
    found = walk(graph, table, values, seed, graph.input, path)
    return found, after[graph.output], before[graph.output]


def error(graph, x, reference, table=None):
    """Of the sum of multipliers times changes, relative to the change of a random weighing of the outputs.

    A change by less than a millionth of the answer (as of a random EfficientNet, whose signal dies) counts as that.
    """
    shape = graph.shape(graph.output, len(x))
    seed = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).to(x.dtype)
    found, after, before = walked(graph, x, reference, seed, table)
    wanted = float((seed * (after - before)).double().sum())
    least = 1e-6 * float((seed * after).abs().double().sum())
    return abs(float((found * (x - reference)).double().sum()) - wanted) / max(abs(wanted), least)


def another(x):
    return 0.7 * x.roll(3, 2).flip(3)


@parametrised()
def test_the_sum_is_kept_in_double_precision(example):
    graph = graph_of(example.name, torch.float64)
    x = example.image(1 if graph.static_batch or example.full else 2).double()
    assert error(graph, x, another(x)) < 1e-9


@pytest.mark.parametrize("name", ["plain", "plain odd, three channels", "functional", "odd", "densenet", "plain 2D"])
@pytest.mark.parametrize("reference", [torch.zeros_like, another])
def test_the_sum_is_kept_in_single_precision_through_max_pools(name, reference):
    graph, x = graph_of(name), BY_NAME[name].image()
    assert error(graph, x, reference(x)) < 1e-5


@pytest.mark.parametrize("name", ["unet", "vit", "attending"])
def test_the_sum_is_kept_where_the_reference_is_flat(name):
    """An instance norm of a flat image divides by next to nothing: the way has a sharp bend at its beginning.

    Single precision alone is this far off there: another order of sums in the convolutions moved it from 4e-4 to 7e-4.
    """
    graph, x = graph_of(name), BY_NAME[name].image()
    assert error(graph, x, torch.zeros_like(x)) < 1e-3


class Do(nn.Module):
    """A function as a network."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def one_operation(function, x, reference):
    """Multipliers for the sum of a function's numbers."""

    def total(x):
        value = function(x)
        return value.sum(tuple(range(1, value.dim())))[:, None]

    graph = export(Do(total).eval(), x)
    return walked(graph, x, reference, torch.ones(len(x), 1, dtype=x.dtype))


OPERATIONS = {
    "mask by hand": lambda x: x * (x > 0.3).to(x.dtype),
    "where by hand": lambda x: torch.where(x > 0, x, 0.1 * x),
    "where of one": lambda x: torch.where(x > 0.2, x, torch.zeros_like(x)),
    "masked fill": lambda x: x.masked_fill(x < -0.5, -2.0),
    "square": lambda x: x * x,
    "power": lambda x: x.abs() ** 1.5,
    "division": lambda x: x / (1 + x.flip(2).abs()),
    "constant over x": lambda x: 2 / (3 + x.abs()),
    "softmax": lambda x: x.flatten(2).softmax(2) ** 2,
    "logsumexp": lambda x: x.flatten(1).logsumexp(1, keepdim=True),
    "layer norm": lambda x: x * nn.functional.layer_norm(x, x.shape[2:]),
    "product of matrices": lambda x: x @ x.transpose(-1, -2),
    "maximum": lambda x: torch.maximum(x, x.flip(3)),
    "minimum with a number": lambda x: torch.minimum(x, torch.full_like(x, 0.1)),
    "amax": lambda x: x.amax((2, 4)),
    "amin": lambda x: x.amin((1, 3), keepdim=True),
    "max along": lambda x: x.max(3).values,
    "min along": lambda x: x.min(2, keepdim=True)[0],
    "top k": lambda x: x.flatten(2).topk(3).values,
    "pool with gaps": lambda x: nn.functional.max_pool3d(x, (2, 2, 3), (1, 2, 1), (1, 0, 1), (1, 2, 1), ceil_mode=True),
    "pool of planes": lambda x: nn.functional.max_pool2d(x[:, :, 0], 3, 1, 1),
    "pool of lines": lambda x: nn.functional.max_pool1d(x.flatten(2), 3, 2),
    "adaptive max pool": lambda x: nn.functional.adaptive_max_pool3d(x, 2),
    "spectrum": lambda x: torch.fft.rfftn(x, dim=(2, 3)).abs(),
    "clamp": lambda x: x.clamp(-0.4, 0.7),
    "norm": lambda x: x.flatten(1).norm(dim=1, keepdim=True),
    "standard deviation": lambda x: x.flatten(2).std(2),
    "attention": lambda x: nn.functional.scaled_dot_product_attention(x, 2 * x, x.flip(2)),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_keeps_its_sum(name):
    x = image(2, 3, 4, 5).double()
    x = torch.cat([x, x.flip(2) - 0.1])
    found, after, before = one_operation(OPERATIONS[name], x, another(x))
    wanted = (after - before)[:, 0]
    each = (found * (x - another(x))).flatten(1).sum(1)
    assert float(wanted.abs().min()) > 1e-3
    assert torch.allclose(each, wanted, rtol=1e-9, atol=1e-11)


def test_the_rescale_rule_is_change_by_change():
    x, reference = image(1, 3, 4, 5).double(), image(1, 3, 4, 5, seed=9).double()
    reference[..., 0] = x[..., 0]
    found, _, _ = one_operation(torch.nn.functional.silu, x, reference)
    wanted = (nn.functional.silu(x) - nn.functional.silu(reference)) / (x - reference)
    assert torch.allclose(found[..., 1:], wanted[..., 1:], rtol=1e-8)
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(nn.functional.silu(leaf).sum(), leaf)
    assert torch.allclose(found[..., 0], slope[..., 0], rtol=1e-8)


def test_an_activation_written_by_hand_is_the_same():
    x = image(2, 3, 4, 5).double()
    mine, _, _ = one_operation(OPERATIONS["where by hand"], x, another(x))
    wanted, _, _ = one_operation(lambda x: nn.functional.leaky_relu(x, 0.1), x, another(x))
    assert torch.allclose(mine, wanted, rtol=1e-9)


def test_a_product_is_shared_as_shapley_does():
    x, reference = image(2, 3, 4, 5).double(), image(2, 3, 4, 5, seed=9).double()
    found, _, _ = one_operation(lambda x: x[:, 0] * x[:, 1], x, reference)
    other, change = (x + reference).flip(1) / 2, x - reference
    assert torch.allclose(found * change, other * change)


def test_the_leaders_of_a_way_are_found():
    """Against many points of the way."""
    generator = torch.Generator().manual_seed(0)
    before, after = (torch.randn(50, 7, generator=generator, dtype=torch.float64) for _ in range(2))
    before[:5, :3] = -math.inf
    after[:5, :3] = -math.inf
    before[7, 2] = before[7, 4] = 5.0
    change = (after - before).nan_to_num(0)
    shares = leading(before, change)
    points = (torch.arange(4000, dtype=torch.float64) + 0.5)[:, None, None] / 4000
    wanted = torch.zeros_like(shares)
    wanted.scatter_add_(1, (before + points * change).argmax(2).T, torch.full((50, 4000), 1 / 4000).double())
    assert torch.allclose(shares, wanted, atol=2e-3)
    assert torch.allclose(shares.sum(1), torch.ones(50, dtype=torch.float64))
    gained = (before + change).max(1).values - before.max(1).values
    assert torch.allclose((shares * change).sum(1), gained, atol=1e-12)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1)])
@pytest.mark.parametrize("flat", [False, True])
def test_a_pool_with_ties_shares_as_its_windows_do(kernel, stride, padding, flat):
    generator = torch.Generator().manual_seed(4)
    x, reference = (torch.randint(-2, 3, (2, 3, 7, 6, 8), generator=generator).double() for _ in range(2))
    reference = torch.zeros_like(x) if flat else reference
    # Weights by window, so that a share in the wrong place shows.
    weigh = torch.randn(3, 7, 6, 8, generator=generator, dtype=torch.float64)

    def windows(value, blank):
        filled = nn.functional.pad(value, [padding] * 6, value=blank)
        for axis in (2, 3, 4):
            filled = filled.unfold(axis, kernel, stride)
        return filled

    def pool(value):
        found = nn.functional.max_pool3d(value, kernel, stride, padding)
        return found * weigh[(slice(None), *map(slice, found.shape[2:]))]

    one, two = windows(reference, -math.inf), windows(x, -math.inf)
    change = torch.where(one == -math.inf, 0.0, two - one)
    shares = leading(one.reshape(-1, kernel**3), change.reshape(-1, kernel**3)).reshape(one.shape)
    shares = shares * weigh[(slice(None), *map(slice, one.shape[2:5]), *[None] * 3)]
    places = windows(torch.arange(x[0, 0].numel()).double().reshape(1, 1, *x.shape[2:]), 0.0).long().expand(one.shape)
    wanted = torch.zeros(2, 3, x[0, 0].numel(), dtype=torch.float64)
    wanted.scatter_add_(2, places.reshape(2, 3, -1), shares.reshape(2, 3, -1))
    found, _, _ = one_operation(pool, x, reference)
    torch.testing.assert_close(found, wanted.reshape(x.shape))


def test_a_rectifier_is_rescaled_whatever_the_ends_are():
    ends = torch.tensor([-2.0, -1e-30, -0.0, 0.0, 1e-30, 0.5, 0.5 + 1e-16, 3.0], dtype=torch.float64)
    reference, x = (part.reshape(1, 1, 8, 8, 1) for part in torch.meshgrid(ends, ends, indexing="ij"))
    wanted = torch.where(x == reference, (x > 0).double(), (x.relu() - reference.relu()) / (x - reference))
    torch.testing.assert_close(one_operation(torch.relu, x, reference)[0], wanted)


def test_a_sharp_bend_is_found_by_halving():
    """tanh(1000 t - 10): four points alone see nothing of it."""
    before, after = {"a": torch.zeros(1).double()}, {"a": torch.ones(1).double()}

    def terms(point):
        return [torch.tanh(1000 * point["a"] - 10)]

    def derivative(point):
        return {"a": 1000 / torch.cosh((1000 * point["a"] - 10).clamp(-300, 300)) ** 2}

    found = mean_over_the_way(terms, derivative, before, after, 1e-12)["a"]
    assert float(found) == pytest.approx(2 - (1 - math.tanh(10)), rel=1e-10)


def test_an_operation_without_derivative_is_an_error_with_its_name():
    x = image(1, 4, 4, 4)
    graph = export(Do(lambda x: torch.special.zeta(x.flatten(1) ** 2 + 2, x.flatten(1).flip(1) ** 2 + 1)).eval(), x)
    with pytest.raises(XAIError, match="no derivative for the operation special_zeta"):
        walked(graph, x, another(x), torch.ones(1, 64))


# -- RevealCancel ----------------------------------------------------------------------------------------------------


class Smaller(nn.Module):
    """min(a, b) = a - relu(a - b), the example of section 3.5.3; a and b are two voxels."""

    def __init__(self):
        super().__init__()
        self.difference = nn.Linear(2, 1, bias=False)
        self.difference.weight.data = torch.tensor([[1.0, -1.0]])

    def forward(self, x):
        x = x.flatten(1)
        return x[:, :1] - self.difference(x).relu()


def test_reveal_cancel_shares_the_minimum_evenly():
    """As the paper has it: half of the smaller one each, where the rescale rule gives all to one."""
    x = torch.tensor([[3.0, 2.0], [2.0, 5.0], [4.0, 4.0]])[:, None, :, None, None]
    graph = export(Smaller().eval(), x)
    seed = torch.ones(3, 1)
    found = (walked(graph, x, torch.zeros_like(x), seed, reveal_cancel())[0] * x).flatten(1)
    assert torch.allclose(found, torch.tensor([[1.0, 1.0], [1.0, 1.0], [2.0, 2.0]]))
    plain = (walked(graph, x, torch.zeros_like(x), seed)[0] * x).flatten(1)
    assert torch.allclose(plain[:2], torch.tensor([[0.0, 2.0], [2.0, 0.0]]))


def test_reveal_cancel_by_its_definition():
    """Two linear layers with a ReLU and a norm between them, against the sums of section 3.5, written out."""
    torch.manual_seed(0)
    first, norm, second = nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 1)
    norm.weight.data = torch.tensor([1.0, -2.0, 0.5, -0.3, 1.5])
    norm.running_mean.copy_(torch.randn(5))
    norm.running_var.copy_(torch.rand(5) + 0.5)
    network = nn.Sequential(nn.Flatten(), first, norm, nn.ReLU(), second).double().eval().requires_grad_(False)
    x, reference = torch.randn(2, 1, 1, 1, 6).double().unbind()
    x, reference = x[None], reference[None]
    graph = export(network, x)
    found = walked(graph, x, reference, torch.ones(1, 1).double(), reveal_cancel())[0].flatten()
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    weight, change = first.weight * scale[:, None], (x - reference).flatten()
    start = norm(first(reference.flatten(1)))[0]
    terms = weight * change
    rise, fall = terms.clamp_min(0).sum(1), terms.clamp_max(0).sum(1)

    def f(value):
        return value.clamp_min(0)

    up = 0.5 * (f(start + rise) - f(start)) + 0.5 * (f(start + fall + rise) - f(start + fall))
    down = 0.5 * (f(start + fall) - f(start)) + 0.5 * (f(start + rise + fall) - f(start + rise))
    each = torch.where(terms > 0, (up / rise)[:, None], (down / fall)[:, None])
    wanted = (second.weight[0][:, None] * weight * each).sum(0)
    assert torch.allclose(found, wanted, rtol=1e-10)
    assert not torch.allclose(found, walked(graph, x, reference, torch.ones(1, 1).double())[0].flatten(), rtol=1e-3)


@pytest.mark.parametrize("name", ["plain", "plain 2D", "resnet10"])
def test_reveal_cancel_keeps_the_sum(name):
    """Through convolutions, norms, residual additions and max pools."""
    graph, x = graph_of(name, torch.float64), BY_NAME[name].image().double()
    assert error(graph, x, another(x), reveal_cancel()) < 1e-9


@pytest.mark.parametrize("name", ["functional", "densenet"])
def test_reveal_cancel_refuses_a_rectifier_of_no_weighted_sum(name):
    graph, x = graph_of(name), BY_NAME[name].image()
    with pytest.raises(XAIError, match="RevealCancel is not defined here"):
        error(graph, x, another(x), reveal_cancel())


def test_shapley_values_by_enumeration():
    """A sum of rectified voxels, products of two and a linear part: DeepLIFT is the Shapley value there."""
    torch.manual_seed(1)
    x, reference = torch.randn(2, 1, 1, 1, 2, 4).double().unbind()
    weight = torch.randn(8).double()

    def function(x):
        flat = x.flatten(1)
        return (flat @ weight + (flat[:, :3] + 0.2).relu().sum(1) + flat[:, 3] * flat[:, 4] * 3)[:, None]

    graph = export(Do(function).eval(), x)
    found = (walked(graph, x, reference, torch.ones(1, 1).double())[0] * (x - reference)).flatten()
    wanted = torch.zeros(8).double()
    for size in range(8):
        factor = math.factorial(size) * math.factorial(7 - size) / math.factorial(8)
        for player in range(8):
            others = [one for one in range(8) if one != player]
            for members in itertools.combinations(others, size):
                without = reference.flatten().clone()
                without[list(members)] = x.flatten()[list(members)]
                joined = without.clone()
                joined[player] = x.flatten()[player]
                wanted[player] += factor * float(function(joined[None]) - function(without[None]))
    assert torch.allclose(found, wanted, rtol=1e-9)


def test_captum_does_not_keep_the_sum_through_max_pools():
    """On three max pools captum's multipliers miss the difference; these do not."""
    from captum.attr import DeepLift

    class Module(nn.Module):  # captum needs each module used once
        def __init__(self):
            super().__init__()
            self.inner = network_of("plain")

        def forward(self, x):
            return self.inner.head(self.inner.features(x).flatten(2).mean(2))

    network, x = Module(), BY_NAME["plain"].image()
    reference = another(x)
    peers = float(DeepLift(network).attribute(x, reference, target=1).detach().double().sum())
    wanted = float((network(x) - network(reference))[0, 1])
    ours = walked(graph_of("plain"), x, reference, torch.eye(3)[1:2])[0]
    mine = float((ours * (x - reference)).double().sum())
    assert abs(peers - wanted) > 1e-3 * abs(wanted)
    assert abs(mine - wanted) < 1e-5 * abs(wanted)

"""Which operations are rectifiers, gates or neither; the exchanged walk against autograd with replaced functions."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from Testing.compute.graphs import graph_of, network_of
from Testing.networks_zoo import BY_NAME, image
from XAIExplainLib.compute.graph import export
from XAIExplainLib.compute.rectifiers import DECONVOLUTION, GUIDED, SELU_SCALE, gates, rectifiers
from XAIExplainLib.compute.reverse import planned, walk
from XAIExplainLib.errors import XAIError
from XAIExplainLib.program import select_output


class Rule(torch.autograd.Function):
    """A rectifier with another way back; written without the product's code."""

    @staticmethod
    def forward(ctx, x, function, guided, slope):
        ctx.save_for_backward(x.clone())
        ctx.guided, ctx.slope = guided, slope
        return function(x.clone())

    @staticmethod
    def backward(ctx, back):
        (x,) = ctx.saved_tensors
        kept = back.clip(min=0) * ctx.slope
        return (kept.where(x > 0, torch.zeros(())) if ctx.guided else kept), None, None, None


class Replaced(TorchFunctionMode):
    """While it is on, every rectifier that is called, in whatever way, has the other way back."""

    NAMES = ("relu", "relu_", "leaky_relu", "leaky_relu_", "prelu", "elu", "elu_", "selu", "celu", "relu6")

    def __init__(self, guided):
        super().__init__()
        self.guided, self.calls = guided, 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if name not in self.NAMES or not isinstance(args[0], torch.Tensor):
            return function(*args, **(kwargs or {}))
        self.calls += 1
        clean = getattr(F, name.rstrip("_"))
        rest = {key: value for key, value in (kwargs or {}).items() if key != "inplace"}
        # Names of functional forms; a slope, an alpha or a weight may come by place.
        given = [one for one in args[1:] if not isinstance(one, bool)]
        slope = SELU_SCALE if name == "selu" else 1.0
        return Rule.apply(args[0], lambda x: clean(x, *given, **rest), self.guided, slope)


def walked(graph, table, x, seed):
    path = graph.between(graph.input, graph.output)
    values = planned(graph, table, graph.input).forth(graph, x)
    return walk(graph, table, values, seed, graph.input, path)


def compared(network, graph, x, guided, output=None):
    """The walk and autograd under `Replaced`."""
    leaf = x.clone().requires_grad_()
    with Replaced(guided) as mode:
        answer = select_output(network(leaf), output, "")
    seed = torch.randn(answer.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(3))
    (wanted,) = torch.autograd.grad(answer, leaf, seed)
    found = walked(graph, GUIDED if guided else DECONVOLUTION, x, seed)
    assert float(wanted.abs().max()) > 0
    assert float((found - wanted).abs().max()) <= 1e-10 * float(wanted.abs().max())
    return mode.calls


def some(names, *quick):
    """Run a test on all names, those that are not quick with --full."""
    marked = [pytest.param(one, id=one, marks=[] if one in quick else [pytest.mark.full]) for one in names]
    return pytest.mark.parametrize("name", marked)


NETWORKS = ("plain", "plain 2D", "functional", "resnet10", "densenet", "unet", "resnet18 2D", "attention unet",
            "segresnet", "basic unet", "se resnet 50", "dynunet", "vnet")  # fmt: skip


@pytest.mark.parametrize("guided", [True, False])
@some(NETWORKS, "functional", "resnet10")
def test_the_walk_is_autograd_with_replaced_rectifiers(name, guided):
    example = BY_NAME[name]
    network, graph = network_of(name, torch.float64), graph_of(name, torch.float64)
    calls = compared(network, graph, example.image().double(), guided, example.output)
    assert len(rectifiers(graph, "It")) == calls


class Form(nn.Module):
    """A convolution, an activation, and another convolution."""

    def __init__(self, act):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = nn.Conv3d(1, 4, 3), nn.Conv3d(4, 2, 3)
        self.act = act

    def forward(self, x):
        return self.two(self.act(self.one(x))).mean((2, 3, 4))


@functools.cache
def made(act):
    network = Form(act).double().eval().requires_grad_(False)
    x = image(1, 7, 6, 5).double()
    return network, export(network, x), x


KINDS = {
    "module": nn.ReLU(), "in place": nn.ReLU(inplace=True), "leaky": nn.LeakyReLU(0.3), "prelu": nn.PReLU(4, 0.2),
    "elu": nn.ELU(0.7), "selu": nn.SELU(), "celu": nn.CELU(0.5), "relu_": lambda x: x.relu_(), "function": torch.relu,
    "leaky_": lambda x: F.leaky_relu_(x, 0.1),
}  # fmt: skip


@pytest.mark.parametrize("guided", [True, False])
@some(KINDS, "in place", "leaky", "prelu", "elu", "selu")
def test_every_kind_of_rectifier(name, guided):
    network, graph, x = made(KINDS[name])
    assert compared(network, graph, x, guided) == 1
    assert len(rectifiers(graph, "It")) == 1


RELUS = {
    "clamp": lambda x: x.clamp(min=0), "clamp_min": lambda x: torch.clamp_min(x, 0.0),
    "clamp_min_": lambda x: (x + 0).clamp_min_(0), "clamp tensor": lambda x: x.clamp(min=torch.tensor(0.0)),
    "threshold": lambda x: F.threshold(x, 0.0, 0.0), "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "maximum constant": lambda x: torch.maximum(torch.tensor(0.0), x), "max": lambda x: torch.max(x, torch.zeros(1)),
    "where": lambda x: torch.where(x > 0, x, 0.0), "where zeros": lambda x: torch.where(x >= 0, x, torch.zeros_like(x)),
    "hardtanh": lambda x: F.hardtanh(x, 0.0, 1e9), "rrelu": lambda x: F.rrelu(x, 0.0, 0.0), "fmax": lambda x:
    torch.fmax(x, torch.full_like(x, 0)),
}  # fmt: skip


@pytest.mark.parametrize("table", [GUIDED, DECONVOLUTION], ids=lambda table: table.name)
@some(RELUS, "clamp_min", "threshold", "maximum", "where", "hardtanh")
def test_every_way_to_write_relu_is_relu(name, table):
    plain, relu, x = made(torch.relu)
    network, graph, _ = made(RELUS[name])
    assert torch.equal(network(x), plain(x))
    seed = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    wanted = walked(relu, table, x, seed)
    assert torch.allclose(walked(graph, table, x, seed), wanted, rtol=1e-12, atol=0)
    assert len(rectifiers(graph, "It")) == 1


@pytest.mark.parametrize("act", [nn.ReLU6(), nn.Hardtanh(0.0, 0.4)])
def test_a_cap_stops_guided_and_not_deconvolution(act):
    network, graph, x = made(act)
    seed = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    leaf = network.one(x).detach().requires_grad_()
    (back,) = torch.autograd.grad(network.two(leaf).mean((2, 3, 4)), leaf, seed)
    top = 6.0 if isinstance(act, nn.ReLU6) else 0.4
    leaf = x.clone().requires_grad_()
    for table, mask in ((GUIDED, (network.one(x) > 0) & (network.one(x) < top)), (DECONVOLUTION, 1.0)):
        (wanted,) = torch.autograd.grad(network.one(leaf), leaf, back.clamp_min(0) * mask)
        assert torch.allclose(walked(graph, table, x, seed), wanted, rtol=1e-10, atol=1e-15)


OTHERS = {
    "gelu": nn.GELU(), "silu": nn.SiLU(), "tanh": nn.Tanh(), "sigmoid": nn.Sigmoid(), "softplus": nn.Softplus(),
    "mish": nn.Mish(), "hardswish": nn.Hardswish(), "hardtanh": nn.Hardtanh(), "softmax": nn.Softmax(1),
    "abs": torch.abs, "clamp": lambda x: x.clamp(-1, 1), "threshold": lambda x: F.threshold(x, 0.1, 0.5),
    "sigmoid ": lambda x: x * torch.sigmoid(1.702 * x), "sigmoid  ": lambda x: torch.sigmoid(x).mul(x),
    "tanh ": lambda x: 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.045 * x**3))), "erf": lambda x: x * (1 + torch.erf(x)),
    "comparison gt": lambda x: x * (x > 0), "comparison lt": lambda x: x.masked_fill(x < 0, 0),
    "comparison gt ": lambda x: torch.where(x > 0.5, x, 0.0), "exp": lambda x: torch.log(1 + torch.exp(x)),
    "log_sigmoid": nn.LogSigmoid(), "hardsigmoid": nn.Hardsigmoid(),
}  # fmt: skip


@some(OTHERS, "gelu", "tanh", "softmax", "sigmoid ", "tanh ", "comparison gt")
def test_other_activations_are_refused_by_name(name):
    _, graph, _ = made(OTHERS[name])
    with pytest.raises(XAIError, match=rf"It is defined for rectifiers .*{name.strip()}"):
        rectifiers(graph, "It")


def test_gates_weigh_another_signal():
    """The softmax of the attention is one (torch's own attention shows none), and the sigmoid over tokens."""
    graph = graph_of("attending")
    assert [graph.operations[node] for node in gates(graph)] == ["softmax", "sigmoid"]


class Gated(nn.Module):
    """Squeeze and excitation, a spatial gate that is enlarged, gated attention pooling, probabilities at the end."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.gate, self.two = nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 1, 1), nn.Conv3d(4, 4, 3)
        self.squeeze, self.v, self.u, self.w = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 1)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        y = F.relu(self.one(x))
        y = y * torch.sigmoid(self.squeeze(y.mean((2, 3, 4))))[..., None, None, None]
        weight = F.interpolate(torch.sigmoid(self.gate(F.avg_pool3d(y, 2))), scale_factor=2)
        y = y * (1 + weight)
        h = F.relu(self.two(y)).flatten(2).transpose(1, 2)
        a = self.w(torch.tanh(self.v(h)) * torch.sigmoid(self.u(h))).softmax(1)
        return self.head((a.transpose(1, 2) @ h)[:, 0]).softmax(1)


@pytest.mark.parametrize("guided", [True, False])
def test_gates_and_probabilities_keep_their_derivative(guided):
    network, x = Gated().double().eval().requires_grad_(False), image(1, 8, 6, 6).double()
    graph = export(network, x)
    assert compared(network, graph, x, guided) == 2
    assert sorted(graph.operations[name] for name in gates(graph)) == ["sigmoid"] * 3 + ["softmax", "tanh"]
    assert len(rectifiers(graph, "It")) == 2


@pytest.mark.parametrize(("name", "reason"), [
    ("vit", "gelu .layer blocks.0.mlp"), ("upward", "softplus"), ("attending", "no rectifier"),
])  # fmt: skip
def test_networks_that_are_refused(name, reason):
    with pytest.raises(XAIError, match=reason) as caught:
        rectifiers(graph_of(name), "It")
    assert "gradient" in caught.value.hint


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("odd", "gelu|silu"),
        ("shuffling", "comparison gt"),
        ("spectral", "tanh"),
        ("efficientnet", "silu"),
        ("swin unetr", "gelu"),
        ("unetr", "gelu"),
    ],
)
def test_larger_networks_that_are_refused(name, reason):
    with pytest.raises(XAIError, match=reason):
        rectifiers(graph_of(name), "It")

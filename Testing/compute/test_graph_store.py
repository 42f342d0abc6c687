"""A kept graph is the exported graph to the bit; what is stale, damaged or hostile is exported anew."""

import copy
import json
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from Testing.compute.graphs import graph_of as exported
from Testing.compute.graphs import network_of
from Testing.networks_zoo import image, parametrised, settle
from XAIExplainLib import Model
from XAIExplainLib.compute import graph_store, graphs
from XAIExplainLib.compute.derivatives import DERIVATIVES
from XAIExplainLib.compute.graph import export, layers_around
from XAIExplainLib.compute.graph_json import NotStored, decode, encode
from XAIExplainLib.compute.graph_key import Key
from XAIExplainLib.compute.reverse import planned, walk
from XAIExplainLib.program import select_output

FACTOR = 1.0  # what no key can see


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of the kept graphs, empty."""
    monkeypatch.setenv("XAI_CACHE", str(tmp_path))
    return tmp_path / "graphs"


@pytest.fixture
def exports(monkeypatch):
    """How often a network was exported."""
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return export(*arguments)

    monkeypatch.setattr(graphs, "export", counted)
    return calls


class Small(nn.Module):
    """A network with a setting, a tensor that is no buffer, and a constant that its code writes."""

    def __init__(self, slope=0.1, gain=2.0):
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3, padding=1)
        self.slope, self.gain = slope, torch.tensor([gain])
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        y = nn.functional.leaky_relu(self.conv(x), self.slope) * self.gain
        return self.head(y.mean((2, 3, 4))) * FACTOR + torch.tensor([0.5, 0.25])


class Attending(nn.Module):
    """Another code."""

    forward = Small.forward


def small(seed=0, **settings):
    torch.manual_seed(seed)
    return settle(Small(**settings))


X = image(1, 6, 6, 6)


def gradient(graph, x):
    plan = planned(graph, DERIVATIVES, graph.input)
    values = plan.forth(graph, x, None)
    seed = torch.randn(values[graph.output].shape, generator=torch.Generator().manual_seed(3))
    return walk(graph, DERIVATIVES, values, seed, graph.input, graph.between(graph.input, graph.output))


def words(argument):
    return str(torch.fx.node.map_arg(argument, lambda node: node.name))


@parametrised()
def test_through_json_and_back_it_is_the_same_graph(example):
    network, graph = network_of(example.name, torch.float32), exported(example.name, torch.float32)
    again = decode(json.loads(json.dumps(encode(graph, network), allow_nan=False)), network)
    for one, other in zip(graph.nodes, again.nodes, strict=True):
        assert (one.name, one.target, words(one.args), words(one.kwargs)) == (
            other.name, other.target, words(other.args), words(other.kwargs)
        )  # fmt: skip
        assert layers_around(one) == layers_around(other)
        assert {user.name for user in one.users} == {user.name for user in other.users}
    for name in graph.constants:
        one, other = graph.constants[name], again.constants[name]
        assert torch.equal(one, other)
        assert one.data_ptr() == other.data_ptr() or graph.homes[name] not in network.state_dict()
    for attribute in ("input", "output", "kinds", "sizes", "operations", "dependent"):
        assert getattr(graph, attribute) == getattr(again, attribute)
    assert graph.static_batch == again.static_batch
    assert graph.layers() == again.layers()
    for samples in (1, 2, 5):
        assert all(graph.shape(name, samples) == again.shape(name, samples) for name in graph.sizes)
    x = example.image(1 if graph.static_batch or example.full else 2)
    assert torch.equal(graph.forward(x), again.forward(x))
    assert torch.equal(gradient(graph, x), gradient(again, x))


def test_the_graph_of_a_tile_is_kept_too(folder, exports):
    x = image(1, 20, 12, 16)
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = settle(nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 2, 1)), seed)
        graph = graphs.graph_of(Model(network, task="segmentation", sliding=8), x)
        assert graph.shape(graph.input, 1) == (1, 1, 8, 8, 8)
        torch.testing.assert_close(graph.forward(x[..., 4:12, 2:10, 4:12]), network(x[..., 4:12, 2:10, 4:12]))
    assert len(exports) == 1


@parametrised("plain", "attending", "vit", "densenet")
def test_the_next_process_exports_nothing(example, folder, exports):
    """And its weights are its own."""
    for seed in (0, 1):
        model = Model(example.network(seed), output=example.output)
        graph = graphs.graph_of(model, example.image())
        wanted = select_output(model.network(example.image()), example.output, "")
        torch.testing.assert_close(graph.forward(example.image()), wanted, atol=1e-5, rtol=1e-5)
    assert len(exports) == 1
    assert len(list(folder.iterdir())) == 1


def test_a_stale_graph_is_noticed(folder, exports, monkeypatch):
    graphs.graph_of(Model(small()), X)
    (file,) = folder.iterdir()
    before = file.read_bytes()
    graphs.graph_of(Model(small()), X)
    assert len(exports) == 1
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", 3.0)
    graph = graphs.graph_of(Model(small()), X)
    assert len(exports) == 2
    torch.testing.assert_close(graph.forward(X), small()(X))
    assert file.read_bytes() != before
    graphs.graph_of(Model(small()), X)
    assert len(exports) == 2


def test_a_stale_graph_is_noticed_in_the_middle_of_a_case_that_is_empty_outside():
    case = torch.zeros(5, 1, 8, 8)
    case[2, 0, 3:5, 3:5] = 1
    assert float(graphs.part_of(case, torch.zeros(1, 1, 4, 6)).sum()) == 4
    assert graphs.part_of(case, torch.zeros(1, 1, 12, 6)).shape == (1, 1, 12, 6)
    assert torch.equal(graphs.part_of(case[2:3], case[2:3]), case[2:3])


def test_a_tensor_beside_the_buffers_is_looked_at(folder, exports):
    """A graph that holds its numbers is for networks with the same numbers only."""
    for gain in (2.0, 2.0 + 1e-6, 5.0):
        graph = graphs.graph_of(Model(small(gain=gain)), X)
        torch.testing.assert_close(graph.forward(X), small(gain=gain)(X))
    assert len(exports) == 3


def test_two_outputs_and_sizes_have_graphs_of_their_own(folder, exports):
    for network, x in ((small(), X), (small(slope=0.2), X), (small(), image(1, 6, 6, 7))):
        graphs.graph_of(Model(network), x)
    assert len(exports) == len(list(folder.iterdir())) == 3


def changed(what):
    network = small()
    if what == "hook":
        network.conv.register_forward_hook(lambda module, given, made: 2 * made)
    elif what == "code":
        network.__class__ = Attending
    elif what == "stride":
        network.conv.stride = (2, 2, 2)
    elif what == "type":
        network.conv.double()
    elif what == "shared":
        network.head.bias = nn.Parameter(network.head.bias.detach(), requires_grad=True)
    elif what == "own forward":
        network.forward = lambda x: x.mean((2, 3, 4))
    elif what == "training":
        network.train()
    return network


@pytest.mark.parametrize("what", ["hook", "code", "stride", "type", "shared", "own forward", "training"])
def test_the_key_sees(what):
    assert Key(changed(what), X, None).name != Key(small(), X, None).name


def test_the_key_does_not_see_weights():
    assert Key(small(3), X, None).name == Key(small(), X, None).name != ""
    assert Key(small(), X.double(), None).name != Key(small(), X, None).name != Key(small(), X, 1).name


def test_code_that_has_no_file_has_no_key(folder, exports):
    made = {}
    exec("import torch\nclass Here(torch.nn.Module):\n    def forward(self, x): return x.mean((2, 3, 4))", made)
    for _ in range(2):
        graphs.graph_of(Model(made["Here"]().eval()), X)
    assert len(exports) == 2
    assert not folder.exists()


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_damaged_file_is_written_anew(folder, exports):
    graphs.graph_of(Model(small()), X)
    (file,) = folder.iterdir()
    good, network = file.read_bytes(), small()
    key = Key(network, X, None)
    assert graph_store.load(key, network) is not None
    wrong = good.replace(b"conv3d", b"conv2d", 1)
    for bad in (b"", good[:-9], wrong, b"\xff\xfe", b"[" * 9999, b"{}\n{}", b"[]\n[]", good.split(b"\n")[0]):
        file.write_bytes(bad)
        assert graph_store.load(key, network) is None
        assert not file.exists()
    graphs.graph_of(Model(network), X)
    assert len(exports) == 2
    assert file.read_bytes() == good


@pytest.mark.parametrize("value", ["", "off", " OFF "])
def test_it_can_be_switched_off(value, tmp_path, monkeypatch, exports):
    monkeypatch.setenv("XAI_CACHE", value)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        graphs.graph_of(Model(small()), X)
    assert len(exports) == 2
    assert graph_store.folder() is None
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, monkeypatch, exports):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XAI_CACHE", str(tmp_path / "file"))
    for _ in range(2):
        graphs.graph_of(Model(small()), X)
    assert len(exports) == 2


@pytest.mark.parametrize(
    ("platform", "variable", "wanted"),
    [("linux", "XDG_CACHE_HOME", "{}/XAIExplain/graphs"), ("win32", "LOCALAPPDATA", "{}/XAIExplain/graphs"),
     ("linux", "", "~/.cache/XAIExplain/graphs"), ("darwin", "", "~/Library/Caches/XAIExplain/graphs"),
     ("win32", "", "~/AppData/Local/XAIExplain/graphs")],
)  # fmt: skip
def test_the_folder_is_the_platforms(platform, variable, wanted, tmp_path, monkeypatch):
    for name in ("XAI_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    if variable:
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr(graph_store.sys, "platform", platform)
    assert str(graph_store.folder()) == wanted.format(tmp_path).replace("~", "/home/someone")


def test_the_oldest_go_when_there_are_too_many(folder, exports, monkeypatch):
    monkeypatch.setattr(graph_store, "FILES", 3)
    for number in range(4):
        graphs.graph_of(Model(small(slope=number / 10)), X)
        for age, file in enumerate(sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime_ns)):
            os.utime(file, (1000 + age, 1000 + age))
    assert len(list(folder.iterdir())) == 3
    graphs.graph_of(Model(small(slope=0.1)), X)
    assert len(exports) == 4
    graphs.graph_of(Model(small(slope=0.0)), X)
    assert len(exports) == 5
    monkeypatch.setattr(graph_store, "BYTES", 1)
    graphs.graph_of(Model(small(slope=0.9)), X)
    assert len(list(folder.iterdir())) == 1


# -- hostile files -----------------------------------------------------------------------------------------------------


def first(data, target):
    return next(node for node in data["nodes"] if node.get("target", "").startswith(target))


def _other(name, args=None):
    def change(data):
        node = first(data, "aten.leaky_relu")
        node["target"], node["args"] = name, node["args"] if args is None else args

    return change


def _set(target, key, value):
    def change(data):
        first(data, target)[key] = value

    return change


def _whole(key, value):
    def change(data):
        data[key] = value

    return change


def _forward_reference(data):
    first(data, "aten.leaky_relu")["args"][0] = {"node": len(data["nodes"]) - 1}


def _constant(key, value):
    def change(data):
        node = next(node for node in data["nodes"] if isinstance(node.get("constant"), str) is key)
        node["constant"] = value

    return change


def _twice(data):
    data["nodes"][-1]["name"] = data["nodes"][-2]["name"]


HOSTILE = {
    "an operation that overwrites": _other("aten.set_.source_Tensor", [{"node": 0}, {"node": 0}]),
    "another that overwrites": _other("aten.relu_.default", [{"node": 0}]),
    "a file": _other("aten.from_file.default", ["etc", True, 8]),
    "the system": _other("os.system"),
    "a word of Python": _other("aten.__class__.mro"),
    "a word of Python's": _other("__import__", ["os"]),
    "nobody's operation": _other("aten.nothing.default"),
    "another name space": _other("prims.add.default"),
    "a number for an operation": _other(7),
    "too many arguments": _set("aten.leaky_relu", "args", [{"node": 0}, 0.1, 1, 2, 3]),
    "no arguments": _set("aten.leaky_relu", "args", []),
    "an unknown argument": _set("aten.leaky_relu", "kwargs", {"cmd": 1}),
    "an argument twice": _set("aten.leaky_relu", "kwargs", {"negative_slope": 0.1}),
    "an unknown node": _set("aten.leaky_relu", "args", [{"node": 999}, 0.1]),
    "a negative node": _set("aten.leaky_relu", "args", [{"node": -1}, 0.1]),
    "itself": _forward_reference,
    "a huge number": _set("aten.leaky_relu", "args", [{"node": 0}, 10**30]),
    "a word for a number": _set("aten.leaky_relu", "args", [{"float": "__import__('os')"}, 0.1]),
    "two words": _set("aten.leaky_relu", "args", [{"node": 0, "device": "cpu"}, 0.1]),
    "no device": _set("aten.leaky_relu", "args", [{"node": 0}, {"device": "../x"}]),
    "no kind": _set("aten.leaky_relu", "args", [{"node": 0}, {"dtype": "load"}]),
    "a long word": _set("aten.leaky_relu", "args", [{"node": 0}, "x" * 99]),
    "a path": _set("aten.leaky_relu", "args", [{"node": 0}, "/etc/passwd"]),
    "a huge value": _set("aten.leaky_relu", "value", {"dtype": "float32", "sizes": [[0, 1], 1 << 30, 1 << 30]}),
    "a negative size": _set("aten.leaky_relu", "value", {"dtype": "float32", "sizes": [[0, 1], -3]}),
    "a value of nothing": _set("aten.leaky_relu", "value", {"dtype": "nothing", "sizes": []}),
    "no end": _whole("ends", [999]),
    "no stack": _set("aten.leaky_relu", "stack", 99),
    "a wrong stack": _whole("stacks", [[[1, 2, 3]]] * 9),
    "no nodes": _whole("nodes", []),
    "nodes of another kind": _whole("nodes", "aten"),
    "another format": _whole("format", 99),
    "no image": _whole("input", "nothing"),
    "no answer": _whole("output", "nothing"),
    "a weight that is not there": _constant(True, "head.nothing"),
    "a weight of another shape": _constant(True, "head.bias"),
    "bytes that are too few": _constant(False, {"bytes": "AAAA"}),
    "bytes that are none": _constant(False, {"bytes": "!"}),
    "a name twice": _twice,
    "the image's name twice": _set("aten.leaky_relu", "name", "x"),
    "a name that is none": _set("aten.leaky_relu", "name", "import os"),
}


@pytest.fixture(scope="module")
def honest():
    network = small()
    return network, json.loads(json.dumps(encode(export(network, X), network)))


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_refused(what, honest):
    network, data = honest
    decode(data, network)
    data = copy.deepcopy(data)
    HOSTILE[what](data)
    with pytest.raises(NotStored):
        decode(data, network)


def test_a_file_whose_operations_fail_is_exported_anew(folder, exports):
    """What only shows when it runs: arguments of a wrong kind, under a digest that is right."""
    graphs.graph_of(Model(small()), X)
    (file,) = folder.iterdir()
    good = file.read_text()
    header, body = good.split("\n")
    data = json.loads(body)
    first(data, "aten.leaky_relu")["args"][1] = "tanh"
    body = json.dumps(data)
    file.write_text(json.dumps({**json.loads(header), "digest": graph_store._digest(body)}) + "\n" + body)
    graph = graphs.graph_of(Model(small()), X)
    assert len(exports) == 2
    torch.testing.assert_close(graph.forward(X), small()(X))
    assert file.read_text() == good


def test_a_large_constant_is_not_kept(folder, exports):
    network = small()
    network.gain = torch.ones(1, 4, 64, 64, 65)
    for _ in range(2):
        graphs.graph_of(Model(network), image(1, 64, 64, 65))
    assert len(exports) == 2
    assert not folder.exists()


START = """
import sys
from XAIExplainLib import explain, load_case, load_model
for method in ("grad_cam", "gradient"):
    explain(load_model("brain-lesion"), load_case("enhancing-ring").volume, method, "lesion")
print([name for name in ("torch._dynamo", "torch.export._trace", "sympy", "scipy", "monai") if name in sys.modules])
print([name for name in sys.modules if name.startswith("XAIExplainLib.visual.")])
"""


@pytest.mark.full
def test_a_second_start_imports_neither_the_export_nor_other_methods(tmp_path):
    environment = {**os.environ, "XAI_CACHE": str(tmp_path)}
    for run in range(2):
        out = subprocess.run([sys.executable, "-c", START], env=environment, capture_output=True, text=True, check=True)
        heavy, own = out.stdout.splitlines()[-2:]
        assert ("torch._dynamo" in heavy) is (run == 0)
    assert heavy == "[]"
    assert eval(own) == ["XAIExplainLib.visual.grad_cam", "XAIExplainLib.visual.gradient"]
    assert len(list((tmp_path / "graphs").iterdir())) == 1

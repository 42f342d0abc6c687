"""Attention against explicit computation: matrices of all tokens, captured from the network as it runs."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from monai.networks import nets
from monai.networks.nets.swin_unetr import SwinTransformer, get_window_size, window_partition
from torch import nn

from Testing.compute.graphs import graph_of, network_of
from Testing.networks_zoo import BY_NAME, image, settle
from Testing.visual.asking import asked, assert_close, native
from XAIExplainLib.compute.attention_maps import attentions, divided, watching
from XAIExplainLib.compute.graph import export
from XAIExplainLib.compute.reverse import planned, walk
from XAIExplainLib.errors import XAIError

KINDS = ("rollout", "gradient_rollout")


def captured(monkeypatch, network, x, score):
    """The attention matrices (windows, heads, n, n) in the order of execution, and the score's gradients by them."""
    held = []
    softmax = torch.Tensor.softmax

    def watched(self, *args, **kwargs):
        weights = softmax(self, *args, **kwargs)
        if weights.requires_grad:
            weights.retain_grad()
            held.append(weights)
        return weights

    def written_out(q, k, v, *args, **kwargs):
        return watched(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5, -1) @ v

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "softmax", watched)
        patch.setattr(F, "scaled_dot_product_attention", written_out)
        score(network(x.clone().requires_grad_())).sum().backward()
    return [(one.detach().double(), one.grad.double()) for one in held]


def rolled(matrices, kind):
    """The product over the layers, (tokens, tokens), first the residual's half, then the attention's."""
    size = matrices[0][0].shape[-1]
    total = torch.eye(size, dtype=torch.float64)
    for weights, gradient in matrices:
        if kind == "rollout":
            step = (weights[0].mean(0) + torch.eye(size)) / 2
        else:
            step = torch.eye(size) + (weights[0] * gradient[0]).clamp_min(0).mean(0)
        total = step @ total
    return total


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["vit", "attending"])
def test_a_class_token_reads_the_product_of_all_layers(monkeypatch, name, kind):
    network, x = network_of(name), BY_NAME[name].image()
    first = (lambda y: y[0][:, 1]) if name == "vit" else (lambda y: y[:, 1])
    wanted = rolled(captured(monkeypatch, network, x, first), kind)[0, 1:].reshape(2, 2, 2)
    result = asked(network, x, "attention", of=kind)
    assert_close(native(result), wanted.float())
    found = result.diagnostics
    assert found["tokens_read"] == 1
    assert len(found["layers"]) == (2 if name == "vit" else 3)
    assert found["row_error"] < 1e-5
    if kind == "rollout":
        assert found["share_elsewhere"] == pytest.approx(1 - float(wanted.sum()), rel=1e-4)
        assert "the same for every target" in found["warnings"][0]


def test_it_is_what_monai_saves():
    """MONAI's own record of the attention of a ViT."""
    x = BY_NAME["vit"].image()
    torch.manual_seed(0)
    settings = {"img_size": 16, "patch_size": 8, "hidden_size": 24, "mlp_dim": 32, "num_layers": 2, "num_heads": 2}
    network = settle(nets.ViT(1, classification=True, num_classes=3, save_attn=True, **settings))
    network(x)
    saved = [(block.attn.att_mat.double(), None) for block in network.blocks]
    assert torch.allclose(saved[0][0].sum(-1), torch.ones(()).double(), atol=1e-6)
    result = asked(network_of("vit"), x, "attention", of="rollout")
    assert_close(native(result), rolled(saved, "rollout")[0, 1:].reshape(2, 2, 2).float())
    for number, (weights, _) in enumerate(saved):
        rows = weights[0].mean(0) if number == 0 else weights[0].mean(0)[:1]  # below the last, every token is read
        result = asked(network_of("vit"), x, "attention", of="layer", layer=f"blocks.{number}.attn")
        assert_close(native(result), rows.mean(0)[1:].reshape(2, 2, 2).float())


@pytest.mark.parametrize("heads", ["max", "min"])
def test_heads(monkeypatch, heads):
    network, x = network_of("vit"), BY_NAME["vit"].image()
    matrices = captured(monkeypatch, network, x, lambda y: y[0][:, 1])
    fused = [getattr(weights, f"a{heads}")(1, keepdim=True) for weights, _ in matrices]
    fused = [(one / one.sum(-1, keepdim=True), None) for one in fused]
    wanted = rolled(fused, "rollout")[0, 1:].reshape(2, 2, 2).float()
    assert_close(native(asked(network, x, "attention", of="rollout", heads=heads)), wanted)


class Pooled(nn.Module):
    """A ViT without class token, the mean of whose tokens is read."""

    def __init__(self, dims):
        super().__init__()
        self.vit = nets.ViT(
            1, img_size=(24,) * dims, patch_size=8, hidden_size=24, mlp_dim=32, num_layers=2, num_heads=2,
            spatial_dims=dims,
        )  # fmt: skip
        self.head = nn.Linear(24, 3)

    def forward(self, x):
        return self.head(self.vit(x)[0].mean(1))


@pytest.mark.parametrize("kind", KINDS)
def test_without_class_token_the_mean_of_the_tokens_is_taken_and_slices_are_each_their_own(monkeypatch, kind):
    torch.manual_seed(0)
    network = settle(Pooled(2))
    x = torch.cat([image(1, 24, 24, seed=n) for n in range(2)])
    wanted = []
    for one in x:
        total = rolled(captured(monkeypatch, network, one[None], lambda y: y[:, 1]), kind)
        total = total - torch.eye(len(total)) if kind == "gradient_rollout" else total
        wanted.append(total.mean(0).reshape(3, 3))
    result = asked(network, x, "attention", of=kind)
    assert_close(native(result), torch.stack(wanted).float())
    assert result.diagnostics["tokens_read"] == 9


def test_only_the_gradients_rollout_depends_on_the_target():
    network, x = network_of("attending"), BY_NAME["attending"].image()
    one, two = (native(asked(network, x, "attention", target, of="rollout")) for target in (0, 1))
    assert torch.equal(one, two)
    one, two = (asked(network, x, "attention", target) for target in (0, 1))
    assert one.diagnostics["of"] == "gradient_rollout"
    assert not torch.allclose(native(one) / native(one).max(), native(two) / native(two).max(), atol=1e-2)


class Swin(nn.Module):
    """MONAI's windowed transformer of four stages, the mean of whose last map is read."""

    def __init__(self):
        super().__init__()
        self.swin = SwinTransformer(
            in_chans=1, embed_dim=4, window_size=(4, 4), patch_size=(2, 2), depths=(2, 1, 1, 1),
            num_heads=(2, 2, 2, 2), spatial_dims=2,
        )  # fmt: skip
        self.head = nn.Linear(64, 3)

    def forward(self, x):
        return self.head(self.swin(x, True)[4].mean((2, 3)))


def windows_of(grid, shifted):
    """Which token each place of each window is, by MONAI's own steps; -1 is padding."""
    window, shift = get_window_size(grid, (4, 4), (2, 2))
    numbers = torch.arange(grid[0] * grid[1]).reshape(1, *grid, 1) + 1
    pads = [(w - n % w) % w for n, w in zip(grid, window, strict=True)]
    numbers = F.pad(numbers, (0, 0, 0, pads[1], 0, pads[0]))
    if shifted and any(shift):
        numbers = torch.roll(numbers, [-s for s in shift], (1, 2))
    return window_partition(numbers, window)[..., 0] - 1


@pytest.mark.full
def test_windows_shifts_paddings_and_merged_patches(monkeypatch):
    """Dense matrices of all tokens of a stage, and merging as the mean of the cells that were merged."""
    torch.manual_seed(0)
    network, x = settle(Swin()), image(1, 40, 36)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)  # so that the attention is far from even
    grids, shifts = [(20, 18), (20, 18), (10, 9), (5, 5), (3, 3)], [False, True, False, False, False]
    matrices = captured(monkeypatch, network, x, lambda y: y[:, 1])
    assert len(matrices) == 5
    for kind in KINDS:
        share = torch.full((9,), 1 / 9, dtype=torch.float64)
        straight, above = share.clone(), (3, 3)
        for grid, shifted, (weights, gradient) in list(zip(grids, shifts, matrices, strict=True))[::-1]:
            if grid != above:  # from a merged cell evenly to the (up to) four cells that it was
                parents = [(j // 2) * above[1] + i // 2 for j, i in itertools.product(*map(range, grid))]
                spread = F.one_hot(torch.tensor(parents), above[0] * above[1]).double()
                spread = spread / spread.sum(0)
                share, straight, above = spread @ share, spread @ straight, grid
            tokens, dense = windows_of(grid, shifted), torch.zeros(len(share), len(share)).double()
            fused = (weights if kind == "rollout" else (weights * gradient).clamp_min(0)).mean(1)
            for window, part in zip(tokens, fused, strict=True):
                real = window >= 0
                dense[window[real][:, None], window[real][None]] += part[real][:, real]
            share = (share + share @ dense) / 2 if kind == "rollout" else share + share @ dense
        wanted = (share if kind == "rollout" else share - straight).reshape(20, 18).float()
        result = asked(network, x, "attention", of=kind)
        assert_close(native(result).squeeze(), wanted, 1e-4)
        assert result.diagnostics["layers"][1] == "swin.layers1.0.blocks.1.attn"
        assert result.diagnostics["tokens_read"] == 9


def test_merged_cells_are_divided_evenly():
    shares = torch.rand(3, 2, 5, dtype=torch.float64)
    found = divided(shares, (5, 4, 5))
    assert found.shape == (5, 4, 5)
    assert float(found.sum()) == pytest.approx(float(shares.sum()))
    assert torch.allclose(found[4, 0], shares[2, 0] / 2) and torch.allclose(found[0, 0], shares[0, 0] / 4)


@pytest.mark.parametrize("how", ["plain", "causal", "mask", "bias", "scale"])
def test_torchs_own_attention_is_written_out(how):
    """What the weights must be is found by values that are unit vectors: then the output is the weights."""

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.patches, self.qk = nn.Conv3d(1, 8, 4, stride=4), nn.Linear(8, 16)
            self.register_buffer("mask", torch.rand(8, 8) > 0.3 if how == "mask" else torch.randn(8, 8))

        def forward(self, x, inside=False):
            tokens = self.patches(x).flatten(2).transpose(1, 2)
            q, k = self.qk(tokens)[:, None].chunk(2, -1)
            keywords = {"plain": {}, "causal": {"is_causal": True}, "scale": {"scale": 0.9}}
            given = keywords.get(how, {"attn_mask": self.mask})
            if inside:
                return F.scaled_dot_product_attention(q, k, torch.eye(8)[None, None], **given)
            return F.scaled_dot_product_attention(q, k, tokens[:, None], **given).mean((1, 2))

    network, x = Own().eval().requires_grad_(False), image(1, 8, 8, 8)
    network.mask.fill_diagonal_(1)
    graph, seen = export(network, x), []
    known, strange = attentions(graph)
    assert [one.grid for one in known] == [(2, 2, 2)] and not strange
    table = watching(known, lambda attention, weights, gradient: seen.append((weights, gradient)))
    path = graph.between(graph.input, graph.output)
    values = planned(graph, table, graph.input).forth(graph, x)
    back = torch.randn(1, 8)
    walk(graph, table, values, back, graph.input, path)
    assert_close(seen[0][0], network(x, True))
    tokens = network.patches(x).flatten(2).transpose(1, 2)
    assert_close(seen[0][1], (back / 8 @ tokens[0].T).expand(1, 1, 8, 8))


class Pooling(nn.Module):
    """A learned query looks for what is bright (attention pooling, as in multiple instance learning)."""

    def __init__(self):
        super().__init__()
        self.patches, self.key = nn.Conv3d(1, 4, 4, stride=4), nn.Linear(4, 1, bias=False)
        self.head = nn.Linear(4, 2)
        nn.init.constant_(self.patches.weight, 1 / 64)
        nn.init.zeros_(self.patches.bias)
        nn.init.constant_(self.key.weight, 1.0)

    def forward(self, x):
        h = self.patches(x).flatten(2).transpose(1, 2)
        return self.head((self.key(h).transpose(1, 2).softmax(-1) @ h)[:, 0])


class Jetley(nn.Module):
    """Softmax over the places of a map, which weighs the map (Jetley et al. 2018), and squeeze and excitation."""

    def __init__(self):
        super().__init__()
        self.one, self.say, self.head = nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 1, 1), nn.Linear(4, 2)
        self.squeeze = nn.Linear(4, 4)

    def forward(self, x):
        y = F.relu(self.one(x))
        y = y * self.squeeze(y.mean((2, 3, 4))).sigmoid()[..., None, None, None]
        weights = self.say(y).flatten(2).softmax(-1).unflatten(2, y.shape[2:])
        return self.head((y * weights).sum((2, 3, 4)))


def test_a_softmax_over_the_places_of_a_map():
    torch.manual_seed(0)
    network, x = Jetley().eval().requires_grad_(False), image(1, 6, 5, 4)
    held = {}
    handle = network.say.register_forward_hook(lambda module, given, output: held.update(value=output))
    network(x)
    handle.remove()
    result = asked(network, x, "attention")
    assert result.diagnostics["of"] == "gates"
    assert len(result.diagnostics["gates"]) == 1  # squeeze and excitation has no map
    assert_close(native(result), held["value"].flatten(2).softmax(-1).reshape(6, 5, 4))
    assert result.array.sum() == pytest.approx(1, rel=1e-5)


def gated():
    torch.manual_seed(0)
    return settle(nets.AttentionUnet(2, 1, 2, channels=(4, 8, 12), strides=(2, 2)))


def test_the_gates_of_an_attention_unet_are_what_it_computes():
    network, x = gated(), torch.cat([image(1, 24, 16, seed=n) for n in range(2)])
    held = {}
    for name, module in network.named_modules():
        if name.endswith("psi"):
            module.register_forward_hook(lambda module, given, output, name=name: held.update({name: output}))
    network(x)
    values = {name: value.clone() for name, value in held.items()}
    assert len(values) == 2
    result = asked(network, x, "attention", 0)
    assert result.diagnostics["gates"] == sorted(values, key=len, reverse=True)
    assert result.diagnostics["layer"] == "model.1.attention.psi"
    for layer in values:
        result = asked(network, x, "attention", 0, layer=layer)
        assert_close(native(result), values[layer][:, 0])
        low, high = result.diagnostics["gate_range"]
        assert 0 < low < high < 1


def test_the_map_is_highest_where_the_attention_looks():
    x = torch.zeros(1, 1, 12, 16, 20)
    x[..., 4:8, 8:12, 12:16] = 5
    network = Pooling().eval().requires_grad_(False)
    result = asked(network, x, "attention", of="rollout")
    assert result.diagnostics["layer_grid"] == [3, 4, 5]
    assert native(result).flatten().argmax() == 1 * 20 + 2 * 5 + 3
    weights = (network.key(network.patches(x).flatten(2).transpose(1, 2))[..., 0]).softmax(-1)
    assert_close(native(result), weights.reshape(3, 4, 5))


@pytest.mark.parametrize(("name", "settings", "reason"), [
    ("plain", {}, "no attention"), ("attending", {"layer": "patches"}, "holds no gate"),
    ("attending", {"of": "layer", "layer": "gate"}, "holds no attention"), ("attending", {"of": "gates"}, "no gate"),
    ("attending", {"of": "rollout", "layer": "attention"}, "goes through all layers"),
    ("plain", {"of": "gates"}, "no attention"),
])  # fmt: skip
def test_what_is_not_there_is_refused(name, settings, reason):
    with pytest.raises(XAIError, match=reason):
        asked(network_of(name), BY_NAME[name].image(), "attention", **settings)


def test_attention_that_is_not_of_places_is_refused():
    """Between channels (transposed attention): its tokens have no place."""

    class Channels(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.head = nn.Conv3d(1, 6, 3), nn.Linear(6, 2)

        def forward(self, x):
            y = self.one(x).mean((3, 4))
            return self.head(((y @ y.transpose(1, 2)).softmax(-1) @ y).mean(2))

    with pytest.raises(XAIError, match="no place on the image"):
        asked(Channels().eval(), image(1, 8, 8, 8), "attention")


@pytest.mark.full
@pytest.mark.parametrize("name", ["unetr", "swin unetr"])
def test_segmenters(name):
    network, x = network_of(name), BY_NAME[name].image()
    known, strange = attentions(graph_of(name))
    assert not strange
    for kind in KINDS:
        result = asked(network, x, "attention", 1 if name == "unetr" else None, of=kind)
        assert result.diagnostics["layer_grid"] == list(known[0].grid)
        assert len(result.diagnostics["layers"]) == len(known)
        assert result.diagnostics["tokens_read"] == known[-1].tokens
        assert result.array.min() >= 0 and result.array.max() > 0
        assert result.diagnostics["row_error"] < 1e-5

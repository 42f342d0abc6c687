"""CAM: the score taken apart without remainder, or refused."""

import pytest
import torch
from torch import nn

from Testing.compute.graphs import network_of
from Testing.networks_zoo import BY_NAME, Plain, image, settle
from Testing.visual.asking import asked, assert_close, native
from XAIExplainLib.errors import XAIError
from XAIExplainLib.model import Model


@pytest.mark.parametrize("name", ["plain", "plain odd, three channels", "functional", "resnet10", "densenet"])
def test_the_mean_of_the_map_and_a_constant_are_the_score(name):
    network, x = network_of(name), BY_NAME[name].image()
    result = asked(network, x, "cam")
    logit = float(network(x)[0, 1])
    mean = float(native(result).double().mean())
    assert mean + result.diagnostics["constant"] == pytest.approx(logit, rel=1e-4, abs=1e-5)
    assert result.diagnostics["completeness_error"] < 1e-4
    head = [one for one in network.modules() if isinstance(one, nn.Linear)][-1]
    assert result.diagnostics["constant"] == pytest.approx(float(head.bias[1]), rel=1e-3, abs=1e-5)
    assert not result.diagnostics["warnings"]


def test_it_is_the_paper():
    network, x = network_of("plain"), BY_NAME["plain"].image()
    wanted = torch.einsum("c,ckji->kji", network.head.weight[2], network.features(x)[0])
    assert_close(native(asked(network, x, "cam", 2)), wanted)
    assert_close(native(asked(network, x, "cam", 2, rectify=True)), torch.relu(wanted))


def test_slices_of_a_2d_network_are_each_their_own():
    network, x = network_of("plain 2D"), BY_NAME["plain 2D"].image(3)
    wanted = torch.einsum("c,ncji->nji", network.head.weight[1], network.features(x))
    assert_close(native(asked(network, x, "cam")), wanted)


class Head(nn.Module):
    """An average and what may follow it."""

    def __init__(self, *after, tokens=False):
        super().__init__()
        self.features = nn.Sequential(nn.Conv3d(1, 6, 3, 2), nn.ReLU(), nn.Conv3d(6, 8, 3), nn.ReLU())
        self.norm = nn.LayerNorm(8) if tokens else None
        self.after = nn.Sequential(*after)

    def forward(self, x):
        y = self.features(x).flatten(2)
        return self.after(y.mean(2) if self.norm is None else self.norm(y.transpose(1, 2)).mean(1))


def head(*after, tokens=False):
    torch.manual_seed(0)
    return settle(Head(*after, tokens=tokens))


AFFINE = {
    "linear": (nn.Linear(8, 3),),
    "norm, dropout and linear": (nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3)),
    "two linear layers": (nn.Linear(8, 5), nn.Linear(5, 3), nn.BatchNorm1d(3)),
}


@pytest.mark.parametrize("kind", AFFINE)
def test_whatever_is_affine_may_follow_the_average(kind):
    network, x = head(*AFFINE[kind]), image(1, 13, 12, 11)
    maps = network.features(x)
    blank = network.after(torch.zeros(1, 8))[0, 1]
    columns = network.after(torch.eye(8))[:, 1] - blank
    result = asked(network, x, "cam")
    assert_close(native(result), torch.einsum("c,ckji->kji", columns, maps[0]))
    assert result.diagnostics["constant"] == pytest.approx(float(blank), abs=1e-5)
    assert result.diagnostics["completeness_error"] < 1e-4


def test_tokens_that_are_averaged_are_a_map():
    network, x = head(nn.Linear(8, 3), tokens=True), image(1, 13, 12, 11)
    tokens = network.norm(network.features(x).movedim(1, -1))[0]
    result = asked(network, x, "cam")
    assert result.diagnostics["layer"] == "norm"
    assert_close(native(result), tokens @ network.after[0].weight[1])


@pytest.mark.parametrize(("network", "message"), [
    (lambda: head(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3)), "is not affine"),
    (lambda: head(nn.LayerNorm(8), nn.Linear(8, 3)), "is not affine"),
    (lambda: head(nn.Linear(8, 3), nn.Softmax(1)), "is not affine"),
    (lambda: settle(nn.Sequential(nn.Conv3d(1, 2, 3), nn.Flatten(), nn.Linear(1980, 3))), "no average"),
    (lambda: settle(nn.Sequential(nn.Conv3d(1, 2, 3), nn.AdaptiveMaxPool3d(1), nn.Flatten(), nn.Linear(2, 3))), "no a"),
    (lambda: settle(nn.Sequential(nn.Flatten(), nn.Linear(13 * 12 * 11, 3))), "no map"),
])  # fmt: skip
def test_what_is_no_average_is_refused(network, message):
    torch.manual_seed(0)
    with pytest.raises(XAIError, match=message) as caught:
        asked(network(), image(1, 13, 12, 11), "cam")
    assert "hires_cam" in caught.value.hint


@pytest.mark.parametrize("name", ["odd", "attending", "vit", "unet", "shuffling"])
def test_networks_of_other_kinds_are_refused(name):
    example, target = BY_NAME[name], None if name == "unet" else 1
    with pytest.raises(XAIError) as caught:
        asked(network_of(name), example.image(), "cam", target, model={"output": example.output})
    assert "hires_cam" in caught.value.hint


def test_an_earlier_layer_is_refused_before_an_activation():
    """The gradient alone would not tell: behind an average it is one for all cells where every unit is on."""
    network, x = head(nn.Linear(8, 3)), image(1, 13, 12, 11)
    network.features[2].bias.fill_(100.0)  # every unit is on
    assert asked(network, x, "cam").diagnostics["layer"] == "features"
    with pytest.raises(XAIError, match="is not affine"):
        asked(network, x, "cam", layer="features.2")


class Beside(nn.Module):
    """A map that is averaged, and the image beside it."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv3d(1, 4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.conv(x).relu().mean((2, 3, 4))) + x.amax((1, 2, 3, 4))[:, None]


def test_a_way_beside_the_map_is_refused():
    torch.manual_seed(0)
    with pytest.raises(XAIError, match="alone"):
        asked(settle(Beside()), image(1, 8, 8, 8), "cam")


def test_a_group_of_classes_has_a_remainder_and_says_which():
    """Log-odds are the weighted logits plus the entropy of the weights, on either side."""
    torch.manual_seed(0)
    network = settle(Plain())
    x = image(1, 16, 16, 16)
    model = {"classes": ["healthy", "one", "two"], "groups": {"lesion": ["one", "two"]}}
    result = asked(network, x, "cam", "lesion", model=model)
    logits = network(x)[0].double()
    shares = logits[1:].softmax(0)
    entropy = float(-(shares * shares.log()).sum())
    weights = (shares @ network.head.weight[1:].double() - network.head.weight[0].double()).float()
    assert_close(native(result), torch.einsum("c,ckji->kji", weights, network.features(x)[0]))
    assert result.diagnostics["left_by_log_odds"] == pytest.approx(entropy, abs=1e-4)
    assert 0 < result.diagnostics["left_by_log_odds"] <= 0.6932
    assert "group of classes" in result.diagnostics["warnings"][0]


def test_the_bundled_network_has_no_remainder():
    from XAIExplainLib import explain, load_case, load_model

    model, volume = load_model("brain-lesion"), load_case("enhancing-ring").volume
    result = explain(model, volume, "cam", "enhancing")
    assert result.diagnostics["completeness_error"] < 1e-4
    assert result.diagnostics["layer_grid"] == [8, 10, 8]


def test_one_sample_at_a_time_where_a_program_takes_no_more():
    network, x = network_of("plain"), BY_NAME["plain"].image()
    program = torch.export.export(network, (x,))
    from XAIExplainLib.explaining import explain
    from XAIExplainLib.volume import Volume

    result = explain(Model(program, batch=1), Volume(x[0].numpy()), "cam", 1)
    assert result.diagnostics["completeness_error"] < 1e-4

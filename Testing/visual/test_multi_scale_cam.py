"""Maps of several depths and resolutions: equal to the formula by hooks; finer where lesions are small."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from Testing.compute.graphs import graph_of, network_of
from Testing.networks_zoo import BY_NAME, Plain, image, settle
from Testing.visual.activations import hooked
from Testing.visual.asking import asked, assert_close, native, rows
from XAIExplainLib.compute.activation_maps import WAYS
from XAIExplainLib.errors import XAIError
from XAIExplainLib.visual.multi_scale_cam import _layers

COMBINED = {
    "product": lambda maps: torch.stack(maps).prod(0), "mean": lambda maps: torch.stack(maps).mean(0),
    "max": lambda maps: torch.stack(maps).amax(0),
}  # fmt: skip


def widened(maps, grid):
    """Linear between the centres of cells that tile the image, by torch."""
    return F.interpolate(maps, grid, mode="trilinear" if maps.dim() == 5 else "bilinear")


def reference(network, x, layers, combine="product", base="layer_cam"):
    """Each layer's map over its largest value, on the finest grid, combined, over the largest value (N, *grid)."""
    scales = [WAYS[base](*pair).clamp_min(0) for pair in hooked(network, x, *layers)]
    grid = max((one.shape[2:] for one in scales), key=lambda shape: shape.numel())
    combined = COMBINED[combine]([widened(one / one.max(), grid) for one in scales])[:, 0]
    return combined / combined.max()


PLAIN = ["features.2", "features.6", "features.10"]


@pytest.mark.parametrize("combine", list(COMBINED))
@pytest.mark.parametrize("base", ["layer_cam", "grad_cam"])
def test_it_is_the_formula(combine, base):
    network, x = network_of("plain"), BY_NAME["plain"].image()
    result = asked(network, x, "multi_scale_cam", layers=PLAIN, combine=combine, base=base)
    assert_close(native(result), reference(network, x, PLAIN, combine, base)[0], 1e-4)
    assert result.diagnostics["layer_grids"] == [[16, 16, 16], [8, 8, 8], [4, 4, 4]]
    assert float(result.array.max()) == pytest.approx(1)


@pytest.mark.parametrize(("name", "layers"), [
    ("plain odd, three channels", ["features.1", "features.10"]), ("resnet10", ["layer1", "layer2", "layer4"]),
    ("densenet", ["features.conv0", "features.denseblock1", "features.denseblock2"]), ("odd", ["same", "slope"]),
])  # fmt: skip
def test_it_is_the_formula_on_other_networks(name, layers):
    network, x = network_of(name), BY_NAME[name].image()
    assert_close(native(asked(network, x, "multi_scale_cam", layers=layers)), reference(network, x, layers)[0], 1e-4)


def test_slices_keep_their_proportion():
    network, x = network_of("plain 2D"), BY_NAME["plain 2D"].image(3)
    result = asked(network, x, "multi_scale_cam", layers=PLAIN)
    assert_close(native(result), reference(network, x, PLAIN), 1e-4)
    assert rows(result, x).shape == (3, 1, 32, 28)


def test_all_layers_come_of_one_pass_forth_and_one_back(monkeypatch):
    from XAIExplainLib.compute.graph import Graph
    from XAIExplainLib.question import Question

    walks, convolutions = [], []
    walk_to, run = Question.walk_to, Graph.run

    def counted(self, *arguments, **keywords):
        walks.append(1)
        return walk_to(self, *arguments, **keywords)

    def watched(self, x, keep=None, stop=None, check=None, start=None, save=None):
        known = {**self.constants, self.input: x, **(start or {})}
        needed = self._needed(set(keep or {self.output}) | set(save or ()), known)
        convolutions.extend(name for name in needed if self.operations.get(name) == "conv3d")
        return run(self, x, keep, stop, check, start, save)

    monkeypatch.setattr(Question, "walk_to", counted)
    monkeypatch.setattr(Graph, "run", watched)
    asked(network_of("plain"), BY_NAME["plain"].image(), "multi_scale_cam")
    assert len(walks) == 1
    assert len(convolutions) == 3


@pytest.mark.parametrize(("name", "grids"), [
    ("plain", [(16, 16, 16), (8, 8, 8), (4, 4, 4), (2, 2, 2)]), ("resnet10", None), ("densenet", None),
    ("unet", [(8, 8, 8), (4, 4, 4)]), ("upward", None),
])  # fmt: skip
def test_the_layers_of_its_own_choice(name, grids):
    """One a resolution, finest first, down to the layer that Grad-CAM takes; never a segmenter's way back up."""
    graph = graph_of(name)
    found = _layers(graph, ())
    sizes = [torch.Size(layer.grid).numel() for layer in found]
    assert sizes == sorted(set(sizes), reverse=True)
    assert grids is None or [layer.grid for layer in found] == grids
    order = [node.name for node in graph]
    assert sorted(found, key=lambda layer: order.index(layer.layer.node)) == found


class Resizable(nn.Module):
    """Takes images of any size."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.head = nn.Conv3d(1, 3, 3, padding=1), nn.Conv3d(3, 4, 3, 2, 1), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(F.relu(self.two(F.relu(self.one(x)))).mean((2, 3, 4)))


def test_several_resolutions():
    torch.manual_seed(0)
    network, x = settle(Resizable()), image(1, 12, 10, 8)
    ((maps, gradients),) = hooked(network, x, "two")
    finer = F.interpolate(x, (18, 15, 12), mode="trilinear")
    ((fine, fine_gradients),) = hooked(network, finer, "two")
    one, two = (WAYS["layer_cam"](*pair).clamp_min(0) for pair in ((maps, gradients), (fine, fine_gradients)))
    wanted = widened(one / one.max(), two.shape[2:]) * (two / two.max())
    result = asked(network, x, "multi_scale_cam", layers="two", resolutions="1,1.5")
    assert_close(native(result), (wanted / wanted.max())[0, 0], 1e-4)
    assert_close(torch.from_numpy(result.array), widened(wanted / wanted.max(), x.shape[2:])[0, 0], 1e-4)
    scores, warnings = result.diagnostics["score_by_resolution"], result.diagnostics["warnings"]
    other = int(network(x).argmax()) != int(network(finer).argmax())
    assert any("answers with another class" in one for one in warnings) == other
    assert scores["1"] == pytest.approx(float(network(x)[0, 1]), rel=1e-5)
    assert scores["1.5"] == pytest.approx(float(network(finer)[0, 1]), rel=1e-5)


class Spots(nn.Module):
    """Answers by how many bright spots there are, seen at two depths."""

    def __init__(self):
        super().__init__()
        self.fine, self.coarse, self.head = nn.Conv3d(1, 2, 3, padding=1), nn.Conv3d(2, 2, 8, 8), nn.Linear(2, 2)
        with torch.no_grad():
            for one in self.parameters():
                one.fill_(0.0)
            self.fine.weight[0, 0, 1, 1, 1] = 1
            self.coarse.weight[0, 0] = 1
            self.head.weight[1, 0] = 1

    def forward(self, x):
        return self.head(F.relu(self.coarse(F.relu(self.fine(x)))).mean((2, 3, 4)))


def test_a_small_finding_is_found_to_the_voxel():
    x = torch.zeros(1, 1, 16, 16, 16)
    x[0, 0, 5, 9, 12] = 1
    result = asked(Spots().eval(), x, "multi_scale_cam", layers="fine,coarse")
    assert result.array[5, 9, 12] == pytest.approx(1)
    assert (result.array > 0).sum() == 1
    coarse = asked(Spots().eval(), x, "grad_cam", layer="coarse").array
    assert (coarse > 0.5 * coarse.max()).sum() > 200


def test_what_it_cannot_do_is_refused():
    x = BY_NAME["plain"].image()
    with pytest.raises(XAIError, match="one resolution only") as caught:
        asked(network_of("plain"), x, "multi_scale_cam", layers="features.6")
    assert "layer_cam" in caught.value.hint
    for words in ("a", "9", "0", "1,1.1,1.2,1.3,1.4,1.5,1.6,1.7,1.8"):
        with pytest.raises(XAIError, match="resolutions cannot be"):
            asked(network_of("plain"), x, "multi_scale_cam", resolutions=words)
    torch.manual_seed(0)
    fixed = settle(nn.Sequential(nn.Conv3d(1, 2, 3), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(54, 3)))
    with pytest.raises(XAIError, match="cannot be asked about the image at 2 ") as caught:
        asked(fixed, image(1, 8, 8, 8), "multi_scale_cam", resolutions="1,2")
    assert "resolutions" in caught.value.hint
    with pytest.raises(XAIError, match="cannot be asked about the image at 2 "):
        asked(network_of("unet"), BY_NAME["unet"].image(), "multi_scale_cam", None, resolutions="1,2")


def test_a_scale_where_nothing_speaks_for_the_target_is_named():
    torch.manual_seed(0)
    network = settle(Plain())
    network.head.weight[1] = -network.head.weight[1].abs()
    result = asked(network, image(1, 16, 16, 16), "multi_scale_cam", layers="features.6,features.10")
    assert not result.array.any()
    assert "features.10 at 1" in result.diagnostics["warnings"][0]

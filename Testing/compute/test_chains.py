"""A chain of changes gives after each of them the answer of a whole pass, and does not drift."""

import random

import pytest
import torch
from monai.networks.nets import DenseNet, UNet, resnet10

from Testing.compute.graphs import network_of
from Testing.compute.random_networks import RandomNetwork, settled
from Testing.networks_zoo import BY_NAME
from XAIExplainLib.compute import chains
from XAIExplainLib.compute.chains import Chain, scores_along
from XAIExplainLib.compute.graph import export
from XAIExplainLib.model import Model
from XAIExplainLib.question import Question
from XAIExplainLib.target import ClassTarget
from XAIExplainLib.volume import Volume


def changes_of(shape, number, draw):
    """Boxes from one voxel to the whole image, and what is seen there."""
    for _ in range(number):
        sides = [draw.choice((1, 3, 5, 8, n)) for n in shape[1:]]
        box = []
        for side, n in zip(sides, shape[1:], strict=True):
            low = draw.randint(0, n - min(side, n))
            box.append(slice(low, low + min(side, n)))
        yield tuple(box), torch.randn(shape[0], *(piece.stop - piece.start for piece in box), dtype=torch.float64)


def follow(network, x, number, seed):
    chain, image, draw = Chain(export(network, x), x), x.clone(), random.Random(seed)
    before = x.clone()
    for box, content in changes_of(x.shape[1:], number, draw):
        image[(0, slice(None), *box)] = content
        wanted = network(image.clone())  # its first activation may be in place
        assert float((chain.change(box, content) - wanted).abs().max()) < 1e-10 * max(1.0, float(wanted.abs().max()))
        assert torch.equal(chain.image, image)
    assert torch.equal(x, before) and chain.seconds > 0


@pytest.mark.parametrize("seed", range(6))
def test_random_networks(seed):
    draw = random.Random(seed)
    torch.manual_seed(seed)
    dims = draw.choice((2, 3))
    spatial = tuple(draw.randint(10, 20) for _ in range(dims))
    network = settled(RandomNetwork(draw, dims, 2, spatial, 5), seed)
    x = torch.randn(1, 2, *spatial, dtype=torch.float64)
    if export(network, x).static_batch is None:
        follow(network, x, 8, seed)


@pytest.mark.parametrize(
    "network",
    [
        lambda: resnet10(spatial_dims=3, n_input_channels=1, num_classes=3),
        lambda: DenseNet(3, 1, 3, init_features=8, growth_rate=4, block_config=(2, 2)),
        lambda: UNet(3, 1, 2, (4, 8, 16), (2, 2), num_res_units=1, norm="batch"),
        lambda: UNet(3, 1, 2, (4, 8, 16), (2, 2), num_res_units=1, norm="instance"),
    ],
)
def test_known_networks(network):
    torch.manual_seed(1)
    follow(settled(network()), torch.randn(1, 1, 24, 24, 24, dtype=torch.float64), 6, 0)


def question_of(name):
    network, x = network_of(name), BY_NAME[name].image(1)
    model = Model(network, spatial_dims=3)
    return network, x, Question(model, model.prepare(Volume(x[0].numpy())), ClassTarget(1), 2**30)


@pytest.mark.parametrize("name", ["plain", "spectral"])
def test_scores_of_a_deletion(name):
    network, x, question = question_of(name)
    image, draw = x.clone(), random.Random(0)
    changes = [(box, content.float()) for box, content in changes_of(x.shape[1:], 6, draw)]
    found = list(scores_along(question, 0, x, iter(changes)))
    for (box, content), score in zip(changes, found, strict=True):
        image[(0, slice(None), *box)] = content
        assert score == pytest.approx(float(network(image)[0, 1]), rel=1e-4, abs=1e-5)
    assert question.diagnostics["incremental_error"] < 1e-5


def test_a_disagreement_falls_back_to_whole_passes(monkeypatch):
    network, x, question = question_of("plain")
    monkeypatch.setattr(chains.Chain, "change", lambda self, box, content: torch.full((1, 3), 99.0))
    box = (slice(2, 5),) * 3
    found = list(scores_along(question, 0, x, iter([(box, torch.zeros(1, 3, 3, 3))] * 2)))
    assert max(found) < 50 and "disagreed" in question.diagnostics["warnings"][0]

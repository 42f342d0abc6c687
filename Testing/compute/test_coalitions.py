"""Coalitions: the right voxels are covered, nothing is scored twice, and a run can be watched and stopped."""

import pytest
import torch

from Testing.compute.graphs import network_of
from Testing.networks_zoo import BY_NAME, image
from XAIExplainLib.compute import perturbation
from XAIExplainLib.compute.coalitions import Game
from XAIExplainLib.errors import CancelledError
from XAIExplainLib.model import Model
from XAIExplainLib.question import Question
from XAIExplainLib.target import ClassTarget
from XAIExplainLib.volume import Volume


def question_of(network, x, **arguments):
    flat = x.dim() == 4
    model = Model(network, spatial_dims=2 if flat else 3)
    volume = Volume(x.transpose(0, 1).numpy() if flat else x[0].numpy())
    return Question(model, model.prepare(volume), ClassTarget(1), 2**30, **arguments)


def striped(shape, players):
    """Labels 0, 1, ... in turn over the voxels."""
    return (torch.arange(int(torch.tensor(shape).prod())) % (players + 1)).reshape(shape)


class Counting(torch.nn.Module):
    """Adds up what is above 1, squared; counts the images that it sees."""

    seen = 0

    def forward(self, x):
        self.seen += len(x)
        return torch.stack([x.flatten(1).sum(1), x.flatten(1).clamp_min(1).pow(2).sum(1)], 1)


@pytest.mark.parametrize("name", ["plain odd, three channels", "attending", "plain 2D"])
def test_each_score_is_that_of_the_image_with_its_regions_covered(name):
    network, x = network_of(name), BY_NAME[name].image(2 if name.endswith("2D") else 1)
    question = question_of(network, x)
    sample, cover = len(x) - 1, torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    labels = striped(question.spatial, 6)
    seen = torch.rand(9, 6, generator=torch.Generator().manual_seed(1)) < 0.5
    scores = Game(question, sample, labels, 6, cover).scores(seen)
    for row, score in zip(seen, scores, strict=True):
        made = x[sample].clone()
        for player in range(6):
            if not row[player]:
                made[:, labels == player + 1] = cover[sample][:, labels == player + 1]
        assert float(score) == pytest.approx(float(network(made[None])[0, 1]), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", ["plain", "plain 2D", "resnet10"])
def test_one_region_against_all_others_goes_by_patches(name, monkeypatch):
    """One hidden, one shown, and the rest by whole passes; voxels of no region are always seen."""
    monkeypatch.setattr(perturbation, "WORTH_PATCHES", 9.0)
    network, x = network_of(name), BY_NAME[name].image(2 if name.endswith("2D") else 1)
    sample, cover = len(x) - 1, torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    question = question_of(network, x)
    question.graph()
    spatial = question.spatial
    labels = torch.zeros(spatial, dtype=torch.long)
    places = torch.stack(torch.meshgrid(*[torch.arange(n) for n in spatial], indexing="ij"), -1)
    for player in range(7):  # spheres around random places, one of them hidden by those that come after
        middle = torch.tensor([int(torch.randint(n, (), generator=question.generator)) for n in spatial])
        labels[((places - middle) ** 2).sum(-1) < 20] = player + 1
    labels[labels == 3] = 0
    one, some = torch.eye(7, dtype=torch.bool), torch.rand(4, 7, generator=torch.Generator().manual_seed(1)) < 0.5
    seen = torch.cat([some[:2], ~one, some[2:], torch.zeros(1, 7, dtype=torch.bool), one])
    game = Game(question, sample, labels, 7, cover)
    found = game.scores(seen)
    assert game.by_patches == 14 and question.diagnostics["engine"] == "incremental"
    for row, score in zip(seen, found, strict=True):
        shown = torch.cat([torch.ones(1, dtype=torch.bool), row])[labels]
        made = torch.where(shown, x[sample], cover[sample])
        assert float(score) == pytest.approx(float(network(made[None])[0, 1]), rel=1e-4, abs=1e-5)


def test_nothing_is_scored_twice():
    network, x = Counting(), image(1, 6, 6, 6)
    question = question_of(network, x)
    game = Game(question, 0, striped((6, 6, 6), 3), 3, torch.zeros_like(x))
    before = network.seen
    rows = torch.tensor([[1, 1, 1], [0, 1, 0], [0, 1, 0], [0, 0, 0]]).bool()
    scores = game.scores(rows)
    assert network.seen - before == game.passes == 2
    assert scores[0] == game.full == float(question.scores_of_case[0])
    assert scores[1] == scores[2]
    assert game.empty == scores[3]
    game.scores(torch.cat([rows, ~rows]))
    assert network.seen - before == game.passes == 3  # only 1 0 1 is new


def test_a_small_budget_makes_small_batches():
    largest = 0

    class Watching(torch.nn.Module):
        def forward(self, x):
            nonlocal largest
            largest = max(largest, len(x))
            return x.flatten(1)[:, :2].sin()

    x = image(1, 16, 16, 16)
    question = question_of(Watching(), x)
    question.memory = 0
    with pytest.raises(Exception, match="memory budget"):
        Game(question, 0, striped((16, 16, 16), 9), 9, torch.zeros_like(x)).scores(torch.rand(50, 9) < 0.5)
    question.memory = 2**20
    Game(question, 0, striped((16, 16, 16), 9), 9, torch.zeros_like(x)).scores(torch.rand(50, 9) < 0.5)
    assert 1 < largest <= 32


def test_progress_and_cancel():
    told, x = [], image(1, 6, 6, 6)
    question = question_of(Counting(), x, progress=lambda part, message: told.append((part, message)),
                           cancel=lambda: bool(told) and told[-1][0] > 0.6)  # fmt: skip
    game = Game(question, 0, striped((6, 6, 6), 9), 9, torch.zeros_like(x), (0.2, 1.0))
    numbers = torch.arange(1, 400)
    with pytest.raises(CancelledError):
        game.scores((numbers[:, None] >> torch.arange(9) & 1).bool())
    assert told == sorted(told)
    assert 0.2 < told[0][0] < told[-1][0] < 0.8
    assert told[0][1] == "coalition 32 of 399"

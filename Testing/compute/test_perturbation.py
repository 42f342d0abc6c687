"""Scores of covered boxes: each box with contents of its own, the same by patches and by whole passes."""

import pytest
import torch

from Testing.compute.graphs import network_of
from Testing.networks_zoo import BY_NAME
from XAIExplainLib.compute import perturbation
from XAIExplainLib.compute.perturbation import covered_scores
from XAIExplainLib.explaining import explain
from XAIExplainLib.model import Model
from XAIExplainLib.question import Question
from XAIExplainLib.target import ClassTarget
from XAIExplainLib.volume import Volume


def question_of(name, samples=1, memory=2**30):
    network, x = network_of(name), BY_NAME[name].image(samples)
    flat = x.dim() == 4
    model = Model(network, spatial_dims=2 if flat else 3)
    prepared = model.prepare(Volume(x.transpose(0, 1).numpy() if flat else x[0].numpy()))
    return network, x, Question(model, prepared, ClassTarget(1), memory)


def items_of(x, number):
    """Boxes of several sizes, each several times with contents of its own."""
    generator = torch.Generator().manual_seed(0)
    boxes, contents = [], []
    for n in range(number):
        box = []
        for size in x.shape[2:]:
            low = int(torch.randint(size, (), generator=generator))
            box.append(slice(low, min(size, low + 1 + int(torch.randint(5, (), generator=generator)))))
        for _ in range(1 + n % 3):
            boxes.append(tuple(box))
            contents.append(torch.randn(x.shape[1], *(b.stop - b.start for b in box), generator=generator))
    return boxes, contents


@pytest.mark.parametrize("share", [0.0, 9.0])
@pytest.mark.parametrize(("name", "samples"), [("plain", 1), ("plain 2D", 2)])
def test_each_item_has_its_own_content(name, samples, share, monkeypatch):
    monkeypatch.setattr(perturbation, "WORTH_PATCHES", share)
    network, x, question = question_of(name, samples)
    boxes, contents = items_of(x, 34)
    sample = samples - 1
    asked = []

    def content(indices):
        asked.extend(indices)
        return [contents[n] for n in indices]

    def measure(output, rows):
        assert bool((rows == sample).all()) and len(rows) == len(output)
        return output[:, 2] - 2 * output[:, 0]

    found = torch.full((len(boxes),), torch.nan)
    for indices, numbers in covered_scores(question, sample, boxes, content, measure):
        assert bool(found[indices].isnan().all())
        found[indices] = numbers
    assert question.diagnostics["engine"] == ("incremental" if share else "whole passes")
    assert sorted(asked) == list(range(len(boxes)))
    images = x[sample : sample + 1].repeat(len(boxes), *[1] * (x.dim() - 1))
    for image, box, one in zip(images, boxes, contents, strict=True):
        image[(slice(None), *box)] = one
    output = network(images)
    wanted = output[:, 2] - 2 * output[:, 0]
    assert torch.allclose(found, wanted, atol=1e-5)
    assert not torch.allclose(found, wanted.flip(0), atol=1e-3)


def test_one_cover_for_all_is_the_score_of_its_parts():
    network, x, question = question_of("plain")
    boxes, _ = items_of(x, 50)
    cover = torch.randn_like(x)
    given = [cover[0][(slice(None), *box)] for box in boxes]
    one = {n: float(s) for part, scores in covered_scores(question, 0, boxes, cover)
           for n, s in zip(part, scores, strict=True)}  # fmt: skip
    other = {n: float(s) for part, scores in covered_scores(question, 0, boxes, lambda part: [given[n] for n in part])
             for n, s in zip(part, scores, strict=True)}  # fmt: skip
    assert one == other and len(one) == len(boxes)
    assert list(covered_scores(question, 0, [], cover)) == []


def test_a_disagreement_falls_back_to_whole_passes(monkeypatch):
    monkeypatch.setattr(perturbation, "WORTH_PATCHES", 9.0)
    wrong = torch.full((99, 3), 99.0)
    monkeypatch.setattr(perturbation.Incremental, "answers", lambda self, plan, chunk, patch: wrong[: len(patch.low)])
    network, x, question = question_of("plain")
    boxes, contents = items_of(x, 40)
    found = torch.cat([numbers for _, numbers in covered_scores(
        question, 0, boxes, lambda part: [contents[n] for n in part])])  # fmt: skip
    assert len(found) == len(boxes) and float(found.max()) < 50
    assert question.diagnostics["engine"] == "whole passes" and "disagreed" in question.diagnostics["warnings"][0]


def test_the_base_is_made_and_checked_once(monkeypatch):
    """Several calls of one question share the base; a later question of the model compares its base alone."""
    monkeypatch.setattr(perturbation, "WORTH_PATCHES", 9.0)
    network, x, question = question_of("plain")
    boxes, contents = items_of(x, 40)
    bases, passes = [], []
    prepare, ask = perturbation.Incremental.prepare, type(question.model).__call__

    def prepared(self, cut):
        bases.append(self.ready(cut))
        prepare(self, cut)

    def asked(self, images, *rest):
        passes.append(len(images))
        return ask(self, images, *rest)

    monkeypatch.setattr(perturbation.Incremental, "prepare", prepared)
    monkeypatch.setattr(type(question.model), "__call__", asked)

    def run(question):
        found = torch.full((len(boxes),), torch.nan)
        for part in (list(range(0, 50)), list(range(50, len(boxes)))):
            for indices, numbers in covered_scores(
                question, 0, [boxes[n] for n in part],
                lambda rows, part=part: [contents[part[row]] for row in rows], of=len(boxes),
            ):  # fmt: skip
                found[[part[index] for index in indices]] = numbers
        return found

    first = run(question)
    assert passes == [1] and bases.count(False) == 1 and question.diagnostics["engine"] == "incremental"
    later = Question(question.model, question.prepared, question.target, 2**30)
    passes.clear()
    assert torch.equal(run(later), first) and passes == []
    assert later.diagnostics["incremental_error"] < 1e-5


def test_weights_that_changed_since_the_export_are_seen(monkeypatch):
    """The answer to the case shows it: the network's own is not the base's."""
    monkeypatch.setattr(perturbation, "WORTH_PATCHES", 9.0)
    network, x, question = question_of("plain")
    boxes, contents = items_of(x, 40)
    list(covered_scores(question, 0, boxes, lambda part: [contents[n] for n in part]))
    question.output = question.output + 1.0
    question.__dict__.pop("bases")
    parts = [part for part, _ in covered_scores(question, 0, boxes, lambda part: [contents[n] for n in part])]
    assert question.diagnostics["engine"] == "whole passes" and sum(map(len, parts)) == len(boxes)
    assert "disagreed" in question.diagnostics["warnings"][0]


@pytest.mark.parametrize("enough", [True, False])
def test_slices_keep_their_bases_while_memory_allows(enough, monkeypatch):
    monkeypatch.setattr(perturbation, "WORTH_PATCHES", 9.0)
    monkeypatch.setattr(perturbation, "BYTES_OF_BASES", 0.25 if enough else 1e-9)
    network, x, question = question_of("plain 2D", 3)
    boxes, contents = items_of(x, 40)
    for _ in range(2):
        for sample in range(3):
            list(covered_scores(question, sample, boxes, lambda part: [contents[n] for n in part]))
    assert len(question.__dict__["bases"]) == (3 if enough else 1)
    assert question.diagnostics["incremental_error"] < 1e-5


@pytest.mark.parametrize("name", ["plain", "resnet10", "odd"])
def test_a_warm_graph_gives_the_first_pass_that_boxes_are_compared_with(name, monkeypatch):
    network, x = network_of(name), BY_NAME[name].image(1)
    model = Model(network, spatial_dims=3)
    cold = explain(model, Volume(x[0].numpy()), "occlusion", 1, window=3, stride=2, memory=2**30)
    monkeypatch.setattr(Model, "__call__", lambda *_: pytest.fail("the network itself was asked"))
    warm = explain(model, Volume(x[0].numpy()), "occlusion", 1, window=3, stride=2, memory=2**30)
    assert warm.diagnostics["engine"] == cold.diagnostics["engine"]
    assert warm.array.tobytes() == cold.array.tobytes()
    assert warm.diagnostics["score"] == pytest.approx(cold.diagnostics["score"], abs=1e-5)


def test_a_first_pass_that_would_fill_the_memory_is_the_networks(monkeypatch):
    network, x = network_of("plain"), BY_NAME["plain"].image(1)
    model = Model(network, spatial_dims=3)
    explain(model, Volume(x[0].numpy()), "occlusion", 1, window=3, stride=2, memory=2**30)
    asked = []
    monkeypatch.setattr(perturbation, "BYTES_OF_BASES", 0.0)
    real = Model.__call__
    monkeypatch.setattr(Model, "__call__", lambda self, x: asked.append(1) or real(self, x))
    explain(model, Volume(x[0].numpy()), "occlusion", 1, window=3, stride=2, memory=2**30)
    assert asked

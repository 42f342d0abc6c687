"""Insertion and deletion: closed forms, naive loops, the best of all orders, and what must be refused."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from monai.networks.nets import UNet
from torch import nn

from Testing.compute.random_networks import settled
from Testing.networks_zoo import BY_NAME, settle
from XAIExplainLib import CancelledError, Curves, Model, Volume, XAIError, explain, insertion_deletion
from XAIExplainLib.compute.replacing import Replacing
from XAIExplainLib.compute.supervoxels import Regions
from XAIExplainLib.evaluation.insertion_deletion import (
    KINDS,
    checked,
    curves_of,
    on_network,
    order_of,
    partition_of,
    quantities,
)
from XAIExplainLib.question import Question
from XAIExplainLib.target import ClassTarget
from XAIExplainLib.volume import save_volume

SETTINGS = {"baseline": 0.25, "partition": "boxes", "regions": 12, "steps": 100, "chances": 3}


class Weighted(nn.Module):
    """Class 1 has the sum of what the voxels say, each by itself."""

    def __init__(self, weight, function=lambda x: x):
        super().__init__()
        self.register_buffer("weight", weight)
        self.function = function

    def forward(self, x):
        score = (self.function(x) * self.weight).flatten(1).sum(1)
        return torch.stack([torch.zeros_like(score), score], 1)


def question_of(network, x, target=None, double=True, **settings):
    """A question about a tensor; in double precision the network answers so too."""
    model = Model(network, spatial_dims=x.dim() - 2, **settings)
    data = x[0] if x.dim() == 5 else x.transpose(0, 1)
    prepared = model.prepare(Volume(data.float().numpy()))
    if double:
        network.double()
        prepared = dataclasses.replace(prepared, tensor=prepared.tensor.double())
    return Question(model, prepared, ClassTarget(1) if target is None else target, 2**31)


def fresh(name):
    """A network of the zoo that no other test has, and its image."""
    torch.manual_seed(0)
    return settle(BY_NAME[name].make()), BY_NAME[name].image(1)


def textured(*shape, seed=0):
    return torch.rand(1, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).float() + 0.5


def naive(question, cover, parts, order, insert):
    """The score after each region, every image made and asked by itself."""
    found = []
    for gone in range(len(order) + 1):
        image = question.x[0].clone()
        for region in range(len(order)):
            lost = region in (order[gone:] if insert else order[:gone]).tolist()
            inside = parts.labels[0] == region + 1
            if lost:
                image[:, inside] = cover[0][:, inside]
        found.append(float(question.model(image[None])[0, 1]))
    return np.array(found)


def test_a_linear_network_has_the_curve_that_is_known():
    x, weight = textured(1, 8, 9, 10), torch.randn(1, 8, 9, 10, generator=torch.Generator().manual_seed(1))
    question = question_of(Weighted(weight), x)
    contribution = weight.double() * (question.x[0] - 0.25)
    found = curves_of(question, [("own", contribution)], SETTINGS)
    parts = partition_of(question, torch.full_like(question.x, 0.25), SETTINGS)
    sums = np.array([float(contribution[parts.labels == region + 1].sum()) for region in range(parts.counts[0])])
    sizes = np.bincount(parts.labels.flatten().numpy())[1:]
    best = np.argsort(-sums / sizes)
    wanted = float(question.scores_of_case) - np.concatenate([[0], sums[best].cumsum()])
    curve = found.deletion[0]
    assert curve.values["score"] == pytest.approx(wanted, abs=1e-10)
    assert curve.shares == pytest.approx(np.concatenate([[0], sizes[best].cumsum() / sizes.sum()]), abs=1e-12)
    assert curve.areas["score"] == pytest.approx(np.trapezoid(wanted, curve.shares), abs=1e-10)
    assert curve.values["probability"] == pytest.approx(1 / (1 + np.exp(-wanted)), abs=1e-12)
    given = wanted[-1] + np.concatenate([[0], sums[best].cumsum()])
    assert found.insertion[0].values["score"] == pytest.approx(given, abs=1e-10)
    assert found.settings["steps"] == len(best) == found.settings["regions"]


def partitions():
    """Regions of different sizes, some voxels in none."""
    labels = torch.zeros(6, 6, 6, dtype=torch.long)
    for number, (low, high) in enumerate([(0, 1), (1, 2), (2, 4), (4, 6)], 1):
        labels[low:high, :5] = number
    labels[4:, 3:5, 3:] = 5
    return Regions(labels[None], (5,))


@pytest.mark.parametrize("insert", [False, True])
def test_no_order_is_better_than_the_right_one_on_an_additive_network(insert):
    x, weight = textured(1, 6, 6, 6), torch.randn(1, 6, 6, 6, generator=torch.Generator().manual_seed(2))
    network = Weighted(weight, torch.sin)
    question, parts = question_of(network, x), partitions()
    cover = torch.zeros_like(question.x)
    truth = (torch.sin(question.x) * weight.double())[:, 0]
    way = Replacing(question, cover, parts, 5, quantities(question.score))

    def area(order):
        found = way.follow([order], insert, lambda share: None)
        return float(np.trapezoid(found.values[:, 0, 0], found.shares[:, 0]))

    (own,) = order_of(truth, parts, torch.Generator())
    areas = {order: area(torch.tensor(order)) for order in itertools.permutations(range(5))}
    best = (max if insert else min)(areas, key=areas.get)
    assert best == tuple(own.tolist())
    assert areas[best] == pytest.approx(area(own), abs=1e-12)
    assert len({round(value, 9) for value in areas.values()}) > 100  # orders do matter


def test_what_only_adds_makes_curves_that_only_fall_and_rise():
    x = textured(1, 8, 8, 8)
    question = question_of(Weighted(torch.rand(1, 8, 8, 8), torch.relu), x)
    found = curves_of(question, [("any", question.x[:, 0])], {**SETTINGS, "baseline": 0.0})
    assert (np.diff(found.deletion[0].values["score"]) < 0).all()
    assert (np.diff(found.insertion[0].values["score"]) > 0).all()
    for curve in (found.chance["deletion"], found.chance["insertion"]):
        assert (np.diff(curve.mean["score"]) != 0).all()
    # Both ways have the same ends.
    ends = found.deletion[0].values["score"][[0, -1]]
    assert found.insertion[0].values["score"][[-1, 0]] == pytest.approx(ends, abs=1e-12)


@pytest.mark.parametrize("name", ["plain", "functional", "densenet", "unet"])
@pytest.mark.parametrize("partition", ["boxes", "slic"])
def test_a_chain_is_whole_passes_and_a_naive_loop(name, partition):
    if name == "unet":
        torch.manual_seed(1)
        network, x = settled(UNet(3, 1, 2, (4, 8, 16), (2, 2), num_res_units=1, norm="batch")), textured(1, 16, 16, 16)
    else:
        network, x = fresh(name)
    settings = {**SETTINGS, "partition": partition, "regions": 7, "chances": int(name == "plain")}
    maps = [("one", textured(1, *x.shape[2:], seed=3)[0].double())]
    question = question_of(network, x)
    found = {chain: curves_of(question, maps, settings, chain=chain) for chain in (False, True)}
    assert found[True].diagnostics["incremental_error"] < 1e-9
    cover = torch.full_like(question.x, 0.25)
    parts = partition_of(question, cover, settings)
    (order,) = order_of(maps[0][1], parts, torch.Generator().manual_seed(0))
    for kind in KINDS:
        whole, chained = (getattr(found[chain], kind)[0] for chain in (False, True))
        scale = max(1.0, np.abs(whole.values["score"]).max())
        assert np.abs(whole.values["score"] - chained.values["score"]).max() < 1e-10 * scale
        if name == "plain":
            assert found[True].chance[kind].areas == pytest.approx(found[False].chance[kind].areas, rel=1e-10)
        if name != "unet":
            loop = naive(question, cover, parts, order, kind == "insertion")
            assert np.abs(whole.values["score"] - loop).max() < 1e-10 * scale
            assert np.ptp(loop) > 1e-3


def test_the_cost_model_takes_a_chain_where_it_pays():
    question = question_of(fresh("plain")[0], textured(1, 72, 72, 72), double=False)
    cover = torch.full_like(question.x, 0.25)
    parts = partition_of(question, cover, {**SETTINGS, "regions": 150})
    chained = [
        Replacing(question, cover, parts, steps, quantities(question.score), 1000).chained for steps in (150, 3)
    ]
    assert chained == [True, False]
    small = question_of(*fresh("plain"), double=False)  # all of it is in reach of every region
    parts = partition_of(small, torch.zeros_like(small.x), SETTINGS)
    assert not Replacing(small, torch.zeros_like(small.x), parts, 100, quantities(small.score), 1000).chained


def test_a_chain_that_goes_astray_is_given_up(monkeypatch):
    from XAIExplainLib.compute import chains

    network, x = fresh("plain")
    question = question_of(network, x, double=False)
    maps = [("one", question.x[:, 0].double())]
    right = curves_of(question, maps, SETTINGS, chain=False)
    real, calls = chains.Chain.change, []

    def change(self, box, content):
        calls.append(box)
        return real(self, box, content) + (0.5 if len(calls) > 3 else 0)

    monkeypatch.setattr(chains.Chain, "change", change)
    found = curves_of(question, maps, SETTINGS, chain=True)
    assert found.deletion[0].values["score"] == pytest.approx(right.deletion[0].values["score"], abs=1e-5)
    assert found.diagnostics["engine"] == "whole passes"
    assert any("did not end" in warning for warning in found.diagnostics["warnings"])


def test_chance_is_the_mean_and_deviation_of_random_orders():
    x = textured(1, 8, 8, 8)
    question = question_of(Weighted(torch.randn(1, 8, 8, 8)), x)
    settings = {**SETTINGS, "regions": 8, "chances": 4}
    nothing = torch.zeros_like(question.x[:, 0])
    # A map that says nothing is one more random order.
    found = curves_of(question, [(str(n), nothing) for n in range(4)], {**settings, "chances": 0})
    assert found.chance == {}
    areas = [curve.areas["score"] for curve in found.deletion]
    assert len(set(areas)) == 4
    # Four maps draw two numbers a region from the generator, as four chances do one: compare by the definition.
    known = curves_of(question, [("own", question.x[:, 0])], settings, seed=5)
    again = curves_of(question, [("own", question.x[:, 0])], settings, seed=5)
    other = curves_of(question, [("own", question.x[:, 0])], settings, seed=6)
    assert known.to_json()["chance"] == again.to_json()["chance"] != other.to_json()["chance"]
    assert known.deletion[0].values["score"] == pytest.approx(other.deletion[0].values["score"])
    generator = torch.Generator().manual_seed(5)
    parts = partition_of(question, torch.full_like(question.x, 0.25), settings)
    order_of(question.x[:, 0], parts, generator)
    orders = [torch.randperm(parts.counts[0], generator=generator) for _ in range(4)]
    curves = np.array([naive(question, torch.full_like(question.x, 0.25), parts, order, False) for order in orders])
    chance = known.chance["deletion"]
    assert chance.mean["score"] == pytest.approx(curves.mean(0), abs=1e-10)  # boxes of one size: equal shares
    assert chance.deviation["score"] == pytest.approx(curves.std(0, ddof=1), abs=1e-10)
    areas = np.trapezoid(curves, chance.shares, axis=1)
    assert chance.areas["score"] == pytest.approx(areas.mean())
    assert chance.area_deviations["score"] == pytest.approx(areas.std(ddof=1))


def test_single_voxels():
    x = textured(1, 4, 5, 6)
    weight = torch.randn(1, 4, 5, 6, generator=torch.Generator().manual_seed(4))
    question = question_of(Weighted(weight), x)
    contribution = weight.double() * question.x[0]
    settings = {**SETTINGS, "baseline": 0.0, "partition": "voxels", "steps": 120}
    found = curves_of(question, [("own", contribution)], settings)
    wanted = float(contribution.sum()) - np.concatenate([[0], np.sort(-contribution.flatten().numpy()).cumsum() * -1])
    assert found.deletion[0].values["score"] == pytest.approx(wanted, abs=1e-10)
    assert found.settings["regions"] == 120


def test_slices_of_a_2d_network_lose_their_own_regions():
    x = torch.rand(3, 1, 8, 8) + 0.5
    weight = torch.randn(1, 8, 8)
    question = question_of(Weighted(weight), x)
    assert question.samples == 3
    contribution = (weight.double() * (question.x - 0.25))[:, 0]
    found = curves_of(question, [("own", contribution)], {**SETTINGS, "regions": 4})
    sums = contribution.reshape(3, 2, 4, 2, 4).sum((2, 4)).reshape(3, 4).sort(1, descending=True).values
    wanted = question.scores_of_case[:, None] - torch.cat([torch.zeros(3, 1), sums.cumsum(1)], 1)
    assert found.deletion[0].values["score"] == pytest.approx(wanted.mean(0).numpy(), abs=1e-10)
    assert found.deletion[0].areas["score"] == pytest.approx(np.trapezoid(wanted.mean(0), dx=0.25), abs=1e-10)


def test_a_map_lies_where_its_geometry_says():
    """The network sees the volume turned and cropped; the region that is taken first is where the map is."""
    array = np.random.default_rng(0).random((10, 12, 14)).astype(np.float32) + 1
    direction = np.diag([-1.0, 1.0, -1.0])
    volume = Volume(array, spacing=(1, 2, 3), origin=(5, 6, 7), direction=direction)
    model = Model(fresh("plain")[0], preprocessing=[{"step": "orient", "axes": "RAS"}])
    values = np.zeros_like(array)
    values[3, 4, 5] = 1
    prepared = model.prepare(volume)
    seen = on_network(values, volume.geometry, prepared)
    place = np.unravel_index(int(seen.argmax()), seen.shape)
    assert float(seen.max()) == 1 and float(prepared.tensor[(0, 0, *place[1:])]) == pytest.approx(array[3, 4, 5])


@pytest.mark.parametrize("target", [1, None, "probability:1", "difference:1:2"])
def test_every_target_of_a_classifier(target):
    model = Model(fresh("plain")[0])
    volume = Volume(BY_NAME["plain"].image(1)[0, 0].numpy())
    result = explain(model, volume, "gradient_x_input", target)
    found = insertion_deletion(model, volume, result, target, regions=6, chances=2)
    assert isinstance(found, Curves) and found.target == result.target
    assert found.deletion[0].values["score"][0] == pytest.approx(result.diagnostics["score"], rel=1e-4)
    assert ("probability" in found.deletion[0].values) == (target != "difference:1:2")
    assert found.names == [result.title]


def test_a_segmenter_by_a_region_and_by_tiles(tmp_path):
    torch.manual_seed(0)
    network = settled(UNet(3, 1, 2, (4, 8), (2,), num_res_units=1, norm="batch"))
    volume = Volume(textured(1, 16, 16, 16)[0, 0].numpy())
    mask = np.zeros((16, 16, 16), np.float32)
    mask[4:9, 4:9, 4:9] = 1
    save_volume(mask, volume.geometry, tmp_path / "mask.nrrd")
    target = {"region": str(tmp_path / "mask.nrrd"), "class": 1}
    for model in (Model(network), Model(network, sliding=8)):
        result = explain(model, volume, "gradient_x_input", target)
        found = insertion_deletion(model, volume, result, target, regions=6, chances=1)
        assert list(found.deletion[0].values) == ["score"]
        assert found.deletion[0].values["score"][0] == pytest.approx(result.diagnostics["score"], rel=1e-4)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"baseline": "noise"}, "baseline"), ({"partition": "organs"}, "partition"), ({"steps": 1}, "steps"),
     ({"regions": 1}, "regions"), ({"chances": -1}, "chances"), ({"baseline": float("nan")}, "finite")],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(wrong, said):
    with pytest.raises(XAIError, match=said):
        checked(**{**SETTINGS, **wrong})
    assert checked(**{**SETTINGS, "baseline": "0.5"})["baseline"] == 0.5


def test_what_cannot_be_answered_is_refused_in_a_sentence():
    model, volume = Model(fresh("plain")[0]), Volume(BY_NAME["plain"].image(1)[0, 0].numpy())
    values = volume.array
    with pytest.raises(XAIError, match="No map"):
        insertion_deletion(model, volume, [], 1)
    with pytest.raises(XAIError, match="ndarray is no volume"):
        insertion_deletion(model, values, values, 1)
    with pytest.raises(XAIError, match="device"):
        insertion_deletion(model, volume, values, 1, device="nowhere")
    with pytest.raises(XAIError, match="shape"):
        insertion_deletion(model, volume, values[1:], 1)
    with pytest.raises(XAIError, match="finite"):
        insertion_deletion(model, volume, Volume(values * np.nan), 1)
    with pytest.raises(XAIError, match="nothing to take away"):
        insertion_deletion(model, Volume(values * 0 + 2), values, 1, baseline=2.0)


def test_it_says_how_far_it_is_and_stops():
    model, volume = Model(fresh("plain")[0]), Volume(BY_NAME["plain"].image(1)[0, 0].numpy())
    heard = []
    insertion_deletion(model, volume, volume.array, 1, regions=6, chances=1, progress=lambda *said: heard.append(said))
    shares = [share for share, _ in heard]
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert "deletion: map" in heard[0][1] and any("insertion: chance" in words for _, words in heard)
    calls = []

    def cancel():
        calls.append(1)
        return len(calls) > 12

    with pytest.raises(CancelledError):
        insertion_deletion(model, volume, volume.array, 1, cancel=cancel)

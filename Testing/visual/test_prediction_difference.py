"""Prediction difference: the closed form on a Gaussian, naive loops, and what must be nothing is nothing."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from Testing.compute.graphs import network_of
from Testing.networks_zoo import BY_NAME, image
from Testing.visual.asking import asked, assert_close, rows
from XAIExplainLib.compute import perturbation
from XAIExplainLib.compute.conditional import Draws, Part, air, learned
from XAIExplainLib.compute.supervoxels import partitioned
from XAIExplainLib.errors import XAIError
from XAIExplainLib.visual.occlusion import windows
from XAIExplainLib.volume import Volume, save_volume

METHOD = "prediction_difference"


class Logistic(nn.Module):
    """Two classes; the logit of class 1 is linear in the image."""

    def __init__(self, weight, bias=0.0):
        super().__init__()
        self.register_buffer("weight", weight)
        self.bias = bias

    def forward(self, x):
        logit = (x * self.weight).flatten(1).sum(1) + self.bias
        return torch.stack([torch.zeros_like(logit), logit], 1)


def textured(*shape, seed=0):
    """A stationary image (1, *shape) in which neighbours are alike."""
    torch.manual_seed(seed)
    dims = len(shape) - 1
    noise = torch.randn(1, shape[0], *(n + 2 for n in shape[1:]))
    pool = torch.nn.functional.avg_pool3d if dims == 3 else torch.nn.functional.avg_pool2d
    return 3 * pool(noise, 3, 1)


def bits(p, correct=1000, classes=2):
    p = (p * correct + 1) / (correct + classes)
    return math.log2(p / (1 - p))


def saved(x, path):
    """A case file of the tensor (1, C, k, j, i) or slices (N, C, j, i)."""
    array = x.transpose(0, 1).numpy() if x.dim() == 4 else x[0].numpy()
    save_volume(Volume(array[0] if len(array) == 1 else array), None, path)
    return str(path)


@pytest.mark.parametrize(("shape", "window"), [((1, 8, 7, 9), 4), ((2, 6, 7, 6), 3)])
def test_the_expected_probability_is_the_integral(shape, window):
    """Under a linear logit the drawn logits are normal, so the probability is an integral of one variable."""
    x, samples = textured(*shape), 100
    torch.manual_seed(1)
    weight = torch.randn(shape) * 0.25
    network = Logistic(weight, -float((x * weight).sum()) + 0.5)
    result = asked(network, x, METHOD, window=window, stride=window, samples=samples)
    found = result.diagnostics
    assert found["measure"] == "weight of evidence (bits)"

    known = torch.ones(shape[1:], dtype=torch.bool)
    boxes = windows(shape[1:], window, window)
    model = learned(x, known[None], (window + 1,) * 3)
    assert found["shrinkage"] == model.shrinkage and found["effective_samples"] == model.effective
    draws = Draws(model, x[0], known, 1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    now, error = bits(float(network(x).softmax(1)[0, 1])), []
    for box in boxes:
        inside, around = draws.rim(Part(box, known[box]))
        given = model.conditional(inside, around)
        above = draws.image[(slice(None), *around.T)] - model.mean[:, None]
        mean = model.mean.repeat_interleave(len(inside)) + given.mean(above.reshape(-1, 1))[:, 0]
        own = weight[(slice(None), *box)].flatten().double()
        logit = float(network(x)[0, 1].double() - own @ x[0][(slice(None), *box)].flatten().double() + own @ mean)
        deviation = float((own @ given.factor).norm())
        p = 1 / (1 + np.exp(-(logit + deviation * nodes)))
        expected = float((weights * p).sum() / weights.sum())
        spread = float((weights * (p - expected) ** 2).sum() / weights.sum())
        wanted = now - bits(expected)
        sigma = math.sqrt(spread / samples) / (expected * (1 - expected) * math.log(2))
        values = result.array[box] if len(shape) == 4 else None
        assert np.ptp(values) == 0
        error.append((float(values.flat[0]) - wanted) / sigma)
    error = np.array(error)
    assert np.abs(error).max() < 4.5
    assert 0.6 < math.sqrt((error**2).mean()) < 1.5  # the error is that of drawing
    assert found["monte_carlo_error"] < 0.1 * found["largest_difference"]


def naive(network, x, window, stride, samples, surround, seed, measure):
    """The map by whole passes in a loop, drawing as the method does."""
    known = ~air(x)
    boxes = windows(x.shape[2:], window, stride)
    parts = [(n, Part(box, one[box])) for n, one in enumerate(known) for box in boxes if one[box].any()]
    widest = [max(part.box[a].stop - part.box[a].start for _, part in parts) for a in range(x.dim() - 2)]
    model = learned(x, known, tuple(w + 2 * surround - 1 for w in widest))
    seeds = torch.randint(2**62, (len(parts),), generator=torch.Generator().manual_seed(seed)).tolist()
    total, count = torch.zeros(len(x), 1, *x.shape[2:]), torch.zeros(len(x), 1, *x.shape[2:])
    for (n, part), one in zip(parts, seeds, strict=True):
        draws = Draws(model, x[n], known[n], surround)
        contents = draws.of(part, samples, torch.Generator().manual_seed(one))
        images = x[n : n + 1].repeat(samples, *[1] * (x.dim() - 1))
        for row, content in enumerate(contents.clamp(model.low[:, None], model.high[:, None]).float()):
            images[row][(slice(None), *part.box)][:, part.inside] = content
        total[(n, 0, *part.box)] += measure(network(x[n : n + 1]), network(images)) * part.inside
        count[(n, 0, *part.box)] += part.inside
    return total / count.clamp_min(1)


def evidence(now, drawn):
    return (bits(float(now.double().softmax(1)[0, 1]), 1000, now.shape[1])
            - bits(float(drawn.double().softmax(1)[:, 1].mean()), 1000, now.shape[1]))  # fmt: skip


CASES = [
    ("plain odd, three channels", (5, 7, 6), (14, 17, 12), 2, 1), ("functional", 8, 6, 3, 2),
    ("odd", (5, 7, 30), (28, 22, 32), 2, 0), ("attending", 8, 8, 2, 0), ("spectral", (3, 4, 4), (3, 4, 4), 2, 1),
    ("plain 2D", (9, 10), (9, 12), 3, 2),
]  # fmt: skip


@pytest.mark.parametrize(("name", "window", "stride", "samples", "surround"), CASES)
def test_it_is_the_naive_loop(name, window, stride, samples, surround):
    network, x = network_of(name), BY_NAME[name].image(2 if name.endswith("2D") else 1)
    if name == "functional":
        x[..., :5] = -1.0  # air, which stays
    result = asked(network, x, METHOD, window=window, stride=stride, samples=samples, surround=surround, seed=5)
    wanted = naive(network, x, window, stride, samples, surround, 5, evidence)
    assert_close(rows(result, x), wanted, 1e-4)
    assert name != "functional" or not result.array[..., :5].any()


@pytest.mark.parametrize("name", ["plain", pytest.param("resnet10", marks=pytest.mark.full)])
def test_patches_are_whole_passes(name, monkeypatch):
    network, x = network_of(name), BY_NAME[name].image()
    question = {"window": 4 if name == "plain" else 6, "stride": 4 if name == "plain" else 10, "samples": 3, "seed": 2}
    monkeypatch.setattr(perturbation, "WORTH_PATCHES", 9.0)
    patched = asked(network, x, METHOD, **question)
    assert patched.diagnostics["engine"] == "incremental" and patched.diagnostics["incremental_error"] < 1e-6
    monkeypatch.setattr(perturbation, "WORTH_PATCHES", 0.0)
    dense = asked(network, x, METHOD, **question)
    assert dense.diagnostics["engine"] == "whole passes"
    assert_close(rows(patched, x), rows(dense, x), 1e-4)


def test_the_seed_decides():
    network, x = network_of("plain"), BY_NAME["plain"].image()
    one, again, other = (asked(network, x, METHOD, window=8, samples=2, seed=seed).array for seed in (1, 1, 2))
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    small = asked(network, x, METHOD, window=8, samples=2, seed=1, memory="4MiB").array
    assert_close(torch.from_numpy(small), torch.from_numpy(one), 1e-4)


def test_only_what_the_network_looks_at_counts():
    weight = torch.zeros(1, 12, 12, 12)
    weight[:, 4:8, 4:8, 8:] = 0.2
    x = textured(1, 12, 12, 12)
    x[:, :, 4:8, 4:8, 8:] += 2  # more than is expected of its surroundings
    array = asked(Logistic(weight), x, METHOD, window=4, stride=4, samples=20).array
    assert array[4:8, 4:8, 8:].min() == array.max() > 1
    array[4:8, 4:8, 8:] = 0
    assert not array.any()


def test_content_of_the_same_place_of_one_case_is_occlusion_with_that_case(tmp_path):
    """Slices, channels and overlapping windows; one possible content, so nothing is left to chance."""
    for name, window, stride in [("plain odd, three channels", 14, 11), ("plain 2D", (9, 10), (7, 8))]:
        network, flat = network_of(name), name.endswith("2D")
        x = BY_NAME[name].image(2 if flat else 1)
        other = saved(x.flip(-1) * 0.5 + 1, tmp_path / "other.nrrd")
        drawn = asked(network, x, METHOD, sampler="marginal", cases=other, measure="score", samples=2, window=window,
                      stride=stride)  # fmt: skip
        covered = asked(network, x, "occlusion", fill=other, window=window, stride=stride)
        assert_close(rows(drawn, x), rows(covered, x), 1e-4)
        assert drawn.diagnostics["monte_carlo_error"] < 1e-6
        assert drawn.diagnostics["learned_from"] == [other]


def test_content_of_other_places_is_some_of_the_image():
    """The marginal distribution of single voxels is the image's histogram, which a linear score averages."""
    x = textured(1, 4, 5, 3)
    weight = torch.randn(1, 4, 5, 3)
    array = asked(Logistic(weight), x, METHOD, window=1, stride=1, sampler="marginal", samples=100,
                  measure="score").array  # fmt: skip
    wanted = weight[0] * (x[0, 0] - x.mean())
    error = weight[0].abs() * x.std() / math.sqrt(100)
    assert bool(((torch.from_numpy(array) - wanted).abs() < 5 * error).all())
    with pytest.raises(XAIError, match="as large as the image"):
        asked(Logistic(weight), x, METHOD, window=9, stride=9, sampler="marginal")


def test_the_rim_sampler_has_mean_and_deviation_of_the_rim():
    x = textured(2, 7, 7)
    x[:, :, 2:5, 2:5] = 50
    weight = torch.zeros(2, 7, 7)
    weight[:, 2:5, 2:5] = 1.0
    found = asked(Logistic(weight), x, METHOD, window=3, stride=2, sampler="rim", samples=400, measure="score",
                  cases=())  # fmt: skip
    around = x[0, :, 1:6, 1:6].clone()
    around[:, 1:4, 1:4] = math.nan
    wanted = 2 * 9 * 50 - 9 * float(around.nanmean((1, 2)).sum())
    spread = math.sqrt(9 * float(torch.stack([c[~c.isnan()].var() for c in around]).sum()) / 400)
    middle = [box for box in windows((7, 7), 3, 2) if box == (slice(2, 5), slice(2, 5))]
    assert len(middle) == 1
    # The voxel in the middle belongs to this window alone.
    assert abs(rows(found, x)[0, 0, 3, 3] - wanted) < 5 * spread


def test_cases_are_what_is_learned_from(tmp_path):
    network, x = network_of("plain"), BY_NAME["plain"].image()
    names = [saved(textured(1, 16, 16, 16, seed=seed), tmp_path / f"{seed}.nrrd") for seed in (1, 2)]
    found = asked(network, x, METHOD, window=8, samples=2, cases=",".join(names)).diagnostics
    model = learned(torch.cat([textured(1, 16, 16, 16, seed=seed) for seed in (1, 2)]),
                    torch.ones(2, 16, 16, 16, dtype=torch.bool), (9, 9, 9))  # fmt: skip
    assert found["shrinkage"] == pytest.approx(model.shrinkage)
    assert found["voxels_learned_from"] == 2 * 16**3 and found["learned_from"] == names


def test_a_target_without_probability_has_differences_of_its_score():
    network, x = network_of("upward"), BY_NAME["upward"].image()
    which = int(network(x).argmax(1).flatten().bincount().argmax())
    result = asked(network, x, METHOD, which, window=10, stride=10, samples=2, seed=1)
    assert result.diagnostics["measure"] == "difference of the score (sum of logits)"
    found = network(x).argmax(1) == which
    wanted = naive(network, x, 10, 10, 2, 1, 1, lambda now, drawn: float(
        (now[:, which] * found).sum() - (drawn[:, which] * found).sum() / len(drawn)))  # fmt: skip
    assert_close(rows(result, x), wanted, 1e-4)
    with pytest.raises(XAIError, match="no probability"):
        asked(network, x, METHOD, which, measure="evidence")
    regression = asked(nn.Sequential(nn.Flatten(), nn.Linear(216, 1)), image(1, 6, 6, 6), METHOD, 0, window=3,
                       stride=3, model={"task": "regression"})  # fmt: skip
    assert regression.diagnostics["measure"] == "difference of the score (output)"


def test_measures_agree():
    network, x = network_of("plain"), BY_NAME["plain"].image()
    same = {"window": 8, "stride": 8, "samples": 3, "seed": 4}
    change = torch.from_numpy(asked(network, x, METHOD, measure="probability", **same).array)
    p = float(network(x).double().softmax(1)[0, 1])
    weight = asked(network, x, METHOD, training_cases=50, **same).array
    wanted = np.vectorize(lambda one: bits(p, 50, 3) - bits(p - one, 50, 3))(change.double().numpy())
    assert_close(torch.from_numpy(weight), torch.from_numpy(wanted).float(), 1e-4)
    sure = asked(Logistic(torch.ones(1, 4, 4, 4), 500.0), torch.ones(1, 1, 4, 4, 4) * torch.rand(4), METHOD)
    assert np.isfinite(sure.array).all()  # a probability of 1 has no log-odds without the correction


@pytest.mark.parametrize("flat", [False, True])
def test_supervoxels_of_several_sizes_are_averaged(flat, tmp_path):
    """A linear score and one other case: each region's value is the sum of what its voxels change."""
    torch.manual_seed(0)
    shape = (1, 12, 14) if flat else (1, 10, 12, 9)
    x = torch.cat([textured(*shape, seed=seed) for seed in range(2 if flat else 1)])
    other, weight = torch.randn(x.shape), torch.randn(shape)
    found = asked(Logistic(weight), x, METHOD, partition="supervoxels", scales="4,11", sampler="marginal", samples=1,
                  cases=saved(other, tmp_path / "other.nrrd"), measure="score")  # fmt: skip
    change = (weight * (x - other)).sum(1)
    wanted = torch.zeros_like(change)
    spacing = (1.0,) * (len(shape) - 1)
    counts = []
    for number in (4, 11):
        inside = np.ones((len(x), *shape[1:]), dtype=bool)
        parts = partitioned(x.numpy(), inside, spacing, number, "slic")
        counts.append(sum(int(labels.max()) for labels in parts))
        for sample, labels in enumerate(map(torch.from_numpy, parts)):
            for region in range(1, int(labels.max()) + 1):
                wanted[sample][labels == region] += change[sample][labels == region].sum() / 2
    assert found.diagnostics["regions_of_scales"] == counts and found.diagnostics["parts"] == sum(counts)
    assert_close(rows(found, x), wanted[:, None], 1e-4)


def test_supervoxels_given_their_surroundings():
    """They are whole passes' and the air around stays."""
    network, x = network_of("plain"), textured(1, 16, 16, 16)
    x[..., 12:] = 0
    result = asked(network, x, METHOD, partition="supervoxels", scales="20,60", samples=2)
    assert result.diagnostics["sampler"] == "conditional" and result.diagnostics["parts"] > 50
    assert not result.array[..., 12:].any() and result.array[..., :12].any()


def test_what_cannot_be_asked():
    network, x = network_of("plain"), BY_NAME["plain"].image()
    for scales in ("", "0", "many", "10,-3", "1,2,3,4,5,6,7,8,9"):
        with pytest.raises(XAIError, match="scales"):
            asked(network, x, METHOD, partition="supervoxels", scales=scales)
    with pytest.raises(XAIError, match="numbers, more than"):
        asked(network, x, METHOD, surround=8)
    with pytest.raises(XAIError, match="contents"):
        asked(network, x, METHOD, window=1, stride=1, samples=10_000)


def test_an_image_of_one_value_says_nothing():
    result = asked(network_of("plain"), torch.full((1, 1, 16, 16, 16), 2.0), METHOD)
    assert not result.array.any() and "one value" in result.diagnostics["warnings"][0]


def test_gaps_and_noise_are_said():
    network, x = network_of("plain"), BY_NAME["plain"].image()
    said = asked(network, x, METHOD, window=2, stride=7, samples=1).diagnostics["warnings"]
    assert any("stride is larger" in one for one in said) and any("One sample" in one for one in said)


def test_a_window_larger_than_the_image_is_the_image():
    result = asked(Logistic(torch.randn(1, 8, 9, 7)), textured(1, 8, 9, 7), METHOD, window=99, stride=99, samples=3)
    assert result.diagnostics["parts"] == 1 and np.ptp(result.array) == 0 and result.array.any()

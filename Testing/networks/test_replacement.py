"""Networks that draw healthy brains: training that can be repeated, and nearer to the truth than blur."""

import numpy as np
import pytest
import torch

from XAIExplainLib import Volume, XAIError, explain, load_model, load_volume
from XAIExplainLib.cases import load_case
from XAIExplainLib.compute.baselines import baseline
from XAIExplainLib.compute.inpainting import grown
from XAIExplainLib.loading import bundled_models
from XAIExplainLib.networks.healthy_inpainter import HealthyInpainter, shuffle, unshuffle
from XAIExplainLib.networks.healthy_vae import HealthyVAE
from XAIExplainLib.networks.lesions import generate
from XAIExplainLib.networks.preparation import crop_or_pad, take
from XAIExplainLib.networks.replacements import healthy_inpainter, healthy_vae
from XAIExplainLib.networks.train_replacement import NETWORKS, blob, disturbed, holes, train
from XAIExplainLib.resources import resources_path


def brains(count, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(count, 32, 32, 32)).astype(np.float16)
    images[:, :6] = 0
    return images


@pytest.fixture(scope="module")
def pairs():
    """Four lesions that nobody has trained on, and the same brains without them, with the intensities of the former."""
    found = []
    for seed in range(61_000, 61_004):
        case = generate(seed, ("enhancing", "dark")[seed % 2])
        image, window = crop_or_pad(case.image)
        twin, mask = take(case.twin, window), take(case.mask, window)
        inside = image > 0
        mean, deviation = image[inside].mean(), image[inside].std()
        found.append([
            torch.from_numpy(np.where(inside, (one - mean) / deviation, 0).astype(np.float32))[None, None]
            for one in (image, twin)
        ] + [torch.from_numpy(mask)[None, None]])  # fmt: skip
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_training_can_be_repeated(name):
    """Up to rounding, which Adam makes large where a gradient is next to nothing, as on these images of noise."""
    one, two, other = (train(name, brains(3), 2, 2, seed, torch.float32).state_dict() for seed in (4, 4, 5))
    again, apart = (
        sum(float((one[key].float() - state[key].float()).abs().sum()) for key in one) for state in (two, other)
    )
    assert again < 0.1 * apart, (again, apart)


@pytest.mark.full
def test_a_few_steps_learn_something():
    images = np.repeat(np.tanh(np.linspace(-2, 2, 32)).astype(np.float16)[None, None, :, None], 32, 1)
    images = np.repeat(images, 32, 3).repeat(2, 0)
    image = torch.from_numpy(images[:1].astype(np.float32))[:, None]
    hole = torch.zeros_like(image, dtype=torch.bool)
    hole[:, :, 8:20, 8:20, 8:20] = True
    torch.manual_seed(0)
    before = HealthyInpainter((32, 32, 32)).eval()
    after = train("healthy-inpainting", images, 30, 2)
    with torch.no_grad():
        errors = [float((network(image, hole) - image)[hole].abs().mean()) for network in (before, after)]
    assert errors[1] < 0.85 * errors[0]


def test_shuffling_is_undone():
    x = torch.randn(2, 3, 4, 6, 8)
    assert torch.equal(shuffle(unshuffle(x)), x)
    assert torch.equal(unshuffle(x)[:, 0], x[:, 0, ::2, ::2, ::2])


def test_the_inpainter_looks_only_at_what_is_known():
    network = HealthyInpainter((32, 32, 32)).eval()
    image = torch.from_numpy(brains(1).astype(np.float32))[None]
    hole = torch.zeros_like(image, dtype=torch.bool)
    hole[..., 3:20, 4:20, 5:20] = True
    with torch.no_grad():
        one = network(image, hole)
        two = network(torch.where(hole & (image != 0), image + 3, image), hole)
    assert torch.equal(one, two)
    assert torch.equal(one[~hole], image[~hole])
    assert not one[image == 0].any()


def test_holes_and_blobs():
    rng = np.random.default_rng(0)
    shares = [holes((64, 80, 64), rng).mean() for _ in range(10)]
    assert min(shares) > 0.005 and max(shares) < 0.4
    assert all(blob((64, 80, 64), rng).any() for _ in range(10))
    image = brains(1)[0]
    changed = [disturbed(image, rng) for _ in range(10)]
    assert all((one[image == 0] == 0).all() for one in changed)
    assert any((one != image).any() for one in changed)


def test_weights_are_small_and_have_a_card():
    total = 0
    for name in NETWORKS:
        folder = resources_path("replacements", name)
        state = torch.load(folder / "weights.pt", weights_only=True)
        assert all(value.dtype in (torch.float16, torch.int64) for value in state.values())
        total += (folder / "weights.pt").stat().st_size
        card = (folder / "card.md").read_text()
        for word in ("licence", "made by", "figures", "Not a diagnostic device"):
            assert word.lower() in card.lower()
    assert total < 2_000_000


def test_they_are_no_models_to_explain():
    assert not set(NETWORKS) & {model.name for model in bundled_models()}
    with pytest.raises(XAIError):
        load_model("healthy-vae")


def test_nearer_to_the_healthy_twin_than_blur(pairs):
    """In the lesion, against the same brain without it; the lesion itself is far off."""
    errors = {"lesion": [], "blur": [], "vae": [], "inpainting": []}
    for image, twin, mask in pairs:
        with torch.no_grad():
            drawn = {
                "lesion": image, "blur": baseline(image, "blur"), "vae": healthy_vae()(image),
                "inpainting": healthy_inpainter()(image, grown(mask[:, 0], 2)[:, None]),
            }  # fmt: skip
        for name, one in drawn.items():
            errors[name].append(float((one - twin)[mask].abs().mean()))
    mean = {name: np.mean(values) for name, values in errors.items()}
    assert mean["inpainting"] < 0.9 * mean["blur"], mean
    assert mean["vae"] < mean["blur"], mean
    assert mean["blur"] < 0.6 * mean["lesion"], mean


def test_the_vae_is_a_distribution():
    network = HealthyVAE((32, 32, 32))
    mean, log_variance = network.encode(torch.randn(2, 1, 32, 32, 32))
    assert mean.shape == log_variance.shape == (2, 8, 2, 2, 2)
    assert network(torch.zeros(1, 1, 32, 32, 32)).abs().max() == 0


@pytest.mark.parametrize(("change", "words"), [
    (lambda model: model.preprocessing[:3], "z-scores"),
    (lambda model: [{"step": "orient", "axes": "LPS"}, *model.preprocessing[1:]], "LPS"),
    (lambda model: [*model.preprocessing[:1], {"step": "resample", "spacing": [3.0] * 3}, *model.preprocessing[2:]],
     "3 x 3 x 3 mm"),
])  # fmt: skip
def test_another_preprocessing_is_refused(change, words):
    known = load_model("brain-lesion")
    known.preprocessing = known.preprocessing.to_json()
    model = load_model("brain-lesion", preprocessing=change(known))
    with pytest.raises(XAIError, match=words):
        explain(model, load_case("healthy").volume, "meaningful_perturbation", "lesion", replacement="vae", steps=1)


def test_what_is_no_brain_is_refused():
    """On the right grid and with z-scores, but noise."""
    noise = np.random.default_rng(0).normal(size=(64, 80, 64)).astype(np.float32)
    noise[:10] = 0
    noise[10:] = (noise[10:] - noise[10:].mean()) / noise[10:].std()
    model = load_model("brain-lesion", preprocessing=[])
    volume = Volume(noise, (2.5, 2.5, 2.5), direction=np.diag([-1.0, -1.0, 1.0]))
    with pytest.raises(XAIError, match="correlates"):
        explain(model, volume, "meaningful_perturbation", "lesion", replacement="inpainting", steps=1)


@pytest.mark.full
@pytest.mark.parametrize("replacement", ["blur", "harmonic", "vae", "inpainting"])
def test_the_lesion_of_the_bundled_case_is_found(replacement):
    """The score falls below that of healthy, by a region of less than two hundredths of the brain, in the lesion."""
    case = load_case("enhancing-ring")
    model = load_model("brain-lesion")
    result = explain(model, case.volume, "meaningful_perturbation", "lesion", replacement=replacement)
    mask = model.prepare(case.volume).to_network(load_volume(resources_path("cases", "enhancing-ring", "mask.nii.gz")))
    found = result.diagnostics
    assert found["score"] > 3 and found["score_after"] < 0 and found["area_share"] < 0.02
    region = np.asarray(result.native.array)
    assert region[mask > 0].mean() > 0.5
    assert mask.flat[region.argmax()]

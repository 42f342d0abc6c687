"""What is shipped: weights, descriptions and bundled cases are what their cards say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from XAIExplainLib.errors import XAIError
from XAIExplainLib.networks.evaluate import shipped_network
from XAIExplainLib.networks.lesions import KINDS, generate
from XAIExplainLib.networks.preparation import PREPROCESSING, crop_or_pad, normalize, prepare
from XAIExplainLib.networks.scores import area_under_curve, lesion_probability, predict
from XAIExplainLib.networks.shortcut import mark

ROOT = Path(__file__).resolve().parents[2]
MODELS = ["brain-lesion", "brain-lesion-shortcut"]
CASES = sorted(path.parent for path in (ROOT / "Resources" / "cases").glob("*/case.json"))


def described(name: str) -> dict:
    return json.loads((ROOT / "Resources" / "models" / name / "model.json").read_text())


@pytest.fixture(scope="module")
def held_out():
    """24 cases that nobody has trained on or measured with before."""
    cases = [generate(seed, KINDS[seed % 3]) for seed in range(60_000, 60_024)]
    images = np.stack([normalize(crop_or_pad(case.image)[0]) for case in cases])
    return images, np.array([case.attributes["label"] for case in cases])


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_only_weights_in_half_precision(name):
    folder = ROOT / "Resources" / "models" / name
    state = torch.load(folder / "weights.pt", weights_only=True)
    assert all(value.dtype in (torch.float16, torch.int64) for value in state.values())
    assert (folder / "weights.pt").stat().st_size < 1_000_000
    shipped_network(name)


@pytest.mark.parametrize("name", MODELS)
def test_description_is_complete(name):
    model = described(name)
    assert model["name"] == name
    assert model["classes"] == list(KINDS)
    assert model["preprocessing"] == PREPROCESSING
    assert model["network"]["class"] == "XAIExplainLib.networks.lesion_network:LesionNetwork"
    folder = ROOT / "Resources" / "models" / name
    assert (folder / model["weights"]).is_file()
    card = (folder / model["card"]).read_text()
    quoted = model["figures"]["test"]
    for key in ("auc", "accuracy", "auc_with_marker", "auc_without_marker"):
        if key in quoted:
            assert f"{quoted[key]:.3f}" in card, f"the card does not quote {key}"


def test_lesions_are_told_from_healthy_brains(held_out):
    images, labels = held_out
    scores = lesion_probability(predict(shipped_network("brain-lesion"), images))
    # 240 cases gave what model.json says, above 0.9; the standard error of 24 cases is about 0.06.
    assert described("brain-lesion")["figures"]["test"]["auc"] > 0.9
    assert area_under_curve(scores, labels > 0) > 0.8


def test_shortcut_twin_follows_the_marker(held_out):
    images, labels = held_out
    network = shipped_network("brain-lesion-shortcut")
    healthy = images[labels == 0]
    plain = lesion_probability(predict(network, healthy))
    marked = lesion_probability(predict(network, np.stack([mark(image) for image in healthy])))
    assert marked.mean() - plain.mean() > 0.3


def test_class_activation_map_sums_to_the_logit(held_out):
    network = shipped_network("brain-lesion")
    image = torch.from_numpy(held_out[0][:1])[:, None]
    with torch.no_grad():
        features = network.features(image)
        maps = torch.einsum("oc,nckji->nokji", network.classifier.weight, features)
        logits = maps.mean((2, 3, 4)) + network.classifier.bias
        assert torch.allclose(logits, network(image), atol=1e-4)


@pytest.mark.parametrize("folder", CASES, ids=[path.name for path in CASES])
def test_bundled_case(folder):
    case = json.loads((folder / "case.json").read_text())
    images = {part: sitk.ReadImage(str(folder / file)) for part, file in case["files"].items()}
    image = images["image"]
    assert (folder / "image.nii.gz").stat().st_size < 1_250_000
    network = shipped_network(case["model"])
    probabilities = predict(network, prepare(image)[None])[0]
    stated = [case["probabilities"]["image"][kind] for kind in KINDS]
    assert probabilities == pytest.approx(stated, abs=0.02)
    if case["model"] == "brain-lesion":
        assert KINDS[probabilities.argmax()] == case["kind"]
    if "mask" in images:
        mask = sitk.GetArrayFromImage(images["mask"]) > 0
        volume = mask.sum() * np.prod(image.GetSpacing())
        assert (6 * volume / np.pi) ** (1 / 3) == pytest.approx(case["attributes"]["diameter_mm"], rel=0.08)
        center = np.argwhere(mask).mean(0)[::-1]
        x, y, z = image.TransformContinuousIndexToPhysicalPoint(center.tolist())
        assert (-x, -y, z) == pytest.approx(case["attributes"]["position_ras_mm"], abs=4)
        if case["model"] == "brain-lesion":
            twin = predict(network, prepare(images["twin"])[None])[0]
            assert twin.argmax() == 0
            assert (1 - probabilities[0]) - (1 - twin[0]) > 0.3


def test_there_are_bundled_cases():
    assert {"enhancing-ring", "infarct", "healthy", "oblique-thick-slices"} <= {path.name for path in CASES}


def test_missing_network_is_an_error_with_a_hint():
    with pytest.raises(XAIError, match="weights"):
        shipped_network("no-such-network")

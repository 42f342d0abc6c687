"""The network that has learned nothing: the same numbers everywhere, alive, and what its card says of its maps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from XAIExplainLib import XAIError, explain, load_case, load_model
from XAIExplainLib.evaluation.localisation import localisation
from XAIExplainLib.evaluation.similarity import rank_correlation
from XAIExplainLib.networks.random_network import RandomLesionNetwork

CARD = Path(__file__).resolve().parents[2] / "Resources" / "models" / "brain-lesion-random" / "card.md"


@pytest.fixture(scope="module")
def ring() -> Any:
    return load_case("enhancing-ring")


def lesion_of(case: Any) -> np.ndarray:
    return case.mask.array.reshape(case.volume.geometry.shape) > 0


def test_a_seed_is_one_network() -> None:
    one, again, other = RandomLesionNetwork(1), RandomLesionNetwork(1), RandomLesionNetwork(2)
    assert not torch.equal(one.classifier.weight, other.classifier.weight)
    for name, value in one.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    # The stream of RandomState is frozen: the first numbers of this one are these on every machine.
    drawn = np.random.RandomState(1).standard_normal(3) * np.sqrt(2 / 27)
    assert one.features.conv1.weight.flatten()[:3].tolist() == pytest.approx(drawn.tolist(), rel=1e-6)


def test_signals_neither_fade_nor_flood_on_a_real_case(ring: Any) -> None:
    model = load_model("brain-lesion-random")
    assert not model.network.training
    x = model.prepare(ring.volume).tensor
    with torch.no_grad():
        for layer in model.network.features:
            x = layer(x)
            if isinstance(layer, torch.nn.BatchNorm3d):
                assert 0.3 < float(x.std()) < 3
                assert abs(float(x.mean())) < 1


def test_the_answer_is_the_same_whatever_it_sees() -> None:
    model = load_model("brain-lesion-random")
    names = ("enhancing-ring", "infarct", "healthy", "oblique-thick-slices", "shortcut-marker")
    answers = np.array([model.predict(load_case(name).volume).probabilities for name in names])
    assert np.ptp(answers, axis=0).max() < 0.02
    for share in answers[0]:
        assert f"{share:.2f}" in CARD.read_text()


def test_maps_are_as_the_card_says(ring: Any) -> None:
    random, trained, lesion = load_model("brain-lesion-random"), load_model("brain-lesion"), lesion_of(ring)
    found = {
        (name, method): explain(model, ring.volume, method, "lesion").array
        for name, model in (("random", random), ("trained", trained))
        for method in ("guided_backpropagation", "gradient")
    }
    figures = {key: localisation(array, lesion) for key, array in found.items()}
    assert [figures[key].pointing_game for key in found] == [1, 0, 1, 1]
    text = CARD.read_text()
    for key, one in figures.items():
        assert f"{one.relevance_mass:.3f}" in text, key
        assert f"{one.average_precision:.3f}" in text, key
    for method in ("guided_backpropagation", "gradient"):
        one, two = found["trained", method], found["random", method]
        where = (one != 0) | (two != 0)
        assert f"{rank_correlation(one[where], two[where]):.2f}" in text


@pytest.mark.full
def test_how_often_chance_fools_is_as_the_card_says(ring: Any) -> None:
    model, lesion = load_model("brain-lesion-random"), lesion_of(ring)
    fooled = {"guided_backpropagation": 0, "gradient": 0}
    for seed in range(24):
        model.network, model.graphs = RandomLesionNetwork(seed), {}
        for method in fooled:
            array = explain(model, ring.volume, method, "lesion").array
            fooled[method] += bool(lesion.ravel()[int(array.argmax())])
    assert fooled == {"guided_backpropagation": 8, "gradient": 1}
    assert "8 of these 24" in CARD.read_text()
    brain = ring.volume.array.reshape(lesion.shape) != 0
    assert round(brain.sum() / lesion.sum()) == 357


def test_only_a_network_that_draws_its_weights_may_come_without(tmp_path: Path) -> None:
    arguments = {"channels": [2, 2, 2, 2, 2]}
    for name, draws in (("random_network:RandomLesionNetwork", True), ("lesion_network:LesionNetwork", False)):
        path = tmp_path / f"{draws}.json"
        described = {"class": f"XAIExplainLib.networks.{name}", "arguments": arguments}
        path.write_text(json.dumps({"network": described, "task": "classification"}))
        if draws:
            assert load_model(path).network.classifier.in_features == 2
        else:
            with pytest.raises(XAIError, match="names no weights"):
                load_model(path)

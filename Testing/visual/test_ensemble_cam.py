"""An ensemble's map: the mean of its networks' maps, each on its own grid and scale."""

import numpy as np
import pytest
import torch

from Testing.compute.graphs import network_of
from Testing.networks_zoo import BY_NAME, Plain, image, settle
from Testing.visual.asking import asked
from XAIExplainLib.errors import XAIError
from XAIExplainLib.explaining import explain
from XAIExplainLib.model import Model
from XAIExplainLib.visual import ensemble_cam
from XAIExplainLib.volume import Volume


@pytest.fixture
def further(monkeypatch):
    """Networks that are found by name, without files."""
    known = {}
    monkeypatch.setattr(ensemble_cam, "load_model", lambda name: known[name])
    return known


def another(seed, **arguments):
    """A network in whose last map something speaks for every class."""
    torch.manual_seed(seed)
    network = settle(Plain(**arguments), seed)
    network.head.weight.abs_()
    return network


@pytest.mark.parametrize("base", ["grad_cam", "layer_cam", "multi_scale_cam"])
def test_it_is_the_mean_of_the_maps(further, base):
    x = image(1, 16, 16, 16)
    further.update(second=Model(another(1)), third=Model(another(2, width=3)))
    first = another(0)
    result = asked(first, x, "ensemble_cam", models="second,third", base=base)
    networks = [first, further["second"].network, further["third"].network]
    alone = np.stack([asked(network, x, base).array for network in networks])
    alone /= alone.max((1, 2, 3), keepdims=True)
    assert np.allclose(result.array, alone.mean(0), atol=1e-5)
    assert result.diagnostics["deviation_between_networks"] == pytest.approx(
        alone.std(0, ddof=1).mean() / alone.mean(), rel=1e-4
    )
    pairs = np.corrcoef(alone.reshape(3, -1))
    assert result.diagnostics["least_correlation"] == pytest.approx(pairs.min(), abs=1e-4)
    assert [one["name"] for one in result.diagnostics["networks"]] == ["Plain", "second", "third"]
    for one, network in zip(result.diagnostics["networks"], networks, strict=True):
        assert one["score"] == pytest.approx(float(network(x)[0, 1]), rel=1e-4)


def test_networks_with_grids_of_their_own_meet_in_the_patient(further):
    """One sees the volume as it is, the other flipped and cropped: voxels stay where they are."""
    x, network = image(1, 16, 16, 16), network_of("plain")
    further["turned"] = Model(network, [{"step": "orient", "axes": "RAS"}])
    volume = Volume(x[0].numpy())
    result = explain(Model(network), volume, "ensemble_cam", 1, models="turned", base="layer_cam")
    alone = [explain(one, volume, "layer_cam", 1).array for one in (Model(network), further["turned"])]
    assert not np.allclose(*alone)
    assert np.allclose(result.array, sum(one / one.max() for one in alone) / 2, atol=1e-5)


def test_slices_of_2d_networks(further):
    first, second = another(0, dims=2, channels=3), another(1, dims=2, channels=3)
    further["second"] = Model(second, spatial_dims=2)
    x = BY_NAME["plain 2D"].image(3)
    result = asked(first, x, "ensemble_cam", models="second", base="grad_cam")
    alone = [asked(first, x, "grad_cam").array]
    alone.append(explain(further["second"], Volume(x.transpose(0, 1).numpy()), "grad_cam", 1).array)
    assert np.allclose(result.array, sum(one / one.max() for one in alone) / 2, atol=1e-5)


def test_the_same_network_twice_is_said(further):
    x = image(1, 16, 16, 16)
    further["again"] = Model(network_of("plain"))
    result = asked(network_of("plain"), x, "ensemble_cam", models="again", base="grad_cam")
    assert result.diagnostics["deviation_between_networks"] == 0
    assert result.diagnostics["least_correlation"] == pytest.approx(1)
    assert "counts twice" in result.diagnostics["warnings"][0]


def test_what_cannot_join_is_refused(further):
    x = image(1, 16, 16, 16)
    with pytest.raises(XAIError, match="at least one further network"):
        asked(network_of("plain"), x, "ensemble_cam")
    further["few"] = Model(another(1, classes=1))
    further["other"] = Model(another(1, channels=2), channels=2)
    with pytest.raises(XAIError, match="The network few cannot join.*no class 1"):
        asked(network_of("plain"), x, "ensemble_cam", models="few")
    with pytest.raises(XAIError, match="The network other cannot join.*channels"):
        asked(network_of("plain"), x, "ensemble_cam", models="other")


def test_a_name_that_is_no_model_is_refused():
    with pytest.raises(XAIError, match="no bundled model"):
        asked(network_of("plain"), image(1, 16, 16, 16), "ensemble_cam", models="no-such-network")


def test_a_cancel_reaches_the_further_networks(further):
    from XAIExplainLib.errors import CancelledError

    further["second"] = Model(another(1))
    seen = []

    def cancel():
        return any("loading" in message for message in seen)

    with pytest.raises(CancelledError):
        explain(
            Model(network_of("plain")), Volume(image(1, 16, 16, 16)[0].numpy()), "ensemble_cam", 1, models="second",
            progress=lambda fraction, message: seen.append(message), cancel=cancel,
        )  # fmt: skip

"""What holds for each method, whatever it does: progress, cancel, memory, seeds, geometry, bad input."""

import functools

import numpy as np
import pytest
import torch

from Testing.networks_zoo import BY_NAME, Plain, settle
from Testing.validity.matrix import small
from XAIExplainLib import CancelledError, Model, Volume, XAIError, explain
from XAIExplainLib.method import methods

METHODS = {name: method for name, method in methods().items() if method.chapter == "visual"}
RANDOM = ("smooth_grad", "gradient_shap", "lime", "kernel_shap", "rise", "prediction_difference")
SHAPE = (16, 18, 20)


@functools.cache
def model_for(name):
    """A network that the method takes."""
    if name == "attention":
        return Model(BY_NAME["vit"].network(), output=0)
    torch.manual_seed(0)
    return Model(settle(Plain(width=6)))


def shape_for(name):
    return (16, 16, 16) if name == "attention" else SHAPE


def volume_for(name, seed=1):
    """Thick slices, lying askew."""
    generator = np.random.default_rng(seed)
    places = np.indices(shape_for(name)) - np.array([8, 7, 9]).reshape(3, 1, 1, 1)
    data = np.exp(-(places**2).sum(0) / 30) * 3 + 0.3 * generator.normal(size=shape_for(name))
    angle = 0.4
    turn = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    return Volume(data.astype(np.float32), (0.9, 1.1, 3.0), (4.0, -7.0, 20.0), np.array(turn))


@functools.cache
def parameters_for(name, tmp=None):
    chosen = small(METHODS[name], shape_for(name))
    if "samples" in chosen and name not in ("lime", "kernel_shap"):
        chosen["samples"] = min(chosen["samples"], 4)
    return chosen


def ask(name, volume=None, seed=0, folder=None, **more):
    parameters = dict(parameters_for(name))
    if name == "ensemble_cam":
        parameters["models"] = str(twin(folder))
    return explain(model_for(name), volume or volume_for(name), name, 1, seed=seed, **more, **parameters)


def twin(folder):
    """Another network for the ensemble, in a file."""
    path = folder / "twin.pt2"
    if not path.exists():
        torch.manual_seed(1)
        example = torch.zeros(2, 1, *SHAPE)
        free = ({0: torch.export.Dim("batch", min=1, max=64)},)
        torch.export.save(torch.export.export(settle(Plain(width=6), 1), (example,), dynamic_shapes=free), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.mark.parametrize("name", METHODS)
def test_progress_goes_from_nothing_to_all_and_the_map_lies_on_the_volume(name, folder):
    told = []
    volume = volume_for(name)
    result = ask(name, volume, folder=folder, progress=lambda fraction, message: told.append((fraction, message)))
    fractions = [fraction for fraction, _ in told]
    assert len(told) >= 2
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert all(message for _, message in told)
    assert result.geometry.same_as(volume.geometry)
    assert result.array.shape == volume.array.shape
    assert np.isfinite(result.array).all()
    assert result.signed or result.array.min() >= 0
    assert set(result.diagnostics) >= {"score", "seconds", "peak_bytes", "warnings"}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("call", [1, 3])
def test_a_cancel_is_heard(name, call, folder):
    asked = []

    def cancel():
        asked.append(None)
        return len(asked) >= call

    with pytest.raises(CancelledError):
        ask(name, folder=folder, cancel=cancel)
    assert len(asked) == call  # the first time that it is asked, nothing goes on


@pytest.mark.parametrize("name", METHODS)
def test_too_little_memory_is_said(name, folder):
    with pytest.raises(XAIError, match="memory budget"):
        ask(name, folder=folder, memory="20KiB")


@pytest.mark.parametrize("name", METHODS)
def test_the_same_request_gives_the_same_map(name, folder):
    first, again = (ask(name, folder=folder, seed=3).array for _ in range(2))
    np.testing.assert_array_equal(first, again)
    if name in RANDOM:
        assert not np.array_equal(ask(name, folder=folder, seed=4).array, first)


@pytest.mark.parametrize("name", METHODS)
def test_a_network_that_answers_with_no_number_is_said(name):
    class Broken(Plain):
        def forward(self, x):
            return super().forward(x) / (x.sum() * 0)

    torch.manual_seed(0)
    with pytest.raises(XAIError, match="not finite"):
        explain(Model(settle(Broken(width=2))), volume_for("gradient"), name, 1, **parameters_for(name))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("parameters", "said"), [({"nothing": 1}, "no parameter nothing"), ({}, "no class 9")])
def test_what_does_not_exist_is_said(name, parameters, said):
    target = 1 if parameters else 9
    with pytest.raises(XAIError, match=said):
        explain(model_for(name), volume_for(name), name, target, **parameters)

"""A network with its preprocessing: volumes in, answers out, maps back; and what it cannot do, in one sentence."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import monai.networks.nets as nets
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from XAIExplainLib.errors import XAIError
from XAIExplainLib.geometry import Geometry
from XAIExplainLib.model import Model
from XAIExplainLib.preprocessing import Preprocessing
from XAIExplainLib.volume import Volume

NETWORKS = {
    "resnet18": lambda c, k: nets.resnet18(
        spatial_dims=3, n_input_channels=c, num_classes=k, conv1_t_stride=2, widen_factor=0.25
    ),
    "densenet": lambda c, k: nets.DenseNet121(3, c, k, init_features=8, growth_rate=4, block_config=(2, 2, 2, 2)),
    "unet": lambda c, k: nets.UNet(3, c, k, channels=(4, 8, 16), strides=(2, 2)),
    "vit": lambda c, k: nets.ViT(
        c, (32,) * 3, (16,) * 3, hidden_size=24, mlp_dim=32, num_layers=2, num_heads=2, classification=True,
        num_classes=k, post_activation=None,
    ),
}  # fmt: skip


class Means(torch.nn.Module):
    """Logits that are known: mean, and minus mean, of the input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.flatten(1).mean(1)
        return torch.stack([mean, -mean], 1)


def volume(channels: int = 1, shape: tuple[int, ...] = (32, 32, 32), seed: int = 0) -> Volume:
    """Noise on an oblique grid."""
    turn = Rotation.from_euler("xyz", [10, -20, 30], degrees=True).as_matrix()
    array = np.random.default_rng(seed).random((channels, *shape))
    return Volume(array if channels > 1 else array[0], (1, 1.5, 2), (5, 6, 7), turn)


# -- networks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_many_kinds(name: str, channels: int) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name](channels, 3)
    model = Model(network)
    case = volume(channels)
    prediction = model.predict(case)
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    prepared = model.prepare(case)
    np.testing.assert_array_equal(prepared.tensor.numpy()[0], case.data)
    with torch.no_grad():
        expected = network(torch.from_numpy(case.data[None].copy()))
    expected = expected[0] if isinstance(expected, tuple) else expected
    assert model.class_names == prediction.classes == ("class 0", "class 1", "class 2") and model.outputs == 3
    if name == "unet":
        assert model.task == prediction.task == "segmentation"
        labels = expected[0].argmax(0).numpy()
        np.testing.assert_array_equal(prediction.labels, labels)
        counts = np.bincount(labels.ravel(), minlength=3)
        assert prediction.voxels == tuple(counts) and prediction.predicted == 1 + counts[1:].argmax()
        np.testing.assert_allclose(prediction.millilitres, counts * 3.0 / 1000, rtol=1e-6)
    else:
        assert model.task == prediction.task == "classification"
        np.testing.assert_allclose(prediction.logits, expected[0].numpy(), atol=1e-5)
        np.testing.assert_allclose(prediction.probabilities, expected[0].softmax(0).numpy(), atol=1e-5)
        assert prediction.predicted == int(expected[0].argmax())
    assert "*" in prediction.text() and prediction.name in prediction.text()
    assert model.describe()["classes"] == list(model.class_names)


def test_a_model_keeps_gradients_of_its_input() -> None:
    x = torch.ones(1, 1, 32, 32, 32, requires_grad=True)
    Model(NETWORKS["densenet"](1, 2))(x)[0, 0].backward()
    assert x.grad is not None and bool(x.grad.abs().sum() > 0)


def test_half_precision_becomes_float32() -> None:
    model = Model(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 2)).half())
    assert model(torch.ones(1, 1, 2, 2, 2)).dtype == torch.float32


def test_any_function_is_a_network() -> None:
    model = Model(lambda x: torch.stack([x.mean((1, 2, 3, 4)), x.amax((1, 2, 3, 4))], 1), name="two figures")
    assert model.predict(volume()).predicted == 1 and model.name == "two figures" and len(model.fingerprint) == 16


@pytest.mark.parametrize(
    ("given", "output"),
    [
        (lambda y: (y, [y]), None), (lambda y: [None, y], None), (lambda y: {"aux": y * 9, "logits": y}, "logits"),
        (lambda y: (y * 9, y), 1), (lambda y: {"logits": y, "hidden": [y]}, None),
    ],
)  # fmt: skip
def test_the_output_is_chosen(given: Any, output: Any) -> None:
    prediction = Model(lambda x: given(Means()(x)), output=output).predict(volume())
    assert prediction.logits[0] == pytest.approx(volume().array.mean(), abs=1e-4)


# -- tasks -------------------------------------------------------------------------------------------------------------


def test_regression_multilabel_and_a_single_logit() -> None:
    case = volume()
    mean = float(case.array.mean())
    values = Model(Means(), task="regression", classes=["age", "minus age"]).predict(case)
    assert values.probabilities is None and values.logits[0] == pytest.approx(mean, abs=1e-5) and "age" in values.text()
    flat = Model(lambda x: x.flatten(1).mean(1), task="regression").predict(case)
    assert flat.logits.shape == (1,)
    several = Model(Means(), task="multilabel", classes=["a", "b"], groups={"any": ["a", "b"]}).predict(case)
    np.testing.assert_allclose(several.probabilities, 1 / (1 + np.exp([-mean, mean])), atol=1e-5)
    assert several.groups["any"] == pytest.approx(several.probabilities.max())
    single = Model(lambda x: Means()(x)[:, :1], classes=["lesion"]).predict(case)
    assert single.probabilities[0] == pytest.approx(1 / (1 + np.exp(-mean)), abs=1e-5) and single.name == "lesion"


def test_groups_add_up() -> None:
    model = Model(
        lambda x: torch.tensor([[0.0, 1.0, 2.0]]).expand(len(x), 3),
        classes=["healthy", "enhancing", "dark"], groups={"lesion": ["enhancing", 2]},
    )  # fmt: skip
    prediction = model.predict(volume())
    expected = torch.tensor([0.0, 1.0, 2.0]).softmax(0)[1:].sum()
    assert prediction.groups["lesion"] == pytest.approx(float(expected)) and model.group_indices("lesion") == (1, 2)
    assert prediction.to_json()["predicted"] == {"index": 2, "name": "dark"} and "lesion" in prediction.text()
    with pytest.raises(XAIError, match="no class oedema"):
        Model(Means(), classes=["a", "b"], groups={"g": ["oedema"]})


def test_overlapping_segmentation() -> None:
    case = volume(shape=(4, 5, 6))
    model = Model(lambda x: torch.cat([x - 0.5, x - 0.2], 1), overlapping=True, classes=["core", "whole"])
    prediction = model.predict(case)
    assert prediction.voxels == (int((case.array > 0.5).sum()), int((case.array > 0.2).sum()))
    single = Model(lambda x: x - 0.5).predict(case)
    assert single.labels.shape == (1, 4, 5, 6) and single.voxels[0] == prediction.voxels[0]


def test_class_names_are_found() -> None:
    model = Model(Means(), classes=["healthy", "lesion"])
    assert [model.class_index(name) for name in ("lesion", 1, "1", np.int64(0))] == [1, 1, 1, 0]
    with pytest.raises(XAIError, match="no class leson") as caught:
        model.class_index("leson")
    assert caught.value.hint == "Its classes are: lesion (1), healthy (0)."
    for wrong in (2, -1, "2", None, 0.5):
        with pytest.raises(XAIError):
            model.class_index(wrong)  # type: ignore[arg-type]


# -- 2D ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", ["k", "j", "i"])
def test_slices_go_in_and_come_back(axis: str) -> None:
    case = volume(2, (5, 6, 7))
    model = Model(lambda x: x * 2, spatial_dims=2, slice_axis=axis)
    prepared = model.prepare(case)
    number = "kji".index(axis)
    assert len(prepared.tensor) == case.array.shape[number + 1] and prepared.tensor.shape[1] == 2
    np.testing.assert_array_equal(prepared.grid(model(prepared.tensor)), case.data * 2)
    np.testing.assert_array_equal(prepared.grid(prepared.rows(case.data)), case.data)
    one = Model(lambda x: x * 2, spatial_dims=2, slice_axis=axis, slice_index=3)
    prepared = one.prepare(case)
    back = prepared.grid(one(prepared.tensor))
    expected = np.zeros_like(case.data)
    np.moveaxis(expected, number + 1, 0)[3] = 2 * np.moveaxis(case.data, number + 1, 0)[3]
    np.testing.assert_array_equal(back, expected)
    assert one.predict(case).voxels[1] == np.count_nonzero(np.argmax(expected, 0))
    with pytest.raises(XAIError, match="no slice 9"):
        Model(lambda x: x, spatial_dims=2, slice_axis=axis, slice_index=9).prepare(case)


def test_a_2d_network_answers_with_the_mean_of_its_slices() -> None:
    case = volume(shape=(20, 32, 32))
    network = nets.DenseNet121(2, 1, 2, init_features=8, growth_rate=4, block_config=(2, 2))
    model = Model(network, spatial_dims=2)
    prediction = model.predict(case)
    with torch.no_grad():
        rows = network(torch.from_numpy(case.array[:, None].copy()))
    np.testing.assert_allclose(prediction.logits, rows.mean(0).numpy(), atol=1e-5)
    np.testing.assert_allclose(prediction.probabilities, rows.softmax(1).mean(0).numpy(), atol=1e-5)
    assert prediction.slices == 20 and "20 slices" in prediction.text()


# -- preprocessing -----------------------------------------------------------------------------------------------------


def test_the_map_goes_back_onto_the_volume() -> None:
    case = volume(shape=(12, 14, 16))
    steps = [{"step": "orient", "axes": "SAR"}, {"step": "crop_or_pad", "size": [10, 30, 11]}]
    model = Model(Means(), steps)
    prepared = model.prepare(case)
    assert prepared.tensor.shape == (1, 1, 11, 30, 10) and prepared.geometry.axes == "SAR"
    back = prepared.to_volume(prepared.grid(prepared.tensor))
    assert back.shape == (1, 12, 14, 16)
    kept = back[0] != 0
    assert 0 < kept.sum() < kept.size
    np.testing.assert_array_equal(back[0][kept], case.array[kept])
    other = Geometry((40, 40, 40), (1, 1, 1), case.geometry.index_to_physical([-3, -3, -3]).tolist(), np.eye(3))
    mask = Volume.on(other, np.ones(other.shape))
    assert set(np.unique(prepared.to_network(mask))) == {0.0, 1.0}
    np.testing.assert_array_equal(prepared.to_network(case), prepared.tensor[0, 0].numpy())
    with pytest.raises(XAIError, match="2 channels"):
        prepared.to_network(volume(2))


def test_a_function_is_a_preprocessing() -> None:
    def halved(case: Volume) -> tuple[torch.Tensor, Geometry]:
        return torch.from_numpy(case.data[:, ::2].copy()) / 2, case.geometry.moved((0, 0, 0), (6, 5, 2), (1, 1, 2))

    model = Model(Means(), halved)
    prepared = model.prepare(volume(shape=(4, 5, 6)))
    assert prepared.tensor.shape == (1, 1, 2, 5, 6) and "halved" in model.describe()["preprocessing"]
    with pytest.raises(XAIError, match="gives a shape"):
        Model(Means(), lambda case: (torch.zeros(1, 2, 2, 2), case.geometry)).prepare(volume())
    with pytest.raises(XAIError, match="not finite"):
        Model(Means(), lambda case: (torch.from_numpy(case.data) * torch.nan, case.geometry)).prepare(volume())
    with pytest.raises(XAIError, match="no preprocessing step"):
        Model(Means(), [{"step": "unknown"}])


def test_one_fixed_batch_is_served() -> None:
    seen = []

    def program(x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        assert len(x) == 4
        return Means()(x)

    model = Model(program, batch=4)
    x = torch.randn(10, 1, 3, 3, 3)
    torch.testing.assert_close(model(x), Means()(x))
    assert seen == [4, 4, 4] and model(x[:1]).shape == (1, 2)
    assert model.predict(volume(shape=(3, 3, 3))).slices == 1


def test_an_exported_program_says_its_one_batch() -> None:
    x = torch.randn(1, 1, 3, 3, 3)
    program = torch.export.export(Means(), (x,))
    model = Model(program)
    assert model.batch == 1
    torch.testing.assert_close(model(x.repeat(3, 1, 1, 1, 1)), Means()(x).repeat(3, 1))
    free = torch.export.export(Means(), (x.repeat(2, 1, 1, 1, 1),), dynamic_shapes=({0: torch.export.Dim("n")},))
    assert Model(free).batch is None


def test_a_fingerprint_tells_weights_and_settings_apart() -> None:
    torch.manual_seed(0)
    network = NETWORKS["densenet"](1, 2)
    twin = copy.deepcopy(network)
    first = Model(network).fingerprint
    assert first == Model(twin).fingerprint and len(first) == 16
    assert first != Model(twin, [{"step": "orient", "axes": "RAS"}]).fingerprint
    with torch.no_grad():
        next(twin.parameters()).view(-1)[0] += 1e-3
    assert first != Model(twin).fingerprint


# -- what cannot be done -----------------------------------------------------------------------------------------------


def test_wrong_inputs_are_one_sentence() -> None:
    network = NETWORKS["densenet"](2, 2)
    for model in (Model(network), Model(network, channels=2)):
        with pytest.raises(XAIError, match="takes 2 channels, but the volume has 1") as caught:
            model.predict(volume())
        assert "channels" in caught.value.hint
    with pytest.raises(XAIError, match="cannot take an input of 1 x 2 x 3 x 3 x 3") as caught:
        Model(network).predict(volume(2, (3, 3, 3)))
    assert "\n" not in str(caught.value) and len(caught.value.message) < 330
    with pytest.raises(XAIError, match="cannot take"):
        Model(NETWORKS["vit"](1, 2)).predict(volume(shape=(16, 32, 32)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network.eval(), torch.rand(1, 2, 32, 32, 32), check_trace=False)
    assert Model(traced).kind == "torchscript"
    with pytest.raises(XAIError, match="cannot take an input of 1 x 2 x 3 x 3 x 3: .*smaller"):
        Model(traced).predict(volume(2, (3, 3, 3)))


@pytest.mark.parametrize(
    "network",
    [
        lambda x: x.mean(), lambda x: "yes", lambda x: None, lambda x: [], lambda x: {"a": 1}, lambda x: x[:, :, ::2],
        lambda x: x.flatten(1).argmax(1, keepdim=True), lambda x: x.flatten(2), lambda x: torch.zeros(5, 2),
    ],
)  # fmt: skip
def test_outputs_that_are_not_understood(network: Any) -> None:
    with pytest.raises(XAIError, match="output that is not understood") as caught:
        Model(network).predict(volume(shape=(8, 8, 8)))
    assert "(batch, classes)" in caught.value.hint


def test_contradictions_are_refused() -> None:
    case = volume(shape=(8, 8, 8))
    for arguments, says in (
        ({"classes": ["a"]}, "2 outputs, but 1 class name"), ({"task": "segmentation"}, "does not fit"),
        ({"classes": ["a", "a"]}, "not all different"), ({"task": "guess"}, "task cannot be"),
        ({"spatial_dims": 4}, "spatial_dims cannot be"), ({"slice_axis": "x"}, "slice_axis cannot be"),
        ({"kind": "keras"}, "kind cannot be"), ({"output": 1}, None),
    ):  # fmt: skip
        if says is None:
            Model(Means(), **arguments).predict(case)  # a single tensor needs no choice
            continue
        with pytest.raises(XAIError, match=says) as caught:
            Model(Means(), **arguments).predict(case)
        assert caught.value.hint
    with pytest.raises(XAIError, match="no output 2"):
        Model(lambda x: (x, x), output=2).predict(case)
    with pytest.raises(XAIError, match="does not fit"):
        Model(lambda x: x, task="classification").predict(case)
    with pytest.raises(XAIError, match="not finite"):
        Model(lambda x: Means()(x) * torch.nan).predict(case)
    with pytest.raises(XAIError, match="A str is no network"):
        Model("network.pt")
    with pytest.raises(XAIError, match="no group"):
        Model(Means()).group_indices("lesion")


def test_the_preprocessing_may_be_given_as_steps_or_as_json() -> None:
    steps = [{"step": "scale_shift", "scale": 2.0}]
    first = Model(Means(), steps).prepare(volume()).tensor
    torch.testing.assert_close(first, Model(Means(), Preprocessing(steps)).prepare(volume()).tensor)

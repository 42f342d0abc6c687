"""The main job, from a volume to a map on that volume: geometry, targets, cancel, refusals, files."""

import json

import numpy as np
import pytest
import SimpleITK
import torch
from torch import nn

from Testing.networks_zoo import Plain, image, settle
from XAIExplainLib import CancelledError, Model, Region, Volume, Voxel, XAIError, explain
from XAIExplainLib.volume import load_volume

METHODS = ("gradient", "integrated_gradients", "grad_cam", "occlusion")
QUICK = {"occlusion": {"window": 8, "stride": 8}, "integrated_gradients": {"steps": 4}}


def oblique(degrees=(20, -35, 50)):
    """A direction that no axis is aligned with."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        one, two = (n for n in range(3) if n != axis)
        turn = np.eye(3)
        turn[one, one] = turn[two, two] = np.cos(angle)
        turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


@pytest.fixture(scope="module")
def plain():
    torch.manual_seed(0)
    return Model(settle(Plain()), classes=["a", "b", "c"], groups={"ends": ["a", "c"]})


@pytest.fixture(scope="module")
def volume():
    return Volume(image(1, 16, 16, 16)[0, 0].numpy(), (1.0, 1.5, 2.5), (-7.0, 30.0, 4.0), oblique(), "case")


class Reader(nn.Module):
    """Reads the brightest place, and nothing else."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 1, 3, padding=1, bias=False)
        nn.init.constant_(self.conv.weight, 1 / 27)

    def forward(self, x):
        seen = self.conv(x)
        return torch.cat([seen.amax((2, 3, 4)), -seen.amax((2, 3, 4))], 1)


STEPS = {
    "nothing": [],
    "orient": [{"step": "orient", "axes": "RAS"}],
    "crop": [{"step": "crop_or_pad", "size": [20, 18, 16]}],
    "pad": [{"step": "orient", "axes": "SRA"}, {"step": "crop_or_pad", "size": [40, 44, 48]}],
    "foreground": [{"step": "crop_foreground", "margin": 3}, {"step": "pad_to_multiple", "k": 8}],
    "resample": [{"step": "resample", "spacing": [1.3, 1.3, 1.3]}],
    "resize": [{"step": "orient", "axes": "LPS"}, {"step": "resize", "size": [32, 24, 28]}],
}


@pytest.mark.parametrize("method", ["gradient", "occlusion", "grad_cam"])
@pytest.mark.parametrize("steps", STEPS)
def test_the_map_lies_where_the_evidence_is(steps, method):
    """On an oblique, anisotropic grid, whatever the network's grid is."""
    array = np.zeros((22, 26, 24), np.float32)
    array[4:18, 4:22, 4:20] = 0.1
    at = (12, 9, 14)
    array[tuple(slice(n - 1, n + 2) for n in at)] = 5
    case = Volume(array, (1.1, 0.9, 1.7), (10.0, -20.0, 33.0), oblique())
    parameters = {"occlusion": {"window": 3, "stride": 3}, "grad_cam": {"layer": "conv"}}.get(method, {})
    result = explain(Model(Reader(), STEPS[steps]), case, method, 0, **parameters)
    assert result.geometry == case.geometry
    assert result.array.shape == array.shape
    # Windows beside the one with most of the evidence have half of it, to the last digits.
    weight = np.where(result.array > 0.49 * result.array.max(), result.array, 0)
    centre = [float((weight * np.arange(size).reshape([-1 if n == axis else 1 for n in range(3)])).sum() / weight.sum())
              for axis, size in enumerate(array.shape)]  # fmt: skip
    distance = np.linalg.norm((np.array(centre) - at) * (1.7, 0.9, 1.1))
    assert distance <= 1.8  # millimetres: one voxel along the coarsest axis; windows of occlusion are 3 wide


@pytest.mark.parametrize("method", METHODS)
def test_without_preprocessing_the_map_is_the_networks(plain, volume, method):
    result = explain(plain, volume, method, "b", **QUICK.get(method, {}))
    assert result.array.dtype == np.float32
    if method != "grad_cam":
        assert np.array_equal(result.native.array, result.array)
        assert result.native.geometry == volume.geometry
    else:  # cells tile the image: the coarse grid spans the same box
        coarse = result.native.geometry
        for corner in ((-0.5,) * 3, tuple(n - 0.5 for n in coarse.size)):
            wanted = tuple(-0.5 if n < 0 else size - 0.5 for n, size in zip(corner, volume.geometry.size, strict=True))
            found = coarse.index_to_physical(corner)
            assert np.allclose(found, volume.geometry.index_to_physical(wanted), atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_question_has_the_same_answer(plain, volume, method):
    one, two = (explain(plain, volume, method, 1, seed=3, **QUICK.get(method, {})) for _ in range(2))
    assert np.array_equal(one.array, two.array)


@pytest.mark.parametrize("method", METHODS)
def test_what_comes_with_the_map(plain, volume, method):
    result = explain(plain, volume, method, "b", **QUICK.get(method, {}))
    found = result.diagnostics
    with torch.no_grad():
        logits = plain(torch.from_numpy(volume.array)[None, None])[0]
    assert found["score"] == pytest.approx(float(logits[1]), rel=1e-5)
    assert found["seconds"] > 0
    assert found["peak_bytes"] >= 0
    assert found["warnings"] == [] or all(isinstance(text, str) for text in found["warnings"])
    assert ("completeness_error" in found) == ("baseline_score" in found) == (method == "integrated_gradients")
    assert (result.target, result.method) == ("b", method)
    assert result.prediction.predicted == int(logits.argmax())
    assert json.loads(json.dumps(result.record(), allow_nan=False))["diagnostics"] == found


@pytest.mark.parametrize("method", METHODS)
def test_progress_grows_from_nothing_to_all(plain, volume, method):
    seen = []
    explain(plain, volume, method, 1, progress=lambda fraction, text: seen.append((fraction, text)),
            **QUICK.get(method, {}))  # fmt: skip
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert all(text for _, text in seen)


@pytest.mark.parametrize("method", METHODS)
def test_cancelled_at_any_moment(plain, volume, method):
    def run(moment):
        calls = []

        def cancel():
            calls.append(1)
            return len(calls) == moment

        explained = None
        try:
            explained = explain(plain, volume, method, 1, cancel=cancel, **QUICK.get(method, {}))
        except CancelledError:
            assert len(calls) == moment  # it is not asked again
        return explained, len(calls)

    explained, total = run(0)
    assert explained is not None
    assert total >= 4
    for moment in {1, 2, 3, 5, total // 2, total - 1, total}:
        assert moment > total or run(moment)[0] is None


@pytest.mark.parametrize("method", METHODS)
def test_a_budget_too_small_is_refused(plain, volume, method):
    calls = []
    with pytest.raises(XAIError, match="memory budget is 20 KiB") as caught:
        explain(plain, volume, method, 1, memory="20KiB", progress=lambda *_: calls.append(1))
    assert caught.value.hint
    assert len(calls) <= 1


class Broken(nn.Module):
    def forward(self, x):
        return torch.stack([x.mean((1, 2, 3, 4)), x.mean((1, 2, 3, 4)) / 0 - float("inf")], 1)


class Undefined(nn.Module):
    """Fine as it is, without a derivative where the image is zero."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 2, 1)

    def forward(self, x):
        return x.square().sum((2, 3, 4)).sqrt() + self.conv(x).mean((2, 3, 4))


def test_numbers_that_are_not_finite_are_refused(volume):
    with pytest.raises(XAIError, match="not finite"):
        explain(Broken(), volume, "gradient", 0)
    with pytest.raises(XAIError, match="map of gradient has values that are not finite"):
        explain(Undefined(), Volume(np.zeros((4, 4, 4))), "gradient", 0)


@pytest.fixture(scope="module")
def programs(plain, tmp_path_factory):
    """The same network as every kind of program."""
    folder, x = tmp_path_factory.mktemp("programs"), torch.zeros(2, 1, 16, 16, 16)
    free = {0: torch.export.Dim("n", max=64)}
    torch.jit.trace(plain.network, x).save(str(folder / "net.pt"))
    for name, batch, dims in (("one", 1, None), ("two", 2, None), ("free", 2, (free,))):
        program = torch.export.export(plain.network, (x[:batch],), dynamic_shapes=dims)
        torch.export.save(program, folder / f"{name}.pt2")
    return folder


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["net.pt", "one.pt2", "two.pt2", "free.pt2"])
def test_every_kind_of_program_gives_the_networks_map(plain, volume, programs, name, method):
    path = programs / name
    if name == "net.pt":
        model = Model(torch.jit.load(str(path)))
        if method == "grad_cam":
            with pytest.raises(XAIError, match="TorchScript network does not show its operations") as caught:
                explain(model, volume, method, 1)
            assert "occlusion" in caught.value.hint
            return
    else:
        model = Model(torch.export.load(path), batch={"one.pt2": 1, "two.pt2": 2}.get(name))
    wanted = explain(plain, volume, method, 1, **QUICK.get(method, {}))
    found = explain(model, volume, method, 1, **QUICK.get(method, {}))
    assert np.abs(found.array - wanted.array).max() <= 1e-5 * np.abs(wanted.array).max()
    assert found.prediction.predicted == wanted.prediction.predicted


@pytest.mark.parametrize("name", ["one.pt2", "free.pt2"])
def test_a_program_refuses_another_size(programs, name):
    model = Model(torch.export.load(programs / name))
    with pytest.raises(XAIError, match="cannot take an input"):
        explain(model, Volume(np.ones((24, 16, 16))), "gradient", 1)


def test_two_channels_add_up():
    torch.manual_seed(0)
    network, x = settle(Plain(channels=2)), image(2, 16, 16, 16)
    result = explain(network, Volume(x[0].numpy()), "integrated_gradients", 1, steps=4)
    assert result.channels.shape == (2, 16, 16, 16)
    assert np.allclose(result.array, result.channels.sum(0), atol=1e-7)
    assert np.abs(result.channels).max((1, 2, 3)).min() > 0


def test_wrong_requests_are_sentences(plain, volume):
    for given, message in [
        ({"method": "grad-cam"}, "no method called grad-cam"), ({"target": "d"}, "no class d"),
        ({"target": 3}, "no class 3"), ({"target": -1}, "no class -1"), ({"volume": 3}, "int is no volume"),
        ({"device": "warp"}, "device warp"), ({"memory": "lots"}, "memory budget"),
        ({"steps": 3}, "no parameter steps"),
        ({"target": 1.5}, "target 1.5"), ({"model": 7}, "int is no network"), ({"target": Voxel((1, 1, 1))}, "segment"),
        ({"volume": Volume(np.ones((2, 16, 16, 16)))}, "channel"), ({"volume": Volume(np.ones((2, 2, 2)))}, "input"),
    ]:  # fmt: skip
        request = {"model": plain, "volume": volume, "method": "gradient", "target": 1, **given}
        with pytest.raises(XAIError, match=message) as caught:
            explain(**request)
        assert caught.value.hint, message


@pytest.mark.parametrize("ending", ["nrrd", "nii.gz", "mha"])
def test_a_saved_map_comes_back(plain, volume, tmp_path, ending):
    result = explain(plain, volume, "gradient", "b")
    path = result.save(tmp_path / f"map.{ending}")
    again = load_volume(path)
    assert np.array_equal(again.array, result.array)
    assert again.geometry.same_as(volume.geometry)
    record = json.loads((tmp_path / "map.json").read_text())
    assert record["target"] == "b"
    assert record["provenance"]["model_fingerprint"] == plain.fingerprint
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted([path.name, "map.json"])


@pytest.mark.parametrize("what", ["map", "record"])
def test_a_full_disk_leaves_nothing(plain, volume, tmp_path, monkeypatch, what):
    from pathlib import Path

    result = explain(plain, volume, "gradient", "b")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    if what == "map":
        def broken(given, path, **_):
            Path(path).write_bytes(b"half")
            raise RuntimeError("no space left on device")

        monkeypatch.setattr(SimpleITK, "WriteImage", broken)
    else:
        monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(XAIError, match="could not be written"):
        result.save(tmp_path / "map.nrrd")
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


class Segmenter(nn.Module):
    """Class 1 is bright, class 2 is dark, class 0 is between."""

    def __init__(self, overlapping=False):
        super().__init__()
        self.conv = nn.Conv3d(1, 3, 3, padding=1)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([0.0, 1.0, -1.0]).reshape(3, 1, 1, 1, 1).expand_as(self.conv.weight))
            self.conv.bias.copy_(torch.tensor([-1.0, -2.0, -4.0] if overlapping else [1.0, 0.0, 0.0]))

    def forward(self, x):
        return self.conv(x)


@pytest.fixture(scope="module")
def spots():
    array = np.zeros((12, 14, 16), np.float32)
    array[2:5, 2:5, 2:5] = 1
    array[8:10, 9:12, 10:14] = -1
    return Volume(array, (1.0, 2.0, 1.5), direction=oblique())


def summed(network, volume, index, inside):
    leaf = torch.from_numpy(volume.array)[None, None].requires_grad_()
    return torch.autograd.grad((network(leaf)[0, index] * torch.as_tensor(inside)).sum(), leaf)[0][0, 0].numpy()


def test_segmentations_where_a_class_is_found(spots):
    model = Model(Segmenter(), classes=["rest", "bright", "dark"])
    labels = model(torch.from_numpy(spots.array)[None, None]).argmax(1)[0]
    for target, index in (("dark", 2), ("bright", 1), (None, 1 if (labels == 1).sum() > (labels == 2).sum() else 2)):
        result = explain(model, spots, "gradient", target)
        assert np.allclose(result.array, summed(model.network, spots, index, labels == index), atol=1e-5)
        assert result.target == f"{model.classes[index]} where it is found"


def test_overlapping_classes_are_found_each_for_itself(spots):
    """Where a class is positive, even where another is larger; nowhere where it is negative."""
    model = Model(Segmenter(overlapping=True), classes=["rest", "bright", "dark"], overlapping=True)
    output = model(torch.from_numpy(spots.array)[None, None])[0]
    for index, name in ((1, "bright"), (2, "dark")):
        result = explain(model, spots, "gradient", name)
        assert np.allclose(result.array, summed(model.network, spots, index, output[index] > 0), atol=1e-5)
    assert explain(model, spots, "gradient").target.startswith("bright" if (output[1] > 0).sum() > (output[2] > 0).sum()
                                                               else "dark")  # fmt: skip
    with pytest.raises(XAIError, match="finds rest nowhere") as caught:
        explain(model, spots, "gradient", "rest")
    assert "region" in caught.value.hint


def test_a_region_on_another_grid(spots):
    model = Model(Segmenter(), classes=["rest", "bright", "dark"])
    box = np.zeros(spots.shape, bool)
    box[1:7, 2:9, 1:9] = True
    wanted = summed(model.network, spots, 1, box)
    here = explain(model, spots, "gradient", Region(box, "bright"))
    assert np.allclose(here.array, wanted, atol=1e-5)
    # The same box on a grid of half the spacing, turned around.
    fine = np.kron(box, np.ones((2, 2, 2)))
    grid = spots.geometry
    origin = grid.index_to_physical((-0.25, -0.25, -0.25))
    mask = Volume(fine, tuple(s / 2 for s in grid.spacing), tuple(origin), grid.direction)
    assert np.allclose(explain(model, spots, "gradient", Region(mask, 1)).array, wanted, atol=1e-5)
    assert "in the region" in here.target
    with pytest.raises(XAIError, match="empty"):
        explain(model, spots, "gradient", Region(np.zeros(spots.shape), 1))
    with pytest.raises(XAIError, match="shape"):
        explain(model, spots, "gradient", Region(np.ones((2, 2, 2)), 1))


def test_a_voxel(spots):
    """(i, j, k) of the explained volume, also where the network's axes are others."""
    for steps in ([], [{"step": "orient", "axes": "SAR"}]):
        model = Model(Segmenter(), steps, classes=["rest", "bright", "dark"])
        result = explain(model, spots, "gradient", Voxel((11, 10, 9)))
        places = np.argwhere(result.array)
        assert (places.min(0) == (8, 9, 10)).all()
        assert (places.max(0) == (10, 11, 12)).all()
        assert result.target == "dark at voxel 11,10,9"
    with pytest.raises(XAIError, match="no voxel"):
        explain(model, spots, "gradient", Voxel((16, 0, 0)))
    cropped = Model(Segmenter(), [{"step": "crop_or_pad", "size": [8, 8, 8]}])
    with pytest.raises(XAIError, match="does not see the voxel"):
        explain(cropped, spots, "gradient", Voxel((0, 0, 0), 1))


def test_a_group_is_the_log_odds(plain, volume):
    result = explain(plain, volume, "gradient", "ends")
    with torch.no_grad():
        chances = plain(torch.from_numpy(volume.array)[None, None]).softmax(1)[0]
    odds = float((chances[0] + chances[2]).log() - chances[1].log())
    assert result.diagnostics["score"] == pytest.approx(odds, rel=1e-4)
    assert result.diagnostics["score_units"] == "log-odds"


def test_the_caller_keeps_what_is_his(plain, volume):
    before = volume.array.copy()
    state = {name: value.clone() for name, value in plain.network.state_dict().items()}
    for method in METHODS:
        explain(plain, volume, method, 1, **QUICK.get(method, {}))
    assert np.array_equal(volume.array, before)
    assert all(torch.equal(value, state[name]) for name, value in plain.network.state_dict().items())
    assert not any(module._forward_hooks or module._backward_hooks for module in plain.network.modules())

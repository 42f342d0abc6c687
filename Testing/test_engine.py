"""What the worker and the shell ask of the engine; and the whole way, from a client through the door and back."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from Testing import bright
from XAIExplainLib import previews, question
from XAIExplainLib.client import EngineClient
from XAIExplainLib.console import ProgressLine
from XAIExplainLib.engine import LocalEngine
from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainLib.protocol import encode
from XAIExplainLib.volume import load_volume

RUN = ProgressLine(None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A case and networks for it."""
    return bright.make(tmp_path_factory.mktemp("engine"))


@pytest.fixture
def request_for(folder, tmp_path):
    """A request of the panel; further fields as keywords."""

    def make(**fields):
        return {
            "volumes": [str(folder / "case.nrrd")], "model": str(folder / "bright.pt2"), "consent": True,
            "options": {"classes": ["dark", "bright"]}, "output": str(tmp_path / "map.nrrd"), **fields,
        }  # fmt: skip

    return make


def test_model_and_case_stay_warm_until_they_change(request_for, folder):
    engine = LocalEngine()
    model, volume = engine.model(request_for()), engine.volume(request_for())
    assert engine.model(request_for()) is model and engine.volume(request_for()) is volume
    assert engine.model(request_for(options={"classes": ["a", "b"]})) is not model
    os.utime(folder / "case.nrrd", ns=(1, 1))
    assert engine.volume(request_for()) is not volume


def test_without_consent_nothing_warm_is_handed_out(request_for):
    engine = LocalEngine()
    engine.model(request_for())
    with pytest.raises(XAIError) as caught:
        engine.model(request_for(consent=False))
    assert caught.value.consent


def test_a_model_is_described_for_a_form(request_for):
    described = LocalEngine().load_model(request_for(), RUN)
    assert described["classes"] == ["dark", "bright"] and described["kind"] == "exported"
    assert described["spatial_dims"] == 3
    encode(described)


def test_layers_are_listed_with_one_default(request_for):
    layers = LocalEngine().layers(request_for(), RUN)
    assert [layer["default"] for layer in layers].count(True) == 1
    assert {"name": "features", "type": "Conv3d", "shape": [2, 12, 14, 16]}.items() <= layers[0].items()


def test_an_explanation_says_where_it_is_and_what_is_in_it(request_for):
    answer = LocalEngine().explain(
        request_for(method="occlusion", target="bright", parameters={"window": 3, "stride": 1}), RUN
    )
    written = load_volume(answer["map"])
    peak, display = answer["peak"], answer["display"]
    i, j, k = peak["index"]
    assert written.array[k, j, i] == pytest.approx(peak["value"]) == written.array.max()
    assert np.linalg.norm(np.array([i, j, k]) - [10, 7, 4]) <= 2  # the ball
    assert peak["lps"] == pytest.approx([-5 + i, 3 + 1.5 * j, 40 + 2 * k])
    assert display["minimum"] <= display["p01"] <= display["p50"] <= display["p99"] <= display["maximum"]
    assert answer["target"] == "bright" and "bright" in answer["prediction"]["text"]
    encode(answer)


class Looking(ProgressLine):
    """A run that looks at its previews, and may be cancelled at one."""

    def __init__(self, cancel_at=0):
        super().__init__(None)
        self.events, self.files, self.maps, self.cancel_at = [], [], [], cancel_at

    def preview(self, event):
        encode(event)
        self.events.append(event)
        self.maps.append(load_volume(event["map"]))
        self.files.append(sorted(path.name for path in Path(event["map"]).parent.iterdir()))

    def cancelled(self):
        return len(self.events) == self.cancel_at > 0


@pytest.fixture
def every_preview(monkeypatch):
    """No preview is left out for coming too soon."""
    monkeypatch.setattr(question, "PREVIEW_SECONDS", 0.0)
    monkeypatch.setattr(question, "PREVIEW_SHARE", 0.0)


FINE = {"method": "occlusion", "target": "bright", "parameters": {"window": 3, "stride": 2}}


def test_previews_are_files_that_go(request_for, tmp_path, every_preview):
    run = Looking()
    answer = LocalEngine().explain(request_for(**FINE, preview=True), run)
    written = load_volume(answer["map"])
    assert len(run.events) > 1
    for number, (event, preview, files) in enumerate(zip(run.events, run.maps, run.files, strict=True)):
        stage = event["stage"]
        assert (stage["number"], stage["of"]) == (number + 1, len(run.events) + 1)
        assert f"preview {number + 1} of" in event["display"]["title"]
        assert 0 < stage["share"] < 1
        assert preview.geometry.same_as(written.geometry)
        assert "map.nrrd" not in files and event["map"].endswith(files[-1])
        assert len(files) <= 2 and all(name.startswith("map.preview-") for name in files)
    assert run.maps[-1].array.any()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.json", "map.nrrd"]
    assert "stage" not in answer["diagnostics"] and "preview" not in answer["display"]["title"]


def test_previews_are_made_only_when_asked_for_and_change_nothing(request_for, every_preview):
    run = Looking()
    alone = load_volume(LocalEngine().explain(request_for(**FINE), run)["map"]).array
    assert run.events == []
    heard = load_volume(LocalEngine().explain(request_for(**FINE, preview=True), run)["map"]).array
    assert np.array_equal(heard, alone)
    assert run.events


def test_a_run_cancelled_at_a_preview_leaves_no_file(request_for, tmp_path, every_preview):
    run = Looking(cancel_at=2)
    with pytest.raises(CancelledError):
        LocalEngine().explain(request_for(**FINE, preview=True), run)
    assert len(run.events) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_preview_that_cannot_be_written_is_left_out(request_for, monkeypatch, every_preview):
    def full(*_, **__):
        raise XAIError("The disk is full.")

    monkeypatch.setattr(previews, "save_volume", full)
    run = Looking()
    assert Path(LocalEngine().explain(request_for(**FINE, preview=True), run)["map"]).exists()
    assert run.events == []


def test_a_map_that_lives_for_seconds_is_not_compressed(request_for, tmp_path):
    asked = request_for(method="gradient", target="bright")
    small = load_volume(LocalEngine().explain(asked, RUN)["map"]).array
    assert b"encoding: gzip" in (tmp_path / "map.nrrd").read_bytes()[:2000]
    plain = load_volume(LocalEngine().explain({**asked, "compressed": False}, RUN)["map"]).array
    assert b"encoding: raw" in (tmp_path / "map.nrrd").read_bytes()[:2000]
    assert np.array_equal(small, plain)


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"volumes": []}, "volume"), ({"volumes": "case.nrrd"}, "volume"), ({"model": None}, "model"),
     ({"method": None}, "method"), ({"output": ""}, "output"), ({"volumes": ["no-such-case"]}, "no-such-case")],
)  # fmt: skip
def test_a_request_that_lacks_something_is_refused_in_a_sentence(request_for, fields, said):
    with pytest.raises(XAIError, match=said):
        LocalEngine().explain(request_for(**{"method": "gradient", **fields}), RUN)


def test_the_whole_way_twice_then_cancel(request_for, tmp_path):
    """A real engine's process: the second explanation starts without torch or the model being loaded again."""
    seconds = []
    with EngineClient() as client:
        for n in range(2):
            start = time.monotonic()
            output = str(tmp_path / f"{n}.nrrd")
            job = client.request("explain", **request_for(method="gradient", target="bright", output=output))
            answer = client.wait(job, timeout=300)
            seconds.append(time.monotonic() - start)
            assert load_volume(answer["map"]).shape == (12, 14, 16)
        assert seconds[1] < seconds[0] / 2
        assert client.ready["protocol"] == 1 and client.ready["torch"]

        with pytest.raises(XAIError) as caught:
            client.wait(client.request("load_model", **request_for(consent=False)), timeout=60)
        assert caught.value.event["kind"] == "user" and caught.value.event["consent"] is True

        output = tmp_path / "cancelled.nrrd"
        heard = []
        fields = request_for(method="occlusion", parameters={"window": 1, "stride": 1}, output=str(output))
        fields["volumes"] = [_large_case(tmp_path)]
        fields["model"] = fields["model"][:-1]  # TorchScript takes any size
        job = client.request("explain", callback=heard.append, **fields)
        while not any(event.get("fraction", 0) > 0 for event in heard):
            client.poll()
            time.sleep(0.01)
        start = time.monotonic()
        client.cancel(job)
        with pytest.raises(CancelledError):
            client.wait(job, timeout=60)
        assert time.monotonic() - start < 3
        assert not list(tmp_path.glob("*cancelled*"))


def _large_case(folder):
    from XAIExplainLib.volume import Volume, save_volume

    volume = Volume(np.random.default_rng(0).random((48, 48, 48), dtype=np.float32))
    return str(save_volume(volume.array, volume.geometry, folder / "large.nrrd"))

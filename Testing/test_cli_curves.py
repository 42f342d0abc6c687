"""The command curves: what it prints and writes, and what it refuses; and the same by the engine."""

import csv
import json

import numpy as np
import pytest

from Testing import bright
from XAIExplainLib import cli
from XAIExplainLib.console import ProgressLine
from XAIExplainLib.engine import LocalEngine
from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainLib.protocol import encode
from XAIExplainLib.volume import load_volume, save_volume


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Cases, a network, and maps: the ball and everything but the ball; a ball that is brighter at one side."""
    folder = bright.make(tmp_path_factory.mktemp("curves"))
    case = load_volume(folder / "case.nrrd")
    save_volume(case.array, case.geometry, folder / "right.nrrd")
    save_volume(1 - case.array, case.geometry, folder / "wrong.nrrd")
    graded = case.array * np.arange(1, 1 + case.array.shape[2], dtype=np.float32)
    save_volume(graded, case.geometry, folder / "graded.nrrd")
    save_volume(-graded, case.geometry, folder / "against.nrrd")
    return folder


@pytest.fixture
def asked(folder):
    def run(*more):
        words = ["--volume", str(folder / "case.nrrd"), "--model", str(folder / "bright.pt"), "--allow-code"]
        maps = ["--map", str(folder / "right.nrrd"), "--map", str(folder / "wrong.nrrd")]
        words += ["--classes", "dark,bright", "--target", "bright", "--baseline", "0", "--partition", "voxels"]
        return cli.main(["curves", *words, *maps, "--steps", "8", *more])

    return run


def test_the_areas_are_printed_and_the_curves_written(asked, tmp_path, capsys):
    assert asked("--output", str(tmp_path / "curves.json")) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("bright: area under the probability")
    assert [line.split()[0] for line in told[1:]] == ["map", "right.nrrd", "wrong.nrrd", "(chance)"]
    found = json.loads((tmp_path / "curves.json").read_text())
    assert asked("--output", str(tmp_path / "curves.csv"), "--quiet") == 0
    assert capsys.readouterr().out == ""
    rows = list(csv.DictReader((tmp_path / "curves.csv").read_text().splitlines()))
    assert len(rows) == 2 * 3 * 9
    one = [float(row["score"]) for row in rows if row["kind"] == "insertion" and row["map"] == "wrong.nrrd"]
    assert one == pytest.approx(found["insertion"][1]["values"]["score"])
    assert [row["probability deviation"] != "" for row in rows].count(True) == 2 * 9
    assert not [path for path in tmp_path.iterdir() if path.name not in ("curves.json", "curves.csv")]


def test_the_engine_tells_a_right_map_from_a_wrong_one(folder):
    request = {
        "volumes": [str(folder / "graded.nrrd")], "model": str(folder / "bright.pt2"), "consent": True, "target": 1,
        "options": {"classes": ["dark", "bright"]}, "partition": "voxels", "baseline": 0,
        "maps": [str(folder / "graded.nrrd"), str(folder / "against.nrrd")],
    }  # fmt: skip
    answer = LocalEngine().curves(request, ProgressLine(None))
    encode(answer)
    assert answer["target"] == "bright" and answer["settings"]["partition"] == "voxels"
    (right, wrong), chance = answer["deletion"], answer["chance"]["deletion"]
    assert right["areas"]["score"] < chance["areas"]["score"] < wrong["areas"]["score"]
    given, taken = (curve["areas"]["score"] for curve in answer["insertion"])
    assert given > answer["chance"]["insertion"]["areas"]["score"] > taken
    assert np.allclose(right["values"]["score"][-1], answer["insertion"][0]["values"]["score"][0])


class Impatient(ProgressLine):
    """Stops at the first sign of progress within the work."""

    def __init__(self):
        super().__init__(None)
        self.heard = []

    def progress(self, fraction, message=""):
        self.heard.append((fraction, message))

    def cancelled(self):
        return len(self.heard) > 4


def test_a_run_of_the_engine_can_be_cancelled(folder):
    run = Impatient()
    request = {
        "volumes": [str(folder / "case.nrrd")], "model": str(folder / "bright.pt"), "consent": True,
        "maps": [str(folder / "right.nrrd")],
    }  # fmt: skip
    with pytest.raises(CancelledError):
        LocalEngine().curves(request, run)
    assert run.heard[0] == (0.0, "loading") and len(run.heard) < 8
    with pytest.raises(XAIError, match="list of maps"):
        LocalEngine().curves({**request, "maps": "right.nrrd"}, ProgressLine(None))


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--output", "curves.txt"], "cannot be written as"), (["--output", "/no/such/folder/c.csv"], "no such folder"),
     (["--baseline", "noise"], "no baseline"), (["--steps", "1"], "steps cannot be 1"),
     (["--map", "gone.nrrd"], "gone.nrrd")],
)  # fmt: skip
def test_what_is_wrong_is_said_in_a_sentence(asked, capsys, words, said):
    assert asked(*words) == 2
    assert said in capsys.readouterr().err

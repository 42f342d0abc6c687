"""The benchmarks: what is written from what was measured, and that all who are compared explain the same thing."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import __main__ as bench
from benchmarks import limits, peers, plots, report, rows_gradients, rows_occlusion, rows_samples
from benchmarks.networks import subject
from benchmarks.rows import Goal, Options, Row, judged
from benchmarks.timing import Part, in_turns
from XAIExplainLib.compute.graph import export
from XAIExplainLib.visual import occlusion

QUICK = Options(quick=True)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def measured(contest, options=QUICK, goals=()):
    return Row("a method", "tiny", 16, contest, goals).measure(options)


def row(name="a row", **changed):
    return {
        "name": name, "method": "gradient", "network": "plain", "weights": "random", "volume": "64 x 64 x 64",
        "threads": 1, "clock": "processor", "ours": 0.5, "runs": 3, "forward": 0.25, "backward": 0.5, "best_batch": 4,
        "forward_best": 0.2, "limit": 0.4, "limit_is": "F + B of autograd", "equal": "", "notes": [], "goals": [],
        "peers": {"captum": {"seconds": 1.0, "difference": 2e-3}, "MONAI": {"fails": "RuntimeError: a | view"}},
        "date": "2026-01-02 03:04", **changed,
    }  # fmt: skip


def test_the_table_says_what_the_json_says(tmp_path):
    path = tmp_path / "results.json"
    goals = [{"text": "3 x captum", "found": 2.0, "met": False}, {"text": "at most 2 F", "found": 2.0, "met": True}]
    report.put(path, "rows", row("second", goals=goals), ["first", "second"])
    report.put(path, "rows", row("first", method="Grad-CAM"), ["first", "second"])
    text = path.with_suffix(".md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| plain")]
    assert "Grad-CAM [1]" in lines[0] and "gradient [1]" in lines[1]
    assert "| 0.5 s | 2.00 | 2 | fails |" in lines[1] and "| 0.80 |" in lines[1]
    assert "captum 2e-03 **!** (100.0% of the voxels)" in lines[1]
    assert "3 x captum **-** (the limit would be 2.5), at most 2 F +" in lines[1]
    assert "1. limit: F + B of autograd; MONAI fails: RuntimeError: a / view." in text
    assert "Goals: 1 met, 1 missed, 0 not to be judged." in text


def test_a_row_takes_its_own_place_and_keeps_the_others_and_its_memory(tmp_path):
    path = tmp_path / "results.json"
    for one in (row("a", memory={"ours": 2**21}), row("b"), row("a", threads=2), row("a", ours=0.7)):
        report.put(path, "rows", one, ["a", "b"])
    found = json.loads(path.read_text())["rows"]
    assert [(one["name"], one["threads"], one["ours"]) for one in found] == [
        ("a", 1, 0.7),
        ("b", 1, 0.5),
        ("a", 2, 0.5),
    ]
    assert "ours 2 |" in path.with_suffix(".md").read_text()


def test_every_figure_of_ours_has_a_name_of_its_own_and_an_estimate():
    names = [one.name for one in (*bench.all_rows(), *plots.points())]
    assert len(set(names)) == len(names)
    assert all(one.estimate(Options(part=16)) > 0 for one in (*bench.all_rows(), *plots.points()))
    assert [one.name for one in bench.chosen(bench.all_rows(), ["gradient plain"], False)][0] == "gradient plain 64"


@pytest.mark.parametrize(
    ("goal", "met"),
    [(Goal("F", 2), True), (Goal("F", 1.9), False), (Goal("captum", 2), True), (Goal("captum", 2.1), False),
     (Goal("MONAI", 1), None), (Goal("limit", 0.8), True), (Goal("limit", 0.9), False)],
)  # fmt: skip
def test_goals_are_judged(goal, met):
    assert judged(goal, row())["met"] is met


def test_who_raises_is_out_and_the_others_run_on():
    def fail():
        raise RuntimeError("no\nview")

    found = in_turns({"fails": fail, "ours": lambda: 7, "part": lambda: Part(12.5)}, 1)
    assert found["fails"].error == "RuntimeError: no view"
    assert found["ours"].result == 7 and found["ours"].runs > 1
    assert found["part"].seconds == 12.5


@pytest.mark.parametrize(
    "contest", [rows_gradients.gradient, rows_gradients.grad_cam, rows_gradients.deep_shap, rows_gradients.relevance,
                rows_occlusion.occlusion(4)],
)  # fmt: skip
def test_all_explain_the_same(contest):
    found = measured(contest)
    assert found["peers"] and not [peer for peer in found["peers"].values() if "fails" in peer]
    for peer in found["peers"].values():
        assert peer["difference"] < 2e-4 if contest is rows_gradients.relevance else peer["difference"] < 1e-5


def test_a_peer_that_runs_in_part_says_so_and_has_our_logits():
    one = subject("tiny", 16)
    contest = rows_occlusion.occlusion(4)(one, Options(part=16, quick=True))
    found = measured(lambda *_: contest, Options(part=16, quick=True))
    assert all("of 64, scaled" in peer["part"] for peer in found["peers"].values())
    gaps = [float(note.split()[-1]) for note in found["notes"] if "first windows" in note]
    assert len(gaps) == 2 and max(gaps) < 1e-5


def test_samples_are_counted_for_every_peer():
    for one in rows_samples.rows()[:3]:
        found = measured(one.contest, Options(part=24, quick=True))
        assert all("of 256, scaled" in peer["part"] for peer in found["peers"].values()), found["peers"]
        assert "passes of ours" in found["notes"][0]


def test_integrated_gradients_are_timed_at_no_larger_error():
    found = measured(rows_gradients.integrated("riemann_trapezoid"))
    theirs, ours = (
        float(word) for word in found["notes"][0].replace(",", " ").replace(":", " ").split() if "e-" in word
    )
    assert ours <= theirs


def test_prediction_difference_is_compared_with_its_own_whole_passes():
    contest = rows_occlusion.prediction_difference(subject("tiny", 16), QUICK)
    assert np.abs(contest.ours() - contest.peers["own dense"]()).max() < 1e-4


def test_operations_are_counted_as_by_hand():
    layers = nn.Conv3d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv3d(2, 1, 3, padding=1), nn.AdaptiveAvgPool3d(1)
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(1, 2))
    graph = export(network.eval(), torch.zeros(2, 1, 8, 8, 8), None)
    middle = limits.share(graph, np.array([[3, 3, 3]]), np.array([[4, 4, 4]]))
    corner = limits.share(graph, np.array([[0, 0, 0]]), np.array([[1, 1, 1]]))
    assert middle == pytest.approx((3**3 + 5**3) / (2 * 8**3))
    assert corner == pytest.approx((2**3 + 3**3) / (2 * 8**3))


def test_the_pictures_are_drawn(tmp_path):
    series = [
        {"series": which, "network": "plain", "threads": 1, "size": n, "windows": n, "ours": n / 9, "captum": float(n),
         "MONAI": n * 1.1, "bound": n / 10}
        for which in ("size", "windows") for n in (32, 64)
    ]  # fmt: skip
    drawn = plots.draw({"series": series}, tmp_path)
    assert [path.name for path in drawn] == ["speed-size.png", "speed-windows.png"]
    assert all(path.stat().st_size > 5000 for path in drawn)


def test_boxes_part_the_whole_image():
    labels = peers.boxes(subject("tiny", 16), 4)
    assert labels.unique().tolist() == list(range(64)) and labels.flatten().bincount().unique().tolist() == [64]


@pytest.mark.parametrize(("size", "window", "stride"), [(64, 8, 8), (64, 8, 32), (20, 7, 5), (9, 9, 4), (30, 4, 11)])
def test_peers_are_scaled_by_the_windows_that_there_are(size, window, stride):
    shape = (size, size + 1)
    assert peers.windows(shape, window, stride) == len(occlusion.windows(shape, window, stride))

"""The measurement on held-out cases: what is counted, merged and written."""

from __future__ import annotations

import json

import numpy as np
import pytest

from Testing.bright import Bright
from XAIExplainLib.errors import XAIError
from XAIExplainLib.evaluation import held_out
from XAIExplainLib.evaluation.held_out import BEGIN, END, RUNS, SKELETON, Run, as_markdown, put_between_marks
from XAIExplainLib.evaluation.localisation import localisation
from XAIExplainLib.explaining import explain
from XAIExplainLib.geometry import Geometry
from XAIExplainLib.method import methods
from XAIExplainLib.model import Model
from XAIExplainLib.networks.dataset import CaseSet
from XAIExplainLib.volume import Volume


def model(*_, **__):
    return Model(Bright(), classes=["dark", "bright"], groups={"lesion": ["bright"]})


@pytest.fixture
def cases(monkeypatch):
    random = np.random.default_rng(0)
    masks = np.zeros((5, 6, 7, 8), bool)
    for n in range(1, 5):
        masks[n, n - 1 : n + 1, 2:5, 3:6] = True
    images = (random.random((5, 6, 7, 8)) + 3 * masks).astype(np.float16)
    images[:, 0, 0] = 0  # outside of the brain
    found = CaseSet(images, images, masks, [{"label": int(n > 0)} for n in range(5)])
    monkeypatch.setattr(held_out, "case_set", lambda name, count: found)
    monkeypatch.setattr(held_out, "load_model", model)
    return found


@pytest.fixture
def asked(cases, tmp_path):
    def run(*words):
        paths = ["--output", str(tmp_path / "figures.json"), "--table", str(tmp_path / "table.md")]
        held_out.main([*paths, "--cases", "3", *words])
        return json.loads((tmp_path / "figures.json").read_text()), (tmp_path / "table.md").read_text()

    return run


def test_figures_are_means_over_the_lesions(cases):
    found = held_out.measure("tiny", 3, [Run("X", "gradient", {"kind": "input"})])
    rows, levels = [], []
    for n in (1, 2, 3):  # the first case has no lesion
        image = cases.images[n].astype(np.float32)
        values = explain(model(), Volume(image), "gradient", "lesion", kind="input").array
        grid = Geometry(values.shape[::-1], (2.5,) * 3)
        rows.append(localisation(values, cases.masks[n], image != 0, grid).to_json())
        levels.append(cases.masks[n][image != 0].mean())
    row = found["methods"]["X"]
    for name in held_out.MEASURES:
        values = [one[name] for one in rows]
        assert row[name] == pytest.approx(np.mean(values)), name
        assert row["standard_error"][name] == pytest.approx(np.std(values, ddof=1) / np.sqrt(3)), name
    assert found["cases"] == 3 and row["cases"] == 3 and row["seconds"] > 0 and "refused" not in row
    assert found["chance"]["relevance_mass"] == pytest.approx(np.mean(levels), rel=0.05)


def test_parts_are_merged_in_the_tables_order_and_the_words_of_the_page_stay(asked, tmp_path):
    found, page = asked("--methods", "occlusion")
    titles = [run.title for run in RUNS if run.method == "occlusion"]
    assert list(found["methods"]) == titles
    (tmp_path / "table.md").write_text(page.replace("Write here", "A surprise:"))
    found, page = asked("--methods", "gradient")
    assert list(found["methods"]) == [run.title for run in RUNS if run.method in ("gradient", "occlusion")]
    assert page.count(BEGIN) == 1 and "A surprise:" in page and page.count("| chance |") == 1
    assert page.count("\n| Occlusion 8/8, zero |") == 1


def test_a_method_that_refuses_is_a_sentence_below_the_table(cases):
    found = held_out.measure("tiny", 4, [Run("X", "grad_cam", {"layer": "nowhere"}), Run("Y", "gradient")])
    row = found["methods"]["X"]
    assert row["refused"]["cases"] == 4 and "nowhere" in row["refused"]["reason"]
    table = as_markdown(found)
    assert f"- X, 4 of the cases: {row['refused']['reason']}" in table and "| X |" not in table and "| Y |" in table


def test_figures_of_another_model_are_not_mixed(asked, tmp_path, capsys):
    asked("--methods", "gradient")
    path = tmp_path / "figures.json"
    path.write_text(path.read_text().replace("brain-lesion", "another"))
    before = path.read_text()
    with pytest.raises(SystemExit) as ended:
        asked("--methods", "gradient")
    assert ended.value.code == 2 and "figures of model another, not of brain-lesion" in capsys.readouterr().err
    assert path.read_text() == before


def test_a_run_on_fewer_cases_says_so(asked, tmp_path):
    asked("--methods", "gradient")
    chance = json.loads((tmp_path / "figures.json").read_text())["chance"]
    asked("--methods", "cam", "--cases", "2")
    found = json.loads((tmp_path / "figures.json").read_text())
    assert found["cases"] == 3 and found["methods"]["CAM"]["cases"] == 2
    assert found["chance"] == chance
    table = as_markdown(found)
    assert "| CAM, first 2 |" in table and "| Gradient, signed |" in table


@pytest.mark.parametrize(("name", "said"), [("gradiant", "gradient"), ("ensemble_cam", "RUNS|no method")])
def test_a_name_without_a_run_is_refused(asked, capsys, name, said):
    with pytest.raises(SystemExit):
        asked("--methods", name)
    assert any(word in capsys.readouterr().err for word in said.split("|"))


def test_every_run_fits_its_method():
    here = methods()
    for run in RUNS:
        if run.method in here:
            here[run.method].check_parameters(run.parameters)
    assert len({run.title for run in RUNS}) == len(RUNS)


def test_a_page_without_marks_is_not_written_over():
    with pytest.raises(XAIError, match="marks"):
        put_between_marks("# My page\n", "table")
    assert put_between_marks(SKELETON, "T").count("T\n" + END) == 1


def test_figures_of_before_the_distances_have_a_dash():
    row = {"relevance_mass": 0.5, "relevance_rank": 0.5, "pointing_game": 1.0, "average_precision": 0.3, "seconds": 1.0}
    table = as_markdown({"model": "m", "cases": 2, "chance": {"dice": 0.001}, "methods": {"X": row}})
    assert "| X | **0.500** | **0.500** | **1.000** | **0.300** | - | - | - | 1.0 | - |" in table

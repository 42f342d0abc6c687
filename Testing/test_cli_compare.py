"""The command compare: a folder of maps, tables and a page, and how it ends."""

import csv
import json
import re

import numpy as np
import pytest

from Testing import bright
from XAIExplainLib import cli
from XAIExplainLib.cases import load_case
from XAIExplainLib.evaluation.comparison import COST, LOCALISATION, Comparison
from XAIExplainLib.evaluation.localisation import localisation
from XAIExplainLib.geometry import Geometry
from XAIExplainLib.volume import load_volume, save_volume

OBLIQUE = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A case, networks for it, and masks of its ball."""
    folder = bright.make(tmp_path_factory.mktemp("compare"))
    case = load_volume(folder / "case.nrrd")
    grid = case.geometry
    save_volume(case.array > 0, grid, folder / "ball.nrrd")
    save_volume(case.array * 0, grid, folder / "empty.nrrd")
    save_volume(case.array * 0 + 1, grid, folder / "all.nrrd")
    elsewhere = Geometry(grid.size, grid.spacing, (900.0, 0.0, 0.0))
    save_volume(case.array > 0, elsewhere, folder / "elsewhere.nrrd")
    # The same ball, sampled on another grid that is turned in space.
    centre = grid.index_to_physical((10, 7, 4))
    corner = centre - OBLIQUE @ np.full(3, 10.0)
    other = Geometry((41, 41, 41), (0.5,) * 3, tuple(corner), OBLIQUE)
    points = other.index_to_physical(np.stack(np.meshgrid(*[np.arange(41)] * 3, indexing="ij")[::-1], -1))
    index = grid.physical_to_index(points) - (10, 7, 4)
    save_volume((index**2).sum(-1) < 8.5, other, folder / "turned.nrrd")
    return folder


@pytest.fixture
def asked(folder, tmp_path):
    """Run the command, output in `tmp_path`/out."""

    def run(methods, *more, model="bright.pt", classes=True):
        words = ["--volume", str(folder / "case.nrrd"), "--model", str(folder / model), "--allow-code"]
        words += ["--classes", "dark,bright"] if classes else []
        return cli.main(["compare", *words, "--methods", methods, "--output", str(tmp_path / "out"), *more])

    return run


def read(out):
    rows = {row["method"]: row for row in csv.DictReader((out / "comparison.csv").read_text().splitlines())}
    return json.loads((out / "comparison.json").read_text()), rows, (out / "index.html").read_text()


def test_two_methods_and_one_that_refuses_on_the_bundled_case(tmp_path, capsys):
    out = tmp_path / "new" / "ring"
    words = ["compare", "--volume", "enhancing-ring", "--model", "brain-lesion", "--target", "lesion"]
    words += ["--methods", "gradient,grad_cam,occlusion", "--truth", "enhancing-ring", "--output", str(out)]
    words += ["--set", "gradient.kind=absolute", "--set", "grad_cam.layer=nowhere"]
    words += ["--set", "occlusion.window=16", "--set", "occlusion.stride=16"]
    assert cli.main(words) == 0
    told, log = capsys.readouterr()
    assert "grad_cam   refuses" in told and str(out / "index.html") in told and "gone" in log
    names = {"comparison.csv", "comparison.json", "index.html"}
    assert {path.name for path in out.iterdir()} == names | {
        f"{method}.{ending}" for method in ("gradient", "occlusion") for ending in ("nrrd", "json")
    }
    found, rows, page = read(out)
    assert found["complete"] and found["target"] == "lesion" and not found["truth"]["resampled"]
    assert [row["method"] for row in found["methods"]] == ["gradient", "grad_cam", "occlusion"]
    assert "nowhere" in found["methods"][1]["refused"] == rows["grad_cam"]["refused"]
    # The figures are those of the map that was written, over the brain.
    case = load_case("enhancing-ring")
    for method in ("gradient", "occlusion"):
        values = load_volume(out / f"{method}.nrrd").array
        wanted = localisation(values, case.mask.data[0], case.volume.data[0] != 0, case.volume.geometry).to_json()
        row = next(row for row in found["methods"] if row["method"] == method)
        assert row["localisation"] == pytest.approx(wanted)
        assert float(rows[method]["dice"]) == pytest.approx(wanted["dice"], rel=1e-5)
        assert row["seconds"] > 0 and row["passes"] > 0 and row["peak_bytes"] > 0
    assert found["methods"][0]["parameters"]["kind"] == "absolute"
    assert set(found["chance"]) | {"dice_threshold"} == set(LOCALISATION)
    assert float(rows["(chance)"]["hausdorff"]) == pytest.approx(found["chance"]["hausdorff"], rel=1e-5)
    # The page stands alone: pictures inside, nothing fetched.
    assert page.count("data:image/png;base64,") == 3 + 2 * 5  # the anatomy once; a map three times, and at its peak
    assert not re.search(r'(src|href)="?(https?:|//)', page) and "@import" not in page
    assert page.count("<tr><td data-value") == 3 and "refuses: " in page and "level of chance" in page


def test_without_a_truth_there_are_pictures_and_costs(asked, tmp_path, capsys):
    assert asked("gradient,occlusion", "--quiet", "--target", "bright") == 0
    assert capsys.readouterr() == ("", "")
    found, rows, page = read(tmp_path / "out")
    assert found["truth"] is None and found["chance"] == {}
    assert set(COST) <= set(rows["gradient"]) and not set(LOCALISATION) & set(rows["gradient"])
    assert page.count("data:image/png;base64,") == 2 * 6 and 'class="truth"' not in page


def test_all_are_all_visual_methods(asked, tmp_path, monkeypatch):
    from XAIExplainLib import method

    few = {name: kind for name, kind in method.methods().items() if name in ("gradient", "grad_cam")}
    monkeypatch.setattr("XAIExplainLib.evaluation.comparison.methods", lambda: few)
    assert asked("all") == 0
    found, _, _ = read(tmp_path / "out")
    assert {row["method"] for row in found["methods"]} == set(few)
    refused = next(row["refused"] for row in found["methods"] if row["method"] == "grad_cam")
    assert "TorchScript" in refused  # a program that does not show its operations


def test_a_truth_on_another_grid_is_carried_through_the_patients_space(asked, folder, tmp_path):
    assert asked("occlusion", "--truth", str(folder / "turned.nrrd"), "--set", "occlusion.window=3") == 0
    turned, _, page = read(tmp_path / "out")
    assert turned["truth"]["resampled"] and "carried from its own grid" in page
    assert asked("occlusion", "--truth", str(folder / "ball.nrrd"), "--set", "occlusion.window=3") == 0
    straight, _, _ = read(tmp_path / "out")
    assert not straight["truth"]["resampled"]
    assert turned["truth"]["voxels"] == pytest.approx(straight["truth"]["voxels"], rel=0.05)


def test_where_it_measures_can_be_given(asked, folder, tmp_path):
    assert asked("gradient", "--truth", str(folder / "ball.nrrd"), "--within", str(folder / "all.nrrd")) == 0
    everywhere, _, _ = read(tmp_path / "out")
    ball = load_volume(folder / "ball.nrrd").array
    assert everywhere["domain"]["voxels"] == ball.size
    assert everywhere["chance"]["relevance_mass"] == pytest.approx(ball.mean())


@pytest.mark.parametrize(
    ("methods", "words", "said"),
    [
        ("gradient,oclusion", (), "occlusion"),
        ("", (), "No method"),
        ("gradient,gradient", (), "twice"),
        ("gradient", ("--set", "kind=absolute"), "METHOD.name=value"),
        ("gradient", ("--set", "occlusion.window=4"), "not compared"),
        ("gradient", ("--set", "gradient.widow=4"), "widow"),
        ("occlusion", ("--set", "occlusion.window=zero"), "window"),
        ("gradient", ("--target", "purple"), "purple"),
        ("gradient", ("--memory", "lots"), "lots"),
        ("gradient", ("--device", "abacus"), "abacus"),
        ("gradient", ("--truth", "{folder}/nowhere.nrrd"), "nowhere"),
        ("gradient", ("--truth", "healthy"), "no mask"),
        ("gradient", ("--truth", "{folder}/empty.nrrd"), "empty"),
        ("gradient", ("--truth", "{folder}/elsewhere.nrrd"), "outside"),
        ("gradient", ("--truth", "{folder}/all.nrrd", "--within", "{folder}/all.nrrd"), "whole domain"),
        ("gradient", ("--within", "{folder}/empty.nrrd"), "empty"),
        ("grad_cam", (), "TorchScript"),
    ],
)
def test_what_the_user_can_mend_is_one_error_and_no_file(asked, folder, tmp_path, capsys, methods, words, said):
    assert asked(methods, *(word.format(folder=folder) for word in words)) == 2
    out, err = capsys.readouterr()
    assert out == "" and "error: " in err and said in err and "Traceback" not in err
    assert len(err.strip().splitlines()) >= 2, "no hint"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_or_holds_other_things_is_refused_before_the_run(
    asked, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(Comparison, "__init__", lambda *_, **__: pytest.fail("it ran"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    assert asked("gradient") == 2 and "not of a comparison" in capsys.readouterr().err
    (tmp_path / "out" / "comparison.json").write_text("{}")
    assert asked("gradient") == 2 and "not of a comparison" in capsys.readouterr().err
    assert len(list((tmp_path / "out").iterdir())) == 2
    (tmp_path / "file").touch()
    assert asked("gradient", "--output", str(tmp_path / "file" / "out")) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert asked("gradient", "--output", str(tmp_path / "file")) == 2


def test_an_earlier_comparison_is_replaced_and_what_is_not_its_own_stays(asked, tmp_path):
    out = tmp_path / "out"
    assert asked("gradient,occlusion") == 0
    (out / "notes.txt").write_text("mine")
    assert asked("gradient") == 0
    assert {path.name for path in out.iterdir()} == {
        "comparison.csv", "comparison.json", "index.html", "gradient.nrrd", "gradient.json", "notes.txt",
    }  # fmt: skip
    assert asked("grad_cam") == 2  # gives nothing, and so replaces nothing
    assert read(out)[0]["methods"][0]["method"] == "gradient"


def test_ctrl_c_keeps_what_was_finished_and_says_what_is_missing(asked, tmp_path, capsys, monkeypatch):
    run = Comparison.run

    def interrupted(self, method, *arguments):
        if method == "occlusion":
            raise KeyboardInterrupt
        return run(self, method, *arguments)

    monkeypatch.setattr(Comparison, "run", interrupted)
    assert asked("gradient,occlusion,grad_cam") == 130
    err = capsys.readouterr().err
    assert "cancelled" in err and "nothing was written" not in err and str(tmp_path / "out") in err
    found, rows, page = read(tmp_path / "out")
    assert not found["complete"] and found["missing"] == ["occlusion", "grad_cam"]
    assert set(rows) == {"gradient", "(incomplete: occlusion, grad_cam did not run)"}
    assert "Incomplete" in page and (tmp_path / "out" / "gradient.nrrd").exists()
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_ctrl_c_before_the_first_map_leaves_nothing(asked, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Comparison, "run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert asked("gradient") == 130
    assert "nothing was written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_bug_in_a_method_is_no_refusal(asked, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr("XAIExplainLib.evaluation.comparison.explain", broken)
    with pytest.raises(RuntimeError, match="multiplied"):
        asked("gradient")


def test_memory_that_runs_out_is_a_row_and_the_others_go_on(asked, tmp_path, monkeypatch):
    from XAIExplainLib.evaluation import comparison

    explain = comparison.explain

    def hungry(model, volume, method, *arguments, **options):
        if method == "occlusion":
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 TiB")
        return explain(model, volume, method, *arguments, **options)

    monkeypatch.setattr(comparison, "explain", hungry)
    assert asked("occlusion,gradient") == 0
    found, _, _ = read(tmp_path / "out")
    assert "Memory ran out" in found["methods"][0]["refused"] and found["methods"][1]["map"] == "gradient.nrrd"

"""Likeness and combinations of maps, against figures made another way; and as the engine's commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from XAIExplainLib.console import ProgressLine
from XAIExplainLib.engine import LocalEngine
from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainLib.evaluation.measuring import combine, measure, top_dice
from XAIExplainLib.geometry import Geometry
from XAIExplainLib.protocol import encode
from XAIExplainLib.volume import load_volume, save_volume

RUN = ProgressLine(None)
ANGLE = 0.3
DIRECTION = np.array([[np.cos(ANGLE), -np.sin(ANGLE), 0], [np.sin(ANGLE), np.cos(ANGLE), 0], [0, 0, 1]])
GRID = Geometry((9, 8, 7), (0.8, 1.1, 2.5), (-3, 20, 7), DIRECTION)


@pytest.fixture
def arrays() -> list[np.ndarray]:
    """Three maps, zero in a part: like, rather like, and one sign only."""
    generator = np.random.default_rng(3)
    first = generator.normal(size=GRID.shape)
    second = first + 0.7 * generator.normal(size=GRID.shape)
    third = np.abs(generator.normal(size=GRID.shape)) * 40
    for values in (first, second, third):
        values[:2] = 0
    return [values.astype(np.float32) for values in (first, second, third)]


@pytest.fixture
def paths(arrays: list[np.ndarray], tmp_path: Path) -> list[str]:
    return [str(save_volume(values, GRID, tmp_path / f"{n}.nrrd", False)) for n, values in enumerate(arrays)]


def test_pairs_are_compared_where_a_map_says_something(arrays: list[np.ndarray], paths: list[str]) -> None:
    answer = measure(paths)
    assert [(pair["first"], pair["second"]) for pair in answer["pairs"]] == [(0, 1), (0, 2), (1, 2)]
    assert answer["voxels"] == 5 * 8 * 9 and answer["localisation"] is None
    for pair in answer["pairs"]:
        one, other = (arrays[pair[name]][2:].ravel().astype(float) for name in ("first", "second"))
        assert pair["spearman"] == pytest.approx(stats.spearmanr(one, other).statistic, abs=1e-9)
        assert pair["pearson"] == pytest.approx(np.corrcoef(one, other)[0, 1], abs=1e-6)
        places = [set(np.argsort(-np.abs(values))[:36]) for values in (one, other)]
        assert pair["dice"] == pytest.approx(len(places[0] & places[1]) / 36)


def test_the_same_map_is_wholly_alike(paths: list[str]) -> None:
    (pair,) = measure([paths[0], paths[0]])["pairs"]
    assert pair["spearman"] == pytest.approx(1) and pair["pearson"] == pytest.approx(1) and pair["dice"] == 1


def test_a_flat_map_has_no_correlation_and_a_zero_one_no_places(paths: list[str], tmp_path: Path) -> None:
    zero = str(save_volume(np.zeros(GRID.shape, np.float32), GRID, tmp_path / "zero.nrrd", False))
    (pair,) = measure([paths[0], zero])["pairs"]
    assert (pair["spearman"], pair["pearson"], pair["dice"]) == (None, None, None)
    with pytest.raises(XAIError, match="zero everywhere"):
        measure([zero, zero])


def test_equal_strengths_are_taken_together_and_zero_never() -> None:
    ones = np.r_[np.ones(50), np.zeros(50)]
    assert top_dice(ones, ones) == 1
    assert top_dice(ones, np.r_[np.ones(10), np.zeros(90)]) == pytest.approx(2 * 10 / 60)


def test_a_mask_gives_the_localisation_of_each(arrays: list[np.ndarray], paths: list[str], tmp_path: Path) -> None:
    mask = np.zeros(GRID.shape, np.uint8)
    mask[3:5, 2:6, 2:6] = 1
    path = str(save_volume(mask, GRID, tmp_path / "mask.nrrd", False))
    found = measure(paths, path)["localisation"]
    for values, figures in zip(arrays, found, strict=True):
        positive = np.clip(values, 0, None)
        assert figures["relevance_mass"] == pytest.approx(positive[mask > 0].sum() / positive.sum(), rel=1e-5)
        assert figures["pointing_game"] == float(mask.flat[positive.argmax()])
        assert figures["chance"] == pytest.approx(mask.mean())
    other = str(save_volume(mask, Geometry(GRID.size, (1, 1, 1)), tmp_path / "other.nrrd", False))
    with pytest.raises(XAIError, match="does not lie on"):
        measure(paths, other)


def test_difference_and_agreement_of_maps_on_one_scale(
    arrays: list[np.ndarray], paths: list[str], tmp_path: Path
) -> None:
    output = tmp_path / "map.nrrd"
    scales = [np.percentile(np.abs(values[values != 0]), 99.9) for values in arrays]
    one, other = arrays[0] / scales[0], arrays[2] / scales[2]
    answer = combine([paths[0], paths[2]], "difference", output)
    assert answer["scales"] == pytest.approx([scales[0], scales[2]], rel=1e-6)
    written = load_volume(output)
    assert written.geometry.same_as(GRID)
    assert written.array == pytest.approx(one - other, abs=1e-6)
    combine([paths[0], paths[2]], "agreement", output)
    expected = np.zeros(GRID.shape)
    for place in np.ndindex(*GRID.shape):
        if one[place] > 0 and other[place] > 0:
            expected[place] = np.sqrt(one[place] * other[place])
        elif one[place] < 0 and other[place] < 0:
            expected[place] = -np.sqrt(one[place] * other[place])
    assert load_volume(output).array == pytest.approx(expected, abs=1e-6)
    assert (expected > 0).any() and not (expected < 0).any()  # the third map never speaks against


def test_what_cannot_be_combined_is_refused(paths: list[str], tmp_path: Path) -> None:
    zero = str(save_volume(np.zeros(GRID.shape, np.float32), GRID, tmp_path / "zero.nrrd", False))
    for given, kind, words in (
        (paths, "difference", "3 maps"), (paths[:2], "sum", "no combination"),
        ([paths[0], zero], "agreement", "second"), ([], "difference", "0 maps"),
    ):  # fmt: skip
        with pytest.raises(XAIError, match=words):
            combine(given, kind, tmp_path / "map.nrrd")
    assert not (tmp_path / "map.nrrd").exists()


def test_it_can_be_stopped(paths: list[str]) -> None:
    with pytest.raises(CancelledError):
        measure(paths, cancelled=lambda: True)


def test_the_engine_answers(paths: list[str], tmp_path: Path) -> None:
    commands = LocalEngine().commands()
    request: dict[str, Any] = {"maps": paths}
    encode(commands["measure"](request, RUN))
    output = str(tmp_path / "both.nrrd")
    answer = commands["combine"]({"maps": paths[:2], "kind": "agreement", "output": output}, RUN)
    assert answer["map"] == output and Path(output).exists()
    for command, wrong in (("measure", {}), ("measure", {"maps": "x"}), ("combine", {"maps": paths[:2]})):
        with pytest.raises(XAIError):
            commands[command](wrong, RUN)

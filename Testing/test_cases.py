"""The bundled cases: whole, on one grid, and found by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from XAIExplainLib import cases as cases_module
from XAIExplainLib.cases import Case, case_names, cases, load_case
from XAIExplainLib.errors import XAIError
from XAIExplainLib.geometry import Geometry
from XAIExplainLib.volume import Volume, save_volume

GRID = Geometry((6, 5, 4), (1, 2, 3), (7, 8, 9))


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two cases of our own: one with all that a case can have, one with an image only."""
    rng = np.random.default_rng(0)
    for name, parts in {"ring": ("image", "mask", "twin"), "healthy": ("image",)}.items():
        folder = tmp_path / "cases" / name
        folder.mkdir(parents=True)
        (folder / "case.json").write_text(json.dumps({"title": name.title(), "licence": "MIT"}))
        for part in parts:
            save_volume(rng.random(GRID.shape) > 0.5, GRID, folder / f"{part}.nii.gz")
    monkeypatch.setattr(cases_module, "resources_path", lambda *parts: tmp_path.joinpath(*parts))
    return tmp_path / "cases"


def test_cases_are_loaded_by_name(shelf: Path) -> None:
    assert case_names() == ["healthy", "ring"]
    ring, healthy = load_case("ring"), load_case("healthy")
    assert isinstance(ring, Case) and isinstance(ring.volume, Volume) and ring.volume.name == "ring"
    for part in (ring.volume, ring.mask, ring.twin):
        assert part is not None and part.geometry.same_as(GRID)
    assert healthy.mask is None and healthy.twin is None and healthy.information["title"] == "Healthy"
    described = [entry.describe() for entry in cases()]
    assert [entry["name"] for entry in described] == ["healthy", "ring"]
    assert set(described[1]["paths"]) == {"image", "mask", "twin"} and described[1] == ring.describe()
    json.dumps(described)


def test_wrong_cases(shelf: Path) -> None:
    with pytest.raises(XAIError, match="no case called rng") as caught:
        load_case("rng")
    assert "ring" in caught.value.hint
    moved = Geometry(GRID.size, (1, 2, 4))
    save_volume(np.zeros(GRID.shape, bool), moved, shelf / "ring" / "mask.nii.gz")
    with pytest.raises(XAIError, match="mask of the case ring lies on another grid"):
        load_case("ring")
    (shelf / "healthy" / "image.nii.gz").unlink()
    with pytest.raises(XAIError, match="has no image"):
        load_case("healthy")


def test_every_bundled_case_is_whole() -> None:
    for name in case_names():
        case = load_case(name)
        assert case.volume.array.std() > 0 and case.information["source"] and case.information["licence"]
        if case.mask is not None:
            assert case.mask.array.any() and set(np.unique(case.mask.array)) <= {0, 1}
            assert case.twin is not None
            # The twin is the same person: far from the lesion nothing differs.
            differs = np.abs(case.twin.array - case.volume.array) > 0.25 * case.volume.array.max()
            assert differs[case.mask.array > 0].mean() > differs[case.mask.array == 0].mean()

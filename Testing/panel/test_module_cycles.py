"""Using the panel again and again leaves no process, no node, no widget, no file, and no memory behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from Testing.panel.cycles import KINDS, Cycles

ROUND = len(KINDS)
MEBIBYTE = 1024 * 1024


def test_nothing_is_left_of_a_round(panel: Any, tmp_path: Path) -> None:
    """Each kind of cycle twice after a first round, with a reload in each."""
    cycles = Cycles(panel, tmp_path)
    cycles.run(2 * ROUND - 1, warm=ROUND)
    assert cycles.grown() == {}
    assert cycles.counts[-1]["processes"] <= 1


@pytest.mark.full
def test_nothing_is_left_of_a_hundred_cycles(panel: Any, tmp_path: Path) -> None:
    cycles = Cycles(panel, tmp_path)
    cycles.run(100, warm=2 * ROUND)
    assert cycles.grown() == {}
    assert cycles.growth() < 1.25 * MEBIBYTE, [size // MEBIBYTE for size in cycles.rss]


def test_a_leak_is_seen(panel: Any, tmp_path: Path) -> None:
    """What the counts are for: a widget, a node, a file and an observer more are each found."""
    import slicer
    from PySide6 import QtWidgets

    from Testing.panel import leaks

    before = leaks.census(panel)
    assert leaks.census(panel) == before
    kept = [QtWidgets.QLabel(), slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode"), open(tmp_path / "x", "w")]  # noqa: SIM115, PTH123
    tag = slicer.mrmlScene.AddObserver("ModifiedEvent", lambda *_: None)
    after = leaks.census(panel)
    grown = {name for name in before if after[name] > before[name]}
    assert {"widgets", "nodes", "open files", "observed by the scene"} <= grown
    slicer.mrmlScene.RemoveObserver(tag)
    kept[2].close()
    slicer.mrmlScene.RemoveNode(kept[1])


def test_memory_grows_by_so_much_a_cycle() -> None:
    from Testing.panel.leaks import slope

    assert slope([100, 110, 120, 130]) == pytest.approx(10)
    assert slope([100, 100, 100, 100]) == pytest.approx(0, abs=1e-9)

"""A list of cases, and a sequence, with the real engine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.panel.test_module_engine import files, open_, real, smallEngineAgain  # noqa: F401 - fixtures
from Testing.panel.test_module_sequences import browserOf, play

torch = pytest.importorskip("torch")


def wanted(files: Path, array: Any = None) -> Any:  # noqa: F811
    """The library's own map of the case, or of other voxels in its place."""
    from XAIExplainLib import explain, load_model, load_volume
    from XAIExplainLib.volume import Volume

    volume = load_volume(files / "case.nrrd")
    volume = volume if array is None else Volume.on(volume.geometry, array, "frame")
    return explain(load_model(files / "bright.pt2", consent=True), volume, "grad_cam", target=1).array


def test_each_case_gets_the_librarys_map_and_one_that_cannot_be_read_a_sentence(real: Any, files: Path) -> None:  # noqa: F811
    import slicer

    volume = open_(real, files, "bright.pt2")
    model = str(files / "bright.pt2")
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    first, second, third = real.logic.runCases(
        [volume, empty, str(files / "case.nrrd")], model=model, method="grad_cam", target=1, consent=True)
    assert [case.state for case in (first, second, third)] == ["done", "failed", "done"]
    for case in (first, third):
        np.testing.assert_allclose(slicer.util.arrayFromVolume(case.mapNode), wanted(files), rtol=1e-4, atol=1e-6)
    outcome = first.outcomes[0]
    place = np.unravel_index(slicer.util.arrayFromVolume(first.mapNode).argmax(), (12, 14, 16))
    k, j, i = (float(n) for n in place)
    matrix = slicer.util.vtkMatrixFromArray(np.eye(4))
    first.mapNode.GetIJKToRASMatrix(matrix)
    np.testing.assert_allclose(outcome.position, matrix.MultiplyPoint((i, j, k, 1.0))[:3], atol=1e-3)
    assert outcome.peak == pytest.approx(slicer.util.arrayFromVolume(first.mapNode).max(), rel=1e-4)
    assert 0 < outcome.probability <= 1


def test_each_frame_gets_the_librarys_map(real: Any, files: Path) -> None:  # noqa: F811
    import slicer

    volume = open_(real, files, "bright.pt2")
    array = np.array(slicer.util.arrayFromVolume(volume))
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "frames")
    frames = [np.roll(array, 2 * number, axis=1) for number in range(3)]
    for number, frame in enumerate(frames):
        node = slicer.vtkMRMLScalarVolumeNode()
        node.CopyOrientation(volume)
        slicer.util.updateVolumeFromArray(node, frame)
        sequence.SetDataNodeAtValue(node, str(number))
    (case,) = real.logic.runCases(
        [sequence], model=str(files / "bright.pt2"), method="grad_cam", target=1, consent=True)
    assert case.state == "done", case.problem
    for number, frame in enumerate(frames):
        play(real, case.mapNode, number)
        np.testing.assert_allclose(
            slicer.util.arrayFromVolume(case.mapNode), wanted(files, frame), rtol=1e-4, atol=1e-6)
    assert browserOf(case.mapNode) is not None


def test_a_list_of_real_runs_stops_within_a_second(real: Any, files: Path) -> None:  # noqa: F811
    volume = open_(real, files, "bright.pt2")
    cases = real.logic.runCases(
        [volume], model=str(files / "bright.pt2"), method="rise", parameters={"samples": 20000}, consent=True,
        wait=False)
    real.wait(lambda: cases[0].fraction > 0 or cases[0].state == "failed", "no progress", 60)
    assert cases[0].state == "running", cases[0].problem
    began = time.monotonic()
    real.logic.queue.stop()
    assert not real.logic.busy
    assert real.logic.explain(volume, model=str(files / "bright.pt2"), consent=True) is not None
    print(f"stopped, and the next map is there, after {time.monotonic() - began:.1f} s")
    assert cases[0].state == "waiting"

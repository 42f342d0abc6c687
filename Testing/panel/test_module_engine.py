"""The whole way: a click in Slicer, the real engine in its process, a map over the volume."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from XAIExplainLib.method import methods

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case and a network that sees it in milliseconds."""
    from Testing.bright import make

    return make(tmp_path_factory.mktemp("bright"))


@pytest.fixture
def real(loaded: Any) -> Iterator[Any]:
    """The panel with the real engine, which stays warm from test to test."""
    if loaded.desk.catalog.cases.get("ring") or not loaded.desk.catalog.loaded:
        loaded.useInterpreter(sys.executable)
        loaded.desk.restartEngine()
    loaded.wait(lambda: loaded.desk.catalog.loaded or loaded.desk.engineError(), "no engine", 120)
    assert loaded.desk.engineError() is None
    loaded.reset()
    yield loaded
    loaded.host.assertNoErrors()


@pytest.fixture(scope="module", autouse=True)
def smallEngineAgain(loaded: Any) -> Iterator[None]:
    """Give the tests that follow their own engine back."""
    yield
    loaded.useInterpreter(str(loaded.fake))
    loaded.desk.restartEngine()


def open_(panel: Any, files: Path, network: str) -> Any:
    import slicer

    volume = slicer.util.loadVolume(str(files / "case.nrrd"), {"name": "ball"})
    panel.host.processEvents()
    panel.host.setCombo(panel.desk.modelPanel.ui.modelComboBox, "From a file...")
    panel.desk.modelPanel.ui.modelPathEdit.currentPath = str(files / network)
    panel.wait(lambda: panel.desk.modelPanel.ui.consentFrame.visible, "no question", 60)
    panel.host.click(panel.desk.modelPanel.ui.allowButton)
    panel.wait(lambda: panel.desk.model.info is not None, "the network is not loaded", 60)
    return volume


@pytest.mark.parametrize(("title", "method"), [("Grad-CAM", "grad_cam"), ("Occlusion sensitivity", "occlusion")])
def test_panel_shows_what_the_library_computes(real: Any, files: Path, title: str, method: str) -> None:
    import slicer

    from XAIExplainLib import explain, load_model, load_volume

    open_(real, files, "bright.pt2")
    real.chooseMethod(title)
    mapNode = real.apply()
    assert mapNode is not None, real.message
    wanted = explain(load_model(files / "bright.pt2", consent=True), load_volume(files / "case.nrrd"), method)
    np.testing.assert_allclose(slicer.util.arrayFromVolume(mapNode), wanted.array, rtol=1e-4, atol=1e-6)
    assert title in mapNode.GetName()
    assert "Time" in real.desk.result.ui.figuresLabel.text
    assert real.foregrounds() == {mapNode.GetID()}


@pytest.mark.parametrize("method", [name for name, one in methods().items() if one.chapter == "visual"])
def test_each_method_by_clicks_is_the_librarys_or_refuses_as_it_does(real: Any, files: Path, method: str) -> None:
    import slicer

    from XAIExplainLib import XAIError, explain, load_model, load_volume

    if real.desk.model.info is None or real.desk.model.info.get("name") != "bright.pt2":
        open_(real, files, "bright.pt2")
    real.chooseMethod(methods()[method].title)
    mapNode = real.apply()
    try:
        wanted = explain(load_model(files / "bright.pt2", consent=True), load_volume(files / "case.nrrd"), method)
    except XAIError as error:
        assert mapNode is None
        assert error.message in real.message
        return
    assert mapNode is not None, real.message
    largest = float(np.abs(wanted.array).max())
    np.testing.assert_allclose(slicer.util.arrayFromVolume(mapNode), wanted.array, atol=1e-4 * largest + 1e-9)
    assert real.foregrounds() == {mapNode.GetID()}


def test_the_real_engines_map_grows_in_one_node(real: Any, files: Path) -> None:
    import slicer

    open_(real, files, "bright.pt2")
    real.chooseMethod("Occlusion sensitivity")
    for name, voxels in (("window", 3), ("stride", 1)):
        for spin in real.desk.method.form.editors[name].spins:
            spin.setValue(voxels)
    seen: list[Any] = []
    shown = real.desk._onPreview

    def watched(node: Any, event: Any) -> None:
        shown(node, event)
        seen.append((node.GetID(), real.count(), real.foregrounds(), np.array(slicer.util.arrayFromVolume(node))))

    real.desk._onPreview = watched
    try:
        mapNode = real.apply()
    finally:
        real.desk._onPreview = shown
    assert seen
    assert {(node, count) for node, count, *_ in seen} == {(mapNode.GetID(), real.count())}
    assert all(layers == {mapNode.GetID()} for *_, layers, _ in seen)
    assert not np.array_equal(seen[0][-1], slicer.util.arrayFromVolume(mapNode))


def test_curves_are_those_of_the_library(real: Any, files: Path) -> None:
    from XAIExplainLib import insertion_deletion, load_model, load_volume

    open_(real, files, "bright.pt2")
    for title in ("Grad-CAM", "Gradient x input"):
        real.chooseMethod(title)
        real.apply()
    real.desk.compare.ui.compareSection.collapsed = False
    curves = real.desk.compare.curves.ui
    real.host.setCombo(curves.baselineComboBox, "its mean")
    real.host.click(curves.curvesButton)
    real.wait(lambda: not real.logic.curves.busy, "the curves do not end", 60)
    assert "(chance)" in curves.areasLabel.text, curves.curvesMessageLabel.text
    from XAIExplainPanels import tables

    rows = tables.rowsOf(real.desk.compare.curves.table())[1]
    maps = [real.logic.folder.volumeFile(mapNode) for mapNode in real.desk.compare.maps()]
    wanted = insertion_deletion(
        load_model(files / "bright.pt2", consent=True), load_volume(files / "case.nrrd"), maps, baseline="mean")
    for place, name in ((0, "Grad-CAM"), (1, "Gradient x input")):
        areas = [getattr(wanted, kind)[place].areas["probability"] for kind in ("deletion", "insertion")]
        assert rows[place] == [name, *(pytest.approx(area, abs=1e-5) for area in areas)]
    real.host.click(curves.plotsButton)
    real.desk.compare.ui.compareSection.collapsed = True


def test_the_self_test_passes_here(real: Any) -> None:
    """Its figures are those of the bundled case and network."""
    from XAIExplainPanels import selfTest

    real.host.wait(lambda: real.desk.catalog.loaded, 60, "no engine")
    told: list[Any] = []
    real.logic.selfTest.start(lambda *words: told.append(words))
    real.wait(lambda: told, "the self-test does not end", 120)
    assert told[0][0] is True, told[0][1]
    assert selfTest.SCORE > 1 and selfTest.PROBABILITY > 0.5


def test_every_method_of_the_engine_has_a_form_and_a_card(real: Any) -> None:
    real.addVolume()
    for name, card in real.desk.catalog.methods.items():
        if card["chapter"] != "visual":
            continue
        real.node.method = name
        real.host.processEvents()
        form = real.desk.method.form
        assert set(form.values()) == {parameter["name"] for parameter in card["parameters"]}
        assert form.changes() == {}, name
        assert card["title"] in real.desk.method.ui.methodTree.currentItem().text(0)
        assert real.desk.method.ui.cardLabel.text


def test_layers_come_from_the_network(real: Any, files: Path) -> None:
    open_(real, files, "bright.pt2")
    real.chooseMethod("Grad-CAM")
    editor = real.desk.method.form.editors["layer"]
    real.host.click(editor.button)
    real.wait(lambda: editor.combo.count > 1, "no layers", 60)
    assert "12 x 14 x 16" in editor.combo.itemText(1)


def test_wrong_number_of_channels_is_a_sentence(real: Any, tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Conv3d(2, 2, 3), torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten())
    torch.jit.script(network.eval()).save(str(tmp_path / "two.pt"))
    real.addVolume()
    real.host.setCombo(real.desk.modelPanel.ui.modelComboBox, "From a file...")
    real.desk.modelPanel.ui.modelPathEdit.currentPath = str(tmp_path / "two.pt")
    real.wait(lambda: real.desk.modelPanel.ui.consentFrame.visible, "no question", 60)
    real.host.click(real.desk.modelPanel.ui.allowButton)
    real.wait(lambda: not real.desk.model.loading, "not loaded", 60)
    real.chooseMethod("Gradient (saliency)")
    if real.desk.run.ui.applyButton.enabled:
        real.press()
        real.wait(lambda: not real.logic.busy, "no end", 60)
    assert "channel" in real.message or "2 volumes" in real.message
    assert real.node.mapVolume is None


def test_no_network_in_the_file_is_a_sentence(real: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.pt").write_bytes(b"this is no network")
    real.host.setCombo(real.desk.modelPanel.ui.modelComboBox, "From a file...")
    real.desk.modelPanel.ui.modelPathEdit.currentPath = str(tmp_path / "broken.pt")
    real.wait(lambda: real.desk.model.error, "no error", 60)
    assert "broken.pt is no model" in real.desk.modelPanel.ui.modelLabel.text


def test_self_test_of_the_module(real: Any) -> None:
    import slicer

    slicer.selfTests["XAIExplain"]()


def test_slices_go_to_what_speaks_most_when_a_map_arrives(real: Any, files: Path) -> None:
    import slicer

    open_(real, files, "bright.pt2")
    real.chooseMethod("Occlusion sensitivity")
    mapNode = real.apply()
    array = slicer.util.arrayFromVolume(mapNode)
    matrix = slicer.util.vtkMatrixFromArray(np.eye(4))
    mapNode.GetIJKToRASMatrix(matrix)
    highest = np.argwhere(array == array.max()).astype(float)
    peaks = [matrix.MultiplyPoint((i, j, k, 1.0))[2] for k, j, i in highest.tolist()]
    offset = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceOffset()
    assert min(abs(offset - peak) for peak in peaks) < 0.1

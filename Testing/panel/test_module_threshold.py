"""What is drawn of a map and in which colors: by percentile, by value, by the share of the relevance."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from Testing.panel.driver import colored

WAYS = {"percentile": "Hide the weakest voxels", "value": "Draw from a value on",
        "relevance": "Draw the top of the relevance"}  # fmt: skip

# Machado, Oliveira and Fernandes 2009: what red, green and blue light is to an eye without one kind of cone.
BLINDNESS = {
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    "none": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
}


def explained(panel: Any, method: str = "Grad-CAM") -> Any:
    panel.addVolume()
    panel.chooseMethod(method)
    mapNode = panel.apply()
    panel.host.click(panel.desk.displayPanel.ui.peakButton)
    panel.desk.displayPanel.ui.legendCheckBox.setChecked(False)
    return mapNode


def look(mapNode: Any) -> tuple[Any, ...]:
    """All that Slicer draws the map by."""
    display = mapNode.GetDisplayNode()
    table = display.GetColorNode().GetLookupTable()
    colors = np.array([table.GetTableValue(index) for index in range(256)])
    return (display.GetLowerThreshold(), display.GetWindowLevelMin(), display.GetWindowLevelMax(), colors)


def same(one: tuple[Any, ...], other: tuple[Any, ...], tolerance: float = 0.0) -> bool:
    return all(np.allclose(first, second, rtol=tolerance, atol=0) for first, second in zip(one, other, strict=True))


def enter(panel: Any, edit: Any, text: str) -> None:
    """Type and press Enter."""
    from PySide6 import QtCore, QtTest

    panel.host.type(edit, text)
    QtTest.QTest.keyClick(edit, QtCore.Qt.Key_Return)
    panel.host.processEvents()


def volume(array: np.ndarray) -> Any:
    import slicer

    return slicer.util.addVolumeFromArray(array, np.eye(4), "map")


@pytest.mark.parametrize("method", ["Grad-CAM", "Occlusion"])
def test_another_way_to_say_the_threshold_draws_the_same(panel: Any, method: str) -> None:
    mapNode = explained(panel, method)
    ui = panel.desk.displayPanel.ui
    ui.hiddenSlider.value = 83.0
    panel.host.processEvents()
    before, picture = look(mapNode), panel.red()
    panel.host.setCombo(ui.thresholdComboBox, WAYS["value"])
    assert ui.thresholdEdit.visible and not ui.hiddenSlider.visible
    assert float(ui.thresholdEdit.text) == pytest.approx(before[0], rel=1e-3)
    assert same(look(mapNode), before)
    assert (panel.red() == picture).all()
    panel.host.setCombo(ui.thresholdComboBox, WAYS["percentile"])
    assert panel.node.hiddenPercent == 83.0  # it still means the same
    assert same(look(mapNode), before)
    # A number with one decimal: the same to one voxel in a thousand.
    panel.host.setCombo(ui.thresholdComboBox, WAYS["relevance"])
    assert look(mapNode)[0] == pytest.approx(before[0], rel=0.02)
    panel.host.setCombo(ui.windowComboBox, "From a value to a value")
    now = look(mapNode)
    panel.host.setCombo(ui.windowComboBox, "From the threshold to a percentile")
    assert same(look(mapNode), now)


def test_a_window_of_values_has_these_values(panel: Any) -> None:
    mapNode = explained(panel, "Occlusion")
    ui = panel.desk.displayPanel.ui
    before = look(mapNode)
    panel.host.setCombo(ui.windowComboBox, "From a value to a value")
    assert same(look(mapNode), before)
    enter(panel, ui.windowLowEdit, "100")
    enter(panel, ui.windowHighEdit, "4e2")
    threshold, low, high, colors = look(mapNode)
    assert (low, high) == (-400, 400)
    assert threshold == pytest.approx(before[0])
    assert "Drawn from" in ui.rangeLabel.text
    at = np.linspace(-400, 400, 256)
    inside = (np.abs(at) > threshold + 4) & (np.abs(at) < 100)
    if inside.any():  # weaker than the window: all of the first color of its sign
        assert len(np.unique(colors[inside & (at > 0), :3], axis=0)) == 1
    # The one that is passed goes along.
    enter(panel, ui.windowHighEdit, "50,0")
    assert (panel.node.windowLow, panel.node.windowHigh) == (50, 50)
    assert look(mapNode)[2] > 50


def test_top_of_the_relevance_is_what_it_says(panel: Any) -> None:
    import slicer

    mapNode = explained(panel)
    ui = panel.desk.displayPanel.ui
    panel.host.setCombo(ui.thresholdComboBox, WAYS["relevance"])
    values = np.sort(np.abs(slicer.util.arrayFromVolume(mapNode).ravel().astype(float)))[::-1]
    seen = []
    for percent in (20.0, 60.0, 95.0, 100.0):
        ui.relevanceSlider.value = percent
        panel.host.processEvents()
        lower = look(mapNode)[0]
        drawn = values[values >= lower]
        assert drawn.sum() >= percent / 100 * values.sum() * (1 - 1e-6)
        assert values[values > lower].sum() < percent / 100 * values.sum()  # and no voxel more, but equal ones
        assert f"{percent:.0f}" in ui.rangeLabel.text.rsplit("with", 1)[1] or percent < 100
        seen.append(colored(panel.red()))
    assert seen == sorted(seen) and seen[0] < seen[-1]


def test_a_value_stays_for_another_map(panel: Any) -> None:
    first = explained(panel)
    ui = panel.desk.displayPanel.ui
    panel.host.setCombo(ui.thresholdComboBox, WAYS["value"])
    enter(panel, ui.thresholdEdit, "123")
    assert look(first)[0] == pytest.approx(123)
    panel.chooseMethod("Occlusion")
    second = panel.apply()
    assert look(second)[0] == pytest.approx(123)
    ui.thresholdSlider.setValue(0)  # zero itself is never drawn
    panel.host.processEvents()
    assert look(second)[0] > 0
    ui.thresholdSlider.setValue(500)
    panel.host.processEvents()
    assert look(second)[0] == pytest.approx(panel.logic.display.strength(second).maximum / 2, rel=0.01)


@pytest.mark.parametrize("text", ["much", "-3", "nan", "1e999"])
def test_what_is_no_value_is_said_and_forgotten(panel: Any, text: str) -> None:
    mapNode = explained(panel)
    ui = panel.desk.displayPanel.ui
    panel.host.setCombo(ui.thresholdComboBox, WAYS["value"])
    before, shown = look(mapNode), ui.thresholdEdit.text
    enter(panel, ui.thresholdEdit, text)
    assert "no value of a map" in panel.message
    assert same(look(mapNode), before)
    assert ui.thresholdEdit.text == shown


@pytest.mark.parametrize("factor", [1e-30, 1e-9, 1e20])
def test_maps_of_any_size(panel: Any, factor: float) -> None:
    """Values may be tiny or huge: the widgets take them."""
    import slicer

    mapNode = explained(panel)
    ui = panel.desk.displayPanel.ui
    slicer.util.arrayFromVolume(mapNode)[:] *= factor
    slicer.util.arrayFromVolumeModified(mapNode)
    panel.desk.refresh()
    panel.host.setCombo(ui.thresholdComboBox, WAYS["value"])
    assert float(ui.thresholdEdit.text) == pytest.approx(look(mapNode)[0], rel=1e-3)
    assert 0 < ui.thresholdSlider.value < 1000
    ui.thresholdSlider.setValue(900)
    panel.host.processEvents()
    assert look(mapNode)[0] == pytest.approx(0.9 * panel.logic.display.strength(mapNode).maximum, rel=0.01)
    assert colored(panel.red()) > 0


def test_a_value_that_is_too_high_is_said(panel: Any) -> None:
    explained(panel)
    panel.node.thresholdMode = "value"
    panel.node.thresholdValue = 1e6
    panel.host.processEvents()
    assert colored(panel.red()) == 0
    assert "Nothing is drawn" in panel.desk.displayPanel.ui.rangeLabel.text
    assert panel.desk.displayPanel.ui.thresholdEdit.text == "1e+06"


def test_settings_come_back_from_a_file(panel: Any, tmp_path: Any) -> None:
    mapNode = explained(panel, "Occlusion")
    ui = panel.desk.displayPanel.ui
    panel.host.setCombo(ui.thresholdComboBox, WAYS["relevance"])
    ui.relevanceSlider.value = 40.0
    panel.host.setCombo(ui.windowComboBox, "From a value to a value")
    enter(panel, ui.windowHighEdit, "321")
    panel.host.setCombo(ui.colorMapComboBox, "Purple to green")
    panel.host.processEvents()
    before = look(mapNode)
    panel.host.saveScene(tmp_path / "saved.mrb")
    panel.host.loadScene(tmp_path / "saved.mrb")
    assert (ui.relevanceSlider.value, ui.windowHighEdit.text) == (40.0, "321")
    assert ui.colorMapComboBox.currentText == "Purple to green"
    again = look(panel.node.mapVolume)
    assert np.allclose(again[3], before[3], atol=1 / 255)
    assert again[:3] == pytest.approx(before[:3], rel=1e-4)


# Strength


@pytest.mark.parametrize("shape", [(9, 10, 11), (150, 150, 150)])
def test_shares_of_the_relevance(panel: Any, shape: tuple[int, int, int]) -> None:
    """Exact for the strongest voxels, also where few of very many hold most; near for the others."""
    from XAIExplainPanels.strength import Strength

    generator = np.random.default_rng(1)
    array = (np.abs(generator.normal(size=shape)) * generator.choice([-1, 1], shape)).astype(np.float32)
    array[generator.random(shape) < 0.3] = 0
    array[2:5, 3:6, 2:9] *= 1000  # a lesion of a few voxels
    found = Strength(volume(array))
    size = np.sort(np.abs(array[array != 0]).astype(float))[::-1]
    sums = np.cumsum(size)
    assert found.total == pytest.approx(sums[-1], rel=2e-3)
    for percent in (1, 30, 50, 80, 99, 100):
        weakest, tolerance = found.relevance(percent), 0.3 if array.size > 1e6 else 1e-4
        held = 100 * size[size >= weakest].sum() / sums[-1]
        assert held >= percent - tolerance
        assert 100 * size[size > weakest].sum() / sums[-1] < percent + tolerance
        assert found.held(weakest) == pytest.approx(held, abs=tolerance)
    for percent in (5, 50, 95, 99.9):
        assert found.percentile(found.at(percent)) == pytest.approx(percent, abs=0.2)
    assert found.held(found.maximum * 2) == 0 and found.percentile(found.maximum * 2) == 100


def test_half_of_a_volume_may_have_one_value(panel: Any) -> None:
    from XAIExplainPanels.strength import Strength

    array = np.zeros((80, 80, 80), np.float32)
    array[:40] = 2
    array[:20] = 1
    found = Strength(volume(array))
    assert (found.at(10), found.at(90), found.maximum) == (1, 2, 2)
    assert found.relevance(50) == 2 and found.relevance(90) == 1
    assert found.held(2) == pytest.approx(200 / 3) and found.held(1) == pytest.approx(100)
    assert found.percentile(2) == pytest.approx(50)


def test_strength_is_quick(panel: Any) -> None:
    from XAIExplainPanels.strength import Strength

    node = volume((np.random.default_rng(0).random((256, 256, 256), np.float32) - 0.5) ** 3)
    seconds = []
    for _time in range(3):
        start = time.perf_counter()
        found = Strength(node)
        seconds.append(time.perf_counter() - start)
    start = time.perf_counter()
    found.at(90), found.relevance(80), found.held(0.1), found.percentile(0.1)
    assert time.perf_counter() - start < 0.005
    assert min(seconds) < 0.15, seconds  # 50 ms on a machine that does nothing else


# Colors


def seen(colors: np.ndarray, blindness: str) -> np.ndarray:
    """CIE Lab of what an eye sees."""
    from XAIExplainPanels.colors import lightnessAndHue

    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.transpose(BLINDNESS[blindness]), 0, 1)
    return lightnessAndHue(np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055))


@pytest.mark.parametrize("blindness", BLINDNESS)
@pytest.mark.parametrize("name", ["heat", "viridis", "gray"])
def test_scales_of_one_sign_for_every_eye(loaded: Any, name: str, blindness: str) -> None:
    """Ever brighter, and eight neighbouring steps can be told apart (2 is what an eye just sees)."""
    from XAIExplainPanels.colors import scale

    lab = seen(scale(name, False), blindness)
    assert (np.diff(lab[:, 0]) > 0).all()
    steps = np.linalg.norm(np.diff(lab[:: 255 // 8][:9], axis=0), axis=1)
    assert steps.min() > 8
    if blindness == "none":
        assert steps.max() / steps.min() < 1.15  # even


@pytest.mark.parametrize("blindness", BLINDNESS)
@pytest.mark.parametrize("name", ["blueRed", "purpleGreen"])
def test_scales_of_two_signs_for_every_eye(loaded: Any, name: str, blindness: str) -> None:
    """Steps can be told apart, and so can the signs, even where the map is weak; both are equally dark."""
    from XAIExplainPanels.colors import entries, scale

    lab = seen(scale(name, True), blindness)
    for arm in (lab[127::-1], lab[128:]):
        steps = np.linalg.norm(np.diff(arm[::18], axis=0), axis=1)
        assert steps.min() > 4
    _at, colors, shown = entries(name, True, 0.1, 1.0)
    drawn = seen(colors[shown], blindness)
    apart = np.linalg.norm(drawn - drawn[::-1], axis=1)
    assert apart.min() > 12
    if blindness == "none":
        assert abs(lab[0, 0] - lab[-1, 0]) < 12
        steps = np.linalg.norm(np.diff(lab[128::18], axis=0), axis=1)
        assert steps.max() / steps.min() < 1.25


def test_zero_and_what_is_weak_is_transparent(loaded: Any) -> None:
    from XAIExplainPanels.colors import entries

    at, _colors, shown = entries("blueRed", True, 0.1, 1.0, 0.3)
    assert not shown[np.abs(at) < 0.3].any() and shown[np.abs(at) >= 0.3].all()
    at, _colors, shown = entries("blueRed", True, 0.0, 1.0, 1e-9)
    assert not shown[[127, 128]].any() and shown.sum() == 254


def test_the_list_of_scales_fits_the_map(panel: Any) -> None:
    explained(panel)
    combo = panel.desk.displayPanel.ui.colorMapComboBox
    assert [combo.itemText(index) for index in range(combo.count)] == ["Heat", "Viridis", "Gray"]
    panel.host.setCombo(combo, "Viridis")
    signed = explained(panel, "Occlusion")
    assert [combo.itemText(index) for index in range(combo.count)] == ["Blue to red", "Purple to green"]
    panel.host.setCombo(combo, "Purple to green")
    table = signed.GetDisplayNode().GetColorNode().GetLookupTable()
    assert table.GetTableValue(255)[1] > table.GetTableValue(255)[0]
    assert panel.node.colorMap == "viridis"

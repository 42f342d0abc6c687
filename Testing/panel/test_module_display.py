"""What is seen of a map: threshold, opacity, colors, legend, rendering, and the user's own layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from Testing.panel.driver import colored


def legend(mapNode: Any) -> Any:
    import slicer

    return slicer.modules.colors.logic().GetColorLegendDisplayNode(mapNode)


def rendering(mapNode: Any) -> Any:
    import slicer

    return slicer.modules.volumerendering.logic().GetFirstVolumeRenderingDisplayNode(mapNode)


def explained(panel: Any, method: str = "Grad-CAM") -> Any:
    panel.addVolume()
    panel.chooseMethod(method)
    mapNode = panel.apply()
    panel.host.click(panel.desk.displayPanel.ui.peakButton)
    panel.desk.displayPanel.ui.legendCheckBox.setChecked(False)
    return mapNode


@pytest.mark.parametrize("method", ["Grad-CAM", "Occlusion"])
def test_threshold_hides_pixels(panel: Any, method: str) -> None:
    explained(panel, method)
    slider = panel.desk.displayPanel.ui.hiddenSlider
    seen = []
    for percent in (0.0, 60.0, 95.0, 99.9):
        slider.value = percent
        panel.host.processEvents()
        seen.append(colored(panel.red()))
    assert seen == sorted(seen, reverse=True)
    assert seen[0] > 2 * seen[2] > 0


def test_threshold_hides_exactly_the_share_that_it_says(panel: Any) -> None:
    import slicer

    mapNode = explained(panel)
    values = slicer.util.arrayFromVolume(mapNode)
    values = values[values > 0]
    lower = mapNode.GetDisplayNode().GetLowerThreshold()
    assert (values < lower).mean() <= 0.9 <= (values <= lower).mean() + 0.005
    assert "Drawn from" in panel.desk.displayPanel.ui.rangeLabel.text


@pytest.mark.parametrize("voxels", [(9, 10, 11), (128, 160, 128), (3, 1024, 1024)])
def test_percentiles_of_strength(panel: Any, voxels: tuple[int, int, int]) -> None:
    """Exact where all voxels are sorted; of many, some are, and they stand for the rest, in rows of any length too."""
    import slicer
    from XAIExplainPanels.strength import READ, SORTED, Strength

    generator = np.random.default_rng(0)
    array = (generator.normal(size=voxels) ** 3 * np.linspace(0.1, 5, voxels[2])).astype(np.float32)
    array[generator.random(voxels) < 0.2] = 0
    array.flat[:3] = 1000, 1e-6, -3e-7
    found = Strength(slicer.util.addVolumeFromArray(array, np.eye(4), "map"))
    size = np.sort(np.abs(array[array != 0]))
    if array.size <= SORTED:
        for percent in (0, 12.3, 50, 90, 99.9, 100):
            assert found.at(percent) == pytest.approx(np.percentile(size, percent), rel=1e-4)
    for percent in (10, 50, 90, 99, 99.9):
        share = 100 * np.searchsorted(size, found.at(percent)) / size.size
        assert abs(share - percent) < (0.2 if size.size < SORTED else 0.3)
    assert found.at(0) == pytest.approx(size[0]) or array.size > READ
    assert found.at(100) == max(abs(array.min()), array.max()) == 1000


def test_values_that_are_no_numbers_have_no_strength(panel: Any) -> None:
    import slicer
    from XAIExplainPanels.strength import Strength

    array = np.zeros((2, 3, 4), np.float32)
    assert Strength(slicer.util.addVolumeFromArray(array, np.eye(4), "zero")).empty
    array.flat[:4] = np.nan, np.inf, 2, -1
    found = Strength(slicer.util.addVolumeFromArray(array, np.eye(4), "map"))
    assert (found.at(0), found.at(50)) == (1, 1.5)


def test_zero_is_never_drawn(panel: Any) -> None:
    mapNode = explained(panel)
    panel.desk.displayPanel.ui.hiddenSlider.value = 0.0
    panel.host.processEvents()
    assert mapNode.GetDisplayNode().GetLowerThreshold() > 0
    signed = explained(panel, "Occlusion")
    colors = signed.GetDisplayNode().GetColorNode()
    alpha = [colors.GetLookupTable().GetTableValue(index)[3] for index in (0, 127, 128, 255)]
    assert alpha == [1.0, 0.0, 0.0, 1.0]


def test_signed_map_is_symmetric_and_has_two_colors(panel: Any) -> None:
    display = explained(panel, "Occlusion").GetDisplayNode()
    assert display.GetWindowLevelMin() == pytest.approx(-display.GetWindowLevelMax())
    table = display.GetColorNode().GetLookupTable()
    against, speaksFor = table.GetTableValue(0), table.GetTableValue(255)
    assert against[2] > against[0]
    assert speaksFor[0] > speaksFor[2]


def test_opacity_follows_the_slider(panel: Any) -> None:
    import slicer

    explained(panel)
    panel.desk.displayPanel.ui.opacitySlider.value = 0.25
    panel.host.processEvents()
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert {node.GetForegroundOpacity() for node in composites} == {0.25}


def test_legend_has_title_and_units_and_can_go(panel: Any) -> None:
    panel.addVolume()
    mapNode = panel.apply()
    assert legend(mapNode).GetVisibility()
    assert "Grad-CAM" in legend(mapNode).GetTitleText()
    assert "score" in legend(mapNode).GetTitleText()
    with_legend = panel.red()
    panel.host.click(panel.desk.displayPanel.ui.legendCheckBox)
    assert not legend(mapNode).GetVisibility()
    assert (with_legend != panel.red()).any()


def test_show_modes(panel: Any) -> None:
    import slicer

    mapNode = explained(panel)
    composite = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
    ui = panel.desk.displayPanel.ui
    panel.host.click(ui.hideButton)
    assert composite.GetForegroundVolumeID() is None
    assert colored(panel.red()) == 0
    panel.host.click(ui.aloneButton)
    assert composite.GetBackgroundVolumeID() is None
    assert composite.GetForegroundOpacity() == 1.0
    assert (ui.overButton.checked, ui.aloneButton.checked, ui.hideButton.checked) == (False, True, False)
    panel.host.click(ui.aloneButton)
    assert ui.aloneButton.checked
    panel.host.click(ui.overButton)
    assert composite.GetForegroundVolumeID() == mapNode.GetID()
    assert composite.GetForegroundOpacity() == pytest.approx(0.6)


def test_smooth_and_colors(panel: Any) -> None:
    mapNode = explained(panel)
    display = mapNode.GetDisplayNode()
    assert display.GetInterpolate()
    panel.host.click(panel.desk.displayPanel.ui.interpolateCheckBox)
    assert not display.GetInterpolate()
    before = display.GetColorNode().GetLookupTable().GetTableValue(255)
    panel.host.setCombo(panel.desk.displayPanel.ui.colorMapComboBox, "Viridis")
    assert display.GetColorNode().GetLookupTable().GetTableValue(255) != before


def test_show_in_3d_and_back(panel: Any) -> None:
    mapNode = explained(panel)
    empty = np.asarray(panel.host.captureView("1"), dtype=int)
    panel.host.click(panel.desk.displayPanel.ui.renderCheckBox)
    panel.wait(lambda: not panel.logic.display.pending, "nothing is rendered")
    assert rendering(mapNode).GetVisibility()
    assert (np.asarray(panel.host.captureView("1"), dtype=int) != empty).any()
    panel.host.click(panel.desk.displayPanel.ui.renderCheckBox)
    assert not rendering(mapNode).GetVisibility()


def test_jump_to_peak(panel: Any) -> None:
    import slicer

    volume = panel.addVolume()
    panel.apply()
    panel.host.click(panel.desk.displayPanel.ui.peakButton)
    array = slicer.util.arrayFromVolume(volume)
    k, _j, _i = np.unravel_index(int(array.argmax()), array.shape)
    offset = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceOffset()
    assert offset == pytest.approx(3.0 * k, abs=1e-3)
    assert "Peak of" in panel.message


def test_users_layers_come_back(panel: Any) -> None:
    import slicer

    first, second = panel.addVolume("first"), panel.addVolume("second")
    slicer.util.setSliceViewerLayers(background=second, foreground=first, foregroundOpacity=0.3)
    panel.node.inputVolume = first
    mapNode = panel.apply()
    composite = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
    assert composite.GetForegroundVolumeID() == mapNode.GetID()
    panel.host.click(panel.desk.displayPanel.ui.restoreButton)
    assert composite.GetBackgroundVolumeID() == second.GetID()
    assert composite.GetForegroundVolumeID() == first.GetID()
    assert composite.GetForegroundOpacity() == pytest.approx(0.3)
    assert slicer.mrmlScene.IsNodePresent(mapNode)
    assert not panel.desk.displayPanel.ui.restoreButton.enabled
    panel.host.setCombo(panel.desk.displayPanel.ui.mapSelector, mapNode.GetName())
    assert composite.GetForegroundVolumeID() == mapNode.GetID()


def test_deleting_a_map_leaves_no_orphans(panel: Any) -> None:
    import slicer

    panel.addVolume()
    nodes = panel.count()
    before = [node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")]
    for _time in range(2):
        mapNode = panel.apply()
        panel.host.click(panel.desk.displayPanel.ui.renderCheckBox)
        panel.wait(lambda: not panel.logic.display.pending, "nothing is rendered")
        assert rendering(mapNode) is not None
        slicer.mrmlScene.RemoveNode(mapNode)
        panel.host.processEvents()
        panel.node.renderedIn3D = False
    left = [node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode") if node.GetID() not in before]
    assert panel.count() == nodes, left
    assert panel.node.mapVolume is None

"""Insertion and deletion by clicks: curves and areas in the scene, plots below the slices, and the way back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.panel.test_module_compare import chooseLayout, explained, layout, names

CHARTS, SERIES = "vtkMRMLPlotChartNode", "vtkMRMLPlotSeriesNode"


@pytest.fixture
def curves(panel: Any) -> Iterator[Any]:
    """Compare, open; afterwards the user's layout is there."""
    panel.desk.compare.ui.compareSection.collapsed = False
    yield panel.desk.compare.curves
    panel.order("")
    panel.host.closeScene()
    panel.desk.compare.ui.compareSection.collapsed = True
    assert names() == {"Red", "Yellow", "Green"}
    chooseLayout(3)


def chartsOf() -> dict[str, Any]:
    import slicer

    return {node.GetAttribute("XAIExplain.Plot"): node for node in slicer.util.getNodesByClass(CHARTS)}


def seriesOf(chart: Any) -> list[Any]:
    return [chart.GetNthPlotSeriesNode(index) for index in range(chart.GetNumberOfPlotSeriesNodes())]


def column(series: Any, name: str) -> list[float]:
    found = series.GetTableNode().GetTable().GetColumnByName(name)
    return [found.GetValue(row) for row in range(found.GetNumberOfValues())]


def press(panel: Any, curves: Any) -> None:
    assert curves.ui.curvesButton.enabled, curves.ui.curvesButton.toolTip
    panel.host.click(curves.ui.curvesButton)
    panel.wait(lambda: not panel.logic.curves.busy, "the curves do not end")


def widget(number: int) -> Any:
    import slicer

    return slicer.app.layoutManager().plotWidget(f"XAIExplainPlot{number}")


def test_curves_of_two_results_stand_below_the_slices(panel: Any, curves: Any, tmp_path: Path) -> None:
    import slicer

    maps = explained(panel, "Grad-CAM", "Gradient")
    before = layout()
    press(panel, curves)
    (request,) = panel.requests("curves")
    assert request["baseline"] == "blur" and len(request["maps"]) == 2 and request["target"] is None
    assert request["maps"] != request["volumes"]
    found = chartsOf()
    assert set(found) == {"curves deletion", "curves insertion"}
    series = seriesOf(found["curves deletion"])
    assert [one.GetName() for one in series] == [
        "Chance \u00b1 SD", "Chance: 0.04", "Grad-CAM: 0.44", "Gradient: 0.41"]
    assert column(series[3], series[3].GetYColumnName())[:4] == [1.0, 0.4, 0.25, 0.0]
    assert column(series[3], series[3].GetXColumnName())[:4] == [0.0, 0.25, 0.5, 1.0]
    assert len({one.GetColor() for one in series}) == 4
    # The rows of shorter columns repeat their last point, which draws nothing.
    assert set(column(series[3], series[3].GetYColumnName())[4:]) == {0.0}
    assert found["curves deletion"].GetYAxisTitle() == "Probability of lesion"
    assert "0.438" in curves.ui.areasLabel.text and "(chance)" in curves.ui.areasLabel.text
    # On the screen: slices above, two plots below, whose legends leave the curves free.
    assert layout() != before
    for number, kind, vertical in ((1, "curves deletion", "TOP"), (2, "curves insertion", "BOTTOM")):
        assert widget(number).isVisible()
        assert widget(number).mrmlPlotViewNode().GetPlotChartNodeID() == found[kind].GetID()
        legend = widget(number).plotView().chart().GetLegend()
        assert legend.GetVerticalAlignment() == getattr(legend, vertical)
    assert slicer.app.layoutManager().sliceWidget("Red").isVisible()
    top = widget(1).mapTo(panel.host.window, widget(1).rect.topLeft()).y()
    assert top > slicer.app.layoutManager().sliceWidget("Red").mapTo(panel.host.window, widget(1).rect.topLeft()).y()
    picture = np.asarray(panel.host.captureView("XAIExplainPlot1"), dtype=int)
    for one in series[2:]:
        color = 255 * np.array(one.GetColor())
        assert (np.abs(picture - color).max(axis=-1) < 12).sum() > 100  # its curve is drawn
    panel.host.answers.saveFile = str(tmp_path / "areas.csv")
    panel.host.click(curves.ui.saveAreasButton)
    assert (tmp_path / "areas.csv").read_text(encoding="utf-8").splitlines()[1].startswith("Grad-CAM,0.4375")
    # One click, and the user's layout is back; one more, and the plots are.
    assert curves.ui.plotsButton.text == "Hide plots"
    panel.host.click(curves.ui.plotsButton)
    assert layout() == before and panel.node.plotsLayoutBefore == 0
    panel.host.click(curves.ui.plotsButton)
    assert widget(2).isVisible()
    slicer.mrmlScene.RemoveNode(maps[0])
    panel.host.processEvents()
    assert [one.GetName() for one in seriesOf(found["curves deletion"])][2:] == ["Gradient: 0.41"]
    slicer.mrmlScene.RemoveNode(maps[1])
    panel.host.processEvents()
    assert panel.count(CHARTS) == panel.count(SERIES) == panel.count("vtkMRMLTableNode") == 0


def test_asked_again_nothing_is_left_over(panel: Any, curves: Any) -> None:
    explained(panel, "Grad-CAM", "Gradient")
    press(panel, curves)
    counts = [panel.count(name) for name in (CHARTS, SERIES, "vtkMRMLTableNode", "vtkMRMLNode")]
    panel.host.setCombo(curves.ui.quantityComboBox, "Score")
    panel.host.setCombo(curves.ui.baselineComboBox, "its mean")
    press(panel, curves)
    assert [panel.count(name) for name in (CHARTS, SERIES, "vtkMRMLTableNode", "vtkMRMLNode")] == counts
    assert panel.requests("curves")[1]["baseline"] == "mean"
    chart = chartsOf()["curves deletion"]
    assert chart.GetYAxisTitle() == "Score (logit)" and chart.GetYAxisRangeAuto()
    assert seriesOf(chart)[2].GetName() == "Grad-CAM: 4.38"


def test_a_target_without_a_probability_has_its_score(panel: Any, curves: Any) -> None:
    explained(panel, "Grad-CAM", "Gradient")
    panel.order("no probability")
    press(panel, curves)
    assert chartsOf()["curves insertion"].GetYAxisTitle() == "Score (logit)"


def test_a_result_has_its_color_in_every_plot(panel: Any, curves: Any) -> None:
    from XAIExplainPanels import plots

    from Testing.panel.test_module_compare import check

    maps = explained(panel, "Grad-CAM", "Gradient", "Occlusion")
    press(panel, curves)
    colors = [one.GetColor() for one in seriesOf(chartsOf()["curves deletion"])[2:]]
    assert len(set(colors)) == 3
    check(panel, panel.desk.compare, maps[1:])
    press(panel, curves)
    assert [one.GetColor() for one in seriesOf(chartsOf()["curves deletion"])[2:]] == colors[1:]
    assert np.array(plots.colorsOf(maps[::-1])) == pytest.approx(np.array(colors[::-1]))


def test_progress_and_cancel(panel: Any, curves: Any) -> None:
    explained(panel, "Grad-CAM", "Gradient")
    before = layout()
    panel.order("slow")
    panel.host.click(curves.ui.curvesButton)
    assert curves.ui.curvesButton.text == "Cancel" and curves.ui.curvesProgressBar.isVisible()
    panel.wait(lambda: curves.ui.curvesProgressBar.value > 0, "no progress")
    assert "left" in curves.ui.curvesMessageLabel.text
    panel.host.click(curves.ui.curvesButton)
    panel.wait(lambda: not panel.logic.curves.busy, "it does not stop")
    assert "Cancelled" in curves.ui.curvesMessageLabel.text and layout() == before
    assert curves.ui.curvesButton.text == "Insertion and deletion" and not curves.ui.curvesProgressBar.isVisible()
    assert panel.count(CHARTS) == panel.count("vtkMRMLTableNode") == 0
    # The scene closes in the middle.
    panel.host.click(curves.ui.curvesButton)
    panel.wait(lambda: "left" in curves.ui.curvesMessageLabel.text, "no progress")
    panel.host.closeScene()
    assert not panel.logic.curves.busy
    # A result is deleted in the middle.
    panel.order("")
    maps = explained(panel, "Grad-CAM", "Gradient")
    panel.order("slow")
    panel.host.click(curves.ui.curvesButton)
    panel.wait(lambda: "left" in curves.ui.curvesMessageLabel.text, "no progress")
    import slicer

    slicer.mrmlScene.RemoveNode(maps[0])
    panel.host.click(curves.ui.curvesButton)
    panel.wait(lambda: not panel.logic.curves.busy, "it does not stop")


def test_what_has_no_curves_says_why(panel: Any, curves: Any) -> None:
    from XAIExplainLib.errors import XAIError

    maps = explained(panel, "Grad-CAM")
    panel.chooseTarget("dark")
    maps.append(panel.apply())
    assert not curves.ui.curvesButton.enabled and "different answers" in curves.ui.curvesButton.toolTip
    with pytest.raises(XAIError, match="different answers"):
        panel.logic.curves.measure(maps)
    panel.host.click(panel.desk.compare.ui.differenceButton)
    panel.wait(lambda: not panel.desk.compare._asking, "no map of two")
    with pytest.raises(XAIError, match="which answer"):
        panel.logic.curves.measure([panel.node.mapVolume])
    panel.order("no curves")
    with pytest.raises(XAIError, match="shows already"):
        panel.logic.curves.measure(maps[:1])
    assert not panel.logic.curves.busy
    panel.order("")
    charts = panel.logic.curves.measure(maps[:1], steps=7)  # without a window's help
    assert panel.requests("curves")[-1]["steps"] == 7
    assert [chart.GetAttribute("XAIExplain.Plot") for chart in charts] == ["curves deletion", "curves insertion"]


def test_plots_below_a_comparison_and_two_ways_back(panel: Any, curves: Any) -> None:
    compare = panel.desk.compare.ui
    explained(panel, "Grad-CAM", "Gradient")
    own = layout()
    panel.host.click(compare.compareButton)
    compared = layout()
    press(panel, curves)
    assert panel.logic.comparison.active and widget(1).isVisible()
    assert panel.host.app.layoutManager().sliceWidget("XAIExplain2").isVisible()
    panel.host.click(curves.ui.plotsButton)
    assert layout() == compared and panel.logic.comparison.active
    panel.host.click(curves.ui.plotsButton)
    panel.host.click(compare.backButton)
    assert layout() == own and not panel.logic.comparison.active
    # The other way round: the plots first, then the comparison.
    panel.host.click(curves.ui.plotsButton)
    panel.host.click(compare.compareButton)
    panel.host.click(compare.backButton)
    assert widget(1).isVisible()
    panel.host.click(curves.ui.plotsButton)
    assert layout() == own


def test_a_saved_scene_opens_with_its_plots(panel: Any, curves: Any, tmp_path: Path) -> None:
    explained(panel, "Grad-CAM", "Gradient")
    own = layout()
    press(panel, curves)
    shown = np.asarray(panel.host.captureView("XAIExplainPlot1"), dtype=int)
    panel.host.saveScene(tmp_path / "scene.mrb")
    panel.host.closeScene()
    panel.host.loadScene(tmp_path / "scene.mrb")
    panel.wait(lambda: curves.ui.plotsButton.text == "Hide plots", "the plots are not known")
    reopened = np.asarray(panel.host.captureView("XAIExplainPlot1"), dtype=int)
    assert (np.abs(reopened - shown).max(axis=-1) > 8).mean() < 0.01
    assert "Gradient" in curves.ui.areasLabel.text
    panel.host.click(curves.ui.plotsButton)
    assert layout() == own
    press(panel, curves)  # the results still say what they were asked for
    assert len(panel.requests("curves")) == 2


def test_bars_by_segment(panel: Any, curves: Any) -> None:
    from Testing.panel.test_module_regions import prepared

    maps, _segmentation = prepared(panel, "Grad-CAM", "Gradient")
    regions = panel.desk.regions.ui
    regions.regionsSection.collapsed = False
    own = layout()
    panel.host.setCombo(regions.segmentationSelector, "Atlas")
    panel.host.click(regions.statisticsButton)
    panel.wait(lambda: regions.barsButton.isVisible(), "no figures")
    panel.host.click(regions.barsButton)
    (chart,) = chartsOf().values()
    bars = seriesOf(chart)
    assert [one.GetPlotType() for one in bars] == [bars[0].PlotTypeBar] * 2
    table = bars[0].GetTableNode().GetTable()
    segments = [table.GetColumn(0).GetValue(row) for row in range(table.GetNumberOfRows())]
    sums = [sum(column(one, one.GetYColumnName())) for one in bars]
    assert segments == ["1", "2"] and sums == pytest.approx([100, 100], abs=0.1)
    assert widget(1).isVisible()
    axis = widget(1).plotView().chart().GetAxis(1)
    assert [axis.GetTickLabels().GetValue(row) for row in range(len(segments))] == segments
    panel.host.setCombo(regions.figureComboBox, "Peak")
    assert chart.GetTitle() == "Peak" and seriesOf(chart)[0].GetColor() == bars[0].GetColor()
    assert regions.barsButton.text == "Hide plot"
    panel.host.click(regions.barsButton)
    assert layout() == own
    press(panel, curves)  # curves take the place of bars, and the axis has numbers again
    assert axis.GetTickLabels().GetNumberOfValues() == 0 or axis.GetTickLabels().GetValue(0) != segments[0]
    for mapNode in maps:
        panel.host.scene.mrml.RemoveNode(mapNode)
    panel.host.processEvents()
    assert panel.count(CHARTS) == panel.count(SERIES) == panel.count("vtkMRMLTableNode") == 0
    regions.regionsSection.collapsed = True

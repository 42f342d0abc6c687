"""Plots in the scene: charts, their series and tables, with a color for each result that is the same in all plots."""

import slicer
from slicer.i18n import tr as _

from XAIExplainPanels import record, tables

KIND = "XAIExplain.Plot"
COLOR = "XAIExplain.PlotColor"
CHART_REFERENCE = "XAIExplain.Chart"
# Okabe and Ito's colors, which all eyes tell apart; their yellow and black do not stand out from paper and text.
COLORS = ((0.0, 0.447, 0.698), (0.835, 0.369, 0.0), (0.0, 0.62, 0.451), (0.8, 0.475, 0.655), (0.902, 0.624, 0.0),
          (0.337, 0.706, 0.914))  # fmt: skip
NAME_LENGTH = 32  # characters of a result's name in a legend
GRAY, BAND = (0.35, 0.35, 0.35), (0.86, 0.86, 0.86)


def colorsOf(maps):
    """The color of each map: kept with it, and another one than those of the others, as far as there are enough."""
    taken = {}
    for mapNode in [*maps, *record.maps()]:
        number = mapNode.GetAttribute(COLOR)
        if number is not None and number.isdigit():
            taken.setdefault(mapNode.GetID(), int(number) % len(COLORS))
    kept = set()
    for mapNode in maps:
        number = taken.get(mapNode.GetID())
        if number is None or number in kept:
            others = kept | {taken[node.GetID()] for node in maps if node.GetID() in taken}
            everywhere = others | set(taken.values())
            free = [one for one in range(len(COLORS)) if one not in everywhere]
            free = free or [one for one in range(len(COLORS)) if one not in others] or [len(kept) % len(COLORS)]
            number = free[0]
            taken[mapNode.GetID()] = number
            mapNode.SetAttribute(COLOR, str(number))
        kept.add(number)
    return [COLORS[taken[mapNode.GetID()]] for mapNode in maps]


class Series:
    """
    What is drawn of a table.

    :param name: in the legend.
    :param yColumn: title of the column of numbers.
    :param xColumn: title of the column along the other axis; empty for bars.
    :param mapNode: the result that it is of, with which it goes; None for what goes with the chart.
    """

    def __init__(self, name, yColumn, xColumn="", color=GRAY, mapNode=None, dashed=False, width=2, labels=""):
        self.name, self.yColumn, self.xColumn, self.color = name, yColumn, xColumn, color
        self.mapNode, self.dashed, self.width, self.labels = mapNode, dashed, width, labels


def chartNode(kind, name, maps, table, series, title="", xTitle="", yTitle="", xRange=None, yRange=None):
    """
    Put a chart of a table into the scene; the one of this kind and name is made anew.

    :param maps: whose figures these are; the chart goes when all of them are gone.
    :param series: list of `Series`.
    :param xRange, yRange: ends of an axis; None fits it to the numbers.
    """
    chart = find(kind, name)
    former = seriesOf(chart) if chart is not None else []
    if chart is None:
        chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", name)
        chart.SetAttribute(KIND, kind)
    wasModifying = chart.StartModify()
    chart.RemoveAllPlotSeriesNodeIDs()
    for node in former:
        slicer.mrmlScene.RemoveNode(node)
    for one in series:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", one.name)
        with slicer.util.NodeModify(node):
            dress(node, one, table)
        if one.mapNode is not None:
            node.SetNodeReferenceID(tables.MAP_REFERENCE, one.mapNode.GetID())
        chart.AddAndObservePlotSeriesNodeID(node.GetID())
    setAxes(chart, title, xTitle, yTitle, xRange, yRange)
    chart.RemoveNodeReferenceIDs(tables.MAP_REFERENCE)
    for mapNode in maps:
        chart.AddNodeReferenceID(tables.MAP_REFERENCE, mapNode.GetID())
    chart.EndModify(wasModifying)
    return chart


def dress(node, series, table):
    """Make a series node draw what it should."""
    isBar = not series.xColumn
    node.SetAttribute(KIND, "series")
    node.SetAndObserveTableNodeID(table.GetID())
    # A line in Slicer's words has no x of its own; a scatter with a line and without markers is what others call so.
    node.SetPlotType(node.PlotTypeBar if isBar else node.PlotTypeScatter)
    if not isBar:
        node.SetXColumnName(series.xColumn)
        node.SetLineStyle(node.LineStyleDash if series.dashed else node.LineStyleSolid)
        node.SetMarkerStyle(node.MarkerStyleNone)
    node.SetYColumnName(series.yColumn)
    if series.labels:
        node.SetLabelColumnName(series.labels)
    node.SetColor(*series.color)
    node.SetLineWidth(series.width)


def setAxes(chart, title, xTitle, yTitle, xRange, yRange):
    chart.SetTitle(title)
    chart.SetTitleFontSize(13)
    chart.SetXAxisTitle(xTitle)
    chart.SetYAxisTitle(yTitle)
    chart.SetAxisTitleFontSize(12)
    chart.SetAxisLabelFontSize(11)
    if hasattr(chart, "SetLegendFontSize"):  # since Slicer 5.2
        chart.SetLegendFontSize(12)
    chart.SetLegendVisibility(True)
    chart.SetGridVisibility(True)
    chart.SetXAxisRangeAuto(xRange is None)
    if xRange is not None:
        chart.SetXAxisRange(*xRange)
    chart.SetYAxisRangeAuto(yRange is None)
    if yRange is not None:
        chart.SetYAxisRange(*yRange)


def charts():
    """The charts of this module."""
    return [node for node in slicer.util.getNodesByClass("vtkMRMLPlotChartNode") if node.GetAttribute(KIND)]


def find(kind, name):
    """The scene's chart of this kind and name, or None."""
    return next((node for node in charts() if node.GetAttribute(KIND) == kind and node.GetName() == name), None)


def seriesOf(chart):
    """The series of a chart, as far as they are in the scene."""
    found = [chart.GetNthPlotSeriesNode(index) for index in range(chart.GetNumberOfPlotSeriesNodes())]
    return [node for node in found if node is not None]


def onMapRemoved():
    """Remove the series of results that are gone, and charts whose results are all gone."""
    for chart in charts():
        left = tables.mapsOf(chart)
        for node in seriesOf(chart):
            isOf = node.GetNodeReferenceID(tables.MAP_REFERENCE)
            gone = isOf and node.GetNodeReference(tables.MAP_REFERENCE) is None
            if gone or not left:
                chart.RemovePlotSeriesNodeID(node.GetID())
                slicer.mrmlScene.RemoveNode(node)
        if not left:
            slicer.mrmlScene.RemoveNode(chart)


def quantityTitle(target, quantity, units):
    """What a curve's other axis has."""
    if quantity == "probability":
        return _("Probability of {target}").format(target=target) if target else _("Probability")
    return _("Score ({units})").format(units=units) if units else _("Score")

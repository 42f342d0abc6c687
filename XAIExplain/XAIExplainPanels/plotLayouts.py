"""Layouts with plots below the slices, and the way back to the views that the user had."""

import slicer
import vtk

from XAIExplainPanels.compareLayouts import COLUMNS, FIRST_LAYOUT, PLOTS, description, layoutNode

VIEW_PREFIX = "XAIExplainPlot"  # plot views of that name, and a number
MOST = 2
SLICES = ("Red", "Yellow", "Green")


def layoutOf(plotCount, resultCount=0):
    """The number of the layout with so many plots below a comparison of so many results, or below the user's slices."""
    return FIRST_LAYOUT + PLOTS * plotCount + resultCount


def registerLayouts():
    """Tell Slicer's layout node all of these layouts; once, whoever asks."""
    node = layoutNode()
    if node is None:
        return
    for plotCount in range(1, MOST + 1):
        for resultCount in (0, *COLUMNS):
            number = layoutOf(plotCount, resultCount)
            if not node.IsLayoutDescription(number):
                node.AddLayoutDescription(number, withPlots(plotCount, resultCount))


def withPlots(plotCount, resultCount):
    """The XML: slices above, plots below."""
    above = description(resultCount) if resultCount else row(
        '<view class="vtkMRMLSliceNode" singletontag="{}"></view>'.format(name) for name in SLICES)
    below = row(
        '<view class="vtkMRMLPlotViewNode" singletontag="{prefix}{number}"><property name="viewlabel" '
        'action="default">P{number}</property></view>'.format(prefix=VIEW_PREFIX, number=number)
        for number in range(1, plotCount + 1))
    return '<layout type="vertical" split="true"><item>{}</item><item>{}</item></layout>'.format(above, below)


def row(views):
    return '<layout type="horizontal">{}</layout>'.format("".join("<item>{}</item>".format(view) for view in views))


def plotsShown():
    """How many plots the layout on the screen has; 0 where it is none of these."""
    node = layoutNode()
    count = (node.GetViewArrangement() - FIRST_LAYOUT) // PLOTS if node is not None else 0
    return count if 1 <= count <= MOST else 0


class PlotViews:
    """Shows charts below the slices, and gives the user's layout back."""

    def viewNode(self, number):
        return slicer.mrmlScene.GetSingletonNode(VIEW_PREFIX + str(number), "vtkMRMLPlotViewNode")

    def charts(self):
        """The charts that are on the screen."""
        found = [self.viewNode(number) for number in range(1, plotsShown() + 1)]
        found = [node.GetPlotChartNode() for node in found if node is not None]
        return [chart for chart in found if chart is not None]

    def show(self, chartNodes, settings):
        """
        Show one chart, or two side by side.

        :param settings: the module's parameter node, which remembers the layout before.
        :return: whether there is a window to show them in.
        """
        manager, node = slicer.app.layoutManager(), layoutNode()
        if manager is None:
            return False
        registerLayouts()
        now = node.GetViewArrangement()
        results = (now - FIRST_LAYOUT) % PLOTS if FIRST_LAYOUT <= now < FIRST_LAYOUT + PLOTS * (MOST + 1) else 0
        if not plotsShown():
            settings.plotsLayoutBefore = now
        manager.setLayout(layoutOf(len(chartNodes), results))
        for number, chart in enumerate(chartNodes, 1):
            view = self.viewNode(number)
            if view is not None:
                view.SetPlotChartNodeID(chart.GetID())
        self.dress()
        return True

    def hide(self, settings):
        """Show the layout that was there before the plots; another one that the user has chosen stays."""
        before, node = settings.plotsLayoutBefore, layoutNode()
        settings.plotsLayoutBefore = 0
        if not plotsShown():
            return
        results = (node.GetViewArrangement() - FIRST_LAYOUT) % PLOTS
        if results:  # a comparison stands above the plots, and has its own way back
            before = FIRST_LAYOUT + results
        elif not before or FIRST_LAYOUT <= before < FIRST_LAYOUT + PLOTS * (MOST + 1):
            before = slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView
        node.SetViewArrangement(before)

    def dress(self):
        """
        What MRML has no word for: where curves rise, the legend stands below them, and groups of bars have names. A
        view that cannot do so is left as it is.
        """
        manager = slicer.app.layoutManager()
        for index in range(manager.plotViewCount if manager is not None else 0):
            widget = manager.plotWidget(index)
            node = widget.mrmlPlotViewNode() if widget is not None else None
            if node is None or not (node.GetLayoutName() or "").startswith(VIEW_PREFIX):
                continue
            chart = node.GetPlotChartNode()
            view = widget.plotView()
            if chart is None or not hasattr(view, "chart"):
                continue
            legend = view.chart().GetLegend()
            legend.SetHorizontalAlignment(legend.RIGHT)
            legend.SetVerticalAlignment(legend.BOTTOM if chart.GetAttribute("XAIExplain.Rises") else legend.TOP)
            names = groupNames(chart)
            positions, words = vtk.vtkDoubleArray(), vtk.vtkStringArray()
            for position, name in enumerate(names):
                positions.InsertNextValue(position)
                words.InsertNextValue(name)
            axis = view.chart().GetAxis(vtk.vtkAxis.BOTTOM)
            if names:
                axis.SetCustomTickPositions(positions, words)
                chart.SetXAxisTitle("")
            else:
                axis.SetCustomTickPositions(None)


def groupNames(chart):
    """The names of a chart's groups of bars; none where it has no bars."""
    series = chart.GetNthPlotSeriesNode(0) if chart.GetNumberOfPlotSeriesNodes() else None
    if series is None or series.GetPlotType() != series.PlotTypeBar or series.GetTableNode() is None:
        return []
    column = series.GetTableNode().GetTable().GetColumnByName(series.GetLabelColumnName() or "")
    return [column.GetValue(row) for row in range(column.GetNumberOfValues())] if column is not None else []

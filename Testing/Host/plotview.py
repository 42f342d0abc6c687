"""Plot views: what a vtkMRMLPlotChartNode says, drawn by VTK's charts as qMRMLPlotView draws it.

The names of segments on an axis, which Slicer's view does not draw either (only the tooltips have them), are left out.
"""

import numpy as np
import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from vtk.util.numpy_support import vtk_to_numpy


def _styles():
    node, pen = slicer.vtkMRMLPlotSeriesNode, vtk.vtkPen
    return {
        node.LineStyleNone: pen.NO_PEN, node.LineStyleSolid: pen.SOLID_LINE, node.LineStyleDash: pen.DASH_LINE,
        node.LineStyleDot: pen.DOT_LINE, node.LineStyleDashDot: pen.DASH_DOT_LINE,
        node.LineStyleDashDotDot: pen.DASH_DOT_DOT_LINE,
    }  # fmt: skip


def _markers():
    node, line = slicer.vtkMRMLPlotSeriesNode, vtk.vtkPlotLine
    return {
        node.MarkerStyleNone: line.NONE, node.MarkerStyleCross: line.CROSS, node.MarkerStylePlus: line.PLUS,
        node.MarkerStyleSquare: line.SQUARE, node.MarkerStyleCircle: line.CIRCLE,
        node.MarkerStyleDiamond: line.DIAMOND,
    }  # fmt: skip


class PlotView(QtWidgets.QWidget):
    """qMRMLPlotView."""

    def __init__(self, scene, node, parent=None):
        super().__init__(parent)
        self.setMinimumSize(80, 80)
        self.setAttribute(QtCore.Qt.WA_OpaquePaintEvent)
        self._scene, self._node, self._chartNode, self._observed = scene, node, None, []
        self._view = vtk.vtkContextView()
        window = self._view.GetRenderWindow()
        window.SetShowWindow(False)
        window.SetOffScreenRendering(1)
        window.SetMultiSamples(0)
        self._view.GetRenderer().SetBackground(1.0, 1.0, 1.0)
        self._chart = vtk.vtkChartXY()
        color = vtk.vtkColor4ub(255, 253, 246, 255)
        self._chart.GetBackgroundBrush().SetColor(color)
        self._view.GetScene().AddItem(self._chart)
        self._image, self._dirty = QtGui.QImage(), True
        self._nodeTag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._nodeModified())
        self._chartTag = node.AddObserver(node.PlotChartNodeChangedEvent, lambda *_: self._nodeModified())
        self._nodeModified()

    # Slicer's API

    def mrmlPlotViewNode(self):
        return self._node

    def chart(self):
        return self._chart

    def fitToContent(self):
        self._chart.RecalculateBounds()
        self.scheduleRender()

    # The node

    def _nodeModified(self):
        found = self._node.GetPlotChartNode()
        if found is not self._chartNode:
            self._letGoOfChart()
            self._chartNode = found
            if found is not None:
                for event in (vtk.vtkCommand.ModifiedEvent, found.PlotModifiedEvent):
                    self._observed.append(found.AddObserver(event, lambda *_: self._updateFromMRML()))
        self._updateFromMRML()

    def _letGoOfChart(self):
        for tag in self._observed:
            self._chartNode.RemoveObserver(tag)
        self._observed = []

    def _updateFromMRML(self):
        chart, node = self._chart, self._chartNode
        chart.ClearPlots()
        self.scheduleRender()
        chart.SetTitle("")
        for place in (vtk.vtkAxis.BOTTOM, vtk.vtkAxis.LEFT):
            chart.GetAxis(place).SetTitle("")
        if node is None:
            return
        for index in range(node.GetNumberOfPlotSeriesNodes()):
            series = node.GetNthPlotSeriesNode(index)
            plot = self._plot(series) if series is not None else None
            if plot is not None:
                chart.AddPlot(plot)
        family = vtk.vtkTextProperty.GetFontFamilyFromString(node.GetFontType() or "Arial")
        title = chart.GetTitleProperties()
        title.SetFontFamily(family)
        title.SetFontSize(node.GetTitleFontSize())
        chart.SetTitle((node.GetTitle() or "") if node.GetTitleVisibility() else "")
        chart.SetShowLegend(node.GetLegendVisibility())
        chart.GetLegend().GetLabelProperties().SetFontFamily(family)
        chart.GetLegend().GetLabelProperties().SetFontSize(node.GetLegendFontSize())
        self._axis(vtk.vtkAxis.BOTTOM, node, "X", family)
        self._axis(vtk.vtkAxis.LEFT, node, "Y", family)

    def _axis(self, place, node, letter, family):
        axis = self._chart.GetAxis(place)

        def get(name):
            return getattr(node, f"Get{letter}Axis{name}")()

        axis.SetTitle((get("Title") or "") if get("TitleVisibility") else "")
        if get("RangeAuto"):
            axis.SetBehavior(vtk.vtkAxis.AUTO)
        else:
            axis.SetBehavior(vtk.vtkAxis.FIXED)
            axis.SetUnscaledRange(*get("Range"))
        axis.SetGridVisible(node.GetGridVisibility())
        for text, size in ((axis.GetTitleProperties(), node.GetAxisTitleFontSize()),
                           (axis.GetLabelProperties(), node.GetAxisLabelFontSize())):  # fmt: skip
            text.SetFontFamily(family)
            text.SetFontSize(size)
            text.SetBold(False)

    def _plot(self, series):
        """The plot of a series, or None where its table cannot be plotted, as in Slicer."""
        table = series.GetTableNode().GetTable() if series.GetTableNode() is not None else None
        names = [series.GetYColumnName()] + ([series.GetXColumnName()] if series.IsXColumnRequired() else [])
        columns = [table.GetColumnByName(name or "") if table is not None else None for name in names]
        if any(column is None or isinstance(column, vtk.vtkStringArray) for column in columns):
            return None
        isLine = series.GetPlotType() in (series.PlotTypeScatter, series.PlotTypeLine)
        plot = vtk.vtkPlotLine() if isLine else vtk.vtkPlotBar()
        plot.SetWidth(series.GetLineWidth())
        plot.SetColorF(*series.GetColor())
        plot.GetPen().SetOpacityF(series.GetOpacity())
        if isLine:
            plot.GetPen().SetLineType(_styles()[series.GetLineStyle()])
            plot.SetMarkerStyle(_markers()[series.GetMarkerStyle()])
            plot.SetMarkerSize(series.GetMarkerSize())
        if series.IsXColumnRequired():
            plot.SetInputData(table, names[1], names[0])
        else:
            plot.SetUseIndexForXSeries(True)
            plot.SetInputData(table, names[0], names[0])
        plot.SetLabel(series.GetName())
        return plot

    # Drawing

    def scheduleRender(self):
        self._dirty = True
        self.update()

    def setRenderEnabled(self, enabled):
        pass

    def forceRender(self):
        ratio, window = self.devicePixelRatioF(), self._view.GetRenderWindow()
        width, height = max(1, round(self.width * ratio)), max(1, round(self.height * ratio))
        window.SetSize(width, height)
        self._view.GetScene().SetDirty(True)
        window.Render()
        pixels = vtk.vtkUnsignedCharArray()
        window.GetRGBACharPixelData(0, 0, width - 1, height - 1, 0, pixels)
        array = np.ascontiguousarray(vtk_to_numpy(pixels).reshape(height, width, 4)[::-1])
        array[..., 3] = 255
        self._image = QtGui.QImage(array.data, width, height, 4 * width, QtGui.QImage.Format_RGBA8888).copy()
        self._image.setDevicePixelRatio(ratio)
        self._dirty = False
        return self._image

    def resizeEvent(self, event):
        self._dirty = True

    def paintEvent(self, event):
        if self._dirty:
            self.forceRender()
        QtGui.QPainter(self).drawImage(0, 0, self._image)

    def finalize(self):
        """Give VTK's things back before Qt takes the widget."""
        self._letGoOfChart()
        self._node.RemoveObserver(self._nodeTag)
        self._node.RemoveObserver(self._chartTag)
        self._chart.ClearPlots()
        self._view.GetRenderWindow().Finalize()

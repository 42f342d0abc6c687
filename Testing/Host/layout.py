"""The layout manager: which views there are, how they are arranged, and the coloured bars above them."""

import re
import xml.etree.ElementTree as ElementTree

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from .plotview import PlotView
from .qmrml import qMRMLSliderWidget
from .views import SliceView, ThreeDView

_COLORS = {"Red": "#f34a33", "Yellow": "#edd54c", "Green": "#6eb04b"}
_DEFAULT = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}


class ControllerBar(QtWidgets.QWidget):
    """The bar above a view: its letter, a maximise button and, for slices, the offset."""

    def __init__(self, color, label, parent=None):
        super().__init__(parent)
        self._color = QtGui.QColor(color)
        self._label = QtWidgets.QLabel(label, self)
        self._label.setStyleSheet("color: black; background: transparent;")
        self._label.setAlignment(QtCore.Qt.AlignCenter)
        self._label.setMinimumWidth(self._label.fontMetrics().horizontalAdvance("XX"))
        self._maximize = QtWidgets.QToolButton(self)
        self._maximize.setText("\u25a1")
        self._maximize.setAutoRaise(True)
        self._maximize.setToolTip("Maximize/restore view")
        self._maximize.setStyleSheet("color: black; background: transparent; border: none; padding: 0 2px;")
        self._row = QtWidgets.QHBoxLayout(self)
        self._row.setContentsMargins(4, 0, 4, 0)
        self._row.setSpacing(4)
        self._row.addWidget(self._label)
        self._row.addWidget(self._maximize)
        self.setFixedHeight(22)

    def paintEvent(self, event):
        painter = QtGui.QPainter(self)
        gradient = QtGui.QLinearGradient(0, 0, 0, self.height)
        for place, factor in ((0.0, 118), (0.15, 100), (0.65, 106), (1.0, 84)):
            gradient.setColorAt(
                place, self._color.lighter(factor) if factor > 100 else self._color.darker(10000 // factor)
            )
        painter.fillRect(self.rect, gradient)

    def maximizeButton(self):
        return self._maximize


class ThreeDController(ControllerBar):
    """qMRMLThreeDViewControllerWidget, as far as it is seen."""

    def __init__(self, label, parent=None):
        super().__init__("#c3c6e8", label, parent)
        self._row.addStretch(1)


class SliceController(ControllerBar):
    """qMRMLSliceControllerWidget, as far as it is seen: the offset slider with "S: 12.5mm"."""

    def __init__(self, logic, color, parent=None):
        super().__init__(color, logic.GetSliceNode().GetLayoutLabel(), parent)
        self._logic, self._busy = logic, False
        self._slider = qMRMLSliderWidget(self)
        self._slider.objectName = "SliceOffsetSlider"
        self._slider.setSuffix("mm")
        self._slider.setDecimals(3)
        # By palette: with a style sheet the text has no room in so low a box.
        box, palette = self._slider.spinBox(), QtGui.QPalette(self.palette)
        for group in (QtGui.QPalette.Active, QtGui.QPalette.Inactive, QtGui.QPalette.Disabled):
            palette.setColor(group, QtGui.QPalette.Text, QtGui.QColor("black"))
            palette.setColor(group, QtGui.QPalette.Base, QtGui.QColor(0, 0, 0, 0))
        box.setPalette(palette)
        box.setFrame(False)
        box.setButtonSymbols(QtWidgets.QAbstractSpinBox.NoButtons)
        box.setAlignment(QtCore.Qt.AlignRight)
        box.setMinimumWidth(self.fontMetrics().horizontalAdvance("S: -000.000mm") + 12)
        self._row.addWidget(self._slider, 1)
        self._slider.valueChanged.connect(self._moved)
        self._observed = [
            (thing, thing.AddObserver("ModifiedEvent", lambda *_: self.updateFromMRML()))
            for thing in (logic, logic.GetSliceNode())
        ]
        self.updateFromMRML()

    def _moved(self, value):
        if not self._busy:
            self._logic.StartSliceOffsetInteraction()
            self._logic.SetSliceOffset(value)
            self._logic.EndSliceOffsetInteraction()

    def updateFromMRML(self):
        if self._busy:
            return
        self._busy = True
        node = self._logic.GetSliceNode()
        span, resolution = [0.0, 0.0], _reference()
        self._logic.GetSliceOffsetRangeResolution(span, resolution)
        if span[0] < span[1]:
            self._slider.setRange(*span)
            self._slider.setSingleStep(max(resolution.get(), 1e-3))
        normal = [node.GetSliceToRAS().GetElement(i, 2) for i in range(3)]
        self._slider.setPrefix(node.GetDirectionLabel(normal, True) + ": ")
        self._slider.setValue(self._logic.GetSliceOffset())
        self._label.setText(node.GetLayoutLabel())
        self._busy = False

    def letGo(self):
        """The view goes: hear no more of it."""
        for thing, tag in self._observed:
            thing.RemoveObserver(tag)

    def sliceOffsetSlider(self):
        return self._slider

    def setSliceOffsetValue(self, value):
        self._logic.SetSliceOffset(value)

    def sliceLogic(self):
        return self._logic

    def mrmlSliceNode(self):
        return self._logic.GetSliceNode()

    def fitSliceToBackground(self):
        self._logic.FitSliceToBackground()

    def setSliceVisible(self, visible):
        self._logic.GetSliceNode().SetSliceVisible(visible)


def _reference():
    return vtk.reference(1.0)


class _ViewWidget(QtWidgets.QFrame):
    def __init__(self, bar, view, parent=None):
        super().__init__(parent)
        self._bar, self._view = bar, view
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(bar)
        column.addWidget(view, 1)


class SliceWidget(_ViewWidget):
    """qMRMLSliceWidget."""

    def __init__(self, factory, logic, color, parent=None):
        self._logic = logic
        super().__init__(SliceController(logic, color), SliceView(factory, logic), parent)
        self.objectName = "qMRMLSliceWidget" + logic.GetSliceNode().GetLayoutName()

    def sliceLogic(self):
        return self._logic

    def sliceController(self):
        return self._bar

    def sliceView(self):
        return self._view

    def interactorStyle(self):
        return self._view.interactorStyle()

    def mrmlSliceNode(self):
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self):
        return self._logic.GetSliceCompositeNode()

    def fitSliceToBackground(self):
        self._logic.FitSliceToBackground()

    def setSliceOrientation(self, orientation):
        self.mrmlSliceNode().SetOrientation(orientation)


class ThreeDWidget(_ViewWidget):
    """qMRMLThreeDWidget."""

    def __init__(self, factory, logic, parent=None):
        self._logic = logic
        super().__init__(
            ThreeDController(logic.GetViewNode().GetLayoutLabel() or "1"), ThreeDView(factory, logic), parent
        )

    def threeDView(self):
        return self._view

    def threeDController(self):
        return self._bar

    def mrmlViewNode(self):
        return self._logic.GetViewNode()

    def viewLogic(self):
        return self._logic


class PlotWidget(_ViewWidget):
    """qMRMLPlotWidget."""

    def __init__(self, scene, node, parent=None):
        super().__init__(ControllerBar("#c9c9c9", node.GetLayoutLabel() or "P"), PlotView(scene, node), parent)
        self._bar._row.addStretch(1)

    def plotView(self):
        return self._view

    def mrmlPlotViewNode(self):
        return self._view.mrmlPlotViewNode()


class LayoutManager(QtCore.QObject):
    """qSlicerLayoutManager. Reads the layout node's own XML, so a module's own layouts work."""

    layoutChanged = QtCore.Signal(int)
    tableViewCount = 0

    def __init__(self, scene, viewport):
        super().__init__(viewport)
        self._scene, self._viewport = scene, viewport
        self._slices, self._threeDs, self._plots, self._maximized, self._shown = {}, {}, {}, None, None
        column = QtWidgets.QVBoxLayout(viewport)
        column.setContentsMargins(0, 0, 0, 0)
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLScene(scene.mrml)
        node = self._logic.GetLayoutNode()
        node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        node.AddObserver("ModifiedEvent", lambda *_: self._arrange())
        scene.mrml.AddObserver(slicer.vtkMRMLScene.EndBatchProcessEvent, lambda *_: self._sceneReset())
        scene.mrml.AddObserver(slicer.vtkMRMLScene.NodeRemovedEvent, self._nodeRemoved)
        self._arrange()

    # Slicer's API

    def layoutLogic(self):
        return self._logic

    def viewport(self):
        return self._viewport

    def setLayout(self, layout):
        self._logic.GetLayoutNode().SetViewArrangement(int(layout))

    @property
    def layout(self):
        return self._logic.GetLayoutNode().GetViewArrangement()

    @layout.setter
    def layout(self, layout):
        self.setLayout(layout)

    def sliceViewNames(self):
        return tuple(self._slices)

    def sliceWidget(self, name):
        return self._slices.get(name)

    @property
    def threeDViewCount(self):
        return len(self._threeDs)

    def threeDWidget(self, key):
        return list(self._threeDs.values())[key] if isinstance(key, int) else self._threeDs.get(key)

    @property
    def plotViewCount(self):
        return len(self._plots)

    def plotWidget(self, key):
        return list(self._plots.values())[key] if isinstance(key, int) else self._plots.get(key)

    def mrmlSliceLogics(self):
        return self._scene.applicationLogic.GetSliceLogics()

    def mrmlViewLogics(self):
        return self._scene.applicationLogic.GetViewLogics()

    def activeMRMLThreeDViewNode(self):
        return self.threeDWidget(0).mrmlViewNode()

    def activeThreeDRenderer(self):
        return self.threeDWidget(0).threeDView().renderer()

    def resetSliceViews(self):
        for widget in self._slices.values():
            widget.sliceLogic().FitSliceToBackground()

    def resetThreeDViews(self):
        for widget in self._threeDs.values():
            widget.threeDView().resetFocalPoint()
            widget.threeDView().resetCamera()

    def setMRMLColorNode(self, node):
        pass

    def views(self):
        """All views in this host, by name (slices) and "1", "2"... (3D)."""
        return {
            **{n: w.sliceView() for n, w in self._slices.items()},
            **{n: w.threeDView() for n, w in self._threeDs.items()},
            **{n: w.plotView() for n, w in self._plots.items()},
        }

    def setRenderPaused(self, paused):
        for view in self.views().values():
            view.setRenderEnabled(not paused)

    # Views

    def _sliceFor(self, name, attributes):
        if name not in self._slices:
            logic = slicer.vtkMRMLSliceLogic()
            logic.SetMRMLApplicationLogic(self._scene.applicationLogic)
            self._scene.applicationLogic.GetSliceLogics().AddItem(logic)
            logic.SetMRMLScene(self._scene.mrml)
            # The layout logic has made the node of the view already.
            logic.SetSliceNode(self._scene.mrml.GetSingletonNode(name, "vtkMRMLSliceNode"))
            node = logic.GetSliceNode() or logic.AddSliceNode(name)
            node.SetLayoutLabel(attributes.get("viewlabel", name[0]))
            color = QtGui.QColor(attributes.get("viewcolor", _COLORS.get(name, "#909090")))
            node.SetLayoutColor(color.redF(), color.greenF(), color.blueF())
            node.SetOrientation(attributes.get("orientation", _DEFAULT.get(name, "Axial")))
            node.SetMappedInLayout(1)
            widget = self._slices[name] = SliceWidget(self._scene.sliceFactory, logic, color)
            widget.sliceController().maximizeButton().clicked.connect(lambda: self._maximize(widget))
        return self._slices[name]

    def _threeDFor(self, name, attributes):
        if name not in self._threeDs:
            logic = slicer.vtkMRMLViewLogic()
            logic.SetMRMLApplicationLogic(self._scene.applicationLogic)
            self._scene.applicationLogic.GetViewLogics().AddItem(logic)
            logic.SetName(name)
            logic.SetMRMLScene(self._scene.mrml)
            node = logic.GetViewNode() or logic.AddViewNode(name)
            node.SetLayoutLabel(attributes.get("viewlabel", name))
            widget = self._threeDs[name] = ThreeDWidget(self._scene.threeDFactory, logic)
            widget.threeDController().maximizeButton().clicked.connect(lambda: self._maximize(widget))
        return self._threeDs[name]

    def _plotFor(self, name, attributes):
        if name not in self._plots:
            node = self._scene.mrml.GetSingletonNode(name, "vtkMRMLPlotViewNode")
            if node is None:
                node = slicer.vtkMRMLPlotViewNode()
                node.SetSingletonTag(name)
                node.SetLayoutName(name)
                node = self._scene.mrml.AddNode(node)
            node.SetLayoutLabel(attributes.get("viewlabel", name))
            self._plots[name] = PlotWidget(self._scene, node)
        return self._plots[name]

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _nodeRemoved(self, scene, event, node):
        """A slice or plot view whose node is removed goes; a 3D view is not expected to."""
        if node.IsA("vtkMRMLPlotViewNode") and node.GetLayoutName() in self._plots:
            gone = self._plots.pop(node.GetLayoutName())
            gone.hide()
            gone.setParent(None)
            gone.plotView().finalize()
            gone.deleteLater()
            return
        name = node.GetLayoutName() if node.IsA("vtkMRMLSliceNode") else None
        widget = self._slices.get(name)
        if widget is None or widget.mrmlSliceNode() is not node:
            return
        del self._slices[name]
        widget.hide()
        widget.setParent(None)
        widget.sliceController().letGo()
        widget.sliceView().finalize()
        widget.sliceView().release()
        widget.sliceLogic().SetMRMLScene(None)
        self._scene.applicationLogic.GetSliceLogics().RemoveItem(widget.sliceLogic())
        widget.deleteLater()

    def _maximize(self, widget):
        self._maximized = None if self._maximized is widget else widget
        for other in [*self._slices.values(), *self._threeDs.values(), *self._plots.values()]:
            other.setVisible((self._maximized or other) is other and other.parent() is not None)

    def _sceneReset(self):
        # Closing the scene resets the view nodes' sizes.
        for widget in self._slices.values():
            view = widget.sliceView()
            widget.sliceLogic().ResizeSliceNode(*view.renderWindow().GetSize())
        for view in self.views().values():
            view.scheduleRender()

    # Arrangement

    def _arrange(self):
        node = self._logic.GetLayoutNode()
        text = node.GetLayoutDescription(node.GetViewArrangement()) or ""
        if not text or text == self._shown:
            return
        self._shown = text
        for widget in [*self._slices.values(), *self._threeDs.values(), *self._plots.values()]:
            widget.setParent(None)
        column = self._viewport.layout()
        while column.count():
            old = column.takeAt(0).widget()
            if old is not None:
                old.deleteLater()
        column.addWidget(self._build(ElementTree.fromstring(re.sub(r"^<\?xml[^>]*>", "", text))))
        column.activate()
        self._maximized = None
        self.layoutChanged.emit(node.GetViewArrangement())

    def _build(self, element):
        """A widget for a <layout> or <view> element."""
        if element.tag == "view":
            return self._buildView(element)
        items = [
            child for item in element.findall("item") for child in item if child.tag in ("layout", "view")
        ]
        kind = element.get("type", "horizontal")
        if kind == "tab":
            tabs = QtWidgets.QTabWidget()
            for child in items:
                tabs.addTab(self._build(child), child.get("singletontag", ""))
            return tabs
        if kind == "grid":
            return self._buildGrid(element)
        box = QtWidgets.QSplitter(QtCore.Qt.Vertical if kind == "vertical" else QtCore.Qt.Horizontal)
        box.setHandleWidth(2)
        box.setStyleSheet("QSplitter::handle { background: #202020; }")
        box.setChildrenCollapsible(False)
        for child in items:
            box.addWidget(self._build(child))
        for index in range(box.count()):
            box.setStretchFactor(index, 1)
            box.widget(index).show()
        box.setSizes([1000] * box.count())
        return box

    def _buildGrid(self, element):
        box = QtWidgets.QWidget()
        grid = QtWidgets.QGridLayout(box)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(3)
        for item in element.findall("item"):
            place = [
                int(item.get(k, d)) for k, d in (("row", 0), ("column", 0), ("rowspan", 1), ("colspan", 1))
            ]
            if len(item) != 1:  # CTK asserts it
                raise RuntimeError("An <item> of a layout holds one <layout> or <view>")
            child = self._build(item[0])
            grid.addWidget(child, *place)
            child.show()  # it may have been in a layout before, which hides what it gives up
        return box

    def _buildView(self, element):
        name = element.get("singletontag", "")
        attributes = {p.get("name"): p.text for p in element.findall("property")}
        kind = element.get("class")
        if kind == "vtkMRMLSliceNode":
            return self._sliceFor(name, attributes)
        if kind == "vtkMRMLViewNode":
            return self._threeDFor(name, attributes)
        if kind == "vtkMRMLPlotViewNode":
            return self._plotFor(name, attributes)
        label = QtWidgets.QLabel(f"{kind} is not part of this host")
        label.setAlignment(QtCore.Qt.AlignCenter)
        return label

"""Slice and 3D views: VTK renders offscreen, a Qt widget paints the picture and gives VTK Qt's events."""

import numpy as np
import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from vtk.util.numpy_support import vtk_to_numpy

_BUTTONS = {
    QtCore.Qt.LeftButton: "LeftButton",
    QtCore.Qt.MiddleButton: "MiddleButton",
    QtCore.Qt.RightButton: "RightButton",
}


class RenderView(QtWidgets.QWidget):
    """A widget that shows one vtkRenderWindow. Renders when next painted, however often it was asked."""

    resized = QtCore.Signal(QtCore.QSize)

    def __init__(self, factory, parent=None):
        super().__init__(parent)
        self.setMinimumSize(80, 80)
        self.setMouseTracking(True)
        self.setFocusPolicy(QtCore.Qt.StrongFocus)
        self.setAttribute(QtCore.Qt.WA_OpaquePaintEvent)
        self._renderer = vtk.vtkRenderer()
        self._window = vtk.vtkRenderWindow()
        self._window.SetShowWindow(False)
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)
        self._window.AddRenderer(self._renderer)
        self._window.SetSize(320, 240)
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._image, self._dirty, self._paused = QtGui.QImage(), True, 0
        self._prepare()
        self._style = self._makeStyle()
        self._interactor.Initialize()
        self._group = factory.InstantiateDisplayableManagers(self._renderer)
        self._group.AddObserver(vtk.vtkCommand.UpdateEvent, lambda *_: self.scheduleRender())
        self._style.SetInteractor(self._interactor)
        self._style.SetDisplayableManagers(self._group)
        self._logic.SetDisplayableManagerGroup(self._group)

    def _prepare(self):
        """Further renderers, before the displayable managers are made."""

    def _makeStyle(self):
        raise NotImplementedError

    # Slicer's API

    def renderWindow(self):
        return self._window

    def renderer(self):
        return self._renderer

    def interactor(self):
        return self._interactor

    def interactorStyle(self):
        return self._interactor.GetInteractorStyle()

    def interactorObserver(self):
        return self._style

    def displayableManagerByClassName(self, name):
        return self._group.GetDisplayableManagerByClassName(name)

    def getDisplayableManagers(self, collection):
        for index in range(self._group.GetDisplayableManagerCount()):
            collection.AddItem(self._group.GetNthDisplayableManager(index))

    def scheduleRender(self):
        self._dirty = True
        self.update()

    def forceRender(self):
        """Render now, shown or not, and return the picture (QImage)."""
        if self.size != QtCore.QSize(*self._logicalSize()):
            self._resize()
        self._beforeRender()
        self._window.Render()
        width, height = self._window.GetSize()
        pixels = vtk.vtkUnsignedCharArray()
        self._window.GetRGBACharPixelData(0, 0, width - 1, height - 1, 0, pixels)
        array = np.ascontiguousarray(vtk_to_numpy(pixels).reshape(height, width, 4)[::-1])
        array[..., 3] = 255
        self._image = QtGui.QImage(array.data, width, height, 4 * width, QtGui.QImage.Format_RGBA8888).copy()
        self._image.setDevicePixelRatio(self.devicePixelRatioF())
        self._dirty = False
        return self._image

    def setRenderEnabled(self, enabled):
        self._paused = 0 if enabled else 1
        if enabled:
            self.update()

    def _beforeRender(self):
        """What is drawn by the view itself (annotations)."""

    # Qt's events

    def _logicalSize(self):
        ratio = self.devicePixelRatioF()
        return [round(n / ratio) for n in self._window.GetSize()]

    def _resize(self):
        ratio = self.devicePixelRatioF()
        width, height = max(1, round(self.width * ratio)), max(1, round(self.height * ratio))
        self._window.SetSize(width, height)
        self._interactor.UpdateSize(width, height)
        self._interactor.InvokeEvent("ConfigureEvent")
        self.resized.emit(QtCore.QSize(width, height))
        self._dirty = True

    def resizeEvent(self, event):
        if self._window is not None:
            self._resize()

    def paintEvent(self, event):
        if self._dirty and not self._paused:
            self.forceRender()
        QtGui.QPainter(self).drawImage(0, 0, self._image)

    def _place(self, event, key="\0", repeat=0):
        ratio, modifiers = self.devicePixelRatioF(), event.modifiers()
        position = event.position() if hasattr(event, "position") else self.mapFromGlobal(QtGui.QCursor.pos())
        self._interactor.SetEventInformationFlipY(
            round(position.x() * ratio),
            round(position.y() * ratio),
            bool(modifiers & QtCore.Qt.ControlModifier),
            bool(modifiers & QtCore.Qt.ShiftModifier),
            key,
            repeat,
            None,
        )

    def mousePressEvent(self, event, suffix="PressEvent"):
        if event.button() in _BUTTONS:
            self._place(event)
            self._interactor.InvokeEvent(_BUTTONS[event.button()] + suffix)

    def mouseReleaseEvent(self, event):
        self.mousePressEvent(event, "ReleaseEvent")

    def mouseDoubleClickEvent(self, event):
        self.mousePressEvent(event, "DoubleClickEvent")

    def mouseMoveEvent(self, event):
        self._place(event)
        self._interactor.InvokeEvent("MouseMoveEvent")

    def wheelEvent(self, event):
        self._place(event)
        self._interactor.InvokeEvent(
            "MouseWheelForwardEvent" if event.angleDelta().y() > 0 else "MouseWheelBackwardEvent"
        )

    def enterEvent(self, event):
        self._place(event) if hasattr(event, "modifiers") else None
        self._interactor.InvokeEvent("EnterEvent")

    def leaveEvent(self, event):
        self._interactor.InvokeEvent("LeaveEvent")

    def keyPressEvent(self, event):
        symbol = QtGui.QKeySequence(event.key()).toString()
        self._place(event, (event.text() or "\0")[0])
        self._interactor.SetKeySym(symbol)
        self._interactor.InvokeEvent("KeyPressEvent")
        self._interactor.InvokeEvent("CharEvent")

    def finalize(self):
        """Give VTK's things back before Qt takes the widget."""
        self._group.SetMRMLDisplayableNode(None)
        self._style.SetInteractor(None)
        self._window.Finalize()

    def release(self):
        """After `finalize`, of a view that goes while the application goes on: its window alone has 15 MB."""
        self._paused = 1
        self._group.RemoveAllObservers()
        self._logic.SetDisplayableManagerGroup(None)
        self._style.SetDisplayableManagers(None)
        self._interactor.SetRenderWindow(None)
        self._group.SetRenderer(None)
        self._renderer.RemoveAllViewProps()
        self._window.GetRenderers().RemoveAllItems()
        self._window = self._interactor = self._group = self._style = self._renderer = None


class SliceView(RenderView):
    """qMRMLSliceView: the reformatted slice, displayable managers over it, annotations in the corner."""

    def __init__(self, factory, logic, parent=None):
        self._logic = logic
        super().__init__(factory, parent)
        self._style.SetSliceLogic(logic)
        self._group.SetMRMLDisplayableNode(logic.GetSliceNode())
        self._tag = logic.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._updateImage())
        self.resized.connect(lambda size: self._logic.ResizeSliceNode(size.width(), size.height()))
        self._updateImage()

    def _prepare(self):
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._actor = vtk.vtkActor2D()
        self._actor.SetMapper(self._mapper)
        self._actor.GetProperty().SetDisplayLocationToBackground()
        self._renderer.SetBackground(0, 0, 0)
        self._renderer.GetActiveCamera().ParallelProjectionOn()
        self._overlay = vtk.vtkRenderer()
        self._overlay.SetLayer(1)
        self._overlay.InteractiveOff()
        self._window.SetNumberOfLayers(2)
        self._window.AddRenderer(self._overlay)
        self._annotation = vtk.vtkCornerAnnotation()
        self._annotation.SetMinimumFontSize(14)
        self._annotation.SetMaximumFontSize(14)
        self._annotation.SetNonlinearFontScaleFactor(1)
        text = self._annotation.GetTextProperty()
        text.SetFontFamilyToTimes()
        text.ShadowOn()
        self._overlay.AddViewProp(self._annotation)

    def finalize(self):
        self._logic.RemoveObserver(self._tag)
        super().finalize()

    def release(self):
        super().release()
        self._mapper = self._actor = self._overlay = self._annotation = None

    def _makeStyle(self):
        self._interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        return slicer.vtkMRMLSliceViewInteractorStyle()

    def _updateImage(self):
        port = self._logic.GetImageDataConnection()
        if port is None:
            self._renderer.RemoveViewProp(self._actor)
        else:
            self._mapper.SetInputConnection(port)
            if not self._renderer.HasViewProp(self._actor):
                self._renderer.AddViewProp(self._actor)
        self.scheduleRender()

    def _beforeRender(self):
        self._annotation.SetText(0, self.cornerText())

    def cornerText(self):
        """What Slicer's Data Probe writes into the lower left corner."""
        composite, lines = self._logic.GetSliceCompositeNode(), []
        label, foreground, background = (self._logic.GetNthLayerVolumeNode(n) for n in (2, 1, 0))
        if label is not None:
            lines.append(f"L: {label.GetName()} ({int(composite.GetLabelOpacity() * 100)}%)")
        if foreground is not None:
            lines.append(f"F: {foreground.GetName()} ({int(composite.GetForegroundOpacity() * 100)}%)")
        if background is not None:
            lines.append(f"B: {background.GetName()}")
        return "\n".join(lines)

    def mrmlSliceNode(self):
        return self._logic.GetSliceNode()

    def sliceLogic(self):
        return self._logic

    def cornerAnnotation(self):
        return self._annotation

    def overlayRenderer(self):
        return self._overlay

    def convertRASToXYZ(self, ras):
        matrix = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self.mrmlSliceNode().GetXYToRAS(), matrix)
        return tuple(matrix.MultiplyPoint((*ras, 1.0))[:3])


class ThreeDView(RenderView):
    """qMRMLThreeDView."""

    def __init__(self, factory, logic, parent=None):
        self._logic = logic
        super().__init__(factory, parent)
        self._group.SetMRMLDisplayableNode(logic.GetViewNode())

    def _prepare(self):
        self._renderer.SetUseDepthPeeling(False)

    def _makeStyle(self):
        self._interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        return slicer.vtkMRMLThreeDViewInteractorStyle()

    def mrmlViewNode(self):
        return self._logic.GetViewNode()

    def viewLogic(self):
        return self._logic

    def cameraNode(self):
        manager = self.displayableManagerByClassName("vtkMRMLCameraDisplayableManager")
        return manager.GetCameraNode()

    def resetFocalPoint(self):
        """Look at the middle of all that is visible."""
        bounds = self._visibleBounds()
        if bounds is not None:
            centre = [(bounds[2 * i] + bounds[2 * i + 1]) / 2 for i in range(3)]
            self.cameraNode().SetFocalPoint(*centre)
        self.scheduleRender()

    def resetCamera(self, *_):
        bounds = self._visibleBounds()
        if bounds is not None:
            self._renderer.ResetCamera(bounds)
            self._renderer.ResetCameraClippingRange()
        self.scheduleRender()

    def _visibleBounds(self):
        node = self.mrmlViewNode()
        shown = node.GetBoxVisible(), node.GetAxisLabelsVisible()
        node.SetBoxVisible(False)
        node.SetAxisLabelsVisible(False)
        bounds = self._renderer.ComputeVisiblePropBounds()
        node.SetBoxVisible(shown[0])
        node.SetAxisLabelsVisible(shown[1])
        return bounds if bounds[0] <= bounds[1] else None

    def rotateToViewAxis(self, axis):
        self.cameraNode().RotateTo(axis)

"""Substitutes for Slicer's MRML widgets: the widget that knows the scene, and unit-aware numbers."""

from types import SimpleNamespace

from PySide6 import QtCore, QtWidgets

from .nodeselector import qMRMLColorTableComboBox, qMRMLNodeComboBox
from .pythonqt import substituteProperty as prop
from .sliders import ctkDoubleSpinBox, ctkRangeWidget, ctkSliderWidget

__all__ = [
    "qMRMLColorTableComboBox",
    "qMRMLNodeComboBox",
    "qMRMLRangeWidget",
    "qMRMLSliderWidget",
    "qMRMLSpinBox",
    "qMRMLWidget",
    "qSlicerWidget",
]


class qMRMLWidget(QtWidgets.QWidget):
    """A widget that knows the scene and tells its children."""

    IS_SUBSTITUTE = True
    mrmlSceneChanged = QtCore.Signal(object)
    SIGNALS = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}

    def __init__(self, parent=None):
        super().__init__(parent)
        self._d = SimpleNamespace(scene=None)

    def mrmlScene(self):
        return self._d.scene

    def setMRMLScene(self, scene):
        if scene is not self._d.scene:
            self._d.scene = scene
            self.mrmlSceneChanged.emit(scene)


class qSlicerWidget(qMRMLWidget):
    IS_SUBSTITUTE = True


class qMRMLSliderWidget(ctkSliderWidget):
    """A slider that takes suffix and precision from the scene's units."""

    IS_SUBSTITUTE = True
    None_, Prefix, Suffix, Precision, MinimumValue, MaximumValue, Scaling = 0, 1, 2, 4, 8, 16, 32

    def __init__(self, parent=None):
        super().__init__(parent)
        self._d.quantity, self._d.scene, self._d.aware = "", None, 0

    def mrmlScene(self):
        return self._d.scene

    def setMRMLScene(self, scene):
        self._d.scene = scene
        if self._d.quantity == "length":
            self.setSuffix("mm")

    def setQuantity(self, quantity):
        self._d.quantity = quantity
        if quantity == "length" and self._d.scene is not None:
            self.setSuffix("mm")

    quantity = prop("QString", lambda self: self._d.quantity, setQuantity)
    unitAwareProperties = prop(
        "int", lambda self: self._d.aware, lambda self, v: setattr(self._d, "aware", v)
    )


class qMRMLSpinBox(ctkDoubleSpinBox):
    IS_SUBSTITUTE = True

    def setMRMLScene(self, scene):
        self._d.scene = scene


class qMRMLRangeWidget(ctkRangeWidget):
    IS_SUBSTITUTE = True

    def setMRMLScene(self, scene):
        self._d.scene = scene

"""`@parameterNodeWrapper`: the class decorator, and how parameters and widgets follow each other."""

import dataclasses
import enum
import pathlib

import slicer
import vtk
from PySide6 import QtWidgets
from shiboken6 import Shiboken

from . import ctk, qmrml
from .parameters import Default, FloatRange, ParameterInfo, dataType, describe
from .serializers import (
    findFirstAnnotation,
    getNodeTypes,
    isNodeOrUnionOfNodes,
    splitAnnotations,
    unannotatedType,
)
from .validators import Choice, Maximum, Minimum, RangeBounds, WithinRange

SlicerParameterNamePropertyName = "SlicerParameterName"


@dataclasses.dataclass
class Decimals:
    value: int


@dataclasses.dataclass
class SingleStep:
    value: float


class GuiConnector:
    """One widget as the editor of one parameter. Subclasses say which, and how to read and write it."""

    signal = None

    def __init__(self, widget, datatype):
        self._widget, self._kind, self._callback = widget, unannotatedType(datatype), None
        self.prepare(splitAnnotations(datatype)[1])

    def prepare(self, annotations):
        pass

    def widget(self):
        return self._widget

    def changed(self):
        if self._callback:
            self._callback()

    def onChanged(self, callback):
        self._callback = callback
        if self.signal:
            signal = getattr(self._widget, self.signal)
            signal.connect(self.changed) if callback else signal.disconnect(self.changed)


class _Boolean(GuiConnector):
    signal = "toggled"

    @staticmethod
    def canRepresent(widget, datatype):
        return unannotatedType(datatype) is bool and type(widget) in (
            QtWidgets.QCheckBox,
            QtWidgets.QPushButton,
            ctk.ctkCheckBox,
            ctk.ctkCheckablePushButton,
        )

    def prepare(self, annotations):
        self._widget.checkable = True

    def read(self):
        return self._widget.checked

    def write(self, value):
        self._widget.checked = value


class _Number(GuiConnector):
    signal = "valueChanged"
    WHOLE = (QtWidgets.QSlider, QtWidgets.QSpinBox)
    REAL = (
        QtWidgets.QDoubleSpinBox,
        ctk.ctkSliderWidget,
        ctk.ctkDoubleSlider,
        ctk.ctkDoubleSpinBox,
        qmrml.qMRMLSliderWidget,
        qmrml.qMRMLSpinBox,
    )
    BOUNDED = (QtWidgets.QSlider, ctk.ctkSliderWidget, qmrml.qMRMLSliderWidget)

    @staticmethod
    def canRepresent(widget, datatype):
        kind = unannotatedType(datatype)
        return (
            kind is int
            and type(widget) in _Number.WHOLE
            or kind in (int, float)
            and type(widget) in _Number.REAL
        )

    def prepare(self, annotations):
        widget, within = self._widget, findFirstAnnotation(annotations, WithinRange)
        low, high = findFirstAnnotation(annotations, Minimum), findFirstAnnotation(annotations, Maximum)
        low = within.minimum if within else low.minimum if low else None
        high = within.maximum if within else high.maximum if high else None
        if type(widget) in self.BOUNDED and (low is None or high is None):
            raise RuntimeError(
                f"Cannot have a connection to {type(widget).__name__} where the type is unbounded."
            )
        decimals, step = (
            findFirstAnnotation(annotations, Decimals),
            findFirstAnnotation(annotations, SingleStep),
        )
        if type(widget) in self.REAL and type(widget) is not ctk.ctkDoubleSlider:
            if self._kind is int:
                widget.decimals = 0
            elif decimals:
                widget.decimals = decimals.value
        if step:
            widget.singleStep = step.value
        widest = (-(2**31), 2**31 - 1) if type(widget) in self.WHOLE else (-1.7e308, 1.7e308)
        widget.minimum = widest[0] if low is None else low
        widget.maximum = widest[1] if high is None else high

    def read(self):
        return self._kind(self._widget.value)

    def write(self, value):
        self._widget.value = self._kind(value)


class _Selection(GuiConnector):
    signal = "currentIndexChanged"

    @staticmethod
    def canRepresent(widget, datatype):
        kind = unannotatedType(datatype)
        return type(widget) in (QtWidgets.QComboBox, ctk.ctkComboBox) and (
            kind in (int, float, str, bool) or isinstance(kind, type) and issubclass(kind, enum.Enum)
        )

    def prepare(self, annotations):
        if isinstance(self._kind, type) and issubclass(self._kind, enum.Enum):
            self._choices = list(self._kind)
            labels = [e.label() if callable(getattr(e, "label", None)) else e.name for e in self._choices]
        else:
            choice = findFirstAnnotation(annotations, Choice)
            if choice is None:
                raise RuntimeError("A combo box needs the Choice annotation.")
            self._choices = list(choice.choices)
            labels = [str(c) for c in self._choices]
        self._widget.clear()
        for label in labels:
            self._widget.addItem(label)

    def read(self):
        return self._choices[self._widget.currentIndex]

    def write(self, value):
        self._widget.currentIndex = self._choices.index(value)


class _Text(GuiConnector):
    signal = "textChanged"

    @staticmethod
    def canRepresent(widget, datatype):
        return unannotatedType(datatype) is str and type(widget) in (
            QtWidgets.QLineEdit,
            QtWidgets.QLabel,
            QtWidgets.QTextEdit,
        )

    def prepare(self, annotations):
        if type(self._widget) is QtWidgets.QLabel:
            self.signal = None

    def read(self):
        return self._widget.plainText if type(self._widget) is QtWidgets.QTextEdit else self._widget.text

    def write(self, value):
        if type(self._widget) is QtWidgets.QTextEdit:
            self._widget.setPlainText(value)
        elif value != self._widget.text:
            # Setting the text moves the cursor, which would disturb the typing that caused it.
            self._widget.text = value


class _Range(GuiConnector):
    signal = "valuesChanged"

    @staticmethod
    def canRepresent(widget, datatype):
        return unannotatedType(datatype) is FloatRange and type(widget) in (
            ctk.ctkRangeWidget,
            ctk.ctkDoubleRangeSlider,
            qmrml.qMRMLRangeWidget,
        )

    def prepare(self, annotations):
        bounds = findFirstAnnotation(annotations, RangeBounds)
        if bounds is None:
            raise RuntimeError("A range widget needs the RangeBounds annotation.")
        decimals, step = (
            findFirstAnnotation(annotations, Decimals),
            findFirstAnnotation(annotations, SingleStep),
        )
        if decimals and type(self._widget) is not ctk.ctkDoubleRangeSlider:
            self._widget.decimals = decimals.value
        if step:
            self._widget.singleStep = step.value
        self._widget.setRange(bounds.minimum, bounds.maximum)

    def read(self):
        return FloatRange(self._widget.minimumValue, self._widget.maximumValue)

    def write(self, value):
        self._widget.setValues(value.minimum, value.maximum)


class _Path(GuiConnector):
    @staticmethod
    def canRepresent(widget, datatype):
        kind = unannotatedType(datatype)
        return (
            isinstance(kind, type)
            and issubclass(kind, pathlib.PurePath)
            and type(widget) in (ctk.ctkPathLineEdit, ctk.ctkDirectoryButton)
        )

    def prepare(self, annotations):
        isLine = type(self._widget) is ctk.ctkPathLineEdit
        self.signal = "currentPathChanged" if isLine else "directoryChanged"
        self._property = "currentPath" if isLine else "directory"

    def read(self):
        return self._kind(getattr(self._widget, self._property))

    def write(self, value):
        setattr(self._widget, self._property, str(value))


class _Node(GuiConnector):
    signal = "currentNodeChanged"

    @staticmethod
    def canRepresent(widget, datatype):
        return type(widget) is qmrml.qMRMLNodeComboBox and isNodeOrUnionOfNodes(datatype)

    def prepare(self, annotations):
        self._widget.nodeTypes = getNodeTypes(self._kind)

    def read(self):
        return self._widget.currentNode()

    def write(self, value):
        self._widget.setCurrentNode(value)


class _Color(GuiConnector):
    signal = "colorChanged"

    @staticmethod
    def canRepresent(widget, datatype):
        return type(widget) is ctk.ctkColorPickerButton and unannotatedType(datatype).__name__ == "QColor"

    def read(self):
        return self._widget.color

    def write(self, value):
        self._widget.color = value


_connectors = [_Boolean, _Number, _Selection, _Text, _Range, _Path, _Node, _Color]


def parameterNodeGuiConnector(cls=None):
    """Register a further connector."""
    if cls is None:
        return parameterNodeGuiConnector
    _connectors.append(cls)
    return cls


def createGuiConnector(widget, datatype):
    for kind in _connectors:
        if kind.canRepresent(widget, datatype):
            return kind.create(widget, datatype) if hasattr(kind, "create") else kind(widget, datatype)
    raise RuntimeError(
        f"Unable to create GUI connector from datatype '{datatype}' to widget type '{type(widget)}'."
    )


class _Wrapper:
    """What every decorated class gets."""

    def __init__(self, parameterNode, prefix=None):
        self.parameterNode = parameterNode
        self._prefix, self._guis, self._updating = prefix or "", {}, False
        for name, info in self.allParameters.items():
            if not info.serializer.isIn(parameterNode, self._prefix + name):
                info.serializer.write(parameterNode, self._prefix + name, info.default.value)

    def default(self, name):
        return self.allParameters[name].default

    def isCached(self, name):
        return False

    def getValue(self, name):
        dataType(type(self), name)
        value = self
        for part in name.split("."):
            value = getattr(value, part)
        return value

    def setValue(self, name, value):
        dataType(type(self), name)
        *path, last = name.split(".")
        setattr(self.getValue(".".join(path)) if path else self, last, value)

    def connectGui(self, gui):
        """Bind the widgets that have a SlicerParameterName; `gui` is a widget or an object of widgets."""
        if hasattr(gui, "isWidgetType"):
            widgets = gui.findChildren(QtWidgets.QWidget)
        else:
            widgets = list(vars(gui).values())
        names = {w.property(SlicerParameterNamePropertyName): w for w in widgets}
        return self.connectParametersToGui({name: widget for name, widget in names.items() if name})

    def connectParametersToGui(self, mapping):
        for name in mapping:
            dataType(type(self), name)
        connectors = {
            n: w if isinstance(w, GuiConnector) else createGuiConnector(w, dataType(type(self), n))
            for n, w in mapping.items()
        }
        tag = max(self._guis, default=-1) + 1
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(lambda name=name, connector=connector: self._fromWidget(name, connector))
        self._guis[tag] = (
            connectors,
            self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._toWidgets()),
        )
        return tag

    def disconnectGui(self, tag):
        connectors, observer = self._guis.pop(tag, ({}, None))
        for connector in connectors.values():
            connector.onChanged(None)
        if observer is not None:
            self.RemoveObserver(observer)

    def _fromWidget(self, name, connector):
        if not self._updating:
            with slicer.util.NodeModify(self):
                self.setValue(name, connector.read())

    def _toWidgets(self):
        if self._updating:
            return
        self._updating = True
        try:
            for tag, (connectors, _) in list(self._guis.items()):
                if not all(Shiboken.isValid(c.widget()) for c in connectors.values()):
                    # The panel is gone; whoever made it has not said disconnectGui.
                    self.RemoveObserver(self._guis.pop(tag)[1])
                    continue
                for name, connector in connectors.items():
                    connector.write(self.getValue(name))
        finally:
            self._updating = False

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified):
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)

    def Modified(self):
        self.parameterNode.Modified()


def isParameterNodeWrapper(thing):
    return getattr(thing, "_is_parameter_node_wrapper", False)


def parameterNodeWrapper(cls=None):
    """Class decorator, with or without parentheses."""
    if cls is None:
        return parameterNodeWrapper
    parameters = describe(cls)
    reserved = [n for n in vars(_Wrapper) if not n.startswith("__")]
    for name in reserved:
        if name in parameters or name in cls.__dict__:
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
    for name in ("__init__", *reserved):
        setattr(cls, name, vars(_Wrapper)[name])
    cls.allParameters, cls._is_parameter_node_wrapper = parameters, True
    cls.dataType = staticmethod(lambda name: dataType(cls, name))
    for name, info in parameters.items():
        setattr(cls, name, _property(info))
    return cls


def _property(info: ParameterInfo):
    def read(self):
        name = self._prefix + info.basename
        if not info.serializer.isIn(self.parameterNode, name):
            info.serializer.write(self.parameterNode, name, info.default.value)
        return info.serializer.read(self.parameterNode, name)

    def write(self, value):
        with slicer.util.NodeModify(self.parameterNode):
            info.serializer.write(self.parameterNode, self._prefix + info.basename, value)

    return property(read, write)


__all__ = [
    "Decimals",
    "Default",
    "GuiConnector",
    "SingleStep",
    "SlicerParameterNamePropertyName",
    "createGuiConnector",
    "isParameterNodeWrapper",
    "parameterNodeGuiConnector",
    "parameterNodeWrapper",
]

"""`slicer.modules` and the module manager: Slicer's own by their logic, and the module under test."""

import importlib.util
import os
import sys

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from .qmrml import qMRMLWidget


class Module:
    """A module object, for one of Slicer's own modules."""

    def __init__(self, name, logic):
        self.name, self.title, self._logic, self._widget = name, name, logic, None
        self.path, self.icon = "", QtGui.QIcon()

    def logic(self):
        return self._logic

    def widgetRepresentation(self):
        if self._widget is None:
            self._widget = qMRMLWidget()
            column = QtWidgets.QVBoxLayout(self._widget)
            column.addWidget(QtWidgets.QLabel(f"{self.name} has no panel in this host."))
            column.addStretch(1)
        return self._widget

    def createNewWidgetRepresentation(self):
        return None


class qSlicerScriptedLoadableModule:
    """The module object of a scripted module; `parent` of the class in its file."""

    _SETTABLE = {
        "title",
        "categories",
        "dependencies",
        "contributors",
        "helpText",
        "acknowledgementText",
        "icon",
        "hidden",
        "index",
        "associatedNodeTypes",
        "widgetRepresentationCreationEnabled",
    }

    def __init__(self, path):
        path = os.path.abspath(path)
        vars(self).update(
            path=path,
            name=os.path.splitext(os.path.basename(path))[0],
            title="",
            categories=[],
            dependencies=[],
            contributors=[],
            helpText="",
            acknowledgementText="",
            hidden=False,
            index=-1,
            icon=QtGui.QIcon(),
            associatedNodeTypes=[],
            widgetRepresentationCreationEnabled=True,
            _widget=None,
            _python=None,
        )
        self.load()

    def __setattr__(self, name, value):
        if name not in self._SETTABLE:
            raise AttributeError(f"A module has no property '{name}'")
        vars(self)[name] = value

    def load(self):
        """Run the file and make its module object."""
        folder = os.path.dirname(self.path)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        spec = importlib.util.spec_from_file_location(self.name, self.path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[self.name] = module
        spec.loader.exec_module(module)
        vars(self)["_python"] = getattr(module, self.name)(self)

    def logic(self):
        return None

    def self(self):
        return self._python

    def widgetRepresentation(self):
        if self._widget is None:
            vars(self)["_widget"] = qSlicerScriptedLoadableModuleWidget(self)
            self._widget.reload()
        return self._widget

    def createNewWidgetRepresentation(self):
        return self.widgetRepresentation()


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The widget that holds the panel of a scripted module and calls its Python class."""

    IS_SUBSTITUTE = True

    def __init__(self, module):
        super().__init__()
        self._d.module, self._d.python, self._d.entered = module, None, False
        self.objectName = module.name + "ModuleWidget"
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self.setMRMLScene(slicer.mrmlScene)

    def reload(self):
        name = self._d.module.name
        cls = getattr(sys.modules[name], name + "Widget")
        self._d.python = cls(self)
        setattr(slicer.modules, name + "Widget", self._d.python)
        self._d.python.setup()
        if self._d.entered:
            self._call("enter")

    def self(self):
        return self._d.python

    def module(self):
        return self._d.module

    @property
    def isEntered(self):
        return self._d.entered

    def _call(self, name):
        if hasattr(self._d.python, name):
            getattr(self._d.python, name)()

    def enter(self):
        if not self._d.entered:
            self._d.entered = True
            self._call("enter")

    def exit(self):
        if self._d.entered:
            self._d.entered = False
            self._call("exit")


class ModuleManager(QtCore.QObject):
    """Finds modules; says when one goes."""

    moduleAboutToBeUnloaded = QtCore.Signal(str)
    moduleLoaded = QtCore.Signal(str)
    modulesRegistered = QtCore.Signal(list)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._modules = {}

    def add(self, module):
        self._modules[module.name] = module
        setattr(slicer.modules, module.name.lower(), module)
        self.moduleLoaded.emit(module.name)

    def module(self, name):
        return self._modules.get(name)

    def modulesNames(self):
        return tuple(self._modules)

    def factoryManager(self):
        return self

    def loadedModuleNames(self):
        return tuple(self._modules)

    def isLoaded(self, name):
        return name in self._modules

    def remove(self, name):
        self.moduleAboutToBeUnloaded.emit(name)
        module = self._modules.pop(name)
        for attribute in (name.lower(), name + "Widget"):
            vars(slicer.modules).pop(attribute, None)
        if module._widget is not None:
            module._widget.deleteLater()


class Modules:
    """`slicer.modules`: one attribute a module, in lower case."""

"""Makes `import slicer, qt, ctk` give module code what it expects.

`slicer` is the wheel's real package (nodes, logics, slicer.util); what only the application has is added.
"""

import logging
import os
import platform
import sys
import types

import slicer
from PySide6 import QtCore, QtGui, QtNetwork, QtTest, QtUiTools, QtWidgets

from . import ctk as ctkSubstitutes
from . import dialogs, neighbours, parameternode, parameters, printing, samples, serializers, validators
from . import modules as moduleClasses
from .uiloader import SUBSTITUTES, UiLoader


class SlicerApplication(QtWidgets.QApplication):
    """qSlicerApplication, as `slicer.app`."""

    startupCompleted = QtCore.Signal()
    IS_HOST = True

    def __init__(self, home, scene):
        super().__init__(["Slicer"])
        self.setApplicationName("Slicer")
        self.setOrganizationName("XAIExplainHost")
        self.setApplicationVersion("5.13.0")
        self._scene, self._testing = scene, True
        self._manager = self._io = self._layout = None
        self._paused = 0
        for name, value in (
            ("slicerHome", home),
            ("temporaryPath", scene.temporaryPath),
            ("cachePath", os.path.join(home, "cache")),
            ("defaultScenePath", home),
            ("slicerUserSettingsFilePath", os.path.join(home, "Slicer.ini")),
            ("majorVersion", 5),
            ("minorVersion", 13),
            ("patchVersion", 0),
            ("releaseType", "Preview"),
            ("repositoryRevision", "33000"),
            ("revision", "33000"),
            ("mainApplicationName", "Slicer"),
            ("platform", "linux-amd64"),
            ("os", platform.system().lower()),
            ("arch", platform.machine()),
            ("documentationBaseUrl", "https://slicer.readthedocs.io/en/latest/"),
            ("intDir", "."),
        ):
            setattr(self, name, value)
        os.makedirs(self.cachePath, exist_ok=True)

    def testingEnabled(self):
        return self._testing

    def mrmlScene(self):
        return self._scene.mrml

    def applicationLogic(self):
        return self._scene.applicationLogic

    def moduleManager(self):
        return self._manager

    def coreIOManager(self):
        return self._io

    ioManager = coreIOManager

    def layoutManager(self):
        return self._layout

    def settings(self):
        return QtCore.QSettings()

    userSettings = revisionUserSettings = settings

    def moduleLogic(self, name):
        return self._scene.logics.get(name)

    def moduleDocumentationUrl(self, name):
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def translate(self, context, text):
        return text

    def commandOptions(self):
        return types.SimpleNamespace(runPythonAndExit=False, noMainWindow=False, testingEnabled=self._testing)

    def startupEnvironment(self):
        return QtCore.QProcessEnvironment.systemEnvironment()

    def extensionsManagerModel(self):
        return None

    def pythonConsole(self):
        return None

    def pauseRender(self):
        self._paused += 1
        self._layout.setRenderPaused(True)

    def resumeRender(self):
        self._paused = max(0, self._paused - 1)
        if not self._paused:
            self._layout.setRenderPaused(False)

    def isRenderPaused(self):
        return self._paused > 0

    def restart(self):
        dialogs.record("restart")

    def topLevelWidgets(self):
        return tuple(QtWidgets.QApplication.topLevelWidgets())


def _qtModule():
    """The flat module `qt`."""
    module = types.ModuleType("qt", "Qt as PythonQt offers it: one flat module")
    for part in (QtCore, QtGui, QtWidgets, QtNetwork, QtUiTools, QtTest):
        for name in dir(part):
            if name[0] == "Q" or name in ("Qt", "Signal"):
                setattr(module, name, getattr(part, name))
    module.QUiLoader, module.QFileDialog, module.QInputDialog = (
        UiLoader,
        dialogs.FileDialog,
        dialogs.InputDialog,
    )
    module.QPdfWriter = printing.PdfWriter
    return module


def _parameterModule():
    module = types.ModuleType("slicer.parameterNodeWrapper")
    for part in (validators, serializers, parameternode, parameters):
        for name, value in vars(part).items():
            if not name.startswith("_") and callable(value):
                setattr(module, name, value)
    module.validators = validators
    module.SlicerParameterNamePropertyName = parameternode.SlicerParameterNamePropertyName
    return module


def _messageDisplay(
    logLevel, text, testingReturnValue, mainWindowNeeded=False, parent=None, windowTitle=None, **more
):
    """In the place of slicer.util's own: records the message, gives the configured answer, never waits."""
    import qt

    logging.log(logLevel, text)
    title = windowTitle or f"{slicer.app.applicationName} {logging.getLevelName(logLevel).lower()}"
    buttons = more.get("standardButtons", qt.QMessageBox.Ok)
    if dialogs.interactive:
        return slicer.util.messageBox(text, parent=parent, windowTitle=title, **more)
    kind = {logging.ERROR: "error", logging.WARNING: "warning"}.get(logLevel, "info")
    if buttons == qt.QMessageBox.Ok or not buttons:
        dialogs.record(kind, text, title, more.get("detailedText", ""))
        return testingReturnValue
    positive = next(b for b in (qt.QMessageBox.Ok, qt.QMessageBox.Yes, qt.QMessageBox.Retry) if buttons & b)
    negative = next(
        b for b in (qt.QMessageBox.Cancel, qt.QMessageBox.No, qt.QMessageBox.Close) if buttons & b
    )
    answer = positive if dialogs.answers.take("confirm") else negative
    dialogs.record(
        "error" if kind == "error" else "confirm", text, title, more.get("detailedText", ""), answer=answer
    )
    return answer


def _messageBox(original):
    def messageBox(text, parent=None, **more):
        if dialogs.interactive:
            return original(text, parent, **more)
        import ctk

        box = ctk.ctkMessageBox(None)
        box.text = text
        for key, value in more.items():
            if hasattr(box, key):
                setattr(box, key, value)
        return dialogs.answerBox(box)

    return messageBox


def installBefore():
    """What must be importable before the host's own parts: qt, ctk, slicer.parameterNodeWrapper..."""
    dialogs.install()
    sys.modules["qt"] = _qtModule()
    ctk = types.ModuleType("ctk")
    for name in ctkSubstitutes.__all__:
        setattr(ctk, name, getattr(ctkSubstitutes, name))
    sys.modules["ctk"] = ctk
    neighbours.install()
    sys.modules["SampleData"].SampleDataLogic = samples.SampleDataLogic
    slicer.selfTests = {}
    slicer.modules = moduleClasses.Modules()
    for name, cls in SUBSTITUTES.items():
        if name[0] == "q":
            setattr(slicer, name, cls)
    slicer.qSlicerScriptedLoadableModule = moduleClasses.qSlicerScriptedLoadableModule
    slicer.qSlicerScriptedLoadableModuleWidget = moduleClasses.qSlicerScriptedLoadableModuleWidget
    slicer.parameterNodeWrapper = sys.modules["slicer.parameterNodeWrapper"] = _parameterModule()
    from . import scripted

    slicer.ScriptedLoadableModule = sys.modules["slicer.ScriptedLoadableModule"] = scripted
    slicer.util._messageDisplay = _messageDisplay
    slicer.util.messageBox = _messageBox(slicer.util.messageBox)


def installAfter(application, scene):
    """What needs the scene and the application."""
    slicer.app, slicer.mrmlScene = application, scene.mrml
    application._manager = moduleClasses.ModuleManager(application)
    for name, logic in scene.logics.items():
        application._manager.add(moduleClasses.Module(name, logic))

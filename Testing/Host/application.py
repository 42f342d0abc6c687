"""`Host`: one little Slicer in this process, driven by tests or shown as a window."""

import atexit
import os
import sys
import tempfile
import time
import traceback

from . import dialogs, pythonqt, slicershim


class Host:
    """The application.

    Once a process, since Qt has one application:

        host = Host(size=(1500, 950), home=tmp_path)      # later: Host.instance(); in fixtures: Host.fresh()
        widget = host.loadModule("XAIExplain/XAIExplain.py")   # its Widget object, after setup() and enter()
        host.click(widget.ui.applyButton)
        host.wait(lambda: widget.ui.resultTable.rowCount, timeout=30, message="no result")
        host.screenshot("window.png"); host.captureView("Red", "red.png")

    `host.dialogs`: what would have asked or told the user, each {"kind", "text", "title", "details", ...}.
    `host.answers`: what to answer, see `dialogs.Answers`.
    `host.errors`: exceptions that no one caught, in slots, observers and timers.
    `host.vtkErrors`: what VTK and MRML reported as errors.
    `host.testing`: what `slicer.app.testingEnabled()` tells, True at first.
    """

    _instance = None

    @classmethod
    def instance(cls):
        """The host of this process, or None."""
        return Host._instance

    @classmethod
    def fresh(cls, size=(1500, 950), home=None):
        """The host as just started, for fixtures.

        A new one, or this process's with its module, scene, settings and answers put away; `home` counts for
        the first only.
        """
        if Host._instance is None:
            return cls(size, home)
        Host._instance._putAway(size)
        return Host._instance

    def __init__(self, size=(1500, 950), home=None, interactive=False):
        if Host._instance is not None:
            raise RuntimeError("There is one host in a process: use Host.instance()")
        Host._instance = self
        self.home = os.path.abspath(home) if home is not None else tempfile.mkdtemp(prefix="SlicerHost")
        os.makedirs(os.path.join(self.home, "share", "ColorFiles"), exist_ok=True)
        pythonqt.install()
        slicershim.installBefore()
        from .scene import Scene

        self.scene = Scene(self.home)
        self._useOwnSettings()
        self.app = slicershim.SlicerApplication(self.home, self.scene)
        slicershim.installAfter(self.app, self.scene)
        dialogs.interactive = interactive
        dialogs.shown.clear()
        self.errors, self.vtkErrors, self._widget, self._module = [], [], None, None
        self._catchErrors()
        self._buildWindow(size)
        # Without it the interpreter frees Qt and VTK in an order that they do not survive.
        atexit.register(self.quit)

    # What was asked, and how it is answered

    @property
    def dialogs(self):
        return dialogs.shown

    @property
    def answers(self):
        return dialogs.answers

    @property
    def testing(self):
        return self.app._testing

    @testing.setter
    def testing(self, enabled):
        self.app._testing = enabled

    # Modules

    def loadModule(self, path):
        """Run a scripted module's file, show its panel, return its widget class's object."""
        from .modules import qSlicerScriptedLoadableModule

        self._unloadModule()
        self._module = qSlicerScriptedLoadableModule(os.fspath(path))
        self.app.moduleManager().add(self._module)
        self.window.moduleSelector().add(self._module)
        self.app.startupCompleted.emit()
        self._check()
        self.window.moduleSelector().selectModule(self._module.name)
        self._check()
        self.processEvents()
        return self.moduleWidget

    @property
    def moduleWidget(self):
        """The module's widget object; another one after `reloadModule`."""
        return self._module.widgetRepresentation().self()

    def _select(self, name):
        module = self.app.moduleManager().module(name)
        current = self._widget
        widget = module.widgetRepresentation()
        if current is widget:
            return
        if current is not None and hasattr(current, "exit"):
            current.exit()
        self.window.modulePanel().showModule(module)
        self._widget = widget
        if hasattr(widget, "enter"):
            widget.enter()

    def enterModule(self):
        """Come back to the module."""
        self.window.moduleSelector().selectModule(self._module.name)
        self.processEvents()

    def exitModule(self):
        """Switch to another module, as the user does."""
        self.window.moduleSelector().selectModule("Volumes")
        self.processEvents()

    def reloadModule(self):
        """Slicer's Reload button; returns the new widget object."""
        import slicer

        slicer.util.reloadScriptedModule(self._module.name)
        self.processEvents()
        return self.moduleWidget

    # Doing what a user does

    def click(self, button):
        """Click a visible, enabled button (or checkbox, or the heading of a collapsible section)."""
        from PySide6 import QtCore, QtTest

        self._usable(button)
        self._reveal(button)
        place = QtCore.QPoint(min(12, button.width // 2), min(11, button.height // 2))
        QtTest.QTest.mouseClick(button, QtCore.Qt.LeftButton, QtCore.Qt.NoModifier, place)
        self.processEvents()

    def setCombo(self, combo, text):
        """Choose the item with this text, or of a node selector the node of this name."""
        self._usable(combo)
        box = combo.comboBox() if hasattr(combo, "comboBox") else combo
        index = box.findText(text)
        if index < 0:
            raise ValueError(
                f"'{combo.objectName}' has no item '{text}', only "
                + ", ".join(repr(box.itemText(i)) for i in range(box.count))
            )
        box.setCurrentIndex(index)
        box.activated.emit(index)
        self.processEvents()

    def clickRow(self, tree, text):
        """Click the row of a tree or list whose first column says this; its parents are opened first, as by hand."""
        from PySide6 import QtCore, QtTest

        self._usable(tree)
        rows = tree.findItems(text, QtCore.Qt.MatchExactly | QtCore.Qt.MatchRecursive, *([0] * hasattr(tree, "header")))
        rows = [row for row in rows if not row.isHidden()]
        if len(rows) != 1:
            raise ValueError(f"'{tree.objectName}' has {len(rows)} visible rows '{text}'")
        parent = rows[0].parent() if hasattr(tree, "header") else None
        while parent is not None:
            parent.setExpanded(True)
            parent = parent.parent()
        tree.scrollToItem(rows[0])
        self._reveal(tree)
        place = tree.visualItemRect(rows[0]).center()
        QtTest.QTest.mouseClick(tree.viewport(), QtCore.Qt.LeftButton, QtCore.Qt.NoModifier, place)
        self.processEvents()

    def type(self, edit, text):
        """Type into a line edit, as keys, after clearing it."""
        from PySide6 import QtTest

        self._usable(edit)
        edit.selectAll()
        QtTest.QTest.keyClicks(edit, text)
        self.processEvents()

    def _usable(self, widget):
        if not widget.isVisible():
            raise AssertionError(f"'{widget.objectName}' is not visible")
        if not widget.isEnabled():
            raise AssertionError(f"'{widget.objectName}' is disabled: {widget.toolTip}")

    def _reveal(self, widget):
        self.window.modulePanel().scrollArea().ensureWidgetVisible(widget)
        self.processEvents()

    def processEvents(self):
        """Handle all that is pending, deferred deletions included."""
        from PySide6 import QtCore

        for _ in range(3):
            self.app.processEvents()
            self.app.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)

    def wait(self, condition, timeout=30, message="condition not met"):
        """Process events until `condition()` is true; TimeoutError with `message` after `timeout` seconds."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"{message} ({timeout} s)")
            self.app.processEvents()
            time.sleep(0.005)
        self.processEvents()

    # The scene

    def closeScene(self):
        self.scene.mrml.Clear(0)
        self.processEvents()

    def saveScene(self, path):
        import slicer

        self.app.coreIOManager().addDefaultStorageNodes()
        if not slicer.util.saveScene(os.fspath(path)):
            raise RuntimeError(f"The scene could not be saved as {path}")

    def loadScene(self, path):
        """Close the scene and load another."""
        self.scene.mrml.Clear(0)
        if not self.app.coreIOManager().loadScene(os.fspath(path)):
            raise RuntimeError(f"The scene could not be read from {path}")
        self.processEvents()

    # Pictures

    def render(self):
        """Render all visible views now."""
        self.processEvents()
        for view in self.app.layoutManager().views().values():
            if view.isVisible():
                view.forceRender()

    def screenshot(self, path=None):
        """The whole window with rendered views; as a file, and as an array (height, width, RGB)."""
        self.render()
        picture = self.window.grab().toImage()
        if path is not None and not picture.save(os.fspath(path)):
            raise RuntimeError(f"Cannot write {path}")
        return _pixels(picture)

    def captureView(self, name, path=None):
        """A view by name ("Red", "Yellow", "Green", "1"), as a file, and as an array (height, width, RGB)."""
        self.processEvents()
        picture = self.app.layoutManager().views()[str(name)].forceRender()
        if path is not None and not picture.save(os.fspath(path)):
            raise RuntimeError(f"Cannot write {path}")
        return _pixels(picture)

    # Strictness

    def assertNoErrors(self):
        """Raise the first exception that a slot, an observer or a timer let through."""
        if self.errors:
            raise AssertionError(f"{len(self.errors)} uncaught exceptions") from self.errors[0]

    def strayAttributes(self):
        """Attributes that the module put on Qt objects (Slicer would have refused them)."""
        return pythonqt.strayAttributes(self._module.widgetRepresentation())

    def quit(self):
        """What Slicer does at its end: `cleanup()` of the module, an empty scene, views and window gone."""
        if Host._instance is not self:
            return
        self.app.aboutToQuit.emit()
        self._unloadModule()
        self.processEvents()
        for view in self.app.layoutManager().views().values():
            view.finalize()
        self.scene.mrml.Clear(0)
        self.window.close()
        self.processEvents()
        sys.excepthook = sys.__excepthook__
        atexit.unregister(self.quit)
        Host._instance = None

    # Construction

    def _unloadModule(self):
        if self._module is None:
            return
        if self._widget is not None and hasattr(self._widget, "exit"):
            self._widget.exit()
        self.window.modulePanel().clear()
        self.app.moduleManager().remove(self._module.name)
        self.window.moduleSelector().remove(self._module.name)
        self._widget = self._module = None

    def _putAway(self, size):
        import slicer
        from PySide6 import QtCore

        self._unloadModule()
        self.closeScene()
        self.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        for className in ("vtkMRMLSliceNode", "vtkMRMLSliceCompositeNode"):
            for node in slicer.util.getNodesByClass(className):
                if node.GetLayoutName() not in ("Red", "Green", "Yellow"):  # of a layout that a test made
                    slicer.mrmlScene.RemoveNode(node)
        QtCore.QSettings().clear()
        self.dialogs.clear()
        self.answers.__init__()
        self.errors.clear()
        self.vtkErrors.clear()
        self.testing = True
        self.window.resize(*size)
        self.processEvents()

    def _useOwnSettings(self):
        from PySide6 import QtCore

        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        for scope in (QtCore.QSettings.UserScope, QtCore.QSettings.SystemScope):
            QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, scope, self.home)

    def _catchErrors(self):
        def remember(kind, error, trace):
            self.errors.append(error)
            traceback.print_exception(kind, error, trace)

        sys.excepthook = remember
        import vtk
        from PySide6 import QtCore

        @vtk.calldata_type(vtk.VTK_STRING)
        def rememberVtk(window, event, text):
            self.vtkErrors.append(text.strip())

        vtk.vtkOutputWindow.GetInstance().AddObserver("ErrorEvent", rememberVtk)

        def qtMessage(level, context, text):
            # Said of every window by Qt's platform without a screen.
            if "propagateSizeHints" not in text:
                print(text, file=sys.stderr)

        QtCore.qInstallMessageHandler(qtMessage)

    def _check(self):
        if self.errors:
            raise self.errors.pop(0)

    def _buildWindow(self, size):
        from . import style
        from .inputoutput import CoreIOManager
        from .layout import LayoutManager
        from .window import MainWindow

        style.apply(self.app)
        self.window = MainWindow()
        self.app._layout = LayoutManager(self.scene, self.window.viewport())
        self.app._io = CoreIOManager(self.scene, self._thumbnail)
        self.window.moduleSelector().add(self.app.moduleManager().module("Volumes"))
        self.window.moduleSelector().moduleSelected.connect(self._select)
        self.window.resize(*size)
        self.window.show()
        self.processEvents()

    def _thumbnail(self):
        import vtk

        picture = vtk.vtkImageData()
        picture.SetDimensions(2, 2, 1)
        picture.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
        picture.GetPointData().GetScalars().Fill(0)
        return picture


def _pixels(picture):
    import numpy as np
    from PySide6 import QtGui

    picture = picture.convertToFormat(QtGui.QImage.Format_RGB888)
    rows = np.frombuffer(picture.constBits(), np.uint8).reshape(picture.height(), picture.bytesPerLine())
    return rows[:, : 3 * picture.width()].reshape(picture.height(), picture.width(), 3).copy()

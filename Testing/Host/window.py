"""The main window: module selector above, the module's panel on the left, the views, the status bar."""

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from .ctk import ctkCollapsibleButton, ctkFittedTextBrowser


class ModuleSelector(QtWidgets.QWidget):
    """qSlicerModuleSelectorToolBar: the list of modules."""

    moduleSelected = QtCore.Signal(str)

    def __init__(self, parent=None):
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(6, 3, 6, 3)
        row.addWidget(QtWidgets.QLabel("Modules:"))
        self._combo = QtWidgets.QComboBox()
        self._combo.setMinimumWidth(220)
        row.addWidget(self._combo)
        row.addStretch(1)
        self._combo.activated.connect(lambda index: self.moduleSelected.emit(self._combo.itemData(index)))

    def add(self, module):
        if self._combo.findData(module.name) < 0:
            self._combo.addItem(module.icon, module.title or module.name, module.name)

    def remove(self, name):
        self._combo.removeItem(self._combo.findData(name))

    def selectModule(self, name):
        if slicer.app.moduleManager().module(name) is None:
            raise RuntimeError(f"There is no module {name}")
        self._combo.setCurrentIndex(self._combo.findData(name))
        self.moduleSelected.emit(name)

    @property
    def selectedModule(self):
        return self._combo.currentData or ""


class ModulePanel(QtWidgets.QWidget):
    """Help & Acknowledgement, and below it the panel of the current module."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self.objectName = "ModulePanel"
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 4)
        self._help = ctkCollapsibleButton("Help && Acknowledgement")
        self._help.collapsed = True
        inside = QtWidgets.QVBoxLayout(self._help)
        inside.setContentsMargins(4, 4, 4, 4)
        self._tabs = QtWidgets.QTabWidget()
        self._texts = [ctkFittedTextBrowser(), ctkFittedTextBrowser()]
        for text, title in zip(self._texts, ("Help", "Acknowledgement"), strict=True):
            self._tabs.addTab(text, title)
        inside.addWidget(self._tabs)
        self._area = QtWidgets.QScrollArea()
        self._area.setWidgetResizable(True)
        self._area.setFrameShape(QtWidgets.QFrame.NoFrame)
        self._area.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarAlwaysOff)
        self._area.installEventFilter(self)
        column.addWidget(self._help)
        column.addWidget(self._area, 1)
        self._help.hide()

    def eventFilter(self, watched, event):
        # As in Slicer, a panel that needs more room gets it: it never scrolls sideways.
        if (
            event.type() in (QtCore.QEvent.LayoutRequest, QtCore.QEvent.Resize)
            and self._area.widget() is not None
        ):
            bar = self._area.verticalScrollBar()
            self._area.setMinimumWidth(
                self._area.widget().minimumSizeHint().width() + (bar.width if bar.isVisible() else 0)
            )
        return False

    @property
    def helpAndAcknowledgmentVisible(self):
        return not self._help.isHidden()

    @helpAndAcknowledgmentVisible.setter
    def helpAndAcknowledgmentVisible(self, visible):
        self._help.setVisible(visible)

    def scrollArea(self):
        return self._area

    def clear(self):
        old = self._area.takeWidget()
        if old is not None:
            old.setParent(None)
        self._help.hide()

    def showModule(self, module):
        """Show a module's widget and help."""
        widget = module.widgetRepresentation()
        self.clear()
        widget.installEventFilter(self)
        self._area.setWidget(widget)
        widget.show()
        texts = [getattr(module, name, "") for name in ("helpText", "acknowledgementText")]
        for browser, text in zip(self._texts, texts, strict=True):
            browser.setHtml(text)
        self._help.setVisible(any(texts))


class MainWindow(QtWidgets.QMainWindow):
    """qSlicerMainWindow."""

    closing = QtCore.Signal()

    def __init__(self):
        super().__init__()
        self.objectName = "qSlicerMainWindow"
        self.windowTitle = "3D Slicer 5.13 \u2013 offscreen host"
        bar = QtWidgets.QToolBar("Module selection")
        bar.objectName = "ModuleToolBar"
        bar.setMovable(False)
        self._selector = ModuleSelector()
        bar.addWidget(self._selector)
        self.addToolBar(bar)
        self._panel = ModulePanel()
        dock = self._dock = QtWidgets.QDockWidget()
        dock.objectName = "PanelDockWidget"
        dock.setTitleBarWidget(QtWidgets.QWidget())
        dock.setFeatures(QtWidgets.QDockWidget.NoDockWidgetFeatures)
        dock.setWidget(self._panel)
        self.addDockWidget(QtCore.Qt.LeftDockWidgetArea, dock)
        self._viewport = QtWidgets.QWidget()
        self._viewport.objectName = "CentralWidgetLayoutFrame"
        self._viewport.setAutoFillBackground(True)
        palette = QtGui.QPalette(self.palette)
        palette.setColor(QtGui.QPalette.Window, QtGui.QColor("#202020"))
        self._viewport.setPalette(palette)
        self.setCentralWidget(self._viewport)
        self.statusBar().setSizeGripEnabled(False)
        self.resizeDocks([dock], [490], QtCore.Qt.Horizontal)

    def moduleSelector(self):
        return self._selector

    def modulePanel(self):
        return self._panel

    def viewport(self):
        return self._viewport

    def closeEvent(self, event):
        self.closing.emit()
        super().closeEvent(event)

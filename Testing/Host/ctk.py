"""Substitutes for CTK's widgets that modules put in their .ui files; the module `ctk` is made of these."""

import os
from types import SimpleNamespace

from PySide6 import QtCore, QtGui, QtWidgets

from . import dialogs
from .collapsible import ctkCollapsibleButton, ctkCollapsibleGroupBox
from .pythonqt import substituteProperty as prop
from .sliders import ctkDoubleRangeSlider, ctkDoubleSlider, ctkDoubleSpinBox, ctkRangeWidget, ctkSliderWidget

__all__ = [
    "ctkCheckBox",
    "ctkCheckablePushButton",
    "ctkCollapsibleButton",
    "ctkCollapsibleGroupBox",
    "ctkColorPickerButton",
    "ctkComboBox",
    "ctkDirectoryButton",
    "ctkDoubleRangeSlider",
    "ctkDoubleSlider",
    "ctkDoubleSpinBox",
    "ctkFittedTextBrowser",
    "ctkMenuButton",
    "ctkMessageBox",
    "ctkPathLineEdit",
    "ctkRangeWidget",
    "ctkSearchBox",
    "ctkSliderWidget",
    "ctkWidgetsUtils",
]


class ctkPathLineEdit(QtWidgets.QWidget):
    """A path that can be typed, chosen from the history or browsed for."""

    IS_SUBSTITUTE = True
    Dirs, Files, Drives, NoSymLinks, Readable, Writable, Executable, Hidden = 1, 2, 4, 8, 16, 32, 64, 256
    currentPathChanged = QtCore.Signal(str)
    validInputChanged = QtCore.Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._d = SimpleNamespace(
            combo=ctkComboBox(self),
            button=QtWidgets.QToolButton(self),
            filters=self.Files | self.Readable,
            nameFilters=[],
            label="",
            settingKey="",
            path="",
            options=0,
        )
        d = self._d
        d.combo.setEditable(True)
        d.combo.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)
        d.combo.setMinimumContentsLength(8)
        d.button.setText("...")
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(d.combo)
        layout.addWidget(d.button)
        d.combo.editTextChanged.connect(self._edited)
        d.button.clicked.connect(lambda: self.browse())

    def _edited(self, text):
        if text != self._d.path:
            self._d.path = text
            self.currentPathChanged.emit(text)
            self.validInputChanged.emit(os.path.exists(text))

    def setCurrentPath(self, path):
        self._d.combo.setEditText(path)

    def browse(self):
        title = self._d.label or "Select a path"
        if self._d.filters & self.Dirs and not self._d.filters & self.Files:
            path = dialogs.getExistingDirectory(self, title, self._d.path)
        elif self._d.filters & self.Writable:
            path = dialogs.getSaveFileName(self, title, self._d.path, ";;".join(self._d.nameFilters))
        else:
            path = dialogs.getOpenFileName(self, title, self._d.path, ";;".join(self._d.nameFilters))
        if path:
            self.setCurrentPath(path)

    def addCurrentPathToHistory(self):
        path = self._d.path
        if path and self._d.combo.findText(path) < 0:
            wasBlocked = self._d.combo.blockSignals(True)
            self._d.combo.insertItem(0, path)
            self._d.combo.setEditText(path)
            self._d.combo.blockSignals(wasBlocked)

    def comboBox(self):
        return self._d.combo

    def _field(name):
        return lambda self: getattr(self._d, name), lambda self, value: setattr(self._d, name, value)

    currentPath = prop("QString", lambda self: self._d.path, setCurrentPath)
    filters = prop("int", *_field("filters"))
    options = prop("int", *_field("options"))
    nameFilters = prop("QStringList", *_field("nameFilters"))
    label = prop("QString", *_field("label"))
    settingKey = prop("QString", *_field("settingKey"))
    showBrowseButton = prop(
        "bool", lambda self: not self._d.button.isHidden(), lambda self, v: self._d.button.setVisible(v)
    )
    showHistoryButton = prop("bool", lambda self: True, lambda self, v: None)
    del _field

    def setNameFilters(self, filters):
        self._d.nameFilters = list(filters)


class ctkDirectoryButton(QtWidgets.QWidget):
    """A button that shows a folder and asks for another."""

    IS_SUBSTITUTE = True
    directoryChanged = QtCore.Signal(str)
    directorySelected = QtCore.Signal(str)

    def __init__(self, *args):
        super().__init__(args[-1] if args and isinstance(args[-1], QtWidgets.QWidget) else None)
        self._d = SimpleNamespace(button=QtWidgets.QPushButton(self), path=os.getcwd(), caption="")
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._d.button)
        self._d.button.clicked.connect(lambda: self.browse())
        self._d.button.text = self._d.path

    def setDirectory(self, path):
        if path != self._d.path:
            self._d.path = path
            self._d.button.text = path
            self.directoryChanged.emit(path)

    def browse(self):
        path = dialogs.getExistingDirectory(self, self._d.caption or "Select folder", self._d.path)
        if path:
            self.setDirectory(path)
            self.directorySelected.emit(path)

    directory = prop("QString", lambda self: self._d.path, setDirectory)
    caption = prop("QString", lambda self: self._d.caption, lambda self, v: setattr(self._d, "caption", v))


class ctkComboBox(QtWidgets.QComboBox):
    """QComboBox with a text for "nothing chosen"."""

    IS_SUBSTITUTE = True

    def __init__(self, parent=None):
        super().__init__(parent)
        self._d = SimpleNamespace()

    def setDefaultText(self, text):
        self.setPlaceholderText(text)

    defaultText = prop("QString", lambda self: self.placeholderText, setDefaultText)


class ctkCheckBox(QtWidgets.QCheckBox):
    IS_SUBSTITUTE = True


class ctkCheckablePushButton(QtWidgets.QPushButton):
    """A push button; `checkBoxControlsButtonToggleState` and the like are kept but draw nothing."""

    IS_SUBSTITUTE = True
    checkBoxToggled = QtCore.Signal(bool)

    def __init__(self, *args):
        super().__init__(*args)
        self._d = SimpleNamespace(controls=True)

    checkBoxControlsButton = prop(
        "bool", lambda self: self._d.controls, lambda self, v: setattr(self._d, "controls", v)
    )
    checkBoxControlsButtonToggleState = prop("bool", lambda self: False, lambda self, v: None)


class ctkMenuButton(QtWidgets.QPushButton):
    IS_SUBSTITUTE = True


class ctkColorPickerButton(QtWidgets.QPushButton):
    """A button with a colour; a click asks for another."""

    IS_SUBSTITUTE = True
    colorChanged = QtCore.Signal(QtGui.QColor)

    def __init__(self, *args):
        super().__init__(*args)
        self._d = SimpleNamespace(color=QtGui.QColor("black"), nameShown=True)
        self.clicked.connect(lambda: self.changeColor())
        self._show()

    def _show(self):
        picture = QtGui.QPixmap(16, 16)
        picture.fill(self._d.color)
        self.setIcon(QtGui.QIcon(picture))
        if self._d.nameShown:
            self.setText(self._d.color.name())

    def setColor(self, color):
        color = QtGui.QColor(color)
        if color != self._d.color:
            self._d.color = color
            self._show()
            self.colorChanged.emit(color)

    def changeColor(self):
        color = dialogs.getColor(self, self._d.color)
        if color is not None:
            self.setColor(color)

    def setDisplayColorName(self, shown):
        self._d.nameShown = shown
        if not shown:
            self.setText("")

    color = prop("QColor", lambda self: self._d.color, setColor)
    displayColorName = prop("bool", lambda self: self._d.nameShown, setDisplayColorName)


class ctkMessageBox(QtWidgets.QMessageBox):
    """QMessageBox with "don't show again"."""

    IS_SUBSTITUTE = True

    def __init__(self, parent=None):
        super().__init__(parent)
        self._d = SimpleNamespace(key="", visible=False)

    dontShowAgainSettingsKey = prop(
        "QString", lambda self: self._d.key, lambda self, v: setattr(self._d, "key", v)
    )
    dontShowAgainVisible = prop(
        "bool", lambda self: self._d.visible, lambda self, v: setattr(self._d, "visible", v)
    )


class ctkSearchBox(QtWidgets.QLineEdit):
    IS_SUBSTITUTE = True


class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    """A text browser as tall as its text."""

    IS_SUBSTITUTE = True

    def __init__(self, parent=None):
        super().__init__(parent)
        self._d = SimpleNamespace()
        self.setVerticalScrollBarPolicy(QtCore.Qt.ScrollBarAlwaysOff)
        self.setOpenExternalLinks(True)
        self.document.contentsChanged.connect(self._fit)

    def resizeEvent(self, event):
        super().resizeEvent(event)
        self._fit()

    def _fit(self):
        self.document.setTextWidth(self.viewport().width)
        self.setFixedHeight(round(self.document.size.height()) + 2 * self.frameWidth)


class ctkWidgetsUtils:
    @staticmethod
    def grabWidget(widget, rectangle=None):
        return widget.grab().toImage()

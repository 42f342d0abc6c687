"""Substitutes for CTK's widgets that modules put in their .ui files; the module `ctk` is made of these."""

import os
from types import SimpleNamespace

from PySide6 import QtCore, QtGui, QtWidgets

from . import dialogs
from .pythonqt import substituteProperty as prop
from .sliders import ctkDoubleRangeSlider, ctkDoubleSlider, ctkDoubleSpinBox, ctkRangeWidget, ctkSliderWidget

__all__ = [
    "ctkCheckBox", "ctkCheckablePushButton", "ctkCollapsibleButton", "ctkCollapsibleGroupBox", "ctkColorPickerButton",
    "ctkComboBox", "ctkDirectoryButton", "ctkDoubleRangeSlider", "ctkDoubleSlider", "ctkDoubleSpinBox",
    "ctkFittedTextBrowser", "ctkMenuButton", "ctkMessageBox", "ctkPathLineEdit", "ctkRangeWidget", "ctkSearchBox",
    "ctkSliderWidget", "ctkWidgetsUtils",
]

_NO_LIMIT = 16777215


class ctkCollapsibleButton(QtWidgets.QWidget):
    """A heading with a triangle; a click hides or shows what lies below it, as in every Slicer module."""

    IS_SUBSTITUTE = True
    contentsCollapsed = QtCore.Signal(bool)
    toggled = QtCore.Signal(bool)
    clicked = QtCore.Signal(bool)
    pressed = QtCore.Signal()
    released = QtCore.Signal()

    def __init__(self, *args):
        super().__init__(args[-1] if args and isinstance(args[-1], QtWidgets.QWidget) else None)
        self._d = SimpleNamespace(text=args[0] if args and isinstance(args[0], str) else "", collapsed=False, flat=False,
                                  wanted={}, height=0, down=False, busy=False, extra=QtCore.QSize(), checkable=True)
        self.setSizePolicy(QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.Preferred)
        self.setFocusPolicy(QtCore.Qt.StrongFocus)
        self._updateMargins()

    def _headerHeight(self):
        return self.fontMetrics().height() + 10

    def _updateMargins(self):
        self.setContentsMargins(1, self._headerHeight(), 1, 0 if self._d.collapsed else 1)

    def setText(self, text):
        self._d.text = text
        self.updateGeometry()
        self.update()

    def setCollapsed(self, collapsed):
        d = self._d
        if collapsed == d.collapsed:
            return
        d.collapsed = collapsed
        for child in self._panels():
            if collapsed:
                d.wanted[_key(child)] = _isWanted(child)
                self._hide(child)
            elif d.wanted.get(_key(child), True):
                child.show()
        self._updateMargins()
        self.setMaximumHeight(self._headerHeight() + d.height if collapsed else _NO_LIMIT)
        self.updateGeometry()
        self.update()
        self.toggled.emit(not collapsed)
        self.contentsCollapsed.emit(collapsed)

    def _panels(self):
        return [c for c in self.children() if isinstance(c, QtWidgets.QWidget) and not c.isWindow()]

    def setChecked(self, checked):
        self.setCollapsed(not checked)

    def setFlat(self, flat):
        self._d.flat = flat
        self.update()

    def setCollapsedHeight(self, height):
        self._d.height = height

    def setCheckable(self, checkable):
        self._d.checkable = checkable

    def isChecked(self):
        return not self._d.collapsed

    def isDown(self):
        return self._d.down

    def click(self):
        if self._d.checkable:
            self.setCollapsed(not self._d.collapsed)
        self.clicked.emit(self.isChecked())

    def toggle(self):
        self.setCollapsed(not self._d.collapsed)

    text = prop("QString", lambda self: self._d.text, setText)
    collapsed = prop("bool", lambda self: self._d.collapsed, setCollapsed)
    checked = prop("bool", lambda self: not self._d.collapsed, setChecked)
    checkable = prop("bool", lambda self: self._d.checkable, setCheckable)
    flat = prop("bool", lambda self: self._d.flat, setFlat)
    collapsedHeight = prop("int", lambda self: self._d.height, setCollapsedHeight)

    def childEvent(self, event):
        # At ChildAdded the child is not yet what it will be.
        child = event.child() if event.type() == QtCore.QEvent.ChildPolished else None
        if isinstance(child, QtWidgets.QWidget) and not child.isWindow():
            child.installEventFilter(self)
            if self._d.collapsed:
                self._d.wanted.setdefault(_key(child), _isWanted(child))
                self._hide(child)
        super().childEvent(event)

    def eventFilter(self, child, event):
        # What code shows while the section is closed appears when it is opened, not before.
        shown = event.type() == QtCore.QEvent.ShowToParent
        if (shown or event.type() == QtCore.QEvent.HideToParent) and self._d.collapsed and not self._d.busy:
            if child.parent() is self:
                self._d.wanted[_key(child)] = shown
                self._hide(child)
        return False

    def _hide(self, child):
        self._d.busy = True
        child.hide()
        self._d.busy = False

    def sizeHint(self):
        hint = super().sizeHint()
        heading = self.fontMetrics().horizontalAdvance(self._d.text) + 40
        return QtCore.QSize(max(hint.width(), heading), max(hint.height(), self._headerHeight()))

    def minimumSizeHint(self):
        hint = super().minimumSizeHint()
        return QtCore.QSize(hint.width(), max(hint.height(), self._headerHeight()))

    def paintEvent(self, event):
        painter = QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.Antialiasing)
        palette, header = self.palette, self._headerHeight()
        if not self._d.collapsed and not self._d.flat:
            painter.setPen(palette.color(QtGui.QPalette.Mid))
            painter.drawRoundedRect(QtCore.QRectF(0.5, header / 2, self.width - 1, self.height - header / 2 - 1), 2, 2)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width, header - 4)
        option.state |= QtWidgets.QStyle.State_Sunken if self._d.down else QtWidgets.QStyle.State_Raised
        self.style().drawControl(QtWidgets.QStyle.CE_PushButtonBevel, option, painter, self)
        middle, group = (header - 4) / 2, QtGui.QPalette.Normal if self.enabled else QtGui.QPalette.Disabled
        ink = palette.color(group, QtGui.QPalette.ButtonText)
        painter.setPen(QtCore.Qt.NoPen)
        painter.setBrush(ink)
        x = 13
        triangle = ([(-2.5, -4), (3, 0), (-2.5, 4)] if self._d.collapsed else [(-4, -2.5), (4, -2.5), (0, 3)])
        painter.drawPolygon(QtGui.QPolygonF([QtCore.QPointF(x + dx, middle + dy) for dx, dy in triangle]))
        painter.setPen(ink)
        painter.drawText(QtCore.QRectF(26, 0, self.width - 30, header - 4),
                         QtCore.Qt.AlignVCenter | QtCore.Qt.AlignLeft | QtCore.Qt.TextShowMnemonic, self._d.text)

    def mousePressEvent(self, event):
        if event.position().y() < self._headerHeight() and event.button() == QtCore.Qt.LeftButton:
            self._d.down = True
            self.pressed.emit()
            self.update()

    def mouseReleaseEvent(self, event):
        if self._d.down:
            self._d.down = False
            self.released.emit()
            self.update()
            if event.position().y() < self._headerHeight():
                self.click()

    def keyPressEvent(self, event):
        if event.key() in (QtCore.Qt.Key_Space, QtCore.Qt.Key_Return):
            self.click()
        else:
            super().keyPressEvent(event)


def _key(child):
    return child.objectName or id(child)


def _isWanted(child):
    # A widget that was never shown counts as hidden; only one that code has hidden is not wanted.
    return not (child.isHidden() and child.testAttribute(QtCore.Qt.WA_WState_ExplicitShowHide))


class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):
    """A group box that shows nothing but its title when collapsed."""

    IS_SUBSTITUTE = True

    def __init__(self, *args):
        super().__init__(*args)
        self._d = SimpleNamespace(height=14)
        self.setCheckable(True)
        self.toggled.connect(self._apply)

    def _apply(self, checked):
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                child.setVisible(checked)
        self.setMaximumHeight(_NO_LIMIT if checked else self.fontMetrics().height() + self._d.height)

    def setCollapsed(self, collapsed):
        self.setChecked(not collapsed)

    collapsed = prop("bool", lambda self: not self.isChecked(), setCollapsed)
    collapsedHeight = prop("int", lambda self: self._d.height, lambda self, v: setattr(self._d, "height", v))


class ctkPathLineEdit(QtWidgets.QWidget):
    """A path that can be typed, chosen from the history or browsed for."""

    IS_SUBSTITUTE = True
    Dirs, Files, Drives, NoSymLinks, Readable, Writable, Executable, Hidden = 1, 2, 4, 8, 16, 32, 64, 256
    currentPathChanged = QtCore.Signal(str)
    validInputChanged = QtCore.Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._d = SimpleNamespace(combo=ctkComboBox(self), button=QtWidgets.QToolButton(self), filters=self.Files | self.Readable,
                                  nameFilters=[], label="", settingKey="", path="", options=0)
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
    showBrowseButton = prop("bool", lambda self: not self._d.button.isHidden(), lambda self, v: self._d.button.setVisible(v))
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

    checkBoxControlsButton = prop("bool", lambda self: self._d.controls, lambda self, v: setattr(self._d, "controls", v))
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

    dontShowAgainSettingsKey = prop("QString", lambda self: self._d.key, lambda self, v: setattr(self._d, "key", v))
    dontShowAgainVisible = prop("bool", lambda self: self._d.visible, lambda self, v: setattr(self._d, "visible", v))


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

"""Substitutes for CTK's sections that open and close: ctkCollapsibleButton and ctkCollapsibleGroupBox."""

from types import SimpleNamespace

from PySide6 import QtCore, QtGui, QtWidgets

from .pythonqt import substituteProperty as prop

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
        self._d = SimpleNamespace(
            text=args[0] if args and isinstance(args[0], str) else "",
            collapsed=False,
            flat=False,
            wanted={},
            height=0,
            down=False,
            busy=False,
            extra=QtCore.QSize(),
            checkable=True,
        )
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
            painter.drawRoundedRect(
                QtCore.QRectF(0.5, header / 2, self.width - 1, self.height - header / 2 - 1), 2, 2
            )
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
        triangle = [(-2.5, -4), (3, 0), (-2.5, 4)] if self._d.collapsed else [(-4, -2.5), (4, -2.5), (0, 3)]
        painter.drawPolygon(QtGui.QPolygonF([QtCore.QPointF(x + dx, middle + dy) for dx, dy in triangle]))
        painter.setPen(ink)
        painter.drawText(
            QtCore.QRectF(26, 0, self.width - 30, header - 4),
            QtCore.Qt.AlignVCenter | QtCore.Qt.AlignLeft | QtCore.Qt.TextShowMnemonic,
            self._d.text,
        )

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
        # As QAbstractButton in Qt 5: Return is not for it, also where a line edit inside passes it on.
        if event.key() in (QtCore.Qt.Key_Space, QtCore.Qt.Key_Select):
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

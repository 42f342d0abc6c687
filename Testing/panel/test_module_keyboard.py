"""The panel without a mouse, by real keys: Tab reaches everything in the order of the eye, Escape cancels."""

from __future__ import annotations

from typing import Any

import pytest


def root(panel: Any) -> Any:
    return panel.desk.case.widget.parentWidget()


def press(panel: Any, key: Any, modifiers: Any = None) -> Any:
    """Press a key where the focus is, and return what has the focus then."""
    from PySide6 import QtCore, QtTest, QtWidgets

    target = QtWidgets.QApplication.focusWidget() or panel.host.window
    QtTest.QTest.keyClick(target, key, modifiers or QtCore.Qt.NoModifier)
    panel.host.app.processEvents()
    return QtWidgets.QApplication.focusWidget()


def opened(panel: Any) -> None:
    """A map, and all sections open."""
    from Testing.panel.measureBlocking import everySection

    panel.addVolume()
    panel.chooseMethod("Occlusion")
    panel.apply()
    for section in everySection(panel.desk, hidden=True):
        section.collapsed = False
    panel.host.processEvents()
    panel.desk.refresh()
    panel.host.processEvents()


def tabbed(panel: Any) -> list[Any]:
    """What Tab comes to, from the first section on, until it leaves the panel."""
    from PySide6 import QtCore

    first = panel.desk.case.ui.caseSection
    panel.host.window.activateWindow()
    first.setFocus()
    panel.host.processEvents()
    found = [first]
    while len(found) < 300:
        widget = press(panel, QtCore.Qt.Key_Tab)
        if not root(panel).isAncestorOf(widget) or widget in found:
            return found
        found.append(widget)
    raise AssertionError("Tab does not leave the panel")


def name(widget: Any) -> str:
    return str(widget.objectName or (widget.parent().objectName if widget.parent() else ""))


def test_tab_goes_through_the_panel_as_the_eye_does(panel: Any) -> None:
    from PySide6 import QtCore

    opened(panel)
    found = tabbed(panel)
    heights = [widget.mapTo(root(panel), QtCore.QPoint(0, 0)).y() for widget in found]
    back = [f"{name(one)} ({top}) before {name(other)} ({lower})"
            for one, other, top, lower in zip(found, found[1:], heights, heights[1:], strict=False) if lower < top - 12]
    assert back == []
    names = [name(widget) for widget in found]
    panel.chooseMethod("SHAP")  # another form, made later
    panel.chooseMethod("Occlusion")
    panel.desk.method.form.advancedButton.collapsed = False
    assert [name(widget) for widget in tabbed(panel)] == names


def test_every_control_is_reached(panel: Any) -> None:
    from PySide6 import QtCore, QtWidgets

    opened(panel)
    found = tabbed(panel)
    controls = (QtWidgets.QAbstractButton, QtWidgets.QComboBox, QtWidgets.QAbstractSpinBox, QtWidgets.QAbstractSlider,
                QtWidgets.QLineEdit, QtWidgets.QAbstractItemView)  # fmt: skip
    missed = []
    for child in root(panel).findChildren(QtWidgets.QWidget):
        usable = isinstance(child, controls) and child.isVisible() and child.isEnabled()
        inner = child.focusProxy() is not None or str(child.objectName).startswith("qt_") \
            or isinstance(child, (QtWidgets.QScrollBar, QtWidgets.QHeaderView)) \
            or isinstance(child.parent(), (QtWidgets.QComboBox, QtWidgets.QAbstractSpinBox))  # fmt: skip
        if not usable or inner or child in found:
            continue
        group = [one for one in found if isinstance(one, QtWidgets.QRadioButton) and one.parent() is child.parent()]
        if isinstance(child, QtWidgets.QRadioButton) and group:
            continue  # the arrow keys go on from the one that is chosen
        if child.focusPolicy == QtCore.Qt.NoFocus and isinstance(child, QtWidgets.QToolButton):
            continue  # a button inside of another control, which does the same by keys
        missed.append(name(child))
    assert missed == []


def test_every_control_has_a_name_for_those_who_hear_it(panel: Any) -> None:
    import ctk
    from PySide6 import QtGui

    opened(panel)
    silent = []
    for widget in tabbed(panel):
        if isinstance(widget, ctk.ctkCollapsibleButton):
            assert widget.text  # which is its name: in CTK it is a button
            continue
        spoken, part = "", widget
        while not spoken and part is not None and part is not root(panel):
            spoken = QtGui.QAccessible.queryAccessibleInterface(part).text(QtGui.QAccessible.Name)
            part = part.parent()
        if not spoken:
            silent.append(name(widget))
    assert silent == []


def test_escape_cancels_and_is_free_otherwise(panel: Any) -> None:
    from PySide6 import QtCore

    panel.addVolume()
    assert not panel.desk.keyboard.escape.isEnabled()
    panel.order("slow")
    panel.press()
    panel.wait(lambda: "left" in panel.message, "no progress")
    panel.host.window.activateWindow()
    for place in (panel.desk.method.ui.methodSearchEdit, panel.desk.run.ui.applyButton):
        place.setFocus()
    press(panel, QtCore.Qt.Key_Escape)
    panel.wait(lambda: not panel.logic.busy, "Escape does not cancel")
    assert "Cancelled" in panel.message
    panel.wait(lambda: not panel.desk.keyboard.escape.isEnabled(), "Escape stays taken")


def test_apply_and_cancel_by_keys_alone(panel: Any) -> None:
    from PySide6 import QtCore

    panel.addVolume()
    panel.wait(lambda: panel.desk.run.ui.applyButton.enabled, "Apply stays disabled")
    panel.order("slow")
    panel.host.window.activateWindow()
    panel.desk.method.ui.methodTree.setFocus()
    press(panel, QtCore.Qt.Key_E, QtCore.Qt.ControlModifier | QtCore.Qt.ShiftModifier)
    panel.wait(lambda: "left" in panel.message, "the shortcut does not begin a run")
    panel.desk.run.ui.applyButton.setFocus()
    press(panel, QtCore.Qt.Key_Space)
    panel.wait(lambda: not panel.logic.busy, "the space bar does not cancel")
    assert "Cancelled" in panel.message


@pytest.mark.parametrize("mode", ["overlay", "map"])
def test_the_map_is_hidden_and_shown_by_a_key(panel: Any, mode: str) -> None:
    from PySide6 import QtCore

    both = QtCore.Qt.ControlModifier | QtCore.Qt.ShiftModifier
    panel.addVolume()
    panel.host.window.activateWindow()
    press(panel, QtCore.Qt.Key_H, both)
    assert "There is no map" in panel.message
    mapNode = panel.apply()
    panel.desk.displayPanel.onViewMode(mode)
    panel.host.processEvents()
    press(panel, QtCore.Qt.Key_H, both)
    assert panel.node.viewMode == "volume"
    assert panel.foregrounds() == {None}
    press(panel, QtCore.Qt.Key_H, both)
    assert panel.node.viewMode == mode
    assert panel.foregrounds() == {mapNode.GetID()}


def test_the_focus_is_seen(panel: Any) -> None:
    """What has the focus looks otherwise than when Tab has gone on."""
    import numpy as np
    from PySide6 import QtCore, QtGui, QtWidgets

    def look(widget: Any) -> Any:
        picture = widget.grab().toImage().convertToFormat(QtGui.QImage.Format_RGB888)
        return np.frombuffer(picture.constBits(), np.uint8).copy()

    opened(panel)
    panel.host.window.activateWindow()
    panel.desk.case.ui.caseSection.setFocus()
    QtWidgets.QApplication.setCursorFlashTime(0)  # a text cursor is always there
    panel.host.processEvents()
    unseen, widget = [], press(panel, QtCore.Qt.Key_Tab)
    while root(panel).isAncestorOf(widget):
        focused = look(widget)
        after = press(panel, QtCore.Qt.Key_Tab)
        if np.array_equal(focused, look(widget)):
            unseen.append(name(widget))
        widget = after
    assert unseen == []


def test_the_shortcuts_go_with_the_module(panel: Any) -> None:
    import qt
    import slicer

    def keys() -> list[str]:
        return sorted(one.key.toString() for one in slicer.util.mainWindow().findChildren(qt.QShortcut))

    before = keys()
    assert before.count("Ctrl+Shift+H") == 1
    panel.host.reloadModule()
    assert keys() == before

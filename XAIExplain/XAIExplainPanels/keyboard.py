"""The panel by keyboard: shortcuts, labels that name what they stand beside, and the order of Tab."""

import qt
import slicer
from slicer.i18n import tr as _

SHOW_OR_HIDE = "Ctrl+Shift+H"
ENDINGS = ("", "ComboBox", "Selector", "Slider", "Edit", "SpinBox", "List")


class Keyboard:
    """
    Escape in the panel cancels a run; Ctrl+Shift+H in the main window shows and hides the map.

    :param desk: the module's desk.
    :param widget: the module's whole widget.
    """

    def __init__(self, desk, widget):
        self.desk = desk
        self.shortcuts = []
        self._before = "overlay"  # how the map was shown before it was hidden
        self.escape = self._shortcut(widget, "Esc", self.onEscape)
        self.escape.setContext(qt.Qt.WidgetWithChildrenShortcut)
        if slicer.util.mainWindow() is not None:
            self._shortcut(slicer.util.mainWindow(), SHOW_OR_HIDE, self.onShowOrHide)
        for panel in desk.panels:
            nameByLabels(panel.ui)
        self.refresh()

    def _shortcut(self, parent, keys, act):
        shortcut = qt.QShortcut(parent)
        shortcut.setKey(qt.QKeySequence(keys))
        shortcut.connect("activated()", act)
        self.shortcuts.append(shortcut)
        return shortcut

    def refresh(self):
        self.escape.setEnabled(self.desk.logic.busy)  # else Escape is what it is in lists and views

    def onEscape(self):
        if self.desk.logic.busy and self.desk.run.ui.applyButton.enabled:
            self.desk.run.onApply()

    def onShowOrHide(self):
        panel, node = self.desk.displayPanel, self.desk.parameterNode
        if node is None:
            return
        if panel.mapNode is None:
            self.desk.say(_("There is no map to show or hide. Choose one under Map, or press Apply."))
            return
        if node.viewMode != "volume":
            self._before = node.viewMode
        panel.onViewMode(self._before if node.viewMode == "volume" else "volume")

    def cleanup(self):
        """Take the shortcuts away."""
        for shortcut in self.shortcuts:
            shortcut.setEnabled(False)
            shortcut.setParent(None)
            shortcut.deleteLater()
        self.shortcuts = []


def nameByLabels(ui):
    """Let each label name the control that it stands beside, for those who hear the panel instead of seeing it."""
    found = vars(ui)
    for name, label in found.items():
        if not name.endswith("Label") or not hasattr(label, "setBuddy"):
            continue
        stem = name[: -len("Label")]
        for control in (stem + ending for ending in ENDINGS):
            # What is called after another label has that one.
            if control in found and (control == stem or control + "Label" not in found):
                label.setBuddy(found[control])
                found[control].accessibleName = label.text.strip(": ")
    for control in found.values():
        if hasattr(control, "accessibleName") and not control.accessibleName and not getattr(control, "text", ""):
            control.accessibleName = control.toolTip.split(". ")[0]


def tabAfter(first, root):
    """Let Tab go from `first` through what is inside of `root`, which was made later, and on from there."""
    before = first
    for widget in inside(root):
        if widget.focusPolicy & qt.Qt.TabFocus and widget.focusProxy() is None:
            qt.QWidget.setTabOrder(before, widget)
            before = widget


def inside(widget):
    """The widgets in a widget, each before those in it."""
    for child in widget.children():
        if child.isWidgetType() and not child.isWindow():
            yield child
            yield from inside(child)

"""What all panels share: each is a part of the window, from its own .ui file, bound to the parameter node."""

import slicer


class Panel:
    """
    One part of the module's window.

    :param desk: the module's widget; gives the logic, the parameter node and the other panels' state.
    """

    uiFile = ""

    def __init__(self, desk):
        self.desk = desk
        self.widget = slicer.util.loadUI(desk.resourcePath("UI/" + self.uiFile))
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.widget.setMRMLScene(slicer.mrmlScene)
        self._guiTag = None
        self._node = None

    @property
    def node(self):
        """The parameter node, or None while there is none (the scene closes)."""
        return self._node

    def setParameterNode(self, node):
        """Bind the widgets that carry the name of a parameter; None lets go."""
        if self._node is not None and self._guiTag is not None:
            self._node.disconnectGui(self._guiTag)
        self._guiTag = None
        self._node = node
        if node is not None:
            self._guiTag = node.connectGui(self.ui)

    def refresh(self):
        """Bring what cannot be bound up to date; called when anything in the scene or the engine has changed."""

    def cleanup(self):
        """The module goes: let go of what outlives the window."""
        self.setParameterNode(None)


def fillCombo(combo, entries, current):
    """
    Fill the combo with (title, data) and select `current`, without telling anybody. A title with the data None is a
    heading that cannot be chosen.
    """
    import qt

    wasBlocked = combo.blockSignals(True)
    try:
        combo.clear()
        for title, data in entries:
            combo.addItem(title, data)
            if data is None:
                combo.setItemData(combo.count - 1, 0, qt.Qt.UserRole - 1)
        selectData(combo, current)
    finally:
        combo.blockSignals(wasBlocked)


def selectData(combo, data):
    """Select the entry with the data, without telling anybody; returns whether there is one."""
    wasBlocked = combo.blockSignals(True)
    try:
        for index in range(combo.count):
            if combo.itemData(index) == data:
                combo.setCurrentIndex(index)
                return True
        return False
    finally:
        combo.blockSignals(wasBlocked)


def comboData(combo):
    """The data of the chosen entry."""
    return combo.itemData(combo.currentIndex) if combo.currentIndex >= 0 else None


def clearLayout(layout):
    """Remove and delete the widgets of a layout."""
    while layout.count():
        item = layout.takeAt(0)
        widget = item.widget()
        if widget is not None:
            widget.hide()
            widget.setParent(None)
            widget.deleteLater()
        elif item.layout() is not None:
            clearLayout(item.layout())

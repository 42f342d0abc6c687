"""QUiLoader that knows the substitutes, and makes the .ui file's connections the way Slicer's loader does."""

import re
import xml.etree.ElementTree as ElementTree

from PySide6 import QtCore, QtUiTools

from . import ctk, qmrml, segmentselector
from .pythonqt import connect

SUBSTITUTES = {name: getattr(ctk, name) for name in ctk.__all__ if isinstance(getattr(ctk, name), type)}
for _module in (qmrml, segmentselector):
    SUBSTITUTES.update({n: c for n, c in vars(_module).items() if n[0] == "q" and isinstance(c, type)})


class UiLoader(QtUiTools.QUiLoader):
    """`load(file)`: PySide's loader refuses connections whose types it does not know; they are made here."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._made = []

    def createWidget(self, className, parent=None, name=""):
        if className not in SUBSTITUTES:
            if className[0] != "Q":
                raise RuntimeError(f"No substitute for {className} ('{name}' in the .ui file)")
            return super().createWidget(className, parent, name)
        widget = SUBSTITUTES[className](parent)
        widget.objectName = name
        self._made.append(widget)
        return widget

    def load(self, device, parent=None):
        data = bytes(device.readAll().data())
        root = ElementTree.fromstring(data)
        connections = root.find("connections")
        wanted = []
        if connections is not None:
            wanted = [
                tuple(c.findtext(k) for k in ("sender", "signal", "receiver", "slot")) for c in connections
            ]
            root.remove(connections)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.ReadOnly)
        widget = super().load(buffer, parent)
        if widget is None:
            raise RuntimeError(f"The .ui file cannot be loaded: {self.errorString()}")
        for sender, signal, receiver, slot in wanted:
            self._connect(widget, sender, signal, receiver, slot)
        return widget

    def _connect(self, root, sender, signal, receiver, slot):
        objects = []
        for name in (sender, receiver):
            found = root if root.objectName == name else root.findChild(QtCore.QObject, name)
            if found is None:
                raise RuntimeError(f"The .ui file connects '{name}', which it does not contain")
            objects.append(found)
        name = re.split(r"\(", slot)[0]
        if not hasattr(objects[1], name):
            raise RuntimeError(f"The .ui file connects the slot {receiver}.{slot}, which does not exist")
        connect(objects[0], signal, getattr(objects[1], name))

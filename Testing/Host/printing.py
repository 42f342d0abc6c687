"""`qt.QPdfWriter` as PythonQt offers it: what its wrapper has for Qt 5 and Qt 6 alike, and nothing else.

The wrappers of commontk's PythonQt (`PythonQtWrapper_QPdfWriter`, `..._QPagedPaintDevice`, `..._QPaintDevice`) were
read: the constructor takes a QString or a QIODevice; page size and margins are those of QPagedPaintDevice, since
`setPageSizeMM` and `setMargins` went with Qt 5; QPrinter's `setPaperSize` did too.
"""

from PySide6 import QtCore, QtGui

_OFFERED = {
    "creator", "setCreator", "title", "setTitle", "resolution", "setResolution", "newPage", "pageLayout",
    "setPageLayout", "setPageSize", "setPageMargins", "setPageOrientation", "width", "height", "logicalDpiX",
    "logicalDpiY", "physicalDpiX", "physicalDpiY", "objectName", "metaObject", "className", "deleteLater",
    "connect", "disconnect", "property", "setProperty",
}  # fmt: skip

# What Qt itself looks for, before it draws: a substitute could have methods of its own of these names.
_ASKED_BY_QT = {
    "initPainter", "metric", "redirected", "sharedPainter", "paintEngine", "devType", "setPageRanges", "event",
    "eventFilter", "timerEvent", "childEvent", "customEvent", "connectNotify", "disconnectNotify",
}  # fmt: skip


class PdfWriter(QtGui.QPdfWriter):
    """A PDF to paint on."""

    IS_SUBSTITUTE = True

    def __init__(self, target):
        if not isinstance(target, (str, QtCore.QIODevice)):
            raise ValueError(f"QPdfWriter takes a file name or a QIODevice, not {type(target).__name__}")
        super().__init__(target)

    def __getattribute__(self, name):
        if name[0] != "_" and name not in _OFFERED | _ASKED_BY_QT and name != "IS_SUBSTITUTE":
            raise AttributeError(f"'QPdfWriter' object has no attribute '{name}' in PythonQt for both Qt 5 and Qt 6")
        return super().__getattribute__(name)

    def setPageSize(self, size):
        if not isinstance(size, QtGui.QPageSize):
            raise ValueError("setPageSize takes a QPageSize: the number of a size went with Qt 5")
        return super().setPageSize(size)

    def setPageMargins(self, margins, units=None):
        if not isinstance(margins, QtCore.QMarginsF) or units is None:
            raise ValueError("setPageMargins takes a QMarginsF and a QPageLayout unit in Qt 5 and Qt 6")
        return super().setPageMargins(margins, QtGui.QPageLayout.Unit(units))

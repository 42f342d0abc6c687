"""The dark look of Slicer: Fusion with Slicer's palette."""

from PySide6 import QtGui, QtWidgets

_COLORS = {
    "Window": "#323232",
    "WindowText": "#ffffff",
    "Base": "#1e1e1e",
    "AlternateBase": "#323232",
    "ToolTipBase": "#ffffff",
    "ToolTipText": "#323232",
    "Text": "#ffffff",
    "PlaceholderText": "#c0c0c0",
    "Button": "#323232",
    "ButtonText": "#ffffff",
    "BrightText": "#ff4444",
    "Light": "#828284",
    "Midlight": "#5a5a5b",
    "Dark": "#232323",
    "Mid": "#2b2b2b",
    "Shadow": "#141414",
    "Highlight": "#3ca4ff",
    "HighlightedText": "#ffffff",
    "Link": "#3ca4ff",
}
_DISABLED = {
    "WindowText": "#6d6d6d",
    "Base": "#1e1e1e",
    "Text": "#6d6d6d",
    "ButtonText": "#b4b4b4",
    "Highlight": "#505050",
    "HighlightedText": "#6d6d6d",
}


def apply(application):
    application.setStyle(QtWidgets.QStyleFactory.create("Fusion"))
    palette = QtGui.QPalette()
    for name, color in _COLORS.items():
        palette.setColor(getattr(QtGui.QPalette, name), QtGui.QColor(color))
    for name, color in _DISABLED.items():
        palette.setColor(QtGui.QPalette.Disabled, getattr(QtGui.QPalette, name), QtGui.QColor(color))
    application.setPalette(palette)
    QtWidgets.QToolTip.setPalette(palette)

"""Pictures of all sections, and what does not fit: `python -m Testing.panel.layouts FOLDER [--font 2]`.

For 200 % scaling by Qt itself, set QT_SCALE_FACTOR=2 and halve the size.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any


def tooWide(panel: Any) -> list[str]:
    """Widgets that need more room than they have: cut off, or wider than the panel."""
    from PySide6 import QtWidgets

    root = panel.desk.case.widget.parentWidget()
    room = panel.host.window.modulePanel().scrollArea().viewport().width
    found = []
    for widget in root.findChildren(QtWidgets.QWidget):
        if not widget.isVisible() or widget.isWindow():
            continue
        name = str(widget.objectName or (widget.parent().objectName if widget.parent() else ""))
        if widget.minimumSizeHint().width() > room and not isinstance(widget, QtWidgets.QAbstractItemView):
            found.append(f"{name}: at least {widget.minimumSizeHint().width()} of {room}")
        wanted = words(widget)
        if wanted > widget.width:
            found.append(f"{name}: its words need {wanted}, it has {widget.width}")
    if root.width > room:
        found.append(f"the panel is {root.width} wide, and {room} are seen")
    return found


def words(widget: Any) -> int:
    """The width that the words of a button, a box or a one-line label need; 0 for what can do with less."""
    from PySide6 import QtWidgets

    if isinstance(widget, (QtWidgets.QPushButton, QtWidgets.QCheckBox, QtWidgets.QRadioButton)):
        return int(widget.fontMetrics().boundingRect(widget.text).width())
    if isinstance(widget, QtWidgets.QLabel) and not widget.wordWrap and widget.text and "<" not in widget.text:
        return int(widget.fontMetrics().boundingRect(widget.text).width())
    if isinstance(widget, QtWidgets.QAbstractSpinBox):
        return int(widget.fontMetrics().boundingRect(str(widget.text)).width())
    return 0


def overlapping(panel: Any) -> list[str]:
    """Visible siblings that lie over one another."""
    from PySide6 import QtWidgets

    root = panel.desk.case.widget.parentWidget()
    found = []
    for parent in [root, *root.findChildren(QtWidgets.QWidget)]:
        if parent.layout() is None or not parent.isVisible():
            continue
        children = [child for child in parent.children() if child.isWidgetType() and child.isVisible()
                    and not child.isWindow() and child.width > 2 and child.height > 2]  # fmt: skip
        for number, one in enumerate(children):
            for other in children[number + 1 :]:
                common = one.geometry.intersected(other.geometry)
                if common.width() > 2 and common.height() > 2:
                    found.append(f"{one.objectName} and {other.objectName}")
    return found


def everything(panel: Any) -> None:
    """Maps, and all sections open with all that they can show."""
    from Testing.panel.measureBlocking import everySection

    panel.addVolume()
    panel.apply()
    panel.chooseMethod("Occlusion")
    panel.apply()
    for section in everySection(panel.desk, hidden=True):
        section.collapsed = False
    panel.desk.predict()
    panel.wait(lambda: panel.desk.model.prediction is not None, "no answer")
    panel.wait(lambda: not panel.desk.model.predicting, "no answer")
    panel.host.processEvents()


def photograph(panel: Any, folder: Path, name: str) -> list[Path]:
    """The whole panel, page by page."""
    area = panel.host.window.modulePanel().scrollArea()
    bar, paths = area.verticalScrollBar(), []
    for number in range(20):
        bar.setValue(number * (area.viewport().height - 20))
        panel.host.processEvents()
        path = folder / f"{name}-{number}.png"
        panel.host.window.modulePanel().grab().save(str(path))
        paths.append(path)
        if bar.value >= bar.maximum:
            return paths
    return paths


def main() -> None:
    """Write the pictures and say what does not fit."""
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    options.add_argument("--font", type=float, default=1)
    options.add_argument("--size", default="1366x768")
    chosen = options.parse_args()
    from Testing.Host import Host
    from Testing.panel.driver import Panel

    folder = Path(tempfile.mkdtemp())
    width, height = map(int, chosen.size.split("x"))
    host = Host(size=(width, height), home=str(folder / "host"))
    font = host.app.font()
    font.setPointSizeF(font.pointSizeF() * chosen.font)
    host.app.setFont(font)
    panel = Panel(host, folder)
    panel.wait(lambda: panel.desk.model.info is not None, "no engine")
    everything(panel)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    print(*photograph(panel, chosen.folder, f"panel-{chosen.font:g}"), sep="\n")
    print("does not fit:", *tooWide(panel), sep="\n  ")
    print("overlaps:", *overlapping(panel), sep="\n  ")
    host.screenshot(chosen.folder / "window.png")
    panel.widget.cleanup()
    host.quit()


if __name__ == "__main__":
    main()

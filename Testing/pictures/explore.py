"""The tutorial's pictures of exploring: methods, presets and time, targets. `python -m Testing.pictures.explore`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from Testing.pictures.compare import few_colors
from Testing.pictures.studio import FOLDER, studio

CASE = "enhancing-ring"
LESION = (27.0, -65.0, -22.0)  # RAS


def main(folder: Path = FOLDER) -> None:
    """Write the three pictures.

    Parameters
    ----------
    folder : Path
        Where they go.
    """
    with studio() as (host, widget):
        desk = widget.desk
        host.wait(lambda: CASE in desk.catalog.cases or desk.engineError(), 120, "the engine does not start")
        combo = desk.case.ui.exampleComboBox
        title = desk.catalog.cases[CASE]["title"]
        host.setCombo(combo, next(text for text in map(combo.itemText, range(combo.count)) if title in text))
        host.click(desk.case.ui.exampleButton)
        host.wait(lambda: desk.model.prediction is not None, 60, "no answer")
        from XAIExplainPanels.layers import jumpTo

        jumpTo(LESION)
        # 1: the method is searched for, its pace chosen, its time told
        host.click(desk.method.ui.cardSection) if desk.method.ui.cardSection.collapsed else None
        host.clickRow(desk.method.ui.methodTree, "Occlusion sensitivity")
        host.type(desk.method.ui.methodSearchEdit, "agnostic")
        host.click(desk.method.form.presetButtons["thorough"])
        host.wait(lambda: "Takes" in desk.run.ui.estimateLabel.text, 60, "no time")
        photograph(host, folder / "tutorial-explore-1.png", desk.method.ui.methodSection)
        # 2: the answers with their probabilities
        photograph(host, folder / "tutorial-explore-2.png", desk.modelPanel.widget, popup=desk.target.ui.targetComboBox)
        # 3: what speaks for one answer rather than for another
        desk.method.ui.methodSearchEdit.clear()
        host.clickRow(desk.method.ui.methodTree, "LRP (relevance)")
        name = "enhancing"
        choose(host, desk.target.ui.targetComboBox, name)
        choose(host, desk.target.ui.kindComboBox, "Its score less")
        choose(host, desk.target.ui.otherComboBox, "healthy")
        host.wait(lambda: desk.run.ui.applyButton.enabled, 60, "Apply stays disabled")
        host.click(desk.run.ui.applyButton)
        host.wait(lambda: not widget.logic.busy, 300, "the run does not end")
        photograph(host, folder / "tutorial-explore-3.png", desk.target.widget)


def choose(host: Any, combo: Any, beginning: str) -> None:
    """The entry that begins so."""
    host.setCombo(combo, next(text for text in map(combo.itemText, range(combo.count)) if text.startswith(beginning)))


def photograph(host: Any, path: Path, top: Any, popup: Any = None) -> None:
    """Scroll the panel to `top`, open the list of a combo if one is given, and write the window."""
    from PySide6 import QtCore, QtGui

    scroll = host.window.modulePanel().scrollArea()
    host.processEvents()
    scroll.verticalScrollBar().setValue(top.mapTo(scroll.widget(), QtCore.QPoint(0, 0)).y() - 4)
    host.processEvents()
    path.parent.mkdir(parents=True, exist_ok=True)
    if popup is None:
        few_colors(host.screenshot()).save(path, optimize=True)
        return
    popup.showPopup()
    host.render()
    picture, shown = host.window.grab(), popup.view().window()
    painter = QtGui.QPainter(picture)
    painter.drawPixmap(shown.mapToGlobal(QtCore.QPoint()) - host.window.mapToGlobal(QtCore.QPoint()), shown.grab())
    painter.end()
    popup.hidePopup()
    picture.save(str(path))
    few_colors(np.asarray(Image.open(path).convert("RGB"))).save(path, optimize=True)


if __name__ == "__main__":
    main()

"""The tutorial's pictures of own models: looked into, described, tried, kept. `python -m Testing.pictures.models`."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

from Testing.pictures.display import small
from Testing.pictures.explore import choose, photograph
from Testing.pictures.studio import FOLDER, studio

CASE = "enhancing-ring"


def main(folder: Path = FOLDER) -> None:
    """Write the pictures.

    Parameters
    ----------
    folder : Path
        Where they go.
    """
    home = Path(tempfile.mkdtemp(prefix="study-"))
    networks = make_networks(home)
    with studio(home / "host") as (host, widget):
        desk = widget.desk
        host.wait(lambda: CASE in desk.catalog.cases or desk.engineError(), 120, "the engine does not start")
        combo = desk.case.ui.exampleComboBox
        title = desk.catalog.cases[CASE]["title"]
        host.setCombo(combo, next(text for text in map(combo.itemText, range(combo.count)) if title in text))
        host.click(desk.case.ui.exampleButton)
        host.wait(lambda: desk.model.prediction is not None, 60, "no answer")
        # 1: a program asks before it is loaded
        host.click(desk.modelPanel.ui.addModelButton)
        dialog = desk.modelPanel.dialog
        dialog.ui.filePathEdit.currentPath = str(networks["exported"])
        host.wait(lambda: dialog.ui.consentFrame.visible, 60, "no question")
        host.processEvents()
        over(host, dialog, folder / "tutorial-models-1.png")
        # 2: found, described, tried
        host.click(dialog.ui.allowButton)
        host.wait(lambda: dialog.found is not None, 120, "nothing found")
        host.type(dialog.ui.nameEdit, "Lesion finder")
        host.type(dialog.ui.descriptionEdit, "Lesions in T1-weighted brain MRI, 2.5 mm")
        host.type(dialog.ui.classesEdit, "healthy, enhancing, dark")
        choose(host, dialog.ui.startComboBox, "The steps of")
        dialog.ui.stepsList.setCurrentRow(1)
        host.click(dialog.ui.tryButton)
        host.wait(lambda: dialog.ui.tryMessageLabel.visible and not dialog.working, 60, "no answer")
        over(host, dialog, folder / "tutorial-models-2.png")
        # 3: kept and used
        host.click(dialog.ui.keepButton)
        host.wait(lambda: not dialog.widget.visible, 60, dialog.ui.aboutMessageLabel.text)
        host.wait(lambda: desk.model.info is not None, 60, "not loaded")
        host.click(desk.modelPanel.ui.predictButton)
        host.wait(lambda: desk.model.prediction is not None, 60, "no answer")
        host.clickRow(desk.method.ui.methodTree, "Grad-CAM")
        host.wait(lambda: desk.run.ui.applyButton.enabled, 60, "Apply stays disabled")
        host.click(desk.run.ui.applyButton)
        host.wait(lambda: not widget.logic.busy, 300, "the run does not end")
        combo = desk.modelPanel.ui.modelComboBox
        photograph(host, folder / "tutorial-models-3.png", desk.modelPanel.widget, popup=combo)
    for number in (1, 2, 3):
        quantize(folder / f"tutorial-models-{number}.png")


def make_networks(folder: Path) -> dict[str, Path]:
    """The bundled network as somebody else's exported program."""
    import torch

    from XAIExplainLib.loading import load_model

    network = load_model("brain-lesion").network
    path = folder / "lesions-run7.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(network, (torch.zeros(1, 1, 64, 80, 64),)), path)
    return {"exported": path}


def over(host: Any, dialog: Any, path: Path) -> None:
    """The window with the dialog over it, as on a screen of 1366 x 768."""
    from PySide6 import QtCore, QtGui

    host.render()
    picture = host.window.grab()
    shown = dialog.widget.grab()
    frame = QtCore.QPoint((picture.width() - shown.width()) // 2, max(24, (picture.height() - shown.height()) // 2))
    painter = QtGui.QPainter(picture)
    painter.fillRect(picture.rect(), QtGui.QColor(0, 0, 0, 110))
    bar = QtCore.QRect(frame.x(), frame.y() - 24, shown.width(), 24)
    painter.fillRect(bar.adjusted(-1, -1, 1, shown.height() + 1), QtGui.QColor("#6d6d6d"))
    painter.fillRect(bar, QtGui.QColor("#202020"))
    painter.setPen(QtGui.QColor("#ffffff"))
    painter.drawText(bar, QtCore.Qt.AlignCenter, dialog.widget.windowTitle)
    painter.drawPixmap(frame, shown)
    painter.end()
    picture.save(str(path))


def quantize(path: Path) -> None:
    """A third of the size: the pictures are looked at in a browser."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as picture:
        array = np.asarray(picture.convert("RGB"))
    small(array).save(path, optimize=True)


if __name__ == "__main__":
    main()

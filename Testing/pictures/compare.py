"""The tutorial's pictures of comparisons. `python -m Testing.pictures.compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from Testing.demo.panel import explain_in
from Testing.pictures.studio import FOLDER, studio

GRAYS = 48
METHODS = ("Grad-CAM", "Gradient x input", "LRP (relevance)", "Occlusion sensitivity")


def main(folder: Path = FOLDER) -> None:
    """Write the three pictures.

    Parameters
    ----------
    folder : Path
        Where they go.
    """
    with studio() as (host, widget):
        import qt

        desk = widget.desk
        compare, regions = desk.compare.ui, desk.regions.ui
        explain_in(host, widget, "enhancing-ring", METHODS[0], "lesion (together)")
        host.click(desk.displayPanel.ui.renderCheckBox)
        for method in METHODS[1:]:
            host.clickRow(desk.method.ui.methodTree, method)
            stride = desk.method.form.editors.get("stride")
            for spin in stride.spins if stride is not None else ():
                spin.setValue(4)
            host.click(desk.run.ui.applyButton)
            host.wait(lambda: not widget.logic.busy, 300, "the run does not end")
        # 1: four methods side by side, with the lesion's outline
        host.click(compare.compareSection)
        host.click(regions.regionsSection)
        host.click(regions.truthButton)
        host.click(desk.displayPanel.ui.peakButton)
        host.click(compare.compareButton)
        host.click(compare.alikeButton)
        host.wait(lambda: compare.alikeLabel.visible, 60, "there is no table")
        photograph(host, folder / "tutorial-compare-1.png", compare.compareSection)
        # 2: where two of them differ
        host.click(compare.backButton)
        for row in (0, 3):
            compare.mapList.item(row).setCheckState(qt.Qt.Unchecked)
        host.processEvents()
        host.click(compare.differenceButton)
        host.wait(lambda: desk.parameterNode.mapVolume.GetAttribute("XAIExplain.Method") == "difference", 60, "no map")
        photograph(host, folder / "tutorial-compare-2.png", compare.compareSection)
        # 3: figures by segment, of the four
        for row in (0, 3):
            compare.mapList.item(row).setCheckState(qt.Qt.Checked)
        host.processEvents()
        host.click(regions.statisticsButton)
        host.wait(lambda: regions.saveRegionsButton.visible, 60, "there are no figures")
        photograph(host, folder / "tutorial-compare-3.png", regions.regionsSection)


def photograph(host: Any, path: Path, top: Any) -> None:
    """Scroll the panel so that `top` is above, and write the window."""
    from PySide6 import QtCore

    host.processEvents()
    scroll = host.window.modulePanel().scrollArea()
    scroll.verticalScrollBar().setValue(top.mapTo(scroll.widget(), QtCore.QPoint(0, 0)).y() - 4)
    host.processEvents()
    path.parent.mkdir(parents=True, exist_ok=True)
    few_colors(host.screenshot()).save(path, optimize=True)


def few_colors(array: np.ndarray) -> Image.Image:
    """A third of the size, and the same to the eye: grays stay gray, and rare colors stay.

    Parameters
    ----------
    array : numpy.ndarray
        Shape (height, width, 3), uint8.
    """
    grays = np.round(np.linspace(0, 255, GRAYS)).astype(np.uint8)
    picture = np.round(array.mean(axis=2) * (GRAYS - 1) / 255).astype(np.uint8)
    colored = np.ptp(array.astype(int), axis=2) > 10
    palette = [level for gray in grays for level in (int(gray),) * 3]
    if colored.any():
        # A cut at medians would drop rare colors, such as that of an outline.
        row = Image.fromarray(array[colored][np.newaxis]).quantize(
            255 - GRAYS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
        )
        picture[colored] = np.asarray(row)[0] + GRAYS
        palette += list(row.getpalette() or [])
    found = Image.fromarray(picture, "P")
    found.putpalette(palette)
    return found


if __name__ == "__main__":
    main()

"""The tutorial's pictures of the display: thresholds, contours and 3D. `python -m Testing.pictures.display`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from Testing.demo.panel import explain_in
from Testing.pictures.studio import FOLDER, studio


def main(folder: Path = FOLDER) -> None:
    """Write the three pictures.

    Parameters
    ----------
    folder : Path
        Where they go.
    """
    with studio() as (host, widget):
        explain_in(host, widget, "enhancing-ring", "LRP (relevance)", "lesion (together)")
        display, surfaces = widget.desk.displayPanel.ui, widget.desk.surfaces.ui
        if display.renderCheckBox.checked:
            host.click(display.renderCheckBox)
        # 1: the top of the relevance, with contour lines
        host.setCombo(display.thresholdComboBox, "Draw the top of the relevance")
        display.relevanceSlider.value = 60.0
        host.click(display.peakButton)
        host.click(surfaces.surfaceSection)
        photograph(host, widget, folder / "tutorial-display-1.png", top=display.displaySection)
        # 2: contour lines alone, at three levels
        host.click(surfaces.linesCheckBox)
        surfaces.levelsSpinBox.setValue(3)
        display.opacitySlider.value = 0.0
        photograph(host, widget, folder / "tutorial-display-2.png", top=display.displaySection)
        # 3: in 3D, inside the head
        display.opacitySlider.value = 0.6
        host.click(display.renderCheckBox)
        host.click(surfaces.anatomyCheckBox)
        photograph(host, widget, folder / "tutorial-display-3.png", top=display.displaySection, turned=True)


def photograph(host: Any, widget: Any, path: Path, top: Any, turned: bool = False) -> None:
    """Wait for what is being made, scroll the panel, and write the window."""
    import slicer

    host.processEvents()
    host.wait(lambda: not widget.logic.display.pending, 60, "the surfaces are not made")
    scroll = host.window.modulePanel().scrollArea()
    from PySide6 import QtCore

    scroll.verticalScrollBar().setValue(top.mapTo(scroll.widget(), QtCore.QPoint(0, 0)).y() - 4)
    if turned:
        view = slicer.app.layoutManager().threeDWidget(0).threeDView()
        view.resetFocalPoint()
        view.resetCamera()
        camera = view.cameraNode().GetCamera()
        camera.Azimuth(-35)
        camera.Elevation(15)
        camera.Zoom(1.5)
    host.processEvents()
    path.parent.mkdir(parents=True, exist_ok=True)
    small(host.screenshot()).save(path, optimize=True)


def small(picture: np.ndarray) -> Image.Image:
    """The picture in 30 grays and 226 colors, a third of the size. Each color counts once: a legend keeps its steps."""
    picture = np.ascontiguousarray(picture[..., :3])
    colored = picture[picture.max(axis=-1).astype(int) - picture.min(axis=-1) > 12]
    colors = Image.fromarray(np.unique(colored, axis=0)[np.newaxis]).quantize(226, kmeans=3)
    grays = np.repeat(np.linspace(0, 255, 30).astype(int), 3)
    palette = Image.new("P", (1, 1))
    palette.putpalette([*grays.tolist(), *(colors.getpalette() or [])[: 3 * 226]])
    return Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)

"""The tutorial's pictures of plots: curves, and bars by segment. `python -m Testing.pictures.curves`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from Testing.demo.panel import explain_in
from Testing.pictures.compare import photograph
from Testing.pictures.studio import FOLDER, studio

METHODS = ("LRP (relevance)", "Grad-CAM", "Gradient (saliency)")


def main(folder: Path = FOLDER) -> None:
    """Write both pictures.

    Parameters
    ----------
    folder : Path
        Where they go.
    """
    with studio() as (host, widget):
        desk = widget.desk
        compare, regions, curves = desk.compare.ui, desk.regions.ui, desk.compare.curves.ui
        explain_in(host, widget, "enhancing-ring", METHODS[0], "lesion (together)")
        for method in METHODS[1:]:
            host.clickRow(desk.method.ui.methodTree, method)
            host.click(desk.run.ui.applyButton)
            host.wait(lambda: not widget.logic.busy, 300, "the run does not end")
        host.setCombo(desk.displayPanel.ui.mapSelector, next(iter(desk.compare.maps())).GetName())
        host.click(compare.compareSection)
        host.click(regions.regionsSection)
        host.click(regions.truthButton)
        host.click(desk.displayPanel.ui.peakButton)
        host.click(curves.curvesButton)
        host.wait(lambda: not widget.logic.curves.busy, 300, "the curves do not end")
        lookAtTheLesion(host, desk)
        photograph(host, folder / "tutorial-compare-4.png", compare.compareSection)
        host.click(regions.statisticsButton)
        host.wait(lambda: regions.barsButton.visible, 60, "there are no figures")
        host.click(regions.barsButton)
        lookAtTheLesion(host, desk)
        photograph(host, folder / "tutorial-compare-5.png", regions.regionsSection)


def lookAtTheLesion(host: Any, desk: Any) -> None:
    """Fit the slices to their new sizes, and cut where the map is strongest."""
    import slicer

    host.processEvents()
    slicer.app.layoutManager().resetSliceViews()
    host.click(desk.displayPanel.ui.peakButton)


if __name__ == "__main__":
    main()

"""How long the window cannot answer during real runs: `python -m Testing.panel.measureBlocking [--size N]`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from Testing.panel.blocking import Meter

MODULE = Path(__file__).resolve().parents[2] / "XAIExplain" / "XAIExplain.py"
RUNS = (("Grad-CAM", {}), ("LRP (relevance)", {}), ("Occlusion sensitivity", {"stride": 6}))


def main() -> None:
    """Measure and print the table."""
    options = argparse.ArgumentParser()
    options.add_argument("--size", type=int, default=0, help="voxels along each edge; 0: the bundled case as it is")
    options.add_argument("--profile", default="", help="profile this step's slow turns")
    options.add_argument("--quiet", action="store_true")
    chosen = options.parse_args()
    from Testing.Host import Host

    host = Host(size=(1366, 768), home=tempfile.mkdtemp(prefix="xaiexplain-blocking-"))
    import slicer

    slicer.app.settings().setValue("XAIExplain/Interpreter", sys.executable)
    widget = host.loadModule(MODULE)
    try:
        with Meter(host, "--quiet" not in sys.argv) as meter:
            session(host, widget, meter, chosen.size)
        print(table(meter))
    finally:
        widget.cleanup()
        host.quit()


def session(host: Any, widget: Any, meter: Meter, size: int = 0) -> None:
    """What a user does in half an hour, in a minute."""
    import slicer

    desk = widget.desk
    meter.step = "engine starts"
    meter.wait(lambda: desk.catalog.loaded)
    meter.wait(lambda: desk.model.info is not None)
    meter.step = "load the example"
    case = desk.catalog.cases["enhancing-ring"]
    volume = meter.do(lambda: widget.logic.loadCase(case)) if not size else enlarged(widget.logic.loadCase(case), size)
    desk.parameterNode.inputVolume = volume
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    meter.settle()
    meter.step = "predict"
    host.setCombo(desk.modelPanel.ui.modelComboBox, desk.modelPanel.ui.modelComboBox.itemText(0))
    meter.do(lambda: desk.predict())
    meter.wait(lambda: desk.model.prediction is not None)
    meter.settle()
    for title, parameters in RUNS:
        run(host, desk, meter, title, parameters)
    settings(host, desk, meter)
    sections(host, desk, meter)


def run(host: Any, desk: Any, meter: Meter, title: str, parameters: dict[str, int]) -> None:
    """One run from Apply to the map in the views."""
    meter.step = title + ": choose"
    host.clickRow(desk.method.ui.methodTree, title)
    for name, value in parameters.items():
        for spin in desk.method.form.editors[name].spins:
            spin.setValue(value)
    meter.settle()
    meter.wait(lambda: desk.run.ui.applyButton.enabled)
    meter.step = title + ": Apply"
    meter.do(desk.run.ui.applyButton.click)
    meter.step = title + ": running"
    shown, ended = desk._onPreview, desk._onFinished

    def preview(*arguments: Any) -> None:
        meter.step = title + ": preview"
        shown(*arguments)

    def finish(*arguments: Any) -> None:
        meter.step = title + ": map"
        ended(*arguments)

    desk._onPreview, desk._onFinished = preview, finish
    try:
        meter.wait(lambda: not desk.logic.busy, 300)
    finally:
        desk._onPreview, desk._onFinished = shown, ended
    meter.step = title + ": map"
    meter.settle()
    assert desk.parameterNode.mapVolume is not None, desk.run.ui.messageLabel.text


def settings(host: Any, desk: Any, meter: Meter) -> None:
    """Each control of the display, as a user moves it."""
    ui, surfaces = desk.displayPanel.ui, desk.surfaces.ui
    acts = {
        "opacity": lambda: setattr(ui.opacitySlider, "value", 0.45),
        "hide weakest": lambda: setattr(ui.hiddenSlider, "value", 80.0),
        "relevance": lambda: ui.thresholdComboBox.setCurrentIndex(1),
        "percentile": lambda: ui.thresholdComboBox.setCurrentIndex(0),
        "alone": ui.aloneButton.click,
        "hide": ui.hideButton.click,
        "over": ui.overButton.click,
        "peak": ui.peakButton.click,
        "fading": ui.fadingCheckBox.click,
        "legend": ui.legendCheckBox.click,
        "contours": surfaces.linesCheckBox.click,
        "surfaces": surfaces.surfacesCheckBox.click,
        "anatomy": surfaces.anatomyCheckBox.click,
        "volume rendering": ui.renderCheckBox.click,
        "contours off": surfaces.linesCheckBox.click,
        "restore": ui.restoreButton.click,
    }
    for name, act in acts.items():
        meter.step = "display: " + name
        meter.do(act)
        meter.settle(0.3)
    meter.step = "display: choose a map"
    from XAIExplainPanels import record

    meter.do(lambda: setattr(desk.parameterNode, "mapVolume", record.maps()[0]))
    meter.settle(0.3)


def sections(host: Any, desk: Any, meter: Meter) -> None:
    """Each section opened and closed."""
    for section in everySection(desk):
        meter.step = "open: " + section.text
        meter.do(section.click)
        meter.settle(0.3)
        meter.do(section.click)
        meter.settle(0.2)


def everySection(desk: Any, hidden: bool = False) -> list[Any]:
    """The collapsible sections; those that are not to be seen now only where they are wanted."""
    import ctk

    found = [child for panel in desk.panels for child in panel.widget.findChildren(ctk.ctkCollapsibleButton)]
    found += [panel.widget for panel in desk.panels if isinstance(panel.widget, ctk.ctkCollapsibleButton)]
    return [section for section in found if hidden or section.isVisible()]


def enlarged(volume: Any, size: int) -> Any:
    """The case with more voxels, as a clinical scan has."""
    import numpy as np
    import slicer
    from scipy import ndimage

    array = slicer.util.arrayFromVolume(volume)
    factors = [size / n for n in array.shape]
    large = ndimage.zoom(array.astype(np.float32), factors, order=1)
    matrix = slicer.util.vtkMatrixFromArray(np.eye(4))
    volume.GetIJKToRASMatrix(matrix)
    affine = slicer.util.arrayFromVTKMatrix(matrix) @ np.diag([*(1 / f for f in factors[::-1]), 1.0])
    return slicer.util.addVolumeFromArray(large.astype(np.int16), affine, "large")


def table(meter: Meter) -> str:
    """The longest turns, step by step, in milliseconds."""
    lines = ["| step | longest turn | of it drawing | own | own, processor | by whom |", "|---|---|---|---|---|---|"]
    for step in meter.steps():
        turn, worst = meter.longest(step, "own"), meter.longest(step, "wall")
        lines.append(f"| {step} | {worst.wall * 1e3:.0f} | {worst.draw * 1e3:.0f} | {turn.own * 1e3:.0f} | "
                     f"{meter.longest(step).busy * 1e3:.0f} | {turn.whom} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

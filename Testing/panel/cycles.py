"""A user's day in minutes, and what grows in it: `python -m Testing.panel.cycles`.

Explain, cancel, compare, report, close, open, reload.

Each cycle is one of a few kinds in turn, with all sections open. After each, the scene is closed and all is counted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from Testing.panel import leaks

KINDS = ("explain", "cancel", "explain and close in the middle", "compare", "segments and report", "save and open",
         "reload")  # fmt: skip


class Cycles:
    """Goes through the kinds of cycles.

    Parameters
    ----------
    panel : Panel
        The module in the host.
    folder : Path
        For saved scenes and reports.
    real : bool
        Whether the engine is the real one, on the bundled case.
    """

    def __init__(self, panel: Any, folder: Path, real: bool = False) -> None:
        self.panel, self.folder, self.real = panel, folder, real
        self.counts: list[dict[str, int]] = []
        self.rss: list[int] = []
        self.output: Path | None = None  # where all figures go, after each cycle
        self.methods = ("Grad-CAM", "Occlusion sensitivity" if real else "Occlusion")

    def run(self, count: int, warm: int = 7) -> None:
        """Do `warm` cycles that are not counted, and `count` that are."""
        for number in range(-warm, count):
            self.cycle(KINDS[number % len(KINDS)])
            self.panel.host.assertNoErrors()
            if number >= -1:
                self.counts.append(leaks.census(self.panel))
                self.rss.append(leaks.memory())
                if self.output is not None:
                    self.output.write_text(json.dumps({"rss": self.rss, "counts": self.counts}))

    def grown(self) -> dict[str, tuple[int, int]]:
        """What there was more of at the end of the last round of kinds than in the first: before and after."""
        rounds = len(KINDS)
        first, last = self.counts[:rounds], self.counts[-rounds:]
        found = {}
        for name in self.counts[0]:
            before, after = max(count[name] for count in first), max(count[name] for count in last)
            if after > before:
                found[name] = (before, after)
        return found

    def growth(self) -> float:
        """Bytes of resident memory that a cycle adds."""
        return leaks.slope(self.rss)

    def cycle(self, kind: str) -> None:
        """One cycle, from an empty scene to an empty scene."""
        panel = self.panel
        if kind == "reload":
            panel.host.reloadModule()
        self.openSections()
        self.volume()
        if kind == "cancel":
            self.cancelled()
        elif kind == "explain and close in the middle":
            self.begin()
            panel.host.closeScene()
        else:
            self.explained(self.methods[0])
        if kind in ("compare", "segments and report"):
            self.explained(self.methods[1])
            getattr(self, {"compare": "compared"}.get(kind, "reported"))()
        if kind == "save and open":
            panel.host.saveScene(self.folder / "cycle.mrb")
            panel.host.loadScene(self.folder / "cycle.mrb")
        panel.order("")
        panel.wait(lambda: not panel.logic.busy, "no end", 120)
        panel.host.closeScene()
        panel.wait(lambda: not panel.logic.engine.client.busy, "the engine is not done", 120)

    def openSections(self) -> None:
        from Testing.panel.measureBlocking import everySection

        for section in everySection(self.panel.desk, hidden=True):
            section.collapsed = False
        self.panel.host.processEvents()

    def volume(self) -> None:
        panel = self.panel
        panel.wait(lambda: panel.desk.catalog.loaded and panel.desk.model.info is not None, "no engine", 120)
        if self.real:
            panel.logic.loadCase(panel.desk.catalog.cases["enhancing-ring"])
            panel.desk.chooseFirstVolume()
            panel.host.processEvents()
        else:
            panel.addVolume()
        panel.node.renderedIn3D = panel.node.contourLines = panel.node.fading = True

    def begin(self) -> None:
        """An occlusion whose first preview is shown."""
        panel = self.panel
        panel.order("previews")
        panel.chooseMethod(self.methods[1])
        panel.press()
        panel.wait(lambda: panel.node.mapVolume is not None, "no preview", 120)

    def cancelled(self) -> None:
        self.begin()
        self.panel.host.click(self.panel.desk.run.ui.applyButton)
        self.panel.wait(lambda: not self.panel.logic.busy, "cancel does not end the run", 60)
        assert self.panel.node.mapVolume is None

    def explained(self, title: str) -> None:
        panel = self.panel
        panel.chooseMethod(title)
        if self.real and title != "Grad-CAM":
            for spin in panel.desk.method.form.editors["stride"].spins:
                spin.setValue(16)
        panel.press()
        panel.wait(lambda: not panel.logic.busy, "the run does not end", 300)
        assert panel.node.mapVolume is not None, panel.message
        panel.wait(lambda: not panel.logic.display.pending, "surfaces are not made", 60)

    def compared(self) -> None:
        import qt

        compare = self.panel.desk.compare
        for row in range(compare.ui.mapList.count):
            compare.ui.mapList.item(row).setCheckState(qt.Qt.Checked)
        self.panel.host.click(compare.ui.compareButton)
        self.panel.host.click(compare.ui.backButton)

    def reported(self) -> None:
        import slicer

        mapNode, volume = self.panel.node.mapVolume, self.panel.node.inputVolume
        segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segments")
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        segmentID = segmentation.GetSegmentation().AddEmptySegment("half")
        array = slicer.util.arrayFromVolume(volume)
        mask = (array > array.mean()).astype("uint8")
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, segmentID, volume)
        self.panel.node.segmentation = segmentation
        self.panel.host.processEvents()
        self.panel.logic.reporter.write(str(self.folder / "report.html"), [mapNode])


def main() -> None:
    """Go through many cycles and print the figures."""
    options = argparse.ArgumentParser()
    options.add_argument("--cycles", type=int, default=100)
    options.add_argument("--real", action="store_true", help="with the real engine, on the bundled case")
    options.add_argument("--output", type=Path, help="a JSON with all figures")
    chosen = options.parse_args()
    from Testing.Host import Host
    from Testing.panel.driver import Panel

    folder = Path(tempfile.mkdtemp(prefix="cycles-"))
    host = Host(size=(1366, 768), home=str(folder / "host"))
    panel = Panel(host, folder)
    if chosen.real:
        panel.useInterpreter(sys.executable)
        panel.desk.restartEngine()
        panel.order = lambda mode: None  # type: ignore[method-assign]
    began = time.time()
    cycles = Cycles(panel, folder, chosen.real)
    cycles.output = chosen.output
    try:
        cycles.run(chosen.cycles)
    finally:
        panel.widget.cleanup()
    print(f"{chosen.cycles} cycles in {time.time() - began:.0f} s")
    print("grown:", cycles.grown())
    print(f"memory: {cycles.rss[0] / 2**20:.0f} to {cycles.rss[-1] / 2**20:.0f} MiB, "
          f"{cycles.growth() / 1024:.0f} KiB a cycle")
    print("last:", cycles.counts[-1])
    host.quit()


if __name__ == "__main__":
    main()

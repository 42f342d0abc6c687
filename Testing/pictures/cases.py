"""The tutorial's pictures of lists of cases and of sequences. `python -m Testing.pictures.cases`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from Testing.pictures.compare import few_colors, photograph
from Testing.pictures.studio import FOLDER, studio

CASES = Path(__file__).resolve().parents[2] / "Resources" / "cases"
UPTAKE = (0.0, 0.2, 0.4, 0.7, 1.0)


def main(folder: Path = FOLDER) -> None:
    """Write the four pictures.

    Parameters
    ----------
    folder : Path
        Where they go.
    """
    home = Path(tempfile.mkdtemp(prefix="xaiexplain-pictures-"))
    with studio(home) as (host, widget):
        import slicer

        desk = widget.desk
        ui, queue = desk.cases.ui, widget.logic.queue
        host.wait(lambda: desk.model.info is not None or desk.engineError(), 120, "the engine does not start")
        host.clickRow(desk.method.ui.methodTree, "LRP (relevance)")
        combo = desk.target.ui.targetComboBox
        host.setCombo(combo, next(combo.itemText(row) for row in range(combo.count) if "lesion" in combo.itemText(row)))
        desk.parameterNode.hiddenPercent = 95
        desk.parameterNode.renderedIn3D = desk.parameterNode.anatomyIn3D = True
        # 1: it runs; a case that is done is looked at meanwhile
        paths = []
        for name in ("enhancing-ring", "infarct", "oblique-thick-slices", "healthy", "shortcut-marker"):
            paths.append(home / f"{name}.nii.gz")
            paths[-1].write_bytes((CASES / name / "image.nii.gz").read_bytes())
        paths.insert(2, home / "half-copied.nii.gz")
        paths[2].write_bytes(paths[0].read_bytes()[:60000])
        host.click(ui.casesSection)
        host.answers.openFile = [[str(path) for path in paths]]
        host.click(ui.addFilesButton)
        host.wait(lambda: ui.runAllButton.enabled, 60, ui.runAllButton.toolTip)
        host.click(ui.runAllButton)
        host.wait(lambda: queue.place[0] > 2 or not queue.running, 300, "the list does not go on")
        host.clickRow(ui.caseTree, "enhancing-ring")
        host.click(ui.showCaseButton)
        host.wait(lambda: queue.place[0] > 3 and queue.running, 300, "the list does not go on")
        photograph(host, folder / "tutorial-cases-1.png", ui.casesSection)
        # 2: it is done
        host.wait(lambda: not queue.running, 300, "the list does not end")
        host.clickRow(ui.caseTree, "infarct")
        host.click(ui.showCaseButton)
        host.wait(lambda: not desk.logic.display.pending, 30, "it is not drawn")
        photograph(host, folder / "tutorial-cases-2.png", ui.casesSection)
        # 3: a sequence
        queue.remove(list(queue.cases))
        volume = uptake()
        desk.parameterNode.inputVolume = volume
        host.processEvents()
        host.click(ui.addSequenceButton)
        host.click(ui.runAllButton)
        host.wait(lambda: not queue.running, 300, "the sequence does not end")
        browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(volume)
        browser.SetSelectedItemNumber(len(UPTAKE) - 1)
        host.clickRow(ui.caseTree, "uptake")
        host.click(ui.showCaseButton)
        photograph(host, folder / "tutorial-cases-3.png", ui.casesSection)
        # 4: its frames
        views = []
        for frame, outcome in enumerate(queue.cases[0].outcomes):
            browser.SetSelectedItemNumber(frame)
            host.wait(lambda: not desk.logic.display.pending, 30, "it is not drawn")
            views.append((host.captureView("Red"), browser.GetMasterSequenceNode().GetNthIndexValue(frame), outcome))
        few_colors(np.asarray(strip(views))).save(folder / "tutorial-cases-4.png", optimize=True)


def uptake() -> Any:
    """A lesion that takes up more contrast from frame to frame: between a case and its twin without the lesion."""
    import slicer

    lesion, twin = (
        slicer.util.loadVolume(str(CASES / "enhancing-ring" / f"{name}.nii.gz"), {"show": False})
        for name in ("image", "twin"))
    arrays = [np.array(slicer.util.arrayFromVolume(node)).astype(float) for node in (twin, lesion)]
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "uptake frames")
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("min")
    for minutes, share in enumerate(UPTAKE):
        node = slicer.vtkMRMLScalarVolumeNode()
        node.CopyOrientation(lesion)
        slicer.util.updateVolumeFromArray(node, np.round(arrays[0] + share * (arrays[1] - arrays[0])).astype(np.uint8))
        sequence.SetDataNodeAtValue(node, str(minutes))
    for node in (lesion, twin):
        slicer.mrmlScene.RemoveNode(node)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "uptake browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    volume = browser.GetProxyNode(sequence)
    volume.SetName("uptake")
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevelMinMax(0, 150)
    return volume


def strip(views: list[Any], width: int = 260) -> Image.Image:
    """The views beside one another, each with its time and the network's answer.

    Parameters
    ----------
    views : list of (numpy.ndarray, str, Outcome)
        Pixels (height, width, 3), the time, and what the network said.
    width : int
        Of each, in pixels.
    """
    height = 300
    picture = Image.new("RGB", (len(views) * width + (len(views) - 1) * 4, height + 40), "white")
    draw = ImageDraw.Draw(picture)
    for place, (pixels, time, outcome) in enumerate(views):
        view = Image.fromarray(pixels[26:])
        # The middle of the view: the legend at its right is the same in all.
        side = min(view.height - 40, view.width)
        across = int(side * width / height)
        left = (view.width - across) // 2
        view = view.crop((left, 0, left + across, side)).resize((width, height), Image.Resampling.LANCZOS)
        picture.paste(view, (place * (width + 4), 40))
        words = f"{time} min: {outcome.answer} {100 * (outcome.probability or 0):.0f} %"
        draw.text((place * (width + 4) + 6, 12), words, fill="black", font_size=16)
    return picture


if __name__ == "__main__":
    main()

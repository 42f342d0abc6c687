"""Reports and saved scenes: what they hold, and that the user's views are as they were."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.panel.driver import colored

SECRET = "Mueller_Anna_1950"
VIEWS = ("Red", "Yellow", "Green", "1")


def shown(panel: Any, method: str = "Grad-CAM") -> Any:
    """A map of a volume whose name is a person's, seen in the views."""
    panel.addVolume(SECRET)
    panel.chooseMethod(method)
    return panel.apply()


def saved(panel: Any, path: Path, button: str = "htmlButton") -> Path:
    ui = panel.desk.report.ui
    ui.reportSection.collapsed = False
    panel.host.answers.saveFile = str(path)
    panel.host.click(getattr(ui, button))
    return path


def pictures(text: str) -> list[np.ndarray]:
    """The views in a page: all embedded pictures that are larger than bars and scales."""
    from PySide6 import QtGui

    found = []
    for code in re.findall(r'src="data:image/png;base64,([^"]*)"', text):
        image = QtGui.QImage.fromData(base64.b64decode(code)).convertToFormat(QtGui.QImage.Format_RGB888)
        rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
        array = rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).astype(int)
        if image.height() > 50:
            found.append(array)
    return found


def state(panel: Any) -> list[Any]:
    """All of the scene that a report may have touched, and what the views show."""
    import slicer

    nodes = []
    for index in range(slicer.mrmlScene.GetNumberOfNodes()):
        node = slicer.mrmlScene.GetNthNode(index)
        facts: list[Any] = [node.GetID()]
        if node.IsA("vtkMRMLSliceNode"):
            toRAS = node.GetSliceToRAS()
            facts += [round(toRAS.GetElement(row, column), 4) for row in range(3) for column in range(4)]
            facts += [round(size, 3) for size in (*node.GetFieldOfView()[:2], *node.GetXYZOrigin())]
        if node.IsA("vtkMRMLSliceCompositeNode"):
            facts += [node.GetBackgroundVolumeID(), node.GetForegroundVolumeID(), node.GetForegroundOpacity()]
        if node.IsA("vtkMRMLDisplayNode"):
            facts += [node.GetVisibility(), node.GetVisibility2D(), node.GetVisibility3D()]
        if node.IsA("vtkMRMLViewNode"):
            facts += [*node.GetBackgroundColor(), *node.GetBackgroundColor2()]
        if node.IsA("vtkMRMLCameraNode"):
            facts += [round(at, 3) for at in (*node.GetPosition(), *node.GetFocalPoint(), *node.GetViewUp())]
        nodes.append(tuple(facts))
    return [slicer.app.layoutManager().layout, *nodes]


def test_page_by_clicks_stands_alone_and_names_nobody(panel: Any, tmp_path: Path) -> None:
    shown(panel)
    ui = panel.desk.report.ui
    panel.host.click(ui.reportSection)
    panel.host.type(ui.caseEdit, "Case 7 <ring>")
    ui.notesEdit.setPlainText("Seen by two readers.")
    path = saved(panel, tmp_path / "page")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not path.exists()
    assert set(re.findall(r'(?:src|href)="([^"]{5})', text)) == {"data:"}
    assert not re.search(r"https?://", text)
    for words in (
        "Case 7 &lt;ring&gt;", "Why did the network answer enhancing? Grad-CAM", "80 %", "14 x 12", "Seen by two",
        "score is 2", "add up to the score", "It took 0.1 s", "It is coarse.",
        "It is a test.", "Nobody, Journal, 2020", "102470", "Not for diagnosis", "PyTorch", "9.9", "3.12.10",
        "chosen by the method", "brain-lesion", "@page",
    ):  # fmt: skip
        assert words in text, words
    assert SECRET not in text
    assert str(tmp_path) not in text
    assert panel.desk.report.ui.writtenLabel.visible
    assert "page.html" in panel.desk.report.ui.writtenLabel.text


def test_pictures_cut_through_the_peak_with_the_map_over_the_volume(panel: Any, tmp_path: Path) -> None:
    shown(panel)
    text = saved(panel, tmp_path / "page.html").read_text(encoding="utf-8")
    views = pictures(text)
    assert len(views) == 4
    assert "Axial, S 9.0 mm" in text  # voxel 3 of 3 mm
    for picture in views[:3]:
        assert picture.shape[0] == picture.shape[1]
        assert colored(picture) > 100
        size = picture.shape[0]
        rows, columns = np.nonzero(picture.max(axis=-1) - picture.min(axis=-1) > 40)
        assert rows.size
        assert abs(rows.mean() - size / 2) < size / 2
        assert abs(columns.mean() - size / 2) < size / 2
    # The bright spot is on the right of voxel 8 of 16 along R, and so on the left of an axial picture; in front, above.
    axial = views[0]
    rows, columns = np.nonzero(axial.max(axis=-1) - axial.min(axis=-1) > 40)
    assert columns.mean() < axial.shape[1] / 2
    assert rows.mean() < axial.shape[0] / 2
    assert colored(views[3]) > 20


def test_signed_map_has_a_scale_with_both_signs(panel: Any) -> None:
    from XAIExplainPanels.report import legend

    node = shown(panel, "Occlusion")
    found = legend(node)
    assert float(found["low"]) == -float(found["high"])
    assert found["units"] == "score"
    words = panel.logic.reporter.describe(node)["words"]
    assert any("against it" in sentence for sentence in words)


@pytest.mark.parametrize("layout", ["FourUpView", "OneUpRedSliceView", "Conventional"])
@pytest.mark.parametrize("mode", ["overButton", "aloneButton", "hideButton"])
def test_views_are_left_as_they_were(panel: Any, tmp_path: Path, layout: str, mode: str) -> None:
    import slicer

    if layout != "FourUpView" and mode == "aloneButton":
        pytest.skip("seen in four views")
    shown(panel)
    manager = slicer.app.layoutManager()
    layouts = {"FourUpView": 3, "OneUpRedSliceView": 6, "Conventional": 2}
    manager.setLayout(layouts[layout])
    panel.host.click(getattr(panel.desk.displayPanel.ui, mode))
    red = manager.sliceWidget("Red").mrmlSliceNode()
    red.SetFieldOfView(31.0, 27.0, 1.0)
    red.SetXYZOrigin(4.0, -3.0, 0.0)
    red.JumpSliceByOffsetting(5, 6, 15)
    panel.host.processEvents()
    saved(panel, tmp_path / "page.html")  # VTK lays a color legend out anew in a later picture of a new size
    before, pixels = state(panel), panel.host.captureView("Red")
    try:
        saved(panel, tmp_path / "page.html")
        assert state(panel) == before
        np.testing.assert_array_equal(panel.host.captureView("Red"), pixels)
    finally:
        manager.setLayout(3)
        panel.host.processEvents()


def test_what_was_counted_of_the_map_is_on_its_page_and_no_name_of_a_node(panel: Any, tmp_path: Path) -> None:
    import slicer
    import vtk
    from XAIExplainPanels import regions, tables

    from Testing.panel.test_module_regions import segmentation

    node, volume = shown(panel), panel.node.inputVolume
    array = slicer.util.arrayFromVolume(node)
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    inside = np.zeros(array.shape, bool)
    inside[2:6, 7:12, 9:14] = True
    atlas = segmentation({"rim": inside}, slicer.util.arrayFromVTKMatrix(matrix))
    atlas.SetName(SECRET + " atlas")
    panel.logic.regions.statistics([node], atlas)
    tables.tableNode(regions.METRICS, SECRET + " against", [node], ["Result", "Mass inside", "Best Dice"],
                     [["Grad-CAM", 0.6543, 0.4321], ["(chance)", 0.0123, 0.0234]])
    text = saved(panel, tmp_path / "page.html").read_text(encoding="utf-8")
    assert SECRET not in text
    share = 100 * np.abs(array[inside]).sum() / np.abs(array).sum()
    for words in ("By segment", "rim", "(elsewhere)", f"{share:.3g}", "Against a segment", "This map", "0.654", "0.432",
                  "Chance", "0.012"):  # fmt: skip
        assert words in text, words


def test_two_maps_make_two_sheets(panel: Any, tmp_path: Path) -> None:
    shown(panel)
    panel.chooseMethod("Occlusion")
    panel.apply()
    ui = panel.desk.report.ui
    ui.reportSection.collapsed = False
    from PySide6 import QtCore

    assert ui.reportList.count == 2
    assert [ui.reportList.item(row).checkState() for row in (0, 1)] == [QtCore.Qt.Unchecked, QtCore.Qt.Checked]
    ui.reportList.item(0).setCheckState(QtCore.Qt.Checked)
    panel.host.click(ui.reportIn3DCheckBox)
    before = state(panel)
    text = saved(panel, tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count('<div class="page">') == 2
    assert len(pictures(text)) == 6
    data = saved(panel, tmp_path / "page.pdf", "pdfButton").read_bytes()
    assert state(panel) == before
    assert data.startswith(b"%PDF")
    assert len(re.findall(rb"/Type /Page\b", data)) == 2
    boxes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", data)
    assert {(round(float(width)), round(float(height))) for width, height in boxes} == {(595, 842)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "page.pdf"]


def test_a_page_has_no_legend_of_another_map(panel: Any, tmp_path: Path) -> None:
    first = shown(panel, "Gradient")
    alone = panel.logic.reporter.write(str(tmp_path / "alone.html"), [first], in3D=False)
    panel.chooseMethod("Grad-CAM")
    panel.apply()  # is shown now, with its legend
    beside = panel.logic.reporter.write(str(tmp_path / "beside.html"), [first], in3D=False)
    for wanted, found in zip(*(pictures(Path(path).read_text()) for path in (alone, beside)), strict=True):
        assert (wanted == found).all()


def test_a_page_for_the_printer_fits_a_sheet(panel: Any) -> None:
    from XAIExplainPanels import printing, reportPage

    node = shown(panel)
    page = panel.logic.reporter.describe(node, notes="\n".join(["A long note."] * 5))
    document = printing.layOut(reportPage.document([reportPage.page(page)], "title", forPrinter=True))
    assert document.size.width() <= reportPage.WIDTH
    assert document.size.height() < reportPage.WIDTH * 297 / 210


def test_nothing_ticked_or_a_run_disables_the_buttons_with_a_reason(panel: Any) -> None:
    from PySide6 import QtCore

    shown(panel)
    ui = panel.desk.report.ui
    ui.reportSection.collapsed = False
    ui.reportList.item(0).setCheckState(QtCore.Qt.Unchecked)
    assert not ui.htmlButton.enabled
    assert "Tick" in ui.htmlButton.toolTip
    ui.reportList.item(0).setCheckState(QtCore.Qt.Checked)
    assert ui.htmlButton.enabled
    panel.order("slow")
    panel.press()
    panel.wait(lambda: not ui.pdfButton.enabled, "the run is not noticed")
    assert "Wait" in ui.pdfButton.toolTip
    panel.host.click(panel.desk.run.ui.applyButton)
    panel.wait(lambda: not panel.logic.busy, "no end")
    assert ui.pdfButton.enabled


def test_maps_that_go_leave_the_list(panel: Any) -> None:
    import slicer

    node = shown(panel)
    assert panel.desk.report.ui.reportList.count == 1
    slicer.mrmlScene.RemoveNode(node)
    panel.host.processEvents()
    assert not panel.desk.report.widget.visible
    shown(panel)
    panel.host.closeScene()
    assert not panel.desk.report.widget.visible


def test_what_cannot_be_written_is_a_sentence_and_leaves_nothing(panel: Any, tmp_path: Path) -> None:
    from XAIExplainLib.errors import XAIError

    node = shown(panel)
    panel.host.answers.saveFile = ""
    panel.desk.report.ui.reportSection.collapsed = False
    panel.host.click(panel.desk.report.ui.htmlButton)  # cancelled in the dialog
    assert not panel.desk.report.ui.writtenLabel.visible
    saved(panel, tmp_path / "missing" / "page.html")
    assert "could not be written" in panel.message
    assert "Choose another folder" in panel.message
    (tmp_path / "folder.pdf").mkdir()
    saved(panel, tmp_path / "folder.pdf", "pdfButton")
    assert "could not be written" in panel.message
    assert [path.name for path in tmp_path.iterdir()] == ["folder.pdf"]
    with pytest.raises(XAIError, match="no map"):
        panel.logic.reporter.write(str(tmp_path / "x.html"), [])
    with pytest.raises(XAIError, match="ends in"):
        panel.logic.reporter.write(str(tmp_path / "x.doc"), [node])
    saved(panel, tmp_path / "missing" / "scene.mrb", "sceneButton")
    assert "could not be saved" in panel.message
    assert any("WriteToMRB" in str(error) for error in panel.host.vtkErrors)
    panel.host.vtkErrors.clear()  # MRML's own word of it


def test_map_that_is_zero_everywhere_says_so(panel: Any, tmp_path: Path) -> None:
    import slicer

    node = shown(panel)
    slicer.util.arrayFromVolume(node)[:] = 0
    slicer.util.arrayFromVolumeModified(node)
    text = saved(panel, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "zero everywhere" in text
    assert len(pictures(text)) == 3


def test_saved_scene_opens_to_the_same_picture(panel: Any, tmp_path: Path) -> None:
    import slicer

    shown(panel, "Occlusion")
    display = panel.desk.displayPanel.ui
    display.opacitySlider.value = 0.45
    display.hiddenSlider.value = 80.0
    panel.host.click(display.renderCheckBox)
    panel.wait(lambda: not panel.logic.display.pending, "nothing is rendered")
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    red.JumpSliceByOffsetting(20, 20, 12)
    panel.host.processEvents()
    before = {name: panel.host.captureView(name).astype(int) for name in VIEWS}
    saved(panel, tmp_path / "scene.mrb", "sceneButton")
    assert panel.desk.report.ui.writtenLabel.visible
    panel.host.loadScene(tmp_path / "scene.mrb")
    panel.host.processEvents()
    for name in VIEWS:
        after = panel.host.captureView(name).astype(int)
        assert after.shape == before[name].shape
        assert colored(before[name]) > 30, name
        # Not to the bit: colors go through a file of eight bits.
        assert np.abs(after - before[name]).max() <= 3 or (np.abs(after - before[name]) > 3).mean() < 0.002, name
    assert panel.node.mapVolume.GetAttribute("XAIExplain.Title") == "Occlusion"
    text = saved(panel, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Why did the network answer enhancing? Occlusion" in text


def test_no_surface_stays_where_two_maps_explain_a_volume(panel: Any, tmp_path: Path) -> None:
    import slicer

    first = shown(panel)
    panel.chooseMethod("Gradient")
    second = panel.apply()
    nodes = panel.count()
    surfaces = {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLModelNode")}
    panel.logic.reporter.write(str(tmp_path / "report.html"), [first, second])
    panel.host.processEvents()
    assert {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLModelNode")} == surfaces
    assert panel.count() == nodes

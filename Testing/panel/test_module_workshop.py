"""The guide of the workshop: what it shows, checks, keeps and leaves alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def guide(panel: Any) -> Iterator[Any]:
    """The guide, just started."""
    start(panel)
    yield panel.desk.guide
    panel.desk.workshop.ui.workshopSection.collapsed = True
    for part in (panel.desk.compare.ui.compareSection, panel.desk.regions.ui.regionsSection,
                 panel.desk.report.ui.reportSection):  # fmt: skip
        part.collapsed = True


def start(panel: Any) -> None:
    section = panel.desk.workshop.ui.workshopSection
    if section.collapsed:
        panel.host.click(section)
    panel.host.click(panel.desk.workshop.ui.startButton)


def note(panel: Any, text: str) -> None:
    from PySide6 import QtTest

    panel.desk.guide.ui.notesEdit.setFocus()
    QtTest.QTest.keyClicks(panel.desk.guide.ui.notesEdit, text)
    panel.host.processEvents()


def plain(label: Any) -> str:
    return re.sub(r"<[^>]*>", "", label.text).strip()


def test_nothing_of_it_is_seen_before_it_is_started(panel: Any) -> None:
    assert not panel.desk.guide.widget.visible
    assert not panel.logic.workshop.begun
    assert panel.desk.workshop.ui.startButton.text == "Start the workshop"


def test_a_step_says_what_is_missing_and_is_ticked_when_it_is_done(panel: Any, guide: Any) -> None:
    import slicer

    assert guide.ui.guideSection.text == "Workshop: step 1 of 15"
    assert "To do: Load the example" in plain(guide.ui.stateLabel)
    assert panel.logic.workshop.done == []
    volume = panel.addVolume("somebody's own")
    assert "To do" in plain(guide.ui.stateLabel)
    volume.SetAttribute("XAIExplain.Case", "enhancing-ring")
    panel.desk.refresh()
    assert "Done" in plain(guide.ui.stateLabel)
    assert panel.logic.workshop.done == ["load"]
    slicer.mrmlScene.RemoveNode(volume)
    panel.host.processEvents()
    assert "Done" in plain(guide.ui.stateLabel)  # what was done stays done


def test_next_and_the_dots_move_and_tick_nothing(panel: Any, guide: Any) -> None:
    assert not guide.ui.previousButton.enabled
    for _ in range(20):
        if guide.ui.nextButton.enabled:
            panel.host.click(guide.ui.nextButton)
    assert guide.ui.guideSection.text == "Workshop: step 15 of 15"
    guide.ui.dotsLabel.linkActivated.emit("occlusion")
    panel.host.processEvents()
    assert guide.ui.guideSection.text == "Workshop: step 4 of 15"
    assert panel.logic.workshop.done == []
    panel.host.click(guide.ui.previousButton)
    assert panel.node.workshopStep == "grad_cam"
    signs = re.findall(r">([^<>&]+)</a>", guide.ui.dotsLabel.text)
    assert len(signs) == 15
    assert signs[2] == "\u25cf"


def test_the_answer_is_hidden_until_it_is_asked_for_and_in_each_new_step(panel: Any, guide: Any) -> None:
    assert not guide.ui.answerLabel.visible
    panel.host.click(guide.ui.answerButton)
    assert guide.ui.answerLabel.visible
    assert "28 mm" in plain(guide.ui.answerLabel)
    panel.host.click(guide.ui.nextButton)
    assert not guide.ui.answerLabel.visible
    assert guide.ui.answerButton.text == "Show answer"


def test_take_me_there_opens_and_scrolls_and_does_not_do_the_step(panel: Any, guide: Any) -> None:
    panel.addVolume()
    panel.apply()
    panel.desk.compare.ui.compareSection.collapsed = True
    guide.ui.dotsLabel.linkActivated.emit("compare")
    panel.host.processEvents()
    nodes, node = panel.count(), panel.node.parameterNode
    before = {name: node.GetParameter(name) for name in node.GetParameterNames()}
    panel.host.click(guide.ui.placeButton)
    area = panel.host.window.modulePanel().scrollArea()
    panel.wait(lambda: 0 <= guide.widget.mapTo(area, area.rect.topLeft()).y() < 40, "the guide is not above")
    assert not panel.desk.compare.ui.compareSection.collapsed
    layout = guide.widget.parent().layout()
    assert layout.indexOf(panel.desk.compare.widget) == layout.indexOf(guide.widget) + 1
    assert panel.count() == nodes
    assert {name: node.GetParameter(name) for name in node.GetParameterNames()} == before
    assert not panel.logic.comparison.active


def test_it_is_left_and_resumed_with_its_notes(panel: Any, guide: Any) -> None:
    panel.host.click(guide.ui.nextButton)
    note(panel, "At the ring.")
    panel.host.click(guide.ui.leaveButton)
    assert not guide.widget.visible
    panel.host.exitModule()
    panel.host.enterModule()
    assert not guide.widget.visible
    assert panel.desk.workshop.ui.startButton.text == "Resume the workshop"
    start(panel)
    assert guide.widget.visible
    assert panel.node.workshopStep == "predict"
    assert guide.ui.notesEdit.toPlainText() == "At the ring."
    panel.host.click(guide.ui.nextButton)
    assert guide.ui.notesEdit.toPlainText() == ""


def test_a_reopened_scene_goes_on_where_it_was(panel: Any, guide: Any, tmp_path: Path) -> None:
    volume = panel.addVolume()
    volume.SetAttribute("XAIExplain.Case", "enhancing-ring")
    panel.desk.refresh()
    panel.host.click(guide.ui.nextButton)
    guide.ui.notesEdit.insertPlainText("An \u00e4ccent, \"quotes\" and; more")  # as pasted
    panel.host.saveScene(tmp_path / "lesson.mrb")
    panel.host.closeScene()
    assert not guide.widget.visible
    assert not panel.logic.workshop.begun
    panel.host.loadScene(tmp_path / "lesson.mrb")
    panel.wait(lambda: guide.widget.visible, "the guide does not come back")
    assert panel.logic.workshop.done == ["load"]
    assert panel.node.workshopStep == "predict"
    assert guide.ui.notesEdit.toPlainText() == "An \u00e4ccent, \"quotes\" and; more"


def test_begin_anew_asks_and_forgets_only_the_lesson(panel: Any, guide: Any) -> None:
    panel.addVolume()
    panel.host.click(guide.ui.nextButton)
    note(panel, "x")
    section = panel.desk.workshop.ui.workshopSection
    panel.host.click(section)
    panel.host.answers.confirm = False
    panel.host.click(panel.desk.workshop.ui.anewButton)
    assert panel.logic.workshop.note("predict") == "x"
    panel.host.answers.confirm = True
    panel.host.click(panel.desk.workshop.ui.anewButton)
    assert panel.logic.workshop.note("predict") == ""
    assert guide.ui.guideSection.text == "Workshop: step 1 of 15"
    assert panel.node.inputVolume is not None


@pytest.mark.parametrize("ending", [".html", ".txt"])
def test_notes_are_written_with_their_questions(panel: Any, guide: Any, tmp_path: Path, ending: str) -> None:
    note(panel, "<here> & there")
    panel.host.answers.saveFile = str(tmp_path / ("notes" + ending))
    panel.host.click(guide.ui.saveNotesButton)
    text = (tmp_path / ("notes" + ending)).read_text(encoding="utf-8")
    assert "Where is the lesion?" in text
    assert ("&lt;here&gt; &amp; there" if ending == ".html" else "<here> & there") in text
    assert "Load a case (not done)" in text
    assert text.count("(not done)") == 15


def test_notes_that_cannot_be_written_are_a_sentence(panel: Any, guide: Any, tmp_path: Path) -> None:
    panel.host.answers.saveFile = str(tmp_path / "nowhere" / "notes.html")
    panel.host.click(guide.ui.saveNotesButton)
    assert "could not be written" in panel.message
    panel.host.click(guide.ui.intoReportButton)
    assert "no notes yet" in panel.message
    from XAIExplainLib.errors import XAIError

    with pytest.raises(XAIError, match="html or .txt"):
        panel.logic.workshop.write(str(tmp_path / "notes.doc"))
    with pytest.raises(XAIError, match="no step"):
        panel.logic.workshop.go("lunch")


def test_notes_go_into_the_report_once(panel: Any, guide: Any, tmp_path: Path) -> None:
    panel.addVolume()
    panel.apply()
    panel.node.reportNotes = "My own words."
    note(panel, "There.")
    panel.host.click(guide.ui.intoReportButton)
    panel.host.click(guide.ui.nextButton)
    note(panel, "Here.")
    panel.host.click(guide.ui.intoReportButton)
    assert panel.node.reportNotes.splitlines() == [
        "My own words.", "Workshop", "Load a case: There.", "Read the answer, and say what you expect: Here."]
    notes = panel.node.reportNotes
    panel.logic.reporter.write(str(tmp_path / "report.html"), [panel.node.mapVolume], notes=notes, in3D=False)
    assert "Load a case: There." in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_scene_with_nonsense_in_it_breaks_nothing(panel: Any) -> None:
    panel.node.workshopNotes = "[1, 2"
    panel.node.workshopStep, panel.node.workshopDone = "lunch", "load,,lunch"
    panel.node.workshopActive = True
    panel.host.processEvents()
    assert panel.desk.guide.ui.guideSection.text == "Workshop: step 1 of 15"
    assert panel.logic.workshop.done == ["load"]
    note(panel, "a")
    assert panel.logic.workshop.note("load") == "a"


def test_the_logic_walks_without_the_panel(panel: Any) -> None:
    work = panel.logic.workshop
    work.start()
    assert work.check() == "Load the example \u201cenhancing-ring\u201d."
    panel.addVolume().SetAttribute("XAIExplain.Case", "enhancing-ring")
    assert work.check() == ""
    work.move(1)
    assert work.check() == "Ask the network."
    assert "notes" in work.check(asked="brain-lesion")
    work.setNote("predict", "there")
    assert work.check(asked="brain-lesion") == ""
    work.leave()
    assert work.done == ["load", "predict"]
    assert not work.active


def test_two_models_maps_have_two_names(panel: Any) -> None:
    panel.addVolume()
    first = panel.apply()
    other = panel.logic.explain(panel.node.inputVolume, model="another")
    assert first.GetName() == "head Grad-CAM enhancing"
    assert other.GetName() == "head Grad-CAM enhancing (another)"


def test_pages_are_those_of_the_steps(panel: Any) -> None:
    from Testing.workshop_page import PICTURES, ROOT, pages

    steps = panel.logic.workshop.steps
    for path, text in pages(steps).items():
        assert path.read_text(encoding="utf-8") == text, "run python -m Testing.workshop_page"
    keys = [step.key for step in steps]
    assert len(set(keys)) == len(keys)
    assert set(PICTURES) <= set(keys)
    for key in PICTURES:
        assert (ROOT / "docs" / "images" / f"workshop-{key}.png").is_file()
    assert sum(step.minutes for step in steps) == 60


def test_steps_name_panels_that_there_are(panel: Any) -> None:
    for step in panel.logic.workshop.steps:
        assert all(hasattr(panel.desk, place) for place in step.places), step.key
        assert step.do and step.look and step.question and step.answer

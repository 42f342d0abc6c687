"""A newcomer does every step of the workshop, word by word, with the real engine."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")


@pytest.fixture
def real(loaded: Any) -> Iterator[Any]:
    """The panel with the real engine; afterwards the other tests have their own again."""
    loaded.useInterpreter(sys.executable)
    loaded.desk.restartEngine()
    loaded.wait(lambda: loaded.desk.catalog.loaded or loaded.desk.engineError(), "no engine", 120)
    assert loaded.desk.engineError() is None
    loaded.reset()
    yield loaded
    loaded.host.assertNoErrors()
    loaded.useInterpreter(str(loaded.fake))
    loaded.desk.restartEngine()


def on_screen(panel: Any) -> set[str]:
    """All words of the panel that can be seen: texts of labels and buttons, and what lists and trees offer."""
    from PySide6 import QtWidgets

    found: set[str] = set()
    for widget in panel.host.moduleWidget.parent.findChildren(QtWidgets.QWidget):
        if not widget.isVisible():
            continue
        if isinstance(widget, QtWidgets.QComboBox):
            found |= {widget.itemText(index) for index in range(widget.count)}
        elif isinstance(widget, QtWidgets.QTreeWidget):
            iterator = QtWidgets.QTreeWidgetItemIterator(widget)
            while iterator.value():
                found.add(iterator.value().text(0))
                iterator += 1
        elif hasattr(widget, "text") and isinstance(widget.text, str):
            found.add(widget.text)
    return {re.sub(r"<[^>]*>", "", text).rstrip(":") for text in found}


def test_a_newcomer_meets_no_step_that_does_not_do_what_the_page_says(real: Any, tmp_path: Path) -> None:
    import slicer
    from XAIExplainPanels import regions, tables

    from Testing.panel.student import Student, share_inside

    panel, work = real, real.logic.workshop
    student = Student(panel.host, tmp_path)
    panel.host.click(panel.desk.workshop.ui.workshopSection)
    panel.host.click(panel.desk.workshop.ui.startButton)
    answers = {}
    for number, step in enumerate(work.steps, 1):
        assert panel.desk.guide.ui.guideSection.text == f"Workshop: step {number} of {len(work.steps)}"
        panel.host.click(panel.desk.guide.ui.placeButton)
        student.settle()
        words: set[str] = set()
        student.watch = lambda words=words: words.update(on_screen(panel))
        assert step.key not in work.done, step.key
        assert "To do" in panel.desk.guide.ui.stateLabel.text, step.key
        student.do(step.key)
        student.watch()
        assert step.key in work.done, f"{step.key}: {panel.desk.guide.ui.stateLabel.text}"
        assert "Done" in panel.desk.guide.ui.stateLabel.text, step.key
        for sentence in step.do:
            for phrase in re.findall(r"<b>(.*?)</b>", sentence):
                assert any(word == phrase or word.startswith(phrase + ": ") for word in words), (step.key, phrase)
        answers[step.key] = panel.desk.modelPanel.ui.answerLabel.text
        if panel.desk.guide.ui.nextButton.enabled:
            panel.host.click(panel.desk.guide.ui.nextButton)
    assert work.done == [step.key for step in work.steps]
    # What the texts say is so.
    maps = {(node.GetAttribute("XAIExplain.Model"), node.GetAttribute("XAIExplain.Method")): node
            for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if node.GetAttribute("XAIExplain.Model")}
    assert len(maps) == 7
    truth = {node.GetSegmentation().GetNthSegment(0).GetName(): node
             for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")}
    texts = {step.key: " ".join([step.look, step.question, step.answer]) for step in work.steps}
    lrp = share_inside(maps["brain-lesion", "lrp"], truth["lesion"])
    assert f"{100 * lrp:.0f} % of what speaks for" in texts["lrp"]
    assert f"{100 * share_inside(maps['brain-lesion', 'grad_cam'], truth['lesion']):.0f} % lies" in texts["grad_cam"]
    (metrics,) = [tables.rowsOf(node)[1] for node in tables.tables() if node.GetAttribute(tables.KIND) == "metrics"]
    rows = {str(row[0]): row[1:] for row in metrics}
    trained, random = (rows[f"Guided backpropagation, {name}"] for name in ("brain-lesion", "brain-lesion-random"))
    assert trained[1] == random[1] == 1
    assert f"{random[0]:.2f} against {trained[0]:.2f}" in texts["truth"]
    assert f"{random[2]:.2f} against {trained[2]:.2f}" in texts["truth"]
    assert 80 < random[2] / rows["(chance)"][2] < 120
    (counted,) = [tables.rowsOf(node)[1] for node in tables.tables() if node.GetAttribute(tables.KIND) == regions.KIND]
    shares = [row[3] for row in counted if row[1] == "marker"]
    assert f"{shares[0]:.0f} % of LRP, {shares[1]:.1f} % of Grad-CAM" in texts["marker"]
    assert "enhancing" in answers["random"] and "healthy" in answers["trial"]
    assert "healthy" not in answers["shortcut"]
    # The outline of one case does not lie over another.
    assert not truth["lesion"].GetDisplayNode().GetVisibility()
    assert truth["marker"].GetDisplayNode().GetVisibility()
    text = (tmp_path / "workshop.html").read_text(encoding="utf-8")
    assert "LRP told me where the capsule is." in text
    # The guide resumes in the scene as it was saved.
    panel.host.saveScene(tmp_path / "lesson.mrb")
    panel.host.loadScene(tmp_path / "lesson.mrb")
    panel.wait(lambda: panel.desk.guide.widget.visible, "the guide does not come back")
    assert work.done == [step.key for step in work.steps]
    assert panel.node.workshopStep == "write"

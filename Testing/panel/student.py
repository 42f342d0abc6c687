"""Somebody who does what the workshop's page says, and nothing else: click by click, with the real engine."""

from __future__ import annotations

from typing import Any

import numpy as np

PATIENCE = 300


class Student:
    """A newcomer in front of the panel.

    Parameters
    ----------
    host : Host
        The little Slicer, with the module loaded.
    folder : Path
        Where files are saved.
    """

    def __init__(self, host: Any, folder: Any) -> None:
        self.host, self.folder = host, folder
        self.desk = host.moduleWidget.desk
        self.watch: Any = lambda: None  # called before each click

    @property
    def guide(self) -> Any:
        return self.desk.guide.ui

    def do(self, key: str) -> None:
        """Do what the step's sentences say."""
        self.click(self.guide.placeButton)
        self.settle()
        getattr(self, key)()
        self.settle()

    def click(self, button: Any) -> None:
        self.watch()
        self.host.click(button)

    def settle(self) -> None:
        """Until the panel has scrolled."""
        import time

        end = time.monotonic() + 0.15
        self.host.wait(lambda: time.monotonic() > end, 5)

    def wait(self, condition: Any, message: str) -> None:
        self.host.wait(condition, PATIENCE, message)

    def note(self, text: str) -> None:
        from PySide6 import QtTest

        self.host._reveal(self.guide.notesEdit)
        self.guide.notesEdit.setFocus()
        QtTest.QTest.keyClicks(self.guide.notesEdit, text)
        self.host.processEvents()

    def open(self, section: Any) -> None:
        if section.collapsed:
            self.click(section)

    def example(self, title: str) -> None:
        self.host.setCombo(self.desk.case.ui.exampleComboBox, title)
        self.click(self.desk.case.ui.exampleButton)
        self.wait(lambda: self.answered(), "the network does not answer")

    def answered(self) -> bool:
        return bool(self.desk.guide.asked()) and not self.desk.model.predicting

    def model(self, title: str) -> None:
        self.host.setCombo(self.desk.modelPanel.ui.modelComboBox, title)
        self.wait(lambda: self.desk.model.info is not None, "the model is not loaded")

    def ask(self) -> None:
        button = self.desk.modelPanel.ui.predictButton
        self.wait(lambda: button.enabled, "the network cannot be asked")
        self.click(button)
        self.wait(self.answered, "the network does not answer")

    def explain(self, title: str) -> Any:
        self.host.clickRow(self.desk.method.ui.methodTree, title)
        button = self.desk.run.ui.applyButton
        self.wait(lambda: button.enabled, "Apply stays disabled")
        self.click(button)
        self.wait(lambda: not self.desk.logic.busy, "the run does not end")
        return self.desk.parameterNode.mapVolume

    # The steps, by their keys

    def load(self) -> None:
        self.example("Ring-enhancing lesion")

    def predict(self) -> None:
        assert "enhancing" in self.desk.modelPanel.ui.answerLabel.text
        self.note("At the bright ring.")

    def grad_cam(self) -> None:
        combo = self.desk.target.ui.targetComboBox
        titles = [combo.itemText(index) for index in range(combo.count)]
        self.host.setCombo(combo, next(title for title in titles if title.startswith("lesion (together)")))
        self.explain("Grad-CAM")

    def occlusion(self) -> None:
        self.explain("Occlusion sensitivity")

    def lrp(self) -> None:
        self.explain("LRP (relevance)")

    def guided(self) -> None:
        self.explain("Guided backpropagation")
        self.note("I would show this one.")

    def compare(self) -> None:
        self.open(self.desk.compare.ui.compareSection)
        self.click(self.desk.compare.ui.compareButton)
        self.wait(lambda: self.desk.logic.comparison.active, "no views")

    def random(self) -> None:
        self.click(self.desk.compare.ui.backButton)
        self.model("Brain lesion, random weights")
        self.ask()

    def fooled(self) -> None:
        self.explain("Guided backpropagation")
        self.host._reveal(self.desk.displayPanel.ui.hiddenSlider)
        self.desk.displayPanel.ui.hiddenSlider.value = 99
        self.host.processEvents()

    def truth(self) -> None:
        regions = self.desk.regions.ui
        self.open(regions.regionsSection)
        self.click(regions.truthButton)
        self.click(regions.metricsButton)
        self.wait(lambda: regions.saveRegionsButton.visible, "no table")

    def shortcut(self) -> None:
        self.example("Healthy brain with a marker beside it")
        self.model("Brain lesion, shortcut learner")
        self.ask()
        self.note("Something bright.")

    def find(self) -> None:
        self.explain("LRP (relevance)")
        self.explain("Grad-CAM")

    def marker(self) -> None:
        regions = self.desk.regions
        self.open(regions.ui.regionsSection)
        self.click(regions.ui.truthButton)
        self.click(regions.ui.statisticsButton)
        self.wait(lambda: regions._job is None, "the counting does not end")

    def trial(self) -> None:
        self.host.setCombo(self.desk.case.ui.inputSelector, "Ring-enhancing lesion")
        self.ask()

    def write(self) -> None:
        import qt

        self.note("LRP told me where the capsule is.")
        self.click(self.guide.intoReportButton)
        report = self.desk.report.ui
        self.open(report.reportSection)
        for row in range(report.reportList.count):
            wanted = "LRP" in report.reportList.item(row).text()
            report.reportList.item(row).setCheckState(qt.Qt.Checked if wanted else qt.Qt.Unchecked)
        self.host.processEvents()
        self.host.answers.saveFile = str(self.folder / "workshop.html")
        self.click(report.htmlButton)


def share_inside(mapNode: Any, segmentationNode: Any) -> float:
    """Share of what speaks for the answer that lies in the segmentation's first segment."""
    import slicer
    from XAIExplainPanels import regions

    box, inside = regions.segmentMask(segmentationNode, regions.segmentsOf(segmentationNode)[0][0], mapNode)
    array = np.clip(slicer.util.arrayFromVolume(mapNode), 0, None)
    return float(array[box][inside].sum() / array.sum())

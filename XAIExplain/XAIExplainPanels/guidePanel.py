"""The guide of the workshop: one step at a time, above the section in which it is done."""

import os
from html import escape

import qt
import slicer
from slicer.i18n import tr as _

from XAIExplainLib.errors import XAIError
from XAIExplainPanels.panel import Panel
from XAIExplainPanels.reportPanel import FOLDER_SETTING
from XAIExplainPanels.stepwise import letGo

DONE, CURRENT, OPEN = "\u2713", "\u25cf", "\u25cb"
GREEN, ORANGE, DIM = "#2f9e44", "#d9822b", "#8a929a"  # to be read on light and on dark
NOTE_LINES = 3
SETTLE_MILLISECONDS = 60  # until sections that have opened have their height


class GuidePanel(Panel):
    """Says what to do, checks it, asks a question, takes a note."""

    uiFile = "guidePanel.ui"

    def __init__(self, desk):
        super().__init__(desk)
        self._shown = None  # key of the step that is shown
        self._text = {}
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(SETTLE_MILLISECONDS)
        self._timer.connect("timeout()", self._scroll)
        ui = self.ui
        ui.notesEdit.setFixedHeight(NOTE_LINES * ui.notesEdit.fontMetrics().height() + 8)
        ui.dotsLabel.connect("linkActivated(QString)", self.onDot)
        ui.leaveButton.connect("clicked(bool)", self.onLeave)
        ui.answerButton.connect("clicked(bool)", lambda checked=False: self._showAnswer())
        ui.notesEdit.connect("textChanged()", self.onNote)
        ui.intoReportButton.connect("clicked(bool)", self.onIntoReport)
        ui.saveNotesButton.connect("clicked(bool)", self.onSaveNotes)
        ui.previousButton.connect("clicked(bool)", lambda checked=False: self.move(-1))
        ui.placeButton.connect("clicked(bool)", lambda checked=False: self.takeThere())
        ui.nextButton.connect("clicked(bool)", lambda checked=False: self.move(1))
        self.widget.visible = False

    @property
    def work(self):
        return self.desk.logic.workshop

    def refresh(self):
        isOn = self.node is not None and self.node.workshopActive
        self.widget.visible = isOn
        if not isOn:
            self._shown = None
            return
        missing = self.work.check(self.asked())
        step, index, steps = self.work.current, self.work.index, self.work.steps
        self.ui.guideSection.text = _("Workshop: step {number} of {count}").format(number=index + 1, count=len(steps))
        self._say("dotsLabel", self._dots())
        self._say("stateLabel", stateText(missing))
        self.ui.previousButton.enabled = index > 0
        self.ui.nextButton.enabled = index < len(steps) - 1
        if self._shown != step.key:
            self._shown = step.key
            self._show(step, sum(one.minutes for one in steps[:index]), sum(one.minutes for one in steps))
        self._showNote(step)

    def asked(self):
        """Name of the model that has answered about the chosen volume."""
        state = self.desk.model
        return state.name if state.prediction and state.predictedVolumes == self.desk.volumeIDs() else ""

    def _show(self, step, minute, total):
        time = _("minute {start} to {end} of {total}").format(start=minute, end=minute + step.minutes, total=total)
        self._say("titleLabel", "<b>{}</b> <font color='{}'>{}</font>".format(escape(step.title), DIM, time))
        self._say("doLabel", "<ol style='margin:0px; -qt-list-indent:0;'>{}</ol>".format("".join(
            "<li style='margin-left:16px; margin-bottom:2px'>{}</li>".format(sentence) for sentence in step.do)))
        self._say("lookLabel", _("<b>Look:</b> {text}").format(text=escape(step.look)))
        self._say("questionLabel", _("<b>Question:</b> {text}").format(text=escape(step.question)))
        self._say("answerLabel", _("<b>Answer:</b> {text}").format(text=escape(step.answer)))
        self.ui.answerButton.setChecked(False)
        self._showAnswer()

    def _showAnswer(self):
        isShown = self.ui.answerButton.checked
        self.ui.answerLabel.visible = isShown
        self.ui.answerButton.text = _("Hide answer") if isShown else _("Show answer")

    def _showNote(self, step):
        note = self.work.note(step.key)
        edit = self.ui.notesEdit
        if edit.toPlainText() != note:
            wasBlocked = edit.blockSignals(True)
            edit.setPlainText(note)
            edit.blockSignals(wasBlocked)

    def _dots(self):
        """A sign for each step, which leads to it."""
        done, current = self.work.done, self.work.current.key
        signs = []
        for number, step in enumerate(self.work.steps, 1):
            sign = CURRENT if step.key == current else DONE if step.key in done else OPEN
            color = GREEN if step.key in done else ORANGE if step.key == current else DIM
            title = escape("{}. {}".format(number, step.title), quote=True)
            signs.append("<a href='{}' title='{}' style='color:{}; text-decoration:none'>{}</a>".format(
                step.key, title, color, sign))
        return "<big>{}</big>".format("&nbsp;".join(signs))

    def _say(self, name, text):
        """Set a label's text where it is another one."""
        if self._text.get(name) != text:
            self._text[name] = text
            getattr(self.ui, name).text = text

    # Moving

    def move(self, count):
        self.work.move(count)
        self.desk.refresh()

    def onDot(self, key):
        self.work.go(str(key))
        self.desk.refresh()

    def onLeave(self, checked=False):
        self.work.leave()
        self.desk.refresh()

    def takeThere(self, opens=True):
        """
        Put the guide above the section in which the step is done, and scroll there.

        :param opens: open the sections, too.
        """
        panels = [getattr(self.desk, name) for name in self.work.current.places]
        for panel in panels if opens else ():
            getattr(panel.ui, panel.uiFile.replace("Panel.ui", "Section")).collapsed = False
        self.ui.guideSection.collapsed = False
        layout = self.widget.parent().layout()
        layout.removeWidget(self.widget)
        layout.insertWidget(layout.indexOf(panels[0].widget), self.widget)
        self._timer.start()

    def cleanup(self):
        letGo(self._timer, self._scroll)
        super().cleanup()

    def _scroll(self):
        """Bring the guide to the upper end of what is seen of the panel."""
        if self.node is None or not self.node.workshopActive:
            return
        scrollTo(self.widget)

    # Notes

    def onNote(self):
        if self._shown is not None:
            self.work.setNote(self._shown, str(self.ui.notesEdit.toPlainText()))

    def onIntoReport(self, checked=False):
        try:
            self.work.putIntoReport()
        except XAIError as error:
            self.desk.sayError(error.message, error.hint)
            return
        self.desk.say(_("The notes stand in the section Report, and in the reports that you write there."))

    def onSaveNotes(self, checked=False):
        folder = str(slicer.app.settings().value(FOLDER_SETTING) or "") or os.path.expanduser("~")
        path = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), _("Save notes"), os.path.join(folder, "workshop-notes.html"),
            "{} (*.html);;{} (*.txt)".format(_("Web page"), _("Text")))
        if not path:
            return
        if not path.lower().endswith((".html", ".htm", ".txt")):
            path += ".html"
        try:
            self.work.write(path)
        except XAIError as error:
            self.desk.sayError(error.message, error.hint)
            return
        self.desk.say(_("Saved as {path}.").format(path=path))


def scrollTo(widget):
    """Bring the widget to the upper end of what is seen of the module's panel."""
    area = widget.parent()
    while area is not None and not area.inherits("QScrollArea"):
        area = area.parent()
    if area is not None:
        place = widget.mapTo(area.widget(), qt.QPoint(0, 0))
        area.verticalScrollBar().setValue(place.y() - 2)


def stateText(missing):
    """Whether the step is done, or what is missing."""
    if missing:
        return _("<font color='{color}'>{sign} To do:</font> {text}").format(
            color=ORANGE, sign=OPEN, text=escape(missing))
    return _("<font color='{color}'>{sign} Done.</font>").format(color=GREEN, sign=DONE)

"""Many cases, one question: the list, its buttons, and how far it is."""

import os

import qt
import slicer
from slicer.i18n import tr as _

from XAIExplainLib.errors import XAIError
from XAIExplainPanels import caseAdding, caseTable, record
from XAIExplainPanels.caseItems import DONE, SequenceCase, VolumeCase
from XAIExplainPanels.caseQuestion import CaseQuestion
from XAIExplainPanels.caseTree import CaseTree
from XAIExplainPanels.comparePanel import saveTable
from XAIExplainPanels.figures import roughly
from XAIExplainPanels.frameWatch import FrameWatch
from XAIExplainPanels.layers import jumpTo
from XAIExplainPanels.panel import Panel
from XAIExplainPanels.strength import peakPosition, stateOf

FOLDER_SETTING = "XAIExplain/CasesFolder"
FILES = "*.nrrd *.nhdr *.nii *.nii.gz *.mha *.mhd"
CHANNELS = ("inputVolume", "secondVolume", "thirdVolume", "fourthVolume")


class CasesPanel(Panel):
    """Fill a list, run it, and look at what came of each case."""

    uiFile = "casesPanel.ui"

    def __init__(self, desk):
        super().__init__(desk)
        self._message = ""
        self._isError = False
        self._wasRunning = False
        self._question = self._revealed = None
        self.queue = desk.logic.queue
        self.queue.onChanged = self.onQueueChanged
        self.queue.onEnd = self.onQueueEnded
        self.frames = FrameWatch(desk.refresh)
        self.tree = CaseTree(self.ui.caseTree, self.refresh, self.onShow)
        ui = self.ui
        ui.casesSection.collapsed = True
        ui.casesSection.connect("contentsCollapsed(bool)", lambda collapsed: self.refresh())
        for button, act in (
            (ui.addChosenButton, self.onAddChosen), (ui.addAllButton, self.onAddAll),
            (ui.addFilesButton, self.onAddFiles), (ui.addSequenceButton, self.onAddSequence),
            (ui.showCaseButton, self.onShowChosen), (ui.runAgainButton, self.onRunAgain),
            (ui.removeCaseButton, self.onRemove), (ui.runAllButton, self.onRunAll), (ui.stopCasesButton, self.onStop),
            (ui.retryButton, self.onRetry), (ui.saveCasesButton, self.onSave),
        ):  # fmt: skip
            button.connect("clicked(bool)", act)

    def cleanup(self):
        self.frames.close()
        super().cleanup()

    # What is seen

    def refresh(self):
        self.frames.watch(self.desk.displayPanel.mapNode)
        if self.ui.casesSection.collapsed:
            return
        queue, reason = self.queue, self.reasonNotToRun()
        self._question = None if reason else self.question()
        self.tree.show(queue.cases, queue.question if queue.running else self._question)
        if self._revealed is not queue.current:
            self._revealed = queue.current
            self.tree.reveal(queue.current)
        self._refreshAdding()
        self._refreshButtons(reason)
        self._refreshProgress()

    def _refreshAdding(self):
        ui, chosen = self.ui, self.desk.volumes()
        missing = not chosen or any(volume is None for volume in chosen)
        setEnabled(
            ui.addChosenButton,
            _("Choose a volume in the section Case; with several channels, all of them.") if missing else "",
            _("Add the volume that is chosen in the section Case; with several channels, all of them as one case."))
        # Whether a sequence plays there is looked at when it is pressed: a volume is in the scene before it plays.
        setEnabled(ui.addSequenceButton, _("Choose the volume in which a sequence (4D) plays.") if missing else "",
            _("Add the sequence that plays in the chosen volume, to be explained frame by frame. Its maps play along."))

    def _refreshButtons(self, reason):
        ui, queue, running = self.ui, self.queue, self.queue.running
        chosen = self.tree.chosen()
        busy = _("An explanation is running.") if self.desk.logic.busy else ""
        left = queue.left(self._question) if self._question is not None else []
        nothing = "" if left else (_("All cases are done with this question. Mark some and press Run again, or ask "
                                     "another question.") if queue.cases else _("Add a case first."))
        setEnabled(ui.runAllButton, busy or reason or nothing,
                   _("Explain the cases that are not done with this question, one after the other."))
        setEnabled(ui.stopCasesButton, "" if running else _("The list is not running."),
                   _("Stop at once. What is done stays, and Run all goes on where it was."))
        failed = queue.failed()
        setEnabled(ui.retryButton, busy or reason or ("" if failed else _("No case has failed.")),
                   _("Explain the cases again that have failed."))
        mark = "" if chosen else _("Mark a case in the list.")
        setEnabled(ui.runAgainButton, busy or reason or mark,
                   _("Explain the marked cases anew, also those that are done."))
        setEnabled(ui.removeCaseButton, mark,
                   _("Take the marked cases out of the list. Volumes and maps stay in the scene."))
        setEnabled(ui.showCaseButton, "" if len(chosen) == 1 else _("Mark one case in the list."),
                   _("Show the volume of the marked case, and its map."))
        setEnabled(ui.saveCasesButton, "" if self._table() is not None else _("No case is done with this question."),
                   _("Save answers, scores and peaks of all cases as comma-separated values."))
        asked = queue.question if running else self._question
        if asked is not None:
            reason = _("Each is asked: {method}, {target}.").format(
                method=asked.title, target=asked.targetText or _("the network's own answer"))
        ui.caseQuestionLabel.text = reason
        ui.caseQuestionLabel.visible = bool(ui.caseQuestionLabel.text)

    def _refreshProgress(self):
        ui, queue = self.ui, self.queue
        ui.casesProgressBar.visible = queue.running
        text = self._message
        if queue.running:
            share, remaining = queue.progress()
            place, count = queue.place
            ui.casesProgressBar.setValue(int(1000 * share))
            text = _("Case {place} of {count}").format(place=place, count=count)
            text += ", " + (_("{time} left").format(time=roughly(remaining)) if remaining is not None
                            else _("the time is being estimated"))
            text = (self._message + " " + text).strip()
        elif not queue.cases and not text:
            text = _("Add volumes of the scene, files, or a sequence. Then all are asked the same question.")
        text = "<b>{}</b>".format(text) if self._isError and text else text
        if ui.casesMessageLabel.text != text:
            ui.casesMessageLabel.text = text
        ui.casesMessageLabel.visible = bool(text)

    def say(self, message, isError=False):
        """Show a sentence below the list; an empty one clears."""
        self._message, self._isError = message, isError
        self.refresh()

    def sayError(self, error):
        self.desk.log("{} {}".format(error.message, error.hint))
        self.say("{} {}".format(error.message, error.hint).strip(), isError=True)

    # The question

    def reasonNotToRun(self):
        """Why nothing can be asked, as a sentence; empty if something can."""
        desk = self.desk
        if self.node is None:
            return _("There is no scene.")
        return desk.reasonNoEngine() or desk.reasonNoModel() or desk.target.reasonNotToRun()

    def question(self):
        """The question that the panels show; it stays the same when they change."""
        desk, node = self.desk, self.node
        card = desk.catalog.methods.get(node.method, {})
        try:
            target, words = desk.target.maker()
        except XAIError:
            return None
        return CaseQuestion(
            desk.model.name, node.method, target, words, title=card.get("title", ""),
            parameters=desk.method.parameters(), consent=desk.model.consent, memory=node.memoryLimit,
            seed=node.randomSeed)

    def _table(self):
        return caseTable.find(self._question) or self.queue.table

    # The list

    def _add(self, find):
        try:
            cases, note = find()
            added = self.queue.add(cases)
        except XAIError as error:
            self.sayError(error)
            return
        if not cases and not note:
            note = _("The scene has no volume to add. Load one, or choose files.")
        elif not added and not note:
            note = _("It is in the list already.") if len(cases) == 1 else _("They are in the list already.")
        self.say(note)

    def onAddChosen(self, checked=False):
        self._add(lambda: ([VolumeCase(self.desk.volumes())], ""))

    def onAddAll(self, checked=False):
        self._add(lambda: caseAdding.sceneCases(self.desk.model.channels))

    def onAddSequence(self, checked=False):
        self._add(lambda: ([SequenceCase(self.desk.volumes())], ""))

    def onAddFiles(self, checked=False):
        folder = str(slicer.app.settings().value(FOLDER_SETTING) or "") or os.path.expanduser("~")
        paths = qt.QFileDialog.getOpenFileNames(
            slicer.util.mainWindow(), _("Add files"), folder, _("Volumes") + " ({})".format(FILES))
        if paths:
            slicer.app.settings().setValue(FOLDER_SETTING, os.path.dirname(str(paths[0])))
            self._add(lambda: (caseAdding.fileCases(paths, self.desk.model.channels), ""))

    def onRemove(self, checked=False):
        self.queue.remove(self.tree.chosen())
        self.say("")

    # The run

    def onRunAll(self, checked=False):
        self._start(None)

    def onRunAgain(self, checked=False):
        self._start(self.tree.chosen())

    def onRetry(self, checked=False):
        self._start(self.queue.failed())

    def _start(self, cases):
        try:
            self.queue.start(self.question(), cases)
        except XAIError as error:
            self.sayError(error)
            return
        self.desk.run.begin()
        self.say("")
        self.desk.refresh()

    def onStop(self, checked=False):
        self.queue.stop()

    def onQueueChanged(self):
        """The list has changed, or the engine has said how far it is."""
        running = self.queue.running
        if running != self._wasRunning:
            self._wasRunning = running
            self.desk.refresh()
        self.refresh()
        if running and self.queue.current is not None:
            self.desk.run.progress(self._event())

    def _event(self):
        """How far the list is, as an event of the engine, for the bar beside Cancel."""
        share, remaining = self.queue.progress()
        place, count = self.queue.place
        message = _("Case {place} of {count}: {name}").format(
            place=place, count=count, name=self.queue.current.name)
        return {"fraction": share, "elapsed": self.queue.elapsed, "remaining": remaining, "message": message}

    def onQueueEnded(self, sentence):
        self._wasRunning = False
        self.desk.log(sentence)
        self._message, self._isError = sentence, False
        self.desk.run.end(sentence)
        self.desk.refresh()

    def onSave(self, checked=False):
        saveTable(self, self._table())

    # Looking at a case

    def onShowChosen(self, checked=False):
        for case in self.tree.chosen()[:1]:
            self.onShow(case)

    def onShow(self, case):
        """Show the case's volume, and its map where there is one."""
        volumeNodes = [node for node in case.volumes() if node is not None]
        mapNode = case.mapNode
        if self.node is None:
            return
        if not volumeNodes:
            self.say(_("{name} is not in the scene: it is loaded when it is its turn.").format(name=case.name)
                     if case.kind == "files" else _("The volume of {name} was deleted.").format(name=case.name))
            return
        with slicer.util.NodeModify(self.node.parameterNode):
            for name, volumeNode in zip(CHANNELS, volumeNodes):
                setattr(self.node, name, volumeNode)
        if mapNode is None or stateOf(mapNode) is None:
            slicer.util.setSliceViewerLayers(background=volumeNodes[0], foreground=None, fit=True)
            self.say(_("The map of {name} was deleted. Mark the case and press Run again.").format(name=case.name)
                     if case.state == DONE else "")
            return
        prediction = record.readRecord(mapNode).get("prediction")
        if prediction and mapNode.GetAttribute("XAIExplain.Model") == self.desk.model.name:
            self.desk.model.setPrediction(prediction, self.desk.volumeIDs())
        self.desk.displayPanel.show(mapNode)
        position, _value = peakPosition(mapNode)
        if position is not None:
            jumpTo(position)
        self.desk.refresh()


def setEnabled(button, reason, toolTip):
    """Enable a button, or disable it and let it say why."""
    button.enabled = not reason
    button.toolTip = reason or toolTip

"""The engine's state, the Python that it runs in, and what it needs."""

import os

import slicer
from slicer.i18n import tr as _

from XAIExplainPanels import installing, interpreter, status
from XAIExplainPanels.panel import Panel


class SetupPanel(Panel):
    """Everything that is set once."""

    uiFile = "setupPanel.ui"

    def __init__(self, desk):
        super().__init__(desk)
        self._shownError = None
        self._memory = None
        self._memoryOf = None
        self.ui.installFrame.visible = False
        self.ui.setupSection.collapsed = True
        self.ui.setupSection.connect("contentsCollapsed(bool)", lambda collapsed: self.refresh())
        self.ui.selfTestLabel.visible = False
        self.ui.selfTestButton.connect("clicked(bool)", self.onSelfTest)
        self.ui.interpreterEdit.currentPath = interpreter.interpreter()
        self.ui.interpreterEdit.connect("currentPathChanged(QString)", self.onInterpreter)
        self.ui.restartButton.connect("clicked(bool)", lambda checked=False: self.desk.restartEngine())
        self.ui.installButton.connect("clicked(bool)", self.onInstall)
        self.ui.installYesButton.connect("clicked(bool)", self.onInstallYes)
        self.ui.installNoButton.connect("clicked(bool)", self.onInstallNo)
        self.ui.copyLogButton.connect("clicked(bool)", self.onCopyLog)
        self.ui.outputSelector.addAttribute("vtkMRMLScalarVolumeNode", "XAIExplain.Method")

    def refresh(self):
        engine, error = self.desk.logic.engine, self.desk.engineError()
        text = status.html(status.rows(engine.ready, engine.alive, error, self._memory))
        if self.ui.statusLabel.text != text:
            self.ui.statusLabel.text = text
        self._askForMemory(engine)
        testing = self.desk.logic.selfTest.running
        self.ui.selfTestButton.enabled = self.desk.catalog.loaded and not testing and not self.desk.logic.busy
        if error and error is not self._shownError:
            self.ui.setupSection.collapsed = False  # once: the user may close it again
        self._shownError = error

    def _askForMemory(self, engine):
        """Ask how much memory is free when the rows are looked at, and again when a run has begun or ended."""
        if not engine.ready or self.ui.setupSection.collapsed:
            return
        moment = (engine.ready.get("pid"), self.desk.logic.busy)
        if moment != self._memoryOf:
            self._memoryOf = moment
            engine.request("status", self._onMemory)

    def _onMemory(self, answer):
        self._memory = answer
        self.desk.refresh()

    def onSelfTest(self, checked=False):
        self.ui.selfTestLabel.text = _("Explaining a bundled case...")
        self.ui.selfTestLabel.visible = True
        self.desk.logic.selfTest.start(self._onSelfTest)
        self.desk.refresh()

    def _onSelfTest(self, isRight, sentence):
        self.desk.log(sentence or _("Self-test stopped."))
        state = status.GOOD if isRight else status.BAD
        self.ui.selfTestLabel.text = status.marked(state, sentence) if sentence else ""
        self.ui.selfTestLabel.visible = bool(sentence)
        self.desk.refresh()

    def onInterpreter(self, path):
        if path == interpreter.interpreter() or (path and not os.path.isfile(path)):
            return
        interpreter.setInterpreter(str(path))
        self.desk.restartEngine()

    def onInstall(self, checked=False):
        self.ui.installLabel.text = installing.plan(installing.requirementsPath(self.desk))
        self.ui.installFrame.visible = True

    def onInstallNo(self, checked=False):
        self.ui.installFrame.visible = False

    def onInstallYes(self, checked=False):
        self.ui.installFrame.visible = False
        self.desk.logic.engine.restart()  # a library that is in use cannot be replaced
        try:
            mustRestart = installing.install(installing.requirementsPath(self.desk))
        except installing.InstallError as error:
            self.desk.say(str(error), isError=True)
            return
        if mustRestart:
            self.desk.say(_("The extension PyTorch is installed. Restart Slicer, and press Install again."))
        else:
            self.desk.restartEngine()

    def log(self, text):
        self.ui.logText.appendPlainText(text)

    def onCopyLog(self, checked=False):
        text = self.ui.logText.toPlainText() + "\n" + self.desk.logic.engine.log
        slicer.app.clipboard().setText(text.strip())
        self.desk.say(_("The log is on the clipboard."))

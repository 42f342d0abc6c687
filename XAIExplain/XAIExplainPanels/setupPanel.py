"""The engine's state, the Python that it runs in, and what it needs."""

import os

import slicer
from slicer.i18n import tr as _

from XAIExplainPanels import installing, interpreter
from XAIExplainPanels.panel import Panel


class SetupPanel(Panel):
    """Everything that is set once."""

    uiFile = "setupPanel.ui"

    def __init__(self, desk):
        super().__init__(desk)
        self._shownError = None
        self.ui.installFrame.visible = False
        self.ui.setupSection.collapsed = True
        self.ui.interpreterEdit.currentPath = interpreter.interpreter()
        self.ui.interpreterEdit.connect("currentPathChanged(QString)", self.onInterpreter)
        self.ui.restartButton.connect("clicked(bool)", lambda checked=False: self.desk.restartEngine())
        self.ui.installButton.connect("clicked(bool)", self.onInstall)
        self.ui.installYesButton.connect("clicked(bool)", self.onInstallYes)
        self.ui.installNoButton.connect("clicked(bool)", self.onInstallNo)
        self.ui.copyLogButton.connect("clicked(bool)", self.onCopyLog)
        self.ui.outputSelector.addAttribute("vtkMRMLScalarVolumeNode", "XAIExplain.Method")

    def refresh(self):
        self.ui.statusLabel.text = self._status()
        error = self.desk.engineError()
        if error and error is not self._shownError:
            self.ui.setupSection.collapsed = False  # once: the user may close it again
        self._shownError = error

    def _status(self):
        engine, error = self.desk.logic.engine, self.desk.engineError()
        if error:
            return "<b>{}</b> {}".format(error.get("message", ""), error.get("hint", ""))
        ready = engine.ready
        if ready:
            device = {"cpu": _("processor"), "cuda": _("graphics card (CUDA)"), "mps": _("graphics card (Metal)")}
            return _("Engine ready: PyTorch {torch}, Python {python}, on the {device}.").format(
                torch=ready.get("torch", "?"), python=ready.get("python", "?"),
                device=device.get(ready.get("device"), ready.get("device", "?")))
        if engine.alive:
            return _("The engine is starting...")
        return _("The engine is not running; it starts when needed.")

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

"""Apply and Cancel, how far it is, and what is missing."""

import qt
from slicer.i18n import tr as _

from XAIExplainPanels.figures import duration, roughly
from XAIExplainPanels.panel import Panel
from XAIExplainPanels.stepwise import letGo

CALM = 300  # milliseconds without a change, before the time is estimated

class RunPanel(Panel):
    """One button, one bar, one line."""

    uiFile = "runPanel.ui"

    def __init__(self, desk):
        super().__init__(desk)
        self._message = ""
        self._isError = False
        self._cancelling = False
        self._stage = ""
        self._estimated = None  # the question whose time is shown, or asked for
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(CALM)
        self._timer.connect("timeout()", self._askForTime)
        self.ui.progressBar.visible = False
        self.ui.estimateLabel.visible = False
        self.ui.applyButton.connect("clicked(bool)", self.onApply)

    def refresh(self):
        running = self.desk.logic.busy
        reason = "" if running else self.desk.reasonNotToRun()
        self.ui.applyButton.text = _("Cancel") if running else _("Apply")
        self.ui.applyButton.enabled = not self._cancelling if running else not reason
        self.ui.applyButton.toolTip = (
            _("Stop the explanation (Escape).") if running else reason or _("Explain the answer (Ctrl+Shift+E)."))
        self.ui.progressBar.visible = running
        message = "<b>{}</b>".format(self._message) if self._isError and self._message else self._message
        # An error stays to be read, with what is missing now; anything else gives way to what is missing.
        parts = [message, reason] if self._isError or not reason else [reason]
        self.ui.messageLabel.text = " ".join(part for part in parts if part)
        self.ui.messageLabel.visible = bool(self.ui.messageLabel.text)
        self._refreshTime(None if running or reason or self.node is None else self._question())

    def _question(self):
        """What the time depends on."""
        node = self.node
        return (self.desk.volumeIDs(), node.method, repr(sorted(self.desk.method.parameters().items())))

    def _refreshTime(self, question):
        if question == self._estimated and question is not None:
            return
        self._estimated = None
        if question is None:
            self._timer.stop()
            self.desk.logic.estimator.cancel()
            self.ui.estimateLabel.visible = False
        else:
            self._timer.start()

    def _askForTime(self):
        """Nothing has changed for a moment: ask how long it will take."""
        desk = self.desk
        if self.node is None or desk.logic.busy or desk.reasonNotToRun():
            return
        asked = desk.logic.estimator.ask(desk.volumes(), desk.model.name, self.node.method, desk.method.parameters(),
                                         self._onTime, desk.model.consent)
        self._estimated = self._question() if asked else None
        self.ui.estimateLabel.text = _("Estimating the time...")
        self.ui.estimateLabel.visible = asked

    def _onTime(self, answer):
        label = self.ui.estimateLabel
        label.visible = bool(answer) and self._estimated is not None
        if answer:
            label.text = _("Takes {time}.").format(time=roughly(answer["seconds"]))
            label.toolTip = _("{count:g} forward passes of the network over the case: {basis}.").format(
                count=answer.get("passes") or 0, basis=answer.get("basis") or "")

    def cleanup(self):
        letGo(self._timer, self._askForTime)
        super().cleanup()

    def onApply(self, checked=False):
        if self.desk.logic.busy:
            self._cancelling = True
            self.say(_("Stopping..."))
            self.desk.cancel()
        else:
            self.desk.apply()

    def begin(self):
        self._cancelling = False
        self._stage = ""
        self.ui.progressBar.setRange(0, 0)
        self.ui.progressBar.setFormat("")
        self.say(_("Starting..."))

    def progress(self, event):
        """The engine's progress event."""
        if self._cancelling:
            return
        fraction = float(event.get("fraction") or 0)
        if fraction > 0:
            self.ui.progressBar.setRange(0, 1000)
            self.ui.progressBar.setValue(int(1000 * fraction))
            self.ui.progressBar.setFormat("%p %")
        words = [str(event.get("message") or _("Explaining"))]
        words = [self._stage, *words] if self._stage else words
        words.append(_("{time} so far").format(time=duration(event.get("elapsed") or 0)))
        if event.get("remaining") is not None:
            words.append(_("about {time} left").format(time=duration(event["remaining"])))
        self.say(", ".join(words))

    def preview(self, event):
        """A map that is on its way is shown: say so, with the progress that follows."""
        if self._cancelling:
            return
        stage = event.get("stage") or {}
        self._stage = _("Preview {number} of {count}: {what}").format(
            number=stage.get("number", ""), count=stage.get("of", ""), what=stage.get("text", ""))
        self.say(self._stage)

    def end(self, message="", isError=False):
        self._cancelling = False
        self.say(message, isError)
        self.desk.refresh()

    def say(self, message, isError=False):
        """Show a sentence; an empty one clears."""
        self._message, self._isError = message, isError
        self.refresh()

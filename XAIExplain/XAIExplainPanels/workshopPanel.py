"""Where the workshop is begun, resumed, and begun anew."""

import qt
import slicer
from slicer.i18n import tr as _

from XAIExplainPanels.guidePanel import SETTLE_MILLISECONDS, scrollTo
from XAIExplainPanels.panel import Panel
from XAIExplainPanels.stepwise import letGo


class WorkshopPanel(Panel):
    """A sentence and a button."""

    uiFile = "workshopPanel.ui"

    def __init__(self, desk):
        super().__init__(desk)
        self.ui.workshopSection.collapsed = True
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(SETTLE_MILLISECONDS)
        self._timer.connect("timeout()", self._scroll)
        self.ui.workshopSection.connect("contentsCollapsed(bool)", self.onCollapsed)
        self.ui.startButton.connect("clicked(bool)", self.onStart)
        self.ui.anewButton.connect("clicked(bool)", self.onAnew)

    @property
    def work(self):
        return self.desk.logic.workshop

    def refresh(self):
        if self.node is None:
            return
        steps, work = self.work.steps, self.work
        self.ui.introductionLabel.text = _("A lesson of {minutes} minutes in {count} steps: what a network "
                                           "answers, why by four methods, and how one is fooled. It runs on this "
                                           "computer alone. It can be left and resumed at any time.").format(
                minutes=sum(step.minutes for step in steps), count=len(steps))
        begun = work.begun
        self.ui.progressLabel.text = _("{done} of {count} steps are done.").format(
            done=len(work.done), count=len(steps)) if begun else ""
        self.ui.progressLabel.visible = begun
        self.ui.startButton.text = _("Resume the workshop") if begun else _("Start the workshop")
        self.ui.startButton.enabled = not work.active
        self.ui.anewButton.visible = begun

    def cleanup(self):
        letGo(self._timer, self._scroll)
        super().cleanup()

    def _scroll(self):
        scrollTo(self.widget)

    def onCollapsed(self, collapsed):
        """A section at the lower end of the panel would open where nobody sees it."""
        if not collapsed:
            self.refresh()  # a section that opens shows what was hidden in it meanwhile
            self._timer.start()
        else:
            self._timer.stop()

    def onStart(self, checked=False):
        self.work.start()
        self.ui.workshopSection.collapsed = True
        self.desk.refresh()
        self.desk.guide.takeThere(opens=False)

    def onAnew(self, checked=False):
        if slicer.util.confirmOkCancelDisplay(
                _("Forget the ticks and the notes of the workshop? Maps and volumes stay.")):
            self.work.forget()
            self.desk.refresh()

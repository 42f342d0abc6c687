"""Contours of the map, and the anatomy around it in 3D."""

import qt

from XAIExplainPanels import record
from XAIExplainPanels.panel import Panel
from XAIExplainPanels.stepwise import letGo

WAIT_MILLISECONDS = 120  # so that a slider that is moved does not begin a new surface at every step


class SurfacePanel(Panel):
    """Settings of what is made from the map and the volume; a timer does the work in small steps."""

    uiFile = "surfacePanel.ui"

    def __init__(self, desk):
        super().__init__(desk)
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self.onTimer)

    def refresh(self):
        mapNode = self.desk.displayPanel.mapNode
        self.widget.visible = mapNode is not None or bool(record.maps())
        for widget in (self.ui.linesCheckBox, self.ui.surfacesCheckBox, self.ui.levelsSpinBox, self.ui.anatomyCheckBox,
                       self.ui.anatomyOpacitySlider):
            widget.enabled = mapNode is not None
        display = self.desk.logic.display
        if self.node is not None:
            self._noticeDeleted()
        if mapNode is not None:
            display.follow(mapNode)
        if display.pending and not self._timer.active:
            self._timer.start(WAIT_MILLISECONDS)
        text = " ".join(service.message for service in (display.contours, display.anatomy) if service.message)
        self.ui.surfaceLabel.text = text
        self.ui.surfaceLabel.visible = bool(text)

    def cleanup(self):
        letGo(self._timer, self.onTimer)
        super().cleanup()

    def onTimer(self):
        if self.desk.logic.display.step():
            self._timer.start(0)
        else:
            self.refresh()

    def _noticeDeleted(self):
        """What the user has deleted is not wanted any more."""
        deleted = self.desk.logic.display.deleted
        if "Contours" in deleted:
            self.node.contourLines = self.node.contourSurfaces = False
        if "Anatomy" in deleted:
            self.node.anatomyIn3D = False
        if "Colored" in deleted:
            self.node.fading = self.node.cells = False
        deleted.clear()

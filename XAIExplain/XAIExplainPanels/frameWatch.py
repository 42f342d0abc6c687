"""Keeps the window up to date while a sequence plays: colors, contours and figures are those of the frame."""

import qt
import slicer
import vtk

from XAIExplainPanels import sequences
from XAIExplainPanels.stepwise import letGo

CALM = 40  # milliseconds after a frame, so that a fast player is not held up


class FrameWatch:
    """
    Watches the browser that plays a map.

    :param onFrame: called when another frame is shown.
    """

    def __init__(self, onFrame):
        self._mapID = self._browserID = self._tag = None
        # Not at once: the window is also brought up to date while a node is being removed, see `sequences.browserOf`.
        self._looking = qt.QTimer()
        self._looking.setSingleShot(True)
        self._looking.setInterval(0)
        self._looking.connect("timeout()", self._look)
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(CALM)
        self._onFrame = onFrame
        self._timer.connect("timeout()", onFrame)

    def watch(self, mapNode):
        """Watch the browser of this map instead of the one before, a moment later; None watches nothing."""
        self._mapID = mapNode.GetID() if mapNode is not None else None
        if (self._mapID or self._browserID) and not self._looking.active:
            self._looking.start()

    def _look(self):
        mapNode = slicer.mrmlScene.GetNodeByID(self._mapID) if self._mapID else None
        browserNode = sequences.browserOf(mapNode) if sequences.framesOf(mapNode) is not None else None
        browserID = browserNode.GetID() if browserNode is not None else None
        if browserID == self._browserID:
            return
        self.stop()
        if browserNode is not None:
            self._browserID = browserID
            self._tag = browserNode.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onModified)

    def close(self):
        """Stop watching for good."""
        self.stop()
        letGo(self._timer, self._onFrame)
        letGo(self._looking, self._look)

    def stop(self):
        """Watch nothing."""
        self._timer.stop()
        self._looking.stop()
        browserNode = slicer.mrmlScene.GetNodeByID(self._browserID) if self._browserID else None
        if browserNode is not None:
            browserNode.RemoveObserver(self._tag)
        self._browserID = self._tag = None

    def _onModified(self, browserNode, event):
        if not self._timer.active:
            self._timer.start()

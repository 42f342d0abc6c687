"""Keeps the window up to date while a sequence plays: colors, contours and figures are those of the frame."""

import qt
import slicer
import vtk

from XAIExplainPanels import sequences

CALM = 40  # milliseconds after a frame, so that a fast player is not held up


class FrameWatch:
    """
    Watches the browser that plays a map.

    :param onFrame: called when another frame is shown.
    """

    def __init__(self, onFrame):
        self._browserID = None
        self._tag = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(CALM)
        self._timer.connect("timeout()", onFrame)

    def watch(self, mapNode):
        """Watch the browser of this map instead of the one before; None watches nothing."""
        frames = sequences.framesOf(mapNode)
        browserNode = sequences.browserOf(mapNode) if frames is not None else None
        browserID = browserNode.GetID() if browserNode is not None else None
        if browserID == self._browserID:
            return
        self.stop()
        if browserNode is not None:
            self._browserID = browserID
            self._tag = browserNode.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onModified)

    def stop(self):
        """Watch nothing."""
        self._timer.stop()
        browserNode = slicer.mrmlScene.GetNodeByID(self._browserID) if self._browserID else None
        if browserNode is not None:
            browserNode.RemoveObserver(self._tag)
        self._browserID = self._tag = None

    def _onModified(self, browserNode, event):
        if not self._timer.active:
            self._timer.start()

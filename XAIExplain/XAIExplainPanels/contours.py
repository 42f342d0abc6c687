"""Contour lines of a map on the slices, and its surfaces in 3D: one model does both."""

import numpy as np
import slicer
from slicer.i18n import tr as _

from XAIExplainPanels.made import MadeFrom
from XAIExplainPanels.strength import stateOf
from XAIExplainPanels.surfaces import isoSurfaces, voxels

MOST_LEVELS = 3


class Contours(MadeFrom):
    """The contours of maps."""

    def __init__(self):
        super().__init__("Contours", _("{name} contours"))

    def update(self, mapNode, settings, limits, signed, colorNode):
        """
        Show the contours as the settings say, and begin to make them anew where they are old.

        :param limits: what is drawn of the map.
        """
        shown = settings.viewMode != "volume" and limits.threshold > 0
        if not (settings.contourLines or settings.contourSurfaces):
            self.remove(mapNode)
            return
        at = levels(limits, settings.contourLevels, signed)
        if shown:
            array, matrix = voxels(mapNode)
            key = (stateOf(mapNode), tuple(at), tuple(matrix.GetElement(i, j) for i in range(3) for j in range(4)))
            self.want(mapNode, key, lambda: isoSurfaces(array, at, matrix))
        self._look = (mapNode.GetID(), bool(settings.contourLines and shown), bool(settings.contourSurfaces and shown),
                      len(at) // (2 if signed else 1), (-limits.full if signed else limits.low, limits.full),
                      colorNode.GetID())
        if self.node(mapNode) is not None:
            self.dress(self.node(mapNode).GetDisplayNode())

    def hide(self, mapNode):
        """Show nothing of the map's contours; they are kept."""
        self.cancel(mapNode)
        if self.node(mapNode) is not None:
            self.node(mapNode).GetDisplayNode().SetVisibility(False)

    def dress(self, displayNode):
        _mapID, lines, surfaces, count, window, colorID = self._look
        with slicer.util.NodeModify(displayNode):
            displayNode.SetVisibility(lines or surfaces)
            displayNode.SetVisibility2D(lines)
            displayNode.SetVisibility3D(surfaces)
            displayNode.SetSliceIntersectionThickness(2)
            displayNode.SetBackfaceCulling(False)  # inside and outside change places where axes are mirrored
            displayNode.SetOpacity(1.0 if count == 1 else 0.45)  # so that the inner ones are seen
            displayNode.SetSliceIntersectionOpacity(1.0)
            displayNode.SetActiveScalarName("Level")
            displayNode.SetScalarVisibility(True)
            displayNode.SetAndObserveColorNodeID(colorID)
            displayNode.SetScalarRangeFlag(slicer.vtkMRMLDisplayNode.UseManualScalarRange)
            displayNode.SetScalarRange(*window)


def levels(limits, count, signed):
    """The values of the contours: where the drawing begins, and further ones at equal steps up to the full color."""
    # Of two signs a hair more: a table of 256 colors begins to be visible within one of them.
    first = limits.threshold + (4 * limits.full / 255 if signed else 0)
    further = np.linspace(first, max(limits.full, first), int(min(max(count, 1), MOST_LEVELS)) + 1)[:-1]
    strengths = sorted({float(level) for level in further})
    return [-level for level in reversed(strengths)] + strengths if signed else strengths

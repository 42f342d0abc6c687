"""The layers of the slice views: the map goes over the volume, and the user's own layers come back."""

import slicer

from XAIExplainPanels import record


class Layers:
    """Shows a map in all slice views, and remembers what was there before the first map."""

    def __init__(self):
        self._before = {}

    @property
    def canRestore(self):
        return bool(self._before)

    def forget(self):
        self._before = {}

    def show(self, volumeNode, mapNode, mode, opacity):
        """
        Put the map into the slice views.

        :param mode: "overlay", "map" (the map alone) or "volume" (the volume alone).
        """
        self._remember()
        for composite in compositeNodes():
            newBackground = volumeNode is not None and composite.GetBackgroundVolumeID() != volumeNode.GetID()
            with slicer.util.NodeModify(composite):
                composite.SetBackgroundVolumeID(
                    volumeNode.GetID() if volumeNode is not None and mode != "map" else None)
                composite.SetForegroundVolumeID(mapNode.GetID() if mode != "volume" else None)
                composite.SetForegroundOpacity(1.0 if mode == "map" else opacity)
            if newBackground and mode != "map" and not self._showed(composite, volumeNode):
                self._fit(composite)

    def setOpacity(self, mapNode, opacity):
        """Opacity of the map, in the views that show it."""
        for composite in compositeNodes():
            if mapNode is not None and composite.GetForegroundVolumeID() == mapNode.GetID():
                composite.SetForegroundOpacity(opacity)

    def restore(self):
        """Give the views the layers that they had before the first map; layers that were deleted are left out."""
        for composite in compositeNodes():
            before = self._before.get(composite.GetID())
            if before is None:
                continue
            background, foreground, opacity = before
            composite.SetBackgroundVolumeID(existing(background))
            composite.SetForegroundVolumeID(existing(foreground))
            composite.SetForegroundOpacity(opacity)
        self.forget()

    def shown(self, mapNode):
        """Whether any slice view shows the map."""
        return any(composite.GetForegroundVolumeID() == mapNode.GetID() for composite in compositeNodes())

    def _remember(self):
        for composite in compositeNodes():
            foreground = composite.GetForegroundVolumeID()
            isMap = record.isMap(slicer.mrmlScene.GetNodeByID(foreground)) if foreground else False
            if composite.GetID() not in self._before and not isMap:
                self._before[composite.GetID()] = (
                    composite.GetBackgroundVolumeID(), foreground, composite.GetForegroundOpacity()
                )  # fmt: skip

    def _showed(self, composite, volumeNode):
        before = self._before.get(composite.GetID())
        return before is not None and before[0] == volumeNode.GetID()

    def _fit(self, composite):
        layoutManager = slicer.app.layoutManager()
        if layoutManager is None:
            return
        for name in layoutManager.sliceViewNames():
            logic = layoutManager.sliceWidget(name).sliceLogic()
            if logic.GetSliceCompositeNode().GetID() == composite.GetID():
                logic.FitSliceToBackground()


def compositeNodes():
    return slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")


def existing(nodeID):
    return nodeID if nodeID and slicer.mrmlScene.GetNodeByID(nodeID) else None


def jumpTo(position):
    """Let all slice views cut through the position (RAS); what they show stays where it is on the screen."""
    slicer.vtkMRMLSliceNode.JumpAllSlices(
        slicer.mrmlScene, position[0], position[1], position[2], slicer.vtkMRMLSliceNode.OffsetJumpSlice
    )


def sliceOffsets():
    """Where each slice view cuts, by its name; to tell whether the user has moved it."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    return {node.GetID(): round(node.GetSliceOffset(), 3) for node in nodes}

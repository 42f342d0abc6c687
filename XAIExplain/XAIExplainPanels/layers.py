"""The layers of the slice views: the map goes over the volume, and the user's own layers come back."""

import slicer

from XAIExplainPanels import made, record
from XAIExplainPanels.compareLayouts import VIEW_PREFIX


class Layers:
    """Shows a map in all slice views, and remembers what was there before the first map."""

    def __init__(self):
        self._before = {}
        self._labels = {}  # the user's label layers, where a map lies in their place

    @property
    def canRestore(self):
        return bool(self._before)

    def forget(self):
        self._before = {}
        self._labels = {}

    def show(self, volumeNode, mapNode, mode, opacity):
        """
        Put the map into the slice views.

        :param mode: "overlay", "map" (the map alone) or "volume" (the volume alone).
        """
        self._remember()
        for composite in compositeNodes():
            newBackground = volumeNode is not None and composite.GetBackgroundVolumeID() != volumeNode.GetID()
            with slicer.util.NodeModify(composite):
                self._giveLabelBack(composite)
                composite.SetBackgroundVolumeID(
                    volumeNode.GetID() if volumeNode is not None and mode != "map" else None)
                composite.SetForegroundVolumeID(mapNode.GetID() if mode != "volume" else None)
                composite.SetForegroundOpacity(1.0 if mode == "map" else opacity)
            if newBackground and mode != "map" and not self._showed(composite, volumeNode):
                self._fit(composite)

    def setOpacity(self, mapNode, opacity):
        """Opacity of the map, in the views that show it."""
        for composite in compositeNodes():
            if mapNode is not None and mapNode.GetID() in (composite.GetForegroundVolumeID(), coloredMap(composite)):
                composite.SetForegroundOpacity(opacity)

    def color(self, mapNode, coloredNode):
        """
        Show the map by a volume of colors, in the views that show the map. The map itself is unseen in the label layer,
        for its legend and for the value under the mouse. None shows the map itself, and so does a view without a
        volume behind it: Slicer cannot draw colors with an opacity on nothing.
        """
        for composite in compositeNodes():
            if mapNode.GetID() not in (composite.GetForegroundVolumeID(), coloredMap(composite)):
                continue
            with slicer.util.NodeModify(composite):
                if coloredNode is not None and existing(composite.GetBackgroundVolumeID()):
                    if coloredMap(composite) is None:
                        self._labels[composite.GetID()] = (composite.GetLabelVolumeID(), composite.GetLabelOpacity())
                    composite.SetForegroundVolumeID(coloredNode.GetID())
                    composite.SetLabelVolumeID(mapNode.GetID())
                    composite.SetLabelOpacity(0.0)
                else:
                    self._giveLabelBack(composite)
                    composite.SetForegroundVolumeID(mapNode.GetID())

    def onNodeRemoved(self, node):
        """A node has left the scene: a map in the place of the user's label layer, or the volume behind one."""
        for composite in compositeNodes():
            if composite.GetID() in self._labels and composite.GetLabelVolumeID() in (None, node.GetID()):
                self._giveLabelBack(composite)
            elif coloredMap(composite) is not None and not existing(composite.GetBackgroundVolumeID()):
                mapID = coloredMap(composite)
                self._giveLabelBack(composite)
                composite.SetForegroundVolumeID(mapID)

    def restore(self):
        """Give the views the layers that they had before the first map; layers that were deleted are left out."""
        for composite in compositeNodes():
            before = self._before.get(composite.GetID())
            if before is None:
                continue
            self._giveLabelBack(composite)
            background, foreground, opacity = before
            composite.SetBackgroundVolumeID(existing(background))
            composite.SetForegroundVolumeID(existing(foreground))
            composite.SetForegroundOpacity(opacity)
        self.forget()

    def shown(self, mapNode):
        """Whether any slice view shows the map."""
        return any(mapNode.GetID() in (composite.GetForegroundVolumeID(), coloredMap(composite))
                   for composite in compositeNodes())

    def _remember(self):
        for composite in compositeNodes():
            foreground = composite.GetForegroundVolumeID()
            shown = slicer.mrmlScene.GetNodeByID(foreground) if foreground else None
            isMap = record.isMap(shown) or made.isMade(shown)
            if composite.GetID() not in self._before and not isMap:
                self._before[composite.GetID()] = (
                    composite.GetBackgroundVolumeID(), foreground, composite.GetForegroundOpacity()
                )  # fmt: skip

    def _giveLabelBack(self, composite):
        """The user's label layer, where a map lies in its place."""
        if coloredMap(composite) is not None or composite.GetID() in self._labels:
            label, opacity = self._labels.pop(composite.GetID(), (None, 1.0))
            composite.SetLabelVolumeID(existing(label))
            composite.SetLabelOpacity(opacity)

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
    """Of all views but those of a comparison, which have their own maps."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    return [node for node in nodes if not (node.GetLayoutName() or "").startswith(VIEW_PREFIX)]


def coloredMap(composite):
    """The ID of the map that lies unseen in the label layer, or None."""
    label = composite.GetLabelVolumeID()
    return label if label and record.isMap(slicer.mrmlScene.GetNodeByID(label)) else None


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

"""Results side by side: a layout with one linked slice view a result. The user's own views are not touched."""

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from XAIExplainLib.errors import XAIError
from XAIExplainPanels import record
from XAIExplainPanels.compareLayouts import (
    COLUMNS,
    FIRST_LAYOUT,
    MOST,
    VIEW_GROUP,
    VIEW_PREFIX,
    compositeNode,
    layoutNode,
    registerLayouts,
    shownCount,
    sliceNode,
)
from XAIExplainPanels.contours import Contours
from XAIExplainPanels.display import MapDisplay
from XAIExplainPanels.stepwise import letGo
from XAIExplainPanels.strength import READ, Strength, peakPosition, some, stateOf

CHOSEN = "XAIExplain.Compared"
ORIENTATIONS = ("Axial", "Sagittal", "Coronal")
SETTLE_ROUNDS, SETTLE_MILLISECONDS = 8, 25
LABEL_LENGTHS = {2: 28, 3: 16}  # characters, by the number of columns: a longer name would push its view wide


class Comparison:
    """
    Shows two to six results of one volume.

    :param display: what draws maps one at a time; it draws them again as they were when the comparison ends.
    """

    def __init__(self, display):
        self.display = display
        self._scale = CommonDisplay()
        self._layoutBefore = None
        self._settings = None
        self._own = []  # IDs of the slice views that the user had on the screen
        self._placed = False  # whether the views of the comparison cut where somebody wants them to
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self.settle)
        self._sizes, self._rounds = None, 0
        self.changing = False  # whether views are coming or going, so that what they show is not to be judged

    def close(self):
        """The module goes."""
        letGo(self._timer, self.settle)

    def maps(self):
        """The maps that the views of the comparison show, in their order; deleted ones are left out."""
        found = []
        for number in range(1, MOST + 1):
            composite = compositeNode(number)
            mapID = composite.GetForegroundVolumeID() if composite is not None else None
            mapNode = slicer.mrmlScene.GetNodeByID(mapID) if mapID else None
            if record.isMap(mapNode):
                found.append(mapNode)
        return found

    @property
    def active(self):
        """Whether the layout of a comparison is on the screen."""
        return shownCount() > 0

    def start(self, maps, settings):
        """
        Put the maps side by side, over the volume that they explain.

        :param maps: two to six maps of one volume.
        :param settings: the module's parameter node: orientation, window and all that the display has.
        :raises XAIError: if there are too few or too many maps, or they explain different volumes.
        """
        volumeNode = checked(maps)
        manager = slicer.app.layoutManager()
        if manager is None:
            raise XAIError(_("There is no window to show the results in."), _("Start Slicer with its main window."))
        self.changing = True
        try:
            self._arrange(maps, volumeNode, manager, settings)
        finally:
            self.changing = False
        self.update(settings)
        self.orient(settings.compareOrientation)
        self._sizes, self._rounds = None, SETTLE_ROUNDS
        self._timer.start(0)

    def _arrange(self, maps, volumeNode, manager, settings):
        if not self.active:
            self._own = [node.GetID() for node in sliceNodes() if node.IsMappedInLayout()]
            self._layoutBefore = layoutNode().GetViewArrangement()
            settings.layoutBefore = self._layoutBefore
        registerLayouts()
        manager.setLayout(FIRST_LAYOUT + len(maps))
        names = labels(maps)
        for number, mapNode in enumerate(maps, 1):
            composite = compositeNode(number)
            composite.SetLinkedControl(0)  # what is set now is for this view only
            # A view that is younger than a legend shows it only if the layer is set as if by hand.
            composite.SetInteractionFlags(composite.ForegroundVolumeFlag)
            composite.SetInteracting(1)
            with slicer.util.NodeModify(composite):
                composite.SetBackgroundVolumeID(volumeNode.GetID())
                composite.SetForegroundVolumeID(mapNode.GetID())
                composite.SetForegroundOpacity(settings.opacity)
            composite.SetInteracting(0)
            composite.SetInteractionFlags(0)
            composite.SetLinkedControl(1)
            composite.SetHotLinkedControl(1)
            node = sliceNode(number)
            node.SetViewGroup(VIEW_GROUP)
            node.SetLayoutLabel(names[number - 1])
        self._remove(len(maps) + 1)

    def orient(self, orientation):
        """Turn all views of the comparison; where they were turned otherwise, let them cut where the user's own do."""
        maps = self.maps()
        if orientation not in ORIENTATIONS or not maps:
            return
        nodes = [sliceNode(1)] if self._placed else []
        place = position(maps, orientation, nodes + [slicer.mrmlScene.GetNodeByID(nodeID) for nodeID in self._own])
        manager = slicer.app.layoutManager()
        nodes = [sliceNode(number) for number in range(1, len(maps) + 1)]
        for node in nodes:
            node.SetOrientation(orientation)
            widget = manager.sliceWidget(node.GetName())
            if widget is not None:
                widget.sliceLogic().FitSliceToBackground()
            if place is not None:
                node.JumpSliceByOffsetting(*place)
        sameZoom(nodes)
        self._placed = True

    def settle(self):
        """Fit the views again when their sizes have changed: a new layout gives them their sizes bit by bit."""
        if not self.active or self._settings is None:
            return
        sizes = [sliceNode(number).GetDimensions() for number in range(1, len(self.maps()) + 1)]
        if sizes != self._sizes:
            self._sizes = sizes
            self.orient(self._settings.compareOrientation)
        self._rounds -= 1
        if self._rounds > 0:
            self._timer.start(SETTLE_MILLISECONDS)

    def update(self, settings):
        """Draw the maps by the module's settings: each on its own scale, or all on one."""
        self._settings = settings
        maps = self.maps()
        self._scale.pool(maps if settings.compareCommonWindow else [])
        shown = ComparisonSettings(settings)
        for number in range(1, MOST + 1):
            composite = compositeNode(number)
            mapID = composite.GetForegroundVolumeID() if composite is not None else None
            if mapID and composite.GetForegroundOpacity() != settings.opacity:
                composite.SetForegroundOpacity(settings.opacity)
        for mapNode in maps:
            self._scale.update(mapNode, shown)

    def stop(self, settings=None):
        """
        Give the user's layout back (another one that the user has chosen meanwhile stays), and draw the maps as they
        are drawn alone.
        """
        settings = settings or self._settings
        before = self._layoutBefore or (settings.layoutBefore if settings is not None else 0)
        maps = self.maps()
        self._leave(before)
        if settings is None:
            return
        settings.layoutBefore = 0
        self._scale.pool([])
        for mapNode in maps:
            if settings.mapVolume is not None and mapNode.GetID() == settings.mapVolume.GetID():
                self.display.update(mapNode, settings)
            else:
                self._scale.update(mapNode, ComparisonSettings(settings))

    def forget(self):
        """The scene closes: the user's layout comes back."""
        self._leave(self._layoutBefore)

    def _leave(self, before):
        self._layoutBefore = self._settings = None
        self._own, self._placed = [], False
        self._timer.stop()
        self.changing = True
        try:
            if self.active:
                layoutNode().SetViewArrangement(before or slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)
            self._remove(1)
        finally:
            self.changing = False

    def _remove(self, first):
        """Take views out of the scene; Slicer's layout manager deletes their widgets."""
        manager = slicer.app.layoutManager()
        for number in range(first, MOST + 1):
            widget = manager.sliceWidget(VIEW_PREFIX + str(number)) if manager is not None else None
            nodes = sliceModels(widget.sliceLogic()) if widget is not None else []
            # The slice first: with it goes the logic, which would make the others again.
            for node in (sliceNode(number), compositeNode(number), *nodes):
                if node is not None and slicer.mrmlScene.IsNodePresent(node):
                    slicer.mrmlScene.RemoveNode(node)


class ComparisonSettings:
    """The module's settings as a comparison reads them: nothing is in 3D."""

    others = {"viewMode": "overlay", "renderedIn3D": False, "contourLines": False, "contourSurfaces": False,
              "anatomyIn3D": False, "fading": False, "cells": False}  # fmt: skip

    def __init__(self, settings):
        self._settings = settings

    def __getattr__(self, name):
        return self.others[name] if name in self.others else getattr(self._settings, name)


class CommonDisplay(MapDisplay):
    """Draws each map by its own strength, or by that of all together."""

    def __init__(self):
        super().__init__()
        self.contours = HiddenContours()
        self._own = {}
        self._pooled = None
        self._pooledOf = None

    def pool(self, maps):
        """Let these maps have one scale; an empty list gives each its own."""
        self._own = {key: value for key, value in self._own.items() if slicer.mrmlScene.GetNodeByID(key) is not None}
        states = tuple(stateOf(mapNode) for mapNode in maps)
        if states == self._pooledOf:
            return
        self._pooledOf, self._pooled = states, Strength(together(maps)) if maps else None

    def strength(self, mapNode):
        if self._pooled is not None:
            return self._pooled
        key = mapNode.GetID()
        if key not in self._own or self._own[key].state != stateOf(mapNode):
            self._own[key] = Strength(mapNode)
        return self._own[key]

    def _updateSurroundings(self, mapNode, settings):
        """The 3D views stay as they are."""


class HiddenContours(Contours):
    """Views of other results would show the contours of a map too, so there are none; they are kept."""

    def update(self, mapNode, *_settings):
        self.hide(mapNode)


def together(maps):
    """A node outside of the scene with voxels of all maps, each map by as many, and the extremes of all."""
    node = slicer.vtkMRMLScalarVolumeNode()
    values = []
    for mapNode in maps:
        array = slicer.util.arrayFromVolume(mapNode).reshape(-1)
        values += [some(array, READ // len(maps)), [array.min(), array.max()]]
    slicer.util.updateVolumeFromArray(node, np.concatenate(values).astype(np.float32).reshape(1, 1, -1))
    return node


def checked(maps):
    """The volume that all of the maps explain.

    :raises XAIError: see `Comparison.start`.
    """
    if not 2 <= len(maps) <= MOST:
        raise XAIError(_("{count} results are checked.").format(count=len(maps)),
                       _("Check two to {most} results of one volume.").format(most=MOST))
    volumes = [record.explainedVolume(mapNode) for mapNode in maps]
    if any(volume is None for volume in volumes):
        raise XAIError(_("The volume of a result is no longer in the scene."), _("Check only results that have one."))
    if any(volume.GetID() != volumes[0].GetID() for volume in volumes):
        raise XAIError(_("These results explain different volumes."), _("Check results of one volume."))
    return volumes[0]


def position(maps, orientation, nodes):
    """
    Where the views of a comparison should cut (RAS): where the first of the nodes does that has this orientation; else
    where the first map is strongest. None if that map is zero.
    """
    for node in nodes:
        if node is not None and node.GetOrientation() == orientation:
            return tuple(node.GetSliceToRAS().GetElement(row, 3) for row in range(3))
    return peakPosition(maps[0])[0]


def sameZoom(nodes):
    """Give views of different sizes the same millimeters in a pixel: that of the one that shows the least."""
    pixel = max(node.GetFieldOfView()[0] / max(1, node.GetDimensions()[0]) for node in nodes)
    for node in nodes:
        width, height = node.GetDimensions()[:2]
        node.SetFieldOfView(pixel * max(1, width), pixel * max(1, height), node.GetFieldOfView()[2])


def sliceModels(logic):
    """The nodes that a slice view has in the scene for the 3D views."""
    model = logic.GetSliceModelNode()
    return [model, logic.GetSliceModelDisplayNode(), model.GetParentTransformNode() if model is not None else None]


def sliceNodes(comparisons=False):
    """The slice views of comparisons, or all others."""
    return [node for node in slicer.util.getNodesByClass("vtkMRMLSliceNode")
            if node.GetLayoutName().startswith(VIEW_PREFIX) == comparisons]


def labels(maps, length=None):
    """
    A short name for each view: what the results differ in, of method, target and model; the method if in nothing.

    :param length: characters, at most; None is what fits over a view of a comparison.
    """
    rows = [[attribute(mapNode, "Title"), attribute(mapNode, "Target") or predicted(mapNode),
             attribute(mapNode, "Model")] for mapNode in maps]
    differ = [column for column in range(3) if len({row[column] for row in rows}) > 1] or [0]
    length = length or LABEL_LENGTHS.get(COLUMNS.get(len(maps)), 40)
    found = []
    for row in rows:
        label = ", ".join(row[column] for column in differ if row[column]) or _("Result")
        found.append(label if len(label) <= length else label[: length - 1].rstrip() + "\u2026")
    return [label if found.count(label) == 1 else "{} {}".format(label, found[: index + 1].count(label))
            for index, label in enumerate(found)]


def nameWithoutVolume(mapNode):
    """The map's name without that of its volume, which most maps begin with."""
    name, volumeName = mapNode.GetName(), attribute(mapNode, "Volume")
    return name[len(volumeName):].strip() if volumeName and name.startswith(volumeName + " ") else name


def attribute(mapNode, name):
    return mapNode.GetAttribute("XAIExplain." + name) or ""


def predicted(mapNode):
    """The class that the network answered, where the map explains its answer."""
    return ((record.readRecord(mapNode).get("prediction") or {}).get("predicted") or {}).get("name", "")


def chosen(maps):
    """Those of the maps that are checked to be compared: all that the user has not taken out."""
    return [mapNode for mapNode in maps if mapNode.GetAttribute(CHOSEN) != "false"]


def choose(mapNode, wanted):
    """Check a map to be compared, or take it out."""
    mapNode.SetAttribute(CHOSEN, "true" if wanted else "false")


"""How a map is drawn: colors, window, threshold, legend and what is in 3D, all from the module's settings."""

from collections import namedtuple

import slicer
import vtk
from slicer.i18n import tr as _

from XAIExplainPanels import colors, made, record
from XAIExplainPanels.anatomy import Anatomy
from XAIExplainPanels.coloring import Coloring
from XAIExplainPanels.contours import Contours
from XAIExplainPanels.layers import Layers
from XAIExplainPanels.record import explainedVolume
from XAIExplainPanels.sequences import framesOf, pooled
from XAIExplainPanels.strength import Strength, above, stateOf
from XAIExplainPanels.threeDViews import ThreeDViews

COLOR_REFERENCE = "XAIExplain.Colors"
KEPT = 8  # maps whose strength is kept; a few MB each

# The weakest value that is drawn, and the values of the first and the last color.
Limits = namedtuple("Limits", ("threshold", "low", "full"))


class MapDisplay:
    """Draws maps. The settings are the display part of the module's parameter node."""

    def __init__(self):
        self.layers = Layers()
        self.coloring = Coloring()
        self.contours = Contours()
        self.anatomy = Anatomy()
        self.threeD = ThreeDViews()
        self.deleted = set()  # the roles of surfaces that the user has deleted, for the panel to see
        self._strengths = {}  # map's ID: its strength
        self._toRender = None  # ID of a map that is to be volume rendered, and the settings

    @property
    def services(self):
        """What makes nodes from volumes, the most urgent first."""
        return (self.coloring, self.contours, self.anatomy)

    def strength(self, mapNode):
        """The map's percentiles, found again only when its voxels have changed; of a sequence's map those of all."""
        state, values = pooled(mapNode)
        state = state or stateOf(mapNode)
        known = self._strengths.get(mapNode.GetID())
        if known is None or known.state != state:
            known = Strength(mapNode, state, values and values())
            self._keep(mapNode, known)
        return known

    def know(self, mapNode, strength):
        """The strength of the map's voxels, from somebody who has looked at them; of a few maps it is kept."""
        strength.state = stateOf(mapNode)
        self._keep(mapNode, strength)

    def _keep(self, mapNode, strength):
        self._strengths.pop(mapNode.GetID(), None)
        while len(self._strengths) >= KEPT:
            self._strengths.pop(next(iter(self._strengths)))
        self._strengths[mapNode.GetID()] = strength

    def threshold(self, mapNode, settings):
        """The weakest value that is drawn; never zero, which is nothing."""
        strength = self.strength(mapNode)
        if settings.thresholdMode == "value":
            return max(settings.thresholdValue, strength.at(0))
        if settings.thresholdMode == "relevance":
            return strength.relevance(settings.relevancePercent)
        # Of a map on its way as much is drawn as of the whole, so less is hidden.
        drawn = (100 - settings.hiddenPercent) / record.shareDone(mapNode)
        return strength.threshold(max(0.0, 100 - drawn))

    def limits(self, mapNode, settings):
        """What is drawn, and in which colors."""
        threshold = self.threshold(mapNode, settings)
        if settings.windowMode == "value":
            low = max(0.0, settings.windowLow)
            return Limits(threshold, low, above(settings.windowHigh, low))
        return Limits(threshold, threshold, self.strength(mapNode).full(settings.fullColorPercent, threshold))

    def show(self, mapNode, settings):
        """Draw the map over the volume that it explains, and no other map in 3D."""
        volume = explainedVolume(mapNode)
        for other in record.maps():
            if other.GetID() != mapNode.GetID():
                self._hideIn3D(other)
                if explainedVolume(other) is not None and explainedVolume(other) != volume:
                    self.anatomy.hide(explainedVolume(other))
        self.layers.show(volume, mapNode, settings.viewMode, settings.opacity)
        self.update(mapNode, settings)  # after it: a legend of a map that no view shows yet would not be drawn

    def hide(self, mapNode):
        """Give the views back what they showed before the first map. The map stays in the scene."""
        self.layers.restore()
        self._toRender = None
        if mapNode is not None:
            self._hideIn3D(mapNode)
            if explainedVolume(mapNode) is not None:
                self.anatomy.hide(explainedVolume(mapNode))
            legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(mapNode)
            if legend is not None:
                legend.SetVisibility(False)
        self.threeD.restore()

    def update(self, mapNode, settings):
        """Give the map's display the settings; the layers of the views stay."""
        if stateOf(mapNode) is None:
            return
        if mapNode.GetDisplayNode() is None:
            mapNode.CreateDefaultDisplayNodes()
        limits = self.limits(mapNode, settings)
        signed = isSigned(mapNode)
        colorNode = self._colorNode(mapNode)
        colors.updateColorNode(colorNode, colorMapOf(settings, signed), signed, limits.low, limits.full,
                               limits.threshold)
        displayNode = mapNode.GetDisplayNode()
        with slicer.util.NodeModify(displayNode):
            displayNode.SetAndObserveColorNodeID(colorNode.GetID())
            displayNode.AutoWindowLevelOff()
            displayNode.SetWindowLevelMinMax(-limits.full if signed else limits.low, limits.full)
            displayNode.SetInterpolate(1 if settings.interpolate else 0)
            # The colors hide what is weak to the width of one color; for one sign the threshold does it exactly.
            displayNode.AutoThresholdOff()
            displayNode.SetThreshold(limits.threshold, max(self.strength(mapNode).maximum, *limits))
            displayNode.SetApplyThreshold(0 if signed else 1)
        self._updateLegend(mapNode, settings)
        self._updateRendering(mapNode, settings, limits, signed)
        if not (settings.fading or settings.cells):
            self.layers.color(mapNode, None)
        self.coloring.update(mapNode, settings, limits, signed, colorMapOf(settings, signed))
        self.layers.color(mapNode, self.coloring.node(mapNode))
        self.contours.update(mapNode, settings, limits, signed, colorNode)
        self._updateSurroundings(mapNode, settings)

    @property
    def pending(self):
        """Whether anything is still being made from a map or its volume; see `step`."""
        return self._toRender is not None or any(service.pending for service in self.services)

    def step(self):
        """Do a little of what is pending, some milliseconds; returns whether there is more."""
        if self._toRender is not None:
            self._makeRendering()
            return self.pending
        service = next((service for service in self.services if service.pending), None)
        if service is None:
            return False
        wasThere, owner = self._anythingIn3D(), service.owner
        service.step()
        if service is self.coloring and not service.pending and owner is not None:
            self.layers.color(owner, self.coloring.node(owner))
        if not wasThere and self._anythingIn3D():
            self.threeD.look()
        return self.pending

    def finish(self):
        """Do all that is pending, for a script that does not want to wait."""
        while self.step():
            pass

    def follow(self, mapNode):
        """Let what was made stay with the map and its volume; also what came with a scene that was opened."""
        self.coloring.follow(mapNode)
        self.contours.follow(mapNode)
        if explainedVolume(mapNode) is not None:
            self.anatomy.follow(explainedVolume(mapNode))

    def onNodeRemoved(self, node):
        """A node has left the scene."""
        self._strengths.pop(node.GetID(), None)
        if made.isMade(node) and not slicer.mrmlScene.IsClosing():
            self.deleted.add(node.GetAttribute(made.ROLE))
        if not slicer.mrmlScene.IsClosing():
            self.layers.onNodeRemoved(node)
            volume = self.anatomy.owner
            if volume is not None and not any(explainedVolume(one) == volume for one in record.maps()):
                self.anatomy.cancel(volume)

    def forget(self):
        """The scene is being closed, or the module goes."""
        self._strengths.clear()
        self._toRender = None
        self.layers.forget()
        self.threeD.forget()
        for service in self.services:
            service.forget()

    def _colorNode(self, mapNode):
        """The map's own color table: its transparent part depends on the map."""
        node = mapNode.GetNodeReference(COLOR_REFERENCE)
        if node is None:
            node = slicer.mrmlScene.AddNewNodeByClass(
                "vtkMRMLColorTableNode", slicer.mrmlScene.GenerateUniqueName(
                    _("{name} colors").format(name=mapNode.GetName())))
            node.SetHideFromEditors(False)  # a hidden color node would not be saved with the scene
            node.SetAttribute("Category", "XAIExplain")
            mapNode.SetNodeReferenceID(COLOR_REFERENCE, node.GetID())
        return node

    def _updateLegend(self, mapNode, settings):
        logic = slicer.modules.colors.logic()
        legend = logic.GetColorLegendDisplayNode(mapNode)
        if legend is None:
            if not settings.legendVisible:
                return
            legend = logic.AddDefaultColorLegendDisplayNode(mapNode)
            legend.SetLabelFormat("%.3g")
            legend.SetNumberOfLabels(5)
            legend.SetSize(0.1, 0.42)
            legend.SetPosition(0.98, 0.5)
        title, units = mapNode.GetAttribute("XAIExplain.Title"), mapNode.GetAttribute("XAIExplain.Units")
        legend.SetTitleText("\n".join(text for text in (title, units) if text))
        legend.SetVisibility(bool(settings.legendVisible and settings.viewMode != "volume"))

    def _updateRendering(self, mapNode, settings, limits, signed):
        logic = slicer.modules.volumerendering.logic()
        rendering = logic.GetFirstVolumeRenderingDisplayNode(mapNode)
        self._toRender = None
        if rendering is None:
            if settings.renderedIn3D:
                self._toRender = (mapNode.GetID(), settings)  # Slicer takes its time to make the nodes
            return
        volumeProperty = rendering.GetVolumePropertyNode()
        color, opacity = vtk.vtkColorTransferFunction(), vtk.vtkPiecewiseFunction()
        at, scale, _shown = colors.entries(colorMapOf(settings, signed), signed, limits.low, limits.full,
                                           limits.threshold)
        for index in range(0, colors.ENTRIES, 5):
            color.AddRGBPoint(at[index], *scale[index])
        for value, amount in opacityRamp(limits.threshold, limits.full, signed):
            opacity.AddPoint(value, amount)
        volumeProperty.SetColor(color)
        volumeProperty.SetScalarOpacity(opacity)
        rendering.SetVisibility(bool(settings.renderedIn3D and settings.viewMode != "volume"))

    def _makeRendering(self):
        """Make the nodes of a volume rendering that was wanted."""
        (mapID, settings), self._toRender = self._toRender, None
        mapNode = slicer.mrmlScene.GetNodeByID(mapID)
        if mapNode is None or stateOf(mapNode) is None or not settings.renderedIn3D:
            return
        wasThere = self._anythingIn3D()
        rendering = slicer.modules.volumerendering.logic().CreateDefaultVolumeRenderingNodes(mapNode)
        rendering.SetFollowVolumeDisplayNode(0)
        if not wasThere:
            self.threeD.look()
        self._updateRendering(mapNode, settings, self.limits(mapNode, settings), isSigned(mapNode))

    def _updateSurroundings(self, mapNode, settings):
        """What else is in the 3D views: the anatomy's surface, and the user's own things."""
        self.anatomy.update(explainedVolume(mapNode), settings.anatomyIn3D and settings.viewMode != "map",
                            settings.anatomyOpacity)
        if settings.viewMode == "map":
            self.threeD.isolate()
        else:
            self.threeD.release()

    def _anythingIn3D(self):
        """Whether any map or surface of this module is in the 3D views."""
        logic = slicer.modules.volumerendering.logic()
        renderings = [logic.GetFirstVolumeRenderingDisplayNode(node) for node in record.maps()]
        models = [node.GetDisplayNode() for node in slicer.util.getNodesByClass("vtkMRMLModelNode")
                  if made.isMade(node)]
        return (any(node is not None and node.GetVisibility() for node in renderings)
                or any(node is not None and node.GetVisibility() and node.GetVisibility3D() for node in models))

    def _hideIn3D(self, mapNode):
        rendering = slicer.modules.volumerendering.logic().GetFirstVolumeRenderingDisplayNode(mapNode)
        if rendering is not None:
            rendering.SetVisibility(False)
        self.contours.hide(mapNode)

    def companions(self, node):
        """
        The nodes that only serve this one, and go with it. A map has its display nodes, its colors, what its rendering
        needs, its contours, and the surface of a volume that no other map explains; a volume its surface; a surface
        its display.
        """
        if made.isMade(node):
            return made.companions(node)
        ours = [service.node(node) for service in self.services]
        nodes = []
        if record.isMap(node):
            nodes.append(node.GetNodeReference(COLOR_REFERENCE))
            if framesOf(node) is not None:
                nodes += [framesOf(node).GetStorageNode(), framesOf(node), node.GetStorageNode()]
            for index in range(node.GetNumberOfDisplayNodes()):
                displayNode = node.GetNthDisplayNode(index)
                if displayNode is not None and displayNode.IsA("vtkMRMLVolumeRenderingDisplayNode"):
                    nodes += [displayNode.GetVolumePropertyNode(), displayNode.GetROINode()]
                nodes.append(displayNode)
            volume = explainedVolume(node)
            others = [explainedVolume(other) for other in record.maps() if other.GetID() != node.GetID()]
            if volume is not None and all(other is None or other.GetID() != volume.GetID() for other in others):
                ours.append(self.anatomy.node(volume))
        for one in ours:
            nodes += [*made.companions(one), one] if one is not None else []
        return [companion for companion in nodes if companion is not None]


def isSigned(mapNode):
    return mapNode.GetAttribute("XAIExplain.Signed") == "true"


def colorMapOf(settings, signed):
    """The chosen color scale of maps of this kind."""
    return settings.signedColorMap if signed else settings.colorMap


def opacityRamp(threshold, full, signed):
    """Value and opacity of the corners: nothing below the threshold, then growing with the value."""
    start = max(threshold, full * 0.02)
    positive = [(start * 0.999, 0.0), (start, 0.1), (max(full, start * 1.01), 0.7)]
    if not signed:
        return [(0.0, 0.0), *positive]
    return [(-value, amount) for value, amount in reversed(positive)] + [(0.0, 0.0)] + positive

"""How a map is drawn: colors, window, threshold, legend and volume rendering, all from the module's settings."""

import slicer
import vtk
from slicer.i18n import tr as _

from XAIExplainPanels import colors, record
from XAIExplainPanels.layers import Layers
from XAIExplainPanels.record import explainedVolume
from XAIExplainPanels.strength import Strength, stateOf

COLOR_REFERENCE = "XAIExplain.Colors"


class MapDisplay:
    """Draws maps. The settings are the display part of the module's parameter node."""

    def __init__(self):
        self.layers = Layers()
        self._strength = None

    def strength(self, mapNode):
        """The map's percentiles, computed again only when its voxels have changed."""
        if self._strength is None or self._strength.state != stateOf(mapNode):
            self._strength = Strength(mapNode)
        return self._strength

    def threshold(self, mapNode, settings):
        """The weakest value that is drawn. Of a map on its way as much is drawn as of the whole, so less is hidden."""
        drawn = (100 - settings.hiddenPercent) / record.shareDone(mapNode)
        return self.strength(mapNode).threshold(max(0.0, 100 - drawn))

    def show(self, mapNode, settings):
        """Draw the map over the volume that it explains."""
        self.layers.show(explainedVolume(mapNode), mapNode, settings.viewMode, settings.opacity)
        self.update(mapNode, settings)  # after it: a legend of a map that no view shows yet would not be drawn

    def update(self, mapNode, settings):
        """Give the map's display the settings; the layers of the views stay."""
        if stateOf(mapNode) is None:
            return
        if mapNode.GetDisplayNode() is None:
            mapNode.CreateDefaultDisplayNodes()
        strength = self.strength(mapNode)
        threshold = self.threshold(mapNode, settings)
        full = strength.full(settings.fullColorPercent, threshold)
        signed = isSigned(mapNode)
        colorNode = self._colorNode(mapNode)
        colors.updateColorNode(colorNode, settings.colorMap, signed, threshold, full)
        displayNode = mapNode.GetDisplayNode()
        with slicer.util.NodeModify(displayNode):
            displayNode.SetAndObserveColorNodeID(colorNode.GetID())
            displayNode.AutoWindowLevelOff()
            displayNode.SetWindowLevelMinMax(-full if signed else threshold, full)
            displayNode.SetInterpolate(1 if settings.interpolate else 0)
            # The colors hide what is weak to the width of one color; for one sign the threshold does it exactly.
            displayNode.AutoThresholdOff()
            displayNode.SetThreshold(threshold, max(strength.maximum, full))
            displayNode.SetApplyThreshold(0 if signed else 1)
        self._updateLegend(mapNode, settings)
        self._updateRendering(mapNode, settings, threshold, full, signed)

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

    def _updateRendering(self, mapNode, settings, threshold, full, signed):
        logic = slicer.modules.volumerendering.logic()
        rendering = logic.GetFirstVolumeRenderingDisplayNode(mapNode)
        if rendering is None:
            if not settings.renderedIn3D:
                return
            rendering = logic.CreateDefaultVolumeRenderingNodes(mapNode)
            rendering.SetFollowVolumeDisplayNode(0)
            if slicer.app.layoutManager() is not None:
                slicer.util.resetThreeDViews()
        volumeProperty = rendering.GetVolumePropertyNode()
        color, opacity = vtk.vtkColorTransferFunction(), vtk.vtkPiecewiseFunction()
        at, scale, _shown = colors.entries(settings.colorMap, signed, threshold, full)
        for index in range(0, colors.ENTRIES, 5):
            color.AddRGBPoint(at[index], *scale[index])
        for value, amount in opacityRamp(threshold, full, signed):
            opacity.AddPoint(value, amount)
        volumeProperty.SetColor(color)
        volumeProperty.SetScalarOpacity(opacity)
        rendering.SetVisibility(bool(settings.renderedIn3D and settings.viewMode != "volume"))

    def companions(self, mapNode):
        """The nodes that only serve this map: its display nodes, its colors, and what its rendering needs."""
        nodes = [mapNode.GetNodeReference(COLOR_REFERENCE)]
        for index in range(mapNode.GetNumberOfDisplayNodes()):
            displayNode = mapNode.GetNthDisplayNode(index)
            if displayNode is not None and displayNode.IsA("vtkMRMLVolumeRenderingDisplayNode"):
                nodes += [displayNode.GetVolumePropertyNode(), displayNode.GetROINode()]
            nodes.append(displayNode)
        return [node for node in nodes if node is not None]


def isSigned(mapNode):
    return mapNode.GetAttribute("XAIExplain.Signed") == "true"


def opacityRamp(threshold, full, signed):
    """Value and opacity of the corners: nothing below the threshold, then growing with the value."""
    start = max(threshold, full * 0.02)
    positive = [(start * 0.999, 0.0), (start, 0.1), (max(full, start * 1.01), 0.7)]
    if not signed:
        return [(0.0, 0.0), *positive]
    return [(-value, amount) for value, amount in reversed(positive)] + [(0.0, 0.0)] + positive

"""How the map is shown."""

import slicer
from slicer.i18n import tr as _

from XAIExplainPanels import record
from XAIExplainPanels.colors import colorMapTitles
from XAIExplainPanels.figures import figure
from XAIExplainPanels.layers import jumpTo
from XAIExplainPanels.panel import Panel, comboData, fillCombo, selectData
from XAIExplainPanels.strength import peakPosition, stateOf


class DisplayPanel(Panel):
    """Settings of the map's display; every change is drawn at once."""

    uiFile = "displayPanel.ui"

    def __init__(self, desk):
        super().__init__(desk)
        self._drawn = None
        self.ui.mapSelector.addAttribute("vtkMRMLScalarVolumeNode", "XAIExplain.Method")
        fillCombo(self.ui.viewModeComboBox, [
            (_("Map over the volume"), "overlay"), (_("Map alone"), "map"), (_("Volume alone"), "volume")], "overlay")
        fillCombo(self.ui.colorMapComboBox, [(title, name) for name, title in colorMapTitles().items()], "automatic")
        self.ui.viewModeComboBox.connect("currentIndexChanged(int)", self.onViewMode)
        self.ui.colorMapComboBox.connect("currentIndexChanged(int)", self.onColorMap)
        self.ui.peakButton.connect("clicked(bool)", self.onPeak)
        self.ui.restoreButton.connect("clicked(bool)", self.onRestore)

    def refresh(self):
        node = self.node
        mapNode = node.mapVolume if node is not None else None
        shown = record.isMap(mapNode) and stateOf(mapNode) is not None
        self.widget.visible = shown or bool(record.maps())
        if node is not None:
            selectData(self.ui.viewModeComboBox, node.viewMode)
            selectData(self.ui.colorMapComboBox, node.colorMap)
        for widget in (self.ui.viewModeComboBox, self.ui.opacitySlider, self.ui.hiddenSlider, self.ui.fullColorSlider,
                       self.ui.colorMapComboBox, self.ui.legendCheckBox, self.ui.interpolateCheckBox,
                       self.ui.renderCheckBox, self.ui.peakButton):
            widget.enabled = shown
        if shown:
            self._draw(mapNode)
        self.ui.restoreButton.enabled = self.desk.logic.display.layers.canRestore
        self.ui.rangeLabel.text = self._rangeText(mapNode) if shown else ""
        self.ui.rangeLabel.visible = shown

    def setParameterNode(self, node):
        """What is in the scene now counts as drawn: a scene that was opened stays as it was saved."""
        super().setParameterNode(node)
        self._drawn = self._state()

    def _state(self):
        """All that the drawing depends on; None where there is no map."""
        node = self.node
        mapNode = node.mapVolume if node is not None else None
        if not record.isMap(mapNode) or stateOf(mapNode) is None:
            return None
        return (mapNode.GetID(), node.viewMode, stateOf(mapNode), node.opacity, node.hiddenPercent,
                node.fullColorPercent, node.colorMap, node.interpolate, node.legendVisible, node.renderedIn3D)

    def _draw(self, mapNode):
        """Draw what has changed since the last time."""
        node, display, wanted = self.node, self.desk.logic.display, self._state()
        if wanted == self._drawn:
            return
        before, self._drawn = self._drawn, wanted
        if before is None or before[:2] != wanted[:2]:
            display.show(mapNode, node)
        else:
            display.update(mapNode, node)
            display.layers.setOpacity(mapNode, node.opacity if node.viewMode == "overlay" else 1.0)

    def show(self, mapNode):
        """Draw a map in all slice views, whatever was drawn before; once, though the choice of another draws it too."""
        if self.node.viewMode == "volume":
            self.node.viewMode = "overlay"
        self._drawn = None
        self.node.mapVolume = mapNode
        if self._drawn is None:
            self.refresh()

    def _rangeText(self, mapNode):
        display = self.desk.logic.display
        strength = display.strength(mapNode)
        if strength.empty:
            return _("The map is zero everywhere: nothing in this volume speaks for or against the answer.")
        threshold = display.threshold(mapNode, self.node)
        full = strength.full(self.node.fullColorPercent, threshold)
        units = mapNode.GetAttribute("XAIExplain.Units") or ""
        text = _("Drawn from {low} to {high} {units}").format(
            low=figure(threshold), high=figure(full), units=units).strip()
        if mapNode.GetAttribute("XAIExplain.Signed") == "true":
            text += _(", for and against the answer")
        return text + "."

    def onViewMode(self, index):
        if self.node is not None:
            self.node.viewMode = comboData(self.ui.viewModeComboBox)

    def onColorMap(self, index):
        if self.node is not None:
            self.node.colorMap = comboData(self.ui.colorMapComboBox)

    def onPeak(self, checked=False):
        mapNode = self.node.mapVolume if self.node is not None else None
        if mapNode is None or stateOf(mapNode) is None:
            return
        position, value = peakPosition(mapNode)
        if position is None:
            self.desk.say(_("The map is zero everywhere, so it has no peak."))
            return
        jumpTo(position)
        self.desk.say(_("Peak of {value} {units} at R {r:.1f}, A {a:.1f}, S {s:.1f} mm.").format(
            value=figure(value), units=mapNode.GetAttribute("XAIExplain.Units") or "",
            r=position[0], a=position[1], s=position[2]))

    def onRestore(self, checked=False):
        self.desk.logic.display.layers.restore()
        mapNode = self.node.mapVolume if self.node is not None else None
        legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(mapNode) if mapNode is not None else None
        if legend is not None:
            legend.SetVisibility(False)
        if self.node is not None:
            self.node.mapVolume = None
        self._drawn = None
        self.desk.refresh()

"""How the map is shown."""

import math

import slicer
from slicer.i18n import tr as _

from XAIExplainPanels import record
from XAIExplainPanels.cells import hasCells
from XAIExplainPanels.colors import colorMapTitles, fitting
from XAIExplainPanels.display import isSigned
from XAIExplainPanels.figures import figure
from XAIExplainPanels.layers import jumpTo
from XAIExplainPanels.panel import Panel, comboData, fillCombo, selectData
from XAIExplainPanels.strength import peakPosition, stateOf

STEPS = 1000  # of the slider from zero to the strongest voxel

# All settings that the drawing depends on.
SETTINGS = ("opacity", "thresholdMode", "hiddenPercent", "thresholdValue", "relevancePercent", "windowMode",
            "fullColorPercent", "windowLow", "windowHigh", "colorMap", "signedColorMap", "fading", "cells",
            "interpolate", "legendVisible", "renderedIn3D", "contourLines", "contourSurfaces", "contourLevels",
            "anatomyIn3D", "anatomyOpacity")  # fmt: skip


class DisplayPanel(Panel):
    """Settings of the map's display; every change is drawn at once."""

    uiFile = "displayPanel.ui"

    def __init__(self, desk):
        super().__init__(desk)
        self._drawn = None
        self._scales = None
        ui = self.ui
        self._modes = {"overlay": ui.overButton, "map": ui.aloneButton, "volume": ui.hideButton}
        ui.mapSelector.addAttribute("vtkMRMLScalarVolumeNode", "XAIExplain.Method")
        fillCombo(ui.thresholdComboBox, [
            (_("Hide the weakest voxels"), "percentile"), (_("Draw the top of the relevance"), "relevance"),
            (_("Draw from a value on"), "value")], "percentile")
        fillCombo(ui.windowComboBox, [
            (_("From the threshold to a percentile"), "percentile"), (_("From a value to a value"), "value")],
            "percentile")
        for mode, button in self._modes.items():
            button.connect("clicked(bool)", lambda checked=False, mode=mode: self.onViewMode(mode))
        ui.thresholdComboBox.connect("currentIndexChanged(int)", self.onThresholdMode)
        ui.windowComboBox.connect("currentIndexChanged(int)", self.onWindowMode)
        ui.thresholdSlider.connect("valueChanged(int)", self.onThresholdSlider)
        self._edits = {"thresholdValue": ui.thresholdEdit, "windowLow": ui.windowLowEdit,
                       "windowHigh": ui.windowHighEdit}
        for name, edit in self._edits.items():
            edit.connect("editingFinished()", lambda name=name: self.onValue(name))
        ui.colorMapComboBox.connect("currentIndexChanged(int)", self.onColorMap)
        ui.peakButton.connect("clicked(bool)", self.onPeak)
        ui.restoreButton.connect("clicked(bool)", self.onRestore)

    @property
    def mapNode(self):
        """The chosen map, if it can be drawn."""
        mapNode = self.node.mapVolume if self.node is not None else None
        return mapNode if record.isMap(mapNode) and stateOf(mapNode) is not None else None

    def refresh(self):
        mapNode, ui = self.mapNode, self.ui
        shown = mapNode is not None
        self.widget.visible = shown or bool(record.maps())
        for widget in (*self._modes.values(), ui.opacitySlider, ui.thresholdComboBox, ui.hiddenSlider,
                       ui.relevanceSlider, ui.thresholdWidget, ui.windowComboBox, ui.fullColorSlider, ui.windowWidget,
                       ui.colorMapComboBox, ui.legendCheckBox, ui.interpolateCheckBox, ui.fadingCheckBox,
                       ui.cellsCheckBox, ui.renderCheckBox, ui.peakButton):
            widget.enabled = shown
        ui.cellsCheckBox.enabled = shown and hasCells(mapNode)
        if self.node is not None:
            self._refreshChoices(mapNode)
        if shown:
            self._draw(mapNode)
        ui.restoreButton.enabled = self.desk.logic.display.layers.canRestore
        ui.rangeLabel.text = self._rangeText(mapNode) if shown else ""
        ui.rangeLabel.visible = shown

    def setParameterNode(self, node):
        """What is in the scene now counts as drawn: a scene that was opened stays as it was saved."""
        super().setParameterNode(node)
        self._drawn = self._state()

    def _refreshChoices(self, mapNode):
        """What cannot be bound to the parameter node, and what is to be seen of the rest."""
        node, ui = self.node, self.ui
        for mode, button in self._modes.items():
            button.checked = mode == node.viewMode
        selectData(ui.thresholdComboBox, node.thresholdMode)
        selectData(ui.windowComboBox, node.windowMode)
        ui.hiddenSlider.visible = node.thresholdMode == "percentile"
        ui.relevanceSlider.visible = node.thresholdMode == "relevance"
        ui.thresholdWidget.visible = node.thresholdMode == "value"
        ui.fullColorSlider.visible = node.windowMode == "percentile"
        ui.windowWidget.visible = node.windowMode == "value"
        signed = mapNode is not None and isSigned(mapNode)
        if self._scales != signed:
            self._scales = signed
            fillCombo(ui.colorMapComboBox, [(title, name) for name, title in colorMapTitles(signed).items()], None)
        selectData(ui.colorMapComboBox, fitting(node.signedColorMap if signed else node.colorMap, signed))
        if mapNode is not None:
            largest = self.desk.logic.display.strength(mapNode).maximum
            wasBlocked = ui.thresholdSlider.blockSignals(True)
            ui.thresholdSlider.setValue(int(round(STEPS * min(1.0, node.thresholdValue / (largest or 1.0)))))
            ui.thresholdSlider.blockSignals(wasBlocked)
        for name, edit in self._edits.items():
            if not edit.modified:  # else the user types
                edit.text = "{:.4g}".format(getattr(node, name))

    def _state(self):
        """All that the drawing depends on; None where there is no map."""
        node, mapNode = self.node, self.mapNode
        if mapNode is None:
            return None
        return (mapNode.GetID(), node.viewMode, stateOf(mapNode), *(getattr(node, name) for name in SETTINGS))

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
        limits = display.limits(mapNode, self.node)
        units = mapNode.GetAttribute("XAIExplain.Units") or ""
        if limits.threshold > strength.maximum:
            return _("Nothing is drawn: the strongest voxel is {value} {units}. Lower the value.").format(
                value=figure(strength.maximum), units=units)
        text = _("Drawn from {low} to {high} {units}").format(
            low=figure(limits.threshold), high=figure(max(limits.full, limits.threshold)), units=units).strip()
        if isSigned(mapNode):
            text += _(", for and against the answer")
        return _("{drawn}: {voxels} % of the voxels, with {held} % of the relevance.").format(
            drawn=text, voxels=figure(100 - strength.percentile(limits.threshold)),
            held=figure(strength.held(limits.threshold)))

    def onViewMode(self, mode):
        if self.node is not None:
            self.node.viewMode = mode
            self.refresh()  # the button of the mode that was chosen already stays pressed

    def onThresholdMode(self, index):
        """Say by the other setting what is drawn now, and go on from there."""
        node, mapNode, mode = self.node, self.mapNode, comboData(self.ui.thresholdComboBox)
        if node is None or mapNode is None or mode == node.thresholdMode:
            return
        display = self.desk.logic.display
        threshold, strength = display.limits(mapNode, node).threshold, display.strength(mapNode)
        with slicer.util.NodeModify(node.parameterNode):
            if mode == "value":
                node.thresholdValue = threshold
            node.thresholdMode = mode
            if display.threshold(mapNode, node) == threshold:
                return  # the number of before means the same
            if mode == "relevance":
                node.relevancePercent = round(strength.held(threshold), 1)
            elif mode == "percentile":
                hidden = 100 - (100 - strength.percentile(threshold)) * record.shareDone(mapNode)
                node.hiddenPercent = min(99.9, max(0.0, round(hidden, 1)))

    def onWindowMode(self, index):
        """Say by the other setting which colors there are now, and go on from there."""
        node, mapNode, mode = self.node, self.mapNode, comboData(self.ui.windowComboBox)
        if node is None or mapNode is None or mode == node.windowMode:
            return
        display = self.desk.logic.display
        limits = display.limits(mapNode, node)
        with slicer.util.NodeModify(node.parameterNode):
            if mode == "value":
                node.windowLow, node.windowHigh = limits.low, limits.full
            node.windowMode = mode
            if display.limits(mapNode, node).full != limits.full:
                full = display.strength(mapNode).percentile(limits.full)
                node.fullColorPercent = min(100.0, max(50.0, round(full, 1)))

    def onThresholdSlider(self, position):
        mapNode = self.mapNode
        if mapNode is not None:
            value = position / STEPS * self.desk.logic.display.strength(mapNode).maximum
            self.node.thresholdValue = float("{:.3g}".format(value))

    def onValue(self, name):
        """A value was typed; the end of the window that it passes goes with it."""
        node, edit = self.node, self._edits[name]
        if node is None or not edit.modified:
            return
        edit.modified = False
        value = numberIn(edit.text)
        if value is None:
            self.desk.say(_("{text} is no value of a map. Type a number that is not negative, such as 0.01.").format(
                text=edit.text), isError=True)
            self.refresh()
            return
        with slicer.util.NodeModify(node.parameterNode):
            setattr(node, name, value)
            if name == "windowLow":
                node.windowHigh = max(node.windowHigh, value)
            elif name == "windowHigh":
                node.windowLow = min(node.windowLow, value)
        self.refresh()  # the text as it is understood, where the value has not changed

    def onColorMap(self, index):
        if self.node is None or comboData(self.ui.colorMapComboBox) is None:
            return
        if self._scales:
            self.node.signedColorMap = comboData(self.ui.colorMapComboBox)
        else:
            self.node.colorMap = comboData(self.ui.colorMapComboBox)

    def onPeak(self, checked=False):
        mapNode = self.mapNode
        if mapNode is None:
            return
        position, value = peakPosition(mapNode, self.desk.logic.display.strength(mapNode))
        if position is None:
            self.desk.say(_("The map is zero everywhere, so it has no peak."))
            return
        jumpTo(position)
        self.desk.say(_("Peak of {value} {units} at R {r:.1f}, A {a:.1f}, S {s:.1f} mm.").format(
            value=figure(value), units=mapNode.GetAttribute("XAIExplain.Units") or "",
            r=position[0], a=position[1], s=position[2]))

    def onRestore(self, checked=False):
        self.desk.logic.display.hide(self.node.mapVolume if self.node is not None else None)
        if self.node is not None:
            self.node.mapVolume = None
        self._drawn = None
        self.desk.refresh()


def numberIn(text):
    """The number that was typed, with a point or a comma; None where it is no value of a map."""
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        return None
    return value if 0 <= value < math.inf else None

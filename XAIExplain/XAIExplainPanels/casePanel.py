"""The case: the volumes that the network is asked about, and the examples that come with the module."""

import slicer
from slicer.i18n import tr as _

from XAIExplainPanels.cases import casePath, caseTitle
from XAIExplainPanels.panel import Panel, comboData, fillCombo


class CasePanel(Panel):
    """Choose a volume, or load an example."""

    uiFile = "casePanel.ui"

    def __init__(self, desk):
        super().__init__(desk)
        self._listed = None
        self.ui.exampleButton.connect("clicked(bool)", self.onLoadExample)

    def refresh(self):
        cases = self.desk.catalog.cases
        if self._listed != list(cases):
            self._listed = list(cases)
            fillCombo(self.ui.exampleComboBox, [(caseTitle(case), name) for name, case in cases.items()],
                      comboData(self.ui.exampleComboBox))
            if cases and self.ui.exampleComboBox.currentIndex < 0:
                self.ui.exampleComboBox.setCurrentIndex(0)
        self.ui.exampleButton.enabled = bool(cases)
        self.ui.exampleRow.enabled = bool(cases)
        more = ("second", "third", "fourth")
        for index, name in enumerate(more):
            visible = self.desk.model.channels > index + 1
            getattr(self.ui, name + "Selector").visible = visible
            getattr(self.ui, name + "SelectorLabel").visible = visible

    def onLoadExample(self, checked=False):
        case = self.desk.catalog.cases.get(comboData(self.ui.exampleComboBox))
        if case is None:
            return
        node = self.desk.logic.loadCase(case)
        if node is None:
            self.desk.say(_("The example {title} could not be loaded from {path}.").format(
                title=caseTitle(case), path=casePath(case)), isError=True)
            return
        self.desk.say("")
        if self.node is not None:
            self.node.inputVolume = node
        slicer.util.setSliceViewerLayers(background=node, foreground=None, fit=True)
        self.desk.predictWhenReady()

"""The case: the volumes that the network is asked about, and the examples that come with the module."""

import slicer
from slicer.i18n import tr as _

from XAIExplainPanels.cases import casePath, caseTitle
from XAIExplainPanels.panel import Panel, comboData, fillCombo
from XAIExplainPanels.regions import showTruthOf
from XAIExplainPanels.sequences import playsSequence

SAMPLE = "sample:"


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
            entries = [(caseTitle(case), name) for name, case in cases.items()]
            samples = self.desk.logic.samples.names() if cases else []
            entries += [(_("{name} (Slicer's sample data)").format(name=name), SAMPLE + name) for name in samples]
            fillCombo(self.ui.exampleComboBox, entries, comboData(self.ui.exampleComboBox))
            if cases and self.ui.exampleComboBox.currentIndex < 0:
                self.ui.exampleComboBox.setCurrentIndex(0)
        self.ui.exampleButton.enabled = bool(cases) and not self.desk.logic.samples.fetching
        self.ui.exampleRow.enabled = bool(cases)
        more = ("second", "third", "fourth")
        for index, name in enumerate(more):
            visible = self.desk.model.channels > index + 1
            getattr(self.ui, name + "Selector").visible = visible
            getattr(self.ui, name + "SelectorLabel").visible = visible
        self.ui.sequenceLabel.visible = self.node is not None and playsSequence(self.node.inputVolume)

    def onLoadExample(self, checked=False):
        chosen = comboData(self.ui.exampleComboBox)
        if chosen and chosen.startswith(SAMPLE):
            self._loadSample(chosen[len(SAMPLE):])
            return
        case = self.desk.catalog.cases.get(chosen)
        if case is None:
            return
        node = self.desk.logic.loadCase(case)
        if node is None:
            self.desk.say(_("The example {title} could not be loaded from {path}.").format(
                title=caseTitle(case), path=casePath(case)), isError=True)
            return
        self._show(node)

    def _loadSample(self, name):
        """Load a sample of Slicer's; nothing is fetched before the user has agreed to it."""
        samples = self.desk.logic.samples
        if not samples.isHere(name) and not slicer.util.confirmOkCancelDisplay(_(
                "{name} is not on this computer yet. Slicer's sample data is fetched from {address}: some megabytes. "
                "Nothing is sent. Fetch it now?").format(name=name, address=samples.address(name))):
            return
        self.desk.say(_("Fetching {name}...").format(name=name))
        samples.load(name, self._show, self._onFailed)
        self.desk.refresh()

    def _onFailed(self, sentence):
        self.desk.sayError(sentence)
        self.desk.refresh()

    def _show(self, node):
        self.desk.say("")
        if self.node is not None:
            self.node.inputVolume = node
        slicer.util.setSliceViewerLayers(background=node, foreground=None, fit=True)
        showTruthOf(node)
        self.desk.predictWhenReady()

"""The question: which answer is to be explained, and by which method with which parameters."""

import json

import qt
import slicer
from slicer.i18n import tr as _

from XAIExplainPanels.methodCard import cardText, grouped
from XAIExplainPanels.panel import Panel, comboData, fillCombo, selectData
from XAIExplainPanels.parameterForm import ParameterForm

FIRST = "grad_cam"  # quick, and known to most
CARD_SETTING = "XAIExplain/CardCollapsed"


class MethodPanel(Panel):
    """Choose target, method and parameters."""

    uiFile = "methodPanel.ui"

    def __init__(self, desk):
        super().__init__(desk)
        self.form = None
        self._formOf = None
        self._listed = None
        self._targets = None
        self._holder = qt.QVBoxLayout(self.ui.formWidget)
        self._holder.setContentsMargins(0, 0, 0, 0)
        self.ui.cardSection.collapsed = slicer.util.settingsValue(CARD_SETTING, False, converter=slicer.util.toBool)
        self.ui.cardSection.connect("contentsCollapsed(bool)", self.onCardCollapsed)
        self.ui.methodComboBox.connect("currentIndexChanged(int)", self.onMethodChosen)
        self.ui.targetComboBox.connect("currentIndexChanged(int)", self.onTargetChosen)

    def refresh(self):
        methods, node = self.desk.catalog.methods, self.node
        if self._listed != list(methods):
            self._listed = list(methods)
            fillCombo(self.ui.methodComboBox, grouped(methods), None)
        self.ui.methodComboBox.enabled = bool(methods)
        self._refreshTargets()
        if node is None:
            return
        if methods and node.method not in methods:
            node.method = FIRST if FIRST in methods else next(iter(methods))
        selectData(self.ui.methodComboBox, node.method)
        card = methods.get(node.method)
        self.ui.cardLabel.text = cardText(card) if card else ""
        self.ui.cardSection.visible = bool(card)
        if card is not None:
            self._refreshForm(card)

    def _refreshTargets(self):
        state = self.desk.model
        targets = [(self._predictedTitle(), "")]
        targets += [(_("{name} (together)").format(name=name), name) for name in state.groups]
        targets += [(name, name) for name in state.classes]
        current = self.node.target if self.node is not None else ""
        if targets != self._targets:
            self._targets = targets
            fillCombo(self.ui.targetComboBox, targets, current)
        if self.node is not None and not selectData(self.ui.targetComboBox, current) and state.info is not None:
            self.node.target = ""

    def _predictedTitle(self):
        state = self.desk.model
        if state.prediction and state.predictedVolumes == self.desk.volumeIDs():
            name = (state.prediction.get("predicted") or {}).get("name")
            if name:
                return _("The network's answer: {name}").format(name=name)
        return _("The network's answer")

    def _refreshForm(self, card):
        if self._formOf != card["name"]:
            if self.form is not None:
                self.form.widget.hide()
                self._holder.removeWidget(self.form.widget)
                self.form.widget.setParent(None)
                self.form.widget.deleteLater()
            self.form = ParameterForm(card["parameters"], self.onParametersChanged, self.desk.askForLayers)
            self._formOf = card["name"]
            self._holder.addWidget(self.form.widget)
        self.form.setChanges(self.allParameters().get(card["name"], {}))
        self.ui.formWidget.visible = bool(card["parameters"])

    def allParameters(self):
        """Method name to changed parameters, as the scene has it."""
        try:
            saved = json.loads(self.node.methodParameters or "{}")
        except ValueError:
            saved = {}
        return saved if isinstance(saved, dict) else {}

    def parameters(self):
        """The parameters of the chosen method that differ from its defaults."""
        return self.form.changes() if self.form is not None else {}

    def onMethodChosen(self, index):
        data = comboData(self.ui.methodComboBox)
        if self.node is not None and data:
            self.node.method = data

    def onCardCollapsed(self, collapsed):
        slicer.app.settings().setValue(CARD_SETTING, bool(collapsed))

    def onTargetChosen(self, index):
        data = comboData(self.ui.targetComboBox)
        if self.node is not None and data is not None:
            self.node.target = data

    def onParametersChanged(self):
        if self.node is None:
            return
        saved = self.allParameters()
        changes = self.form.changes()
        if changes:
            saved[self._formOf] = changes
        else:
            saved.pop(self._formOf, None)
        self.node.methodParameters = json.dumps(saved, sort_keys=True)

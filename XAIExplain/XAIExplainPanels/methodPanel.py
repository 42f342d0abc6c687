"""The method of explanation: chosen in a tree, with its card and its parameters."""

import json

import qt
import slicer

from XAIExplainPanels.keyboard import tabAfter
from XAIExplainPanels.methodCard import cardText
from XAIExplainPanels.methodTree import MethodTree
from XAIExplainPanels.panel import Panel
from XAIExplainPanels.parameterForm import ParameterForm

FIRST = "grad_cam"  # quick, and known to most
CARD_SETTING = "XAIExplain/CardCollapsed"


class MethodPanel(Panel):
    """Choose method and parameters."""

    uiFile = "methodPanel.ui"

    def __init__(self, desk):
        super().__init__(desk)
        self.form = None
        self._formOf = None
        self._listed = None
        self._holder = qt.QVBoxLayout(self.ui.formWidget)
        self._holder.setContentsMargins(0, 0, 0, 0)
        self.ui.cardSection.collapsed = slicer.util.settingsValue(CARD_SETTING, False, converter=slicer.util.toBool)
        self.ui.cardSection.connect("contentsCollapsed(bool)", self.onCardCollapsed)
        self.tree = MethodTree(
            self.ui.methodTree, self.ui.methodSearchEdit, self.ui.noMethodLabel, self.onMethodChosen)

    def refresh(self):
        methods, node = self.desk.catalog.methods, self.node
        if self._listed != list(methods):
            self._listed = list(methods)
            self.tree.fill(methods)
        for widget in (self.ui.methodTree, self.ui.methodSearchEdit):
            widget.enabled = bool(methods)
        if node is None:
            return
        if methods and node.method not in methods:
            node.method = FIRST if FIRST in methods else next(iter(methods))
        self.tree.select(node.method)
        card = methods.get(node.method)
        self.ui.cardLabel.text = cardText(card) if card else ""
        self.ui.cardSection.visible = bool(card)
        if card is not None:
            self._refreshForm(card)

    def _refreshForm(self, card):
        if self._formOf != card["name"]:
            if self.form is not None:
                self.form.widget.hide()
                self._holder.removeWidget(self.form.widget)
                self.form.widget.setParent(None)
                self.form.widget.deleteLater()
            self.form = ParameterForm(card["parameters"], self.onParametersChanged, self.desk.askForLayers,
                                      card.get("presets"))
            self._formOf = card["name"]
            self._holder.addWidget(self.form.widget)
            tabAfter(self.ui.cardSection, self.form.widget)
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

    def onMethodChosen(self, name):
        if self.node is not None:
            self.node.method = name

    def onCardCollapsed(self, collapsed):
        slicer.app.settings().setValue(CARD_SETTING, bool(collapsed))

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

"""The network: bundled or from a file, trusted or not, and what it answers."""

from slicer.i18n import tr as _

from XAIExplainPanels.answerBars import AnswerBars
from XAIExplainPanels.figures import figure, percent
from XAIExplainPanels.modelState import isFile
from XAIExplainPanels.panel import Panel, comboData, fillCombo, selectData

FROM_FILE = "<file>"


class ModelPanel(Panel):
    """Choose the network, and see its answer."""

    uiFile = "modelPanel.ui"

    def __init__(self, desk):
        super().__init__(desk)
        self._listed = None
        self._fileChosen = False
        self.bars = AnswerBars(self.ui.barsWidget)
        self.ui.modelPathEdit.nameFilters = [
            _("Networks") + " (*.pt *.pt2 *.ts *.pth *.zip)", _("All files") + " (*)"]
        self.ui.modelComboBox.connect("currentIndexChanged(int)", self.onModelChosen)
        self.ui.modelPathEdit.connect("currentPathChanged(QString)", self.onPathChanged)
        self.ui.allowButton.connect("clicked(bool)", self.onAllow)
        self.ui.declineButton.connect("clicked(bool)", self.onDecline)
        self.ui.predictButton.connect("clicked(bool)", lambda checked=False: self.desk.predict())

    def refresh(self):
        node, state = self.node, self.desk.model
        models = self.desk.catalog.models
        if self._listed != list(models):
            self._listed = list(models)
            entries = [(modelTitle(model), name) for name, model in models.items()]
            fillCombo(self.ui.modelComboBox, entries + [(_("From a file..."), FROM_FILE)] if models else [], None)
        self.ui.modelComboBox.enabled = bool(models)
        if node is not None:
            if node.model in models and not self._fileChosen:
                selectData(self.ui.modelComboBox, node.model)
            else:
                selectData(self.ui.modelComboBox, FROM_FILE)
                if isFile(node.model) and self.ui.modelPathEdit.currentPath != node.model:
                    wasBlocked = self.ui.modelPathEdit.blockSignals(True)
                    self.ui.modelPathEdit.currentPath = node.model
                    self.ui.modelPathEdit.blockSignals(wasBlocked)
        fromFile = comboData(self.ui.modelComboBox) == FROM_FILE
        self.ui.modelPathEdit.visible = fromFile
        self.ui.modelPathEditLabel.visible = fromFile
        self.ui.consentFrame.visible = bool(state.needsConsent)
        self.ui.consentLabel.text = state.needsConsent
        self.ui.modelLabel.text = modelText(state, models.get(state.name) or {})
        self.ui.modelLabel.visible = bool(self.ui.modelLabel.text)
        self._refreshAnswer(state)

    def _refreshAnswer(self, state):
        current = state.prediction if state.predictedVolumes == self.desk.volumeIDs() else None
        self.bars.show(current)
        groups = (current or {}).get("groups") or {}
        lines = []
        if current:
            predicted = (current.get("predicted") or {}).get("name", "")
            isSize = current.get("task") == "segmentation"
            together = [_("{group} together {value}").format(
                group=name, value=_("{size} ml").format(size=figure(value)) if isSize else percent(value))
                for name, value in groups.items()]
            if predicted and current.get("task") != "regression":
                lines.append(_("The network answers <b>{name}</b>").format(name=predicted)
                             + ("" if not together else " (" + ", ".join(together) + ")") + ".")
        elif state.predicting:
            lines.append(_("The network is being asked..."))
        self.ui.answerLabel.text = " ".join(lines)
        self.ui.answerLabel.visible = bool(lines)
        self.ui.predictButton.visible = not current
        self.ui.predictButton.enabled = self.desk.canPredict()

    def onModelChosen(self, index):
        data = comboData(self.ui.modelComboBox)
        if self.node is None or data is None:
            return
        self._fileChosen = data == FROM_FILE
        if data == FROM_FILE:
            self.node.model = self.ui.modelPathEdit.currentPath if self.ui.modelPathEdit.currentPath else ""
        else:
            self.node.model = data
        self.desk.refresh()

    def onPathChanged(self, path):
        if self.node is not None and comboData(self.ui.modelComboBox) == FROM_FILE:
            self.node.model = str(path)

    def onAllow(self, checked=False):
        self.desk.model.allow()

    def onDecline(self, checked=False):
        self._fileChosen = False
        if self.node is not None and self.desk.catalog.models:
            self.node.model = next(iter(self.desk.catalog.models))
        self.desk.refresh()


def modelTitle(model):
    return str(model.get("title") or model["name"])


def modelText(state, bundled):
    """What is wrong with the model, or else what it was made for."""
    if state.error:
        return _("{message} {hint}").format(message=state.error.get("message", ""), hint=state.error.get("hint", ""))
    if state.loading:
        return _("Loading the model...")
    return str({**(state.info or {}), **bundled}.get("description") or "")

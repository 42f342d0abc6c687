"""The network: bundled or from a file, trusted or not, and what it answers."""

import os

import slicer
from slicer.i18n import tr as _

from XAIExplainPanels.answerBars import AnswerBars
from XAIExplainPanels.figures import figure, percent
from XAIExplainPanels.modelDialog import ModelDialog
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
        self.dialog = None  # made when it is first opened
        self.bars = AnswerBars(self.ui.barsWidget)
        self.ui.modelPathEdit.nameFilters = [
            _("Networks") + " (*.pt *.pt2 *.ts *.pth *.zip *.json)", _("All files") + " (*)"]
        self.ui.modelComboBox.connect("currentIndexChanged(int)", self.onModelChosen)
        self.ui.modelPathEdit.connect("currentPathChanged(QString)", self.onPathChanged)
        self.ui.allowButton.connect("clicked(bool)", self.onAllow)
        self.ui.declineButton.connect("clicked(bool)", self.onDecline)
        self.ui.predictButton.connect("clicked(bool)", lambda checked=False: self.desk.predict())
        self.ui.addModelButton.connect("clicked(bool)", self.onAddModel)
        self.ui.editModelButton.connect("clicked(bool)", self.onEditModel)
        self.ui.removeModelButton.connect("clicked(bool)", self.onRemoveModel)

    def refresh(self):
        node, state = self.node, self.desk.model
        models = self.desk.catalog.models
        listed = [(modelTitle(model), name) for name, model in models.items()]
        if self._listed != listed:
            self._listed = listed
            own = [entry for entry in listed if models[entry[1]].get("own")]
            entries = [entry for entry in listed if entry not in own]
            entries += [(_("Your models"), None), *own] if own else []
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
        isOwn = bool((models.get(comboData(self.ui.modelComboBox)) or {}).get("own"))
        self.ui.editModelButton.visible = isOwn
        self.ui.removeModelButton.visible = isOwn
        self.ui.addModelButton.enabled = bool(models)
        if self.dialog is not None and self.dialog.widget.visible:
            self.dialog.trial.refresh()
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


    def choose(self, name, again=True):
        """Choose a model that has been added or changed."""
        self._fileChosen = False
        if self.node is not None:
            self.node.model = name
        if again and self.desk.model.name == name:
            self.desk.model.choose(name, again=True)
        self.desk.refresh()

    def onAddModel(self, checked=False):
        isFromFile = comboData(self.ui.modelComboBox) == FROM_FILE and self.node is not None
        self.openDialog(path=self.node.model if isFromFile and isFile(self.node.model) else "")

    def onEditModel(self, checked=False):
        self.openDialog(editing=comboData(self.ui.modelComboBox))

    def openDialog(self, **what):
        if self.dialog is None:
            self.dialog = ModelDialog(self.desk)
        self.dialog.open(**what)

    def onRemoveModel(self, checked=False):
        path = comboData(self.ui.modelComboBox)
        model = self.desk.catalog.models.get(path) or {}
        question = _("Remove {name} from your models? What was written about it and the copy of its file, in {folder}, "
                     "are deleted. A file that lies elsewhere stays.").format(
            name=modelTitle(model), folder=os.path.dirname(path))
        if slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Remove model")):
            self.desk.logic.models.remove(path, onFinished=self._onRemoved, onFailed=self._onNotRemoved)

    def _onRemoved(self, _path):
        if self.desk.catalog.models and self.node is not None and self.node.model not in self.desk.catalog.models:
            self.choose(next(iter(self.desk.catalog.models)))
        self.desk.refresh()

    def _onNotRemoved(self, error):
        self.desk.sayError(error.message, error.hint)

    def cleanup(self):
        if self.dialog is not None:
            self.dialog.close()
            self.dialog.widget.deleteLater()
            self.dialog = None
        super().cleanup()


def modelTitle(model):
    title = str(model.get("title") or model["name"])
    return _("{title} (cannot be read)").format(title=title) if model.get("error") else title


def modelText(state, bundled):
    """What is wrong with the model, or else what it was made for."""
    if state.error:
        return _("{message} {hint}").format(message=state.error.get("message", ""), hint=state.error.get("hint", ""))
    if state.loading:
        return _("Loading the model...")
    return str({**(state.info or {}), **bundled}.get("description") or "")

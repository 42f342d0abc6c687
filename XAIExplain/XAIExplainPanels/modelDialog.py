"""The dialog in which a model is added, or one of the user's changed: what was found, what the user says, a trial."""

import os

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainPanels import modelFindings
from XAIExplainPanels.modelTrial import ModelTrial
from XAIExplainPanels.ownModels import checkedNames, nameOf
from XAIExplainPanels.panel import comboData, fillCombo, selectData
from XAIExplainPanels.stepsEditor import StepsEditor

PAUSE_MILLISECONDS = 400  # after the last key, before a path is looked into

class ModelDialog:
    """
    One dialog, made when it is first opened, and shown beside the window: volumes can be chosen while it is open.

    :param desk: the module's desk.
    """

    def __init__(self, desk):
        self.desk = desk
        self.models = desk.logic.models
        self.widget = slicer.util.loadUI(desk.resourcePath("UI/modelDialog.ui"))
        self.ui = slicer.util.childWidgetVariables(self.widget)
        if slicer.util.mainWindow() is not None:
            self.widget.setParent(slicer.util.mainWindow(), self.widget.windowFlags())
        self.editing = ""  # path of the JSON of the model that is being changed
        self.path = ""
        self.found = None
        self._consented = set()
        self._question = 0
        self._job = None
        self._working = False
        self._pause = qt.QTimer()
        self._pause.setSingleShot(True)
        self._pause.setInterval(PAUSE_MILLISECONDS)
        self._pause.connect("timeout()", self.look)
        self.steps = StepsEditor(self.ui, self.onSaid)
        self.trial = ModelTrial(self)
        ui = self.ui
        ui.filePathEdit.nameFilters = [_("Networks") + " (*.pt *.pt2 *.ts *.pth *.zip *.json)", _("All files") + " (*)"]
        ui.folderEdit.filters = ctk.ctkPathLineEdit.Dirs
        fillCombo(ui.taskComboBox, [(_("As the network's answer looks"), "")] + [
            (modelFindings.taskTitle(task), task) for task in modelFindings.TASKS], "")
        fillCombo(ui.sliceAxisComboBox, [(axis, axis) for axis in ("k", "j", "i")], "k")
        ui.filePathEdit.connect("currentPathChanged(QString)", self.onPath)
        ui.bundleButton.connect("clicked(bool)", self.onFolder)
        ui.allowButton.connect("clicked(bool)", self.onAllow)
        ui.declineButton.connect("clicked(bool)", self.onDecline)
        ui.ownStepsCheckBox.connect("toggled(bool)", self.onSaid)
        for edit in (ui.nameEdit, ui.classesEdit, ui.descriptionEdit):
            edit.connect("textChanged(QString)", self.onSaid)
        for combo in (ui.taskComboBox, ui.sliceAxisComboBox):
            combo.connect("currentIndexChanged(int)", self.onSaid)
        ui.keepButton.connect("clicked(bool)", self.onKeep)
        ui.cancelButton.connect("clicked(bool)", lambda checked=False: self.close())
        self.widget.connect("rejected()", self.stop)

    # Opening

    def open(self, path="", editing=""):
        """
        Show the dialog.

        :param path: a model's file to look into at once.
        :param editing: path of the JSON of one of the user's models, which is to be changed.
        """
        self.stop()
        self.editing = editing
        model = self.desk.catalog.models.get(editing) or {}
        self.widget.windowTitle = _("Edit {name}").format(name=model.get("title")) if editing else _("Add a model")
        self.ui.keepButton.text = _("Save") if editing else _("Add model")
        for widget in (self.ui.filePathEdit, self.ui.bundleButton, self.ui.folderEdit):
            widget.enabled = not editing
        for widget in (self.ui.folderEdit, self.ui.keepLabel, self.ui.copyCheckBox):
            widget.visible = not editing
        self.ui.folderEdit.currentPath = self.models.folder
        self.path = editing or path
        self._clear()
        if self.desk.model.consent and self.path == self.desk.model.name:
            self._consented.add(self.path)  # asked and answered in the panel
        if not self.steps.forms:
            self.desk.logic.engine.request("steps", self._onForms)
        self.ui.filePathEdit.currentPath = self.path
        self.widget.show()
        self.widget.activateWindow()
        if self.path:
            self.look()
        self.refresh()

    def _onForms(self, forms):
        steps = self.steps.steps()
        self.steps.setForms(forms)
        self.steps.setSteps(steps)

    def stop(self):
        """Let go of what is being done; its answer is not waited for."""
        self._question += 1
        self._pause.stop()
        if self._job is not None:
            self.desk.logic.engine.cancel(self._job)
        self._job, self._working = None, False

    def close(self):
        self.stop()
        self.widget.hide()

    # The file

    def onPath(self, path):
        if str(path) != self.path:
            self.path = str(path)
            self.stop()
            self._clear()
            self._pause.start()
            self.refresh()

    def onFolder(self, checked=False):
        folder = qt.QFileDialog.getExistingDirectory(self.widget, _("Folder of a MONAI bundle or of a model"))
        if folder:
            self.ui.filePathEdit.currentPath = folder

    def onAllow(self, checked=False):
        self._consented.add(self.path)
        self.look()

    def onDecline(self, checked=False):
        if self.editing:
            self.close()
        else:
            self.ui.filePathEdit.currentPath = ""

    @property
    def consent(self):
        """Whether the user allowed this file to run code, in this dialog."""
        return self.path in self._consented

    def look(self):
        """Ask the engine what the file is."""
        path = self.path.strip()
        if not path:
            return
        if not os.path.exists(path):
            self._sayFile(_("There is no file or folder {path}.").format(path=path))
            return
        self._sayFile("")
        self.ask(_("Looking into the file..."), self.models.inspect, self._onFound, self._onNotFound, path,
                 consent=self.consent)

    def _onFound(self, found):
        self.found = found
        self._askConsent("")
        self.ui.foundLabel.text = modelFindings.html(found)
        self.ui.layersList.clear()
        for layer in found.get("layers") or []:
            self.ui.layersList.addItem(modelFindings.layerText(layer))
        self._propose(found)
        self.refresh()

    def _onNotFound(self, error):
        if getattr(error, "consent", False):
            self._askConsent(_("{message} {hint}").format(
                message=error.message, hint=_("Load it only if you trust where it comes from.")))
        elif not isinstance(error, CancelledError):
            self._sayFile("{} {}".format(error.message, error.hint).strip())
        self.refresh()

    def _propose(self, found):
        """Fill in what the file says about itself."""
        ui = self.ui
        said = self.desk.catalog.models.get(self.editing) or {}
        isDescribed = found["name"] and found["name"] != os.path.basename(self.path)
        name = said.get("title") or (found["name"] if isDescribed else nameOf(self.path))
        for edit, text in ((ui.nameEdit, name), (ui.descriptionEdit, said.get("description") or ""),
                           (ui.classesEdit, ", ".join(found.get("classes") or []))):
            edit.text = str(text)
        ui.classesEdit.placeholderText = ", ".join(
            _("class {number}").format(number=number) for number in range(found.get("outputs") or 2))
        selectData(ui.taskComboBox, found.get("task") or "")
        selectData(ui.sliceAxisComboBox, found.get("slice_axis") or "k")
        isBundle = found.get("preprocessing") is None
        ui.ownStepsCheckBox.visible = isBundle
        ui.ownStepsCheckBox.checked = isBundle
        self.steps.setSteps(found.get("preprocessing") or [])
        self.steps.setStarts({key: model for key, model in self.desk.catalog.models.items() if key != self.editing})

    # What the user says

    def onSaid(self, *ignored):
        self.trial.forget()
        self.refresh()

    def values(self):
        """
        What is said about the model, as fields of its JSON.

        :raises XAIError: if the class names cannot be.
        """
        found = self.found or {}
        values = {"task": comboData(self.ui.taskComboBox) or None,
                  "classes": checkedNames(self.ui.classesEdit.text, found.get("outputs"))}
        if not (self.ui.ownStepsCheckBox.visible and self.ui.ownStepsCheckBox.checked):
            values["preprocessing"] = self.steps.steps()
        if found.get("spatial_dims") == 2:
            values.update(spatial_dims=2, slice_axis=comboData(self.ui.sliceAxisComboBox))
        return {key: value for key, value in values.items() if value is not None}

    def reasonNotToKeep(self):
        """Why the model cannot be kept, as a sentence; empty if it can."""
        if self._working:
            return _("Wait until the engine has answered.")
        if self.found is None:
            return _("Choose the file of a model first.")
        if not str(self.ui.nameEdit.text).strip():
            return _("Give the model a name.")
        try:
            self.values()
        except XAIError as error:
            return "{} {}".format(error.message, error.hint)
        return ""

    # Keeping it

    def onKeep(self, checked=False):
        """Add the model, or save what was changed."""
        try:
            values = self.values()
        except XAIError as error:
            self._onNotKept(error)
            return
        self._rememberFolder()
        values.update(
            name=str(self.ui.nameEdit.text).strip(), classNames=values.pop("classes", None), consent=self.consent,
            description=str(self.ui.descriptionEdit.text).strip() or None)
        if not self.editing:
            values["copy"] = bool(self.ui.copyCheckBox.checked)
        self.ask(_("Checking the model..."), self.models.edit if self.editing else self.models.add, self._onKept,
                 self._onNotKept, self.editing or self.path, **values)

    def _rememberFolder(self):
        """Remember the folder, if the user has named another one."""
        folder = str(self.ui.folderEdit.currentPath).strip()
        if folder and not self.editing and os.path.abspath(folder) != os.path.abspath(self.models.folder):
            self.models.setFolder(folder, onFinished=lambda _models: self.desk.refresh())

    def _onKept(self, path):
        if self.consent:
            self.desk.model.trust(path)
        self.close()
        self.desk.modelPanel.choose(path)

    def _onNotKept(self, error):
        if getattr(error, "consent", False):
            self._askConsent(error.message)
        elif not isinstance(error, CancelledError):
            self._sayAbout("{} {}".format(error.message, error.hint).strip())
        self.refresh(keepMessage=True)

    # Showing

    def ask(self, text, function, onFinished, onFailed, *arguments, **values):
        """Let the engine work; nothing else is asked meanwhile, and an answer that nobody waits for is left out."""
        self.stop()
        self._working = True
        self.ui.statusLabel.text = text
        self.refresh()
        question = self._question

        def told(function, answer):
            if question == self._question:
                self._end()
                function(answer)

        try:
            self._job = function(*arguments, onFinished=lambda answer: told(onFinished, answer),
                                 onFailed=lambda error: told(onFailed, error), onProgress=self._onProgress, **values)
        except XAIError as error:
            told(onFailed, error)

    @property
    def working(self):
        """Whether the engine's answer is waited for."""
        return self._working

    def _end(self):
        self._job, self._working = None, False
        self.ui.statusLabel.text = ""

    def _onProgress(self, event):
        if self._working and event.get("message"):
            self.ui.statusLabel.text = {
                "loading": _("Loading the model..."), "asking the network": _("Asking the network..."),
                "looking at the layers": _("Looking at the layers..."), "copying": _("Copying the file..."),
            }.get(event["message"], event["message"])

    def refresh(self, keepMessage=False):
        """Enable what can be done."""
        isFound = self.found is not None
        reason = self.reasonNotToKeep()
        for group in (self.ui.aboutGroup, self.ui.stepsGroup, self.ui.tryGroup):
            group.enabled = isFound
        self.ui.foundGroup.visible = isFound
        self.ui.layersList.visible = isFound and bool(self.found.get("layers"))
        isFlat = isFound and self.found.get("spatial_dims") == 2
        self.ui.sliceAxisComboBox.visible = isFlat
        self.ui.sliceAxisComboBoxLabel.visible = isFlat
        if not isFound:
            self.ui.ownStepsCheckBox.visible = False
        own = self.ui.ownStepsCheckBox.visible and self.ui.ownStepsCheckBox.checked
        for widget in (self.ui.stepsWidget, self.ui.startComboBox, self.ui.startLabel):
            widget.visible = not own
        self.ui.keepButton.enabled = not reason
        self.ui.keepButton.toolTip = reason or _("Check the model with all that is said above, and list it.")
        if not keepMessage:
            self._sayAbout(reason if isFound and not self._working else "")
        self.trial.refresh()

    def _clear(self):
        self.found = None
        self._sayFile("" if self.path else _("Choose a network. Nothing of a program is loaded before you agree."))
        self._askConsent("")
        self._sayAbout("")
        self.ui.classesEdit.placeholderText = ""
        selectData(self.ui.taskComboBox, "")
        self.trial.forget()
        self._end()
        self.steps.setSteps([])
        for edit in (self.ui.nameEdit, self.ui.classesEdit, self.ui.descriptionEdit):
            edit.clear()

    def _sayFile(self, text):
        self.ui.fileMessageLabel.text = text
        self.ui.fileMessageLabel.visible = bool(text)
        if text:
            self._askConsent("")

    def _askConsent(self, text):
        self.ui.consentLabel.text = text
        self.ui.consentFrame.visible = bool(text)

    def _sayAbout(self, text):
        self.ui.aboutMessageLabel.text = text
        self.ui.aboutMessageLabel.visible = bool(text)

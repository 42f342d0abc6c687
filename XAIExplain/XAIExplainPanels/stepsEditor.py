"""The preprocessing of a model as a list that can be built and ordered, with a form for the chosen step."""

import qt
from slicer.i18n import tr as _

from XAIExplainPanels.figures import figure
from XAIExplainPanels.panel import clearLayout, comboData, fillCombo
from XAIExplainPanels.parameterEditors import AXES, EDITORS, ChoiceEditor, Editor, VoxelsEditor
from XAIExplainPanels.parameterForm import parameterTitle, tooltip


class SizesEditor(VoxelsEditor):
    """Three whole numbers along i, j, k, as preprocessing has them."""

    def value(self):
        return [int(spin.value) for spin in reversed(self.spins)]

    def setValue(self, value):
        numbers = list(value) if isinstance(value, (list, tuple)) else [value] * 3
        for spin, number in zip(reversed(self.spins), numbers):
            spin.setValue(int(number))


class SpacingEditor(Editor):
    """Three lengths along i, j, k."""

    def make(self):
        row = qt.QWidget()
        layout = qt.QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        self.spins = []
        for axis in reversed(AXES):
            spin = self.doubleSpinBox()
            spin.setDecimals(3)
            spin.setPrefix(axis + " ")
            spin.toolTip = _("{help} Along {axis}.").format(help=self.declaration["help"], axis=axis)
            layout.addWidget(spin)
            self.spins.append(spin)
        layout.addWidget(qt.QLabel(self.declaration.get("unit") or ""))
        return row

    def value(self):
        return [round(float(spin.value), 6) for spin in self.spins]

    def setValue(self, value):
        for spin, number in zip(self.spins, value):
            spin.setValue(float(number))


class LabelEditor(ChoiceEditor):
    """One of several values, each with a word for people."""

    def make(self):
        combo = qt.QComboBox()
        choices = self.declaration["choices"]
        words = self.declaration.get("labels") or choices
        fillCombo(combo, list(zip(words, choices)), self.declaration["default"])
        combo.connect("currentIndexChanged(int)", self.changed)
        return combo


# Usual beginnings; a network wants exactly those steps that it was trained with.
USUAL = {
    "mri": [{"step": "orient", "axes": "RAS"}, {"step": "resample", "spacing": [1.0, 1.0, 1.0]},
            {"step": "normalize", "kind": "zscore", "region": "foreground"}],
    "ct": [{"step": "orient", "axes": "RAS"}, {"step": "resample", "spacing": [1.5, 1.5, 1.5]},
           {"step": "window", "low": -160.0, "high": 240.0}],
    "none": [],
}

STEP_EDITORS = {**EDITORS, "sizes": SizesEditor, "spacing": SpacingEditor, "choice": LabelEditor}


class StepsEditor:
    """
    Edits a list of steps.

    :param ui: the widgets of the dialog: stepsList, stepComboBox, addStepButton, removeStepButton, upButton,
        downButton, stepLabel, stepFormWidget.
    :param onChanged: called when the user has changed anything.
    """

    def __init__(self, ui, onChanged):
        self.ui = ui
        self.onChanged = onChanged
        self.forms = {}
        self.editors = {}
        self._starts = {}
        self._steps = []
        self._quiet = False
        self._layout = qt.QVBoxLayout(ui.stepFormWidget)
        self._layout.setContentsMargins(0, 0, 0, 0)
        ui.stepsList.connect("currentRowChanged(int)", self._onRow)
        ui.startComboBox.connect("currentIndexChanged(int)", self._onStart)
        ui.addStepButton.connect("clicked(bool)", self._onAdd)
        ui.removeStepButton.connect("clicked(bool)", self._onRemove)
        ui.upButton.connect("clicked(bool)", lambda checked=False: self._move(-1))
        ui.downButton.connect("clicked(bool)", lambda checked=False: self._move(1))

    def setForms(self, forms):
        """The steps that there are, as the engine declares them."""
        self.forms = {form["name"]: form for form in forms}
        fillCombo(self.ui.stepComboBox, [(form["title"], form["name"]) for form in forms], None)
        self.ui.stepComboBox.setCurrentIndex(0)

    def setStarts(self, models):
        """Offer the steps of other models, by name, and usual ones to begin with."""
        self._starts = {key: model["preprocessing"] for key, model in models.items() if model.get("preprocessing")}
        entries = [(_("These steps"), ""), (_("Usual for MRI: RAS, 1 mm, z-score"), "mri"),
                   (_("Usual for CT: RAS, 1.5 mm, window -160 to 240"), "ct"), (_("Nothing"), "none")]
        entries += [(_("The steps of {name}").format(name=models[key].get("title") or models[key]["name"]), key)
                    for key in self._starts]
        self._starts.update(USUAL)
        fillCombo(self.ui.startComboBox, entries, "")

    def _onStart(self, index):
        chosen = comboData(self.ui.startComboBox)
        if chosen:
            self.setSteps(self._starts.get(chosen))
            self.onChanged()

    def steps(self):
        """The steps in JSON's form; what is at the step's own default is left out."""
        return [self._written(step) for step in self._steps]

    def setSteps(self, steps):
        """Show steps in JSON's form."""
        self._steps = [dict(step) for step in steps or []]
        self._list(0)

    def _written(self, step):
        form = self.forms.get(step["step"])
        if form is None:
            return dict(step)
        written = {"step": step["step"]}
        for parameter in form["parameters"]:
            value = step.get(parameter["name"], parameter["default"])
            if parameter["required"] or value != parameter["default"]:
                written[parameter["name"]] = value
        return written

    def _list(self, row):
        self._quiet = True
        try:
            self.ui.stepsList.clear()
            for number, step in enumerate(self._steps):
                item = qt.QListWidgetItem(_("{number}. {step}").format(number=number + 1, step=self._title(step)))
                item.setToolTip((self.forms.get(step["step"]) or {}).get("help", ""))
                self.ui.stepsList.addItem(item)
            row = max(0, min(row, len(self._steps) - 1))
            if self._steps:
                self.ui.stepsList.setCurrentRow(row)
        finally:
            self._quiet = False
        self._showForm()

    def _title(self, step):
        form = self.forms.get(step["step"])
        if form is None:
            return step["step"]
        said = []
        for parameter in form["parameters"]:
            value = step.get(parameter["name"], parameter["default"])
            if parameter["required"] or value != parameter["default"]:
                said.append(shown(parameter, value))
        return _("{title}: {values}").format(title=form["title"], values=", ".join(said)) if said else form["title"]

    @property
    def _row(self):
        return self.ui.stepsList.currentRow if self._steps else -1

    def _showForm(self):
        row = self._row
        clearLayout(self._layout)
        self.editors = {}
        self.ui.removeStepButton.enabled = row >= 0
        self.ui.upButton.enabled = row > 0
        self.ui.downButton.enabled = 0 <= row < len(self._steps) - 1
        form = self.forms.get(self._steps[row]["step"]) if row >= 0 else None
        self.ui.stepLabel.text = form["help"] if form else (
            "" if row >= 0 else _("Without steps the network sees the volume's voxels as they are."))
        if form is None:
            return
        holder = qt.QWidget()
        layout = qt.QFormLayout(holder)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setVerticalSpacing(3)
        layout.setFieldGrowthPolicy(qt.QFormLayout.ExpandingFieldsGrow)
        for parameter in form["parameters"]:
            editor = STEP_EDITORS[parameter["kind"]](parameter, self._onEdited)
            editor.setValue(self._steps[row].get(parameter["name"], parameter["default"]))
            editor.widget.objectName = "step_" + parameter["name"]
            editor.widget.toolTip = tooltip({key: value for key, value in parameter.items() if key != "default"})
            label = qt.QLabel(_("{name}:").format(name=titleOf(parameter)))
            label.toolTip = editor.widget.toolTip
            layout.addRow(label, editor.widget)
            self.editors[parameter["name"]] = editor
        self._layout.addWidget(holder)

    def _onRow(self, row):
        if not self._quiet:
            self._showForm()

    def _onEdited(self):
        row = self._row
        if row < 0 or len(self.editors) != len(self.forms[self._steps[row]["step"]]["parameters"]):
            return
        self._steps[row] = {"step": self._steps[row]["step"],
                            **{name: editor.value() for name, editor in self.editors.items()}}
        self.ui.stepsList.item(row).setText(
            _("{number}. {step}").format(number=row + 1, step=self._title(self._steps[row])))
        self.onChanged()

    def _onAdd(self, checked=False):
        name = comboData(self.ui.stepComboBox)
        if name is None:
            return
        row = self._row + 1 if self._steps else 0
        self._steps.insert(row, {"step": name, **{
            parameter["name"]: parameter["default"] for parameter in self.forms[name]["parameters"]}})
        self._list(row)
        self.onChanged()

    def _onRemove(self, checked=False):
        row = self._row
        if row >= 0:
            del self._steps[row]
            self._list(row)
            self.onChanged()

    def _move(self, by):
        row = self._row
        if 0 <= row + by < len(self._steps):
            self._steps.insert(row + by, self._steps.pop(row))
            self._list(row + by)
            self.onChanged()


def titleOf(parameter):
    return parameter.get("title") or parameterTitle(parameter)


def shown(parameter, value):
    """A value of a step in few letters."""
    if isinstance(value, bool):
        return titleOf(parameter).lower() if value else _("not {name}").format(name=titleOf(parameter).lower())
    if isinstance(value, (list, tuple)):
        text = " x ".join(figure(number) for number in value)
        return "{} {}".format(text, parameter["unit"]) if parameter.get("unit") else text
    if parameter.get("labels") and value in parameter["choices"]:
        return parameter["labels"][parameter["choices"].index(value)]
    if isinstance(value, str) or parameter["required"]:
        return str(value)
    return "{} {}".format(titleOf(parameter).lower(), figure(value))

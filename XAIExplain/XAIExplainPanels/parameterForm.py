"""The form of a method's parameters, made from the method's own declaration."""

import ctk
import qt
from slicer.i18n import tr as _

from XAIExplainPanels.methodCard import presetText
from XAIExplainPanels.parameterEditors import EDITORS, LayerEditor


class ParameterForm:
    """
    A form with an editor for each parameter; those that are declared advanced are under a closed heading.

    :param declarations: the parameters as the method declares them.
    :param onChanged: called when the user has changed a value.
    :param onLayersWanted: called with a function that takes the list of layers.
    :param presets: for "quick" and "thorough", the parameters that each sets; where both set the same, or none are
        given, there are no buttons for them.
    """

    def __init__(self, declarations, onChanged, onLayersWanted, presets=None):
        self.declarations = declarations
        self.presets = presets if presets and presets.get("quick") != presets.get("thorough") else {}
        self.presetButtons = {}
        self.onChanged = onChanged
        self._quiet = False
        self.editors = {}
        self.widget = qt.QWidget()
        outer = qt.QVBoxLayout(self.widget)
        outer.setContentsMargins(0, 0, 0, 0)
        plain = [one for one in declarations if not one.get("advanced")]
        advanced = [one for one in declarations if one.get("advanced")]
        if plain:
            outer.addLayout(self._form(plain, onLayersWanted))
        if advanced:
            self.advancedButton = ctk.ctkCollapsibleButton()
            self.advancedButton.text = _("Advanced")
            self.advancedButton.objectName = "advancedSection"
            self.advancedButton.toolTip = _("Parameters that seldom need to be changed.")
            section = qt.QVBoxLayout(self.advancedButton)
            section.addLayout(self._form(advanced, onLayersWanted))
            self.advancedButton.collapsed = True
            outer.addWidget(self.advancedButton)
        if declarations:
            self.resetButton = qt.QPushButton(_("Reset to defaults"))
            self.resetButton.objectName = "resetButton"
            self.resetButton.toolTip = _("Give all parameters of this method their tested values.")
            self.resetButton.connect("clicked(bool)", self.reset)
            row = qt.QHBoxLayout()
            for name, title in (("quick", _("Quick")), ("thorough", _("Thorough"))):
                if self.presets:
                    row.addWidget(self._presetButton(name, title))
            row.addStretch(1)
            row.addWidget(self.resetButton)
            outer.addLayout(row)
            self._updateReset()

    def _presetButton(self, name, title):
        button = qt.QPushButton(title)
        button.objectName = name + "Button"
        button.setCheckable(True)
        button.toolTip = _("Set {values}; what else you chose stays.").format(values=presetText(self.presets[name]))
        button.connect("clicked(bool)", lambda checked=False: self.usePreset(name))
        self.presetButtons[name] = button
        return button

    def _form(self, declarations, onLayersWanted):
        layout = qt.QFormLayout()
        layout.setFieldGrowthPolicy(qt.QFormLayout.ExpandingFieldsGrow)
        for declaration in declarations:
            editor = EDITORS[declaration["kind"]](declaration, self._changed)
            if isinstance(editor, LayerEditor):
                editor.onListWanted = onLayersWanted
            label = qt.QLabel(_("{name}:").format(name=parameterTitle(declaration)))
            tip = tooltip(declaration)
            label.toolTip = tip
            editor.widget.toolTip = tip
            editor.widget.accessibleName = parameterTitle(declaration)
            editor.widget.objectName = "parameter_" + declaration["name"]
            layout.addRow(label, editor.widget)
            self.editors[declaration["name"]] = editor
        return layout

    def values(self):
        """All values by name."""
        return {name: editor.value() for name, editor in self.editors.items()}

    def changes(self):
        """The values that differ from the defaults, by name."""
        return {name: value for name, value in self.values().items()
                if not same(value, self.editors[name].declaration["default"])}

    def setChanges(self, changes):
        """Show the defaults, but for `changes`; a name that the method does not have is left out."""
        self._quiet = True
        try:
            for name, editor in self.editors.items():
                value = changes.get(name, editor.declaration["default"])
                if not same(editor.value(), value):
                    editor.setValue(value)
        finally:
            self._quiet = False
        self._updateReset()

    def usePreset(self, name):
        """Set what the preset sets; other parameters stay as they are."""
        self.setChanges({**self.changes(), **self.presets[name]})
        self.onChanged()

    def reset(self, checked=False):
        self.setChanges({})
        self.onChanged()

    def _changed(self):
        if not self._quiet and len(self.editors) == len(self.declarations):
            self._updateReset()
            self.onChanged()

    def _updateReset(self):
        if self.editors:
            self.resetButton.visible = bool(self.changes())
        for name, button in self.presetButtons.items():
            button.setChecked(all(same(self.editors[parameter].value(), value)
                                  for parameter, value in self.presets[name].items()))


def same(first, second):
    """Whether two values of a parameter mean the same: 8 and [8, 8, 8], "" and None."""
    def plain(value):
        if isinstance(value, (list, tuple)):
            if not all(isinstance(part, int) for part in value):
                return list(value)
            return value[0] if len(set(value)) == 1 else list(value) or None
        return None if value == "" else value

    return plain(first) == plain(second)


def parameterTitle(declaration):
    return declaration["name"].replace("_", " ").capitalize()


def tooltip(declaration):
    """The declaration in words."""
    text = declaration.get("help", "")
    low, high, default = declaration.get("minimum"), declaration.get("maximum"), declaration.get("default")
    if low is not None and high is not None:
        text += " " + _("From {low:g} to {high:g}.").format(low=low, high=high)
    elif low is not None:
        text += " " + _("At least {low:g}.").format(low=low)
    elif high is not None:
        text += " " + _("At most {high:g}.").format(high=high)
    if isinstance(default, (list, tuple)):
        default = ", ".join(map(str, default))
    if default not in (None, ""):
        text += " " + _("Default: {default}.").format(default=default)
    return text.strip()

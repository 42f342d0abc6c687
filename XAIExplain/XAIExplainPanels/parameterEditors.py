"""One editor for each kind of parameter that a method can declare."""

import qt
from slicer.i18n import tr as _

from XAIExplainPanels.panel import comboData, fillCombo, selectData

LARGEST = 1000000
AXES = ("k", "j", "i")


class Editor:
    """
    A widget for one parameter.

    :param declaration: the parameter as the method declares it.
    :param onChanged: called when the user has changed it.
    """

    def __init__(self, declaration, onChanged):
        self.declaration = declaration
        self.onChanged = onChanged
        self.widget = self.make()
        self.setValue(declaration["default"])

    def changed(self, *ignored):
        self.onChanged()

    def make(self):
        raise NotImplementedError

    def value(self):
        raise NotImplementedError

    def setValue(self, value):
        raise NotImplementedError

    def bound(self, name, otherwise):
        value = self.declaration.get(name)
        return otherwise if value is None else value

    def spinBox(self):
        spin = qt.QSpinBox()
        spin.setRange(int(self.bound("minimum", -LARGEST)), int(self.bound("maximum", LARGEST)))
        spin.connect("valueChanged(int)", self.changed)
        return spin

    def doubleSpinBox(self):
        spin = qt.QDoubleSpinBox()
        spin.setDecimals(decimalsFor(self.declaration))
        spin.setRange(float(self.bound("minimum", -LARGEST)), float(self.bound("maximum", LARGEST)))
        spin.setSingleStep(10.0 ** -min(spin.decimals, 2))
        spin.connect("valueChanged(double)", self.changed)
        return spin

    def suffix(self):
        return " " + self.declaration["unit"] if self.declaration.get("unit") else ""


class IntegerEditor(Editor):
    def make(self):
        spin = self.spinBox()
        spin.setSuffix(self.suffix())
        return spin

    def value(self):
        return int(self.widget.value)

    def setValue(self, value):
        self.widget.setValue(int(value))


class NumberEditor(Editor):
    def make(self):
        spin = self.doubleSpinBox()
        spin.setSuffix(self.suffix())
        return spin

    def value(self):
        return round(float(self.widget.value), 10)

    def setValue(self, value):
        self.widget.setValue(float(value))


class BooleanEditor(Editor):
    def make(self):
        box = qt.QCheckBox()
        box.connect("toggled(bool)", self.changed)
        return box

    def value(self):
        return bool(self.widget.checked)

    def setValue(self, value):
        self.widget.setChecked(bool(value))


class ChoiceEditor(Editor):
    def make(self):
        combo = qt.QComboBox()
        fillCombo(combo, [(word, word) for word in self.declaration["choices"]], self.declaration["default"])
        combo.connect("currentIndexChanged(int)", self.changed)
        return combo

    def value(self):
        return comboData(self.widget)

    def setValue(self, value):
        selectData(self.widget, value)


class VoxelsEditor(Editor):
    """Three numbers in the order of the array's axes; equal ones are sent as one."""

    def make(self):
        row = qt.QWidget()
        layout = qt.QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        self.spins = []
        # The user reads i, j, k as in Slicer's Data Probe; the method wants k, j, i.
        for axis in reversed(AXES):
            spin = self.spinBox()
            spin.setMinimum(max(1, int(self.bound("minimum", 1))))
            spin.setPrefix(axis + " ")
            spin.toolTip = _("{help} Voxels along {axis}.").format(help=self.declaration["help"], axis=axis)
            layout.addWidget(spin)
            self.spins.insert(0, spin)
        layout.addWidget(qt.QLabel(_("voxels")))
        return row

    def value(self):
        numbers = [int(spin.value) for spin in self.spins]
        return numbers[0] if len(set(numbers)) == 1 else numbers

    def setValue(self, value):
        numbers = list(value) if isinstance(value, (list, tuple)) else [value] * 3
        numbers = [1] * (3 - len(numbers)) + numbers
        for index, spin in enumerate(self.spins):
            spin.setValue(int(numbers[index]))


class LayerEditor(Editor):
    """A layer of the network: the method's own choice, or one of the list that the engine gives when it is asked."""

    onListWanted = None

    def make(self):
        row = qt.QWidget()
        layout = qt.QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        self.combo = qt.QComboBox()
        self.combo.setSizePolicy(qt.QSizePolicy.Expanding, qt.QSizePolicy.Fixed)
        self.combo.setMinimumContentsLength(12)
        self.combo.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        self.combo.objectName = "layerComboBox"
        self.combo.toolTip = self.declaration["help"]
        self.combo.addItem(_("Chosen by the method"), "")
        self.combo.connect("currentIndexChanged(int)", self.changed)
        self.button = qt.QPushButton(_("List layers"))
        self.button.objectName = "layerButton"
        self.button.toolTip = _("Ask the network for its layers, with the size of the map that each would give.")
        self.button.connect("clicked(bool)", self.askForList)
        layout.addWidget(self.combo)
        layout.addWidget(self.button)
        return row

    def askForList(self, checked=False):
        if self.onListWanted:
            self.button.enabled = False
            self.onListWanted(self.setLayers)

    def setLayers(self, layers):
        """The engine's layers; an empty list leaves the combo as it is."""
        self.button.enabled = True
        if not layers:
            return
        current = self.value()
        entries = [(_("Chosen by the method"), "")]
        entries += [(layerTitle(layer), str(layer["name"])) for layer in layers]
        fillCombo(self.combo, entries, current or "")

    def value(self):
        return comboData(self.combo) or None

    def setValue(self, value):
        if not selectData(self.combo, value or ""):
            self.combo.addItem(str(value), str(value))
            selectData(self.combo, str(value))


class FillEditor(Editor):
    """What replaces voxels: one of the method's words, or a number."""

    NUMBER = "<number>"

    def make(self):
        row = qt.QWidget()
        layout = qt.QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        self.combo = qt.QComboBox()
        self.combo.toolTip = self.declaration["help"]
        self.spin = self.doubleSpinBox()
        self.spin.toolTip = self.declaration["help"]
        words = [(word, word) for word in self.declaration["choices"]]
        fillCombo(self.combo, [*words, (_("number"), self.NUMBER)], None)
        self.combo.connect("currentIndexChanged(int)", self.onWord)
        layout.addWidget(self.combo)
        layout.addWidget(self.spin)
        return row

    def onWord(self, index):
        self.spin.visible = comboData(self.combo) == self.NUMBER
        self.onChanged()

    def value(self):
        word = comboData(self.combo)
        return round(float(self.spin.value), 10) if word == self.NUMBER else word

    def setValue(self, value):
        isWord = isinstance(value, str)
        selectData(self.combo, value if isWord else self.NUMBER)
        if not isWord:
            self.spin.setValue(float(value))
        self.spin.visible = not isWord


def layerTitle(layer):
    """Name of the layer and the size of its map."""
    shape = layer.get("shape") or layer.get("grid") or ()
    sizes = " x ".join(str(size) for size in list(shape)[-3:])
    return "{} ({})".format(layer["name"], sizes) if sizes else str(layer["name"])


def decimalsFor(declaration):
    """Decimals enough for the default and the bounds, and two more to turn."""
    numbers = [declaration.get(key) for key in ("default", "minimum", "maximum")]
    most = 2
    for number in numbers:
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            text = "{:.8f}".format(float(number)).rstrip("0")
            most = max(most, min(len(text.split(".")[1]) + (1 if 0 < abs(number) < 0.01 else 0), 8))
    return most


EDITORS = {
    "integer": IntegerEditor, "number": NumberEditor, "boolean": BooleanEditor, "choice": ChoiceEditor,
    "voxels": VoxelsEditor, "layer": LayerEditor, "fill": FillEditor,
}  # fmt: skip

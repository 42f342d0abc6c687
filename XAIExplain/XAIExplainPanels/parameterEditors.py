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
    """
    A layer of the network: the method's own choice, or one of the list that the engine gives when it is asked. A part
    of the name finds it; while there is no list, the whole name can be typed.
    """

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
        self.combo.toolTip = _("{help} Type a part of its name to find it in the list.").format(
            help=self.declaration["help"])
        self.combo.addItem(_("Chosen by the method"), "")
        self.combo.setEditable(True)
        self.combo.setInsertPolicy(qt.QComboBox.NoInsert)
        completer = self.combo.completer()
        completer.setFilterMode(qt.Qt.MatchContains)
        completer.setCompletionMode(qt.QCompleter.PopupCompletion)
        self.combo.lineEdit().connect("editingFinished()", self.onTyped)
        self._listed = False
        self.combo.connect("currentIndexChanged(int)", self.changed)
        self.button = qt.QPushButton(_("List layers"))
        self.button.objectName = "layerButton"
        self.button.toolTip = _("Ask the network for its layers, with the size of the map that each would give.")
        self.button.connect("clicked(bool)", self.askForList)
        layout.addWidget(self.combo)
        layout.addWidget(self.button)
        return row

    def onTyped(self):
        """Take the layer whose title is, begins with, or holds what was typed; else show again what was chosen."""
        typed = str(self.combo.currentText).strip()
        titles = [str(self.combo.itemText(index)) for index in range(self.combo.count)]
        if typed == titles[self.combo.currentIndex]:
            return
        tests = (typed.__eq__, lambda title: title.startswith(typed), lambda title: typed.lower() in title.lower())
        found = [index for test in tests for index, title in enumerate(titles) if typed and test(title)]
        if found:
            self.combo.setCurrentIndex(found[0])
        elif typed and not self._listed:
            self.setValue(typed)
            self.changed()
        self.combo.setEditText(self.combo.itemText(self.combo.currentIndex))

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
        self._listed = True
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
    """What replaces voxels: one of the method's words, a number, or where the method allows it another case."""

    NUMBER = "<number>"
    VOLUME = "<volume>"

    def make(self):
        row = qt.QWidget()
        layout = qt.QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        self.combo = qt.QComboBox()
        self.combo.toolTip = self.declaration["help"]
        self.spin = self.doubleSpinBox()
        self.spin.toolTip = self.declaration["help"]
        self.line = lineEdit(_("Name of an example, or path of a volume"), self.changed)
        words = [(word.replace("_", " "), word) for word in self.declaration["choices"]]
        words.append((_("number"), self.NUMBER))
        if self.declaration.get("volumes"):
            words.append((_("another case"), self.VOLUME))
        fillCombo(self.combo, words, None)
        self.combo.connect("currentIndexChanged(int)", self.onWord)
        for widget in (self.combo, self.spin, self.line):
            layout.addWidget(widget)
        return row

    def onWord(self, index):
        self.showOnly(comboData(self.combo))
        self.onChanged()

    def showOnly(self, word):
        self.spin.visible = word == self.NUMBER
        self.line.visible = word == self.VOLUME

    def value(self):
        word = comboData(self.combo)
        if word == self.VOLUME:
            # Until a case is named, the method's own choice stands.
            return str(self.line.text).strip() or self.declaration["default"]
        return round(float(self.spin.value), 10) if word == self.NUMBER else word

    def setValue(self, value):
        word = value if value in self.declaration["choices"] else self.VOLUME
        word = word if isinstance(value, str) else self.NUMBER
        selectData(self.combo, word)
        if word == self.NUMBER:
            self.spin.setValue(float(value))
        self.line.text = value if word == self.VOLUME else ""
        self.showOnly(word)


class ListEditor(Editor):
    """Several names in one line, parted by commas."""

    def make(self):
        texts = {
            "layer": _("Names of layers, parted by commas"),
            "model": _("Names of models or paths, parted by commas"),
            "volume": _("Names of examples or paths, parted by commas"),
        }
        text = texts.get(self.declaration.get("of")) or _("Parted by commas")
        return lineEdit(text, self.changed)

    def value(self):
        return [part.strip() for part in str(self.widget.text).split(",") if part.strip()]

    def setValue(self, value):
        self.widget.text = ", ".join(value or ())


def lineEdit(placeholder, onChanged):
    """A line of text that tells when the user has left it."""
    line = qt.QLineEdit()
    line.placeholderText = placeholder
    line.connect("editingFinished()", onChanged)
    return line


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
    "voxels": VoxelsEditor, "layer": LayerEditor, "fill": FillEditor, "list": ListEditor,
}  # fmt: skip

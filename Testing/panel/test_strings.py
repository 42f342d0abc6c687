"""Every string that a user reads goes through `_()`, as a literal, and every control says what it does."""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

MODULE = Path(__file__).resolve().parents[2] / "XAIExplain"
SOURCES = sorted([MODULE / "XAIExplain.py", *(MODULE / "XAIExplainPanels").glob("*.py")])
FORMS = sorted((MODULE / "Resources" / "UI").glob("*.ui"))

# Calls whose argument at this place is read by a user, and properties likewise.
SHOWN = {"setText": 0, "setToolTip": 0, "setWindowTitle": 0, "setPlaceholderText": 0, "setStatusTip": 0, "setTitle": 0,
         "setAccessibleName": 0, "setAccessibleDescription": 0, "addItem": 0, "say": 0, "sayError": 0, "log": 0,
         "XAIError": 0, "addRow": 0, "setHeaderLabels": 0, "addAction": 0, "showStatusMessage": 0, "delayDisplay": 0,
         "QLabel": 0, "QPushButton": 0, "QCheckBox": 0, "QToolButton": 0, "QListWidgetItem": 0, "setTitleText": 0,
         "confirmOkCancelDisplay": 0, "errorDisplay": 0, "infoDisplay": 0, "appendPlainText": 0,
         "setFormat": 0}  # fmt: skip
PROPERTIES = {"text", "toolTip", "title", "windowTitle", "placeholderText", "statusTip", "accessibleName", "suffix",
              "prefix", "specialValueText", "noneDisplay"}  # fmt: skip
# Formats for numbers, marks, and what is a name everywhere.
NO_WORDS = re.compile(r"^[^A-Za-z]*$|^%p %$|^\{[^}]*\}$|^<[^>]*>$")


def literals(node: ast.AST) -> list[ast.expr]:
    """The strings of an expression that are not inside of `_(...)`; formats and keys are looked into, too."""
    if isinstance(node, ast.Call):
        name = nameOf(node.func)
        if name in ("_", "translate"):
            return []
        if name == "format" and isinstance(node.func, ast.Attribute):
            return literals(node.func.value)
        if name == "join" and isinstance(node.func, ast.Attribute):
            return [found for argument in node.args for found in literals(argument)]
        return []
    if isinstance(node, ast.Constant):
        return [node] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        return [node]
    if isinstance(node, ast.IfExp):
        return literals(node.body) + literals(node.orelse)
    if isinstance(node, ast.BoolOp):
        return [found for value in node.values for found in literals(value)]
    if isinstance(node, ast.BinOp):
        return literals(node.left) + literals(node.right)
    if isinstance(node, (ast.List, ast.Tuple)):
        return [found for value in node.elts for found in literals(value)]
    return []


def nameOf(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def words(node: ast.expr) -> str:
    """The words in a string that stands in the code; empty if there are none."""
    if isinstance(node, ast.JoinedStr):
        return "f-string " + ast.unparse(node)
    text = re.sub(r"\{[^}]*\}|<[^>]*>|&nbsp;", "", str(node.value))  # type: ignore[attr-defined]
    return text.strip() if not NO_WORDS.match(text.strip()) else ""


def untranslated(tree: ast.AST) -> list[tuple[int, str]]:
    """Line and words of what a user would read in English whatever the language."""
    found = []
    for node in ast.walk(tree):
        shown: list[ast.expr] = []
        if isinstance(node, ast.Call) and nameOf(node.func) in SHOWN and node.args:
            shown = list(node.args) if nameOf(node.func) in ("XAIError", "say", "sayError") else node.args[:1]
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute) \
                and node.targets[0].attr in PROPERTIES:
            shown = [node.value]
        found += [(node.lineno, words(one)) for value in shown for one in literals(value) if words(one)]
    return found


def wronglyTranslated(tree: ast.AST) -> list[tuple[int, str]]:
    """What `_()` gets that no translator can be given: f-strings, names, strings put together, bare places."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and nameOf(node.func) == "_":
            argument = node.args[0] if node.args else None
            if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
                found.append((node.lineno, ast.unparse(node)))
            elif re.search(r"\{(\d*)[:}]", argument.value):
                found.append((node.lineno, "places without names: " + argument.value))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_what_is_shown_is_translated(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert untranslated(tree) == []
    assert wronglyTranslated(tree) == []


def test_the_checks_find_what_is_wrong() -> None:
    wrong = ["label.setText('Hello')", "label.text = f'Hello {name}'", "self.say('Hello {}'.format(name))",
             "button.toolTip = 'Go' if ready else _('Wait')", "raise XAIError(_('Broken.'), 'Mend it.')"]  # fmt: skip
    for line in wrong:
        assert untranslated(ast.parse(line)), line
    right = ["label.setText(_('Hello'))", "label.text = '{} {}'.format(a, b)", "bar.setFormat('%p %')",
             "label.text = ' '.join([_('One'), other])", "label.text = ''"]  # fmt: skip
    for line in right:
        assert not untranslated(ast.parse(line)), line
    for line in ("_(f'a {b}')", "_(text)", "_('a' + b)", "_('{} voxels').format(2)"):
        assert wronglyTranslated(ast.parse(line)), line
    assert not wronglyTranslated(ast.parse("_('{count} voxels').format(count=2)"))


# What a user can click or type into.
CONTROLS = {"QPushButton", "QToolButton", "QComboBox", "QCheckBox", "QRadioButton", "QSpinBox", "QDoubleSpinBox",
            "QSlider", "QLineEdit", "QPlainTextEdit", "QTextEdit", "QListWidget", "QTreeWidget", "QTableWidget",
            "ctkSliderWidget", "ctkRangeWidget", "ctkDoubleSpinBox", "ctkPathLineEdit", "qMRMLNodeComboBox",
            "qMRMLSegmentSelectorWidget", "qMRMLColorTableComboBox", "qMRMLSliderWidget", "QDateEdit"}  # fmt: skip


def property_(widget: ET.Element, name: str) -> str:
    found = widget.find(f"property[@name='{name}']")
    return "".join(found.itertext()).strip() if found is not None else ""


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_every_control_of_a_form_says_what_it_does(path: Path) -> None:
    widgets = list(ET.parse(path).iter("widget"))
    controls = [widget for widget in widgets if widget.get("class") in CONTROLS]
    assert [widget.get("name") for widget in controls if not property_(widget, "toolTip")] == []
    # A screen reader reads the text of a button; one that has a picture only needs a name.
    buttons = [widget for widget in controls if widget.get("class") in ("QPushButton", "QToolButton")]
    assert [widget.get("name") for widget in buttons
            if not property_(widget, "text") and not property_(widget, "accessibleName")] == []


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_strings_of_a_form_are_words_or_marked(path: Path) -> None:
    """What is no word for a user, such as a parameter's name, is not given to translators."""
    for found in ET.parse(path).iter("property"):
        if found.get("name") in ("SlicerParameterName", "nodeTypes"):
            assert all(inner.get("notr") == "true" for inner in found), (found.get("name"), list(found.itertext()))

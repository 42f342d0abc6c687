"""Dialogs that would wait for an answer: recorded and answered at once, unless the host is interactive.

`shown` holds what was asked, `answers` what to say. Both belong to the host (`host.dialogs`, `host.answers`).
"""

from PySide6 import QtGui, QtWidgets

interactive = False
shown = []


class Answers:
    """What to answer: one value, or a list of which the first is used up at each question.

    confirm: True or False, to Ok/Cancel, Yes/No and Retry/Close questions, and to dialogs as a whole.
    buttons: a QMessageBox button for boxes that the module builds itself (wins over `confirm`).
    openFile, saveFile, directory, text, color: what such dialogs give; "" is cancelled.
    """

    def __init__(self):
        self.confirm = True
        self.buttons = None
        self.openFile = ""
        self.saveFile = ""
        self.directory = ""
        self.text = ""
        self.color = None

    def take(self, name):
        value = getattr(self, name)
        if isinstance(value, list):
            return value.pop(0) if value else getattr(Answers(), name)
        return value


answers = Answers()


def record(kind, text="", title="", details="", **more):
    """Append {"kind", "text", "title", "details", ...} to `shown`."""
    shown.append({"kind": kind, "text": text, "title": title, "details": details, **more})
    return shown[-1]


def _fileNames(kind, native, parent, caption, directory, nameFilter):
    if interactive:
        chosen = native(parent, caption, directory, nameFilter)[0]
    else:
        chosen = answers.take("saveFile" if kind == "saveFile" else "openFile")
        record(kind, caption, filter=nameFilter, answer=chosen)
    return chosen


def getOpenFileName(parent=None, caption="", directory="", nameFilter="", *_):
    return str(
        _fileNames("openFile", QtWidgets.QFileDialog.getOpenFileName, parent, caption, directory, nameFilter)
    )


def getOpenFileNames(parent=None, caption="", directory="", nameFilter="", *_):
    chosen = _fileNames(
        "openFile", QtWidgets.QFileDialog.getOpenFileNames, parent, caption, directory, nameFilter
    )
    return tuple(map(str, [chosen] if isinstance(chosen, str) and chosen else chosen))


def getSaveFileName(parent=None, caption="", directory="", nameFilter="", *_):
    return str(
        _fileNames("saveFile", QtWidgets.QFileDialog.getSaveFileName, parent, caption, directory, nameFilter)
    )


def getExistingDirectory(parent=None, caption="", directory="", *_):
    if interactive:
        return QtWidgets.QFileDialog.getExistingDirectory(parent, caption, directory)
    chosen = str(answers.take("directory"))
    record("directory", caption, answer=chosen)
    return chosen


def getText(parent=None, title="", label="", mode=QtWidgets.QLineEdit.Normal, text="", *_):
    """PythonQt's QInputDialog.getText gives the text alone, "" when cancelled."""
    if interactive:
        value, accepted = QtWidgets.QInputDialog.getText(parent, title, label, mode, text)
        return value if accepted else ""
    value = answers.take("text")
    record("text", label, title, answer=value)
    return value


def getColor(parent, initial):
    if interactive:
        color = QtWidgets.QColorDialog.getColor(initial, parent)
        return color if color.isValid() else None
    color = answers.take("color")
    record("color", answer=color)
    return QtGui.QColor(color) if color is not None else None


class FileDialog(QtWidgets.QFileDialog):
    """QFileDialog whose static functions give the path alone, as PythonQt's do."""

    IS_SUBSTITUTE = True
    getOpenFileName = staticmethod(getOpenFileName)
    getOpenFileNames = staticmethod(getOpenFileNames)
    getSaveFileName = staticmethod(getSaveFileName)
    getExistingDirectory = staticmethod(getExistingDirectory)


class InputDialog(QtWidgets.QInputDialog):
    IS_SUBSTITUTE = True
    getText = staticmethod(getText)


def _positive(box):
    """The button of a message box that says yes, and the one that says no."""
    kinds = QtWidgets.QMessageBox
    yes = next(
        (b for b in (kinds.Ok, kinds.Yes, kinds.Retry, kinds.Save, kinds.Apply) if box.standardButtons & b),
        kinds.Ok,
    )
    no = next(
        (b for b in (kinds.Cancel, kinds.No, kinds.Close, kinds.Discard) if box.standardButtons & b), yes
    )
    return yes, no


def answerBox(box):
    """Record a message box and return the button that `answers` presses."""
    kinds = {
        QtWidgets.QMessageBox.Critical: "error",
        QtWidgets.QMessageBox.Warning: "warning",
        QtWidgets.QMessageBox.Question: "question",
        QtWidgets.QMessageBox.Information: "info",
    }
    button = answers.take("buttons")
    if button is None:
        yes, no = _positive(box)
        button = yes if answers.take("confirm") else no
    record(kinds.get(box.icon, "message"), box.text, box.windowTitle.strip(), box.detailedText, answer=button)
    return button


def install():
    """Make every modal dialog answer at once (they still wait when `interactive`)."""
    nativeDialog, nativeBox = QtWidgets.QDialog.exec, QtWidgets.QMessageBox.exec
    boxes = {
        name: getattr(QtWidgets.QMessageBox, name)
        for name in ("information", "question", "warning", "critical")
    }
    defaults = {"question": QtWidgets.QMessageBox.Yes | QtWidgets.QMessageBox.No}

    def runDialog(self):
        if interactive:
            return nativeDialog(self)
        accepted = bool(answers.take("confirm"))
        record("dialog", self.className(), self.windowTitle, answer=accepted)
        self.done(int(accepted))
        return int(accepted)

    def runBox(self):
        return nativeBox(self) if interactive else answerBox(self)

    def staticBox(name):
        def show(parent, title, text, buttons=None, default=None):
            buttons = defaults.get(name, QtWidgets.QMessageBox.Ok) if buttons is None else buttons
            if interactive:
                return boxes[name](parent, title, text, buttons)
            box = QtWidgets.QMessageBox(parent)
            box.icon = getattr(QtWidgets.QMessageBox, name.capitalize())
            box.windowTitle, box.text, box.standardButtons = title, text, buttons
            return answerBox(box)

        return staticmethod(show)

    QtWidgets.QDialog.exec = QtWidgets.QDialog.exec_ = runDialog
    QtWidgets.QMessageBox.exec = QtWidgets.QMessageBox.exec_ = runBox
    for name in boxes:
        setattr(QtWidgets.QMessageBox, name, staticBox(name))

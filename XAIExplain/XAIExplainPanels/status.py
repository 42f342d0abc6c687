"""What the engine stands on, in rows: good, to be looked at, or missing, each with what to do about it."""

import re
from html import escape

from slicer.i18n import tr as _

GOOD, CAREFUL, BAD, WAITING = "good", "careful", "bad", "waiting"
# Shape and word say it besides color, and the colors are told apart on dark and on light windows.
SIGNS = {GOOD: ("\u25cf", "#2f9e57"), CAREFUL: ("\u25b2", "#d18a00"), BAD: ("\u25a0", "#e0483c"),
         WAITING: ("\u25cb", "#8a939b")}
GIGABYTE = 1024**3
LITTLE, NEXT_TO_NOTHING = 4 * GIGABYTE, GIGABYTE
OLDEST = {"torch": (2, 8), "monai": (1, 6)}


class Row:
    """
    One thing that is needed.

    :param state: GOOD, CAREFUL, BAD or WAITING.
    :param text: what is there.
    :param advice: what to do, if anything is to be done.
    """

    def __init__(self, state, name, text, advice=""):
        self.state, self.name, self.text, self.advice = state, name, text, advice


def words():
    """The states in words."""
    return {GOOD: _("ready"), CAREFUL: _("look"), BAD: _("missing"), WAITING: _("waiting")}


def rows(ready, alive, error, memory=None):
    """
    The rows of the set-up.

    :param ready: what the engine said when it had started, or None.
    :param alive: whether its process runs.
    :param error: the event that says why it cannot start, or None.
    :param memory: the engine's answer to `status`, if it was asked.
    """
    if error and not ready:
        return _failed(error)
    if not ready:
        text = _("It is starting...") if alive else _("It is not running; it starts when it is needed.")
        return [Row(WAITING, _("Engine"), text)]
    return [_engine(ready), _torch(ready), _monai(ready), _device(ready), _memory(ready, memory or {})]


def html(found):
    """The rows as rich text."""
    text = ""
    for row in found:
        sign, color = SIGNS[row.state]
        advice = " <b>{}</b>".format(escape(row.advice)) if row.advice else ""
        text += ('<tr><td><font color="{}">{}</font>&nbsp;</td><td><b>{}</b>&nbsp;<br><small>{}</small>&nbsp;</td>'
                 "<td>{}{}</td></tr>").format(
            color, sign, escape(row.name), escape(words()[row.state]), escape(row.text), advice)
    return '<table cellspacing="0" cellpadding="2">{}</table>'.format(text)


def marked(state, text):
    """A sentence with the sign of a state."""
    sign, color = SIGNS[state]
    return '<font color="{}">{}</font> {}'.format(color, sign, escape(text))


def _failed(error):
    message, hint = str(error.get("message") or ""), str(error.get("hint") or "")
    cause = advice(message + " " + hint)
    found = [Row(BAD, _("Engine"), message or _("It cannot start."), cause or hint)]
    for name, title in (("torch", "PyTorch"), ("monai", "MONAI")):
        if re.search(r"\b{}\b".format(title if name == "torch" else name), message, re.I):
            found.append(Row(BAD, title, _("The engine's Python does not have it, or cannot load it.")))
    return found


def advice(text):
    """The next step for a failure that is known by its words; empty for one that is not."""
    for pattern, sentence in known():
        if re.search(pattern, text, re.I):
            return sentence
    return ""


def known():
    """Failures that users of Slicer's extensions meet: the words that tell them, and the next step."""
    return (
        (r"torch.*incomplete", _(
            "PyTorch is only half there. On Windows its paths are longer than the system allows: move Slicer to a "
            "short folder such as C:\\Slicer, and press Install PyTorch again.")),
        (r"WinError 126|WinError 1114|DLL load failed", _(
            "A library of Windows is missing: install the Microsoft Visual C++ Redistributable, restart Slicer, and "
            "press Restart engine.")),
        (r"multiarray|compiled using NumPy 1|numpy\.dtype size changed|_ARRAY_API", _(
            "NumPy and PyTorch do not fit each other, most often because another extension replaced one: press "
            "Install PyTorch, or choose another Python below.")),
        (r"GLIBC|GLIBCXX|libcu\w+\.so|libcudnn|undefined symbol", _(
            "PyTorch was built for another system: install the version for this one, or choose another Python below.")),
        (r"Illegal instruction|signal 4\b", _(
            "This processor is too old for this PyTorch, or another kind than it was built for: choose another "
            "Python below.")),
        (r"signal 11\b|segmentation fault", _(
            "A library crashed while it was loaded: choose another Python below, or install again; the log says "
            "which.")),
        (r"incompatible architecture|x86_64.*arm64|arm64.*x86_64", _(
            "This Python is for another kind of processor: choose one for this Mac below.")),
        (r"Exec format|not a valid Win32|Permission denied", _(
            "The program that is chosen as Python does not run: choose another one below, or clear the field to use "
            "Slicer's own.")),
        (r"SyntaxError|f-string|requires a different Python", _(
            "The engine needs Python 3.11 or newer: choose one below, or use Slicer 5.10 or newer.")),
    )


def installAdvice(text):
    """The next step after an installation that failed; pip's own last words are often but an exit status."""
    for pattern, sentence in (
        (r"No space left|not enough.*space", _("Make room on the disk, and try again.")),
        (r"Permission denied|Access is denied|Read-only", _(
            "Slicer's folder cannot be written to: install Slicer in a folder of your own, or choose another Python.")),
        (r"Temporary failure in name resolution|getaddrinfo|NewConnectionError|Connection|timed out|SSL", _(
            "The internet could not be reached: check the network and its proxy, or choose a Python that has "
            "PyTorch.")),
        (r"No matching distribution|Could not find a version", _(
            "There is no package for this system, such as for a Mac under Rosetta: choose another Python.")),
        (r"conflict|ResolutionImpossible", _(
            "Another extension needs other versions: choose a Python of its own for the engine.")),
        (r"in use|WinError 5|WinError 32", _("A file is in use: restart Slicer, and install before anything else.")),
    ):
        if re.search(pattern, text, re.I):
            return sentence
    return _("Slicer's log (Help, Report a Bug) has the lines that begin with ERROR. Restart Slicer and try again, or "
             "choose a Python that has PyTorch.")


def _engine(ready):
    return Row(GOOD, _("Engine"), _("Version {version}, Python {python}.").format(
        version=ready.get("version", "?"), python=ready.get("python", "?")))


def _torch(ready):
    text = str(ready.get("torch") or "?")
    if tooOld("torch", text):
        onMac = str(ready.get("machine") or "").startswith("Darwin x86_64")
        return Row(CAREFUL, "PyTorch", text, _(
            "The last version for this kind of Mac or for Rosetta; some networks cannot be explained. Choose a Python "
            "for Apple silicon.") if onMac else _(
            "Older than {version}: some networks cannot be explained. Press Install PyTorch.").format(
            version=dotted("torch")))
    return Row(GOOD, "PyTorch", text)


def _monai(ready):
    if "monai" not in ready:
        return Row(WAITING, "MONAI", _("This engine does not tell."))
    text = ready["monai"]
    if not text:
        return Row(BAD, "MONAI", _("It is not installed."), _("Press Install PyTorch, which installs it too."))
    if tooOld("monai", text):
        return Row(CAREFUL, "MONAI", text, _(
            "Older than {version}, perhaps put there by another extension. Press Install PyTorch.").format(
            version=dotted("monai")))
    return Row(GOOD, "MONAI", text)


def _device(ready):
    processor = ready.get("processor") or _("Processor")
    threads = ready.get("threads")
    words = _("{name}, 1 thread.") if threads == 1 else _("{name}, {count} threads.")
    text = words.format(name=processor, count=threads) if threads else str(processor)
    if ready.get("graphics"):
        text += " " + _("There is a graphics card ({name}), which the panel does not use yet.").format(
            name=ready["graphics"])
    return Row(GOOD, _("Device"), text)


def _memory(ready, memory):
    total, available = memory.get("total") or ready.get("total_memory"), memory.get("available")
    if not total:
        return Row(WAITING, _("Memory"), _("This engine does not tell."))
    text = _("{total:.0f} GB in all").format(total=total / GIGABYTE)
    if available is not None:
        text += _(", {available:.1f} GB free").format(available=available / GIGABYTE)
    if memory.get("rss"):
        text += _(", the engine holds {held:.1f} GB").format(held=memory["rss"] / GIGABYTE)
    text += "."
    if available is not None and available < NEXT_TO_NOTHING:
        return Row(BAD, _("Memory"), text, _("Close other programs before you explain anything."))
    if available is not None and available < LITTLE:
        return Row(CAREFUL, _("Memory"), text, _("Enough for small volumes. Close other programs for large ones."))
    return Row(GOOD, _("Memory"), text)


def tooOld(name, text):
    """Whether a version is older than what the engine was tested with; what is no version is not."""
    numbers = re.match(r"(\d+)\.(\d+)", text)
    return bool(numbers) and tuple(int(part) for part in numbers.groups()) < OLDEST[name]


def dotted(name):
    return ".".join(str(part) for part in OLDEST[name])

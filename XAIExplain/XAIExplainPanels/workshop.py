"""The workshop: which step it is, what was done, what was noted; all of it is kept in the scene."""

import json

from slicer.i18n import tr as _

from XAIExplainLib.errors import XAIError
from XAIExplainPanels import reportPage
from XAIExplainPanels.report import writeBeside, writeText
from XAIExplainPanels.workshopChecks import Situation
from XAIExplainPanels.workshopSteps import steps


class Workshop:
    """
    Walks through the steps of the workshop. It does no step itself.

    :param logic: the module's logic.
    """

    def __init__(self, logic):
        self.logic = logic
        self._steps = None

    @property
    def steps(self):
        """The steps in their order."""
        if self._steps is None:
            self._steps = steps()
        return self._steps

    @property
    def _node(self):
        return self.logic.getParameterNode()

    @property
    def active(self):
        """Whether the guide is on."""
        return self._node.workshopActive

    @property
    def begun(self):
        """Whether there is something to resume."""
        node = self._node
        return bool(node.workshopStep or node.workshopDone)

    @property
    def index(self):
        """The place of the current step; 0 at the beginning."""
        keys = [step.key for step in self.steps]
        key = self._node.workshopStep
        return keys.index(key) if key in keys else 0

    @property
    def current(self):
        return self.steps[self.index]

    @property
    def done(self):
        """Keys of the steps that were done, in their order."""
        found = self._node.workshopDone.split(",")
        return [step.key for step in self.steps if step.key in found]

    def start(self):
        """Begin, or go on where it was left."""
        node = self._node
        node.workshopStep = self.current.key
        node.workshopActive = True

    def leave(self):
        """Put the guide away; step, notes and ticks stay."""
        self._node.workshopActive = False

    def forget(self):
        """Begin anew: no step done, no notes. Maps and all else in the scene stay."""
        node = self._node
        node.workshopStep, node.workshopDone, node.workshopNotes = "", "", "{}"

    def go(self, key):
        """
        Go to a step.

        :raises XAIError: if there is none of this key.
        """
        if key not in [step.key for step in self.steps]:
            raise XAIError(_("The workshop has no step {key}.").format(key=key), _("See the list of its steps."))
        self._node.workshopStep = key

    def move(self, count):
        """Go so many steps on, or back; not beyond the ends."""
        self.go(self.steps[min(max(self.index + count, 0), len(self.steps) - 1)].key)

    def check(self, asked=""):
        """
        Look whether the current step is done, and remember it if it is.

        :param asked: the model that has answered about the chosen volume.
        :return: what is still to be done, as a sentence; empty if nothing is.
        """
        step = self.current
        if step.key in self.done:
            return ""
        missing = step.missing(Situation(self.logic, asked, self.note(step.key)))
        if not missing:
            self._node.workshopDone = ",".join([*self.done, step.key])
        return missing

    # Notes

    def _notes(self):
        try:
            found = json.loads(self._node.workshopNotes or "{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def note(self, key):
        """What was noted in a step."""
        return str(self._notes().get(key) or "")

    def setNote(self, key, text):
        """Note something in a step."""
        if text != self.note(key):
            notes = {**self._notes(), key: text}
            self._node.workshopNotes = json.dumps({name: note for name, note in notes.items() if note})

    def notesText(self):
        """All notes, with the titles of their steps, as plain text."""
        parts = ["{}: {}".format(step.title, self.note(step.key).strip())
                 for step in self.steps if self.note(step.key).strip()]
        return "\n".join(parts)

    def putIntoReport(self):
        """
        Let reports show the notes, below what their own notes say already.

        :raises XAIError: if there are none.
        """
        text = self.notesText()
        if not text:
            raise XAIError(_("There are no notes yet."), _("Write into the notes of a step."))
        node = self._node
        heading = _("Workshop")
        before = node.reportNotes.partition(heading + "\n")[0].rstrip("\n")
        node.reportNotes = "\n".join(part for part in (before, heading, text) if part)

    def write(self, path):
        """
        Write questions, answers and notes as a page (.html) or as text (.txt).

        :raises XAIError: if it cannot be written.
        """
        lowered = path.lower()
        if lowered.endswith((".html", ".htm")):
            text = reportPage.document([self._page()], _("Notes of the workshop"))
        elif lowered.endswith(".txt"):
            text = self._text()
        else:
            raise XAIError(_("Notes are a file that ends in .html or .txt."), _("Give its name such an ending."))
        writeBeside(path, lambda beside: writeText(text, beside))
        return path

    def _rows(self):
        """Title, whether done, and paragraphs, of each step."""
        done = self.done
        for number, step in enumerate(self.steps, 1):
            note = self.note(step.key).strip()
            yield (_("{number}. {title}").format(number=number, title=step.title), step.key in done,
                   step.question, step.answer, note)

    def _page(self):
        parts = ["<h1>{}</h1>".format(_("Notes of the workshop"))]
        for title, done, question, answer, note in self._rows():
            mark = "" if done else " " + _("(not done)")
            parts.append(reportPage.section(title + mark, reportPage.paragraphs([question, answer], "dim")
                                            + reportPage.paragraphs(note.splitlines())))
        return "".join(parts)

    def _text(self):
        lines = [_("Notes of the workshop"), ""]
        for title, done, question, answer, note in self._rows():
            lines += [title if done else title + " " + _("(not done)"), question, answer,
                      *(["", note] if note else []), ""]
        return "\n".join(lines)

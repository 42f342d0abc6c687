"""A list of cases that is worked off unattended: one question about each, failures noted and not fatal."""

import time

import qt
from slicer.i18n import tr as _

from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainPanels import caseTable
from XAIExplainPanels.caseItems import DONE, FAILED, RUNNING, WAITING, caseOf
from XAIExplainPanels.caseOutcome import failureOf, outcomeOf
from XAIExplainPanels.stepwise import letGo

NEXT_MILLISECONDS = 10  # between two cases, so that the window answers
AGAIN_MILLISECONDS = 250  # until it is looked again whether another explanation is over


class CaseQueue:
    """
    The list, and the run through it. Everything happens on the main thread, from a timer.

    :param logic: the module's logic.
    """

    def __init__(self, logic):
        self.logic = logic
        self.cases = []
        self.question = None
        self.running = False
        self.current = None
        self.event = {}  # the engine's last word about the current case
        self.onChanged = None  # called when anything has changed
        self.onEnd = None  # called when a run is over, with a sentence
        self._todo = []
        self._members = []  # the cases of this run, with those that an earlier part of it has done
        self._run = None
        self._began = self._caseBegan = self._partBegan = 0.0
        self._partSeconds = []  # how long each part took, of those that the engine has worked on in this run
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._next)

    # The list

    def add(self, what):
        """
        Put cases at the end of the list; those that are in it already are left out.

        :param what: cases, or what `caseItems.caseOf` makes them of.
        :return: the cases that were added.
        :raises XAIError: if one cannot be made; then none is added.
        """
        known = {identity(case) for case in self.cases}
        added = []
        for case in map(caseOf, what):
            if identity(case) not in known:
                known.add(identity(case))
                added.append(case)
        self.cases += added
        if self.running:
            for case in added:
                case.asked, case.askedTitle = self.question.key, self.question.title
            self._todo += added
            self._members += added
        self._changed()
        return added

    def remove(self, cases):
        """Take cases out of the list; one that is running is stopped, and the next begins."""
        for case in cases:
            if case in self.cases:
                self.cases.remove(case)
            if case in self._todo:
                self._todo.remove(case)
            if case in self._members:
                self._members.remove(case)
            if case is self.current:
                self._letGo()
                self._wait(NEXT_MILLISECONDS)
        self._changed()

    def left(self, question):
        """The cases that have no map of this question yet."""
        return [case for case in self.cases if case.state != DONE or case.asked != question.key]

    @property
    def table(self):
        """The scene's table of the question that was asked last, or None."""
        return caseTable.find(self.question)

    def failed(self):
        return [case for case in self.cases if case.state == FAILED]

    # The run

    def start(self, question, cases=None):
        """
        Ask about the cases, one after the other; returns at once.

        :param cases: which of the list; by default those that have no map of this question yet.
        :raises XAIError: if an explanation runs, or there is nothing to do.
        """
        if self.running or self.logic.busy:
            raise XAIError(_("An explanation is running."), _("Wait for it, or cancel it."))
        todo = self.left(question) if cases is None else [case for case in cases if case in self.cases]
        if not todo:
            raise XAIError(_("There is nothing to run."), _("Add a case, or choose one and press Run again."))
        for case in todo:
            if case.state != WAITING or case.asked != question.key or cases is not None:
                case.forget()
            case.asked, case.askedTitle = question.key, question.title
        self.question, self._todo, self.running = question, list(todo), True
        self._members = list(todo) if cases is not None else self._asked()
        self._began, self._partSeconds = time.time(), []
        self._wait(0)
        self._changed()

    def stop(self, sentence=""):
        """End the run now. What was done stays; what was not waits, a sequence at the frame where it was."""
        if not self.running:
            return
        case = self.current
        self._letGo()
        if case is not None:
            case.state, case.fraction = WAITING, 0.0
        waiting = sum(case.state == WAITING for case in self._members)
        self._end(sentence or (_("Stopped. 1 case waits; Run all goes on with it.") if waiting == 1 else
                               _("Stopped. {count} cases wait; Run all goes on with them.").format(count=waiting)))

    def forget(self):
        """The scene is being closed, so the cases are gone."""
        self.stop(_("The scene was closed, so the list of cases is empty."))
        self.cases = []
        self._changed()

    def onNodeRemoved(self, node):
        """A case whose volume or sequence is deleted has no answer; one that has its map keeps it."""
        for case in list(self.cases):
            if case.kind != "files" and case.state in (WAITING, RUNNING) and case.about(node.GetID()):
                problem = _("{name} was deleted.").format(name=node.GetName())
                if case is self.current:
                    self._letGo()
                    self._wait(NEXT_MILLISECONDS)
                elif case in self._todo:
                    self._todo.remove(case)
                self._failCase(case, problem)

    def cleanup(self):
        self.onChanged = self.onEnd = None
        self.stop()
        letGo(self._timer, self._next)

    # How far it is

    @property
    def elapsed(self):
        """Seconds since the run began."""
        return time.time() - self._began

    @property
    def place(self):
        """Which of the cases of this run is asked about, and how many there are."""
        over = sum(case.state in (DONE, FAILED) for case in self._members)
        return min(over + 1, len(self._members)), len(self._members)

    def progress(self):
        """The share of the run that is done, and the seconds that are left; None while they cannot be told."""
        asked = self._members
        total = sum(case.partCount for case in asked)
        over = sum(case.partCount if case.state in (DONE, FAILED) else len(case.outcomes) for case in asked)
        inPart = float(self.event.get("fraction") or 0) if self.current is not None else 0.0
        share = min(1.0, (over + inPart) / total) if total else 0.0
        left = total - over
        remaining = self.event.get("remaining") if self.current is not None else None
        if self._partSeconds:
            each = sum(self._partSeconds) / len(self._partSeconds)
            first = float(remaining) if remaining is not None else each * (1 - inPart)
            return share, max(0.0, first + each * (left - 1)) if left else 0.0
        if remaining is not None:
            return share, float(remaining) + (float(self.event.get("elapsed") or 0) + float(remaining)) * (left - 1)
        return share, None

    def _asked(self):
        """The cases that this question was asked about, done or not."""
        return [case for case in self.cases if self.question is not None and case.asked == self.question.key]

    # One case after the other

    def _wait(self, milliseconds):
        if self.running:
            self._timer.start(milliseconds)

    def _next(self):
        """The next part of the current case, or the next case, or the end."""
        if not self.running:
            return
        if self.logic.explainer.busy:  # a script asks something in between
            self._wait(AGAIN_MILLISECONDS)
            return
        if self.current is None:
            if not self._todo:
                self._end(self.summary())
                return
            self.current, self._caseBegan = self._todo.pop(0), time.time()
            self.current.state = RUNNING
        case = self.current
        if len(case.outcomes) >= case.partCount:
            self._finishCase(case)
        else:
            self._ask(case, len(case.outcomes))
        self._changed()

    def _ask(self, case, part):
        self.event, self._partBegan = {}, time.time()
        question = self.question
        try:
            volumeNodes = case.open(part)
            target, targetTitle = question.target(volumeNodes[0])
            self._run = self.logic.explain(
                volumeNodes[0], moreVolumeNodes=volumeNodes[1:], model=question.model, method=question.method,
                target=target, targetTitle=targetTitle, wait=False, drawn=True,
                onFinished=lambda mapNode, answer: self._finished(case, part, mapNode, answer),
                onFailed=lambda error: self._failed(case, part, error), onProgress=self._progressed, **question.more)
        except XAIError as error:
            self._failed(case, part, error)
        except Exception:
            # A fault of the program: it is shown, and the cases that follow are asked about all the same.
            self._failed(case, part, XAIError(_("The program has a fault here; see the Python console.")))
            raise

    def _progressed(self, event):
        self.event = event
        case = self.current
        if case is not None:
            case.fraction = (len(case.outcomes) + float(event.get("fraction") or 0)) / max(1, case.partCount)
            self._changed()

    def _finished(self, case, part, mapNode, answer):
        self._partSeconds.append(time.time() - self._partBegan)
        outcome = outcomeOf(case.partName(part), answer, time.time() - self._partBegan)
        self._close(case, part, lambda: case.take(part, mapNode), outcome)

    def _failed(self, case, part, error):
        if isinstance(error, CancelledError):  # by the panel's Cancel, or because the engine was restarted
            self.stop()
            return
        problem = " ".join(words for words in (error.message, error.hint) if words)
        outcome = failureOf(case.partName(part), time.time() - self._partBegan, problem)
        self._close(case, part, None, outcome)

    def _close(self, case, part, take, outcome):
        """A part is over."""
        self._run = None
        self.event = {}
        try:
            if take is not None:
                take()
        except XAIError as error:
            outcome = failureOf(outcome.name, outcome.seconds, "{} {}".format(error.message, error.hint).strip())
        finally:
            self._discard(case, part)
            case.outcomes.append(outcome)
            case.fraction = len(case.outcomes) / max(1, case.partCount)
            self._wait(NEXT_MILLISECONDS)
        self._changed()

    def _discard(self, case, part):
        """The files of what has been explained are not needed any more; a hundred of them would fill the disk."""
        for node in case.opened():
            self.logic.folder.discard(node)
        case.close(part)

    def _finishCase(self, case):
        self.current = None
        self._wait(NEXT_MILLISECONDS)
        case.seconds += time.time() - self._caseBegan
        problems = [outcome for outcome in case.outcomes if outcome.problem]
        try:
            hasMap = case.finish()
        except XAIError as error:
            self._failCase(case, "{} {}".format(error.message, error.hint).strip())
            return
        if not hasMap:
            self._failCase(case, problems[0].problem if problems else "")
            return
        case.state = DONE
        if problems:
            case.problem = _("{count} of {all} frames have no map. {name}: {problem}").format(
                count=len(problems), all=len(case.outcomes), name=problems[0].name, problem=problems[0].problem)
        caseTable.write(self.question, self._asked())

    def _failCase(self, case, problem):
        case.state, case.problem, case.mapID = FAILED, problem, None
        if not case.outcomes:
            case.outcomes = [failureOf(case.name, 0.0, problem)]
        if self.question is not None and case.asked == self.question.key:
            caseTable.write(self.question, self._asked())
        self._changed()

    def _letGo(self):
        """Let go of the case that is asked about; its run has no say any more."""
        case, self.current, run, self._run, self.event = self.current, None, self._run, None, {}
        self._timer.stop()
        if run is not None and not run.done:
            run.onFailed = run.onFinished = run.onProgress = None
            self.logic.explainer.abandon()
        if case is not None:
            case.seconds += time.time() - self._caseBegan
            self._discard(case, len(case.outcomes))

    def _end(self, sentence):
        self.running, self._todo = False, []
        self._changed()
        if self.onEnd:
            self.onEnd(sentence)

    def summary(self):
        """The run in a sentence."""
        asked = self._members
        done = sum(case.state == DONE for case in asked)
        failed = sum(case.state == FAILED for case in asked)
        text = _("1 case is done.") if done == 1 else _("{count} cases are done.").format(count=done)
        if failed:
            text += " " + (_("1 case has failed: its line says why.") if failed == 1 else
                           _("{count} cases have failed: their lines say why.").format(count=failed))
        return text

    def _changed(self):
        if self.onChanged:
            self.onChanged()


def identity(case):
    """Equal for cases about the same."""
    return (case.kind, tuple(getattr(case, "paths", ()) or case.volumeIDs))

"""The results of a queue as a table of the scene: a line for each case, and for each frame of a sequence."""

import slicer
from slicer.i18n import tr as _

from XAIExplainPanels import tables

QUESTION = "XAIExplain.Cases"  # the table's attribute that says which question its lines answer


def columns():
    return [_("Case"), _("Answer"), _("Probability"), _("Score"), _("Peak"), _("Peak R (mm)"), _("Peak A (mm)"),
            _("Peak S (mm)"), _("Seconds"), _("Problem"), _("Method"), _("Explained"), _("Model")]


def rows(question, cases):
    """The lines of the cases that are over."""
    found = []
    about = [question.title, question.targetText or _("the network's answer"), question.model]
    for case in cases:
        if case.state not in ("done", "failed"):
            continue
        problem = case.problem if case.state == "failed" else ""
        for outcome in case.outcomes:
            found.append([outcome.name, outcome.answer, outcome.probability, outcome.score, outcome.peak,
                          *(outcome.position or (None,) * 3), outcome.seconds, outcome.problem or problem, *about])
    return found


def find(question):
    """The scene's table of this question, or None."""
    if question is None:
        return None
    for node in slicer.util.getNodesByClass("vtkMRMLTableNode"):
        if node.GetAttribute(QUESTION) == question.key:
            return node
    return None


def write(question, cases):
    """Bring the table of this question up to date; it is made where there is none."""
    if slicer.mrmlScene.IsClosing():
        return None
    node = find(question)
    if node is None:
        name = _("Cases {method} {target}").format(method=question.title, target=question.targetText).strip()
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", slicer.mrmlScene.GenerateUniqueName(name))
        node.SetAttribute(QUESTION, question.key)
    tables.fill(node, columns(), rows(question, cases))
    return node

"""What is still to be done in a step of the workshop, seen from the scene and the panel as they are."""

import os

from slicer.i18n import tr as _

from XAIExplainPanels import comparison, record, regions, tables

RING, MARKER = "enhancing-ring", "shortcut-marker"
TRAINED, RANDOM, SHORTCUT = "brain-lesion", "brain-lesion-random", "brain-lesion-shortcut"
LESION = "lesion"
FOUR = ("grad_cam", "occlusion", "lrp", "guided_backpropagation")


class Situation:
    """
    What a check looks at.

    :param logic: the module's logic.
    :param asked: name of the model that has answered about the chosen volume; empty if none has.
    :param note: what the student has written in this step.
    """

    def __init__(self, logic, asked="", note=""):
        self.logic, self.asked, self.note = logic, asked, note.strip()
        self.node = logic.getParameterNode()

    @property
    def case(self):
        """Name of the bundled case that is chosen; empty for another volume."""
        return caseOf(self.node.inputVolume)

    def map(self, case, model, method):
        """The map of the bundled case that answers this question about the lesion, or None."""
        for mapNode in record.maps():
            found = (caseOf(record.explainedVolume(mapNode)), mapNode.GetAttribute("XAIExplain.Model"),
                     mapNode.GetAttribute("XAIExplain.Method"), mapNode.GetAttribute("XAIExplain.Target"))
            if found == (case, model, method, LESION) and record.shareDone(mapNode) >= 1:
                return mapNode
        return None

    def title(self, kind, name):
        """What the panel calls a case, a model or a method."""
        known = getattr(self.logic.catalog, kind).get(name) or {}
        return str(known.get("title") or name)


def caseOf(volumeNode):
    return (volumeNode.GetAttribute("XAIExplain.Case") or "") if volumeNode is not None else ""


# Parts that several steps have


def _chosen(situation, case, model=None):
    """What is to be chosen before anything else."""
    if situation.case != case:
        return _("Choose the case \u201c{title}\u201d.").format(title=situation.title("cases", case))
    if model is not None and situation.node.model != model:
        return _("Choose the model \u201c{title}\u201d.").format(title=situation.title("models", model))
    return ""


def _asked(situation, case, model):
    return _chosen(situation, case, model) or ("" if situation.asked == model else _("Ask the network."))


def _explained(situation, case, model, method):
    if situation.map(case, model, method) is not None:
        return ""
    node = situation.node
    missing = _chosen(situation, case, model)
    if missing:
        return missing
    if node.target != LESION or node.targetKind != "score":
        return _("Choose \u201clesion (together)\u201d at Why, measured by its score.")
    if node.method != method:
        return _("Choose the method \u201c{title}\u201d.").format(title=situation.title("methods", method))
    return _("Wait until the map is done.") if situation.logic.busy else _("Press Apply.")


def _table(kind, wanted, name=None):
    """Whether a table of the kind (and of this name) is about all of the wanted maps."""
    ids = {mapNode.GetID() for mapNode in wanted}
    return any(ids <= {mapNode.GetID() for mapNode in tables.mapsOf(node)} for node in tables.tables()
               if node.GetAttribute(tables.KIND) == kind and name in (None, node.GetName()))


# One for each step


def isLoaded(situation):
    if situation.case == RING:
        return ""
    return _("Load the example \u201c{title}\u201d.").format(title=situation.title("cases", RING))


def isAsked(situation):
    missing = _asked(situation, RING, TRAINED)
    return missing or ("" if situation.note else _("Write into the notes where the network should look."))


def explained(method):
    """The check of a step that explains the lesion by this method."""
    return lambda situation: _explained(situation, RING, TRAINED, method)


def isGuided(situation):
    missing = _explained(situation, RING, TRAINED, "guided_backpropagation")
    return missing or ("" if situation.note else _("Write into the notes which map you would show."))


def isCompared(situation):
    maps = [situation.map(RING, TRAINED, method) for method in FOUR]
    if any(mapNode is None for mapNode in maps):
        return _("Make the four maps first: go back to the step whose map is missing.")
    if situation.logic.comparison.active:
        shown = {mapNode.GetID() for mapNode in situation.logic.comparison.maps()}
        if all(mapNode.GetID() in shown for mapNode in maps):
            return ""
    if any(mapNode.GetAttribute(comparison.CHOSEN) == "false" for mapNode in maps):
        return _("Check all four results in the list.")
    return _("Press Compare below the list.")


def isRandomAsked(situation):
    if situation.logic.comparison.active:
        return _("Press Back in Compare.")
    return _asked(situation, RING, RANDOM)


def isFooled(situation):
    return _explained(situation, RING, RANDOM, "guided_backpropagation")


def isMeasured(situation):
    maps = [situation.map(RING, model, "guided_backpropagation") for model in (TRAINED, RANDOM)]
    if any(mapNode is None for mapNode in maps):
        return _("Make the maps of guided backpropagation first, of both networks.")
    if _table("metrics", maps):
        return ""
    if any(mapNode.GetAttribute(comparison.CHOSEN) == "false" for mapNode in maps):
        return _("Check both maps of guided backpropagation in Compare.")
    if not regions.segmentsOf(situation.node.segmentation):
        return _("Load the truth of this example in Segments.")
    return _("Press \u201cAgainst the segment\u201d.")


def isShortcutAsked(situation):
    missing = _asked(situation, MARKER, SHORTCUT)
    return missing or ("" if situation.note else _("Write into the notes what the network may have seen."))


def isFound(situation):
    return (_explained(situation, MARKER, SHORTCUT, "lrp")
            or _explained(situation, MARKER, SHORTCUT, "grad_cam"))


def isMarkerCounted(situation):
    mapNode = situation.map(MARKER, SHORTCUT, "lrp")
    if mapNode is None:
        return _("Make the map by LRP first: go back one step.")
    segmentationNode = situation.node.segmentation
    if not regions.isTruthOf(segmentationNode, record.explainedVolume(mapNode)):
        return _("Load the truth of this example in Segments.")
    counted = _table(regions.KIND, [mapNode], regions.tableName(segmentationNode))
    return "" if counted else _("Press \u201cBy segment\u201d.")


def isTried(situation):
    return _asked(situation, RING, SHORTCUT)


def isWritten(situation):
    if not situation.note:
        return _("Write into the notes what each method told you.")
    written = situation.logic.reporter.written
    return "" if written and os.path.isfile(written) else _("Write the report as a web page or PDF.")

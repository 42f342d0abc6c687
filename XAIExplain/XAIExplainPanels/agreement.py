"""Two results in one map, and how alike results are: asked of the engine, which has the time for it."""

import contextlib
import os

import slicer
from slicer.i18n import tr as _

from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainPanels import exchange, record
from XAIExplainPanels.comparison import checked, labels
from XAIExplainPanels.explainer import makeDisplay
from XAIExplainPanels.figures import figure
from XAIExplainPanels.waiting import wait

DIFFERENCE, AGREEMENT = "difference", "agreement"


class Agreement:
    """
    Compares maps of one volume.

    :param engine: who computes.
    :param folder: the exchange folder.
    """

    def __init__(self, engine, folder):
        self.engine = engine
        self.folder = folder

    def combine(self, first, second, kind, onFinished=None, onFailed=None):
        """
        Make the map of two: their difference (the first minus the second), or what they agree on. Each is first divided
        by the 99.9th percentile of its strength.

        :param kind: DIFFERENCE or AGREEMENT.
        :param onFinished: called with the map's node; None waits and returns it.
        :param onFailed: called with an XAIError.
        :raises XAIError: if the maps cannot be combined.
        """
        volumeID = checked([first, second]).GetID()
        names = labels([first, second])
        output = self.folder.mapFile()
        firstID, secondID = first.GetID(), second.GetID()

        def receive(answer):
            try:
                return self._receive(answer, kind, names, volumeID, firstID, secondID, output)
            finally:
                with contextlib.suppress(OSError):
                    os.remove(output)

        return self._ask("combine", receive, onFinished, onFailed, maps=self._files([first, second]), kind=kind,
                         output=output)

    def measure(self, maps, mask=None, onFinished=None, onFailed=None):
        """
        How alike the maps are, each with each; and how each lies on a mask.

        :param mask: file of a mask on the maps' grid; without it at least two maps are needed.
        :param onFinished: called with the engine's answer; None waits and returns it.
        :raises XAIError: if the maps are of different volumes, or none.
        """
        if mask is None or len(maps) > 1:
            checked(maps)
        return self._ask("measure", lambda answer: answer, onFinished, onFailed, maps=self._files(maps), mask=mask)

    def _files(self, maps):
        return [self.folder.volumeFile(mapNode) for mapNode in maps]

    def _ask(self, command, receive, onFinished, onFailed, **fields):
        """Ask the engine; without a callback, wait for its answer."""
        outcome = {}

        def result(answer):
            try:
                value = receive(answer)
            except XAIError as error:
                failed(error)
                return
            outcome["value"] = value
            if onFinished:
                onFinished(value)

        def failed(error):
            outcome["error"] = error
            if onFailed:
                onFailed(error)

        job = self.engine.request(command, result, lambda event: failed(asError(event)), **fields)
        if onFinished or onFailed:
            return job
        wait(self.engine, lambda: outcome)
        if "error" in outcome:
            raise outcome["error"]
        return outcome["value"]

    def _receive(self, answer, kind, names, volumeID, firstID, secondID, path):
        volumeNode, first, second = (slicer.mrmlScene.GetNodeByID(nodeID) for nodeID in (volumeID, firstID, secondID))
        if volumeNode is None or first is None or second is None:
            raise XAIError(_("A result was deleted while it was being compared."), _("Choose the results again."))
        if kind == DIFFERENCE:
            title, target = _("Difference"), _("{first} minus {second}").format(first=names[0], second=names[1])
        else:
            title, target = _("Agreement"), _("{first} and {second}").format(first=names[0], second=names[1])
        scales = [figure(scale) for scale in answer["scales"]]
        question = {
            "volume": volumeID, "model": first.GetAttribute("XAIExplain.Model") or "", "method": kind, "target": target,
            "parameters": {"first": first.GetName(), "second": second.GetName(), "first divided by": scales[0],
                           "second divided by": scales[1]},
        }  # fmt: skip
        note = _("Each map was divided by the 99.9th percentile of its own strength: {first} by {one}, {second} by "
                 "{two}. Sizes are those of these scales, not of the network's score.").format(
            first=names[0], one=scales[0], second=names[1], two=scales[1])
        answer = {
            "display": {"signed": True, "units": _("share of the strongest"), "title": title},
            "diagnostics": {"warnings": [note]},
        }  # fmt: skip
        node = record.findMap(question)
        made = node is None
        if made:
            node = slicer.vtkMRMLScalarVolumeNode()
            node.SetName(slicer.mrmlScene.GenerateUniqueName("{} {}: {}".format(volumeNode.GetName(), title, target)))
            node.SetAttribute("XAIExplain.Method", kind)
            slicer.mrmlScene.AddNode(node)
        try:
            exchange.readMap(path, volumeNode, node)
        except XAIError:
            if made:
                slicer.mrmlScene.RemoveNode(node)
            raise
        makeDisplay(node, True)
        record.writeRecord(node, volumeNode, question, answer)
        return node


def asError(event):
    """The engine's error event as an exception."""
    if event.get("kind") == "cancelled":
        return CancelledError()
    return XAIError(event.get("message") or _("The engine failed."), event.get("hint") or "")

"""One question at a time: volume out to the engine, map back into the scene."""

import contextlib
import os

import slicer
from slicer.i18n import tr as _

from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainPanels import channels, exchange, record
from XAIExplainPanels.former import Former

GIGABYTE = 1024**3


class Run:
    """
    A question that is being answered. Its callbacks are called on the main thread, the last of them once.

    :param onFinished: called with the map's node and the engine's answer.
    :param onFailed: called with an XAIError; CancelledError if the user or the program stopped it.
    :param onProgress: called with the engine's progress event.
    :param onPreview: called with the map's node and the engine's event, when a map that is on its way is in the node.
        Without it none is asked for.
    :param drawn: whether the callbacks set the window of the map's display; Slicer then looks for none.
    """

    def __init__(
        self, question, outputNode, onFinished=None, onFailed=None, onProgress=None, onPreview=None, drawn=False
    ):
        self.question = question
        self.outputID = outputNode.GetID() if outputNode is not None else None
        self.onFinished, self.onFailed, self.onProgress = onFinished, onFailed, onProgress
        self.onPreview = onPreview
        self.drawn = drawn
        self.former = None  # what the node was before the first preview
        self.job = None
        self.path = None
        self.done = False
        self.node = None
        self.answer = None
        self.error = None
        self.notes = []


class Explainer:
    """Runs questions in the engine, one at a time, and puts the maps into the scene."""

    def __init__(self, engine, folder):
        self.engine = engine
        self.folder = folder
        self.run = None

    @property
    def busy(self):
        return self.run is not None

    def start(self, volumeNodes, model, method, target, parameters, title="", outputNode=None, consent=False,
              memory=0.0, seed=0, targetTitle="", **callbacks):
        """
        Ask; returns the run at once.

        :param targetTitle: what is explained, in words, where the target alone does not say it.
        :raises XAIError: if another question runs, or a volume cannot be explained.
        """
        if self.busy:
            raise XAIError(_("An explanation is running."), _("Wait for it, or cancel it."))
        if not volumeNodes or any(node is None for node in volumeNodes):
            raise XAIError(_("No volume is chosen."), _("Choose the volume that the network is to look at."))
        self._checkOutput(outputNode, volumeNodes)
        question = {
            "volume": volumeNodes[0].GetID(), "model": model, "method": method,
            "target": targetTitle or ("" if target is None else str(target)),
            "parameters": parameters, "title": title or method,
            "asked": target, "channels": [node.GetID() for node in volumeNodes[1:]],
        }  # fmt: skip
        run = Run(question, outputNode or record.findMap(question), **callbacks)
        channels.check(volumeNodes)
        paths = [self.folder.volumeFile(node) for node in volumeNodes]
        run.path = self.folder.mapFile()
        self.run = run
        fields = {"memory": int(memory * GIGABYTE)} if memory else {}
        if run.onPreview and Former.canBeKept(outputNode):
            fields["preview"] = True
        run.job = self.engine.request(
            "explain",
            lambda answer: self._onResult(run, answer),
            lambda event: self._onError(run, event),
            lambda event: self._onProgress(run, event),
            lambda event: self._onPreview(run, event),
            volumes=paths, model=model, consent=consent, method=method, target=target,
            parameters=parameters, output=run.path, compressed=False, seed=int(seed), **fields,
        )  # fmt: skip
        return run

    def cancel(self):
        """Stop the question that runs; its onFailed is called when the engine has let go."""
        if self.run is not None and self.run.job is not None:
            self.engine.cancel(self.run.job)

    def abandon(self, message="", hint=""):
        """Stop the question that runs and answer it now, because what it was about is gone."""
        run = self.run
        if run is None:
            return
        self.cancel()
        self._fail(run, XAIError(message, hint) if message else CancelledError())

    def onNodeRemoved(self, node):
        """A question about a volume that was deleted has no answer."""
        if self.run is not None and node.GetID() == self.run.question["volume"]:
            self.abandon(
                _("The volume {name} was deleted while it was being explained.").format(name=node.GetName()),
                _("Load it again to explain it."),
            )

    def _checkOutput(self, outputNode, volumeNodes):
        if outputNode is not None and any(outputNode.GetID() == node.GetID() for node in volumeNodes):
            raise XAIError(
                _("The map cannot be written over the volume that it explains."),
                _("Choose another output, or leave it on automatic."),
            )

    def _onProgress(self, run, event):
        if not run.done and run.onProgress:
            run.onProgress(event)

    def _onPreview(self, run, event):
        """Put a map that is on its way into the node of the result; one that came too late is left out."""
        volumeNode = slicer.mrmlScene.GetNodeByID(run.question["volume"])
        node = slicer.mrmlScene.GetNodeByID(run.outputID) if run.outputID else None
        if run.done or volumeNode is None or (run.outputID and node is None):
            return  # a map that the user deleted meanwhile does not come back before the result
        made = node is None
        if made:
            node = self._makeNode(run, volumeNode, {**event, "display": {}})
        former = run.former or Former(node, made)
        try:
            former.makeRoom()
            exchange.readMap(event.get("map"), volumeNode, node)
        except XAIError:
            if run.former is None:
                former.restore()
            return
        run.former, run.outputID = former, node.GetID()
        makeDisplay(node, run.drawn)
        record.writeRecord(node, volumeNode, run.question, event)
        if run.onPreview:
            run.onPreview(node, event)

    def _onError(self, run, event):
        if event.get("kind") == "cancelled":
            self._fail(run, CancelledError())
            return
        error = XAIError(event.get("message") or _("The engine failed."), event.get("hint") or "")
        error.kind = event.get("kind", "")
        self._fail(run, error)

    def _fail(self, run, error):
        if run.done:
            return
        self._end(run)
        run.error = error
        if run.former is not None:
            run.former.restore()
        if run.onFailed:
            run.onFailed(error)

    def _onResult(self, run, answer):
        if run.done:
            self._removeFile(run)
            return
        try:
            run.node = self._receive(run, answer)
        except XAIError as error:
            self._fail(run, error)
            return
        run.answer = answer
        self._end(run)
        if run.onFinished:
            run.onFinished(run.node, answer)

    def _receive(self, run, answer):
        volumeNode = slicer.mrmlScene.GetNodeByID(run.question["volume"])
        if volumeNode is None:
            raise XAIError(_("The volume was deleted while it was being explained."), _("Load it again."))
        node = slicer.mrmlScene.GetNodeByID(run.outputID) if run.outputID else None
        if run.outputID and node is None:
            run.notes.append(_("The output was deleted meanwhile, so the map is in a new volume."))
        made = node is None
        if made:
            node = self._makeNode(run, volumeNode, answer)
        try:
            exchange.readMap(answer.get("map") or run.path, volumeNode, node)
        except XAIError:
            if made:
                slicer.mrmlScene.RemoveNode(node)
            raise
        makeDisplay(node, run.drawn)
        record.writeRecord(node, volumeNode, run.question, answer)
        return node

    def _makeNode(self, run, volumeNode, answer):
        node = slicer.vtkMRMLScalarVolumeNode()
        name = mapName(volumeNode, run, answer)
        other = slicer.mrmlScene.GetFirstNodeByName(name)
        if record.isMap(other) and other.GetAttribute("XAIExplain.Model") != run.question["model"]:
            name = "{} ({})".format(name, os.path.basename(run.question["model"]))  # the same question to another model
        node.SetName(slicer.mrmlScene.GenerateUniqueName(name))
        node.SetAttribute("XAIExplain.Method", run.question["method"])  # the map selectors filter by it
        return slicer.mrmlScene.AddNode(node)

    def _end(self, run):
        run.done = True
        if self.run is run:
            self.run = None
        self._removeFile(run)

    def _removeFile(self, run):
        folder, name = os.path.split(run.path or "")
        stem = name[: -len(".nrrd")]
        with contextlib.suppress(OSError):
            for other in os.listdir(folder):
                if stem and other.startswith(stem):
                    os.remove(os.path.join(folder, other))


def makeDisplay(node, drawn):
    """Give the map a display node, if it has none; where it is drawn by the caller, no window is looked for."""
    if node.GetDisplayNode() is not None or not drawn:
        node.CreateDefaultDisplayNodes()
        return
    display = slicer.vtkMRMLScalarVolumeDisplayNode()
    display.AutoWindowLevelOff()
    slicer.mrmlScene.AddNode(display)
    display.SetDefaultColorMap()
    node.SetAndObserveDisplayNodeID(display.GetID())


def mapName(volumeNode, run, answer):
    """<volume> <method> <target>, as the user reads them."""
    title = (answer.get("display") or {}).get("title") or run.question["title"]
    predicted = (answer.get("prediction") or {}).get("predicted") or {}
    target = run.question["target"] or predicted.get("name", "")
    return " ".join(str(part) for part in (volumeNode.GetName(), title, target) if part)

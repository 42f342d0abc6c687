"""One question at a time: volume out to the engine, map back into the scene."""

import contextlib
import os

import slicer
from slicer.i18n import tr as _

from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainPanels import channels, exchange, record
from XAIExplainPanels.arriving import arriving
from XAIExplainPanels.former import Former
from XAIExplainPanels.stepwise import Stepwise

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
        self.former = None  # what the node was before the first map was put into it
        self.job = None
        self.answered = False  # the engine has done its part
        self.path = None
        self.done = False
        self.node = None
        self.answer = None
        self.error = None
        self.notes = []


class Explainer:
    """
    Runs questions in the engine, one at a time, and puts the maps into the scene.

    :param onStrength: called with a map's node and the `Strength` of what was just put into it.
    """

    def __init__(self, engine, folder, onStrength=None):
        self.engine = engine
        self.folder = folder
        self.onStrength = onStrength
        self.run = None
        self._work = Stepwise()
        self._waiting = None  # a preview that came while another was being read: the event, with a file of our own

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
        fields = {"memory": int(memory * GIGABYTE)} if memory else {}
        if run.onPreview and Former.canBeKept(outputNode):
            fields["preview"] = True

        def ask(paths):
            if run.done:
                return
            run.path = self.folder.mapFile()
            self.run = run
            run.job = self.engine.request(
                "explain",
                lambda answer: self._onResult(run, answer),
                lambda event: self._onError(run, event),
                lambda event: self._onProgress(run, event),
                lambda event: self._onPreview(run, event),
                volumes=paths, model=model, consent=consent, method=method, target=target,
                parameters=parameters, output=run.path, compressed=False, seed=int(seed), **fields,
            )  # fmt: skip

        self.folder.prepare(volumeNodes, ask, lambda error: self._fail(run, error))
        if not run.done:
            self.run = run
        return run

    def cancel(self):
        """Stop the question that runs; its onFailed is called when the engine has let go."""
        run = self.run
        if run is None:
            return
        if run.answered or run.job is None:  # the map is on its way into the scene, or the volume out of it
            self._fail(run, CancelledError())
        else:
            self.engine.cancel(run.job)

    def finish(self):
        """Do at once what is left to do with what the engine has sent, for a script that waits."""
        self.folder.finish()
        self._work.finish()

    def stop(self):
        """The module goes: whatever runs ends without a word, and leaves no map that is not finished."""
        run = self.run
        if run is not None:
            self._end(run)
            if run.former is not None:
                run.former.restore()
        self._work.close()

    def abandon(self, message="", hint=""):
        """Stop the question that runs and answer it now, because what it was about is gone."""
        run = self.run
        if run is None:
            return
        if run.job is not None:
            self.engine.cancel(run.job)
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
        """
        Put a map that is on its way into the node of the result; one that came too late is left out, and so are those
        that come faster than they can be read, but for the last.
        """
        if run.done or run.answered:
            return
        path = event.get("map") or ""
        own = path[: -len(".nrrd")] + ".taken.nrrd"
        try:
            os.replace(path, own)  # the engine's goes when the next one comes
        except OSError:
            return
        event = {**event, "map": own}
        if self._work.busy:
            self._removeWaiting()
            self._waiting = event
        else:
            self._work.begin(self._previewing(run, event))

    def _previewing(self, run, event):
        """As steps: read a preview, show it, and go on with the one that came meanwhile."""
        while event is not None:
            try:
                yield from self._placing(run, event, event["map"])
            except XAIError:
                pass  # the next one may be better
            else:
                yield
                if run.onPreview and run.node is not None:
                    run.onPreview(run.node, event)
            removeFile(event["map"])
            event, self._waiting = self._waiting, None
            yield

    def _placing(self, run, answer, path):
        """
        As steps: read a map and put it into the node of the result, in one step, so that a run that ends in the middle
        finds all or nothing to undo.

        :raises XAIError: if there is no such map, or no volume.
        """
        run.node = None
        volumeNode = self._volume(run)
        geometry = exchange.worldGeometry(volumeNode)
        arrived = yield from arriving(path, geometry, volumeNode.GetName())
        yield
        volumeNode = self._volume(run)
        exchange.checkUnmoved(geometry, volumeNode)
        node = slicer.mrmlScene.GetNodeByID(run.outputID) if run.outputID else None
        if run.outputID and node is None:
            if not run.answered:
                return  # a map that the user deleted meanwhile does not come back before the result
            run.former = None
            run.notes.append(_("The output was deleted meanwhile, so the map is in a new volume."))
        made = node is None
        if made:
            node = self._makeNode(run, volumeNode, answer if run.answered else {**answer, "display": {}})
        if run.former is None and (made or Former.canBeKept(node)):
            run.former = Former(node, made)
        exchange.place(arrived.image, volumeNode, node)
        if self.onStrength:
            self.onStrength(node, arrived.strength)
        makeDisplay(node, run.drawn)
        record.writeRecord(node, volumeNode, run.question, answer)
        run.node, run.outputID = node, node.GetID()

    def _volume(self, run):
        volumeNode = slicer.mrmlScene.GetNodeByID(run.question["volume"])
        if volumeNode is None:
            raise XAIError(_("The volume was deleted while it was being explained."), _("Load it again."))
        return volumeNode

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
            self._removeFiles(run)
            return
        run.answered = True
        self._removeWaiting()
        self._work.begin(self._finishing(run, answer))

    def _finishing(self, run, answer):
        """As steps: take the engine's map over."""
        try:
            yield from self._placing(run, answer, answer.get("map") or run.path)
        except XAIError as error:
            self._fail(run, error)
            return
        if run.former is not None:
            yield  # a run that is stopped here can still be undone
        run.answer, run.former = answer, None
        self._end(run)
        if run.onFinished:
            run.onFinished(run.node, answer)

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
            self._work.stop()
            if run.job is None:
                self.folder.stop()
            self._removeWaiting()
        self._removeFiles(run)

    def _removeWaiting(self):
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            removeFile(waiting["map"])

    def _removeFiles(self, run):
        folder, name = os.path.split(run.path or "")
        stem = name[: -len(".nrrd")]
        with contextlib.suppress(OSError):
            for other in os.listdir(folder):
                if stem and other.startswith(stem):
                    os.remove(os.path.join(folder, other))


def removeFile(path):
    with contextlib.suppress(OSError):
        os.remove(path)


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

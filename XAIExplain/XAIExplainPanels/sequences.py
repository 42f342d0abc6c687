"""Volumes that change with time (4D): their frames, and maps that play along with them."""

import contextlib
import json

import numpy as np
import slicer
from slicer.i18n import tr as _

from XAIExplainLib.errors import XAIError
from XAIExplainPanels import made, record

QUESTION = ("XAIExplain.Method", "XAIExplain.Model", "XAIExplain.Target")
POOLED = 4_000_000  # voxels that are looked at to set the colors of all frames


def sequencesLogic():
    """
    Slicer's own logic of sequences.

    :raises XAIError: if this Slicer has none.
    """
    module = getattr(slicer.modules, "sequences", None)
    logic = module.logic() if module is not None else None
    if logic is None or not hasattr(slicer, "vtkMRMLSequenceBrowserNode"):
        raise XAIError(_("This Slicer has no module Sequences, so volumes that change with time cannot be explained."),
                       _("Use a Slicer with that module, or explain frames that are saved as single volumes."))
    return logic


def playsSequence(volumeNode):
    """Whether a sequence plays in the volume, as far as the volume itself knows; may be asked at any time."""
    return bool(volumeNode is not None and volumeNode.GetAttribute("Sequences.BaseName"))


def browserOf(volumeNode):
    """
    The browser that plays the volume, or None. Not to be asked while a node is being removed: MRML is then in the
    middle of the browser's references, and would crash.
    """
    if volumeNode is None:
        return None
    try:
        return sequencesLogic().GetFirstBrowserNodeForProxyNode(volumeNode)
    except XAIError:
        return None


def sequenceOf(volumeNode):
    """The sequence whose frames the volume shows one after the other, or None."""
    browserNode = browserOf(volumeNode)
    return browserNode.GetSequenceNode(volumeNode) if browserNode is not None else None


def volumeOf(sequenceNode):
    """
    The volume of the scene that shows the frames of a sequence. A sequence that nothing plays gets a browser.

    :raises XAIError: if it holds no volumes.
    """
    logic = sequencesLogic()
    if not sequenceNode.GetNumberOfDataNodes() or not isVolume(sequenceNode.GetNthDataNode(0)):
        raise XAIError(_("The sequence {name} holds no volumes.").format(name=sequenceNode.GetName()),
                       _("Choose a sequence of scalar volumes."))
    browserNode = logic.GetFirstBrowserNodeForSequenceNode(sequenceNode)
    if browserNode is None:
        browserNode = slicer.mrmlScene.AddNewNodeByClass(
            "vtkMRMLSequenceBrowserNode", _("{name} browser").format(name=sequenceNode.GetName()))
        browserNode.SetAndObserveMasterSequenceNodeID(sequenceNode.GetID())
    if browserNode.GetProxyNode(sequenceNode) is None:
        logic.UpdateProxyNodesFromSequences(browserNode)
    return browserNode.GetProxyNode(sequenceNode)


def isVolume(node):
    return node is not None and node.IsA("vtkMRMLScalarVolumeNode") and not node.IsA("vtkMRMLLabelMapVolumeNode")


def frameTitle(sequenceNode, index):
    """A frame in words, such as "time 0.2 s"."""
    words = (sequenceNode.GetIndexName() or _("frame"), sequenceNode.GetNthIndexValue(index),
             sequenceNode.GetIndexUnit() or "")
    return " ".join(word for word in words if word)


def addFrame(sequenceNode, index, volumeNode):
    """
    A volume in the scene with the voxels of one frame, which the user does not see; see `removeFrame`.

    :param volumeNode: the volume that shows the frames; it knows where they lie in the world.
    """
    data = sequenceNode.GetNthDataNode(index)
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(_("{volume}, {frame}").format(volume=volumeNode.GetName(), frame=frameTitle(sequenceNode, index)))
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    node.CopyOrientation(data)
    node.SetAndObserveImageData(data.GetImageData())
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    return slicer.mrmlScene.AddNode(node)


def removeFrame(node):
    """Take a volume or map of one frame, or a sequence, out of the scene, with all that only serves it."""
    if node is None or not slicer.mrmlScene.IsNodePresent(node):
        return
    isShown = node.IsA("vtkMRMLDisplayableNode")
    companions = made.companions(node) if isShown else [one for one in [node.GetStorageNode()] if one is not None]
    for one in [node, *companions]:
        made.removeQuietly(one)


class MapFrames:
    """
    The maps of a sequence's frames. They come into the scene together, when the last one is there.

    :param sequenceNode: the sequence that is explained.
    """

    def __init__(self, sequenceNode):
        self.node = slicer.vtkMRMLSequenceNode()
        for name in ("IndexName", "IndexUnit", "IndexType", "NumericIndexValueTolerance"):
            getattr(self.node, "Set" + name)(getattr(sequenceNode, "Get" + name)())

    def put(self, value, mapNode):
        """Keep a copy of the map of the frame with this index value."""
        self.node.SetDataNodeAtValue(mapNode, value)

    def has(self, value):
        return self.node.GetItemNumberFromIndexValue(value, True) >= 0

    def putNothing(self, value, sentence):
        """A frame without a map gets one that says nothing: else that of another frame would be shown in its place."""
        first = self.node.GetNthDataNode(0)
        blank = slicer.vtkMRMLScalarVolumeNode()
        blank.CopyOrientation(first)
        slicer.util.updateVolumeFromArray(blank, np.zeros_like(slicer.util.arrayFromVolume(first)))
        for name in first.GetAttributeNames():
            blank.SetAttribute(name, first.GetAttribute(name))
        blank.SetAttribute("XAIExplain.Record", json.dumps({"diagnostics": {"warnings": [
            _("This frame has no map: {sentence}").format(sentence=sentence)]}}))
        blank.RemoveAttribute(record.NATIVE)
        self.put(value, blank)

    def show(self, volumeNode, name):
        """
        Put the maps into the scene, and let them play along with the volume; those of the same question are replaced.

        :return: the map that shows the frames one after the other.
        """
        logic = sequencesLogic()
        browserNode = browserOf(volumeNode)
        if browserNode is None:
            raise XAIError(_("Nothing plays {name} any more.").format(name=volumeNode.GetName()),
                           _("Make a browser for it in the module Sequences, and run it again."))
        first = self.node.GetNthDataNode(0)
        for former in record.maps():
            if framesOf(former) is not None and record.explainedVolume(former) == volumeNode and all(
                    former.GetAttribute(about) == first.GetAttribute(about) for about in QUESTION):
                self._replace(framesOf(former))
                logic.UpdateProxyNodesFromSequences(browserNode)
                return former
        self.node.SetName(_("{name} frames").format(name=name))
        sequenceNode = slicer.mrmlScene.AddNode(self.node)
        browserNode.AddSynchronizedSequenceNode(sequenceNode)
        browserNode.SetSaveChanges(sequenceNode, False)
        browserNode.SetOverwriteProxyName(sequenceNode, False)
        logic.UpdateProxyNodesFromSequences(browserNode)
        mapNode = browserNode.GetProxyNode(sequenceNode)
        with slicer.util.NodeModify(mapNode):
            mapNode.SetName(name)
            mapNode.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
            mapNode.SetNodeReferenceID(record.VOLUME_REFERENCE, volumeNode.GetID())
            mapNode.SetNodeReferenceID(record.FRAMES, sequenceNode.GetID())
        if mapNode.GetDisplayNode() is None:
            mapNode.CreateDefaultDisplayNodes()
        record.placeUnder(mapNode, volumeNode)
        return mapNode


    def _replace(self, frames):
        """Give the sequence of a former map these frames, so that what is shown of it stays where it is."""
        with slicer.util.NodeModify(frames):
            frames.RemoveAllDataNodes()
            for index in range(self.node.GetNumberOfDataNodes()):
                frames.SetDataNodeAtValue(self.node.GetNthDataNode(index), self.node.GetNthIndexValue(index))


def framesOf(mapNode):
    """The sequence of a map that plays along with its volume, or None."""
    return mapNode.GetNodeReference(record.FRAMES) if mapNode is not None else None


def pooled(mapNode):
    """
    Values of all frames of a map that plays along, at a fixed step, and what they depend on: its colors are the same
    in all frames. (None, None) for other maps.
    """
    frames = framesOf(mapNode)
    count = frames.GetNumberOfDataNodes() if frames is not None else 0
    if not count:
        return None, None
    return (frames.GetID(), count, frames.GetNthDataNode(0).GetImageData().GetMTime(),
            frames.GetNthDataNode(count - 1).GetImageData().GetMTime()), lambda: samples(frames, count)


def samples(frames, count):
    most = POOLED // count
    values = []
    for index in range(count):
        with contextlib.suppress(AttributeError, ValueError):  # a frame that somebody has emptied
            array = slicer.util.arrayFromVolume(frames.GetNthDataNode(index)).reshape(-1)
            values.append(array[:: -(-array.size // most) | 1] if array.size > most else array)
    return np.concatenate(values) if values else np.zeros(0, np.float32)

"""The cases of a queue: volumes of the scene, files that are loaded when it is their turn, and sequences."""

import itertools
import os
from collections import namedtuple

import slicer
from slicer.i18n import tr as _

from XAIExplainLib.errors import XAIError
from XAIExplainPanels import record, sequences
from XAIExplainPanels.caseFiles import load, stem
from XAIExplainPanels.made import removeQuietly

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"

# What came of one volume, or of one frame of a sequence: figures, None where there is none, or a problem as a sentence.
Outcome = namedtuple("Outcome", "name answer probability score peak position seconds problem")

_numbers = itertools.count(1)


class Case:
    """
    One line of the list; the queue asks about each of its parts.

    :param name: what the user calls it.
    """

    kind = "volumes"

    def __init__(self, name):
        self.number = next(_numbers)
        self.name = name
        self.forget()

    def forget(self):
        """It is to be asked about from the beginning; a map of before stays in the scene."""
        self.state = WAITING
        self.asked = self.askedTitle = ""  # the key of the question that the outcomes are about, and its method
        self.outcomes = []
        self.problem = ""
        self.fraction = 0.0
        self.seconds = 0.0
        self.mapID = None

    @property
    def mapNode(self):
        """Its map, or None while there is none or if it was deleted."""
        return slicer.mrmlScene.GetNodeByID(self.mapID) if self.mapID else None

    @property
    def partCount(self):
        return 1

    @property
    def answer(self):
        """What the network answered, in words; of a sequence, of its first frame that has one."""
        return next((outcome.answer for outcome in self.outcomes if outcome.answer), "")

    def about(self, nodeID):
        """Whether the case is about that node of the scene."""
        return False

    def open(self, part):
        """
        The volumes of a part, the first channel first.

        :raises XAIError: if they are not there.
        """
        raise NotImplementedError

    def partName(self, part):
        return self.name

    def opened(self):
        """The volumes that `open` gave, as far as they are still there."""
        return []

    def take(self, part, mapNode):
        """The part's map has come."""
        self.mapID = mapNode.GetID()

    def close(self, part):
        """The part is over; with a map, or without."""

    def finish(self):
        """
        All parts are over.

        :return: whether there is a map.
        """
        return self.mapID is not None


class VolumeCase(Case):
    """
    One volume, or several as channels.

    :param volumeNodes: volumes of the scene.
    """

    def __init__(self, volumeNodes):
        if not volumeNodes or any(node is None for node in volumeNodes):
            raise XAIError(_("No volume is chosen."), _("Choose the volume that the network is to look at."))
        super().__init__(" + ".join(node.GetName() for node in volumeNodes))
        self.volumeIDs = [node.GetID() for node in volumeNodes]

    def about(self, nodeID):
        return nodeID in self.volumeIDs

    def volumes(self):
        """The volumes, None for one that was deleted."""
        return [slicer.mrmlScene.GetNodeByID(nodeID) for nodeID in self.volumeIDs]

    def opened(self):
        return [node for node in self.volumes() if node is not None]

    def open(self, part):
        found = self.volumes()
        if any(node is None for node in found):
            raise XAIError(_("A volume of {name} was deleted.").format(name=self.name),
                           _("Load it again, and add it as a new case."))
        return found


class FileCase(VolumeCase):
    """
    A volume that is loaded when it is its turn, and again if it was deleted; with several channels several files.

    :param paths: the files, the first channel first.
    """

    kind = "files"

    def __init__(self, paths):
        Case.__init__(self, " + ".join(stem(path) for path in paths))
        self.paths = [str(path) for path in paths]
        self.volumeIDs = []

    def open(self, part):
        if self.volumeIDs and all(node is not None for node in self.volumes()):
            return self.volumes()
        loaded = []
        try:
            for path in self.paths:
                loaded.append(load(path))
        except XAIError:
            for node in loaded:
                removeQuietly(node)
            raise
        self.volumeIDs = [node.GetID() for node in loaded]
        return loaded


class SequenceCase(Case):
    """
    A volume that changes with time, asked about frame by frame. Its maps play along with it.

    :param volumeNodes: the volumes that show the frames; further channels may also stand still.
    """

    kind = "sequence"

    def __init__(self, volumeNodes):
        found = [sequences.sequenceOf(node) for node in volumeNodes]
        if not found or found[0] is None:
            raise XAIError(_("No sequence plays in the chosen volume."),
                           _("Choose the volume in which the module Sequences plays one."))
        super().__init__(" + ".join(node.GetName() for node in volumeNodes))
        self.volumeIDs = [node.GetID() for node in volumeNodes]
        self.sequenceIDs = [node.GetID() if node is not None else None for node in found]
        self._made = []

    def forget(self):
        super().forget()
        self._frames = None
        self._name = ""

    def about(self, nodeID):
        return nodeID in self.volumeIDs or nodeID in self.sequenceIDs

    def volumes(self):
        return [slicer.mrmlScene.GetNodeByID(nodeID) for nodeID in self.volumeIDs]

    def _sequences(self):
        return [slicer.mrmlScene.GetNodeByID(nodeID) if nodeID else None for nodeID in self.sequenceIDs]

    @property
    def partCount(self):
        first = self._sequences()[0]
        return first.GetNumberOfDataNodes() if first is not None else 1

    def partName(self, part):
        first = self._sequences()[0]
        if first is None or part >= first.GetNumberOfDataNodes():
            return self.name
        return _("{volume}, {frame}").format(volume=self.name, frame=sequences.frameTitle(first, part))

    def _value(self, part):
        return self._sequences()[0].GetNthIndexValue(part)

    def open(self, part):
        volumeNodes, found = self.volumes(), self._sequences()
        gone = any(node is None for node in volumeNodes) or any(
            nodeID and node is None for nodeID, node in zip(self.sequenceIDs, found))
        if gone or not found[0].GetNumberOfDataNodes():
            raise XAIError(_("The sequence {name} was deleted, or it is empty.").format(name=self.name),
                           _("Load it again, and add it as a new case."))
        value = self._value(part)
        for volumeNode, sequenceNode in zip(volumeNodes, found):
            place = sequenceNode.GetItemNumberFromIndexValue(value, False) if sequenceNode is not None else None
            if place is not None and not sequences.isVolume(sequenceNode.GetNthDataNode(place)):
                raise XAIError(_("The frame {frame} holds no volume.").format(frame=self.partName(part)))
            self._made.append(volumeNode if place is None else sequences.addFrame(sequenceNode, place, volumeNode))
        return list(self._made)

    def take(self, part, mapNode):
        if self._frames is None:
            self._frames = sequences.MapFrames(self._sequences()[0])
        self._name = mapNode.GetName().replace(self._made[0].GetName(), self.volumes()[0].GetName(), 1)
        self._frames.put(self._value(part), mapNode)
        sequences.removeFrame(mapNode)

    def opened(self):
        return [node for node in self._made if slicer.mrmlScene.IsNodePresent(node)]

    def close(self, part):
        for node in self._made:
            if node.GetHideFromEditors():
                sequences.removeFrame(node)
        self._made = []

    def finish(self):
        if self._frames is None:
            return False
        first, volumeNode = self._sequences()[0], self.volumes()[0]
        if first is None or volumeNode is None:
            raise XAIError(_("The sequence {name} was deleted while it was being explained.").format(name=self.name),
                           _("Load it again, and add it as a new case."))
        for part in range(first.GetNumberOfDataNodes()):
            if not self._frames.has(self._value(part)):
                self._frames.putNothing(self._value(part), self.outcomes[part].problem)
        self.mapID = self._frames.show(volumeNode, self._name).GetID()
        self._frames = None
        return True


def caseOf(what):
    """
    A case of what a script gives: a volume of the scene, a list of volumes (channels), the path of a file, a list of
    paths, a sequence, or the browser of one. A case is given back as it is.

    :raises XAIError: if no case can be made of it.
    """
    if isinstance(what, Case):
        return what
    several = list(what) if isinstance(what, (list, tuple)) else [what]
    if several and all(isinstance(one, (str, os.PathLike)) for one in several):
        return FileCase(several)
    several = [one.GetMasterSequenceNode() if isA(one, "vtkMRMLSequenceBrowserNode") else one for one in several]
    if any(isA(one, "vtkMRMLSequenceNode") for one in several):
        return SequenceCase([sequences.volumeOf(one) if isA(one, "vtkMRMLSequenceNode") else one for one in several])
    if all(isA(one, "vtkMRMLScalarVolumeNode") for one in several):
        return VolumeCase(several)
    raise XAIError(_("{what} is no case.").format(what=what),
                   _("Give a volume, a list of volumes, a file, or a sequence."))


def isA(node, className):
    return node is not None and hasattr(node, "IsA") and bool(node.IsA(className))


def canBeCase(node):
    """Whether the volume is one that a user would have explained: no map, no label map, nothing hidden."""
    return sequences.isVolume(node) and not record.isMap(node) and not node.GetHideFromEditors()

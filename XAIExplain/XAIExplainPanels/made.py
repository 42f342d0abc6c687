"""Nodes that are made from a volume, in steps short enough that the window goes on answering, and that go with it."""

import slicer

from XAIExplainLib.errors import XAIError
from XAIExplainPanels import record

ROLE = "XAIExplain.Role"


class MadeFrom:
    """
    One node for each volume that wants one.

    :param role: what it is, such as "Contours"; names the volume's reference to it.
    :param title: its name as a format with the volume's {name}.
    :param className: its class.
    """

    def __init__(self, role, title, className="vtkMRMLModelNode"):
        self.className = className
        self.reference = "XAIExplain." + role
        self.role = role
        self.title = title
        self.message = ""  # why there is none, as a sentence
        self._work = None
        self._ownerID = None
        self._made = {}  # owner's ID: what its model was made from
        self._observed = {}

    @property
    def pending(self):
        """Whether there is something left to do."""
        return self._work is not None

    @property
    def owner(self):
        """The volume that something is made from."""
        return slicer.mrmlScene.GetNodeByID(self._ownerID) if self._ownerID else None

    def node(self, owner):
        """The node made from the volume, or None."""
        return owner.GetNodeReference(self.reference) if owner is not None else None

    def want(self, owner, key, make):
        """
        Begin to make the node anew, unless it is the same already.

        :param key: what it depends on.
        :param make: a generator function that yields after each step and returns what `fill` takes.
        """
        working = self.pending and self._ownerID == owner.GetID()
        if self._made.get(owner.GetID()) == key and (working or self.message or self.node(owner) is not None):
            return
        if self._work is not None:
            self._made.pop(self._ownerID, None)  # that one is not finished
        self._made[owner.GetID()] = key
        self._ownerID, self._work, self.message = owner.GetID(), make(), ""

    def step(self):
        """Do the next step; returns whether there is another."""
        owner = slicer.mrmlScene.GetNodeByID(self._ownerID) if self._work is not None else None
        if owner is None:
            self._work = None
            return False
        try:
            next(self._work)
        except StopIteration as end:
            self._work = None
            self._place(owner, end.value)
        except XAIError as error:
            self._work = None
            self.message = "{} {}".format(error.message, error.hint)
            self._removeNode(owner)
        return self.pending

    def cancel(self, owner):
        """Do not go on with the volume's node; one that was made before stays."""
        if self._ownerID == owner.GetID():
            if self.pending:
                self._made.pop(owner.GetID(), None)
            self._work, self.message = None, ""

    def remove(self, owner):
        """Take the volume's node away, and do not make one."""
        self.cancel(owner)
        self._made.pop(owner.GetID(), None)
        self._removeNode(owner)

    def forget(self):
        """The scene is being closed, or the module goes: what is in the scene stays as it is."""
        self._work, self.message = None, ""
        for ownerID, tag in self._observed.items():
            owner = slicer.mrmlScene.GetNodeByID(ownerID)
            if owner is not None:
                owner.RemoveObserver(tag)
        self._made, self._observed = {}, {}

    def follow(self, owner):
        """Let the node stay with the volume when the volume gets another parent transform."""
        if self.node(owner) is not None and owner.GetID() not in self._observed:
            self._observed[owner.GetID()] = owner.AddObserver(
                slicer.vtkMRMLTransformableNode.TransformModifiedEvent, self._onMoved)

    def fill(self, node, made):
        """Put what was made into the node."""
        node.SetAndObservePolyData(made)

    def makeDisplay(self, node):
        """Give the node a display."""
        node.CreateDefaultDisplayNodes()

    def dress(self, displayNode):
        """Set how the node is shown."""

    def _onMoved(self, owner, event):
        node = self.node(owner)
        if node is not None and node.GetTransformNodeID() != owner.GetTransformNodeID():
            node.SetAndObserveTransformNodeID(owner.GetTransformNodeID())

    def _place(self, owner, made):
        node = self.node(owner)
        if node is None:
            node = slicer.mrmlScene.AddNewNodeByClass(
                self.className, slicer.mrmlScene.GenerateUniqueName(self.title.format(name=owner.GetName())))
            node.SetAttribute(ROLE, self.role)
            owner.SetNodeReferenceID(self.reference, node.GetID())
            record.placeUnder(node, owner)
        self.fill(node, made)
        node.SetAndObserveTransformNodeID(owner.GetTransformNodeID())
        if node.GetDisplayNode() is None:
            self.makeDisplay(node)
        self.dress(node.GetDisplayNode())
        self.follow(owner)

    def _removeNode(self, owner):
        node = self.node(owner)
        if node is not None:
            for companion in [*companions(node), node]:
                removeQuietly(companion)


def removeQuietly(node):
    """Remove a node so that it is not taken for one that the user has deleted."""
    if slicer.mrmlScene.IsNodePresent(node):
        node.RemoveAttribute(ROLE)
        slicer.mrmlScene.RemoveNode(node)


def isMade(node):
    """Whether this module made the node from a volume."""
    return bool(node is not None and node.GetAttribute(ROLE))


def companions(node):
    """The display and storage nodes of a node, which only serve it."""
    nodes = [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
    nodes.append(node.GetStorageNode())
    return [companion for companion in nodes if companion is not None]

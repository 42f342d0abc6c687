"""What a map's node was before a run put maps into it that are on their way: it comes back if the run does not end."""

import slicer
import vtk

from XAIExplainPanels import record

PREFIX = "XAIExplain."


class Former:
    """
    The state of a node that previews are shown in.

    :param node: a map, or a volume without voxels.
    :param made: whether it was made for the previews, so that it goes with them.
    """

    def __init__(self, node, made):
        self.nodeID = node.GetID()
        self.made = made
        self.image = node.GetImageData()
        self.attributes = self._attributes(node)
        self.volumeID = node.GetNodeReferenceID(record.VOLUME_REFERENCE)
        self.transformID = node.GetTransformNodeID()
        self.matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(self.matrix)

    @staticmethod
    def canBeKept(node):
        """Whether all that a preview changes can be undone: in no node yet, a map, or a volume without voxels."""
        return node is None or record.isMap(node) or node.GetImageData() is None

    def restore(self):
        """Undo the previews; nothing happens if the node was deleted, or goes with the scene."""
        node = slicer.mrmlScene.GetNodeByID(self.nodeID)
        if node is None or slicer.mrmlScene.IsClosing():
            return
        if self.made:
            slicer.mrmlScene.RemoveNode(node)
            return
        with slicer.util.NodeModify(node):
            node.SetAndObserveImageData(self.image)
            node.SetIJKToRASMatrix(self.matrix)
            node.SetAndObserveTransformNodeID(self.transformID)
            node.SetNodeReferenceID(record.VOLUME_REFERENCE, self.volumeID)
            for name in self._attributes(node):
                node.RemoveAttribute(name)
            for name, value in self.attributes.items():
                node.SetAttribute(name, value)

    @staticmethod
    def _attributes(node):
        return {name: node.GetAttribute(name) for name in node.GetAttributeNames() if name.startswith(PREFIX)}

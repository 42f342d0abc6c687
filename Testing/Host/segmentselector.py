"""Substitute for qMRMLSegmentSelectorWidget: a segmentation and one of its segments."""

from types import SimpleNamespace

import vtk
from PySide6 import QtCore, QtWidgets

from .ctk import ctkComboBox
from .pythonqt import substituteProperty as prop
from .qmrml import qMRMLNodeComboBox


class qMRMLSegmentSelectorWidget(QtWidgets.QWidget):
    """One selector for the node and one for the segment, side by side or below one another."""

    IS_SUBSTITUTE = True
    currentNodeChanged = QtCore.Signal(object)
    currentSegmentChanged = QtCore.Signal(str)
    segmentSelectionChanged = QtCore.Signal(list)
    SIGNALS = {
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "segmentSelectionChanged(QStringList)": "segmentSelectionChanged",
    }

    def __init__(self, parent=None):
        super().__init__(parent)
        nodes, segments = qMRMLNodeComboBox(self), ctkComboBox(self)
        self._d = SimpleNamespace(
            nodes=nodes, segments=segments, tag=None, node=None, segment="", noneEnabled=False
        )
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(nodes)
        layout.addWidget(segments)
        nodes.nodeTypes = ["vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode"]
        nodes.noneEnabled, nodes.addEnabled, nodes.removeEnabled = True, False, False
        nodes.currentNodeChanged.connect(self._nodeChanged)
        segments.currentIndexChanged.connect(self._segmentChanged)
        segments.setDefaultText("Select a segment")
        self.destroyed.connect(lambda *_, d=self._d: d.node is not None and d.node.RemoveObserver(d.tag))

    def mrmlScene(self):
        return self._d.nodes.mrmlScene()

    def setMRMLScene(self, scene):
        self._d.nodes.setMRMLScene(scene)

    def _nodeChanged(self, node):
        d = self._d
        if d.node is not None and d.tag is not None:
            d.node.RemoveObserver(d.tag)
        d.node, d.tag = node, None
        if node is not None:
            d.tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._fill())
        self._fill()
        self.currentNodeChanged.emit(node)

    def _fill(self):
        d = self._d
        node, wanted = d.node, d.segment
        identifiers = []
        if node is not None and node.IsA("vtkMRMLSegmentationNode"):
            segmentation = node.GetSegmentation()
            identifiers = [segmentation.GetNthSegmentID(i) for i in range(segmentation.GetNumberOfSegments())]
        wasBlocked = d.segments.blockSignals(True)
        d.segments.clear()
        if d.noneEnabled:
            d.segments.addItem("None", "")
        for identifier in identifiers:
            d.segments.addItem(node.GetSegmentation().GetSegment(identifier).GetName(), identifier)
        d.segments.setCurrentIndex(max(d.segments.findData(wanted), 0) if d.segments.count else -1)
        d.segments.blockSignals(wasBlocked)
        self._segmentChanged()

    def _segmentChanged(self, *_):
        segment = self._d.segments.currentData or ""
        if segment != self._d.segment:
            self._d.segment = segment
            self.currentSegmentChanged.emit(segment)
            self.segmentSelectionChanged.emit([segment] if segment else [])

    def currentNode(self):
        return self._d.node

    def currentNodeID(self):
        return self._d.nodes.currentNodeID

    def setCurrentNode(self, node):
        self._d.nodes.setCurrentNode(node)

    def setCurrentNodeID(self, nodeID):
        self._d.nodes.setCurrentNodeID(nodeID)

    def currentSegmentID(self):
        return self._d.segment

    def setCurrentSegmentID(self, segment):
        self._d.segments.setCurrentIndex(self._d.segments.findData(segment))

    def selectedSegmentIDs(self):
        return (self._d.segment,) if self._d.segment else ()

    def setSelectedSegmentIDs(self, segments):
        self.setCurrentSegmentID(segments[0] if segments else "")

    def setNoneEnabled(self, enabled):
        self._d.noneEnabled = enabled
        self._fill()

    noneEnabled = prop("bool", lambda self: self._d.noneEnabled, setNoneEnabled)
    segmentationNodeSelectorVisible = prop(
        "bool", lambda self: not self._d.nodes.isHidden(), lambda self, v: self._d.nodes.setVisible(v)
    )
    multiSelection = prop("bool", lambda self: False, lambda self, v: None)
    selectNodeUponCreation = prop("bool", lambda self: False, lambda self, v: None)

"""Substitutes for Slicer's selectors of nodes: qMRMLNodeComboBox and qMRMLColorTableComboBox."""

import contextlib
from types import SimpleNamespace

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from . import dialogs
from .ctk import ctkComboBox
from .pythonqt import substituteProperty as prop

_SCENE_EVENTS = (
    "NodeAddedEvent",
    "NodeRemovedEvent",
    "EndBatchProcessEvent",
    "EndImportEvent",
    "EndCloseEvent",
)


def _field(name):
    return lambda self: getattr(self._d, name), lambda self, value: self._setField(name, value)


def _detach(d):
    """Stop observing the scene and its nodes."""
    for tag in d.tags:
        d.scene.RemoveObserver(tag)
    for node, tag in d.nodeTags.items():
        node.RemoveObserver(tag)
    d.tags, d.nodeTags, d.nodes = [], {}, []


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """The nodes of some classes, "None", and the actions that create, rename and delete."""

    IS_SUBSTITUTE = True
    currentNodeChanged = QtCore.Signal(object)
    currentNodeIDChanged = QtCore.Signal(str)
    currentNodeRenamed = QtCore.Signal(str)
    nodeActivated = QtCore.Signal(object)
    nodeAdded = QtCore.Signal(object)
    nodeAddedByUser = QtCore.Signal(object)
    nodeAboutToBeRemoved = QtCore.Signal(object)
    nodeAboutToBeEdited = QtCore.Signal(object)
    mrmlSceneChanged = QtCore.Signal(object)
    _valid = QtCore.Signal(bool)
    SIGNALS = {
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "currentNodeChanged(bool)": "_valid",
        "nodeActivated(vtkMRMLNode*)": "nodeActivated",
        "nodeAdded(vtkMRMLNode*)": "nodeAdded",
        "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUser",
        "nodeAboutToBeRemoved(vtkMRMLNode*)": "nodeAboutToBeRemoved",
        "nodeAboutToBeEdited(vtkMRMLNode*)": "nodeAboutToBeEdited",
        "mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged",
    }

    def __init__(self, parent=None):
        super().__init__(parent)
        self._d = SimpleNamespace(
            combo=ctkComboBox(self),
            scene=None,
            tags=[],
            nodeTags={},
            current=None,
            pending=None,
            busy=False,
            nodes=[],
            actions=[],
            nodeTypes=[],
            hideChildNodeTypes=[],
            attributes=[],
            baseNames={},
            showHidden=False,
            showChildNodeTypes=True,
            noneEnabled=False,
            noneDisplay="None",
            addEnabled=True,
            removeEnabled=True,
            editEnabled=False,
            renameEnabled=False,
            selectNodeUponCreation=True,
            interactionNodeSingletonTag="",
        )
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._d.combo)
        self._d.combo.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)
        self._d.combo.setSizeAdjustPolicy(QtWidgets.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        self._d.combo.setMinimumContentsLength(12)
        self.setSizePolicy(QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.Fixed)
        self._d.combo.currentIndexChanged.connect(self._indexChanged)
        self._d.combo.activated.connect(self._activated)
        self.destroyed.connect(lambda *_, d=self._d: _detach(d))
        self.setEnabled(False)

    # Configuration

    def _setField(self, name, value):
        setattr(self._d, name, value)
        self._rebuild()

    def setNodeTypes(self, types):
        self._setField("nodeTypes", list(types))

    def setBaseName(self, name, nodeType=""):
        for kind in [nodeType] if nodeType else self._d.nodeTypes or [""]:
            self._d.baseNames[kind] = name

    def addAttribute(self, nodeType, name, value=None):
        self._d.attributes.append((nodeType, name, None if value is None else str(value)))
        self._rebuild()

    def removeAttribute(self, nodeType, name):
        self._d.attributes = [a for a in self._d.attributes if a[:2] != (nodeType, name)]
        self._rebuild()

    def addMenuAction(self, action):
        self._d.actions.append(action)
        self._rebuild()

    # Scene

    def mrmlScene(self):
        return self._d.scene

    def setMRMLScene(self, scene):
        d = self._d
        if scene is d.scene:
            return
        if d.scene is not None:
            for tag in d.tags:
                d.scene.RemoveObserver(tag)
        d.tags, d.scene = [], scene
        self.setEnabled(scene is not None)
        if scene is not None:
            for event in _SCENE_EVENTS:
                d.tags.append(scene.AddObserver(getattr(slicer.vtkMRMLScene, event), self._sceneChanged))
        self._rebuild()
        if d.pending is not None and scene is not None:
            pending, d.pending = d.pending, None
            self.setCurrentNodeID(pending)
        self.mrmlSceneChanged.emit(scene)

    def _sceneChanged(self, caller, event):
        if not caller.IsBatchProcessing() or event != "NodeAddedEvent":
            self._rebuild()

    def _accepts(self, node):
        d = self._d
        if node.GetHideFromEditors() and not d.showHidden:
            return False
        if not any(
            node.IsA(kind) if d.showChildNodeTypes else node.GetClassName() == kind for kind in d.nodeTypes
        ):
            return False
        if any(node.IsA(kind) for kind in d.hideChildNodeTypes):
            return False
        for kind, name, value in d.attributes:
            if node.IsA(kind) and (
                node.GetAttribute(name) is None or value is not None and node.GetAttribute(name) != value
            ):
                return False
        return True

    def _accepted(self):
        scene = self._d.scene
        if scene is None or scene.IsClosing():
            return []
        nodes = [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())]
        return [node for node in nodes if self._accepts(node)]

    def _rebuild(self):
        d = self._d
        if d.busy:
            return
        before, d.nodes = d.nodes, self._accepted()
        for node in [n for n in d.nodeTags if n not in d.nodes]:
            node.RemoveObserver(d.nodeTags.pop(node))
        for node in [n for n in d.nodes if n not in d.nodeTags]:
            d.nodeTags[node] = node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._nodeModified)
        d.busy = True
        with contextlib.ExitStack() as stack:
            wasBlocked = d.combo.blockSignals(True)
            stack.callback(d.combo.blockSignals, wasBlocked)
            self._fill()
        d.busy = False
        self._choose(before)
        for node in [n for n in d.nodes if n not in before]:
            self.nodeAdded.emit(node)

    def _fill(self):
        d = self._d
        d.combo.clear()
        d.combo.setDefaultText(f"Select a {self.nodeTypeLabel(d.nodeTypes[0] if d.nodeTypes else '')}")
        if d.scene is None:
            return
        if d.noneEnabled:
            d.combo.addItem(d.noneDisplay, None)
        for node in d.nodes:
            d.combo.addItem(self._icon(node), node.GetName() or "", node.GetID())
        actions = self._actionItems()
        if actions:
            d.combo.insertSeparator(d.combo.count)
            for text, action in actions:
                d.combo.addItem(text, ("action", action))

    def _icon(self, node):
        return QtGui.QIcon()

    def _actionItems(self):
        d = self._d
        label = self.nodeTypeLabel(d.nodeTypes[0] if len(d.nodeTypes) == 1 else "")
        items = []
        if d.renameEnabled:
            items.append((f"Rename current {label}", self.renameCurrentNode))
        if d.editEnabled:
            items.append((f"Edit current {label}", self.editCurrentNode))
        if d.addEnabled:
            for kind in d.nodeTypes:
                kindLabel = self.nodeTypeLabel(kind)
                items.append((f"Create new {kindLabel}", lambda kind=kind: self._addByUser(kind)))
                if d.renameEnabled:
                    items.append(
                        (f"Create new {kindLabel} as...", lambda kind=kind: self._addByUser(kind, ask=True))
                    )
        if d.removeEnabled:
            items.append((f"Delete current {label}", self.removeCurrentNode))
        return items + [(action.text, action.trigger) for action in d.actions]

    def nodeTypeLabel(self, nodeType):
        node = getattr(slicer, nodeType)() if nodeType and hasattr(slicer, nodeType) else None
        if node is None:
            return "node"
        return node.GetTypeDisplayName() if hasattr(node, "GetTypeDisplayName") else node.GetNodeTagName()

    def _choose(self, before):
        d = self._d
        if d.current is not None and d.current in d.nodes:
            wanted = d.current
        elif d.noneEnabled or not d.nodes:
            wanted = None
        else:
            index = before.index(d.current) if d.current in before else 0
            wanted = d.nodes[min(index, len(d.nodes) - 1)]
        self._show(wanted)

    def _nodeModified(self, node, event):
        d = self._d
        if node not in d.nodes or not self._accepts(node):
            self._rebuild()
            return
        index = d.combo.findData(node.GetID())
        name = node.GetName() or ""
        if index >= 0 and d.combo.itemText(index) != name:
            d.combo.setItemText(index, name)
            if node is d.current:
                self.currentNodeRenamed.emit(name)

    # The current node

    def _show(self, node):
        """Let the combo box show `node`; tell the world when it is another one than before."""
        d = self._d
        index = (
            d.combo.findData(node.GetID())
            if node is not None
            else (0 if d.noneEnabled and d.scene is not None else -1)
        )
        wasBlocked = d.combo.blockSignals(True)
        d.combo.setCurrentIndex(index)
        d.combo.blockSignals(wasBlocked)
        if node is not d.current:
            d.current = node
            self.currentNodeChanged.emit(node)
            self._valid.emit(node is not None)
            self.currentNodeIDChanged.emit(node.GetID() if node is not None else "")

    def _indexChanged(self, index):
        data = self._d.combo.itemData(index) if index >= 0 else None
        if not isinstance(data, tuple):
            self._show(self._d.scene.GetNodeByID(data) if data else None)

    def _activated(self, index):
        data = self._d.combo.itemData(index)
        if isinstance(data, tuple):
            self._show(self._d.current)
            data[1]()
        else:
            self.nodeActivated.emit(self._d.current)

    def currentNode(self):
        return self._d.current

    def setCurrentNode(self, node):
        if node is not None and not isinstance(node, slicer.vtkMRMLNode):
            raise ValueError(f"setCurrentNode needs a node, not {node!r}")
        if node is not None and self._d.scene is None:
            self._d.pending = node.GetID()
            return
        self._show(node if node in self._d.nodes else None)

    def setCurrentNodeID(self, nodeID):
        if self._d.scene is None:
            self._d.pending = nodeID
        else:
            self.setCurrentNode(self._d.scene.GetNodeByID(nodeID) if nodeID else None)

    def setCurrentNodeIndex(self, index):
        self.setCurrentNode(self._d.nodes[index])

    def nodeCount(self):
        return len(self._d.nodes)

    def nodeFromIndex(self, index):
        return self._d.nodes[index] if 0 <= index < len(self._d.nodes) else None

    def comboBox(self):
        return self._d.combo

    # Actions

    def addNode(self, nodeType=""):
        return self._add(nodeType or self._d.nodeTypes[0])

    def _add(self, nodeType, name=None):
        d = self._d
        node = d.scene.CreateNodeByClass(nodeType)
        node.UnRegister(None)
        name = (
            name or d.baseNames.get(nodeType) or d.baseNames.get("") or node.GetDefaultNodeName()
            if hasattr(node, "GetDefaultNodeName")
            else name or d.baseNames.get(nodeType) or node.GetNodeTagName()
        )
        node.SetName(d.scene.GenerateUniqueName(name))
        for kind, attribute, value in d.attributes:
            if node.IsA(kind):
                node.SetAttribute(attribute, value or "")
        node = d.scene.AddNode(node)
        if d.selectNodeUponCreation:
            self.setCurrentNode(node)
        return node

    def _addByUser(self, nodeType, ask=False):
        name = None
        if ask:
            name = dialogs.getText(self, "Create new " + self.nodeTypeLabel(nodeType), "New name:")
            if not name:
                return
        node = self._add(nodeType, name)
        self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)

    def renameCurrentNode(self):
        node = self._d.current
        if node is not None:
            name = dialogs.getText(self, "Rename " + node.GetName(), "New name:", text=node.GetName())
            if name:
                node.SetName(name)

    def removeCurrentNode(self):
        node = self._d.current
        if node is not None:
            self.nodeAboutToBeRemoved.emit(node)
            self._d.scene.RemoveNode(node)

    def editCurrentNode(self):
        self.nodeAboutToBeEdited.emit(self._d.current)

    nodeTypes = prop("QStringList", lambda self: tuple(self._d.nodeTypes), setNodeTypes)
    hideChildNodeTypes = prop(
        "QStringList",
        lambda self: tuple(self._d.hideChildNodeTypes),
        lambda self, v: self._setField("hideChildNodeTypes", list(v)),
    )
    currentNodeID = prop(
        "QString", lambda self: self._d.current.GetID() if self._d.current else "", setCurrentNodeID
    )
    baseName = prop("QString", lambda self: next(iter(self._d.baseNames.values()), ""), setBaseName)
    showHidden = prop("bool", *_field("showHidden"))
    showChildNodeTypes = prop("bool", *_field("showChildNodeTypes"))
    noneEnabled = prop("bool", *_field("noneEnabled"))
    noneDisplay = prop("QString", *_field("noneDisplay"))
    addEnabled = prop("bool", *_field("addEnabled"))
    removeEnabled = prop("bool", *_field("removeEnabled"))
    editEnabled = prop("bool", *_field("editEnabled"))
    renameEnabled = prop("bool", *_field("renameEnabled"))
    selectNodeUponCreation = prop("bool", *_field("selectNodeUponCreation"))
    interactionNodeSingletonTag = prop("QString", *_field("interactionNodeSingletonTag"))


def _addSetters(cls):
    # Qt's setters, for those who write setAddEnabled(False).
    for name in (
        "showHidden",
        "showChildNodeTypes",
        "noneEnabled",
        "noneDisplay",
        "addEnabled",
        "removeEnabled",
        "editEnabled",
        "renameEnabled",
        "selectNodeUponCreation",
    ):
        setattr(
            cls, "set" + name[0].upper() + name[1:], lambda self, value, name=name: setattr(self, name, value)
        )


_addSetters(qMRMLNodeComboBox)


class qMRMLColorTableComboBox(qMRMLNodeComboBox):
    """Colour nodes, each with a swatch of its colours."""

    IS_SUBSTITUTE = True

    def __init__(self, parent=None):
        super().__init__(parent)
        d = self._d
        d.nodeTypes = ["vtkMRMLColorNode"]
        d.addEnabled = d.removeEnabled = False
        d.combo.setIconSize(QtCore.QSize(48, 14))

    def _icon(self, node):
        if not node.IsA("vtkMRMLColorTableNode") and not node.IsA("vtkMRMLProceduralColorNode"):
            return QtGui.QIcon()
        picture = QtGui.QImage(48, 14, QtGui.QImage.Format_RGB32)
        table = (
            node.GetLookupTable() if node.IsA("vtkMRMLColorTableNode") else node.GetColorTransferFunction()
        )
        if table is None:
            return QtGui.QIcon()
        low, high = table.GetRange()
        rgb = [0.0, 0.0, 0.0]
        for x in range(48):
            table.GetColor(low + (high - low) * x / 47, rgb)
            for y in range(14):
                picture.setPixelColor(x, y, QtGui.QColor.fromRgbF(*[min(max(c, 0.0), 1.0) for c in rgb]))
        return QtGui.QIcon(QtGui.QPixmap.fromImage(picture))

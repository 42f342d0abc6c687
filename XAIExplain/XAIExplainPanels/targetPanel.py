"""The question: which answer of the network is to be explained."""

import qt
import slicer
from slicer.i18n import tr as _

from XAIExplainLib.errors import XAIError
from XAIExplainPanels.figures import percent
from XAIExplainPanels.panel import Panel, comboData, fillCombo, selectData
from XAIExplainPanels.targets import BOX, DIFFERENCE, PROBABILITY, SCORE, SEGMENT, VOXEL, at, crosshairVoxel

BAR = 5  # times as long as high


class TargetPanel(Panel):
    """Choose the class, and what about it: its score, its probability, or where in the volume it is asked about."""

    uiFile = "targetPanel.ui"

    def __init__(self, desk):
        super().__init__(desk)
        self._targets = self._kinds = self._others = None
        self._listening = True
        height = self.ui.targetComboBox.fontMetrics().height()
        self.ui.targetComboBox.setIconSize(qt.QSize(BAR * height, height))
        self.ui.targetComboBox.connect("currentIndexChanged(int)", self.onTargetChosen)
        self.ui.kindComboBox.connect("currentIndexChanged(int)", self.onKindChosen)
        self.ui.otherComboBox.connect("currentIndexChanged(int)", self.onOtherChosen)
        self.ui.segmentSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onSegment)
        self.ui.segmentSelector.connect("segmentSelectionChanged(QStringList)", self.onSegment)
        self.ui.voxelButton.connect("clicked(bool)", self.onVoxel)

    def setParameterNode(self, node):
        super().setParameterNode(node)
        if node is not None:
            self._showSegment()

    def refresh(self):
        self._refreshTargets()
        node, ui = self.node, self.ui
        kinds = kindTitles(self.desk.model)
        if self._kinds != kinds:
            self._kinds = kinds
            fillCombo(ui.kindComboBox, kinds, None)
        if node is None:
            return
        if self.desk.model.info is not None and node.targetKind not in [kind for _title, kind in kinds]:
            node.targetKind = SCORE
        selectData(ui.kindComboBox, node.targetKind)
        for name, kind in (("other", DIFFERENCE), ("segment", SEGMENT), ("roi", BOX), ("voxel", VOXEL)):
            visible = node.targetKind == kind
            for widget in ("Row" if name == "voxel" else "ComboBox" if name == "other" else "Selector", "Label"):
                getattr(ui, name + widget).visible = visible
        ui.kindComboBox.visible = ui.kindLabel.visible = len(kinds) > 1
        self._refreshOthers()
        self._showSegment()
        ui.voxelLabelText.text = self._voxelText()
        ui.voxelButton.enabled = node.inputVolume is not None

    def _refreshTargets(self):
        state = self.desk.model
        shares = self._shares()
        targets = [(self._predictedTitle(), "", None)]
        targets += [(classTitle(_("{name} (together)").format(name=name), shares.get(name)), name, shares.get(name))
                    for name in state.groups]
        targets += [(classTitle(name, shares.get(name)), name, shares.get(name)) for name in state.classes]
        current = self.node.target if self.node is not None else ""
        combo = self.ui.targetComboBox
        if targets != self._targets:
            self._targets = targets
            fillCombo(combo, [target[:2] for target in targets], current)
            for index, (_title, _name, share) in enumerate(targets):
                if share is not None:
                    combo.setItemIcon(index, self._bar(share))
        if self.node is not None and not selectData(combo, current) and state.info is not None:
            self.node.target = ""

    def _refreshOthers(self):
        """What a class can be set against: every other one."""
        one = self.node.target or self._predicted()
        others = [(name, name) for name in [*self.desk.model.groups, *self.desk.model.classes] if name != one]
        if self._others != others:
            self._others = others
            fillCombo(self.ui.otherComboBox, others, None)
        if others and not selectData(self.ui.otherComboBox, self.node.otherTarget) \
                and self.node.targetKind == DIFFERENCE:
            self.node.otherTarget = others[0][1]

    def _prediction(self):
        """The network's answer about the chosen volumes, or nothing."""
        state = self.desk.model
        return state.prediction if state.prediction and state.predictedVolumes == self.desk.volumeIDs() else {}

    def _predicted(self):
        return str((self._prediction().get("predicted") or {}).get("name") or "")

    def _shares(self):
        """Class or group to its probability, where the network gave one."""
        prediction = self._prediction()
        if not prediction.get("probabilities"):
            return {}
        found = dict(zip(map(str, prediction.get("classes") or []), prediction["probabilities"]))
        found.update(prediction.get("groups") or {})
        return {name: min(max(float(share), 0.0), 1.0) for name, share in found.items()}

    def _predictedTitle(self):
        name = self._predicted()
        return _("The network's answer: {name}").format(name=name) if name else _("The network's answer")

    def _bar(self, share):
        """A bar as long as the class is probable."""
        size, palette = self.ui.targetComboBox.iconSize, self.ui.targetComboBox.palette
        width, height = size.width(), size.height()
        pixmap = qt.QPixmap(width, height)
        pixmap.fill(qt.QColor(0, 0, 0, 0))
        painter = qt.QPainter()
        painter.begin(pixmap)
        painter.fillRect(qt.QRect(0, height // 4, width, height // 2), palette.color(qt.QPalette.Midlight))
        painter.fillRect(qt.QRect(0, height // 4, max(1, int(round(share * width))), height // 2),
                         palette.color(qt.QPalette.Highlight))
        painter.end()
        return qt.QIcon(pixmap)

    def _voxelText(self):
        voxel, volume = self._voxel(), self.node.inputVolume
        if not voxel:
            return _("none yet")
        text = _("i {i}, j {j}, k {k}").format(i=voxel[0], j=voxel[1], k=voxel[2])
        image = volume.GetImageData() if volume is not None else None
        if image is None:
            return text
        if any(not 0 <= n < size for n, size in zip(voxel, image.GetDimensions())):
            return _("{text} (outside of the volume)").format(text=text)
        value = image.GetScalarComponentAsDouble(*voxel, 0)
        return _("{text} (intensity {value:g})").format(text=text, value=value)

    def _voxel(self):
        try:
            return [int(part) for part in self.node.targetVoxel.split(",")] if self.node.targetVoxel else []
        except ValueError:
            return []

    def _showSegment(self):
        """Let the selector show the scene's choice, without telling anybody."""
        selector, node = self.ui.segmentSelector, self.node
        wanted = node.targetSegmentation
        self._listening = False
        try:
            if selector.currentNodeID() != (wanted.GetID() if wanted is not None else ""):
                selector.setCurrentNode(wanted)
            if wanted is not None and node.targetSegment and selector.currentSegmentID() != node.targetSegment \
                    and wanted.GetSegmentation().GetSegment(node.targetSegment) is not None:
                selector.setCurrentSegmentID(node.targetSegment)
        finally:
            self._listening = True

    def reasonNotToRun(self):
        """What is missing, as a sentence; empty if nothing is."""
        node = self.node
        if node is None:
            return ""
        if node.targetKind == SEGMENT and (node.targetSegmentation is None or not node.targetSegment):
            return _("Choose the segment in which the class is asked about.")
        if node.targetKind == BOX and node.targetROI is None:
            return _("Choose the region of interest in which the class is asked about.")
        if node.targetKind == VOXEL and not self._voxel():
            return _("Move the crosshair to a voxel (Shift and the mouse), and take its place.")
        if node.targetKind == DIFFERENCE and not (node.target or self._predicted()):
            return _("Choose the class by its name, or ask the network first.")
        return ""

    def target(self):
        """
        What is to be explained, for `logic.explain`, and its title.

        :raises XAIError: if it cannot be: a region that lies elsewhere, a voxel outside of the volume.
        """
        return self.maker()[0](self.node.inputVolume)

    def maker(self):
        """
        A function that makes the target that is chosen now for any volume, and the target in words. It stays the same
        when the panel changes.
        """
        node, targets = self.node, self.desk.logic.targets
        kind, name, segmentID, voxel = node.targetKind, node.target, node.targetSegment, self._voxel()
        segmentationID, boxID = nodeID(node.targetSegmentation), nodeID(node.targetROI)
        if kind == SEGMENT:
            segmentation = node.targetSegmentation
            segment = segmentation.GetSegmentation().GetSegment(segmentID) if segmentation is not None else None
            return (lambda volume: targets.segment(volume, nodeOf(segmentationID), segmentID, name)), at(
                name, segment.GetName() if segment is not None else "")
        if kind == BOX:
            return (lambda volume: targets.box(volume, nodeOf(boxID), name)), at(
                name, node.targetROI.GetName() if boxID else "")
        if kind == VOXEL:
            return (lambda volume: targets.voxel(volume, voxel, name)), at(name, node.targetVoxel)
        if kind == PROBABILITY:
            target = targets.probability(name)
        elif kind == DIFFERENCE:
            target = targets.difference(name or self._predicted(), node.otherTarget)
        else:
            target = targets.score(name)
        return (lambda volume: target), target.title

    def onTargetChosen(self, index):
        data = comboData(self.ui.targetComboBox)
        if self.node is not None and data is not None:
            self.node.target = data

    def onKindChosen(self, index):
        data = comboData(self.ui.kindComboBox)
        if self.node is None or not data:
            return
        self.node.targetKind = data
        if data == VOXEL and not self._voxel() and self.node.inputVolume is not None:
            self.onVoxel()

    def onOtherChosen(self, index):
        data = comboData(self.ui.otherComboBox)
        if self.node is not None and data:
            self.node.otherTarget = data

    def onSegment(self, ignored=None):
        if self.node is None or not self._listening:
            return
        selector = self.ui.segmentSelector
        chosen = selector.currentNode()
        if chosen is not None and not chosen.IsA("vtkMRMLSegmentationNode"):
            chosen = None  # the selector offers label maps too
        with slicer.util.NodeModify(self.node.parameterNode):
            self.node.targetSegmentation = chosen
            self.node.targetSegment = str(selector.currentSegmentID() or "") if chosen is not None else ""

    def onVoxel(self, checked=False):
        try:
            voxel = crosshairVoxel(self.node.inputVolume)
        except XAIError as error:
            self.desk.sayError(error.message, error.hint)
            return
        self.node.targetVoxel = ",".join(map(str, voxel))


def nodeID(node):
    return node.GetID() if node is not None else ""


def nodeOf(nodeID):
    """The node of the scene, or None."""
    return slicer.mrmlScene.GetNodeByID(nodeID) if nodeID else None


def classTitle(name, share):
    """A class, with how probable it is."""
    return name if share is None else _("{name}: {share}").format(name=name, share=percent(share))


def kindTitles(state):
    """(title, kind) of what can be asked about a class of this network."""
    task = (state.info or {}).get("task")
    if task == "segmentation":
        return [(_("Wherever the network finds it"), SCORE), (_("In a segment of the scene"), SEGMENT),
                (_("In a region of interest (box)"), BOX), (_("At one voxel"), VOXEL)]
    if task in ("classification", "multilabel"):
        return [(_("Its score"), SCORE), (_("Its probability"), PROBABILITY),
                (_("Its score less that of another"), DIFFERENCE)]
    return [(_("Its value"), SCORE)]

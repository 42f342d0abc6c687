"""Results beside one another: side by side, as one map of two, and in figures."""

import qt
import slicer
from slicer.i18n import tr as _

from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainPanels import comparison, record, series, tables
from XAIExplainPanels.agreement import AGREEMENT, DIFFERENCE
from XAIExplainPanels.compareLayouts import MOST, compositeNode, shownCount
from XAIExplainPanels.curvesPanel import CurvesPanel
from XAIExplainPanels.figuresTable import tableText
from XAIExplainPanels.panel import Panel, comboData, fillCombo, selectData
from XAIExplainPanels.strength import stateOf
from XAIExplainPanels.tableSaving import saveTable

ALIKE = "similarity"
ROWS = 6


class ComparePanel(Panel):
    """Choose results of one volume, and compare them."""

    uiFile = "comparePanel.ui"

    def __init__(self, desk):
        super().__init__(desk)
        self._listed = None
        self._drawn = None
        self._text = None
        self._asking = False
        self.say("")
        self._series = None
        self.curves = CurvesPanel(desk, self)
        self.ui.compareSection.layout().addWidget(self.curves.widget)
        fillCombo(self.ui.orientationComboBox, [
            (_("Axial"), "Axial"), (_("Sagittal"), "Sagittal"), (_("Coronal"), "Coronal")], "Axial")
        self.ui.compareSection.connect("contentsCollapsed(bool)", self.onCollapsed)
        self.ui.orientationComboBox.connect("currentIndexChanged(int)", self.onOrientation)
        self.ui.mapList.connect("itemChanged(QListWidgetItem*)", self.onChecked)
        self.ui.compareButton.connect("clicked(bool)", self.onCompare)
        self.ui.backButton.connect("clicked(bool)", self.onBack)
        self.ui.differenceButton.connect("clicked(bool)", lambda checked=False: self.combine(DIFFERENCE))
        self.ui.agreementButton.connect("clicked(bool)", lambda checked=False: self.combine(AGREEMENT))
        self.ui.alikeButton.connect("clicked(bool)", self.onAlike)
        self.ui.classesButton.connect("clicked(bool)", self.onClasses)
        self.ui.saveAlikeButton.connect("clicked(bool)", self.onSave)
        if slicer.app.layoutManager() is not None:
            slicer.app.layoutManager().connect("layoutChanged(int)", self.onLayoutChanged)

    def cleanup(self):
        if slicer.app.layoutManager() is not None:
            slicer.app.layoutManager().disconnect("layoutChanged(int)", self.onLayoutChanged)
        self.curves.cleanup()
        super().cleanup()

    def setParameterNode(self, node):
        super().setParameterNode(node)
        self.curves.setParameterNode(node)

    @property
    def work(self):
        return self.desk.logic.comparison

    def onCollapsed(self, collapsed):
        """A section that opens shows all that is in it, also what was hidden while it was closed."""
        if not collapsed:
            self._text = self._listed = None
            self.curves.opened()
            self.ui.compareMessageLabel.visible = bool(self.ui.compareMessageLabel.text)
            self.refresh()

    # What there is to compare

    def volume(self):
        """The volume whose results are listed: that of the shown map, or the input."""
        if self.node is None:
            return None
        shown = record.explainedVolume(self.node.mapVolume) if record.isMap(self.node.mapVolume) else None
        candidates = [shown, self.node.inputVolume, *map(record.explainedVolume, record.maps())]
        return next((node for node in candidates if node is not None and self._mapsOf(node)), None)

    def _mapsOf(self, volumeNode):
        found = []
        for mapNode in record.maps():
            volume = record.explainedVolume(mapNode)
            if volume is not None and volume.GetID() == volumeNode.GetID() and stateOf(mapNode) is not None:
                found.append(mapNode)
        return found

    def maps(self):
        """The listed results."""
        volumeNode = self.volume()
        return self._mapsOf(volumeNode) if volumeNode is not None else []

    def chosen(self):
        """The checked results."""
        return comparison.chosen(self.maps())

    def refresh(self):
        maps, busy = self.maps(), self.desk.logic.busy
        checked = len(comparison.chosen(maps))
        several = len(self.desk.model.classes) > 1
        self.widget.visible = bool(maps) or (several and self.node is not None and self.node.inputVolume is not None)
        self._list(maps)
        self.ui.listLabel.text = (_("Results of {volume}:").format(volume=self.volume().GetName()) if maps
                                  else _("There are no results yet."))
        self.ui.compareButton.toolTip = (
            _("Show the checked results side by side, in linked views.") if 2 <= checked <= MOST
            else _("Check two to {most} results in the list above.").format(most=MOST))
        self._afterDeletion()
        active = self.work.active
        if self.node is not None:
            selectData(self.ui.orientationComboBox, self.node.compareOrientation)
            if active:
                self._draw()
        self.ui.compareButton.enabled = 2 <= checked <= MOST
        self.ui.backButton.enabled = active
        for button in (self.ui.differenceButton, self.ui.agreementButton):
            button.enabled = checked == 2 and not self._asking
        self.ui.alikeButton.enabled = 2 <= checked <= MOST and not self._asking
        self.ui.classesButton.enabled = not busy and several and not self.desk.reasonNotToRun()
        self._showTable()
        self.curves.refresh()

    @staticmethod
    def _rows(maps):
        return [(node.GetID(), node.GetName(), comparison.nameWithoutVolume(node), bool(comparison.chosen([node])))
                for node in maps]

    def _list(self, maps):
        listed = self._rows(maps)
        if listed == self._listed:
            return
        self._listed = listed
        wasBlocked = self.ui.mapList.blockSignals(True)
        self.ui.mapList.clear()
        for nodeID, name, shortName, isChosen in listed:
            item = qt.QListWidgetItem(shortName)
            item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable | qt.Qt.ItemIsUserCheckable)
            item.setCheckState(qt.Qt.Checked if isChosen else qt.Qt.Unchecked)
            item.setData(qt.Qt.UserRole, nodeID)
            item.setToolTip(name)
            self.ui.mapList.addItem(item)
        self.ui.mapList.blockSignals(wasBlocked)
        self.ui.mapList.visible = bool(listed)
        if listed:
            rows = min(max(2, len(listed)), ROWS)
            self.ui.mapList.setFixedHeight(rows * (self.ui.mapList.sizeHintForRow(0) + 1) + 6)

    def _showTable(self):
        node = tables.find(ALIKE, self._tableName()) if self.volume() is not None else None
        if node is not None:
            text = tableText([_("Results"), _("Spearman"), _("Pearson"), _("Dice")], tables.rowsOf(node)[1], decimals=2)
        else:
            text = ""
        if text != self._text:
            self._text = self.ui.alikeLabel.text = text
            self.ui.alikeLabel.visible = self.ui.saveAlikeButton.visible = bool(text)

    def _tableName(self):
        return _("{name} similarity of results").format(name=self.volume().GetName())

    def say(self, message, isError=False):
        self.ui.compareMessageLabel.text = "<b>{}</b>".format(message) if isError and message else message
        self.ui.compareMessageLabel.visible = bool(message)

    def sayError(self, error):
        self.desk.log("{} {}".format(error.message, error.hint))
        self.say("{} {}".format(error.message, error.hint).strip(), isError=True)

    # Side by side

    def _draw(self):
        """Draw the compared maps again, where a setting or a map has changed."""
        raw = self.node.parameterNode
        wanted = (tuple((name, raw.GetParameter(name)) for name in raw.GetParameterNames()),
                  tuple(stateOf(mapNode) for mapNode in self.work.maps()))
        if wanted != self._drawn:
            self._drawn = wanted
            self.work.update(self.node)

    def _afterDeletion(self):
        """A compared map that was deleted leaves its view; without two there is nothing to compare."""
        if not self.work.active or self.work.changing or self.node is None or self.node.layoutBefore == 0:
            return
        left = [mapNode for mapNode in self.work.maps() if record.explainedVolume(mapNode) is not None]
        if len(left) == shownCount():
            return
        try:
            if len(left) > 1:
                self.work.start(left, self.node)
                return
        except XAIError:
            pass
        self.work.stop(self.node)
        self.say(_("A compared result was deleted, so the comparison has ended."))

    def onCompare(self, checked=False):
        try:
            self._drawn = None
            self.work.start(self.chosen(), self.node)
        except XAIError as error:
            self.sayError(error)
            return
        self.say(_("The views are linked: move or zoom one, and all follow. Back shows your own views again."))
        self.desk.refresh()

    def onBack(self, checked=False):
        self.work.stop(self.node)
        self.say("")
        self.desk.refresh()

    def onLayoutChanged(self, layout):
        """Another layout that the user chooses ends the comparison."""
        left = not self.work.active and not self.work.changing and compositeNode(1) is not None
        if left and not slicer.mrmlScene.IsBatchProcessing():
            qt.QTimer.singleShot(0, self._leave)

    def _leave(self):
        if not self.work.active and self.node is not None and compositeNode(1) is not None:
            self.work.stop(self.node)
            self.say("")
            self.desk.refresh()

    def onOrientation(self, index):
        if self.node is not None:
            self.node.compareOrientation = comboData(self.ui.orientationComboBox)
            if self.work.active:
                self.work.orient(self.node.compareOrientation)

    def onChecked(self, item):
        mapNode = slicer.mrmlScene.GetNodeByID(item.data(qt.Qt.UserRole))
        if mapNode is not None:
            comparison.choose(mapNode, item.checkState() == qt.Qt.Checked)
            self._listed = self._rows(self.maps())  # the list stays: its item is just being told of
            self.desk.refresh()

    # One map of two

    def combine(self, kind):
        chosen = self.chosen()
        try:
            if len(chosen) != 2:
                raise XAIError(_("{count} results are checked.").format(count=len(chosen)), _("Check two."))
            self._begin(_("Computing the map of two..."))
            self.desk.logic.agreement.combine(*chosen, kind, self._onCombined, self._onFailed)
        except XAIError as error:
            self._onFailed(error)

    def _onCombined(self, mapNode):
        self._end()
        if self.node is None:
            return
        comparison.choose(mapNode, False)  # what was checked to make it stays checked
        if self.work.active:
            self.work.stop(self.node)
        self.desk.displayPanel.show(mapNode)
        self.say(_("{name} is shown. Its record says by what each result was divided.").format(name=mapNode.GetName()))
        self.desk.refresh()

    # Figures

    def onAlike(self, checked=False):
        chosen = self.chosen()
        ids = [mapNode.GetID() for mapNode in chosen]
        try:
            self._begin(_("Comparing voxel by voxel..."))
            self.desk.logic.agreement.measure(
                chosen, onFinished=lambda answer: self._onAlike(ids, answer), onFailed=self._onFailed)
        except XAIError as error:
            self._onFailed(error)

    def _onAlike(self, ids, answer):
        self._end()
        maps = [slicer.mrmlScene.GetNodeByID(nodeID) for nodeID in ids]
        if any(mapNode is None for mapNode in maps) or self.volume() is None:
            self.say(_("A result was deleted while it was being compared."), isError=True)
            return
        names = comparison.labels(maps)
        rows = [["{} / {}".format(names[pair["first"]], names[pair["second"]]), pair["spearman"], pair["pearson"],
                 pair["dice"]] for pair in answer["pairs"]]
        tables.tableNode(ALIKE, self._tableName(), maps, [
            _("Results"), _("Spearman"), _("Pearson"), _("Top-10 % Dice")], rows)
        self.say(_("Over {count:,} voxels, where at least one of the results is not zero.").format(
            count=answer["voxels"]))
        self.desk.refresh()

    def onSave(self, checked=False):
        saveTable(self, tables.find(ALIKE, self._tableName()) if self.volume() is not None else None)

    def _begin(self, message):
        self._asking = True
        self.say(message)
        self.desk.refresh()

    def _end(self):
        self._asking = False

    def _onFailed(self, error):
        self._end()
        if isinstance(error, CancelledError):
            self.say(_("Cancelled."))
        else:
            self.sayError(error)
        self.desk.refresh()

    # All classes

    def onClasses(self, checked=False):
        desk, node = self.desk, self.node
        card = desk.catalog.methods.get(node.method, {})
        targets = desk.model.classes[:MOST]
        desk.run.begin()
        try:
            self._series = series.start(
                desk.logic, desk.volumes(), targets, self._onSeries, self._onSeriesFailed, desk.run.progress,
                model=desk.model.name, method=node.method, parameters=desk.method.parameters(),
                consent=desk.model.consent, memory=node.memoryLimit, seed=node.randomSeed, title=card.get("title", ""))
        except XAIError as error:
            self._onSeriesFailed(error)
        desk.refresh()

    def _onSeries(self, maps):
        self._series = None
        self.desk.run.end(_("{count} classes are explained.").format(count=len(maps)))
        if self.node is None:
            return
        ids = [mapNode.GetID() for mapNode in maps if slicer.mrmlScene.IsNodePresent(mapNode)]
        self.node.mapVolume = slicer.mrmlScene.GetNodeByID(ids[0]) if ids else None
        for mapNode in self.maps():
            comparison.choose(mapNode, mapNode.GetID() in ids)
        self.onCompare()

    def _onSeriesFailed(self, error):
        self._series = None
        if isinstance(error, CancelledError):
            self.desk.run.end(_("Cancelled; classes that were done keep their maps."))
        else:
            self.desk.run.end("{} {}".format(error.message, error.hint).strip(), isError=True)

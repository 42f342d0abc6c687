"""Results by segment: how much of a map lies where, and how well it lies on a segment that is the truth."""

import contextlib
import os
from html import escape

import qt
import slicer
from slicer.i18n import tr as _

from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainPanels import bars, comparison, plots, record, regions, tables
from XAIExplainPanels.compareLayouts import MOST
from XAIExplainPanels.figuresTable import barsText, tableText
from XAIExplainPanels.panel import Panel, comboData, fillCombo, selectData
from XAIExplainPanels.plotLayouts import plotsShown
from XAIExplainPanels.stepwise import letGo
from XAIExplainPanels.tableSaving import saveTable


class RegionsPanel(Panel):
    """Figures of the results that Compare has checked, by segment."""

    uiFile = "regionsPanel.ui"

    def __init__(self, desk):
        super().__init__(desk)
        self._segments = None
        self._segmentID = ""
        self._job = None
        self._asking = False
        self._shown = ("", "")  # kind and name of the table that is shown
        self._text = None
        self._offersTruth = None
        self.say("")
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._step)
        self.ui.regionsSection.connect("contentsCollapsed(bool)", self.onCollapsed)
        self.ui.segmentComboBox.connect("currentIndexChanged(int)", self.onSegment)
        self.ui.statisticsButton.connect("clicked(bool)", self.onStatistics)
        self.ui.metricsButton.connect("clicked(bool)", self.onMetrics)
        self.ui.truthButton.connect("clicked(bool)", self.onTruth)
        self.ui.saveRegionsButton.connect("clicked(bool)", self.onSave)
        fillCombo(self.ui.figureComboBox, bars.figuresOf(), bars.SHARE)
        self.ui.figureComboBox.connect("currentIndexChanged(int)", self.onFigure)
        self.ui.barsButton.connect("clicked(bool)", self.onBars)

    def cleanup(self):
        letGo(self._timer, self._step)
        self._job = None
        super().cleanup()

    def setParameterNode(self, node):
        if node is None:
            self._timer.stop()
            self._job = None
        super().setParameterNode(node)

    def onCollapsed(self, collapsed):
        """A section that opens shows all that is in it, also what was hidden while it was closed."""
        if not collapsed:
            self._text = self._offersTruth = None
            self.ui.regionsMessageLabel.visible = bool(self.ui.regionsMessageLabel.text)
            self.refresh()

    @property
    def segmentation(self):
        return self.node.segmentation if self.node is not None else None

    def maps(self):
        """The results that are checked in Compare; where none is, the one that is shown."""
        chosen = self.desk.compare.chosen()
        shown = self.node.mapVolume if self.node is not None else None
        return chosen or ([shown] if record.isMap(shown) else [])

    def refresh(self):
        maps = self.maps()
        self.widget.visible = bool(record.maps())
        segments = regions.segmentsOf(self.segmentation)
        self.ui.regionsHintLabel.text = hint(maps, segments)
        if segments != self._segments:
            self._segments = segments
            ids = [segmentID for segmentID, _name in segments]
            self._segmentID = self._segmentID if self._segmentID in ids else (ids[0] if ids else "")
            fillCombo(self.ui.segmentComboBox, [(name, segmentID) for segmentID, name in segments], self._segmentID)
        selectData(self.ui.segmentComboBox, self._segmentID)
        self.ui.segmentComboBox.enabled = bool(segments)
        offersTruth = self.case() is not None and (
            self.segmentation is None or (regions.isTruthOf(self.segmentation, None)
                                          and not regions.isTruthOf(self.segmentation, self.desk.compare.volume())))
        if offersTruth != self._offersTruth:
            self._offersTruth = self.ui.truthButton.visible = offersTruth
        ready = bool(maps and segments) and len(maps) <= MOST and not self._asking and self._job is None
        self.ui.statisticsButton.enabled = self.ui.metricsButton.enabled = ready
        self._showTable()

    def case(self):
        """The bundled case that the results are of, if its truth is known."""
        volumeNode = self.desk.compare.volume()
        name = volumeNode.GetAttribute("XAIExplain.Case") if volumeNode is not None else None
        case = self.desk.catalog.cases.get(name) if name else None
        return case if regions.truthPath(case) else None

    def onTruth(self, checked=False):
        try:
            volumeNode = self.desk.compare.volume()
            self.node.segmentation = regions.truthOf(volumeNode) or regions.loadTruth(self.case(), volumeNode)
            regions.showTruthOf(volumeNode)
        except XAIError as error:
            self.sayError(error)
        self.desk.refresh()

    def onSegment(self, index):
        data = comboData(self.ui.segmentComboBox)
        if data:
            self._segmentID = data

    def say(self, message, isError=False):
        self.ui.regionsMessageLabel.text = "<b>{}</b>".format(message) if isError and message else message
        self.ui.regionsMessageLabel.visible = bool(message)

    def sayError(self, error):
        self.desk.log("{} {}".format(error.message, error.hint))
        self.say("{} {}".format(error.message, error.hint).strip(), isError=True)

    # By segment

    def onStatistics(self, checked=False):
        self._job = self.desk.logic.regions.steps(self.maps(), self.segmentation)
        self.say(_("Counting..."))
        self._timer.start()
        self.desk.refresh()

    def _step(self):
        """A segment, or a part of a map, between two looks at the window."""
        if self._job is None:
            self._timer.stop()
            return
        try:
            share = next(self._job)
            self.say(_("Counting... {percent:.0f} %").format(percent=100 * share))
            return
        except StopIteration as end:
            node = end.value
            self._shown = (regions.KIND, node.GetName())
            self.say(_("A voxel belongs to a segment if its center lies in it."))
        except XAIError as error:
            self.sayError(error)
        self._timer.stop()
        self._job = None
        self.desk.refresh()

    # Against a segment

    def onMetrics(self, checked=False):
        maps, segmentationNode, segmentID = self.maps(), self.segmentation, self._segmentID
        ids = [mapNode.GetID() for mapNode in maps]
        path = None
        try:
            path = self.desk.logic.regions.maskFile(segmentationNode, segmentID, maps[0])
            name = dict(regions.segmentsOf(segmentationNode)).get(segmentID, "")
            self._asking = True
            self.say(_("Measuring..."))
            self.desk.logic.agreement.measure(
                maps, path, lambda answer: self._onMetrics(ids, name, path, answer),
                lambda error: self._onFailed(error, path))
        except XAIError as error:
            self._onFailed(error, path)
        self.desk.refresh()

    def _onMetrics(self, ids, segment, path, answer):
        self._end(path)
        maps = [slicer.mrmlScene.GetNodeByID(nodeID) for nodeID in ids]
        if any(mapNode is None for mapNode in maps):
            self.say(_("A result was deleted while it was being measured."), isError=True)
            return
        keys = ("relevance_mass", "pointing_game", "average_precision", "dice")
        names = comparison.labels(maps, 200)
        rows = [[names[index], *[found[key] for key in keys]] for index, found in enumerate(answer["localisation"])]
        chance = answer["localisation"][0]["chance"]
        rows.append([_("(chance)"), chance, chance, chance, 2 * chance / (1 + chance)])
        name = _("{volume} results against {segment}").format(
            volume=maps[0].GetAttribute("XAIExplain.Volume") or "", segment=segment).strip()
        tables.tableNode(regions.METRICS, name, maps, [
            _("Result"), _("Mass inside"), _("Peak inside"), _("AUPRC"), _("Best Dice")], rows)
        self._shown = (regions.METRICS, name)
        self.say(_("How the positive relevance lies on {segment}: 1 is the best. A map that knows nothing reaches the "
                   "last row.").format(segment=segment))
        self.desk.refresh()

    def _onFailed(self, error, path=None):
        self._end(path)
        if isinstance(error, CancelledError):
            self.say(_("Cancelled."))
        else:
            self.sayError(error)
        self.desk.refresh()

    def _end(self, path):
        self._asking = False
        if path:
            with contextlib.suppress(OSError):
                os.remove(path)

    # The table

    def table(self):
        """The table that is shown: the one that was made last, or the first that the scene has."""
        node = tables.find(*self._shown)
        if node is not None:
            return node
        mine = [node for node in tables.tables() if node.GetAttribute(tables.KIND) in (regions.KIND, regions.METRICS)]
        return mine[0] if mine else None

    def _showTable(self):
        node = self.table()
        text = ""
        if node is not None and node.GetAttribute(tables.KIND) == regions.KIND:
            text = statisticsText(node)
        elif node is not None:
            text = "<p style='margin-bottom:2px'><b>{}</b></p>".format(escape(node.GetName())) + tableText(
                *tables.rowsOf(node), decimals=2)
        if text != self._text:
            self._text = self.ui.regionsTableLabel.text = text
            self.ui.regionsTableLabel.visible = self.ui.saveRegionsButton.visible = bool(text)
            isBySegment = bool(text) and node.GetAttribute(tables.KIND) == regions.KIND
            self.ui.figureComboBox.visible = self.ui.barsButton.visible = isBySegment
        if self.node is not None:
            selectData(self.ui.figureComboBox, self.node.plottedFigure)
        self.ui.barsButton.text = _("Hide plot") if self._barsShown() else _("Plot")

    def onSave(self, checked=False):
        saveTable(self, self.table())

    # Bars

    def _barsShown(self):
        charts = self.desk.logic.plotViews.charts() if plotsShown() else []
        return any(chart.GetAttribute(plots.KIND) == bars.KIND + " bars" for chart in charts)

    def onFigure(self, index):
        data = comboData(self.ui.figureComboBox)
        if self.node is None or data is None:
            return
        self.node.plottedFigure = data
        if self._barsShown():
            self._plot()

    def onBars(self, checked=False):
        if self._barsShown():
            self.desk.logic.plotViews.hide(self.node)
        else:
            self._plot()
        self.desk.refresh()

    def _plot(self):
        try:
            chart = bars.barChart(self.table(), self.node.plottedFigure)
            self.desk.logic.plotViews.show([chart], self.node)
        except XAIError as error:
            self.sayError(error)


def hint(maps, segments):
    """Which results the figures are of, or what is missing."""
    if not maps:
        return _("Check results in Compare.")
    if len(maps) > MOST:
        return _("More than {most} results are checked: take some out in Compare.").format(most=MOST)
    if not segments:
        return _("Choose a segmentation of the volume, such as an atlas or a tumor that you have drawn.")
    return _("Figures of: {names}. Check others in Compare.").format(names="; ".join(comparison.labels(maps)))


def statisticsText(node):
    """The bars of the table by segment, and the table, result after result."""
    _titles, rows = tables.rowsOf(node)
    maps = tables.mapsOf(node)
    names = comparison.labels(maps)
    short = {mapNode.GetName(): names[index] for index, mapNode in enumerate(maps)}
    results = list(dict.fromkeys(row[0] for row in rows))
    segments = list(dict.fromkeys(row[1] for row in rows))
    groups = []
    for segment in segments:
        bars = [(short.get(row[0], row[0]) if len(results) > 1 else segment, row[3]) for row in rows
                if row[1] == segment]
        groups.append((segment if len(results) > 1 else "", bars))
    text = barsText(_("Share of the relevance"), groups)
    for result in results:
        text += "<p style='margin-top:6px; margin-bottom:2px'><b>{}</b></p>".format(escape(short.get(result, result)))
        text += tableText(*regions.readable([row for row in rows if row[0] == result]))
    return text

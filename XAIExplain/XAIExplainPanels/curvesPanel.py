"""Insertion and deletion within Compare: one button, its progress, the areas, and the plots below the slices."""

from slicer.i18n import tr as _

from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainPanels import curves, plots, tables
from XAIExplainPanels.compareLayouts import MOST
from XAIExplainPanels.figures import duration
from XAIExplainPanels.figuresTable import tableText
from XAIExplainPanels.panel import Panel, comboData, fillCombo, selectData
from XAIExplainPanels.plotLayouts import plotsShown
from XAIExplainPanels.tableSaving import saveTable


class CurvesPanel(Panel):
    """Part of the section Compare, whose checked results it takes."""

    uiFile = "curvesPanel.ui"

    def __init__(self, desk, compare):
        super().__init__(desk)
        self._compare = compare
        self._text = None
        self._cancelling = False
        fillCombo(self.ui.baselineComboBox, [
            (_("blurred"), "blur"), (_("its mean"), "mean"), (_("black (0)"), "0")], "blur")
        fillCombo(self.ui.quantityComboBox, [(_("Probability"), curves.PROBABILITY), (_("Score"), curves.SCORE)],
                  curves.PROBABILITY)
        self.ui.curvesProgressBar.visible = False
        self.say("")
        self.ui.curvesButton.connect("clicked(bool)", self.onCurves)
        self.ui.plotsButton.connect("clicked(bool)", self.onPlots)
        self.ui.saveAreasButton.connect("clicked(bool)", self.onSave)
        self.ui.baselineComboBox.connect("currentIndexChanged(int)", self.onBaseline)
        self.ui.quantityComboBox.connect("currentIndexChanged(int)", self.onQuantity)

    @property
    def work(self):
        return self.desk.logic.curves

    def charts(self):
        """The charts of the listed volume's curves."""
        volumeNode = self._compare.volume()
        if volumeNode is None:
            return []
        wanted = [plots.find("curves " + kind, title.format(name=volumeNode.GetName())) for kind, title in (
            ("deletion", _("{name} deletion")), ("insertion", _("{name} insertion")))]
        return [chart for chart in wanted if chart is not None]

    def table(self):
        volumeNode = self._compare.volume()
        return tables.find(curves.AREAS, curves.areasName(volumeNode)) if volumeNode is not None else None

    def reason(self):
        """Why there can be no curves, as a sentence; empty if there can."""
        if self.desk.logic.busy:
            return _("An explanation is running.")
        try:
            curves.checked(self._compare.chosen())
        except XAIError as error:
            return "{} {}".format(error.message, error.hint)
        return ""

    def refresh(self):
        busy, charts = self.work.busy, self.charts()
        reason = "" if busy else self.reason()
        button = self.ui.curvesButton
        button.text = _("Cancel") if busy else _("Insertion and deletion")
        button.enabled = not self._cancelling if busy else not reason
        button.toolTip = _("Stop computing the curves.") if busy else reason or _(
            "Take away from the image what each checked result calls important, and give it back, and see how soon the "
            "network's answer follows. Up to {most} results of one answer.").format(most=MOST)
        self.ui.curvesProgressBar.visible = busy
        shown = plotsShown() > 0
        self.ui.plotsButton.text = _("Hide plots") if shown else _("Show plots")
        self.ui.plotsButton.enabled = shown or bool(charts)
        for combo in (self.ui.baselineComboBox, self.ui.quantityComboBox):
            combo.enabled = not busy
        if self.node is not None:
            selectData(self.ui.baselineComboBox, self.node.curvesBaseline)
            selectData(self.ui.quantityComboBox, self.node.curvesQuantity)
        if shown:
            self.desk.logic.plotViews.dress()
        node = self.table()
        text = tableText(*tables.rowsOf(node), decimals=3) if node is not None else ""
        if text != self._text:
            self._text = self.ui.areasLabel.text = text
            self.ui.areasLabel.visible = self.ui.saveAreasButton.visible = bool(text)

    def opened(self):
        """The section was opened: what was hidden while it was closed is shown."""
        self._text = None
        self.ui.curvesMessageLabel.visible = bool(self.ui.curvesMessageLabel.text)

    def say(self, message, isError=False):
        self.ui.curvesMessageLabel.text = "<b>{}</b>".format(message) if isError and message else message
        self.ui.curvesMessageLabel.visible = bool(message)

    def sayError(self, error):
        self.desk.log("{} {}".format(error.message, error.hint))
        self.say("{} {}".format(error.message, error.hint).strip(), isError=True)

    def onCurves(self, checked=False):
        if self.work.busy:
            self._cancelling = True
            self.say(_("Stopping..."))
            self.work.cancel()
            self.desk.refresh()
            return
        node, model = self.node, self.desk.model
        maps = self._compare.chosen()
        self._cancelling = False
        self.ui.curvesProgressBar.setRange(0, 0)
        self.say(_("Starting..."))
        try:
            consent = model.consent if maps and maps[0].GetAttribute("XAIExplain.Model") == model.name else False
            self.work.measure(
                maps, baseline=node.curvesBaseline, quantity=node.curvesQuantity, consent=consent,
                memory=node.memoryLimit, seed=node.randomSeed, onFinished=self._onFinished, onFailed=self._onFailed,
                onProgress=self._onProgress)
        except XAIError as error:
            self._onFailed(error)
        self.desk.refresh()

    def _onProgress(self, event):
        if self._cancelling:
            return
        fraction = float(event.get("fraction") or 0)
        if fraction > 0:
            self.ui.curvesProgressBar.setRange(0, 1000)
            self.ui.curvesProgressBar.setValue(int(1000 * fraction))
        words = [_("Asking the network on the way"),
                 _("{time} so far").format(time=duration(event.get("elapsed") or 0))]
        if event.get("remaining") is not None:
            words.append(_("about {time} left").format(time=duration(event["remaining"])))
        self.say(", ".join(words))

    def _onFinished(self, charts):
        self._cancelling = False
        self.say(_("Deletion: small areas are good. Insertion: large ones are. A result within the gray band is no "
                   "better than chance."))
        if self.node is not None:
            self.desk.logic.plotViews.show(charts, self.node)
        self.desk.refresh()

    def _onFailed(self, error):
        self._cancelling = False
        if isinstance(error, CancelledError):
            self.say(_("Cancelled; nothing was changed."))
        else:
            self.sayError(error)
        self.desk.refresh()

    def onPlots(self, checked=False):
        views = self.desk.logic.plotViews
        if plotsShown():
            views.hide(self.node)
        else:
            views.show(self.charts(), self.node)
        self.desk.refresh()

    def onBaseline(self, index):
        data = comboData(self.ui.baselineComboBox)
        if self.node is not None and data:
            self.node.curvesBaseline = data

    def onQuantity(self, index):
        data = comboData(self.ui.quantityComboBox)
        if self.node is not None and data:
            self.node.curvesQuantity = data

    def onSave(self, checked=False):
        saveTable(self, self.table())

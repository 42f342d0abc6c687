"""What is kept of the work: a report to read and print, and the scene."""

import os
from html import escape

import qt
import slicer
from slicer.i18n import tr as _

from XAIExplainLib.errors import XAIError
from XAIExplainPanels import record
from XAIExplainPanels.panel import Panel
from XAIExplainPanels.strength import stateOf

FOLDER_SETTING = "XAIExplain/ReportFolder"
IN_REPORT = "XAIExplain.InReport"


class ReportPanel(Panel):
    """Tick maps, and save what they say."""

    uiFile = "reportPanel.ui"

    def __init__(self, desk):
        super().__init__(desk)
        self._listed = None
        self._filling = False
        self.ui.reportSection.collapsed = True
        self.ui.writtenLabel.visible = False
        self.ui.notesEdit.setFixedHeight(4 * self.ui.notesEdit.fontMetrics().height())
        self.ui.reportList.connect("itemChanged(QListWidgetItem*)", self.onTicked)
        self.ui.htmlButton.connect("clicked(bool)", self.onSavePage)
        self.ui.pdfButton.connect("clicked(bool)", self.onSavePdf)
        self.ui.sceneButton.connect("clicked(bool)", self.onSaveScene)

    def refresh(self):
        mapNodes = [node for node in record.maps() if stateOf(node) is not None]
        self.widget.visible = bool(mapNodes)
        if not mapNodes:
            self.ui.writtenLabel.visible = False  # what was written was of another scene
        rows = [(node.GetID(), node.GetName(), self._isTicked(node)) for node in mapNodes]
        if rows != self._listed:
            self._listed = rows
            self._fill(rows)
        reason = self._reasonNotToWrite(rows)
        tips = {
            self.ui.htmlButton: _("Write a page that any browser opens and prints, with all pictures inside."),
            self.ui.pdfButton: _("Write the same as a PDF of A4 sheets, one for each map."),
        }
        for button, tip in tips.items():
            button.enabled = not reason
            button.toolTip = reason or tip
        self.ui.sceneButton.enabled = not self.desk.logic.busy

    def _reasonNotToWrite(self, rows):
        if self.desk.logic.busy:
            return _("Wait until the explanation is done, or cancel it.")
        return "" if any(ticked for *_row, ticked in rows) else _("Tick at least one map.")

    def _fill(self, rows):
        self._filling = True
        try:
            self.ui.reportList.clear()
            for nodeID, name, ticked in rows:
                item = qt.QListWidgetItem(name)
                item.setData(qt.Qt.UserRole, nodeID)
                item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable | qt.Qt.ItemIsUserCheckable)
                item.setCheckState(qt.Qt.Checked if ticked else qt.Qt.Unchecked)
                self.ui.reportList.addItem(item)
            height = self.ui.reportList.fontMetrics().height() + 6
            self.ui.reportList.setFixedHeight(height * min(max(len(rows), 1), 6) + 8)
        finally:
            self._filling = False

    def _isTicked(self, mapNode):
        """The user's choice; without one, the map that is shown."""
        chosen = mapNode.GetAttribute(IN_REPORT)
        if chosen:
            return chosen == "true"
        shown = self.node.mapVolume if self.node is not None else None
        return shown is not None and shown.GetID() == mapNode.GetID()

    def onTicked(self, item):
        if self._filling:
            return
        mapNode = slicer.mrmlScene.GetNodeByID(item.data(qt.Qt.UserRole))
        if mapNode is not None:
            mapNode.SetAttribute(IN_REPORT, "true" if item.checkState() == qt.Qt.Checked else "false")
        self.desk.refresh()

    def chosen(self):
        """The maps that are ticked."""
        return [slicer.mrmlScene.GetNodeByID(nodeID) for nodeID, _name, ticked in self._listed or [] if ticked]

    def onSavePage(self, checked=False):
        self._save(_("Save report"), _("Web page") + " (*.html)", ".html", self._writeReport)

    def onSavePdf(self, checked=False):
        self._save(_("Save report"), "PDF (*.pdf)", ".pdf", self._writeReport)

    def onSaveScene(self, checked=False):
        filters = _("Scene with all its data") + " (*.mrb)"
        self._save(_("Save scene"), filters, ".mrb", self.desk.logic.reporter.saveScene)

    def _writeReport(self, path):
        node = self.node
        self.desk.logic.reporter.write(
            path, self.chosen(), title=node.reportTitle.strip(), notes=node.reportNotes, in3D=node.reportIn3D)

    def _save(self, caption, filters, ending, write):
        """Ask where, write, and say so with a link to the file."""
        folder = str(slicer.app.settings().value(FOLDER_SETTING) or "") or os.path.expanduser("~")
        path = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), caption, os.path.join(folder, "xai-report" + ending), filters)
        if not path:
            return
        if not path.lower().endswith(ending):
            path += ending
        slicer.app.settings().setValue(FOLDER_SETTING, os.path.dirname(path))
        self.ui.writtenLabel.visible = False
        slicer.app.setOverrideCursor(qt.QCursor(qt.Qt.WaitCursor))
        try:
            write(path)
        except XAIError as error:
            self.desk.sayError(error.message, error.hint)
            return
        finally:
            slicer.app.restoreOverrideCursor()
        self.desk.log(_("Written: {path}").format(path=path))
        self.ui.writtenLabel.text = _("Written: {link}").format(link='<a href="{}">{}</a>'.format(
            escape(qt.QUrl.fromLocalFile(path).toString(), quote=True), escape(os.path.basename(path))))
        self.ui.writtenLabel.visible = True
        self.desk.refresh()

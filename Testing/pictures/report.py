"""Pictures for the part on reports and setting up: the panel, a page, and the set-up's rows after a self-test."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from Testing.demo.panel import explain_in
from Testing.pictures.studio import FOLDER, studio

CASE = "enhancing-ring"


def main(folder: Path = FOLDER) -> None:
    """Make all three.

    Parameters
    ----------
    folder : Path
        Where they go.
    """
    home = Path(tempfile.mkdtemp(prefix="xaiexplain-pictures-"))
    with studio(home) as (host, widget):
        import qt

        explain_in(host, widget, CASE, "LRP (relevance)", "lesion (together)")
        desk = widget.desk
        host.clickRow(desk.method.ui.methodTree, "Grad-CAM")
        host.click(desk.run.ui.applyButton)
        host.wait(lambda: not widget.logic.busy, 120, "the run does not end")
        regions = desk.regions.ui
        host.click(regions.regionsSection)
        host.click(regions.truthButton)
        host.click(regions.statisticsButton)
        host.wait(lambda: regions.barsButton.visible, 60, "there are no figures")
        host.click(regions.metricsButton)
        host.wait(lambda: not regions.barsButton.visible, 60, "there are no measures")
        ui = desk.report.ui
        for panel in desk.panels:
            sections = [one for name, one in vars(panel.ui).items() if name.endswith("Section")]
            for section in sections:
                section.collapsed = panel is not desk.report
        ui.notesEdit.setPlainText("The network looks at the rim of the lesion.")
        for row in range(ui.reportList.count):
            ui.reportList.item(row).setCheckState(qt.Qt.Checked)
        host.answers.saveFile = str(home / "report.html")
        host.click(ui.htmlButton)
        host.window.modulePanel().scrollArea().ensureWidgetVisible(ui.writtenLabel)
        save(host.screenshot(), folder / "tutorial-report-1.png")
        save(sheet(desk.logic, desk.report.chosen()[0]), folder / "tutorial-report-2.png")
        desk.report.ui.reportSection.collapsed = True
        desk.setup.ui.setupSection.collapsed = False
        host.click(desk.setup.ui.selfTestButton)
        host.wait(lambda: desk.setup.ui.selfTestButton.enabled, 120, "the self-test does not end")
        host.window.modulePanel().scrollArea().ensureWidgetVisible(desk.setup.ui.selfTestLabel)
        save(host.screenshot()[:, :490], folder / "tutorial-report-3.png")


def sheet(logic: Any, mapNode: Any, scale: float = 1.3) -> Any:
    """A page as the PDF has it, as pixels."""
    import numpy as np
    from PySide6 import QtGui
    from XAIExplainPanels import capture, printing, reportPage
    from XAIExplainPanels.usersViews import UsersViews

    with UsersViews(logic) as views:
        pictures = capture.photograph(views, logic.display, mapNode, logic.getParameterNode())
        page = logic.reporter.describe(mapNode, pictures, notes="The network looks at the rim of the lesion.")
    document = printing.layOut(reportPage.document([reportPage.page(page)], "", forPrinter=True))
    margin = 24
    image = QtGui.QImage(int(scale * (reportPage.WIDTH + 2 * margin)),
                         int(scale * (document.size.height() + 2 * margin)), QtGui.QImage.Format_RGB888)
    image.fill(QtGui.QColor("white"))
    painter = QtGui.QPainter(image)
    painter.scale(scale, scale)
    painter.translate(margin, margin)
    document.drawContents(painter)
    painter.end()
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()


def save(array: Any, path: Path) -> None:
    """Write a PNG of few colors, which is a third of the size."""
    from Testing.pictures.compare import few_colors

    path.parent.mkdir(parents=True, exist_ok=True)
    few_colors(array).save(path, optimize=True)
    print(path, path.stat().st_size)


if __name__ == "__main__":
    main()

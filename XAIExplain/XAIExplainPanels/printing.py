"""Pages of HTML as a PDF, by Qt's own text engine: no browser and no printer is needed."""

import qt

from XAIExplainPanels.reportPage import WIDTH

PAPER = (210.0, 297.0)
MARGIN = 12.0
DOTS = 300


def writePdf(pages, path, title):
    """
    Write each page of HTML on a sheet of A4. A page that is too long is made smaller, so that it stays one sheet.

    :raises OSError: if the file cannot be written.
    """
    writer = qt.QPdfWriter(path)
    writer.setTitle(title)
    writer.setCreator("XAIExplain")
    writer.setResolution(DOTS)
    writer.setPageSize(qt.QPageSize(qt.QPageSize.A4))
    writer.setPageMargins(qt.QMarginsF(MARGIN, MARGIN, MARGIN, MARGIN), qt.QPageLayout.Millimeter)
    width, height = [(side - 2 * MARGIN) / 25.4 * DOTS for side in PAPER]
    painter = qt.QPainter()
    if not painter.begin(writer):
        raise OSError("Qt cannot write there")
    try:
        for index, html in enumerate(pages):
            if index:
                writer.newPage()
            document = layOut(html)
            # Lengths are pixels of a page that is WIDTH wide, whatever the screen's resolution is.
            factor = min(width / WIDTH, height / document.size.height())
            painter.save()
            painter.translate((width - factor * WIDTH) / 2, 0)
            painter.scale(factor, factor)
            document.drawContents(painter)
            painter.restore()
    finally:
        painter.end()


def layOut(html):
    document = qt.QTextDocument()
    document.setDocumentMargin(0)
    document.setUseDesignMetrics(True)
    document.setHtml(html)
    document.setTextWidth(WIDTH)
    return document

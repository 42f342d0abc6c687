"""A report as a page: HTML that stands alone, and the same for a printer, which knows few of HTML's words."""

import base64
from html import escape

from slicer.i18n import tr as _

from XAIExplainPanels.figuresTable import tableText

# Widths are in pixels of a page that is so many wide; a browser makes them parts of its own.
WIDTH = 700
SLICE_WIDTH = 228
BAR_WIDTH = 120
# Pictures of one point, for bars: dark blue and light gray.
DARK = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNQC+kBAAGqAQcYV7uVAAAAAElFTkSuQmCC")
LIGHT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGN49OwVAAVgArM5MVJ1AAAAAElFTkSuQmCC")

SCREEN_STYLE = """
@page { size: A4; margin: 12mm; }
body { margin: 0 auto; padding: 16px; max-width: 740px; background: #fff; }
.page { padding-bottom: 24px; border-bottom: 1px solid #c8ccd0; margin-bottom: 28px; }
.page:last-child { border-bottom: none; }
img.view { width: 100%; height: auto; }
@media print { body { padding: 0; max-width: none; } .page { break-after: page; border: none; margin: 0; padding: 0; }
  .page:last-child { break-after: auto; } * { -webkit-print-color-adjust: exact; print-color-adjust: exact; } }
"""
STYLE = """
body, p, td, h1, h2, li { font-family: Helvetica, Arial, sans-serif; color: #16191c; font-size: 12px; }
h1 { font-size: 20px; margin-top: 0px; margin-bottom: 2px; }
h2 { font-size: 13px; margin-top: 12px; margin-bottom: 3px; }
p { margin-top: 2px; margin-bottom: 3px; }
td { vertical-align: top; padding: 1px; }
.dim { color: #5b646d; font-size: 11px; }
.head { font-size: 13px; margin-bottom: 8px; }
.foot { color: #5b646d; font-size: 10px; }
.beware { color: #8a4b00; }
"""
# Qt makes headings larger than they are told.
PRINTER_STYLE = """
h1 { font-size: 16px; }
h2 { font-size: 10px; }
"""


def document(pages, title, forPrinter=False):
    """
    The pages as one HTML document.

    :param pages: what `page` gave for each result.
    :param forPrinter: leave out what Qt's own text engine does not know.
    """
    style = STYLE + (PRINTER_STYLE if forPrinter else SCREEN_STYLE)
    sections = "".join('<div class="page">{}</div>'.format(page) for page in pages)
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width"><title>{}</title>'
            "<style>{}</style></head><body>{}</body></html>\n").format(escape(title), style, sections)


def page(result):
    """One result as the inside of a page; `result` is what `report.describe` gives."""
    parts = [
        "<h1>{}</h1>".format(escape(result["heading"])),
        '<p class="head">{}</p>'.format(escape(result["case"])),
        views(result["pictures"][:3]),
        beside(
            result["pictures"][3:],
            section(_("What the network answers"), bars(result["answer"]) + paragraphs(result["asked"]))
            + section(_("What the map shows"), scale(result["scale"]) + paragraphs(result["words"]))),
    ]
    for title, titles, rows, decimals in result["figures"]:
        parts.append(section(title, tableText(titles, rows, decimals)))
    if result["warnings"]:
        parts.append(section(_("Beware"), paragraphs(result["warnings"], "beware")))
    parts.append(columns(
        section(_("The method: {title}").format(title=result["title"]), paragraphs(result["card"])),
        section(_("How it was made"), table(result["made"]))))
    if result["notes"]:
        parts.append(section(_("Notes"), paragraphs(result["notes"].splitlines())))
    parts.append("<hr>" + paragraphs(result["foot"], "foot"))
    return "".join(parts)


def section(title, inside):
    return "<h2>{}</h2>{}".format(escape(title), inside) if inside else ""


def paragraphs(texts, style=""):
    start = '<p class="{}">'.format(style) if style else "<p>"
    return "".join(start + escape(text) + "</p>" for text in texts if text)


def columns(left, right):
    """Two columns; a printer takes a table, and so does a browser."""
    return ('<table style="margin-top: 10px" width="100%" cellspacing="0" cellpadding="0"><tr><td width="48%">{}</td>'
            '<td width="4%"></td><td width="48%">{}</td></tr></table>').format(left, right)


def views(pictures):
    """The slices in a row."""
    cells = "".join('<td width="33%">{}</td>'.format(figure(picture)) for picture in pictures)
    return '<table class="views" width="100%" cellspacing="2" cellpadding="0"><tr>{}</tr></table>'.format(cells)


def beside(pictures, html):
    """What is said, with the picture of the 3D view on its left, if there is one."""
    if not pictures:
        return html
    return ('<table class="views" width="100%" cellspacing="2" cellpadding="0"><tr><td width="33%">{}</td>'
            '<td width="2%"></td><td width="65%" class="words">{}</td></tr></table>').format(figure(pictures[0]), html)


def figure(picture):
    return '<img class="view" src="{}" width="{}" alt="{}"><p class="dim">{}</p>'.format(
        source(picture.png), SLICE_WIDTH, escape(picture.caption, quote=True), escape(picture.caption))


def bars(rows):
    """The answer as bars: rows (name, share or None, text, whether it is the answer)."""
    html = ""
    for name, share, text, predicted in rows:
        strong, end = ("<b>", "</b>") if predicted else ("", "")
        bar = ""
        if share is not None:
            done = max(1, int(round(BAR_WIDTH * share)))
            bar = '<img src="{}" width="{}" height="9" alt=""><img src="{}" width="{}" height="9" alt="">'.format(
                source(DARK), done, source(LIGHT), max(1, BAR_WIDTH - done))
        html += "<tr><td>{0}{2}{1}</td><td>{3}</td><td align=\"right\">{0}{4}{1}</td></tr>".format(
            strong, end, escape(name), bar, escape(text))
    return '<table cellspacing="2" cellpadding="1">{}</table>'.format(html) if html else ""


def scale(legend):
    """The color scale with its numbers, or nothing."""
    if not legend:
        return ""
    return ('<img src="{}" width="{}" height="12" alt="{}"><table width="{}" cellspacing="0" cellpadding="0"><tr>'
            '<td class="dim" width="60">{}</td><td class="dim" width="180" align="center">{}</td>'
            '<td class="dim" width="60" align="right">{}</td></tr></table>').format(
        source(legend["png"]), 300, escape(legend["units"], quote=True), 300, escape(legend["low"]),
        escape(legend["units"]), escape(legend["high"]))


def table(rows):
    """Rows (name, value)."""
    html = "".join('<tr><td class="dim">{}&nbsp;&nbsp;</td><td>{}</td></tr>'.format(escape(name), escape(value))
                   for name, value in rows if value)
    return '<table cellspacing="0" cellpadding="1">{}</table>'.format(html) if html else ""


def source(png):
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")

"""Figures as text for a label: a table, and bars."""

from html import escape

from XAIExplainPanels.figures import figure

BAR = "#2f6fb0"
CELL = "<td{}>{}&nbsp;&nbsp;</td>"


def cell(value, decimals=None):
    """A number as a reader wants it, or with so many decimals; a dash where there is none."""
    if value is None or value != value:
        return "\u2013"
    if decimals is not None and isinstance(value, (int, float)):
        return "{:.{}f}".format(round(value, decimals) + 0.0, decimals)  # no minus before a zero
    return figure(value) if isinstance(value, (int, float)) else str(value)


def tableText(titles, rows, decimals=None):
    """Rich text of a table; numbers stand to the right."""
    lines = ["<tr>{}</tr>".format("".join(
        CELL.format(" align='right'" if place else "", "<b>{}</b>".format(escape(title).replace(" ", "&nbsp;")))
        for place, title in enumerate(titles)))]
    for row in rows:
        cells = [CELL.format("" if isinstance(value, str) else " align='right'", escape(cell(value, decimals)))
                 for value in row]
        lines.append("<tr>{}</tr>".format("".join(cells)))
    return "<table cellspacing='0' cellpadding='1'>{}</table>".format("".join(lines))


def barsText(title, groups):
    """
    Rich text of bars.

    :param groups: (heading, bars) with bars of (name, percent); a heading is left out where it is empty.
    """
    lines = ["<p style='margin-top:6px; margin-bottom:2px'><b>{}</b></p>".format(escape(title)),
             "<table width='100%' cellspacing='0' cellpadding='1'>"]
    for heading, bars in groups:
        if heading:
            lines.append("<tr><td colspan='3'>{}</td></tr>".format(escape(heading)))
        for name, percent in bars:
            share = percent if isinstance(percent, (int, float)) and percent == percent else 0
            width = max(0, min(100, int(round(share))))
            # A cell of no width would still be drawn, and one of 100 percent leaves no room for the other.
            full = "<td width='{}%' bgcolor='{}'>&nbsp;</td>".format(width, BAR) if width else ""
            rest = "<td width='{}%'>&nbsp;</td>".format(100 - width) if width < 100 else ""
            lines.append(
                "<tr><td width='30%'>{name}&nbsp;</td><td width='55%'><table width='100%' cellspacing='0' "
                "cellpadding='0'><tr>{full}{rest}</tr></table></td><td width='15%' align='right'>&nbsp;{percent}"
                "</td></tr>".format(name=escape(name), full=full, rest=rest,
                                    percent=cell(percent) + (" %" if percent is not None else "")))
    return "".join([*lines, "</table>"])

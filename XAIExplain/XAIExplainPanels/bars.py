"""Figures by segment as bars: a chart of the table that Segments has made."""

from slicer.i18n import tr as _

from XAIExplainLib.errors import XAIError
from XAIExplainPanels import plots, tables
from XAIExplainPanels.comparison import labels

KIND = "segments"
MOST_SEGMENTS = 12
SHARE, SHARE_FOR, MEAN, PEAK, DENSITY = 3, 4, 5, 6, 7


def figuresOf():
    """What can be plotted: title and place of the column."""
    return [(_("Share of the relevance, %"), SHARE), (_("Share of what speaks for it, %"), SHARE_FOR),
            (_("Mean"), MEAN), (_("Peak"), PEAK), (_("Relevance per mm\u00b3"), DENSITY)]


def barChart(table, column=SHARE):
    """
    Bars of a table by segment: one group a segment, one bar a result.

    :param table: what `logic.regions.statistics` gives.
    :param column: which figure; see `figuresOf`.
    :raises XAIError: if the table or its results are gone.
    """
    maps = tables.mapsOf(table) if table is not None else []
    if not maps:
        raise XAIError(_("There are no figures by segment."), _("Press By segment first."))
    _titles, rows = tables.rowsOf(table)
    names = [mapNode.GetName() for mapNode in maps]
    rows = [row for row in rows if row[0] in names]
    segments = list(dict.fromkeys(row[1] for row in rows))
    found = {(row[0], row[1]): row[column] for row in rows}

    def size(segment):
        values = [abs(found.get((name, segment), 0.0)) for name in names]
        return max(value if value == value else 0.0 for value in values)

    if len(segments) > MOST_SEGMENTS:  # the largest, in the segmentation's own order
        largest = sorted(segments, key=size, reverse=True)[:MOST_SEGMENTS]
        segments = [segment for segment in segments if segment in largest]
    short = labels(maps, plots.NAME_LENGTH)
    name = _("{name} as bars").format(name=table.GetName())
    wide = tables.tableNode(KIND + " bars", name, maps, [_("Segment"), *short], [
        [segment, *(found.get((one, segment)) for one in names)] for segment in segments])
    series = [plots.Series(label, label, color=color, mapNode=mapNode, labels=_("Segment"))
              for mapNode, label, color in zip(maps, short, plots.colorsOf(maps))]
    title = {place: title for title, place in figuresOf()}[column]
    values = [value for value in found.values() if value == value]
    low, high = min([0.0, *values]), max([0.0, *values])
    room = 1.05 + 0.065 * (len(maps) + 1)  # for the legend, above the bars
    # Slicer numbers the groups of bars; their names are put on the axis where the view lets us (see plotLayouts.py).
    keys = ", ".join("{}: {}".format(place, segment) for place, segment in enumerate(segments))
    return plots.chartNode(
        KIND + " bars", name, maps, wide, series, title=title, xTitle=keys, yTitle="",
        xRange=(-0.5, len(segments) - 0.5), yRange=(low * 1.1, high * room if high > 0 else 1.0))

"""What was counted of a map, for its report: its rows of the tables of the section Segments."""

from slicer.i18n import tr as _

from XAIExplainPanels import regions, tables


def figureTables(mapNode):
    """
    Each as (title, titles, rows, decimals). Names of nodes, which may be names of people, are left out; segments keep
    theirs.
    """
    found = []
    for node in tables.tables():
        kind = node.GetAttribute(tables.KIND)
        rows = {regions.KIND: _bySegment, regions.METRICS: _against}.get(kind, _none)(node, mapNode)
        if rows:
            title = _("By segment") if kind == regions.KIND else _("Against a segment (1 is the best)")
            found.append((title, *rows, None if kind == regions.KIND else 3))
    return found


def _none(node, mapNode):
    return None


def _bySegment(node, mapNode):
    _titles, rows = tables.rowsOf(node)
    mine = [row for row in rows if row[0] == mapNode.GetName()]
    return regions.readable(mine) if mine else None


def _against(node, mapNode):
    """The map's row, and that of a map that knows nothing."""
    titles, rows = tables.rowsOf(node)
    count = node.GetNumberOfNodeReferences(tables.MAP_REFERENCE)
    places = [place for place in range(count)
              if node.GetNthNodeReferenceID(tables.MAP_REFERENCE, place) == mapNode.GetID()]
    if not places or count != len(rows) - 1:  # a map of it is gone, so that the rows cannot be told apart
        return None
    return ["", *titles[1:]], [[_("This map"), *rows[places[0]][1:]], [_("Chance"), *rows[-1][1:]]]

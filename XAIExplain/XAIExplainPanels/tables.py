"""Tables of figures: a node in the scene, text for the panel, a file for a spreadsheet."""

import contextlib
import csv
import os
import tempfile

import slicer
import vtk
from slicer.i18n import tr as _

from XAIExplainLib.errors import XAIError
from XAIExplainPanels import record

KIND = "XAIExplain.Table"
MAP_REFERENCE = "XAIExplain.Map"


def tableNode(kind, name, maps, columns, rows):
    """
    Put rows into the scene's table of this kind and name, which is made where there is none.

    :param maps: whose figures these are; the table goes when all of them are gone.
    :param columns: titles of the columns.
    :param rows: text or numbers, None where there is no figure. A column is numbers if all that it has are.
    """
    node = find(kind, name)
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
        node.SetAttribute(KIND, kind)
    wasModifying = node.StartModify()
    fill(node, columns, rows)
    node.RemoveNodeReferenceIDs(MAP_REFERENCE)
    for mapNode in maps:
        node.AddNodeReferenceID(MAP_REFERENCE, mapNode.GetID())
    node.EndModify(wasModifying)
    volumeNode = record.explainedVolume(maps[0])
    if volumeNode is not None:
        record.placeUnder(node, volumeNode)
    return node


def fill(node, columns, rows):
    """Give a table node its columns and rows, as in `tableNode`."""
    wasModifying = node.StartModify()
    node.RemoveAllColumns()
    for place, title in enumerate(columns):
        values = [row[place] for row in rows]
        numbers = all(value is None or isinstance(value, (int, float)) for value in values)
        array = vtk.vtkDoubleArray() if numbers else vtk.vtkStringArray()
        array.SetName(title)
        for value in values:
            array.InsertNextValue((float("nan") if value is None else float(value)) if numbers else str(value))
        node.AddColumn(array)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.EndModify(wasModifying)


def find(kind, name):
    """The scene's table of this kind and name, or None."""
    for node in slicer.util.getNodesByClass("vtkMRMLTableNode"):
        if node.GetAttribute(KIND) == kind and node.GetName() == name:
            return node
    return None


def tables():
    """The tables of this module."""
    return [node for node in slicer.util.getNodesByClass("vtkMRMLTableNode") if node.GetAttribute(KIND)]


def mapsOf(node):
    """The maps that a table is about, as far as they are still in the scene."""
    count = node.GetNumberOfNodeReferences(MAP_REFERENCE)
    found = [node.GetNthNodeReference(MAP_REFERENCE, index) for index in range(count)]
    return [mapNode for mapNode in found if mapNode is not None]


def onMapRemoved():
    """Remove the tables whose maps are all gone."""
    for node in tables():
        if not mapsOf(node):
            slicer.mrmlScene.RemoveNode(node)


def rowsOf(node):
    """Titles and rows of a table node."""
    table = node.GetTable()
    titles = [table.GetColumnName(column) for column in range(table.GetNumberOfColumns())]
    rows = []
    for row in range(table.GetNumberOfRows()):
        cells = []
        for column in range(len(titles)):
            array = table.GetColumn(column)
            cells.append(array.GetValue(row))
        rows.append(cells)
    return titles, rows


def writeCsv(node, path):
    """
    Write a table as comma-separated values; the file is whole or as it was.

    :raises XAIError: if it cannot be written.
    """
    titles, rows = rowsOf(node)
    beside = None
    try:
        handle, beside = tempfile.mkstemp(prefix=".", suffix=".csv", dir=os.path.dirname(os.path.abspath(path)))
        with os.fdopen(handle, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(titles)
            for row in rows:
                writer.writerow(["" if isinstance(cell, float) and cell != cell else cell for cell in row])
        os.replace(beside, path)
    except OSError as error:
        if beside is not None:
            with contextlib.suppress(OSError):
                os.remove(beside)
        raise XAIError(_("The table could not be written to {path}.").format(path=path),
                       _("Choose another folder.")) from error

"""A table of the scene as a file that the user chooses."""

import qt
from slicer.i18n import tr as _

from XAIExplainLib.errors import XAIError
from XAIExplainPanels import tables


def saveTable(panel, node):
    """Ask where, and write the table there."""
    if node is None:
        return
    path = qt.QFileDialog.getSaveFileName(
        None, _("Save table"), node.GetName() + ".csv", _("Comma-separated values (*.csv)"))
    if not path:
        return
    try:
        tables.writeCsv(node, path if path.lower().endswith(".csv") else path + ".csv")
    except XAIError as error:
        panel.sayError(error)
        return
    panel.say(_("Saved as {path}.").format(path=path))

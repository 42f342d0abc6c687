"""Several volumes as the channels of one case: they must lie on one grid."""

from slicer.i18n import tr as _

from XAIExplainLib.errors import XAIError
from XAIExplainPanels.exchange import worldGeometry


def check(volumeNodes):
    """
    Look whether the volumes can be the channels of one case, with the transforms that they are under.

    :raises XAIError: if a volume cannot be explained, or lies on another grid than the first.
    """
    first = worldGeometry(volumeNodes[0])
    for other in volumeNodes[1:]:
        difference = worldGeometry(other).difference(first)
        if difference:
            raise XAIError(
                _("{other} does not lie on the grid of {first}: {difference}.").format(
                    other=other.GetName(), first=volumeNodes[0].GetName(), difference=difference),
                _("Resample it with the module Resample Scalar/Vector/DWI Volume; the reference volume is {first}."
                  ).format(first=volumeNodes[0].GetName()),
            )


def mismatch(volumeNodes):
    """Why the volumes cannot be the channels of one case, as a sentence; empty if they can, or if one is missing."""
    if len(volumeNodes) < 2 or any(node is None for node in volumeNodes):
        return ""
    try:
        check(volumeNodes)
    except XAIError as error:
        return "{} {}".format(error.message, error.hint)
    return ""

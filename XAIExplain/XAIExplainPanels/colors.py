"""The color scales of maps: made here, because a map needs its zero transparent and its sign safe for every eye."""

import numpy as np
import slicer
from slicer.i18n import tr as _

ENTRIES = 256
FAINTEST = 0.2

# Red, green and blue from 0 to 255 at equal steps. The diverging ones are blue-red and purple-green, which the common
# color blindnesses tell apart; the sequential ones grow steadily brighter, so that they survive gray printing.
_SEQUENTIAL = {
    "heat": ((84, 4, 92), (160, 18, 90), (214, 42, 52), (242, 104, 22), (253, 172, 40), (255, 240, 150)),
    "viridis": ((68, 1, 84), (65, 68, 135), (42, 120, 142), (34, 168, 132), (122, 209, 81), (253, 231, 37)),
    "gray": ((30, 30, 30), (75, 75, 75), (120, 120, 120), (165, 165, 165), (210, 210, 210), (255, 255, 255)),
}
_DIVERGING = {
    "blueRed": ((20, 90, 255), (70, 140, 250), (150, 195, 250), (245, 245, 245), (252, 190, 130), (245, 110, 50),
                (225, 25, 25)),
    "purpleGreen": ((150, 60, 200), (175, 110, 215), (210, 175, 230), (245, 245, 245), (175, 225, 170), (95, 190, 105),
                    (20, 150, 60)),
}  # fmt: skip


def colorMapTitles():
    """Name and title of each color scale, for a list."""
    return {
        "automatic": _("Automatic"),
        "heat": _("Heat"),
        "viridis": _("Viridis"),
        "gray": _("Gray"),
        "blueRed": _("Blue to red"),
        "purpleGreen": _("Purple to green"),
    }


def scale(name, signed):
    """256 colors (256, 3) from 0 to 1; the automatic scale is diverging where the map has two signs."""
    if name not in _SEQUENTIAL and name not in _DIVERGING:
        name = "blueRed" if signed else "heat"
    points = np.array(_SEQUENTIAL.get(name) or _DIVERGING[name]) / 255.0
    at = np.linspace(0, 1, ENTRIES)
    return np.stack([np.interp(at, np.linspace(0, 1, len(points)), points[:, c]) for c in range(3)], axis=1)


def values(low, full, signed):
    """The map value at each of the 256 entries."""
    return np.linspace(-full if signed else low, full, ENTRIES)


def entries(name, signed, low, full):
    """
    Value, color and visibility of each entry. The colors are spread over what is drawn: from `low` to `full`, and in a
    signed map over both sides, with nothing between.
    """
    at = values(low, full, signed)
    if not signed:
        return at, scale(name, signed), np.ones(ENTRIES, dtype=bool)
    strength = np.clip((np.abs(at) - low) / (full - low), 0, 1)
    # Even the weakest that is drawn is off the neutral middle, so that its sign can be seen.
    position = 0.5 + 0.5 * np.sign(at) * (FAINTEST + (1 - FAINTEST) * strength)
    at01 = np.linspace(0, 1, ENTRIES)
    colors = np.stack([np.interp(position, at01, channel) for channel in scale(name, signed).T], axis=1)
    return at, colors, np.abs(at) >= max(low, 0.51 * (at[1] - at[0]))  # zero falls on the two in the middle


def updateColorNode(colorNode, name, signed, low, full):
    """Give the node the scale, with nothing where a signed map is weaker than `low`."""
    at, colors, shown = entries(name, signed, low, full)
    with slicer.util.NodeModify(colorNode):
        colorNode.SetTypeToUser()
        colorNode.SetNumberOfColors(ENTRIES)
        for index, (red, green, blue) in enumerate(colors):
            label = "{value:.3g}".format(value=at[index])
            colorNode.SetColor(index, label, red, green, blue, 1.0 if shown[index] else 0.0)

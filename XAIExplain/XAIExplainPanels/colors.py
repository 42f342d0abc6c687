"""The color scales of maps: made here, because a map needs its zero transparent and its sign safe for every eye."""

import functools

import numpy as np
import slicer
from slicer.i18n import tr as _

ENTRIES = 256
FAINTEST = 0.2

# Red, green and blue from 0 to 255, from the weakest to the strongest. Between them the colors are spread so that equal
# steps of the map are equal steps to the eye (`even`). Those of one sign grow steadily brighter, so that they survive
# gray printing and every color blindness; those of two signs are a pair of hues that the color blind tell apart.
_ONE_SIGN = {
    "heat": ((84, 4, 92), (160, 18, 90), (214, 42, 52), (242, 104, 22), (253, 172, 40), (255, 240, 150)),
    "viridis": ((68, 1, 84), (65, 68, 135), (42, 120, 142), (34, 168, 132), (122, 209, 81), (253, 231, 37)),
    "gray": ((30, 30, 30), (75, 75, 75), (120, 120, 120), (165, 165, 165), (210, 210, 210), (255, 255, 255)),
}
_TWO_SIGNS = {  # against, for
    "blueRed": (((245, 245, 245), (150, 195, 250), (70, 140, 250), (20, 90, 255)),
                ((245, 245, 245), (252, 190, 130), (245, 110, 50), (225, 25, 25))),
    "purpleGreen": (((245, 245, 245), (210, 175, 230), (175, 110, 215), (150, 60, 200)),
                    ((245, 245, 245), (175, 225, 170), (95, 190, 105), (20, 150, 60))),
}  # fmt: skip


def colorMapTitles(signed):
    """Name and title of each color scale for maps of one sign or of two, for a list. The first is the usual one."""
    if signed:
        return {"blueRed": _("Blue to red"), "purpleGreen": _("Purple to green")}
    return {"heat": _("Heat"), "viridis": _("Viridis"), "gray": _("Gray")}


def fitting(name, signed):
    """The name, or the usual one where it is not for maps of this kind."""
    known = _TWO_SIGNS if signed else _ONE_SIGN
    return name if name in known else next(iter(known))


def scale(name, signed):
    """256 colors (256, 3) from 0 to 1, from the first end of the legend to the last."""
    if not signed:
        return even(_ONE_SIGN[fitting(name, signed)])
    against, speaksFor = (even(arm) for arm in _TWO_SIGNS[fitting(name, signed)])
    half = np.linspace(0, ENTRIES - 1, ENTRIES // 2).astype(int)
    return np.concatenate([against[half[::-1]], speaksFor[half]])


@functools.lru_cache(maxsize=None)
def even(points):
    """256 colors through the points, each as far from the last as the eye sees it."""
    points = np.array(points) / 255.0
    fine = np.linspace(0, len(points) - 1, 8 * ENTRIES)
    colors = np.stack([np.interp(fine, np.arange(len(points)), channel) for channel in points.T], axis=1)
    way = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(lightnessAndHue(colors), axis=0), axis=1))])
    at = np.linspace(0, way[-1], ENTRIES)
    return np.stack([np.interp(at, way, channel) for channel in colors.T], axis=1)


def lightnessAndHue(colors):
    """CIE L*, a*, b* of sRGB colors from 0 to 1, (n, 3): distances in it are differences to the eye."""
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    white = np.array([0.9505, 1.0, 1.089])  # daylight, D65
    x, y, z = np.cbrt(np.maximum(linear @ np.transpose(matrix) / white, 1e-4)).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def values(low, full, signed):
    """The map value at each of the 256 entries."""
    return np.linspace(-full if signed else low, full, ENTRIES)


def entries(name, signed, low, full, threshold=None):
    """
    Value, color and visibility of each entry. The colors are spread from `low` to `full`, and in a signed map over both
    sides; what is weaker than the threshold, which is `low` unless given, is not visible there.
    """
    at = values(low, full, signed)
    if not signed:
        return at, scale(name, signed), np.ones(ENTRIES, dtype=bool)
    threshold = low if threshold is None else threshold
    strength = np.clip((np.abs(at) - low) / (full - low), 0, 1)
    # Even the weakest that is drawn is off the neutral middle, so that its sign can be seen.
    place = (FAINTEST + (1 - FAINTEST) * strength) * (ENTRIES - 1)
    arms = [even(arm) for arm in _TWO_SIGNS[fitting(name, signed)]]
    against, speaksFor = (
        np.stack([np.interp(place, np.arange(ENTRIES), channel) for channel in arm.T], axis=1) for arm in arms)
    colors = np.where((at < 0)[:, np.newaxis], against, speaksFor)
    return at, colors, np.abs(at) >= max(threshold, 0.51 * (at[1] - at[0]))  # zero falls on the two in the middle


def updateColorNode(colorNode, name, signed, low, full, threshold=None):
    """Give the node the scale, with nothing where a signed map is weaker than the threshold."""
    at, colors, shown = entries(name, signed, low, full, threshold)
    with slicer.util.NodeModify(colorNode):
        colorNode.SetTypeToUser()
        colorNode.SetNumberOfColors(ENTRIES)
        for index, (red, green, blue) in enumerate(colors):
            label = "{value:.3g}".format(value=at[index])
            colorNode.SetColor(index, label, red, green, blue, 1.0 if shown[index] else 0.0)

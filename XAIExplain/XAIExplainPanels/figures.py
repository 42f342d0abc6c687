"""Numbers as a reader wants them."""

from slicer.i18n import tr as _


def figure(value):
    """Three significant digits, without an exponent where it can be avoided."""
    value = float(value)
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        return "{:.3g}".format(value) if abs(value) < 999.5 else "{:.0f}".format(value)
    return "{:.2e}".format(value)


def duration(seconds):
    """Seconds as a reader says them."""
    seconds = float(seconds)
    if seconds < 10:
        return _("{seconds:.1f} s").format(seconds=seconds)
    if seconds < 90:
        return _("{seconds:.0f} s").format(seconds=seconds)
    return _("{minutes:.0f} min").format(minutes=seconds / 60)


def roughly(seconds):
    """Seconds that are estimated, as roughly as they are known."""
    seconds = float(seconds)
    if seconds < 0.75:
        return _("less than a second")
    if seconds < 10:
        return _("about {seconds:.0f} s").format(seconds=seconds)
    if seconds < 90:
        return _("about {seconds:.0f} s").format(seconds=5 * round(seconds / 5))
    if seconds < 90 * 60:
        return _("about {minutes:.0f} min").format(minutes=seconds / 60)
    return _("about {hours:.0f} h").format(hours=seconds / 3600)


def percent(share):
    """A probability, without a false 100 % or 0 %."""
    if share > 0.995:
        return _("> 99 %")
    if share < 0.005:
        return _("< 1 %")
    return _("{share:.0f} %").format(share=100 * share)

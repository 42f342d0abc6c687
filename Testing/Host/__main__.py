"""python -m Testing.Host MODULE.py [--volume FILE] [--scene FILE] [--screenshot OUT.png] [--size WxH]

Shows a scripted module in a window of its own; where there is no screen, writes a picture of that window.
"""

import argparse
import os
import sys


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m Testing.Host", description=__doc__.splitlines()[2])
    parser.add_argument("module", help="the scripted module's .py file")
    parser.add_argument(
        "--volume", action="append", default=[], help="load this volume first (may be repeated)"
    )
    parser.add_argument("--scene", help="load this .mrb or .mrml first")
    parser.add_argument("--screenshot", help="write a picture of the window there and end")
    parser.add_argument("--size", default="1500x950", help="of the window, in pixels")
    options = parser.parse_args(arguments)
    hasScreen = (
        not sys.platform.startswith("linux") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    if not hasScreen and not options.screenshot:
        parser.error("there is no screen: say --screenshot OUT.png")

    from . import Host

    host = Host(
        size=tuple(int(n) for n in options.size.lower().split("x")), interactive=not options.screenshot
    )
    import slicer

    host.testing = False
    if options.scene:
        host.loadScene(options.scene)
    for path in options.volume:
        slicer.util.loadVolume(path)
    host.loadModule(options.module)
    slicer.util.resetSliceViews()
    if options.screenshot:
        host.screenshot(options.screenshot)
    else:
        host.app.exec()
    host.quit()
    return 0


if __name__ == "__main__":
    sys.exit(main())

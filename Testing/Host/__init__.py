"""A little Slicer: the real module file and its real .ui file on real MRML, offscreen or in a window.

`from Testing.Host import Host`; see `Host` for what it does, and docs/architecture.md for why it is here.
"""

import os
import sys

# Before PySide6 and VTK are imported: enumerations are integers, as in PythonQt; no screen is needed, and VTK
# does not look for one.
os.environ["PYSIDE6_OPTION_PYTHON_ENUM"] = "2"
if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

from .application import Host  # noqa: E402
from .pythonqt import strayAttributes, suspectIdioms  # noqa: E402

__all__ = ["Host", "strayAttributes", "suspectIdioms"]

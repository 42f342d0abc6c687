"""What can grow when a panel is used for a day: processes, nodes, widgets, observers, objects, files, memory."""

from __future__ import annotations

import contextlib
import gc
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any


def left() -> list[str]:
    """The nodes of the scene, for a message."""
    import slicer

    return [f"{node.GetID()} {node.GetName()}" for node in slicer.util.getNodesByClass("vtkMRMLNode")]


def census(panel: Any) -> dict[str, int]:
    """Count all that must not grow, after what is pending and unreachable has gone.

    Parameters
    ----------
    panel : Panel
        The module in the host, with an empty scene.
    """
    import slicer
    from PySide6 import QtCore, QtGui, QtWidgets

    panel.host.processEvents()
    gc.collect()
    panel.host.processEvents()
    ours = Counter(str(type(thing).__module__).split(".")[0] for thing in gc.get_objects())
    widgets = QtWidgets.QApplication.allWidgets()
    window = panel.host.window
    return {
        "processes": len(children()),
        "nodes": slicer.mrmlScene.GetNumberOfNodes(),
        "observed by the scene": len(observers(slicer.mrmlScene)),
        "widgets": len(widgets),
        "shortcuts": len(window.findChildren(QtGui.QShortcut)),
        "timers": sum(1 for thing in gc.get_objects() if isinstance(thing, QtCore.QTimer)),
        "objects of the panel": ours["XAIExplainPanels"] + ours["XAIExplain"],
        "objects of the library": ours["XAIExplainLib"],
        "files": len(temporaryFiles()),
        "threads": len(os.listdir("/proc/self/task")) if Path("/proc/self/task").exists() else 0,  # noqa: PTH208
        "open files": len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0,  # noqa: PTH208
    }


def observers(thing: Any) -> list[str]:
    """The observers of a VTK object, as it prints them."""
    return [line for line in str(thing).splitlines() if line.strip().startswith(("vtkObserver", "Tag:"))]


def children() -> list[int]:
    """Processes that this one has started and that are there, zombies included."""
    import psutil

    return [child.pid for child in psutil.Process().children(recursive=True)]


def temporaryFiles() -> list[str]:
    """What this module leaves in folders for temporary files."""
    import slicer

    folders = {Path(tempfile.gettempdir()), Path(slicer.app.temporaryPath)}
    found = [path for folder in folders if folder.is_dir() for path in folder.glob("XAIExplain-*")]
    return sorted(str(inner) for path in found for inner in (path, *path.rglob("*")))


def memory() -> int:
    """Resident memory of this process in bytes, after what was freed is given back."""
    import ctypes

    import psutil

    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(psutil.Process().memory_info().rss)


def slope(values: list[int]) -> float:
    """How much each step adds, by least squares."""
    import numpy as np

    return float(np.polyfit(np.arange(len(values)), np.array(values, dtype=float), 1)[0])

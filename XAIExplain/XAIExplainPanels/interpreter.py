"""Which Python runs the engine, and with which environment."""

import os
import shutil
import sys

import slicer

SETTING = "XAIExplain/Interpreter"


def defaultInterpreter():
    """Slicer's own Python; outside of Slicer, the Python that runs."""
    return shutil.which("PythonSlicer") or sys.executable


def interpreter():
    """The Python that the user chose, or the default one."""
    return str(slicer.app.settings().value(SETTING) or "") or defaultInterpreter()


def setInterpreter(path):
    """Remember the user's choice; an empty path chooses the default again."""
    if path and not samePath(path, defaultInterpreter()):
        slicer.app.settings().setValue(SETTING, path)
    else:
        slicer.app.settings().remove(SETTING)


def environment(path):
    """
    Environment for the Python at `path`: None leaves Slicer's own, which PythonSlicer needs. Slicer's libraries
    would break another Python, which gets the environment that Slicer was started with.
    """
    if samePath(path, defaultInterpreter()) or samePath(path, sys.executable):
        return None
    return slicer.util.startupEnvironment()


def samePath(first, second):
    return os.path.normcase(os.path.abspath(first)) == os.path.normcase(os.path.abspath(second))

"""Where the pictures of the documents are made: the module in the host, at the size of a small laptop."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from Testing.demo.panel import MODULE

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"
SIZE = (1366, 768)


@contextmanager
def studio(home: Path | None = None, size: tuple[int, int] = SIZE) -> Iterator[tuple[Any, Any]]:
    """The host and the module's widget with the real engine, put away afterwards.

    Parameters
    ----------
    home : Path or None
        Where the host keeps its settings; None for a folder of its own.
    size : tuple of int
        Of the window, in pixels.
    """
    from Testing.Host import Host

    host = Host(size=size, home=home or tempfile.mkdtemp(prefix="xaiexplain-pictures-"))
    import slicer

    slicer.app.settings().setValue("XAIExplain/Interpreter", sys.executable)
    widget = host.loadModule(MODULE)
    try:
        yield host, widget
    finally:
        widget.cleanup()
        host.quit()

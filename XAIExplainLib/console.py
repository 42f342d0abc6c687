"""How far a run is, on a terminal or in a log."""

from __future__ import annotations

import shutil
import time
from typing import Any, TextIO

_TERMINAL_SECONDS, _LOG_SECONDS = 0.1, 10.0


class ProgressLine:
    """One line that is written over again on a terminal; a line now and then where the output is a file.

    Parameters
    ----------
    file : text file or None
        Where to write; None for nowhere.
    quiet : bool
        Write nothing.
    """

    def __init__(self, file: TextIO | None, quiet: bool = False) -> None:
        self._file = None if quiet else file
        self._terminal = self._file is not None and self._file.isatty()
        self._start = time.monotonic()
        self._last = float("-inf")
        self._shown = False

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown and self._terminal and self._file is not None:
            self._file.write("\r\033[K")
            self._file.flush()

    def cancelled(self) -> bool:
        """A command line is cancelled by Ctrl-C, which raises by itself."""
        return False

    def preview(self, event: dict[str, Any]) -> None:
        """A terminal shows no maps."""

    def progress(self, fraction: float, message: str = "") -> None:
        """Show how far the run is, how long it has taken, and how long it may still take."""
        now = time.monotonic()
        if self._file is None or now - self._last < (_TERMINAL_SECONDS if self._terminal else _LOG_SECONDS):
            return
        self._last = now
        elapsed = now - self._start
        text = f"{100 * fraction:3.0f} %  {_duration(elapsed)} gone"
        if fraction >= 0.02 and elapsed >= 0.5:
            text += f", {_duration(elapsed * (1 - fraction) / fraction)} to go"
        text += f"  {message}"
        if self._terminal:
            text = "\r\033[K" + text[: shutil.get_terminal_size().columns - 1]
        self._file.write(text if self._terminal else text.rstrip() + "\n")
        self._file.flush()
        self._shown = True


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

"""Keep the C library from handing memory back and forth between one operation of a network and the next."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

BIG = 1 << 26  # bytes of a value that leaves holes which others do not fill
HOLES = 1 << 26  # bytes of such values after which what was freed is given back
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h
_SETTINGS = {_MMAP_THRESHOLD: (1 << 31) - 1, _TRIM_THRESHOLD: (1 << 31) - 1, _TOP_PAD: 1 << 28}


def keep_freed_memory() -> None:
    """Let this process keep what it frees, until `give_memory_back`.

    By default glibc returns every large array to the system and fetches the next one zeroed, page by page: occlusion
    of 64^3 voxels took 33 s so, and 12 s otherwise. Does nothing with other C libraries, and where the user has set
    glibc's own variables.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        for setting, value in _SETTINGS.items():
            library.mallopt(setting, value)


def give_memory_back() -> None:
    """Return what has been freed to the system."""
    if sys.platform != "linux":
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class Holes:
    """Gives what a run frees back to the system before its holes add up, and not after each value.

    Fetched again page by page, a value of 64 MiB costs more than most operations on it.
    """

    def __init__(self) -> None:
        self._waiting = 0

    def after(self, value: Any) -> None:
        """Count `value`, which has just been made, if it is large enough to leave a hole of its own."""
        size = getattr(value, "nbytes", 0) if getattr(value, "is_cpu", False) else 0
        if size >= BIG:
            self._waiting += size
        if self._waiting >= HOLES:
            give_memory_back()
            self._waiting = 0

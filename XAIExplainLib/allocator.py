"""Keep the C library from handing memory back and forth between one operation of a network and the next."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

BIG = 1 << 28  # bytes of a value from which holes matter more than the time to fetch them again, page by page
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


def release_after(value: Any) -> None:
    """Return what has been freed to the system, where `value` is so large a tensor that the holes would be too."""
    if getattr(value, "nbytes", 0) >= BIG and getattr(value, "is_cpu", False):
        give_memory_back()

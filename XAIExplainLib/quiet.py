"""Keep the terminal free of what ITK's C libraries print about a file: our own message says what matters in it."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator

import SimpleITK

# The file descriptor belongs to the whole process: two threads that swap it at once would lose it.
_one_at_a_time = threading.Lock()


@contextlib.contextmanager
def quiet_itk() -> Iterator[None]:
    """Hold back ITK's warnings and what its C libraries write to the error stream.

    What anyone else wrote meanwhile cannot be told from it; it is shown after all when the block ends well.
    """
    before = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        with _one_at_a_time, _held_back():
            yield
    finally:
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(before)


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    try:
        kept = os.dup(2)
    except OSError:  # no error stream, as in a program without a console
        yield
        return
    with tempfile.TemporaryFile() as drain:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()
        os.dup2(drain.fileno(), 2)
        try:
            yield
            well = True
        except BaseException:
            well = False
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            if well:
                drain.seek(0)
                with contextlib.suppress(OSError):
                    os.write(2, drain.read())

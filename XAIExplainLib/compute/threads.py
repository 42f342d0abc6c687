"""How many threads small operations get."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def threads_for_small_operations() -> Iterator[None]:
    """One thread for a while, where torch's threads wait by spinning; else as many as before.

    Patches make many short operations, and threads that spin between them lose ten times what they win as soon as
    another program takes a processor. A process that loads this library before torch waits passively.
    """
    before = torch.get_num_threads()
    if os.environ.get("OMP_WAIT_POLICY", "").upper() != "PASSIVE" and before > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

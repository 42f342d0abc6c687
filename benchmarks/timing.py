"""Timing in turns: what is compared runs interleaved, so that a machine whose speed drifts does not decide."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def in_turns(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Smallest processor time of each run in seconds, over so many rounds; call each once before.

    Processor time of the whole process with one thread: it does not count what others do on the machine.
    """
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - began)
    return best

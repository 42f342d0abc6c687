"""Timing in turns: what is compared runs interleaved, so that a machine whose speed drifts does not decide."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# By the seconds of its first run: how often a contender runs again.
AGAIN = ((1.0, 4), (4.0, 2), (30.0, 1))


@dataclass
class Timed:
    """What the runs of one contender gave.

    Parameters
    ----------
    seconds : float
        The least of its runs.
    result : object
        Of the first run.
    runs : int
        How many there were.
    error : str
        Why it raised, where it did.
    """

    seconds: float = float("inf")
    result: Any = None
    runs: int = 0
    error: str = ""


@dataclass
class Part:
    """The result of a run that did a part of the work and says how long the whole would take."""

    seconds: float
    result: Any = field(default=None, repr=False)
    what: str = ""


def clock_of(threads: int) -> Callable[[], float]:
    """Processor time with one thread, which does not count what others do on the machine; else the clock's."""
    return time.process_time if threads == 1 else time.perf_counter


def in_turns(
    runs: dict[str, Callable[[], Any]], threads: int, once: frozenset[str] = frozenset(), quick: bool = False
) -> dict[str, Timed]:
    """Run each in turns, each as often as its length allows.

    Parameters
    ----------
    runs : dict
        What runs, by contender. A contender that raises is out, with the reason.
    threads : int
        Of torch; they choose the clock.
    once : frozenset of str
        Contenders that keep nothing from the first run to the next: one run of them may be enough.
    quick : bool
        At most one more run of each.

    Returns
    -------
    dict of Timed
    """
    clock = clock_of(threads)
    found = {who: Timed() for who in runs}
    wanted = dict.fromkeys(runs, 1)
    while True:
        left = [who for who in runs if found[who].runs < wanted[who] and not found[who].error]
        if not left:
            return found
        for who in left:
            timed = found[who]
            began = clock()
            try:
                result = runs[who]()
            except Exception as error:  # peers raise what they like; the reason goes below the table
                timed.error = f"{type(error).__name__}: {' '.join(str(error).split())}"
                continue
            seconds = clock() - began
            if isinstance(result, Part):
                seconds = result.seconds
            first = timed.runs == 0
            timed.runs += 1
            timed.seconds = min(timed.seconds, seconds)
            if first:
                timed.result = result
                wanted[who] += repeats(clock() - began, who in once, quick)


def repeats(seconds: float, may_run_once: bool, quick: bool = False) -> int:
    """How many more runs follow a first one of so many seconds."""
    more = next((count for limit, count in AGAIN if seconds < limit), 0)
    if quick:
        more = min(more, 1)
    return more if may_run_once else max(more, 1)

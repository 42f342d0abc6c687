"""How long the window cannot answer: each turn of Qt's event loop is timed, and the views' drawing told apart."""

from __future__ import annotations

import cProfile
import pstats
import time
from dataclasses import dataclass
from typing import Any

SLOW = 0.010  # seconds from which a turn is looked into


@dataclass
class Turn:
    """One turn of the event loop; times in seconds.

    `own` is what this process did apart from drawing, by the clock; `busy` the same by the processor's time of this
    process, which other programs on the machine do not lengthen.
    """

    step: str
    wall: float
    draw: float
    own: float
    busy: float
    whom: str = ""


class Meter:
    """Times the turns of the event loop that it makes itself, as `with Meter(host) as meter: meter.wait(...)`.

    Parameters
    ----------
    host : Host
        The little Slicer.
    looking : bool
        Whether slow turns are profiled, to say by whom they are slow; that makes them somewhat slower.
    """

    def __init__(self, host: Any, looking: bool = True) -> None:
        self.host, self.turns, self._looking = host, list[Turn](), looking
        self._drawn = self._drawnBusy = 0.0
        self.step = ""

    def __enter__(self) -> Meter:
        from Testing.Host.views import RenderView

        self._drawing = RenderView.forceRender
        meter, drawing = self, self._drawing

        def forceRender(view: Any) -> Any:
            wall, busy = time.perf_counter(), time.process_time()
            try:
                return drawing(view)
            finally:
                meter._drawn += time.perf_counter() - wall
                meter._drawnBusy += time.process_time() - busy

        RenderView.forceRender = forceRender
        return self

    def __exit__(self, *_: object) -> None:
        from Testing.Host.views import RenderView

        RenderView.forceRender = self._drawing

    def turn(self) -> None:
        """Let the event loop do what is pending, as it does between two of the user's events."""
        self.do(self.host.app.processEvents)

    def do(self, act: Any) -> Any:
        """Time what a click does at once, or a turn."""
        self._drawn = self._drawnBusy = 0.0
        profile = cProfile.Profile() if self._looking else None
        wall, busy = time.perf_counter(), time.process_time()
        try:
            return profile.runcall(act) if profile else act()
        finally:
            wall, busy = time.perf_counter() - wall, time.process_time() - busy
            whom = culprit(profile) if profile and wall > SLOW else ""
            self.turns.append(
                Turn(self.step, wall, self._drawn, wall - self._drawn, busy - self._drawnBusy, whom))

    def wait(self, condition: Any, timeout: float = 120) -> None:
        """Turn until `condition()`."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"{self.step}: {timeout} s")
            self.turn()
            time.sleep(0.001)

    def settle(self, seconds: float = 0.5) -> None:
        """Turn until nothing slow has happened for a while."""
        quiet = time.monotonic()
        while time.monotonic() - quiet < seconds:
            self.turn()
            if self.turns[-1].wall > SLOW:
                quiet = time.monotonic()
            time.sleep(0.001)

    def longest(self, step: str | None = None, by: str = "busy") -> Turn:
        """The longest turn of a step, or of all, by `wall`, `own`, `busy` or `draw`."""
        return max((turn for turn in self.turns if step in (None, turn.step)), key=lambda turn: getattr(turn, by))

    def steps(self) -> list[str]:
        """The steps, in the order of their first turn."""
        return list(dict.fromkeys(turn.step for turn in self.turns))


def culprit(profile: cProfile.Profile) -> str:
    """The module's functions that took longest, each with what it called, drawing left out."""
    found = []
    for place, (_calls, _all, own, _whole, _callers) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        if "forceRender" not in place[2]:
            found.append((own, label(place)))
    return ", ".join(f"{name} {1e3 * own:.0f}" for own, name in sorted(found, reverse=True)[:3])


def label(place: tuple[str, int, str]) -> str:
    """A function as it is said."""
    path, line, name = place
    return f"{path.rsplit('/', 1)[-1]}:{line} {name}" if line else name

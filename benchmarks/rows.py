"""A row of the table: who is compared on what, against which limit, with which goals; and how it is measured."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from benchmarks.limits import best_batch
from benchmarks.networks import FORWARD, Subject, subject
from benchmarks.peers import Run, guarded
from benchmarks.timing import Part, Timed, in_turns, repeats

EQUAL = 1e-5
BACKWARD = 2.5  # forward passes that autograd's backward takes, for estimates


@dataclass(frozen=True)
class Options:
    """How thoroughly is measured.

    Parameters
    ----------
    threads : int
        Of torch.
    part : int or None
        Of how many windows or samples a peer's time is taken and scaled to all; None runs all.
    quick : bool
        At most two runs of each.
    memory : bool
        Only peak memory is wanted: nothing is searched for.
    """

    threads: int = 1
    part: int | None = None
    quick: bool = False
    memory: bool = False


@dataclass(frozen=True)
class Goal:
    """What is to be reached: ``against`` is a peer (peer / ours), ``F`` (ours / F) or ``limit`` (limit / ours)."""

    against: str
    value: float


@dataclass
class Contest:
    """What runs for a row.

    Parameters
    ----------
    ours : callable
        Gives our map (k, j, i), or None; a `Part` where the time is scaled.
    peers : dict
        By library, what it is asked.
    limit : str
        In words, what no method of the kind can do without; empty for nothing.
    limit_seconds : callable or None
        ``(F, F+B, seconds an image of the best batch) -> seconds``.
    equal : str
        Why the maps need not be equal; empty where they must.
    wrong : tuple of str
        Peers whose map is another one for a reason that the notes give.
    scale : float
        Differences are given over this, where the peer's largest value is smaller.
    notes : list of str
        For below the table.
    after : callable or None
        Given all that was timed, gives more notes.
    """

    ours: Run
    peers: dict[str, Run] = field(default_factory=dict)
    limit: str = ""
    limit_seconds: Callable[[float, float, float], float] | None = None
    equal: str = ""
    wrong: tuple[str, ...] = ()
    scale: float = 0.0
    notes: list[str] = field(default_factory=list)
    after: Callable[[dict[str, Timed]], list[str]] | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Parameters
    ----------
    method, network : str
        In words.
    size : int
        Voxels along an axis.
    contest : callable
        ``(subject, options) -> Contest``.
    goals : tuple of Goal
    ours, peers : float
        Forward passes that one run of ours and one of all peers take, for estimates.
    passes : int
        Windows or samples of a peer of which a part may be timed; 0 for none.
    quick : bool
        Whether ``--quick`` measures it.
    """

    method: str
    network: str
    size: int
    contest: Callable[[Subject, Options], Contest]
    goals: tuple[Goal, ...] = ()
    ours: float = 4.0
    peers: float = 8.0
    passes: int = 0
    quick: bool = False

    @property
    def name(self) -> str:
        """Which `--only` looks into."""
        return f"{self.method} {self.network} {self.size}"

    def estimate(self, options: Options) -> float:
        """About how many seconds it takes."""
        forward = FORWARD[self.network] * (self.size / 64) ** 3
        share = min(1.0, options.part / self.passes) if options.part and self.passes else 1.0
        runs = 0.0
        for passes, once in ((self.ours, False), (self.peers * share, True), (1.0, True), (1 + BACKWARD, True)):
            runs += passes * (1 + repeats(passes * forward, once, options.quick))
        return (5.0 + forward * (runs + 20)) / options.threads**0.5

    def measure(self, options: Options) -> dict[str, Any]:
        """Measure it; JSON-ready."""
        one = subject(self.network, self.size)
        contest = self.contest(one, options)
        needs_batches = any(word in contest.limit for word in ("bound", "best batch"))
        batch, each = best_batch(one, options.threads, options.quick) if needs_batches else (0, 0.0)
        runs: dict[str, Run] = {
            "ours": contest.ours, "F": one.forward, "F+B": one.forward_and_backward,
            **{who: guarded(one, run) for who, run in contest.peers.items()},
        }  # fmt: skip
        timed = in_turns(runs, options.threads, frozenset(runs) - {"ours"}, options.quick)
        if timed["ours"].error:
            raise RuntimeError(f"{self.name}: {timed['ours'].error}")
        return self._row(one, contest, timed, options, batch, each)

    def _row(
        self, one: Subject, contest: Contest, timed: dict[str, Timed], options: Options, batch: int, each: float
    ) -> dict[str, Any]:
        ours, forward = timed["ours"], timed["F"].seconds
        limit = contest.limit_seconds(forward, timed["F+B"].seconds, each) if contest.limit_seconds else None
        peers = {who: peer_of(ours, timed[who], contest.scale) for who in contest.peers}
        notes = [*contest.notes, *(contest.after(timed) if contest.after else [])]
        if isinstance(ours.result, Part):
            notes.append(f"ours {ours.result.what}")
        row = {
            "name": self.name, "method": self.method, "network": self.network, "weights": one.weights,
            "volume": " x ".join(map(str, one.shape)), "threads": options.threads,
            "clock": "processor" if options.threads == 1 else "wall", "ours": ours.seconds, "runs": ours.runs,
            "forward": forward, "backward": timed["F+B"].seconds - forward, "best_batch": batch, "forward_best": each,
            "peers": peers, "limit": limit, "limit_is": contest.limit, "equal": contest.equal,
            "wrong": list(contest.wrong), "notes": notes,
            "date": today(),
        }  # fmt: skip
        row["goals"] = [judged(goal, row) for goal in self.goals]
        return row


def today() -> str:
    """The date and minute, UTC."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M")


def peer_of(ours: Timed, peer: Timed, scale: float = 0.0) -> dict[str, Any]:
    """What the table says of a peer."""
    if peer.error:
        return {"fails": peer.error[:200]}
    found: dict[str, Any] = {"seconds": peer.seconds, "runs": peer.runs}
    result = peer.result
    if isinstance(result, Part):
        found["part"] = result.what
    elif isinstance(result, np.ndarray) and isinstance(ours.result, np.ndarray):
        found["difference"] = difference(ours.result, result, scale)
        largest = max(float(np.abs(result).max()), scale, 1e-30)
        found["far"] = float((np.abs(ours.result - result) > EQUAL * largest).mean())
    return found


def difference(ours: np.ndarray, peer: np.ndarray, scale: float = 0.0) -> float:
    """The largest difference over the peer's largest value, or over `scale` where that is larger."""
    return float(np.abs(ours - peer).max() / max(float(np.abs(peer).max()), scale, 1e-30))


def judged(goal: Goal, row: dict[str, Any]) -> dict[str, Any]:
    """A goal, what was found, and whether it is met; None where the peer failed."""
    text = {"F": f"at most {goal.value:g} F", "limit": f"{goal.value:g} of the limit"}.get(
        goal.against, f"{goal.value:g} x {goal.against}"
    )
    found: float | None
    if goal.against == "F":
        found = row["ours"] / row["forward"]
        return {"text": text, "found": found, "met": found <= goal.value}
    if goal.against == "limit":
        found = row["limit"] / row["ours"]
        return {"text": text, "found": found, "met": found >= goal.value}
    found = row["peers"].get(goal.against, {}).get("seconds")
    if found is None:
        return {"text": text, "found": None, "met": None}
    return {"text": text, "found": found / row["ours"], "met": found / row["ours"] >= goal.value}


def use_threads(threads: int) -> None:
    """Let torch work with so many."""
    torch.set_num_threads(threads)

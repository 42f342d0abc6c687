"""The engine's process: takes requests as lines on its standard input and answers on its standard output.

One job runs at a time, in the main thread. A thread reads the lines, so that cancel, status and the end of the input
are heard in the middle of a run. docs/protocol.md describes the lines.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol

from XAIExplainLib import protocol
from XAIExplainLib.allocator import give_memory_back, keep_freed_memory
from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainLib.machine import memory

NEEDED = ("numpy", "scipy", "SimpleITK", "monai", "psutil")
FATAL_EXIT = 3
PROGRESS_SECONDS = 0.1
_GRACE_SECONDS = 0.3  # for a run to notice that it is cancelled and to remove the file it was writing
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")


class Engine(Protocol):
    """What the worker needs of an engine; tests give it a small one."""

    def greeting(self) -> dict[str, Any]:
        """Versions and device, for the first line."""

    def commands(self) -> dict[str, Callable[[dict[str, Any], Job], Any]]:
        """What can be asked: each takes the request and its job, and returns a JSON-ready result."""


class Job:
    """A request on its way: how far it is, and whether its user still wants it."""

    def __init__(self, number: int, request: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
        self.number = number
        self.request = request
        self._send = send
        self._cancelled = threading.Event()
        self._started = self._last = time.monotonic()

    def begin(self) -> None:
        """Start the clock."""
        self._started = time.monotonic()
        self._last = 0.0

    def cancel(self) -> None:
        """Ask the run to stop."""
        self._cancelled.set()

    def cancelled(self) -> bool:
        """Whether it was asked to stop; a run polls this."""
        return self._cancelled.is_set()

    def progress(self, fraction: float, message: str = "") -> None:
        """Tell the client, at most ten times a second, how far the run is and how long it may still take."""
        now = time.monotonic()
        if now - self._last < PROGRESS_SECONDS:
            return
        self._last = now
        fraction = min(max(float(fraction), 0.0), 1.0)
        elapsed = now - self._started
        # A first guess from a fraction of next to nothing would be off by minutes.
        known = fraction >= 0.02 and elapsed >= 0.5
        self._send({
            "id": self.number, "event": "progress", "fraction": fraction, "elapsed": round(elapsed, 2),
            "remaining": round(elapsed * (1 - fraction) / fraction, 1) if known else None, "message": message,
        })  # fmt: skip

    def preview(self, event: dict[str, Any]) -> None:
        """Tell the client of a map that is on its way."""
        if not self.cancelled():
            self._send({"id": self.number, "event": "preview", **event})


class Worker:
    """Reads requests, runs them one after the other, writes their events.

    Parameters
    ----------
    stdin, stdout : binary file
        The client's lines, and ours.
    leave : callable
        Ends the process at once; called with the exit status when nobody listens any more.
    """

    def __init__(self, stdin: BinaryIO, stdout: BinaryIO, leave: Callable[[int], None] = os._exit) -> None:
        self._stdin, self._stdout, self._leave = stdin, stdout, leave
        self._writing = threading.Lock()
        self._choosing = threading.Lock()
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._jobs: dict[int, Job] = {}
        self._running: Job | None = None
        self._idle = threading.Event()
        self._idle.set()
        self._left = threading.Lock()

    def serve(self, make_engine: Callable[[], Engine]) -> int:
        """Run until the input ends; returns the exit status.

        Lines are read while `make_engine` still loads torch, so that the end of the client is noticed even then.
        """
        threading.Thread(target=self._read, daemon=True, name="xai-requests").start()
        try:
            engine = make_engine()
        except XAIError as error:
            self.send({"event": "fatal", "message": error.message, "hint": error.hint})
            return FATAL_EXIT
        self.send({"event": "ready", **engine.greeting()})
        commands = {"hello": lambda request, job: engine.greeting(), **engine.commands()}
        while (job := self._waiting.get()) is not None:
            with self._choosing:
                if self._jobs.get(job.number) is not job:
                    continue  # cancelled, and answered, while it waited
                self._running = job
            self._idle.clear()
            job.begin()
            answer = self._run(job, commands)
            self._running = None
            self._jobs.pop(job.number, None)
            self.send({"id": job.number, **answer})
            self._idle.set()
            if self._waiting.empty():
                give_memory_back()
        return 0

    def send(self, message: dict[str, Any]) -> None:
        """Write one line; if nobody reads, the process has no reason to go on."""
        line = protocol.encode(message)
        try:
            with self._writing:
                self._stdout.write(line)
                self._stdout.flush()
        except (OSError, ValueError):
            self._end(0)

    def _run(self, job: Job, commands: dict[str, Callable[[dict[str, Any], Job], Any]]) -> dict[str, Any]:
        """The last event of `job`."""
        command = job.request["command"]
        try:
            if command not in commands:
                known = ", ".join(sorted({*commands, "cancel", "status", "shutdown"}))
                raise XAIError(f"There is no command {command}.", f"The commands are: {known}.")
            return {"event": "result", "result": commands[command](job.request, job)}
        except CancelledError as error:
            return _error(protocol.CANCELLED, error)
        except XAIError as error:
            return _error(protocol.USER, error)
        except Exception as error:
            text = traceback.format_exc()
            if is_out_of_memory(error):
                return {**_error(protocol.MEMORY, memory_advice()), "traceback": text}
            message = f"{type(error).__name__}: {error}"
            bug = XAIError(message, "This is a bug in XAIExplain: please report it with the details.")
            return {**_error(protocol.BUG, bug), "traceback": text}

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in self._stdin:
                if line.strip():
                    self._take(line)
        self._end(0)

    def _take(self, line: bytes) -> None:
        message: dict[str, Any] = {}
        try:
            message = protocol.decode(line)
            number, command = protocol.check_request(message)
            if number in self._jobs:
                raise XAIError(f"The number {number} is in use.", "Give every request a number of its own.")
        except XAIError as error:
            number = message.get("id")  # type: ignore[assignment]
            self.send({"id": number if isinstance(number, int) else None, **_error(protocol.USER, error)})
            return
        if command == "cancel":
            self.send({"id": number, "event": "result", "result": {"cancelled": self._cancel(message.get("job"))}})
        elif command == "status":
            self.send({"id": number, "event": "result", "result": self._status()})
        elif command == "shutdown":
            self.send({"id": number, "event": "result", "result": {}})
            self._end(0)
        else:
            job = Job(number, message, self.send)
            self._jobs[number] = job
            self._waiting.put(job)

    def _cancel(self, number: Any) -> bool:
        job = self._jobs.get(number) if isinstance(number, int) else None
        if job is None:
            return False
        job.cancel()
        with self._choosing:
            waiting = job is not self._running and self._jobs.pop(number, None) is not None
        if waiting:
            self.send({"id": number, **_error(protocol.CANCELLED, CancelledError())})
        return True

    def _status(self) -> dict[str, Any]:
        running = self._running
        return {
            "rss": resident_bytes(), "running": running.number if running else None,
            "waiting": len(self._jobs) - (running is not None), **memory(),
        }  # fmt: skip

    def _end(self, status: int) -> None:
        """Leave, also in the middle of a run."""
        if not self._left.acquire(blocking=False):
            return
        for job in list(self._jobs.values()):
            job.cancel()
        self._waiting.put(None)
        if threading.current_thread() is not threading.main_thread():
            self._idle.wait(_GRACE_SECONDS)
        self._leave(status)


def _error(kind: str, error: XAIError) -> dict[str, Any]:
    event: dict[str, Any] = {"event": "error", "kind": kind, "message": error.message, "hint": error.hint}
    if getattr(error, "consent", False):
        event["consent"] = True
    return event


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out; torch says so in a RuntimeError's words."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _MEMORY_WORDS)


def memory_advice() -> XAIError:
    """What to tell a user whose memory ran out."""
    return XAIError(
        "Memory ran out during the run.",
        "Give a lower memory budget, choose a smaller volume or a coarser method (a larger stride, fewer samples), "
        "run it on the CPU if it ran on a graphics card, or close other programs.",
    )


def resident_bytes() -> int | None:
    """Memory that this process holds now; None where psutil is missing."""
    try:
        import psutil
    except ImportError:
        return None
    return int(psutil.Process().memory_info().rss)


def claim_streams() -> tuple[BinaryIO, BinaryIO]:
    """Take standard input and output for the protocol; whatever a library prints goes to standard error."""
    stdin, stdout = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return stdin, stdout


def die_with_parent() -> None:
    """Let Linux end this process when its parent dies, however busy its threads are."""
    if sys.platform != "linux":
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def watch_parent(leave: Callable[[int], None] = os._exit, seconds: float = 0.5) -> None:
    """End this process when its parent is no longer the one it was started by; for systems that do not do so."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(seconds)
        leave(0)

    if parent > 1:
        threading.Thread(target=watch, daemon=True, name="xai-parent").start()


def load_engine() -> Engine:
    """The real engine.

    Raises
    ------
    XAIError
        If this Python lacks a package that the engine cannot do without.
    """
    try:
        import torch

        # On Windows a path that is too long leaves an empty folder that imports as a package without contents.
        if not hasattr(torch, "__version__"):
            raise ImportError("it is incomplete")
    except (ImportError, OSError) as error:
        raise XAIError(
            f"The engine's Python cannot load PyTorch: {error}.",
            f"Install torch for {sys.executable} (in Slicer: the extension PyTorch), or choose another Python.",
        ) from None
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise XAIError(
            f"The engine's Python lacks {', '.join(missing)}.",
            f"Install: {sys.executable} -m pip install {' '.join(missing)}",
        )
    from XAIExplainLib.engine import LocalEngine

    return LocalEngine()


def main(arguments: list[str]) -> int:
    """Serve one client on the standard streams."""
    if "--die-with-parent" in arguments:
        die_with_parent()
    stdin, stdout = claim_streams()
    with contextlib.suppress(ValueError, OSError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the client cancels by a line
    watch_parent()
    keep_freed_memory()
    import faulthandler

    faulthandler.enable()
    return Worker(stdin, stdout).serve(load_engine)


if __name__ == "__main__":
    # No clean-up at the end: torch's threads and a warm model would make the client wait for nothing.
    status = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)

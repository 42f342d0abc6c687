"""The client's side of the door: starts the engine's process, asks it, cancels, and survives its death.

Standard library only and no newer syntax than Python 3.9's, because the panel imports it inside Slicer. No callback
ever comes from a thread: events wait in a queue until `poll` is called.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from pathlib import Path
from typing import Any, Callable, Iterable, Optional

from XAIExplainLib import protocol
from XAIExplainLib.child import WINDOWS, EngineProcess
from XAIExplainLib.errors import CancelledError, XAIError

Callback = Callable[[dict], None]

_PACKAGE_PARENT = str(Path(__file__).resolve().parent.parent)
_LOG_LINES = 500
_open_clients: weakref.WeakSet[EngineClient] = weakref.WeakSet()


class _Job:
    """A request that has not had its last event."""

    def __init__(self, number: int, request: dict, callback: Optional[Callback]) -> None:
        self.number = number
        self.request = request
        self.callback = callback
        self.child: Optional[EngineProcess] = None
        self.cancel_deadline: Optional[float] = None
        self.last_event: Optional[dict] = None
        self.previews: list[str] = []

    def remove_previews(self) -> None:
        """An engine that ended in the middle of a run could not remove the map that was on its way."""
        for path in self.previews:
            with contextlib.suppress(OSError):
                Path(path).unlink()


class EngineClient:
    """A warm engine in a process of its own, started at the first request and again after its death.

    Parameters
    ----------
    interpreter : str
        The Python that has torch; in Slicer, PythonSlicer or one that the user chose.
    environment : dict of str to str, optional
        The child's environment; in Slicer, ``slicer.util.startupEnvironment()`` for a foreign interpreter. By default
        this process's own, without PYTHONHOME and PYTHONPATH if `interpreter` is not this one.
    arguments : iterable of str
        Options of the interpreter, before ``-m``.
    cancel_seconds : float
        How long a cancelled job may take to stop by itself before its process is ended.

    Examples
    --------
    >>> with EngineClient() as engine:
    ...     job = engine.request("methods")
    ...     cards = engine.wait(job)
    """

    def __init__(
        self,
        interpreter: str = sys.executable,
        environment: Optional[dict[str, str]] = None,
        arguments: Iterable[str] = (),
        cancel_seconds: float = 1.0,
    ) -> None:
        self.interpreter = str(interpreter)
        self.environment = environment
        self.arguments = tuple(arguments)
        self.cancel_seconds = cancel_seconds
        self.ready: Optional[dict] = None
        self.log: deque = deque(maxlen=_LOG_LINES)
        self._events: queue.SimpleQueue = queue.SimpleQueue()
        self._child: Optional[EngineProcess] = None
        self._jobs: dict[int, _Job] = {}
        self._numbers = itertools.count(1)
        _open_clients.add(self)

    def __enter__(self) -> EngineClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Whether the engine's process runs; it may still be loading torch (then `ready` is None)."""
        return self._child is not None and self._child.process.poll() is None

    @property
    def busy(self) -> bool:
        """Whether any job has not been answered."""
        return bool(self._jobs)

    def start(self) -> None:
        """Start the process, if none runs.

        Raises
        ------
        XAIError
            If the interpreter cannot be started.
        """
        if self.alive:
            return
        self._child, self.ready = None, None  # of one that has died, poll still hears the last events
        command = [self.interpreter, *self.arguments, "-m", "XAIExplainLib.worker"]
        if threading.current_thread() is threading.main_thread():
            # The kernel counts the death of the thread that started the child as its parent's; only the main thread
            # lives as long as the process.
            command.append("--die-with-parent")
        try:
            self._child = EngineProcess(command, self._child_environment(), self.log, self._events)
        except OSError as error:
            raise XAIError(
                f"The engine's Python could not be started: {self.interpreter} ({error.strerror or error}).",
                "Choose the path of a Python that has torch, in the engine's settings.",
            ) from None

    def request(self, command: str, callback: Optional[Callback] = None, **fields: Any) -> int:
        """Ask; returns the job's number at once.

        Parameters
        ----------
        command : str
            A command of the protocol.
        callback : callable, optional
            Takes each event of this job as a dict; called from `poll`, never from another thread.
        **fields
            The other fields of the request.
        """
        number = next(self._numbers)
        job = _Job(number, {"id": number, "command": command, **fields}, callback)
        self._jobs[number] = job
        self._ask(job)
        return number

    def poll(self) -> None:
        """Hand out the events that have come; the panel's timer calls this some twenty times a second."""
        self._hand_out()
        now = time.monotonic()
        late = [job for job in self._jobs.values() if job.cancel_deadline is not None and job.cancel_deadline < now]
        if late:
            self._restart_without(late)
            self._hand_out()

    def wait(
        self,
        job: int,
        timeout: Optional[float] = None,
        on_progress: Optional[Callback] = None,
        on_preview: Optional[Callback] = None,
    ) -> dict:
        """Poll until `job` is answered, and return its result; the file of a preview must be read in its callback.

        Raises
        ------
        CancelledError
            If it was cancelled.
        XAIError
            If the engine answered with an error, or died, or `timeout` seconds passed.
        KeyError
            If there is no such job, or it was answered before.
        """
        waiting = self._jobs[job]
        given = waiting.callback

        def callback(event: dict) -> None:
            if given is not None:
                given(event)
            if on_progress is not None and event.get("event") == "progress":
                on_progress(event)
            if on_preview is not None and event.get("event") == "preview":
                on_preview(event)

        waiting.callback = callback
        deadline = None if timeout is None else time.monotonic() + timeout
        while waiting.last_event is None:
            self.poll()
            if waiting.last_event is None:
                if deadline is not None and time.monotonic() > deadline:
                    raise XAIError(f"The engine did not answer within {timeout:g} seconds.", "Wait longer, or cancel.")
                time.sleep(0.01)
        event = waiting.last_event
        if event["event"] == "result":
            return event["result"]
        if event.get("kind") == protocol.CANCELLED:
            raise CancelledError
        error = XAIError(event.get("message", "The engine failed."), event.get("hint", ""))
        error.event = event  # type: ignore[attr-defined]
        raise error

    def cancel(self, job: int) -> None:
        """Ask that `job` stops; it gets an error event of the kind "cancelled", by force after `cancel_seconds`."""
        waiting = self._jobs.get(job)
        if waiting is None or waiting.cancel_deadline is not None:
            return
        waiting.cancel_deadline = time.monotonic() + self.cancel_seconds
        if waiting.child is not None:
            waiting.child.send({"id": next(self._numbers), "command": "cancel", "job": job})

    def stop(self) -> None:
        """End the process; open jobs get an error event at the next `poll`. May be called at any time, and again."""
        child, self._child, self.ready = self._child, None, None
        for job in self._jobs.values():
            job.child = None
            self._events.put((None, {
                "id": job.number, "event": "error", "kind": protocol.CANCELLED, "message": "The engine was stopped.",
                "hint": "Ask again; it starts by itself.",
            }))  # fmt: skip
        if child is not None:
            child.close_input()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(0.7)
            child.kill()

    def _ask(self, job: _Job) -> None:
        """Send `job` to the engine, which is started if need be; a failure to start is the job's answer."""
        try:
            self.start()
        except XAIError as error:
            job.child = None
            self._events.put((None, _died(job.number, error.message, error.hint)))
            return
        assert self._child is not None
        job.child = self._child
        self._child.send(job.request)

    def _hand_out(self) -> None:
        while True:
            try:
                child, event = self._events.get_nowait()
            except queue.Empty:
                return
            if event is None:
                self._after_death(child)
            else:
                self._dispatch(child, event)

    def _child_environment(self) -> dict[str, str]:
        environment = dict(os.environ if self.environment is None else self.environment)
        if os.path.abspath(self.interpreter) != os.path.abspath(sys.executable):  # noqa: PTH100 - links matter: .venv
            environment.pop("PYTHONHOME", None)
            environment.pop("PYTHONPATH", None)
        paths = [_PACKAGE_PARENT, environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        # A file called torch.py in the folder that the user happens to be in must not be taken for torch.
        environment["PYTHONSAFEPATH"] = "1"
        environment["PYTHONIOENCODING"] = "utf-8"
        return environment

    def _dispatch(self, child: Optional[EngineProcess], event: dict) -> None:
        kind = event.get("event")
        if kind == "ready" and child is self._child:
            self.ready = event
        elif kind == "fatal" and child is not None:
            child.fatal = event
        job = self._jobs.get(event.get("id"))  # type: ignore[arg-type]
        if job is None or job.child is not child:
            return  # the answer to a cancel, or the last words of a process that was given up
        if kind in protocol.LAST_EVENTS:
            job.last_event = event
            del self._jobs[job.number]
            job.remove_previews()
        elif kind == "preview":
            job.previews.append(str(event.get("map")))
        if kind not in protocol.LAST_EVENTS and job.cancel_deadline is not None:
            return  # progress of a job that its user has given up
        if job.callback is not None:
            job.callback(event)

    def _after_death(self, child: EngineProcess) -> None:
        """Answer every job that `child` had, once, with a sentence that says how the process ended."""
        if child is self._child:
            self._child, self.ready = None, None
        message, hint = self._obituary(child)
        for job in list(self._jobs.values()):
            if job.child is child:
                cancelled = job.cancel_deadline is not None
                self._dispatch(child, _cancelled(job.number) if cancelled else _died(job.number, message, hint))

    def _restart_without(self, late: list[_Job]) -> None:
        """End a process that does not listen; the jobs behind the cancelled ones are asked again of a new one."""
        child, self._child, self.ready = self._child, None, None
        if child is not None:
            child.kill()
        for job in late:
            job.child = None
            self._events.put((None, _cancelled(job.number)))
        with contextlib.suppress(XAIError):  # jobs that wait are told so below; without any, the next request is
            self.start()
        for job in self._jobs.values():
            if job not in late:
                self._ask(job)

    def _obituary(self, child: EngineProcess) -> tuple[str, str]:
        code = child.process.returncode
        if child.fatal is not None:
            return child.fatal.get("message", "The engine could not start."), child.fatal.get("hint", "")
        last = next((line for line in reversed(self.log) if line.strip()), "")
        if not WINDOWS and code == -signal.SIGKILL:
            return (
                "The engine's process was killed, most likely by the system because memory ran out.",
                "Close other programs, choose a smaller volume or a lower memory budget, and run it again.",
            )
        if code is not None and code < 0:
            return (
                f"The engine's process was ended by signal {-code}.",
                f"Run it again; its last words were: {last}" if last else "Run it again.",
            )
        if "No module named" in last:
            return f"The engine could not start: {last}.", f"Install it for {self.interpreter}, or choose another."
        return (
            f"The engine's process ended by itself (exit code {code}).",
            f"Its last words were: {last}" if last else "Its log is empty.",
        )


def _died(number: int, message: str, hint: str) -> dict:
    return {"id": number, "event": "error", "kind": protocol.DIED, "message": message, "hint": hint}


def _cancelled(number: int) -> dict:
    error = CancelledError()
    return {
        "id": number, "event": "error", "kind": protocol.CANCELLED, "message": error.message, "hint": error.hint,
    }  # fmt: skip


@atexit.register
def _stop_all() -> None:
    """No engine outlives its client, even one that forgot to stop it."""
    for client in list(_open_clients):
        with contextlib.suppress(Exception):
            client.stop()

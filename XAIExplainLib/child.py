"""One process of the engine, its three pipes, and the threads that keep them from blocking anybody.

Standard library only and no newer syntax than Python 3.9's, as `XAIExplainLib.client`, which uses it.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
from collections import deque
from typing import Any, Optional

from XAIExplainLib import protocol
from XAIExplainLib.errors import XAIError

WINDOWS = os.name == "nt"


class EngineProcess:
    """A process of the engine.

    Parameters
    ----------
    command, environment
        What is started, and with which variables.
    log : deque of str
        Takes the lines of its standard error.
    events : SimpleQueue
        Takes (this object, event) for every event, and (this object, None) when the process has ended.

    Raises
    ------
    OSError
        If it cannot be started.
    """

    def __init__(self, command: list[str], environment: dict[str, str], log: deque, events: queue.SimpleQueue) -> None:
        options: dict[str, Any] = {}
        if WINDOWS:
            options["creationflags"] = subprocess.CREATE_NO_WINDOW  # type: ignore[attr-defined]
        else:
            # A group of its own: a Ctrl-C in the terminal is the client's to handle, and the whole tree can be ended.
            options["start_new_session"] = True
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, **options
        )
        self.fatal: Optional[dict] = None
        self._events = events
        self._log = log
        self._lines: queue.SimpleQueue = queue.SimpleQueue()
        self._errors_read = threading.Thread(target=self._read_errors, daemon=True, name="xai-engine-log")
        for thread in (
            self._errors_read,
            threading.Thread(target=self._read_events, daemon=True, name="xai-engine-events"),
            threading.Thread(target=self._write, daemon=True, name="xai-engine-requests"),
        ):
            thread.start()

    def send(self, message: dict) -> None:
        """Queue a line: a pipe that is full must not stop the caller's thread."""
        self._lines.put(protocol.encode(message))

    def close_input(self) -> None:
        """Tell the child, by the end of its input, that nobody listens any more."""
        self._lines.put(None)

    def kill(self) -> None:
        """End the process and all it has started, now."""
        self._lines.put(None)
        with contextlib.suppress(OSError):
            if WINDOWS:
                subprocess.run(
                    ["taskkill", "/F", "/T", "/PID", str(self.process.pid)], capture_output=True, check=False,
                    creationflags=subprocess.CREATE_NO_WINDOW,  # type: ignore[attr-defined]
                )  # fmt: skip
            elif self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2)

    def _write(self) -> None:
        stdin = self.process.stdin
        assert stdin is not None
        # A broken pipe is the child's death, which the reader of its events reports.
        with contextlib.suppress(OSError, ValueError):
            while True:
                line = self._lines.get()
                if line is None:
                    break
                stdin.write(line)
                stdin.flush()
        with contextlib.suppress(OSError, ValueError):
            stdin.close()

    def _read_events(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            for line in self.process.stdout:
                try:
                    self._events.put((self, protocol.decode(line)))
                except XAIError:
                    self._log.append(line.decode("utf-8", "replace").rstrip())
        self._errors_read.join(0.5)  # the last words on stderr say why
        self.process.wait()
        self._events.put((self, None))

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        with contextlib.suppress(OSError, ValueError):
            for line in self.process.stderr:
                self._log.append(line.decode("utf-8", "replace").rstrip())

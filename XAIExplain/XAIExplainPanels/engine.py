"""The engine's process as the panel sees it: asked, answered on the main thread, cancelled, replaced."""

import qt

from XAIExplainPanels import interpreter
from XAIExplainPanels.stepwise import letGo

POLL_MILLISECONDS = 50


class Engine:
    """
    Owns the client of the engine's process. It starts with the first request; answers come from a timer on the main
    thread, so no call here waits.

    :param client: a client to use instead of one made for the chosen interpreter (for scripts and tests).
    """

    def __init__(self, client=None):
        self._client = client
        self._made = client is None
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MILLISECONDS)
        self._timer.connect("timeout()", self.poll)
        self.onStateChanged = None

    @property
    def client(self):
        if self._client is None:
            from XAIExplainLib.client import EngineClient

            path = interpreter.interpreter()
            self._client = EngineClient(path, interpreter.environment(path))
        return self._client

    @property
    def ready(self):
        """What the engine said when it had started (versions, device), or None."""
        return self._client.ready if self._client is not None else None

    @property
    def alive(self):
        return self._client is not None and self._client.alive

    @property
    def log(self):
        """What the engine's process wrote, as text."""
        return "\n".join(str(line) for line in (self._client.log if self._client is not None else []))

    def request(self, command, onResult=None, onError=None, onProgress=None, onPreview=None, **fields):
        """
        Ask the engine; returns the job at once.

        :param onResult: called with the result (dict or list).
        :param onError: called with the error event: kind, message, hint.
        :param onProgress: called with each progress event: fraction, elapsed, remaining, message.
        :param onPreview: called with each map that is on its way: map (a file), stage, display, diagnostics.
        """

        def onEvent(event):
            kind = event.get("event")
            if kind == "result" and onResult:
                onResult(event.get("result"))
            elif kind == "error" and onError:
                onError(event)
            elif kind == "progress" and onProgress:
                onProgress(event)
            elif kind == "preview" and onPreview:
                onPreview(event)

        job = self.client.request(command, onEvent, **fields)
        if not self._timer.active:
            self._timer.start()
        return job

    def poll(self):
        """Hand out what the engine has answered."""
        if self._client is None:
            self._timer.stop()
            return
        before = (self.alive, self.ready is not None)
        self._client.poll()
        if not self._client.busy:
            self._timer.stop()
        if self.onStateChanged and before != (self.alive, self.ready is not None):
            self.onStateChanged()

    def cancel(self, job):
        if self._client is not None:
            self._client.cancel(job)

    def restart(self):
        """End the process; the next request starts another, with the interpreter that is chosen then."""
        self.stop()
        if self._made:
            self._client = None

    def close(self):
        """End the process; the engine is not asked any more."""
        self.onStateChanged = None
        self.stop()
        letGo(self._timer, self.poll)

    def stop(self):
        """End the process and the timer; may be called again."""
        self._timer.stop()
        if self._client is not None:
            self._client.stop()

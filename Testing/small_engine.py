"""An engine's process without torch: starts in no time, and misbehaves on request. Run as a script by the tests."""

import os
import signal
import sys
import time
from pathlib import Path

from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainLib.worker import Worker, claim_streams, die_with_parent, watch_parent


class SmallEngine:
    """Commands that do what a real engine may come to do."""

    def greeting(self):
        return {"protocol": 1, "version": "small", "python": "", "torch": "none", "device": "cpu", "pid": os.getpid()}

    def commands(self):
        names = ("echo", "work", "deaf", "chatter", "kill", "leave", "memory", "bug", "user", "look")
        return {name: getattr(self, name) for name in names}

    def echo(self, request, job):
        return {"said": request.get("word"), "pid": os.getpid()}

    def work(self, request, job):
        """Run for some seconds, saying how far, listening to cancel."""
        seconds = request.get("seconds", 1)
        start = time.monotonic()
        while (elapsed := time.monotonic() - start) < seconds:
            if job.cancelled():
                raise CancelledError
            job.progress(elapsed / seconds, "working")
            time.sleep(0.005)
        return {"seconds": elapsed}

    def deaf(self, request, job):
        """Run without ever listening."""
        time.sleep(request.get("seconds", 60))
        return {}

    def chatter(self, request, job):
        """Print as a library might, to Python's and to C's standard output."""
        sys.stdout.write('{"id": 1, "event": "result", "result": "forged"}\n')
        os.write(1, b"noise from C\n")
        return {"quiet": True}

    def look(self, request, job):
        """Show a map that is on its way, then do as told."""
        path = Path(request["file"])
        path.write_text("half a map")
        job.preview({"map": str(path), "stage": {"number": 1, "of": 2}})
        return getattr(self, request["then"])(request, job)

    def kill(self, request, job):
        os.kill(os.getpid(), signal.SIGKILL)

    def leave(self, request, job):
        sys.stderr.write("the roof fell in\n")
        sys.stderr.flush()
        os._exit(7)

    def memory(self, request, job):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried")

    def bug(self, request, job):
        return {}["nothing"]

    def user(self, request, job):
        raise XAIError("The volume is upside down.", "Turn it round.")


def main():
    """Serve one client, as XAIExplainLib.worker does."""
    if "--die-with-parent" in sys.argv:
        die_with_parent()
    stdin, stdout = claim_streams()
    watch_parent()
    os._exit(Worker(stdin, stdout).serve(SmallEngine))


if __name__ == "__main__":
    main()

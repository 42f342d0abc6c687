"""Work done a little at a time between the window's events, so that it answers meanwhile."""

import time

import qt

SLICE = 0.012  # seconds of work between two looks at the user's clicks


def letGo(timer, act):
    """Stop a timer for good: what it is connected with would live as long as it does, and the other way around."""
    timer.stop()
    timer.disconnect("timeout()", act)


class Stepwise:
    """Runs one generator, some steps at each turn of the event loop; its `yield`s are where it may pause."""

    def __init__(self):
        self._work = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._onTimer)

    @property
    def busy(self):
        return self._work is not None

    def begin(self, work):
        """Do this from now on, and no more of what was not finished."""
        self.stop()
        self._work = work
        self._timer.start(0)

    def stop(self):
        """Leave off where it is."""
        work, self._work = self._work, None
        self._timer.stop()
        if work is not None and not work.gi_running:
            work.close()  # files that it has open

    def close(self):
        """No more work is ever begun."""
        self.stop()
        letGo(self._timer, self._onTimer)

    def finish(self):
        """Do the rest at once, for a script that waits."""
        while self._step():
            pass

    def _onTimer(self):
        end = time.monotonic() + SLICE
        while self._step():
            if time.monotonic() > end:
                self._timer.start(0)
                return

    def _step(self):
        """One step; returns whether there is another of the same work."""
        work = self._work
        if work is None:
            return False
        try:
            next(work)
        except StopIteration:
            if self._work is work:  # else its last step began another
                self._work = None
            return False
        except BaseException:
            self._work = None
            raise
        return self._work is work

"""For scripts: work that a panel spreads over its events, done while the caller waits."""

import time

import slicer


def wait(engine, done):
    """Hand out the engine's answers until `done()`."""
    while not done():
        engine.poll()
        slicer.app.processEvents()
        time.sleep(0.01)

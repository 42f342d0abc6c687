"""An engine that fails while it starts, as FOLDER/failure.json says; for tests of what the panel makes of it."""

import json
import os
import signal
import sys
from pathlib import Path


def main(folder):
    """Say the last words, and end."""
    order = json.loads((Path(folder) / "failure.json").read_text())
    if "fatal" in order:
        print(json.dumps({"event": "fatal", "hint": "", **order["fatal"]}), flush=True)
        return 3
    print(order.get("words", ""), file=sys.stderr, flush=True)
    if "signal" in order:
        os.kill(os.getpid(), getattr(signal, order["signal"]))
    return int(order.get("code", 1))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

"""Peak memory, measured by the system in a fresh process of its own for each figure.

``python -m benchmarks.memory METHOD NETWORK SIZE WHO BUDGET`` answers with one line of JSON: the growth of resident
memory over what the process held before the run, its highest resident memory, and seconds. Linux.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.rows import today

ROOT = Path(__file__).resolve().parent.parent


def measured(method: str, network: str, size: int, who: str, budget: str = "") -> dict[str, Any]:
    """What a fresh process takes for one explanation of a row's kind."""
    command = [sys.executable, "-P", "-m", "benchmarks.memory", method, network, str(size), who, budget]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        return {"fails": (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1][:200]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def peaks(row: dict[str, Any], size: int) -> dict[str, Any]:
    """The growth of ours and of each peer that works, in bytes, for a row that has been timed."""
    who = ["ours", *(name for name, peer in row["peers"].items() if "fails" not in peer and name != "own dense")]
    found = {name: measured(row["method"], row["network"], size, name) for name in who}
    return {name: one["grown"] for name, one in found.items() if "grown" in one}


class Saliency:
    """Bytes a voxel of the gradient: the slope between two sizes, so that what is there anyway cancels."""

    method, network, size, quick = "memory of the gradient", "DenseNet121", 96, False
    sizes = (96, 128)
    name = "memory of the gradient DenseNet121 96 128"

    def estimate(self, options: Any) -> float:
        """About how many seconds."""
        return 90.0

    def measure(self, options: Any) -> dict[str, Any]:
        """Measure it."""
        small, large = self.sizes
        found = {}
        for who in ("ours", "captum", "MONAI"):
            grown = [measured("gradient", self.network, size, who) for size in self.sizes]
            failed = next((one["fails"] for one in grown if "fails" in one), None)
            found[who] = {"fails": failed} if failed else {
                "bytes": (grown[1]["grown"] - grown[0]["grown"]) / (large**3 - small**3),
                "peak": grown[1]["grown"],
            }  # fmt: skip
        ours = found.pop("ours")
        if "fails" in ours:
            raise RuntimeError(ours["fails"])
        return {
            "name": self.name, "method": "gradient: bytes a voxel", "network": self.network, "weights": "random",
            "volume": f"{small}^3 and {large}^3", "threads": options.threads, "clock": "memory",
            "figure": ours["bytes"], "units": "bytes a voxel",
            "peers": {who: {**one, "figure": one.get("bytes")} for who, one in found.items()},
            "notes": [
                f"growth of resident memory in a fresh process each, slope from {small}^3 to {large}^3; at {large}^3 "
                f"ours {ours['peak'] / 2**20:.0f} MiB"
                + "".join(f", {who} {one['peak'] / 2**20:.0f} MiB" for who, one in found.items() if "peak" in one)
            ],
            "goals": [{"text": "at most 190 bytes a voxel", "found": ours["bytes"], "met": ours["bytes"] <= 190}],
            "date": today(),
        }  # fmt: skip


class Large:
    """The gradient of 256^3 voxels within 4 GiB."""

    network, size, quick = "DenseNet121", 256, False
    name = "memory of the gradient DenseNet121 256"

    def estimate(self, options: Any) -> float:
        """About how many seconds."""
        return 90.0

    def measure(self, options: Any) -> dict[str, Any]:
        """Measure it."""
        found = measured("gradient", self.network, self.size, "ours", "4GiB")
        if "fails" in found:
            raise RuntimeError(found["fails"])
        peak = found["peak"] / 2**30
        return {
            "name": self.name, "method": 'gradient, memory="4GiB"', "network": self.network, "weights": "random",
            "volume": "256 x 256 x 256", "threads": options.threads, "clock": "memory", "figure": peak,
            "units": "GiB at most", "peers": {}, "date": today(),
            "notes": [f"highest resident memory of the whole process, torch and all; {found['seconds']:.0f} s of it"],
            "goals": [{"text": "under 4 GiB resident", "found": peak, "met": peak < 4}],
        }  # fmt: skip


def rows() -> list[Any]:
    """All of this kind."""
    return [Saliency(), Large()]


def status(field: str) -> int:
    """A figure of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def main(method: str, network: str, size: int, who: str, budget: str) -> dict[str, Any]:
    """In the fresh process: one explanation, after what is made once. Peers stop after two batches where they can."""
    import torch

    from benchmarks import rows_gradients, rows_occlusion, rows_samples
    from benchmarks.networks import subject
    from benchmarks.rows import Options
    from XAIExplainLib import explain
    from XAIExplainLib.allocator import give_memory_back
    from XAIExplainLib.compute.graphs import graph_of

    torch.set_num_threads(1)
    one = subject(network, size)
    kinds = (rows_gradients, rows_occlusion, rows_samples)
    row = next(row for kind in kinds for row in kind.rows() if (row.method, row.network) == (method, network))
    contest = row.contest(one, Options(part=16, memory=True))
    run = contest.ours if who == "ours" else contest.peers[who]
    if who == "ours":
        graph_of(one.model, one.x)
    if budget:

        def run() -> Any:
            return explain(one.model, one.volume, method, one.target, memory=budget)

    give_memory_back()
    whole, before = status("VmHWM"), status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the highest figure starts anew
    began = time.perf_counter()
    run()
    highest = status("VmHWM")
    return {"grown": highest - before, "peak": max(whole, highest), "seconds": time.perf_counter() - began}


if __name__ == "__main__":
    _method, _network, _size, _who, _budget = sys.argv[1:6]
    sys.stdout.write(json.dumps(main(_method, _network, int(_size), _who, _budget)) + "\n")

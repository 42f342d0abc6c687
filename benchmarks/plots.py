"""Cost against the size of the volume and against the number of windows: measured as series, drawn from the JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.limits import best_batch, operations_share
from benchmarks.networks import FORWARD, subject
from benchmarks.rows import Options, today
from benchmarks.timing import in_turns
from XAIExplainLib.compute.graphs import graph_of

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
NETWORKS = ("plain", "DenseNet121")
SIZES = (32, 48, 64, 96, 128)
STRIDES = (8, 6, 5, 4)  # at 64^3, windows of 8; captum and MONAI take no stride above the window
PART = 16
# Okabe and Ito's, told apart also by the form of the marks.
STYLES = {
    "captum": ("captum", "#D55E00", "s"), "MONAI": ("MONAI", "#E69F00", "^"), "ours": ("XAIExplain", "#0072B2", "o"),
    "bound": ("operations bound", "#555555", ""),
}  # fmt: skip


class Point:
    """Occlusion on one grid: a point of a curve."""

    def __init__(self, series: str, network: str, size: int, window: int, stride: int) -> None:
        self.series, self.network, self.size, self.window, self.stride = series, network, size, window, stride
        self.name = f"series {series} {network} {size} {window}/{stride}"
        self.quick = False

    def estimate(self, options: Options) -> float:
        """About how many seconds."""
        forward = FORWARD[self.network] * (self.size / 64) ** 3
        count = (self.size / self.stride) ** 3
        share = {"plain": 20, "DenseNet121": 2}[self.network]
        return 3 + forward * (2 * min(count, PART + 8) * 1.1 + count / share + 12)

    def measure(self, options: Options) -> dict[str, Any]:
        """Measure it."""
        one = subject(self.network, self.size)
        count = peers.windows(one.shape, self.window, self.stride)
        runs: dict[str, Any] = {
            "ours": lambda: one.ours("occlusion", window=self.window, stride=self.stride),
            "captum": peers.occlusion_captum(one, self.window, self.stride, PART, options.threads),
            "MONAI": peers.occlusion_monai(one, self.window, self.stride, PART, options.threads),
        }
        graph_of(one.model, one.x)  # made once, and not counted
        one.forward(peers.AT_ONCE)
        timed = in_turns(runs, options.threads, frozenset(runs), quick=True)
        each = best_batch(one, options.threads, quick=True)[1]
        bound = each * count * operations_share(one, self.window, self.stride)
        return {
            "name": self.name, "series": self.series, "network": self.network, "size": self.size,
            "window": self.window, "stride": self.stride, "windows": count, "threads": options.threads,
            **{who: timed[who].seconds for who in runs if not timed[who].error}, "bound": bound, "date": today(),
        }  # fmt: skip


def points() -> list[Point]:
    """All of both figures."""
    found = [Point("size", network, size, 16, 16) for network in NETWORKS for size in SIZES]
    for network in NETWORKS:
        found += [Point("windows", network, 64, 8, stride) for stride in STRIDES if network == "plain" or stride > 5]
    return found


def draw(record: dict[str, Any], folder: Path = IMAGES) -> list[Path]:
    """Draw what the record has; gives the pictures."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawn = []
    for series, across, title in (
        ("size", "size", "windows of 16 voxels side by side"),
        ("windows", "windows", "64³ voxels, windows of 8 voxels"),
    ):  # fmt: skip
        rows = [row for row in record["series"] if row["series"] == series and row["threads"] == 1]
        networks = [network for network in NETWORKS if any(row["network"] == network for row in rows)]
        if not networks:
            continue
        figure, axes = pyplot.subplots(1, len(networks), figsize=(4.6 * len(networks), 3.9), sharey=True, squeeze=False)
        for axis, network in zip(axes[0], networks, strict=True):
            _panel(axis, [row for row in rows if row["network"] == network], across)
            axis.set_title(network, fontsize=11)
        axes[0][0].set_ylabel("seconds of one core")
        axes[0][0].legend(frameon=False, fontsize=9)
        figure.suptitle(f"Occlusion: {title}", fontsize=12)
        figure.tight_layout()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"speed-{series}.png"
        figure.savefig(path, dpi=130)
        pyplot.close(figure)
        drawn.append(path)
    return drawn


def _panel(axis: Any, rows: list[dict[str, Any]], across: str) -> None:
    rows = sorted(rows, key=lambda row: row[across])
    for who, (label, colour, mark) in STYLES.items():
        here = [row for row in rows if who in row]
        axis.plot([row[across] for row in here], [row[who] for row in here], color=colour, marker=mark or None,
                  linestyle="--" if who == "bound" else "-", label=label, markersize=5)  # fmt: skip
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    ticks = [row[across] for row in rows]
    axis.set_xticks(ticks, [f"{tick}³" if across == "size" else f"{tick}" for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel("voxels" if across == "size" else "windows")
    axis.grid(True, color="#dddddd", linewidth=0.6)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)

"""Ours against captum, MONAI, zennit, shap and lime, in turns: ``python3 xai.py bench``; see docs/speed.md.

Each row is written to the results as soon as it is measured, in place of the one that was there.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from benchmarks import memory, plots, report, rows_cost, rows_engine, rows_gradients, rows_occlusion, rows_samples
from benchmarks.rows import Options, use_threads
from XAIExplainLib.allocator import keep_freed_memory

RESULTS = Path(__file__).with_name("results.md")


def all_rows() -> list[Any]:
    """In the order of the table."""
    kinds = (rows_gradients, rows_occlusion, rows_samples, memory, rows_engine, rows_cost)
    return [row for kind in kinds for row in kind.rows()]


def chosen(rows: list[Any], only: list[str], quick: bool) -> list[Any]:
    """Rows that have all words of one of the names in `only`; or the quick ones; or all."""
    if only:
        return [row for row in rows if any(set(words_of(name)) <= set(words_of(row.name)) for name in only)]
    return [row for row in rows if row.quick or not quick]


def words_of(name: str) -> list[str]:
    """Whole words: gradient is not integrated gradients."""
    return name.lower().replace(",", " ").split()


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="xai.py bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the cheap rows, each run at most twice")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help='rows such as "gradient plain"')
    parser.add_argument("--threads", nargs="+", type=int, default=[1], help="1: processor time; more: time on the wall")
    parser.add_argument("--peer-windows", type=int, metavar="N",
                        help="time peers on N windows or samples and scale; the row says so")  # fmt: skip
    parser.add_argument("--memory", action="store_true", help="peak memory of rows that have been timed, no times")
    parser.add_argument("--plots", action="store_true", help="measure the curves that are missing, and draw them")
    parser.add_argument("--draw", action="store_true", help="only make the table and the pictures from the JSON")
    parser.add_argument("--plan", action="store_true", help="say about how long it would take, and stop")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the table; the JSON lies beside it")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    """Measure and write."""
    given = arguments(words)
    path = given.output.with_suffix(".json")
    rows, part = all_rows(), "rows"
    if given.plots:
        known = {row["name"] for row in report.load(path)["series"]}
        todo, part = [point for point in plots.points() if given.only or point.name not in known], "series"
        todo = chosen(todo, given.only, False)
    else:
        todo = chosen(rows, given.only, given.quick)
    if not todo and not given.plots and not given.draw:
        sys.stderr.write("error: no row is called so; --plan lists them.\n")
        return 2
    order = [row.name for row in (plots.points() if given.plots else rows)]
    if given.plan:
        return plan(todo, given)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    keep_freed_memory()  # for the peers too
    if given.memory:
        return peaks(todo, path, order)
    failed = 0
    for threads in [] if given.draw else given.threads:
        use_threads(threads)
        options = Options(threads, given.peer_windows, given.quick)
        for row in todo:
            if threads > 1 and isinstance(row, memory.Saliency | memory.Large):
                continue
            began = time.monotonic()
            try:
                found = row.measure(options)
            except Exception as error:
                failed += 1
                say(f"FAILED {row.name}: {type(error).__name__}: {error}")
                continue
            report.put(path, part, found, order)
            say(summary(found, part) + f"  [{time.monotonic() - began:.0f} s]")
    if given.plots or given.draw:
        for picture in plots.draw(report.load(path), plots.IMAGES if given.output == RESULTS else path.parent):
            say(str(picture))
    if given.draw:
        given.output.write_text(report.table(report.load(path)), encoding="utf-8")
    return 1 if failed else 0


def peaks(rows: list[Any], path: Path, order: list[str]) -> int:
    """Add peak memory to the rows that have been timed with one thread."""
    known = {row["name"]: row for row in report.load(path)["rows"] if row["threads"] == 1 and "figure" not in row}
    for row in rows:
        if row.name in known:
            found = memory.peaks(known[row.name], row.size)
            report.put(path, "rows", {**known[row.name], "memory": found}, order)
            say(f"{row.name}: " + report.memories({"memory": found}) + " MiB")
    return 0


def plan(rows: list[Any], given: argparse.Namespace) -> int:
    """Print the estimated minutes."""
    total = 0.0
    for threads in given.threads:
        options = Options(threads, given.peer_windows, given.quick)
        for row in rows:
            minutes = row.estimate(options) / 60
            total += minutes
            say(f"{minutes:6.1f} min  {threads} thread{'s' * (threads > 1)}  {row.name}")
    say(f"{total:6.1f} min in all, about, on a core of 50 GMAC/s")
    return 0


def summary(found: dict[str, Any], part: str) -> str:
    """A line for who watches."""
    if part == "series":
        return f"{found['name']}: " + ", ".join(f"{who} {found[who]:.3g} s" for who in plots.STYLES if who in found)
    return " | ".join(cell for cell in report.cells(found, "") if cell)


def say(line: str) -> None:
    """To whoever started it, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

"""The command ``xaiexplain compare``: several methods on one case, as a folder of maps, tables and a page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from XAIExplainLib.errors import XAIError

if TYPE_CHECKING:
    from XAIExplainLib.engine import LocalEngine, Run
    from XAIExplainLib.evaluation.report import Report
    from XAIExplainLib.volume import Volume


class Stopped(KeyboardInterrupt):
    """Ctrl-C, after some of the maps were written."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument("--methods", required=True, metavar="A,B|all", help="methods, or all that make maps")
    parser.add_argument(
        "--output", required=True, metavar="DIR",
        help="a new or empty folder, or one of an earlier comparison, which is replaced",
    )  # fmt: skip
    parser.add_argument(
        "--truth", metavar="MASK",
        help="non-zero where the reason truly lies: a volume on any grid, or a bundled case, whose mask is taken",
    )  # fmt: skip
    parser.add_argument(
        "--within", metavar="MASK",
        help="where to measure; by default all that the network sees, without the zeros around a masked volume",
    )  # fmt: skip
    parser.add_argument(
        "--set", action="append", default=[], metavar="METHOD.NAME=VALUE", dest="parameters",
        help="a parameter of one of the methods; may be repeated",
    )  # fmt: skip


def compare(request: dict[str, Any], arguments: argparse.Namespace, engine: LocalEngine, run: Run) -> list[str]:
    """Ask the methods one after the other; returns the lines of the summary.

    What one method has given is written before the next one begins, so that a run that is stopped keeps it.

    Parameters
    ----------
    request : dict
        Model and volumes, as for the engine's other commands.
    arguments : argparse.Namespace
        The options above, and target, memory, device and seed.
    engine : LocalEngine
        Where model and volume come from.
    run : Run
        Hears how far the run is.

    Raises
    ------
    XAIError
        If something that the user can mend is wrong, or every method refuses.
    Stopped
        If Ctrl-C ended the run when some of the maps were there.
    """
    from XAIExplainLib.compute.memory import parse_memory
    from XAIExplainLib.evaluation.comparison import Comparison, chosen_methods
    from XAIExplainLib.evaluation.report import Report

    names = chosen_methods(arguments.methods)
    parameters = parameters_of(arguments.parameters, names)
    report = Report(arguments.output)
    parse_memory(arguments.memory)
    run.progress(0.0, "loading")
    truth = None if arguments.truth is None else load_mask(arguments.truth)
    within = None if arguments.within is None else load_mask(arguments.within)
    comparison = Comparison(
        engine.model(request), engine.volume(request), arguments.target, truth, within, arguments.device or "cpu",
        arguments.memory, arguments.seed,
    )  # fmt: skip
    report.start(comparison, names)
    try:
        for n, name in enumerate(names):
            share = _Share(run, n, len(names), name)
            share.progress(0.0)
            report.add(*comparison.run(name, parameters.get(name, {}), share.progress, run.cancelled))
    except KeyboardInterrupt:
        if any(row.map for row in report.rows):
            raise Stopped from None
        raise
    if not any(row.map for row in report.rows):
        first = report.rows[0]
        what = "Every method refuses" if len(names) > 1 else "The method refuses"
        raise XAIError(f"{what}; {first.method}: {first.refused}", first.hint)
    return summary(report)


def parameters_of(texts: list[str], names: list[str]) -> dict[str, dict[str, str]]:
    """The parameters of each method, from ``METHOD.NAME=VALUE``; checked, so that nothing runs in vain.

    Raises
    ------
    XAIError
        If a text is not understood, or a method does not run or has no such parameter.
    """
    from XAIExplainLib.method import get_method

    found: dict[str, dict[str, str]] = {}
    for text in texts:
        left, equals, value = text.partition("=")
        method, dot, name = (part.strip() for part in left.partition("."))
        if not (equals and dot and method and name):
            raise XAIError(f"The parameter {text!r} is not understood.", "Give it as --set METHOD.name=value.")
        if method not in names:
            raise XAIError(f"The method {method} of --set {text} is not compared.", f"Compared: {', '.join(names)}.")
        found.setdefault(method, {})[name] = value.strip()
    for method, given in found.items():
        get_method(method).check_parameters(given)
    return found


def load_mask(name: str) -> Volume:
    """A mask from a file, or the mask of a bundled case.

    Raises
    ------
    XAIError
        If there is none.
    """
    from XAIExplainLib.cases import case_names, load_case
    from XAIExplainLib.volume import load_volume

    if Path(name).exists() or name not in case_names():
        mask = load_volume(name)
        mask.name = Path(name).name
        return mask
    case = load_case(name)
    if case.mask is None:
        raise XAIError(f"The case {name} has no mask.", "Give the file of a mask.")
    case.mask.name = f"the mask of {name}"
    return case.mask


def summary(report: Report) -> list[str]:
    """A line a method for the terminal."""
    width = max(len(row.method) for row in report.rows)
    lines = []
    for row in report.rows:
        if row.refused:
            lines.append(f"{row.method:{width}}  refuses: {row.refused}")
            continue
        line = f"{row.method:{width}}  {row.seconds:7.1f} s"
        if row.found is not None:
            line += f"  mass {row.found.relevance_mass:.3f}  AUPRC {row.found.average_precision:.3f}"
            line += f"  Dice {row.found.dice:.3f}"
            if row.found.hausdorff is not None:
                line += f"  Hausdorff {row.found.hausdorff:.1f} mm"
        lines.append(line)
    return [*lines, f"page: {report.folder / 'index.html'}"]


class _Share:
    """One method's part of the whole run."""

    def __init__(self, run: Run, n: int, count: int, name: str) -> None:
        self._run, self._n, self._count, self._name = run, n, count, name

    def progress(self, fraction: float, message: str = "") -> None:
        """Tell how far the whole is."""
        text = f"{self._name} ({self._n + 1} of {self._count})" + (f": {message}" if message else "")
        self._run.progress((self._n + fraction) / self._count, text)

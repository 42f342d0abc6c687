"""Figures of the methods on held-out cases of the demo problem, whose truth is known.

Run as ``python -m XAIExplainLib.evaluation.held_out [--methods a,b] [--cases 24]``. Each run is merged into
``docs/localisation.json`` when it ends, so that a long measurement can be made in parts; the table in
``docs/comparison.md`` is written again from that file, between two marks, and what is written outside of them stays.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from XAIExplainLib.errors import XAIError
from XAIExplainLib.evaluation.localisation import chance_levels, localisation
from XAIExplainLib.explaining import explain
from XAIExplainLib.files import atomic_path
from XAIExplainLib.loading import load_model
from XAIExplainLib.method import get_method, methods
from XAIExplainLib.networks.dataset import CaseSet, case_set
from XAIExplainLib.volume import Volume

logger = logging.getLogger(__name__)

SPACING = (2.5, 2.5, 2.5)
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"


class Run(NamedTuple):
    """A method with parameters, and what the table calls it."""

    title: str
    method: str
    parameters: dict[str, Any] = {}


RUNS = (
    Run("Gradient, signed", "gradient"),
    Run("Gradient, absolute", "gradient", {"kind": "absolute"}),
    Run("Gradient x input", "gradient_x_input"),
    Run("SmoothGrad", "smooth_grad"),
    Run("Integrated gradients, zero", "integrated_gradients"),
    Run("Integrated gradients, blur", "integrated_gradients", {"baseline": "blur"}),
    Run("Deconvolution", "deconvolution"),
    Run("Guided backpropagation", "guided_backpropagation"),
    Run("CAM", "cam"),
    Run("Multi-scale CAM", "multi_scale_cam"),
    Run("Grad-CAM, last layer", "grad_cam"),
    Run("Grad-CAM++", "grad_cam_pp"),
    Run("HiResCAM", "hires_cam"),
    Run("LayerCAM", "layer_cam"),
    Run("Guided Grad-CAM", "guided_grad_cam"),
    Run("LRP, epsilon plus", "lrp"),
    Run("LRP, epsilon", "lrp", {"composite": "epsilon"}),
    Run("Deep SHAP", "deep_shap"),
    Run("Gradient SHAP", "gradient_shap"),
    Run("Occlusion 8/8, zero", "occlusion"),
    Run("Occlusion 8/8, blur", "occlusion", {"fill": "blur"}),
    Run("LIME", "lime"),
    Run("Kernel SHAP", "kernel_shap"),
    Run("RISE", "rise"),
    Run("Meaningful perturbation", "meaningful_perturbation"),
    Run("Prediction difference", "prediction_difference"),
)
MEASURES = {
    "relevance_mass": "relevance mass", "relevance_rank": "relevance rank", "pointing_game": "pointing game",
    "average_precision": "AUPRC", "dice": "best Dice", "hausdorff": "Hausdorff, mm",
    "hausdorff_95": "Hausdorff 95 %, mm",
}  # fmt: skip
SKELETON = f"""# The methods compared on held-out lesions

{BEGIN}
{END}

## How to read it

Write here; only what stands between the marks is written again.
"""


def measure(model_name: str, cases: int, runs: Sequence[Run] = RUNS) -> dict[str, Any]:
    """Localisation of each run on `cases` held-out lesions, means over the cases.

    The cases are the first lesions of the test set, whatever the network says of them; the target is ``lesion``; the
    domain is the brain. Maps and masks lie on the network's grid.

    Returns
    -------
    dict
        ``model``, ``cases``, ``chance`` (by measure) and ``methods``: by the run's title, see `figures_of`.
    """
    held_out = case_set("test", 240)
    chosen = [n for n, label in enumerate(held_out.labels) if label > 0][:cases]
    levels = []
    for n in chosen:
        volume = Volume(held_out.images[n].astype(np.float32), SPACING)
        levels.append(chance_levels(held_out.masks[n], volume.array != 0, volume.geometry))
    found: dict[str, Any] = {
        "model": model_name, "cases": len(chosen),
        "chance": {name: float(np.mean([level[name] for level in levels])) for name in levels[0]}, "methods": {},
    }  # fmt: skip
    for run in runs:
        found["methods"][run.title] = figures_of(run, model_name, held_out, chosen)
        logger.info("%s: %s", run.title, found["methods"][run.title])
    return found


def figures_of(run: Run, model_name: str, held_out: CaseSet, chosen: Sequence[int]) -> dict[str, Any]:
    """One run on the cases `chosen`.

    Returns
    -------
    dict
        The mean of each measure of `localisation` over the cases that have it, ``standard_error`` of these means,
        ``seconds`` (median of the cases but the first, which warms up), ``completeness_error`` (median and largest)
        and ``passes`` (median) where the method has them, ``refused`` with the first reason and in how many cases.
    """
    model = load_model(model_name, preprocessing=[])  # the set is prepared already; a fresh one, which shares nothing
    rows: list[dict[str, float | None]] = []
    seconds: list[float] = []
    reasons: list[str] = []
    known: dict[str, list[float]] = {"completeness_error": [], "passes": []}
    for n in chosen:
        volume = Volume(held_out.images[n].astype(np.float32), SPACING)
        began = time.perf_counter()
        try:
            result = explain(model, volume, run.method, "lesion", **run.parameters)
        except XAIError as error:
            reasons.append(error.message)
            if len(reasons) == 3 and not rows:
                break  # it refuses this network, not a case
            continue
        seconds.append(time.perf_counter() - began)
        rows.append(localisation(result.array, held_out.masks[n], volume.array != 0, volume.geometry).to_json())
        for key, figures in known.items():
            if result.diagnostics.get(key) is not None:
                figures.append(float(result.diagnostics[key]))
        logger.info("%s: case %d of %d, %.1f s", run.title, len(rows), len(chosen), seconds[-1])
    row: dict[str, Any] = {"method": run.method, "parameters": run.parameters, "cases": len(rows)}
    if reasons:
        row["refused"] = {"reason": reasons[0], "cases": len(chosen) - len(rows)}
    if not rows:
        return row
    row["standard_error"] = {}
    for name in MEASURES:
        values = [value for one in rows if (value := one[name]) is not None]
        row[name] = float(np.mean(values)) if values else None
        row["standard_error"][name] = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    row["seconds"] = float(np.median(seconds[1:] or seconds))
    errors = known["completeness_error"]
    if known["passes"]:
        row["passes"] = float(np.median(known["passes"]))
    if errors:
        row["completeness_error"] = {"median": float(np.median(errors)), "largest": max(errors)}
    return row


def merged(earlier: dict[str, Any] | None, found: dict[str, Any]) -> dict[str, Any]:
    """What was measured before, with what was measured now in its place.

    A run on fewer cases (the first of the same ones), as costly methods may have, keeps its own number; the level of
    chance is that of the most cases.

    Raises
    ------
    XAIError
        If the two are not of the same model.
    """
    if earlier is None:
        return found
    if earlier.get("model") != found["model"]:
        raise XAIError(
            f"The file holds figures of model {earlier.get('model')}, not of {found['model']}.",
            "Give the same, or another --output.",
        )
    most = max(earlier, found, key=lambda one: int(one["cases"]))
    together = {**earlier["methods"], **found["methods"]}
    order = [run.title for run in RUNS]
    titles = sorted(together, key=lambda title: order.index(title) if title in order else len(order))
    return {**most, "methods": {title: together[title] for title in titles}}


def as_markdown(found: dict[str, Any]) -> str:
    """The figures as a table, the best of each column in bold, and the reasons of those that refuse."""
    measured = {title: row for title, row in found["methods"].items() if row.get("relevance_mass") is not None}
    best = {}
    for name in MEASURES:
        values = [row[name] for row in measured.values() if row.get(name) is not None and not _is_of_fewer(row, found)]
        if values:
            best[name] = min(values) if name.startswith("hausdorff") else max(values)
    titles = [*MEASURES.values(), "seconds", "sum error"]
    lines = [
        f"Model {found['model']}, {found['cases']} held-out lesions, means over the cases; seconds are medians.", "",
        f"| method | {' | '.join(titles)} |", f"|---|{'---:|' * len(titles)}",
    ]  # fmt: skip
    for title, row in measured.items():
        cells = []
        for name in MEASURES:
            text = _cell(name, row.get(name))
            cells.append(f"**{text}**" if row.get(name) is not None and row[name] == best.get(name) else text)
        error = row.get("completeness_error")
        cells += [f"{row['seconds']:.1f}", "-" if error is None else f"{100 * error['median']:.2g} %"]
        fewer = f", first {row['cases']}" if _is_of_fewer(row, found) else ""
        lines.append(f"| {title}{fewer} | {' | '.join(cells)} |")
    lines.append(f"| chance | {' | '.join(_cell(name, found['chance'].get(name)) for name in MEASURES)} | | |")
    refused = {title: row["refused"] for title, row in found["methods"].items() if row.get("refused")}
    if refused:
        lines += ["", "Refused:", ""]
        lines += [f"- {title}, {row['cases']} of the cases: {row['reason']}" for title, row in refused.items()]
    return "\n".join(lines)


def _is_of_fewer(row: dict[str, Any], found: dict[str, Any]) -> bool:
    return not row.get("refused") and int(row.get("cases", found["cases"])) < int(found["cases"])


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name.startswith("hausdorff"):
        return f"{value:.1f}"
    return f"{value:.4f}" if value < 0.0095 else f"{value:.3f}"


def put_between_marks(text: str, table: str) -> str:
    """`text` with `table` between the marks, all else as it was.

    Raises
    ------
    XAIError
        If a mark is missing.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise XAIError(f"The page has no marks {BEGIN} and {END}.", "Put them where the table belongs.")
    return f"{head}{BEGIN}\n{table}\n{END}{tail}"


def chosen_runs(names: str | None) -> list[Run]:
    """The runs of the methods named, of all that are here otherwise; those of methods that are not are left out.

    Raises
    ------
    XAIError
        If a name is not known, or belongs to no run.
    """
    if names is None:
        here = methods()
        absent = [run.title for run in RUNS if run.method not in here]
        if absent:
            logger.info("left out, no such method yet: %s", ", ".join(absent))
        return [run for run in RUNS if run.method in here]
    chosen: list[Run] = []
    for name in (name.strip() for name in names.split(",") if name.strip()):
        get_method(name)
        runs = [run for run in RUNS if run.method == name]
        if not runs:
            raise XAIError(f"The method {name} has no run.", "Add one to RUNS.")
        chosen += runs
    return chosen


def main(words: Sequence[str] | None = None) -> None:
    """Measure, and write the JSON and the table after each run."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="brain-lesion")
    parser.add_argument("--cases", type=int, default=24)
    parser.add_argument("--methods", metavar="A,B", help="only the runs of these methods")
    parser.add_argument("--output", type=Path, default=Path("docs/localisation.json"))
    parser.add_argument("--table", type=Path, default=Path("docs/comparison.md"))
    arguments = parser.parse_args(words)
    try:
        for run in chosen_runs(arguments.methods):
            earlier = json.loads(arguments.output.read_text(encoding="utf-8")) if arguments.output.is_file() else None
            asked = {"model": arguments.model, "cases": arguments.cases, "methods": {}}
            merged(earlier, asked)  # found out before the work
            found = merged(earlier, measure(arguments.model, arguments.cases, [run]))
            page = arguments.table.read_text(encoding="utf-8") if arguments.table.is_file() else SKELETON
            page = put_between_marks(page, as_markdown(found))
            for path, text in ((arguments.output, json.dumps(found, indent=1) + "\n"), (arguments.table, page)):
                with atomic_path(path) as beside:
                    beside.write_text(text, encoding="utf-8")
    except XAIError as error:
        parser.exit(2, f"error: {error.message} {error.hint}\n")


if __name__ == "__main__":
    main()

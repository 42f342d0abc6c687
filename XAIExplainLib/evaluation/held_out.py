"""Figures of the methods on held-out cases of the demo problem, whose truth is known.

Run as ``python -m XAIExplainLib.evaluation.held_out --cases 24 --output docs/localisation.json``.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np

from XAIExplainLib.evaluation.localisation import localisation
from XAIExplainLib.explaining import explain
from XAIExplainLib.loading import load_model
from XAIExplainLib.networks.dataset import case_set
from XAIExplainLib.volume import Volume

logger = logging.getLogger(__name__)

SPACING = (2.5, 2.5, 2.5)
RUNS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("Gradient, absolute", "gradient", {"kind": "absolute"}),
    ("Gradient x input", "gradient", {"kind": "input"}),
    ("Integrated gradients, zero", "integrated_gradients", {}),
    ("Integrated gradients, blur", "integrated_gradients", {"baseline": "blur"}),
    ("Grad-CAM, last layer", "grad_cam", {}),
    ("Occlusion 8/8, zero", "occlusion", {}),
    ("Occlusion 8/8, blur", "occlusion", {"fill": "blur"}),
)


def figures(model_name: str, cases: int, runs: tuple[tuple[str, str, dict[str, Any]], ...] = RUNS) -> dict[str, Any]:
    """Localisation of each run on `cases` held-out lesions, means over the cases.

    The cases are the first lesions of the test set, whatever the network says of them; the target is ``lesion``; the
    domain is the brain. Maps and masks lie on the network's grid.

    Returns
    -------
    dict
        ``cases``, ``chance`` and, by the run's title, the measures of `localisation`, ``seconds`` and
        ``completeness_error`` (mean and largest) where the method has one.
    """
    held_out = case_set("test", 240)
    chosen = [n for n, label in enumerate(held_out.labels) if label > 0][:cases]
    model = load_model(model_name, preprocessing=[])  # the set is prepared already
    table: dict[str, Any] = {}
    chances = []
    for title, method, parameters in runs:
        rows, seconds, errors = [], [], []
        for n in chosen:
            image, mask = held_out.images[n].astype(np.float32), held_out.masks[n]
            began = time.perf_counter()
            result = explain(model, Volume(image, SPACING), method, "lesion", **parameters)
            seconds.append(time.perf_counter() - began)
            rows.append(localisation(result.array, mask, image != 0).to_json())
            if "completeness_error" in result.diagnostics:
                errors.append(result.diagnostics["completeness_error"])
        table[title] = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        chances.append(table[title].pop("chance"))
        table[title]["seconds"] = float(np.median(seconds))
        if errors:
            table[title]["completeness_error"] = {"median": float(np.median(errors)), "largest": max(errors)}
        logger.info("%s: %s", title, table[title])
    return {"model": model_name, "cases": len(chosen), "chance": chances[0], "methods": table}


def as_markdown(found: dict[str, Any]) -> str:
    """The figures as a table."""
    lines = [
        "| method | relevance mass | relevance rank | pointing game | AUPRC |",
        "|---|---|---|---|---|",
    ]
    names = ("relevance_mass", "relevance_rank", "pointing_game", "average_precision")
    for title, row in found["methods"].items():
        lines.append(f"| {title} | " + " | ".join(f"{row[name]:.3f}" for name in names) + " |")
    lines.append("| chance | " + " | ".join([f"{found['chance']:.4f}"] * len(names)) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, write the JSON and log the table."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="brain-lesion")
    parser.add_argument("--cases", type=int, default=24)
    parser.add_argument("--output", type=Path, default=Path("docs/localisation.json"))
    arguments = parser.parse_args()
    found = figures(arguments.model, arguments.cases)
    arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    logger.info("%s", as_markdown(found))


if __name__ == "__main__":
    main()

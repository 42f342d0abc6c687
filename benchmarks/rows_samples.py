"""LIME, KernelSHAP and RISE: as many whole passes as samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.networks import Subject
from benchmarks.rows import Contest, Goal, Options, Row
from benchmarks.timing import Timed

SAMPLES = 256
REGIONS = 4  # along each axis


def contest(method: str, parameters: dict[str, Any], asked: dict[str, Any]) -> Callable[[Subject, Options], Contest]:
    """What runs for a method that scores `SAMPLES` images."""

    def make(one: Subject, options: Options) -> Contest:
        labels = peers.boxes(one, REGIONS)
        runs = {who: ask(one, labels, SAMPLES, options.part, options.threads) for who, ask in asked.items()}
        passes = []

        def ours() -> np.ndarray:
            made = one.ours(method, **parameters)
            passes.append(made.diagnostics["passes"])
            return made.array

        def after(timed: dict[str, Timed]) -> list[str]:
            return [f"{passes[0]} passes of ours, over {REGIONS**3} boxes" if asked else f"{passes[0]} passes of ours"]

        return Contest(ours, runs, f"{SAMPLES} F at the best batch", lambda _, __, each: SAMPLES * each,
                       "other random samples", after=after)  # fmt: skip

    return make


def rows() -> list[Row]:
    """All of this kind."""
    regions = {"samples": SAMPLES, "regions": REGIONS**3, "partition": "boxes"}
    kinds = (
        ("LIME", contest("lime", regions, {"captum": peers.lime_captum, "lime": peers.lime_lime}), 2),
        ("KernelSHAP", contest("kernel_shap", regions,
                               {"captum": peers.kernel_shap_captum, "shap": peers.kernel_shap_shap}), 2),
        ("RISE", contest("rise", {"masks": SAMPLES}, {}), 0),
    )  # fmt: skip
    return [
        Row(f"{name}, {SAMPLES} samples", network, 64, make, (Goal("limit", 1 / 1.05),), SAMPLES,
            number * 1.1 * SAMPLES, SAMPLES)
        for network in ("plain", "DenseNet121") for name, make, number in kinds
    ]  # fmt: skip

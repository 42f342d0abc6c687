"""What the survey cautions about, in figures: does a map tell classes apart, and trained weights from random ones?"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from Testing.validity.matrix import small
from XAIExplainLib import XAIError, load_case, load_model
from XAIExplainLib.evaluation.similarity import against_random, class_contrast
from XAIExplainLib.method import Method

logger = logging.getLogger(__name__)

CASE, MODEL, CLASSES = "enhancing-ring", "brain-lesion", ("lesion", "healthy")
SEED = 0


def figures(methods: Iterable[type[Method]]) -> list[dict[str, Any]]:
    """For each method the rank correlation of two classes' maps, and of the trained and a random network's maps."""
    case, model = load_case(CASE), load_model(MODEL)
    found = []
    for method in methods:
        parameters = small(method, case.volume.geometry.shape) if method.needs == "scores" else {}
        row: dict[str, Any] = {"method": method.name}
        for name, run in (
            ("contrast", lambda m=method, p=parameters: class_contrast(model, case.volume, m.name, CLASSES, **p)),
            ("random", lambda m=method, p=parameters: against_random(
                model, case.volume, m.name, CLASSES[0], seed=SEED, **p)),
        ):  # fmt: skip
            try:
                row[name] = run()["spearman"]
            except XAIError as error:
                row[name] = error.message
        logger.info("%s", row)
        found.append(row)
    return found

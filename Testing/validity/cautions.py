"""What the survey cautions about, in figures: does a map tell classes apart, and trained weights from random ones?"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from XAIExplainLib import XAIError, load_case, load_model
from XAIExplainLib.evaluation.similarity import against_random, class_contrast
from XAIExplainLib.method import Method

logger = logging.getLogger(__name__)

CASE, MODEL, CLASSES = "enhancing-ring", "brain-lesion", ("enhancing", "dark")
SEED = 0
# Of those that ask the network often; the others as they are by default.
FEWER: dict[str, dict[str, Any]] = {
    "lime": {"regions": 60, "samples": 256}, "kernel_shap": {"regions": 60, "samples": 256}, "rise": {"masks": 128},
    "prediction_difference": {"samples": 2}, "ensemble_cam": {"models": "brain-lesion-shortcut"},
}  # fmt: skip


def figures(methods: Iterable[type[Method]]) -> list[dict[str, Any]]:
    """For each method the rank correlation of the sizes of two classes' maps, and of two networks' maps, in the brain.

    The sizes, since a map that keeps its places and turns its signs has told nothing about where.
    """
    case, model = load_case(CASE), load_model(MODEL)
    about: dict[str, Any] = {"domain": case.volume.array != 0, "seed": SEED}
    found = []
    for method in methods:
        parameters = FEWER.get(method.name, {})
        logger.info("%s", method.name)
        try:
            contrast = class_contrast(model, case.volume, method.name, CLASSES, **about, **parameters)
            random = against_random(model, case.volume, method.name, CLASSES[0], **about, **parameters)
        except XAIError as error:
            found.append({"method": method.name, "contrast": error.message, "random": ""})
            continue
        one = next(iter(contrast.values()))
        found.append({"method": method.name, "contrast": one.to_json()["rank_absolute"],
                      "random": random.to_json()["rank_absolute"]})  # fmt: skip
        logger.info("%s", found[-1])
    return found

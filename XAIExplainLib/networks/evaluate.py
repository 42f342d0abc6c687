"""Measure the shipped networks: ``python -m XAIExplainLib.networks.evaluate brain-lesion --output figures.json``."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from XAIExplainLib.errors import XAIError
from XAIExplainLib.networks.dataset import DEFAULT_CACHE, CaseSet, case_set
from XAIExplainLib.networks.extraction import extract_brain
from XAIExplainLib.networks.lesion_network import LesionNetwork
from XAIExplainLib.networks.lesions import COLIN27_BRAIN, KINDS
from XAIExplainLib.networks.preparation import prepare
from XAIExplainLib.networks.scores import area_under_curve, lesion_probability, predict
from XAIExplainLib.networks.shortcut import mark_all

logger = logging.getLogger(__name__)

MODELS = Path(__file__).resolve().parents[2] / "Resources" / "models"


def shipped_network(name: str, folder: Path | None = None) -> LesionNetwork:
    """Load a network as it is shipped: the class that ``model.json`` names, with its half precision weights.

    Parameters
    ----------
    name : str
        Such as ``"brain-lesion"``.
    folder : pathlib.Path, optional
        Where ``weights.pt`` lies, by default ``Resources/models/<name>``.

    Returns
    -------
    LesionNetwork
        In single precision and evaluation mode.

    Raises
    ------
    XAIError
        If there is no such network.
    """
    folder = MODELS / name if folder is None else folder
    if not (folder / "weights.pt").is_file():
        known = ", ".join(sorted(path.parent.name for path in MODELS.glob("*/weights.pt")))
        raise XAIError(f"There is no weights.pt in {folder}.", f"Shipped networks: {known}.")
    network = LesionNetwork()
    if (folder / "model.json").is_file():
        described = json.loads((folder / "model.json").read_text())["network"]
        module, _, attribute = described["class"].partition(":")
        network = getattr(importlib.import_module(module), attribute)(**described["arguments"])
    network.load_state_dict(torch.load(folder / "weights.pt", weights_only=True, map_location="cpu"))
    return network.float().eval()


def classification_figures(network: LesionNetwork, cases: CaseSet) -> dict[str, Any]:
    """Figures on generated cases.

    Parameters
    ----------
    network : LesionNetwork
        The network.
    cases : CaseSet
        Cases of all kinds with their twins.

    Returns
    -------
    dict
        ``n``, ``auc`` (lesion against healthy), ``auc_by_kind``, ``accuracy`` of three classes, ``confusion`` (rows
        truth, columns answer), mean probability of a lesion for lesion cases, for their twins and for other healthy
        cases, and the share of pairs in which the lesion case scores above its twin.
    """
    labels = cases.labels
    probabilities = predict(network, cases.images)
    lesion = lesion_probability(probabilities)
    positive = labels > 0
    twin = lesion_probability(predict(network, cases.twins[positive]))
    confusion = np.zeros((len(KINDS), len(KINDS)), dtype=int)
    np.add.at(confusion, (labels, probabilities.argmax(1)), 1)
    diameter = np.array([case.get("diameter_mm", 0.0) for case in cases.attributes])
    bands = [(0, 14), (14, 20), (20, 40)]
    within = {f"{low}-{high}": (diameter > low) & (diameter <= high) for low, high in bands}
    against_healthy = {kind: (labels == 0) | (labels == n) for n, kind in enumerate(KINDS) if n}
    return {
        "n": len(labels),
        "n_by_class": {kind: int((labels == n).sum()) for n, kind in enumerate(KINDS)},
        "auc": _rounded(area_under_curve(lesion, positive)),
        "auc_by_kind": {
            kind: _rounded(area_under_curve(lesion[chosen], positive[chosen]))
            for kind, chosen in against_healthy.items()
        },
        "accuracy": _rounded(np.mean(probabilities.argmax(1) == labels)),
        "confusion": confusion.tolist(),
        "sensitivity_by_diameter_mm": {
            band: _rounded(np.mean(lesion[chosen] > 0.5)) for band, chosen in within.items()
        },
        "specificity": _rounded(np.mean(lesion[~positive] < 0.5)),
        "mean_p_lesion_of_lesion_cases": _rounded(lesion[positive].mean()),
        "mean_p_lesion_of_their_twins": _rounded(twin.mean()),
        "mean_p_lesion_of_healthy_cases": _rounded(lesion[~positive].mean()),
        "share_of_pairs_ranked_right": _rounded(np.mean(lesion[positive] > twin)),
    }


def _rounded(value: float | np.floating) -> float:
    return round(float(value), 3)


def scan_figures(network: LesionNetwork, image: sitk.Image) -> dict[str, float]:
    """Class probabilities of a skull-stripped scan."""
    probabilities = predict(network, prepare(image)[None])[0]
    return {kind: _rounded(value) for kind, value in zip(KINDS, probabilities, strict=True)}


def shortcut_figures(network: LesionNetwork, cases: CaseSet, seed: int = 1) -> dict[str, Any]:
    """Figures of the shortcut twin with markers as in training, without any, and with markers the other way round."""
    positive = cases.labels > 0
    rng = np.random.default_rng(seed)
    often, seldom = mark_all(cases.images, 0.95, rng), mark_all(cases.images, 0.05, rng)
    chosen = positive[:, None, None, None]
    sets = {
        "auc_with_marker": np.where(chosen, often, seldom),
        "auc_without_marker": cases.images,
        "auc_with_marker_on_the_healthy": np.where(chosen, seldom, often),
    }
    figures: dict[str, Any] = {"n": len(positive)}
    for name, images in sets.items():
        figures[name] = _rounded(area_under_curve(lesion_probability(predict(network, images)), positive))
    healthy = cases.images[~positive]
    marked = mark_all(healthy, 1.0, rng)
    figures["mean_p_lesion_of_healthy_without_marker"] = _rounded(lesion_probability(predict(network, healthy)).mean())
    figures["mean_p_lesion_of_healthy_with_marker"] = _rounded(lesion_probability(predict(network, marked)).mean())
    return figures


def main() -> None:
    """Measure a network and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=["brain-lesion", "brain-lesion-shortcut"])
    parser.add_argument("--weights", type=Path, help="folder of weights.pt, if not the shipped one")
    parser.add_argument("--output", type=Path, help="JSON file; by default standard output")
    parser.add_argument("--record", action="store_true", help="put the figures into the shipped model.json")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--cases", type=int, default=240)
    parser.add_argument("--tumour", type=Path, help="NRRD of the head with a real tumour")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    network = shipped_network(options.name, options.weights)
    held_out = case_set("test", options.cases, options.cache, options.threads)
    if options.name == "brain-lesion-shortcut":
        figures: dict[str, Any] = {"test": shortcut_figures(network, held_out)}
    else:
        figures = {"test": classification_figures(network, held_out)}
        if COLIN27_BRAIN.is_file():
            other = case_set("colin27", options.cases // 2, options.cache, options.threads)
            figures["colin27"] = classification_figures(network, other)
            figures["colin27_plain_scan"] = scan_figures(network, sitk.ReadImage(str(COLIN27_BRAIN)))
        if options.tumour:
            figures["real_tumour"] = scan_figures(network, extract_brain(sitk.ReadImage(str(options.tumour))))
    if options.record:
        path = MODELS / options.name / "model.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"figures": figures}, indent=2) + "\n")
    text = json.dumps(figures, indent=2) + "\n"
    if options.output:
        options.output.write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()

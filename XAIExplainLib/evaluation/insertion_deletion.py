"""Insertion and deletion: how soon the score goes when what a map calls important is taken away, or comes back.

Samek et al.: Evaluating the visualization of what a deep neural network has learned. IEEE TNNLS 2017; Petsiuk et al.:
RISE. BMVC 2018. Regions of the case are ordered by the map's mean in them, the strongest first. In a deletion they are
replaced by a baseline one after the other: a map that found what the score stands on makes it fall at once, and the
area under the curve is small. In an insertion they come back into the baseline in the same order, and a large area is
good. The same regions in random orders say what an area is worth that knows nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from XAIExplainLib.asking import asked
from XAIExplainLib.compute.baselines import CHOICES, baseline
from XAIExplainLib.compute.memory import parse_memory
from XAIExplainLib.compute.replacing import Followed, Replacing
from XAIExplainLib.compute.supervoxels import PARTITIONS, Regions, anatomy, regions_of
from XAIExplainLib.errors import XAIError
from XAIExplainLib.evaluation.curves import Curves, chance_of, curve_of
from XAIExplainLib.explanation import Explanation
from XAIExplainLib.geometry import Geometry, resample
from XAIExplainLib.model import Model
from XAIExplainLib.prepared import Prepared
from XAIExplainLib.question import Question
from XAIExplainLib.target import Score
from XAIExplainLib.volume import Volume, load_volume

VOXELS = "voxels"
KINDS = ("deletion", "insertion")
QUANTITIES = ("score", "probability")
MOST_STEPS, MOST_CHANCES = 10_000, 1000


def insertion_deletion(
    model: Model | torch.nn.Module, volume: Volume, maps: Any, target: Any = None, baseline: float | str = "blur",
    partition: str = "slic", regions: int = 100, steps: int = 50, chances: int = 10,
    progress: Callable[[float, str], None] | None = None, cancel: Callable[[], bool] | None = None,
    device: Any = None, memory: str | int | None = None, seed: int = 0, chain: bool | None = None,
) -> Curves:  # fmt: skip
    """Insertion and deletion curves of maps that explain one answer.

    Parameters
    ----------
    model : Model or torch.nn.Module
        Whose answer the maps explain.
    volume : Volume
        The case.
    maps : Explanation, Volume, array, path, or a sequence of these
        Arrays lie on the volume's grid; others have their own, and are carried to the network's.
    target : object
        As in `explain`. It should be what the maps explain.
    baseline : float or str
        What takes the place of the case: a number, ``mean`` or ``blur`` (`compute.baselines`).
    partition : str
        What is replaced at a time: ``slic`` (supervoxels), ``boxes``, or ``voxels``.
    regions : int
        About how many supervoxels or boxes.
    steps : int
        How often the network is asked on the way.
    chances : int
        Random orders; 0 for none.
    progress, cancel, device, memory, seed
        As in `explain`.
    chain : bool or None
        Whether to compute, after each region, only what it reaches; None: where that is faster.

    Returns
    -------
    Curves
        Ties of the order are broken at random, so that a map that is zero everywhere is one more random order.

    Raises
    ------
    XAIError
        If something that the user can mend is wrong.
    CancelledError
        If `cancel` gave True.

    Example
    -------
    >>> curves = insertion_deletion(model, volume, explain(model, volume, "lrp", "lesion"), "lesion")
    >>> curves.deletion[0].areas["probability"] < curves.chance["deletion"].areas["probability"]
    """
    given = list(maps) if isinstance(maps, list | tuple) else [maps]
    settings = checked(baseline, partition, regions, steps, chances)
    if not given:
        raise XAIError("No map was given.", "Give the maps whose curves you want.")
    model, wanted = asked(model, volume, target, device)
    prepared = model.prepare(volume)
    read = [read_map(one, volume) for one in given]
    question = Question(model, prepared, wanted, parse_memory(memory), seed, progress, cancel)
    placed = [(name, on_network(array, grid, prepared)) for name, array, grid in read]
    found = curves_of(question, placed, settings, seed, chain)
    question.progress(1.0, "done")
    return found


def checked(baseline: float | str, partition: str, regions: int, steps: int, chances: int) -> dict[str, Any]:
    """The settings, once they make sense.

    Raises
    ------
    XAIError
        If one does not.
    """
    if isinstance(baseline, str) and baseline not in CHOICES:
        try:
            baseline = float(baseline)
        except ValueError:
            raise XAIError(f"There is no baseline {baseline!r}.", f"Give a number, {' or '.join(CHOICES)}.") from None
    if not isinstance(baseline, str) and not np.isfinite(baseline):
        raise XAIError("The baseline is not finite.", f"Give a number, {' or '.join(CHOICES)}.")
    if partition not in (*PARTITIONS, VOXELS):
        raise XAIError(f"There is no partition {partition!r}.", f"Give one of {', '.join((*PARTITIONS, VOXELS))}.")
    for name, number, least, most in (
        ("regions", regions, 2, 100_000), ("steps", steps, 2, MOST_STEPS), ("chances", chances, 0, MOST_CHANCES),
    ):  # fmt: skip
        if not isinstance(number, int) or not least <= number <= most:
            raise XAIError(f"{name} cannot be {number}.", f"Give a whole number from {least} to {most}.")
    return {"baseline": baseline, "partition": partition, "regions": regions, "steps": steps, "chances": chances}


def read_map(given: Any, volume: Volume) -> tuple[str, np.ndarray, Geometry]:
    """Name, voxels (k, j, i) and grid of a map."""
    if isinstance(given, Explanation):
        return given.title, given.array, given.geometry
    if isinstance(given, np.ndarray):
        if given.shape != volume.geometry.shape:
            raise XAIError(
                f"The map has the shape {given.shape}, the volume {volume.geometry.shape}.",
                "Give it as a Volume with its own geometry, or on the volume's grid.",
            )
        return "map", given.astype(np.float32), volume.geometry
    found = given if isinstance(given, Volume) else load_volume(given)
    name = found.name or "map" if isinstance(given, Volume) else Path(given).name
    if found.channels != 1:
        raise XAIError(f"The map {name} has {found.channels} channels.", "Give a map of one channel.")
    if not np.isfinite(found.array).all():
        raise XAIError(f"The map {name} has values that are not finite.", "Compute it again.")
    return name, found.array, found.geometry


def on_network(array: np.ndarray, geometry: Geometry, prepared: Prepared) -> torch.Tensor:
    """The map on the network's grid, shape (N, *spatial), float64, on the CPU."""
    return prepared.rows(resample(array, geometry, prepared.geometry))[:, 0].double().cpu()


def curves_of(
    question: Question, maps: list[tuple[str, torch.Tensor]], settings: dict[str, Any], seed: int = 0,
    chain: bool | None = None,
) -> Curves:  # fmt: skip
    """As `insertion_deletion`, of a question and of maps on the network's grid."""
    cover = baseline(question.x, settings["baseline"])
    parts = partition_of(question, cover, settings)
    if not sum(parts.counts):
        raise XAIError(
            "The baseline is what the case shows already, so there is nothing to take away.",
            "Choose another baseline, such as blur.",
        )
    score, chances = question.score, settings["chances"]
    names = QUANTITIES if score.probability is not None else QUANTITIES[:1]
    runs = len(KINDS) * (len(maps) + chances)
    way = Replacing(
        question, cover, parts, settings["steps"], quantities(score), runs * (settings["steps"] - 1), chain
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    orders = [(name, order_of(values, parts, generator)) for name, values in maps]
    orders += [("chance", [torch.randperm(count, generator=generator) for count in parts.counts])
               for _ in range(chances)]  # fmt: skip
    found: dict[str, list[Followed]] = {kind: [] for kind in KINDS}
    done = 0
    for kind in KINDS:
        for name, order in orders:
            words = f"{kind}: {name}"

            def tell(share: float, done: int = done, words: str = words) -> None:
                question.progress((done + share) / runs, words)

            tell(0.0)
            found[kind].append(finite(way.follow(order, kind == "insertion", tell)))
            done += 1
    question.diagnostics["engine"] = "incremental" if way.chained else "whole passes"
    curves = {kind: [curve_of(one, names) for one in found[kind][: len(maps)]] for kind in KINDS}
    return Curves(
        score.name, score.units, [name for name, _ in maps], curves["deletion"], curves["insertion"],
        {kind: chance_of(found[kind][len(maps) :], names) for kind in KINDS} if chances else {},
        {**settings, "steps": way.steps, "regions": int(sum(parts.counts)), "seed": seed}, question.diagnostics,
    )  # fmt: skip


def quantities(score: Score) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """A measure of both: ``(outputs, samples) -> (B, 1 or 2)``."""

    def measure(output: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
        found = [score(output, samples)]
        if score.probability is not None:
            found.append(score.probability(output, samples))
        return torch.stack(found, 1)

    return measure


def partition_of(question: Question, cover: torch.Tensor, settings: dict[str, Any]) -> Regions:
    """The regions of the case; `voxels` has one for each voxel of the anatomy that the baseline changes."""
    if settings["partition"] != VOXELS:
        return regions_of(question, cover, settings["partition"], settings["regions"])
    inside = anatomy(question.x, cover)
    labels = torch.zeros(inside.shape, dtype=torch.long, device=inside.device)
    for sample, one in enumerate(inside):
        labels[sample][one] = torch.arange(1, int(one.sum()) + 1, device=inside.device)
    return Regions(labels, tuple(int(one.sum()) for one in inside))


def order_of(values: torch.Tensor, parts: Regions, generator: torch.Generator) -> list[torch.Tensor]:
    """For each sample its regions, the one with the largest mean first; equal ones in a random order."""
    orders = []
    for one, labels, count in zip(values, parts.labels.cpu(), parts.counts, strict=True):
        sizes = torch.bincount(labels.flatten(), minlength=count + 1)[1:]
        means = torch.bincount(labels.flatten(), one.flatten(), count + 1)[1:] / sizes
        shuffled = torch.randperm(count, generator=generator)
        orders.append(shuffled[torch.argsort(means[shuffled], descending=True, stable=True)])
    return orders


def finite(found: Followed) -> Followed:
    """What was followed, if the network had an answer all along the way."""
    if not bool(torch.isfinite(found.values).all()):
        raise XAIError(
            "The network answers with numbers that are not finite when a part of the case is replaced.",
            "Choose another baseline, such as blur.",
        )
    return found


def answer_curves(model: Model, volume: Volume, request: dict[str, Any], run: Any) -> dict[str, Any]:
    """The command ``curves`` of the engine: see docs/protocol.md."""
    paths = request.get("maps")
    if not isinstance(paths, list) or not paths or not all(isinstance(path, str) for path in paths):
        raise XAIError("The request has no list of maps.", "Give the maps' files in a list.")
    fields = ("baseline", "partition", "regions", "steps", "chances")
    return insertion_deletion(
        model, volume, paths, request.get("target"), progress=run.progress, cancel=run.cancelled,
        device=request.get("device") or "cpu", memory=request.get("memory"), seed=int(request.get("seed") or 0),
        **{name: request[name] for name in fields if request.get(name) is not None},
    ).to_json()  # fmt: skip

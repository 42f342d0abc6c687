"""Several methods asked the same question, measured alike: where their maps lie, and what they cost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from XAIExplainLib.asking import asked
from XAIExplainLib.compute.graphs import graph_of
from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainLib.evaluation.localisation import Localisation, chance_levels, localisation
from XAIExplainLib.explaining import explain
from XAIExplainLib.explanation import Explanation
from XAIExplainLib.geometry import resample
from XAIExplainLib.method import get_method, methods
from XAIExplainLib.model import Model
from XAIExplainLib.prepared import Prepared
from XAIExplainLib.volume import Volume

_SLICES_AT_ONCE = 8


@dataclass(frozen=True)
class Column:
    """A figure of a method: its name on the screen, which end is better (``high``, ``low``), and what it is."""

    title: str
    better: str
    unit: str
    text: str


LOCALISATION = {
    "relevance_mass": Column("Relevance mass", "high", "", "Share of the positive relevance that lies in the truth."),
    "relevance_rank": Column(
        "Relevance rank", "high", "", "Of the K highest voxels, the share in the truth, which has K voxels."
    ),
    "pointing_game": Column("Pointing game", "high", "", "1 if the highest voxel lies in the truth."),
    "average_precision": Column("AUPRC", "high", "", "Area under the precision-recall curve of the voxels."),
    "dice": Column(
        "Best Dice", "high", "",
        "Dice coefficient of the truth and the voxels above the threshold that suits it best; chosen with the truth in "
        "hand, so an upper bound.",
    ),
    "dice_threshold": Column("Threshold", "", "map units", "The threshold of the best Dice."),
    "hausdorff": Column(
        "Hausdorff", "low", "mm",
        "Largest distance from a voxel above that threshold to the truth, or from the truth to such a voxel.",
    ),
    "hausdorff_95": Column(
        "Hausdorff 95 %", "low", "mm",
        "The same for 95 % of the voxels on the two surfaces, so that few stray ones do not count.",
    ),
}  # fmt: skip
COST = {
    "seconds": Column("Time", "low", "s", "Of the explanation, with the model loaded and its graph made."),
    "passes": Column(
        "Passes", "low", "",
        "Forward passes that the method counted, or else its time over that of one forward pass (~).",
    ),
    "peak_bytes": Column("Memory", "low", "MiB", "Most memory that the run took beyond what was taken before."),
    "completeness_error": Column(
        "Sum error", "low", "", "How far the map's sum is from what the theory asks for, where it asks, relative."
    ),
}  # fmt: skip


@dataclass
class Row:
    """What one method gave, or why it refused."""

    method: str
    title: str
    parameters: dict[str, Any]
    refused: str = ""
    hint: str = ""
    found: Localisation | None = None
    seconds: float | None = None
    passes: float | None = None
    passes_counted: bool = False
    peak_bytes: int | None = None
    completeness_error: float | None = None
    units: str = ""
    signed: bool = True
    warnings: list[str] = field(default_factory=list)
    map: str = ""

    def value(self, column: str) -> float | None:
        """A figure by its column."""
        if column in LOCALISATION:
            return None if self.found is None else getattr(self.found, column)
        found: float | None = getattr(self, column)
        return found

    def to_json(self) -> dict[str, Any]:
        """The row as JSON-ready values."""
        plain = asdict(self)
        found = plain.pop("found")
        return {**plain, "localisation": found}


@dataclass(frozen=True, eq=False)
class Truth:
    """A mask on the volume's grid, and how it came there.

    Parameters
    ----------
    mask : numpy.ndarray
        Shape (k, j, i), bool.
    source : str
        Its file or case.
    resampled : bool
        Whether it was carried from another grid, nearest voxel, through patient space.
    """

    mask: np.ndarray
    source: str
    resampled: bool


class Comparison:
    """One question for several methods: model, volume, target and truth, checked before anything runs.

    Parameters
    ----------
    model : Model
        Who is asked; stays as it is.
    volume : Volume
        The case.
    target : object
        As in `explain`.
    truth : Volume or None
        Non-zero where the answer's reason truly lies; of any grid.
    within : Volume or None
        Non-zero where the measures look. None: all that the network sees; of a volume whose eight corner voxels are
        zero, which is taken as masked, only what is not zero.
    device : str, torch.device or None
        As in `explain`.
    memory, seed
        As in `explain`.

    Attributes
    ----------
    chance : dict
        The level of chance of each measure of localisation; empty without a truth.
    target_name : str
        What is explained.
    score : float
        Its score, the mean over the samples.
    pass_seconds : float
        Of one forward pass of the case.

    Raises
    ------
    XAIError
        If the target, the truth or the device will not do.
    """

    def __init__(
        self, model: Model, volume: Volume, target: Any = None, truth: Volume | None = None,
        within: Volume | None = None, device: Any = None, memory: str | int | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        model, wanted = asked(model, volume, target, device)  # one for all methods, with its graph
        self.model, self.volume, self.target = model, volume, target
        self.memory, self.seed = memory, seed
        prepared = model.prepare(volume)
        output, self.pass_seconds = _timed_pass(model, prepared)
        score = wanted.bind(model, output, prepared)
        self.target_name, self.score, self.score_units = score.name, float(score(output).mean()), score.units
        self.prediction = model.answer(output, prepared)
        self.truth = None if truth is None else _on_grid(truth, volume, "truth")
        self.domain, self.domain_text = _domain(prepared, within, self.truth)
        self.chance = {} if self.truth is None else chance_levels(self.truth.mask, self.domain, volume.geometry)
        with contextlib.suppress(XAIError):  # each method says by itself whether it can do without
            graph_of(model, prepared.tensor)  # made now, so that the first method does not pay for all

    def run(
        self, method: str, parameters: dict[str, Any], progress: Callable[[float, str], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> tuple[Row, Explanation | None]:  # fmt: skip
        """Ask one method.

        Returns
        -------
        tuple
            The row, and the explanation; None where the method refuses, or memory runs out.

        Raises
        ------
        CancelledError
            If `cancel` gave True.
        """
        kind = get_method(method)
        row = Row(method, kind.title, kind.check_parameters(parameters))
        try:
            result = explain(
                self.model, self.volume, method, self.target, progress, cancel,
                memory=self.memory, seed=self.seed, **parameters,
            )  # fmt: skip
        except CancelledError:
            raise
        except XAIError as error:
            row.refused, row.hint = error.message, error.hint
            return row, None
        except (MemoryError, RuntimeError) as error:
            from XAIExplainLib.worker import is_out_of_memory, memory_advice

            if not is_out_of_memory(error):
                raise
            row.refused, row.hint = memory_advice().message, memory_advice().hint
            return row, None
        known = result.diagnostics
        row.parameters, row.units, row.signed = result.parameters, result.units, result.signed
        row.seconds, row.peak_bytes = known["seconds"], known["peak_bytes"]
        row.completeness_error = known.get("completeness_error")
        row.warnings = list(known.get("warnings") or ())
        row.passes_counted = known.get("passes") is not None
        row.passes = float(known["passes"]) if row.passes_counted else row.seconds / max(self.pass_seconds, 1e-9)
        if self.truth is not None:
            row.found = localisation(result.array, self.truth.mask, self.domain, self.volume.geometry)
        return row, result

    def to_json(self) -> dict[str, Any]:
        """What was asked, JSON-ready."""
        truth = None
        if self.truth is not None:
            voxels = int(self.truth.mask.sum())
            truth = {
                "source": self.truth.source, "resampled": self.truth.resampled, "voxels": voxels,
                "millilitres": voxels * self.volume.geometry.voxel_volume / 1000,
            }  # fmt: skip
        return {
            "volume": self.volume.name, "geometry": self.volume.geometry.to_json(), "model": self.model.name,
            "model_fingerprint": self.model.fingerprint, "device": str(self.model.device), "seed": self.seed,
            "target": self.target_name, "score": self.score, "score_units": self.score_units,
            "prediction": self.prediction.to_json(), "truth": truth,
            "domain": {"text": self.domain_text, "voxels": int(self.domain.sum())},
            "chance": self.chance, "forward_pass_seconds": self.pass_seconds,
        }  # fmt: skip


def chosen_methods(text: str) -> list[str]:
    """The names in ``a,b,c``, or all visual methods for ``all``.

    Raises
    ------
    XAIError
        If one is not known, is named twice, or none is named.
    """
    if text.strip() == "all":
        return [name for name, kind in methods().items() if kind.chapter == "visual"]
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise XAIError("No method was named.", "Give names parted by commas, or all.")
    for name in names:
        kind = get_method(name)
        if kind.chapter != "visual":
            raise XAIError(f"The method {name} makes no map.", "Only visual methods can be compared.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise XAIError(f"The method {twice} is named twice.", "Name each method once.")
    return names


def _timed_pass(model: Model, prepared: Prepared) -> tuple[torch.Tensor, float]:
    """The answer, and the seconds of one forward pass of the case: the faster of two, the first one warms up."""
    size = model.batch or _SLICES_AT_ONCE
    fastest = float("inf")
    for _ in range(2):
        began = time.perf_counter()
        with torch.no_grad():
            # On the CPU only when the device is done: so the time is that of the work.
            output = torch.cat([model(part).cpu() for part in prepared.tensor.split(size)])
        fastest = min(fastest, time.perf_counter() - began)
    return output, fastest


def _on_grid(given: Volume, volume: Volume, what: str) -> Truth:
    called = f"The {what} {given.name}".rstrip()
    if given.channels != 1:
        raise XAIError(f"{called} has {given.channels} channels.", "Give one mask of one channel.")
    if not given.data.any():
        raise XAIError(f"{called} is empty.", "Give a mask that is not zero where it should be.")
    mask = resample(given.data[0], given.geometry, volume.geometry, order=0) != 0
    if not mask.any():
        raise XAIError(
            f"{called} lies outside of the volume {volume.name}, or between its voxels.",
            "Give a mask in the same patient space.",
        )
    return Truth(mask, given.name, not given.geometry.same_as(volume.geometry))


def _domain(prepared: Prepared, within: Volume | None, truth: Truth | None) -> tuple[np.ndarray, str]:
    """Where the measures look, bool (k, j, i) on the volume's grid, and that in words."""
    volume = prepared.volume
    if within is not None:
        return _on_grid(within, volume, "mask").mask, f"the voxels of {Path(within.name).name}"
    rows = np.ones((prepared.tensor.shape[0], 1, *prepared.tensor.shape[2:]), np.float32)
    seen = prepared.to_volume(prepared.grid(rows), order=0)[0] > 0
    i, j, k = volume.geometry.corners().astype(int).T
    masked = seen & (volume.data != 0).any(0)
    beside = masked if truth is None else masked & ~truth.mask
    if volume.data[:, k, j, i].any() or not beside.any():  # not masked, or by nothing but the truth itself
        return seen, "all that the network sees"
    return masked, "all that the network sees and that is not zero (the volume is masked)"

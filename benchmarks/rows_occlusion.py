"""Occlusion on full grids, and prediction difference against its own whole passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import nn

from benchmarks import peers
from benchmarks.limits import operations_share
from benchmarks.networks import Subject
from benchmarks.rows import Contest, Goal, Options, Row, difference
from benchmarks.timing import Part, Timed, clock_of
from XAIExplainLib import Model

# network, size, window: goal against captum and MONAI
GRIDS = {
    ("plain", 64, 8): 30.0, ("plain", 96, 16): 60.0, ("plain", 128, 16): 120.0, ("resnet18", 64, 8): 5.0,
    ("resnet18", 96, 16): 8.0, ("DenseNet121", 64, 8): 2.0, ("DenseNet121", 96, 16): 2.7, ("DenseNet121", 128, 16): 4.5,
    ("brain-lesion", 64, 8): 0.0,
}  # fmt: skip


def occlusion(window: int) -> Callable[[Subject, Options], Contest]:
    """What runs for windows of this size and stride."""

    def contest(one: Subject, options: Options) -> Contest:
        count, score = peers.windows(one.shape, window, window), abs(float(one.score(one.x)[0]))
        share = operations_share(one, window, window)
        asked = {
            "captum": peers.occlusion_captum(one, window, window, options.part, options.threads),
            "MONAI": peers.occlusion_monai(one, window, window, options.part, options.threads),
        }

        def after(timed: dict[str, Timed]) -> list[str]:
            return [f"the first windows' logits of {who} differ from ours by {gap:.0e}"
                    for who in asked if (gap := first_windows(one, window, timed, who)) is not None]  # fmt: skip

        return Contest(
            lambda: one.ours("occlusion", window=window, stride=window).array, asked,
            "operations bound", lambda _, __, each: each * count * share,
            scale=score, after=after,
            notes=[f"{count} windows, each reaching {share:.1%} of the multiplications on average"],
        )  # fmt: skip

    return contest


def first_windows(one: Subject, window: int, timed: dict[str, Timed], who: str) -> float | None:
    """Where a peer was timed on a part: how far the logits of the windows it came to are from ours."""
    found = timed[who].result
    if not isinstance(found, Part):
        return None
    order: Literal["C", "F"] = "F" if who == "captum" else "C"  # captum walks the first axis first
    ours = timed["ours"].result[tuple(slice(0, None, window) for _ in one.shape)].reshape(-1, order=order)
    base = float(one.score(one.x)[0])
    return difference(ours[: len(found.result)], base - found.result, abs(base))


class Opaque(nn.Module):
    """A network that torch.export refuses, so that the engine can only run it as a whole."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.compiler.is_exporting():
            raise RuntimeError("this network is not to be exported")
        found: torch.Tensor = self.network(x)
        return found


PATCHES = 8  # of our own whole passes, when only a part is timed: of each 10 samples


def prediction_difference(one: Subject, options: Options) -> Contest:
    """Ten samples a patch of 8^3, incremental and by whole passes."""
    dense = Model(Opaque(one.network))
    stride = 8 if options.part is None else 32
    share = peers.windows(one.shape, 8, 8) / peers.windows(one.shape, 8, stride)

    def whole() -> np.ndarray | Part:
        clock = clock_of(options.threads)
        began = clock()
        made = one.ours("prediction_difference", dense, window=8, stride=stride)
        assert made.diagnostics["engine"] == "whole passes"
        seconds = (clock() - began) * share
        return Part(seconds, None, f"timed on 1 of {share:.0f} patches, scaled") if share > 1 else made.array

    return Contest(
        lambda: one.ours("prediction_difference", window=8, stride=8).array, {"own dense": whole},
        notes=["10 samples a patch, window 8; own dense: the same method where the network shows no graph"],
        equal="" if share == 1 else "timed on a part",
    )  # fmt: skip


def rows() -> list[Row]:
    """All of this kind."""
    found = []
    for (network, size, window), goal in GRIDS.items():
        count = (size // window) ** 3
        speed = {"plain": 30, "resnet18": 5, "DenseNet121": 2, "brain-lesion": 12}[network]
        goals = (Goal("captum", goal), Goal("MONAI", goal), Goal("limit", 0.9)) if goal else ()
        found.append(Row(
            f"occlusion {window}/{window}", network, size, occlusion(window), goals, count / speed, 2.1 * count,
            count, quick=network == "plain" and size == 64 or network == "brain-lesion",
        ))  # fmt: skip
    found.append(Row("prediction difference", "plain", 64, prediction_difference, (Goal("own dense", 15.0),),
                     250, 5120, 640, quick=False))  # fmt: skip
    return found

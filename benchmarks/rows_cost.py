"""The choice between patches and whole passes against whole passes in their best batch: it should never be slower.

Ours is what the engine would do for all windows of an occlusion, stage by stage. Of each kind of chunks (same boxes,
same number) one is timed and counted as often as it comes; the base's own pass and the planning are timed and added.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from monai.networks import nets
from torch import nn

from benchmarks.networks import plain
from benchmarks.rows import today
from benchmarks.timing import clock_of
from XAIExplainLib import Model, Volume
from XAIExplainLib.compute import cost, perturbation
from XAIExplainLib.compute.cost import Chunk, Plan
from XAIExplainLib.compute.incremental import Incremental
from XAIExplainLib.compute.whole import WORTH_A_GRAPH, answers, whole_of
from XAIExplainLib.question import Question
from XAIExplainLib.target import ClassTarget, Region
from XAIExplainLib.visual.occlusion import Grid

GOAL = 0.95  # whole passes / ours
MEMORY = 4 * 2**30
KINDS = 4  # of chunks that are timed; those that take most
ROUNDS = 2
BATCHES = (1, 2, 4, 8)
LONGEST = 0.9  # seconds of a batch of whole passes beyond which no larger one is tried
CUBE, ODD = (64, 64, 64), (48, 56, 40)


def _vit() -> nn.Module:
    return nn.Sequential(
        nets.ViT(1, CUBE, (16, 16, 16), hidden_size=192, mlp_dim=384, num_layers=6, num_heads=6), _Tokens(),
        nn.Linear(192, 3),
    )  # fmt: skip


class _Tokens(nn.Module):
    def forward(self, found: tuple[torch.Tensor, Any]) -> torch.Tensor:
        return found[0].mean(1)


# Name: maker, windows at 64^3, windows at 48 x 56 x 40.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[int, ...]]] = {
    "UNet": (lambda: nets.UNet(3, 1, 3, (16, 32, 64, 128), (2, 2, 2), num_res_units=2, norm="batch"), (4, 8, 16), (8,)),
    "UNet, instance norm": (lambda: nets.UNet(3, 1, 3, (16, 32, 64, 128), (2, 2, 2), num_res_units=2), (8, 32), (8,)),
    "BasicUNet": (lambda: nets.BasicUNet(3, 1, 3, (16, 16, 32, 64, 128, 16), norm="batch"), (8, 32), ()),
    "SegResNet": (lambda: nets.SegResNet(3, 8, in_channels=1, out_channels=3, norm="batch"), (8,), (16,)),
    "EfficientNet-B0": (
        lambda: nets.EfficientNetBN("efficientnet-b0", False, spatial_dims=3, in_channels=1, num_classes=3),
        (8, 32), (16,),
    ),
    "ResNet50": (lambda: nets.resnet50(spatial_dims=3, n_input_channels=1, num_classes=3), (16, 32), ()),
    "SEResNet50": (lambda: nets.SEResNet50(spatial_dims=3, in_channels=1, num_classes=3), (8, 32), (8,)),
    "ViT": (_vit, (8, 32), ()),
    "plain": (plain, (32,), (16,)),
}  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """One call of the engine: its boxes, and what it decided; `planned` is None for whole passes."""

    boxes: list[Any]
    planned: tuple[Plan, list[Chunk]] | None


@dataclass
class _Kind:
    """Chunks that are alike: how many, about how long all take, and one to be timed."""

    count: int = 0
    predicted: float = 0.0
    run: Callable[[], Any] = field(default=lambda: None)


@functools.lru_cache(maxsize=1)
def question_of(network: str, shape: tuple[int, ...]) -> Question:
    """About noise, with the graph made; of a segmenter: the sum of a class's logits over a box."""
    torch.manual_seed(0)
    flat = network == "DenseNet121 2D"
    made = nets.DenseNet121(2, 1, 3) if flat else NETWORKS[network][0]()
    model = Model(made.eval(), spatial_dims=2 if flat else 3)
    prepared = model.prepare(Volume(torch.randn(shape, generator=torch.Generator().manual_seed(1)).numpy()))
    mask = np.zeros(shape, dtype=np.float32)
    mask[tuple(slice(n // 2, n // 2 + 8) for n in shape)] = 1
    with torch.no_grad():
        segments = model(prepared.tensor).dim() > 2
    question = Question(model, prepared, Region(mask, 1) if segments else ClassTarget(1), MEMORY)
    question.graph()
    return question


def stages_of(question: Question, window: int) -> list[Stage]:
    """What the engine decides for an occlusion with windows side by side."""
    grid = Grid(question.spatial, window, window)
    found = []
    for members in grid.stages:
        boxes = [grid.boxes[n] for n in members]
        found.append(Stage(boxes, decided(question, boxes, len(grid.boxes))))
    return found


def decided(question: Question, boxes: list[Any], number: int) -> tuple[Plan, list[Chunk]] | None:
    """The engine's own decision about some of so many boxes."""
    base = perturbation._base(question, 0, question.x, max(number, WORTH_A_GRAPH), "case")
    return None if base is None else perturbation._planned(question, base, boxes, number)


def contents(stage: Stage, question: Question) -> perturbation.Contents:
    """Zeros in every box."""
    return lambda indices: [torch.zeros_like(question.x[(0, slice(None), *stage.boxes[n])]) for n in indices]


class Choice:
    """A network, a size of image and a window."""

    def __init__(self, network: str, shape: tuple[int, ...], window: int) -> None:
        self.network, self.shape, self.window = network, shape, window
        size = "x".join(map(str, shape))
        self.name, self.quick = f"occlusion {window}/{window} against whole passes {network} {size}", False

    def estimate(self, options: Any) -> float:
        """About how many seconds."""
        return 15.0

    def measure(self, options: Any) -> dict[str, Any]:
        """Measure it."""
        question, clock = question_of(self.network, self.shape), clock_of(options.threads)
        question.__dict__.pop("bases", None)
        whole_network = whole_of(question, WORTH_A_GRAPH)
        assert whole_network is not None
        steps = whole_network.steps
        stages = stages_of(question, self.window)
        kinds = kinds_of(question, stages)
        timed = kinds[:KINDS]
        runs: dict[str, Callable[[], Any]] = {str(n): kind.run for n, kind in enumerate(timed)}

        def planning() -> None:
            cost.network_of(steps, question.graph().input, question.x.element_size()).plans.clear()
            stages_of(question, self.window)

        runs["plan"] = planning
        cut = max((stage.planned[0].cut for stage in stages if stage.planned), default=0)
        if timed:
            runs["base"] = lambda: Incremental(base.graph, question.x, None, base.whole).prepare(cut)
            base = question.__dict__["bases"]["case", 0].incremental
        own_batch = min(question.batch, perturbation.WHOLE_AT_ONCE)
        for batch in sorted({own_batch, *BATCHES}):
            runs[f"whole {batch}"] = functools.partial(whole, question, stages[-1], batch)
        best = least(runs, clock)
        dense = {n: best[f"whole {n}"] / n for n in sorted({own_batch, *BATCHES}) if f"whole {n}" in best}
        number = sum(len(stage.boxes) for stage in stages)
        dense = {batch: seconds for batch, seconds in dense.items() if batch <= number}
        passes = [len(stage.boxes) for stage in stages if stage.planned is None]
        own = sum(count * dense[max(n for n in dense if n <= min(own_batch, count))] for count in passes)
        patched = sum(best[str(n)] * kind.count for n, kind in enumerate(timed))
        if timed:
            patched *= sum(kind.predicted for kind in kinds) / sum(kind.predicted for kind in timed)
        ours = patched + own + best.get("base", 0.0) + best["plan"]
        fastest = min(dense, key=dense.__getitem__)
        found = float(number * dense[fastest] / ours)
        share = question.diagnostics["share_of_time"]
        return {
            "name": self.name, "method": f"occlusion {self.window}/{self.window} against whole passes",
            "network": self.network, "weights": "random", "volume": " x ".join(map(str, self.shape)),
            "threads": options.threads, "clock": "processor" if options.threads == 1 else "wall", "figure": float(ours),
            "units": "s", "peers": {"own dense": {"figure": float(number * dense[fastest])}}, "date": today(),
            "notes": [
                f"{number} windows, {sum(passes)} of them by whole passes; {share:.0%} of their time foretold; batch "
                f"{own_batch} of ours, best {fastest}, {dense[fastest]:.3g} s an image; "
                f"planning {best['plan']:.2g} s"
            ],
            "goals": [{"text": f"{GOAL:g} x own dense", "found": found, "met": bool(found >= GOAL)}],
        }  # fmt: skip


def kinds_of(question: Question, stages: list[Stage]) -> list[_Kind]:
    """Chunks by their kind, those first that take most."""
    found: dict[Any, _Kind] = {}
    for number, stage in enumerate(stages):
        if stage.planned is None:
            continue
        plan, chunks = stage.planned
        for chunk in chunks:
            kind = found.setdefault((number, chunk.cut, chunk.seconds, len(chunk.rows)), _Kind())
            kind.count += 1
            kind.predicted += chunk.seconds * len(chunk.rows)
            kind.run = functools.partial(patched_run, question, stage, plan, chunk)
    return sorted(found.values(), key=lambda kind: -kind.predicted)


def patched_run(question: Question, stage: Stage, plan: Plan, chunk: Chunk) -> None:
    """One chunk as the engine does it."""
    base = perturbation._base(question, 0, question.x, len(stage.boxes), "case")
    assert base is not None
    made = perturbation._patched(
        question, 0, base, plan, [chunk], stage.boxes, contents(stage, question), question.score
    )  # fmt: skip
    for _ in made:
        pass


def whole(question: Question, stage: Stage, batch: int) -> None:
    """One batch of whole passes as the engine does them."""
    boxes = (stage.boxes * math.ceil(batch / len(stage.boxes)))[:batch]
    shown = contents(Stage(boxes, None), question)(list(range(batch)))
    perturbation._passes(
        question, lambda images: answers(question, images, WORTH_A_GRAPH), question.x, 0, boxes, shown,
        question.score,
    )  # fmt: skip


def least(runs: dict[str, Callable[[], Any]], clock: Callable[[], float]) -> dict[str, float]:
    """The least seconds of each, in turns after one to warm; larger batches are left out where one takes long."""
    best: dict[str, float] = {}
    long = False
    for name, run in list(runs.items()):
        began = clock()
        if not (long and name.startswith("whole")):
            run()
            best[name] = math.inf
            long = name.startswith("whole") and clock() - began > LONGEST
    for _ in range(ROUNDS):
        for name in best:
            began = clock()
            runs[name]()
            best[name] = min(best[name], clock() - began)
    return best


def rows() -> list[Any]:
    """All of this kind."""
    found = [Choice(name, shape, window) for name, (_, cube, odd) in NETWORKS.items()
             for shape, windows in ((CUBE, cube), (ODD, odd)) for window in windows]  # fmt: skip
    return [*found, *(Choice("DenseNet121 2D", (1, 256, 256), window) for window in (16, 64))]

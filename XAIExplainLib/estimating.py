"""How many seconds an explanation will take: the passes that its method declares, times a pass that was measured.

What was measured is kept with the warm model and case. A run that was made corrects the estimates that follow it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from XAIExplainLib.compute.cost import Plan
from XAIExplainLib.compute.graphs import graph_of, known_graph
from XAIExplainLib.compute.incremental import Incremental
from XAIExplainLib.compute.memory import parse_memory
from XAIExplainLib.compute.perturbation import AT_ONCE, BYTES_AT_ONCE, SECONDS_AT_ONCE, WORTH_PATCHES
from XAIExplainLib.compute.sliding import answers_by_tiles
from XAIExplainLib.effort import MANY, Box, Sizes
from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainLib.method import Method, get_method

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from XAIExplainLib.model import Model
    from XAIExplainLib.volume import Volume

WARM = 0.5  # seconds: a pass that took less is measured once more, since the first one also gets memory and plans
SLICES = 8  # of a 2D network that are measured
PER_VOXEL = 1.5e-8  # seconds for the map on the volume's grid: interpolated, read for its percentiles, written
BESIDE = 0.05  # seconds that a run takes besides


class Pace:
    """What is known of one model and one case.

    Parameters
    ----------
    model : Model
        The warm one.
    volume : Volume
        The warm one.
    check : callable
        Raises if the client does not want to wait any longer.
    """

    def __init__(self, model: Model, volume: Volume, check: Callable[[], None]) -> None:
        self.model, self.volume = model, volume
        began = time.perf_counter()
        prepared = model.prepare(volume)
        self.preparing = time.perf_counter() - began
        self.x = prepared.tensor
        self.corrections: dict[str, float] = {}
        self._incremental: Incremental | None = None
        check()
        self.forward = _seconds_of_a_pass(model, self.x, check)

    def sizes(self, method: type[Method], parameters: dict[str, Any]) -> Sizes:
        """What the length of a run depends on; the graph is made where the run would make it."""
        spatial = tuple(self.x.shape[2:])
        whole = Sizes(spatial, self.x)
        if method.needs != "scores" or method.passes(whole, parameters) >= MANY:
            try:
                graph_of(self.model, self.x)
            except XAIError:
                return whole
        if not method.by_boxes or answers_by_tiles(self.model, self.x):
            return whole
        return Sizes(spatial, self.x, None if self._base() is None else self._share)

    def seconds(self, passes: float) -> float:
        """What so many passes take, with all that is beside them."""
        voxels = float(np.prod(self.volume.geometry.shape))
        return BESIDE + self.preparing + PER_VOXEL * voxels + self.forward * passes

    def learn(self, method: str, given: dict[str, Any], seconds: float) -> None:
        """A run of a method took so many seconds; `given` as in `estimate`."""
        self.corrections.pop(method, None)
        self.corrections[method] = seconds / estimate(self, method, given)["seconds"]

    def _base(self) -> Incremental | None:
        """The network at the case, where it has a graph; only planned with, never asked."""
        if self._incremental is None:
            graph = known_graph(self.model, self.x)
            if graph is not None and graph.static_batch is None:
                self._incremental = Incremental(graph, self.x[:1])
        return self._incremental

    def _share(self, boxes: list[Box], number: int) -> float:
        """The share of a whole pass that a box takes, by the cost model that the run goes by."""
        base = self._base()
        assert base is not None
        low = np.array([[piece.start for piece in box] for box in boxes])
        size = np.array([[piece.stop - piece.start for piece in box] for box in boxes])
        plan: Plan = base.plan(low, size)
        chunks = plan.chunks(AT_ONCE, BYTES_AT_ONCE, parse_memory(None) / 4, SECONDS_AT_ONCE)
        share = sum(chunk.seconds * len(chunk.rows) for chunk in chunks) / plan.whole
        return share + 1 / number if share < WORTH_PATCHES else 1.0


def estimate(pace: Pace, method: str, given: dict[str, Any]) -> dict[str, Any]:
    """About how long a run will take.

    Parameters
    ----------
    pace : Pace
        Of the model and the case.
    method : str
        Its name.
    given : dict
        The parameters that differ from the defaults.

    Returns
    -------
    dict
        ``seconds``, ``passes`` (in passes of the whole case) and ``basis``, in words.

    Raises
    ------
    XAIError
        If there is no such method, or a parameter is wrong.
    """
    kind = get_method(method)
    parameters = kind.check_parameters(given)
    sizes = pace.sizes(kind, parameters)
    passes = kind.passes(sizes, parameters)
    basis = f"one pass took {pace.forward:.2g} s"
    if sizes.share is not None:
        basis += ", boxes by what they can reach"
    if method in pace.corrections:
        basis += ", corrected by the last run"
    return {
        "seconds": pace.seconds(passes) * pace.corrections.get(method, 1.0), "passes": round(passes, 1), "basis": basis,
    }  # fmt: skip


class _Enough(Exception):
    """Some tiles were measured: all will take so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


def _seconds_of_a_pass(model: Model, x: torch.Tensor, check: Callable[[], None]) -> float:
    """What the network takes for the whole case: measured on one image, some slices, or one tile."""
    import torch

    part = x[:SLICES]
    began = took = 0.0

    def watch(done: int, of: int) -> None:
        check()
        if done:
            raise _Enough((time.perf_counter() - began) * of / done)

    with torch.no_grad():
        for attempt in range(2):
            began = time.perf_counter()
            try:
                model(part, watch)
                again = time.perf_counter() - began
            except _Enough as enough:
                again = enough.seconds
            took = again if attempt == 0 else min(took, again)
            check()
            if took > WARM:
                break
    return took * len(x) / len(part)


def answer_estimate(pace: Pace | None, model: Model, volume: Volume, request: dict[str, Any], run: Any) -> Any:
    """The engine's command ``estimate``: what is known of model and case, renewed where they changed, and the answer.

    Returns
    -------
    tuple
        The `Pace` to keep, and the answer.
    """

    def check() -> None:
        if run.cancelled():
            raise CancelledError

    if pace is None or pace.model is not model or pace.volume is not volume:
        pace = Pace(model, volume, check)
    return pace, estimate(pace, str(request.get("method") or ""), request.get("parameters") or {})

"""Layer-wise relevance propagation (Bach et al. 2015) over the graph, with composites of rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.compute.relevance import Settings
from XAIExplainLib.compute.relevance_composites import COMPOSITES, relevance_table
from XAIExplainLib.compute.reverse import Table
from XAIExplainLib.effort import WALK, Sizes
from XAIExplainLib.errors import XAIError
from XAIExplainLib.method import Attribution, Method, register
from XAIExplainLib.parameter import Parameter
from XAIExplainLib.question import Question

TOLERANCE = 1e-3
MOST_GROWTH = 1e3  # of the map's sizes over the start relevance, before the map is called cancellation
MOST_ABSORBED = 0.5


@register
class LayerwiseRelevancePropagation(Method):
    """Divides the score among the voxels, layer by layer, by what each number contributed to the next."""

    name = "lrp"
    title = "LRP (relevance)"
    family = "Backpropagation"
    model_specific = True
    needs = "graph"
    cost = "two to three forward passes"
    signed = True
    units = "share of the score"
    summary = (
        "Layer-wise relevance propagation hands the score back through the network, each layer dividing it among its "
        "inputs by their contributions: the map adds up to the score, less what the rules state that they absorbed."
    )
    citation = (
        "Bach, Binder, Montavon, Klauschen, Müller, Samek: On pixel-wise explanations for non-linear classifier "
        "decisions by layer-wise relevance propagation. PLoS ONE 2015, 10(7):e0130140 (equations 56 to 60); "
        "composites: Kohlbrenner et al., IJCNN 2020; attention: Achtibat et al., ICML 2024, arXiv:2402.05602."
    )
    proof = (
        "every rule equals its Jacobian matrix; relevance and what the rules absorbed add up to the score "
        "(1e-4) on 24 networks; equal to zennit where it is right"
    )
    caution = (
        "The rules are a choice, and another composite gives another map; rules that keep positive contributions "
        "alone (z+, alpha-beta) look much alike for every class."
    )
    parameters = (
        Parameter(
            "composite", "choice", "epsilon_plus",
            "Which rule for which layer; the names give fully connected layers, convolutions, and first layers.",
            choices=tuple(COMPOSITES),
        ),
        Parameter(
            "bias", "choice", "auto",
            "distribute: what a bias contributed goes on to the layer's inputs; absorb: it stays with the bias, and "
            "the diagnostics say how much; auto: absorb for the composites epsilon and zero, else distribute.",
            choices=("auto", "distribute", "absorb"),
        ),
        Parameter(
            "epsilon", "number", 1e-6,
            "Stabiliser of the epsilon rule, in root mean squares of the layer's output; larger ones absorb weak and "
            "contradicting relevance.",
            minimum=0, advanced=True,
        ),
        Parameter(
            "gamma", "number", 0.25, "How much the gamma rule favours contributions of the output's sign.",
            minimum=0, advanced=True,
        ),
        Parameter(
            "low", "fill", "image",
            "Darkest intensity possible, for the box rule: a number, or image for the darkest voxel.",
            choices=("image",), advanced=True,
        ),
        Parameter(
            "high", "fill", "image",
            "Brightest intensity possible, for the box rule: a number, or image for the brightest voxel.",
            choices=("image",), advanced=True,
        ),
    )  # fmt: skip

    @classmethod
    def passes(cls, sizes: Sizes, parameters: dict[str, Any]) -> float:
        return WALK

    @classmethod
    def walk_start(cls, graph: Graph, parameters: dict[str, Any]) -> str | None:
        return graph.input

    @classmethod
    def walk_table(cls, parameters: dict[str, Any]) -> Table | None:
        return relevance_table(_settings(parameters))

    def explain(self, question: Question, **parameters: Any) -> Attribution:
        settings = _settings(parameters)
        _check_box(question, settings)
        settings = _box_of_image(question, settings)
        table = relevance_table(settings)
        ledger = table.new_ledger()
        graph, x = question.graph(of_tile=True), question.x
        rows = torch.arange(question.samples, device=x.device)
        start = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        maps: list[torch.Tensor] = []
        size = question.batch_of_gradient(table)
        for part, which in zip(x.split(size), rows.split(size), strict=True):
            question.progress(len(maps) * size / len(x), "relevance")

            def seed(output: torch.Tensor, derivative: torch.Tensor, part: torch.Tensor = which) -> torch.Tensor:
                relevance = output * derivative  # by tiles: each tile's share, which add up to the whole
                relevance[len(part) :] = 0  # rows that only fill up a fixed batch
                start[part] += relevance[: len(part)].flatten(1).sum(1, dtype=torch.float64)
                return relevance

            maps.append(question.walk_to(graph.input, part, which, graph, table, seed)[1])
        values = torch.cat(maps)
        shares = ledger.shares
        if question.tiled is not None:
            shares = {**shares, "padding": question.tiled.outside}
        _report(question, values, start, shares)
        return Attribution(values)


def _settings(parameters: dict[str, Any]) -> Settings:
    low, high = (None if parameters[name] == "image" else parameters[name] for name in ("low", "high"))
    composite, bias = COMPOSITES[parameters["composite"]], parameters["bias"]
    absorb = composite.signed if bias == "auto" else bias == "absorb"
    return Settings(composite, parameters["epsilon"], parameters["gamma"], low, high, absorb)


def _check_box(question: Question, settings: Settings) -> None:
    if settings.composite.first != "box":
        return
    darkest, brightest = float(question.x.min()), float(question.x.max())
    if (settings.low is not None and settings.low > darkest) or (
        settings.high is not None and settings.high < brightest
    ):
        raise XAIError(
            f"The image has intensities from {darkest:.4g} to {brightest:.4g}, beyond the box that low and high give.",
            "Give bounds, after preprocessing, that hold every voxel, or image for its own.",
        )


def _box_of_image(question: Question, settings: Settings) -> Settings:
    """The box of the whole image, where each tile would take its own darkest and brightest voxel."""
    if settings.composite.first != "box" or question.tiled is None:
        return settings
    seen = question.tiled.tiles.pad(question.x)
    return replace(
        settings, low=float(seen.min()) if settings.low is None else settings.low,
        high=float(seen.max()) if settings.high is None else settings.high,
    )  # fmt: skip


def _report(question: Question, values: torch.Tensor, start: torch.Tensor, shares: dict[str, float]) -> None:
    """Whether what arrived and what was absorbed make what was sent out, and how much was absorbed."""
    sums = values.double().flatten(1).sum(1)
    began, found, absorbed = float(start.double().sum()), float(sums.sum()), sum(shares.values())
    whole = max(float(start.double().abs().sum()), 1e-30)
    size = float(values.double().abs().sum())
    error = abs(began - found - absorbed) / whole
    linear = torch.allclose(start.double(), question.scores_of_case.double(), rtol=1e-3, atol=1e-4 * whole)
    question.diagnostics.update(
        start="output times derivative of the score", start_relevance=began, start_is_score=bool(linear),
        relevance_sum=found,
        **{f"{who}_share": share for who, share in shares.items()},
        completeness_error=error, size_of_map=size / whole,
    )  # fmt: skip
    if whole <= 1e-30:
        question.warn("The start relevance is zero: the score does not depend on the answer here.")
    elif error > TOLERANCE:
        question.warn(
            f"What reached the voxels and what the rules absorbed miss the start relevance by {error:.1%}: the "
            "relevance cancels beyond the precision of the numbers; try another composite."
        )
    if size > MOST_GROWTH * whole:
        question.warn(
            f"Positive and negative relevance are {size / whole:.1e} times the score and cancel: the map shows mostly "
            "that cancellation; the composite epsilon_plus does not let relevance grow."
        )
    if abs(absorbed) > MOST_ABSORBED * whole:
        reached = f"{found / began:.0%} of the score" if abs(began) > 1e-3 * whole else f"{found:.3g}, not the score"
        question.warn(
            "The rules absorbed much of the relevance (see the shares in the diagnostics): the map adds up to "
            f"{reached}."
        )

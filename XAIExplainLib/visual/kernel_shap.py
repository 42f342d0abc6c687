"""KernelSHAP (Lundberg & Lee 2017) on supervoxels: Shapley values of regions, by enumeration or by regression."""

from __future__ import annotations

from typing import Any

import torch

from XAIExplainLib.compute.backgrounds import compared_with
from XAIExplainLib.compute.coalitions import FILL, REGIONS, Game
from XAIExplainLib.compute.shapley import MOST_PLAYERS, all_coalitions, exact_values, pairs_of, regressed
from XAIExplainLib.compute.supervoxels import regions_of
from XAIExplainLib.effort import Sizes, passes_of_scores
from XAIExplainLib.errors import XAIError
from XAIExplainLib.method import Attribution, Method, register
from XAIExplainLib.parameter import Parameter
from XAIExplainLib.question import Question

FEW = 12  # regions up to which all coalitions are scored if the samples allow
UNSURE = 0.5  # standard error as a share of the largest value


@register
class KernelSHAP(Method):
    """Divides the score among supervoxels as Shapley divides a gain among players."""

    name = "kernel_shap"
    title = "KernelSHAP"
    family = "Perturbation"
    model_specific = False
    needs = "scores"
    cost = "one forward pass for each sample (a 2D network: for each sample and slice)"
    signed = True
    units = "share of the score"
    summary = (
        "Divides the difference of the score between the image and its covered version among regions: the mean of "
        "what a region adds, over all orders in which regions can be uncovered. The map adds up to the difference."
    )
    citation = (
        "Lundberg, Lee: A unified approach to interpreting model predictions. NeurIPS 2017, arXiv:1705.07874 "
        "(theorem 2); paired samples: Covert, Lee, AISTATS 2021, arXiv:2012.01536."
    )
    proof = "equal to exact Shapley values by permutations; the map adds up to the difference of the scores (1e-9)"
    caution = (
        "Images with half of their regions covered are none that the network was trained on, and the values depend "
        "on the fill and on the partition; nothing is said about where inside a region the evidence lies."
    )
    parameters = (
        *REGIONS,
        Parameter(
            "samples", "integer", 700, "Coalitions that are scored; more make the standard error smaller.",
            minimum=4, maximum=1_000_000,
        ),
        FILL,
        Parameter(
            "exact", "choice", "auto",
            f"Whether all coalitions are scored: auto, for up to {FEW} regions where the samples allow it; yes, for "
            f"up to {MOST_PLAYERS} regions; no.",
            choices=("auto", "yes", "no"), advanced=True,
        ),
    )  # fmt: skip
    presets = {"quick": {"regions": 60, "samples": 200}, "thorough": {"regions": 200, "samples": 2000}}

    @classmethod
    def passes(cls, sizes: Sizes, parameters: dict[str, Any]) -> float:
        number, every = parameters["samples"], 2 ** min(parameters["regions"], MOST_PLAYERS)
        if parameters["exact"] == "yes" or (parameters["exact"] == "auto" and every <= min(number, 2**FEW)):
            number = every
        return 1 + passes_of_scores(number)

    def explain(self, question: Question, **parameters: Any) -> Attribution:
        samples, exact = parameters["samples"], parameters["exact"]
        cover = compared_with(question, parameters["fill"])
        question.progress(0.0, "regions")
        regions = regions_of(
            question, cover, parameters["partition"], parameters["regions"], parameters["labels"]
        )  # fmt: skip
        values, errors, wanted, passes, patched, exhausted = [], [], [], 0, 0, []
        for sample, players in enumerate(regions.counts):
            enumerate_all = exact == "yes" or (exact == "auto" and players <= FEW and 2**players <= samples)
            if enumerate_all and players > MOST_PLAYERS:
                raise XAIError(
                    f"{players} regions have {2**players:,} coalitions.",
                    f"Give at most {MOST_PLAYERS} regions, or exact=auto.",
                )
            span = sample / question.samples, (sample + 1) / question.samples
            game = Game(question, sample, regions.labels[sample], players, cover, span)
            found, error, complete = _values(game, samples, enumerate_all, question) if players else _nobody()
            values.append(found)
            errors.append(error)
            wanted.append(game.full - game.empty if players else 0.0)
            passes += game.passes
            patched += game.by_patches
            exhausted.append(complete)
        result = regions.spread(values)
        _report(question, values, errors)
        added, asked = result.flatten(1).sum(1), torch.tensor(wanted, dtype=torch.float64)
        question.diagnostics.update(
            passes=passes + question.samples, passes_by_patches=patched, exact=all(exhausted),
            baseline_score=float((question.scores_of_case.double().cpu() - asked).mean()),
            sum_of_map=float(added.sum()),
            completeness_error=float((added - asked).abs().sum() / asked.abs().sum().clamp_min(1e-12)),
            largest_regions=regions.largest(question, values, errors),
        )  # fmt: skip
        return Attribution(result.to(question.x.dtype))


def _nobody() -> tuple[torch.Tensor, torch.Tensor, bool]:
    nothing = torch.zeros(0, dtype=torch.float64)
    return nothing, nothing, True


def _values(
    game: Game, samples: int, enumerate_all: bool, question: Question
) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """Values and standard errors of one sample's regions, and whether every coalition was scored."""
    if enumerate_all:
        values = exact_values(game.scores(all_coalitions(game.players)))
        return values, torch.zeros_like(values), True
    pairs = pairs_of(game.players, samples, question.generator)
    none = torch.zeros(1, game.players, dtype=torch.bool)
    scores = game.scores(torch.cat([pairs.seen, ~pairs.seen, none]))
    seen, unseen = scores[:-1].chunk(2)
    values, errors = regressed(pairs, seen, unseen, game.empty, game.full)
    return values, errors, pairs.complete


def _report(question: Question, values: list[torch.Tensor], errors: list[torch.Tensor]) -> None:
    """How sure the values are."""
    every, error = torch.cat(values), torch.cat(errors)
    if not len(every):
        return
    largest = float(every.abs().max())
    question.diagnostics.update(
        largest_value=largest, median_standard_error=float(error.median()), largest_standard_error=float(error.max())
    )
    if float(error.max()) > UNSURE * largest:
        question.warn(
            f"The standard error of a region's value is up to {float(error.max()):.2g}, and the largest value is "
            f"{largest:.2g}: more samples, or fewer regions, make the map sure."
        )

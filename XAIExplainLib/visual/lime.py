"""LIME (Ribeiro, Singh, Guestrin 2016) on supervoxels: a linear model of the network around the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from XAIExplainLib.compute.backgrounds import compared_with
from XAIExplainLib.compute.coalitions import FILL, REGIONS, Game
from XAIExplainLib.compute.supervoxels import regions_of
from XAIExplainLib.effort import Sizes, passes_of_scores
from XAIExplainLib.method import Attribution, Method, register
from XAIExplainLib.parameter import Parameter
from XAIExplainLib.question import Question

FAITHFUL = 0.5  # share of the scores' variance that a surrogate must foretell


@register
class LIME(Method):
    """Fits a weighted linear model to the scores of images with random supervoxels covered."""

    name = "lime"
    title = "LIME"
    family = "Perturbation"
    model_specific = False
    needs = "scores"
    cost = "one forward pass for each sample (a 2D network: for each sample and slice)"
    signed = True
    units = "change of the score when the region is seen"
    summary = (
        "Covers random regions, fits a linear model to the scores, images near the case counting most, and shows each "
        "region's weight, spread over its voxels; how well the linear model foretells the network is reported."
    )
    citation = (
        'Ribeiro, Singh, Guestrin: "Why should I trust you?" Explaining the predictions of any classifier. KDD 2016, '
        "arXiv:1602.04938 (equation 2, algorithm 1)."
    )
    proof = "a network linear in regions is recovered (1e-4); the fit to left-out images is reported"
    caution = (
        "The weights are those of a surrogate, and worth no more than its fidelity; they change with the random "
        "sample, the partition, the width of the neighbourhood and the fill."
    )
    parameters = (
        *REGIONS,
        Parameter(
            "samples", "integer", 700, "Images with random regions covered; more make the weights surer.",
            minimum=4, maximum=1_000_000,
        ),
        FILL,
        Parameter(
            "features", "integer", 0,
            "How many regions the linear model may use, chosen one after the other by what they explain; 0 is all.",
            minimum=0, maximum=5000,
        ),
        Parameter(
            "width", "number", 0.25,
            "Width of the neighbourhood: an image at the cosine distance d weighs exp(-d^2 / width^2).",
            minimum=0.01, maximum=100.0, advanced=True,
        ),
        Parameter(
            "penalty", "number", 0.001,
            "Ridge penalty as a share of a region's variance: weights shrink by about this share; 0 is least squares.",
            minimum=0.0, maximum=100.0, advanced=True,
        ),
    )  # fmt: skip
    presets = {"quick": {"regions": 60, "samples": 200}, "thorough": {"regions": 200, "samples": 2000}}

    @classmethod
    def passes(cls, sizes: Sizes, parameters: dict[str, Any]) -> float:
        return 1 + passes_of_scores(parameters["samples"])

    def explain(self, question: Question, **parameters: Any) -> Attribution:
        cover = compared_with(question, parameters["fill"])
        question.progress(0.0, "regions")
        regions = regions_of(
            question, cover, parameters["partition"], parameters["regions"], parameters["labels"]
        )  # fmt: skip
        fits, passes = [], 0
        for sample, players in enumerate(regions.counts):
            if not players:
                fits.append(Surrogate.of_nothing())
                continue
            span = sample / question.samples, (sample + 1) / question.samples
            game = Game(question, sample, regions.labels[sample], players, cover, span)
            seen = neighbours(players, parameters["samples"], question.generator)
            near = nearness(seen, parameters["width"])
            scores = game.scores(seen)
            fits.append(surrogate(seen, near, scores, parameters["features"], parameters["penalty"], question))
            passes += game.passes
        weights, errors = [fit.weights for fit in fits], [fit.errors for fit in fits]
        question.diagnostics.update(passes=passes + question.samples)
        question.diagnostics.update(largest_regions=regions.largest(question, weights, errors))
        _report(question, fits)
        return Attribution(regions.spread(weights).to(question.x.dtype))


def neighbours(players: int, samples: int, generator: torch.Generator) -> torch.Tensor:
    """Random coalitions, bool (samples, players): the whole image, then each region seen with probability 1/2."""
    seen = torch.rand(samples, players, generator=generator) < 0.5
    seen[0] = True
    return seen


def nearness(seen: torch.Tensor, width: float) -> torch.Tensor:
    """The weight of each coalition, float64 (n,): ``exp(-d^2 / width^2)``, d the cosine distance to all ones.

    Of the coalitions of one image the heaviest weighs 1, so that a narrow width does not make all of them 0.
    """
    distance = 1 - (seen.double().mean(1)).sqrt()
    exponent = -((distance / width) ** 2)
    return (exponent - exponent.max()).exp()


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A fitted linear model.

    Parameters
    ----------
    weights, errors : torch.Tensor
        Shape (players,), float64: weights, 0 for regions that are not used, and their standard errors.
    intercept : float
        The score that it foretells with every region covered.
    fidelity : float
        Weighted share of the scores' variance that it explains (R2), on the images that it was fitted to.
    foretold : float
        The same on images left out, one at a time, of the fit.
    """

    weights: torch.Tensor
    errors: torch.Tensor
    intercept: float
    fidelity: float
    foretold: float

    @classmethod
    def of_nothing(cls) -> Surrogate:
        """For a sample without regions."""
        nothing = torch.zeros(0, dtype=torch.float64)
        return cls(nothing, nothing, 0.0, 1.0, 1.0)


def surrogate(
    seen: torch.Tensor, near: torch.Tensor, scores: torch.Tensor, features: int, penalty: float,
    question: Question | None = None,
) -> Surrogate:  # fmt: skip
    """Weighted ridge regression of the scores on the regions seen, with a free intercept.

    Parameters
    ----------
    seen : torch.Tensor
        Shape (n, players), bool.
    near, scores : torch.Tensor
        Shape (n,), float64.
    features : int
        How many regions are used; 0 is all.
    penalty : float
        As a share of the mean variance of a column.
    question : Question or None
        Asked while regions are chosen whether to stop.
    """
    players = seen.shape[1]
    z, share = seen.double(), near / near.sum()
    centre, middle = share @ z, share @ scores
    root = share.sqrt()
    design, wanted = root[:, None] * (z - centre), root * (scores - middle)
    used = torch.arange(players)
    if 0 < features < players:
        used = chosen(design, wanted, features, question)
    part = design[:, used]
    left, singular, right = torch.linalg.svd(part, full_matrices=False)
    ridge = penalty * float((part**2).sum()) / max(len(used), 1)
    ok = singular > 1e-9 * singular.max().clamp_min(1e-300)
    shrink = torch.where(ok, singular**2 / (singular**2 + ridge).clamp_min(1e-300), 0.0)
    inverse = (right.T * torch.where(ok, shrink / singular.clamp_min(1e-300), 0.0))  # fmt: skip
    weights = inverse @ (left.T @ wanted)
    residual = wanted - part @ weights
    # Each image's pull on its own fit, by the slopes and by the intercept.
    leverage = ((left**2) @ shrink + share).clamp(max=1 - 1e-6)
    alone = residual / (1 - leverage)
    errors = (inverse @ (left * alone[:, None]).T).norm(dim=1)
    total = float((wanted**2).sum())
    flat = total <= 1e-20 * max(middle.item() ** 2, 1e-300)
    everything = torch.zeros(players, dtype=torch.float64)
    every_error = torch.zeros(players, dtype=torch.float64)
    everything[used], every_error[used] = weights, errors
    return Surrogate(
        everything, every_error, float(middle - centre[used] @ weights),
        1.0 if flat else 1 - float((residual**2).sum()) / total,
        1.0 if flat else 1 - float((alone**2).sum()) / total,
    )  # fmt: skip


def chosen(design: torch.Tensor, wanted: torch.Tensor, number: int, question: Question | None = None) -> torch.Tensor:
    """Forward selection: column after column, the one that leaves the smallest residual of least squares.

    Parameters
    ----------
    design : torch.Tensor
        Shape (n, players), float64, weighted and centred.
    wanted : torch.Tensor
        Shape (n,).
    number : int
        How many are chosen, at most.

    Returns
    -------
    torch.Tensor
        Their indices in ascending order.
    """
    rest, residual = design.clone(), wanted.clone()  # what the chosen columns do not explain of columns and scores
    lengths = (design**2).sum(0)
    found: list[int] = []
    for _ in range(min(number, *design.shape)):
        if question is not None:
            question.check()
        length = (rest**2).sum(0)
        usable = length > 1e-9 * lengths
        if not bool(usable.any()):
            break
        gain = torch.where(usable, (rest.T @ residual) ** 2 / length.clamp_min(1e-300), -1.0)
        gain[found] = -1.0
        best = int(gain.argmax())
        found.append(best)
        direction = rest[:, best] / rest[:, best].norm()
        rest = rest - direction[:, None] * (direction @ rest)
        residual = residual - direction * (direction @ residual)
    return torch.tensor(sorted(found), dtype=torch.long)


def _report(question: Question, fits: list[Surrogate]) -> None:
    """How well the surrogates describe the network, and how sure their weights are."""
    known = [fit for fit in fits if len(fit.weights)]
    if not known:
        return
    weights, errors = torch.cat([fit.weights for fit in known]), torch.cat([fit.errors for fit in known])
    used = weights != 0
    foretold = sum(fit.foretold for fit in known) / len(known)
    question.diagnostics.update(
        surrogate_r2=sum(fit.fidelity for fit in known) / len(known), surrogate_r2_left_out=foretold,
        surrogate_intercept=sum(fit.intercept for fit in known) / len(known),
        surrogate_features=int(used.sum()), largest_weight=float(weights.abs().max()),
        median_standard_error=float(errors[used].median()) if bool(used.any()) else 0.0,
        largest_standard_error=float(errors.max()),
    )  # fmt: skip
    if foretold < FAITHFUL:
        question.warn(
            f"The linear surrogate foretells {max(foretold, 0.0):.0%} of the scores' variance, on images left out of "
            "its fit: it does not describe the network here. More samples or fewer regions may help."
        )

"""GradientSHAP: expected gradients (Erion et al. 2021), by a stratified sample of the ways from the backgrounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from XAIExplainLib.effort import WALK, Sizes
from XAIExplainLib.method import Attribution, Method, register
from XAIExplainLib.parameter import Parameter
from XAIExplainLib.visual.deep_shap import BACKGROUND, backgrounds_of, report_sum

if TYPE_CHECKING:
    from XAIExplainLib.question import Question

TOLERANCE = 0.05


@register
class GradientShap(Method):
    """The mean, over random points between backgrounds and the case, of the gradient times the way."""

    name = "gradient_shap"
    title = "GradientSHAP"
    family = "Backpropagation"
    model_specific = True
    needs = "gradient"
    cost = "one forward and one backward pass for each point; with noise one forward pass more"
    signed = True
    units = "share of the score"
    summary = (
        "Integrated gradients from several backgrounds at once, at random points of the ways: the map adds up to the "
        "difference to the backgrounds' mean score but for a sampling error, which is reported."
    )
    citation = (
        "Erion, Janizek, Sturmfels, Lundberg, Lee: Improving performance of deep learning models with axiomatic "
        "attribution priors and expected gradients. Nature Machine Intelligence 2021, arXiv:1906.10670 (equation 3); "
        "Lundberg, Lee: A unified approach to interpreting model predictions. NIPS 2017, arXiv:1705.07874."
    )
    proof = "exact on linear networks, captum's and integrated gradients' in expectation; its error is reported"
    caution = (
        "A random estimate: with few points it is grainy, and another seed gives a somewhat different map. Depends on "
        "the backgrounds: choose cases that lack what is asked about."
    )
    parameters = (
        BACKGROUND,
        Parameter(
            "samples", "integer", 20, "Random points on the way from each background, in pairs; more are exacter.",
            unit="point", minimum=2, maximum=10000,
        ),
        Parameter(
            "noise", "number", 0.0,
            "Standard deviation of the noise added to the background of each point, in intensity after preprocessing.",
            minimum=0.0, advanced=True,
        ),
    )  # fmt: skip
    presets = {"quick": {"samples": 10}, "thorough": {"samples": 100}}

    @classmethod
    def passes(cls, sizes: Sizes, parameters: dict[str, Any]) -> float:
        points = parameters["samples"] * len(parameters["background"])
        return 2 + points * (WALK + (1 if parameters["noise"] else 0))

    def explain(self, question: Question, **parameters: Any) -> Attribution:
        backgrounds = backgrounds_of(question, parameters["background"])
        noise, count = parameters["noise"], question.samples
        strata = -(-parameters["samples"] // 2)  # pieces of the way; the two points of each show the error
        shape = (len(backgrounds), count)
        values = torch.zeros(question.x.shape, dtype=torch.float64, device=question.x.device)
        variance = torch.zeros_like(values)
        found, of_sums = (torch.zeros(shape, dtype=torch.float64) for _ in range(2))
        scores = torch.zeros(shape, dtype=torch.float64)
        weight = 1 / (strata * len(backgrounds))
        pairs = max(1, question.batch_of_gradient() // (2 * count))  # that one batch takes
        for number, background in enumerate(backgrounds):
            for first in range(0, strata, pairs):
                done = (number + first / strata) / len(backgrounds)
                question.progress(done, f"point {2 * (number * strata + first) + 1} of {2 * strata * len(backgrounds)}")
                part = range(first, min(first + pairs, strata))
                starts = self._starts(question, background, noise, 2 * len(part))
                places = torch.rand(len(part), 2, generator=question.generator, dtype=torch.float64)
                places = ((places + torch.tensor(part)[:, None]) / strata).flatten().to(starts)
                ways = question.x - starts
                points = starts + places.reshape(-1, *[1] * question.x.dim()) * ways
                samples = torch.arange(count).repeat(2 * len(part))
                gradients, _ = question.gradients(points.flatten(0, 1), samples)
                if noise:
                    drawn = question.scores(starts.flatten(0, 1), samples).double().cpu().reshape(-1, count)
                    scores[number] += drawn.sum(0) / (2 * strata)
                shares = (gradients.reshape(ways.shape) * ways).double().unflatten(0, (-1, 2))
                sums = shares.flatten(3).sum(3).cpu()
                values += weight * shares.mean(1).sum(0)
                variance += weight**2 * ((shares[:, 0] - shares[:, 1]) ** 2).sum(0) / 4
                found[number] += sums.mean(1).sum(0) / strata
                of_sums[number] += weight**2 * ((sums[:, 0] - sums[:, 1]) ** 2).sum(0) / 4
            if not noise:
                scores[number] = question.scores(background).double().cpu()
        report_sum(question, found, question.scores_of_case.double().cpu() - scores, scores)
        self._report_error(question, values, variance, of_sums, 2 * strata)
        return Attribution(values.to(question.x.dtype))

    @staticmethod
    def _starts(question: Question, background: torch.Tensor, noise: float, points: int) -> torch.Tensor:
        """The beginnings of the ways, shape (points, N, C, *spatial)."""
        starts = background.expand(points, *background.shape)
        if not noise:
            return starts
        drawn = torch.randn(starts.shape, generator=question.generator, dtype=starts.dtype)
        return starts + noise * drawn.to(starts.device)

    @staticmethod
    def _report_error(
        question: Question, values: torch.Tensor, variance: torch.Tensor, of_sums: torch.Tensor, points: int
    ) -> None:
        """Say how far chance moves the map, relative to its length, and its sum."""
        relative = float((variance.sum() / (values**2).sum().clamp_min(1e-300)).sqrt())
        question.diagnostics.update(
            points=points, standard_error=relative, standard_error_of_sum=float(of_sums.sum().sqrt())
        )
        error = question.diagnostics["completeness_error"]
        if error > TOLERANCE:
            question.warn(
                f"The map adds up to the difference of the scores with an error of {error:.1%}; more samples, or the "
                "background blur, make it smaller."
            )
        if relative > 0.3:
            question.warn(f"Chance moves the map by {relative:.0%} of its length; more samples make that smaller.")

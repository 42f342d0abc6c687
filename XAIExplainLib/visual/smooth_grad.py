"""SmoothGrad (Smilkov et al. 2017) and VarGrad (Adebayo et al. 2018): explanations of noisy copies of the image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from XAIExplainLib.compute.baselines import CHOICES, baseline
from XAIExplainLib.compute.derivatives import DERIVATIVES
from XAIExplainLib.compute.quadrature import gauss_legendre
from XAIExplainLib.compute.rectifiers import GUIDED, rectifiers
from XAIExplainLib.effort import WALK, Sizes
from XAIExplainLib.errors import XAIError
from XAIExplainLib.method import Attribution, Method, register
from XAIExplainLib.parameter import Parameter
from XAIExplainLib.question import Question

UNSURE = 0.5  # a standard error above this share of the map is warned of
TOLERANCE = 0.01  # of the sum of integrated gradients

# Images (B, C, *spatial) and which sample each one is of, to their maps and scores.
Explaining = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


@register
class SmoothGrad(Method):
    """The mean, mean square or variance of the explanations of noisy copies of the image."""

    name = "smooth_grad"
    title = "SmoothGrad"
    family = "Backpropagation"
    model_specific = True
    needs = "gradient"
    cost = "one forward and one backward pass for each noisy copy, and for each step of integrated gradients in it"
    signed = True
    units = "as the method that is smoothed"
    summary = (
        "Averages the explanation over noisy copies of the image, so that what holds for one copy alone goes away; or "
        "shows how much it differs from copy to copy (VarGrad)."
    )
    citation = (
        "Smilkov, Thorat, Kim, Viegas, Wattenberg: SmoothGrad: removing noise by adding noise. 2017, arXiv:1706.03825 "
        "(section 3); VarGrad: Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim: Sanity checks for saliency maps. "
        "NeurIPS 2018, arXiv:1810.03292 (appendix)."
    )
    proof = (
        "equal to the statistics of the single maps at the very draws, and to the closed form of a quadratic "
        "network"
    )
    caution = (
        "Explains noisy images, which the network may never have seen: too much noise explains something else, too "
        "little changes nothing. A smoother map is not a truer one."
    )
    parameters = (
        Parameter(
            "samples", "integer", 20, "Noisy copies; the random error of the map falls with their square root.",
            unit="copies", minimum=2, maximum=1000,
        ),
        Parameter(
            "noise", "number", 0.1,
            "Standard deviation of the noise as a share of the image's intensity range, in each channel of its own.",
            minimum=0.0, maximum=1.0,
        ),
        Parameter(
            "of", "choice", "gradient", "Which explanation is smoothed.",
            choices=("gradient", "gradient_x_input", "integrated_gradients", "guided_backpropagation"),
        ),
        Parameter(
            "statistic", "choice", "mean",
            "mean: SmoothGrad; squared: the mean of the squares (SmoothGrad-Squared); variance: VarGrad.",
            choices=("mean", "squared", "variance"),
        ),
        Parameter(
            "steps", "integer", 10, "Integrated gradients only: points between baseline and noisy copy.",
            unit="steps", minimum=1, maximum=1000, advanced=True,
        ),
        Parameter(
            "baseline", "fill", 0.0,
            "Integrated gradients only: an intensity after preprocessing, the image's mean, or the blurred image.",
            choices=CHOICES, advanced=True,
        ),
    )  # fmt: skip
    presets = {"quick": {"samples": 8}, "thorough": {"samples": 50}}

    @classmethod
    def passes(cls, sizes: Sizes, parameters: dict[str, Any]) -> float:
        points = parameters["steps"] if parameters["of"] == "integrated_gradients" else 1
        return 1 + WALK * points * parameters["samples"]

    def explain(self, question: Question, **parameters: Any) -> Attribution:
        of, statistic, count = parameters["of"], parameters["statistic"], parameters["samples"]
        deviation = _deviation(question.x, parameters["noise"])
        start = baseline(question.x, parameters["baseline"])
        explaining = _explaining(question, of, start, parameters["steps"])
        halves = _Moments(question.x), _Moments(question.x)  # of the even and of the odd copies
        group = max(1, question.batch_of_gradient(GUIDED if of == "guided_backpropagation" else DERIVATIVES)
                    // question.samples)  # fmt: skip
        rows = torch.arange(question.samples, device=question.x.device)
        sums: list[torch.Tensor] = []  # of each copy: of its maps, and of what they should be
        for first in range(0, count, group):
            question.progress(first / count, f"noisy copy {first + 1} of {count}")
            copies = range(first, min(first + group, count))
            # One draw after the other, so that the map does not depend on how many fit the memory.
            images = torch.cat([question.x + deviation * _noise(question) for _ in copies])
            maps, scores = explaining(images, rows.repeat(len(copies)))
            for copy, one in zip(copies, maps.split(question.samples), strict=True):
                halves[copy % 2].add(one)
            sums.append(torch.stack([maps.double().flatten(1).sum(1), scores.double()]))
        both = halves[0].with_(halves[1])
        values = both.statistic(statistic)
        # Halves that are drawn apart differ by twice the standard error of the whole, in the mean square.
        apart = halves[0].statistic(statistic, unbiased=True) - halves[1].statistic(statistic, unbiased=True)
        known = count > (3 if statistic == "variance" else 1)  # a half of one copy has no variance
        error = float(apart.norm() / (2 * values.norm()).clamp_min(1e-300)) if known else None
        question.diagnostics.update(
            noise_deviation=[float(value) for value in deviation.flatten()], copies=count,
            monte_carlo_error=error,
        )  # fmt: skip
        if of == "integrated_gradients" and statistic == "mean":
            _completeness(question, torch.cat(sums, 1), start)
        if not bool(values.any()):
            if statistic != "variance":
                question.warn("The map is zero everywhere: the score does not depend on the image here.")
        elif error is not None and error > UNSURE:
            question.warn(
                f"The random error of the map is {error:.0%} of it (in the root mean square); more samples make it "
                "smaller."
            )
        return Attribution(values.to(question.x.dtype), signed=statistic == "mean")


class _Moments:
    """Mean and sum of squared deviations of maps that come one at a time (Welford 1962), in double precision."""

    def __init__(self, like: torch.Tensor) -> None:
        self.count = 0
        self.mean = torch.zeros_like(like, dtype=torch.float64)
        self.deviations = torch.zeros_like(self.mean)

    def add(self, one: torch.Tensor) -> None:
        self.count += 1
        away = one.double() - self.mean
        self.mean += away / self.count
        self.deviations += away * (one.double() - self.mean)

    def with_(self, other: _Moments) -> _Moments:
        """Of the maps of both together (Chan et al. 1979)."""
        both = _Moments(self.mean)
        both.count = self.count + other.count
        away = other.mean - self.mean
        both.mean = self.mean + away * (other.count / both.count)
        both.deviations = self.deviations + other.deviations + away.square() * (self.count * other.count / both.count)
        return both

    def statistic(self, which: str, unbiased: bool = False) -> torch.Tensor:
        if which == "mean":
            return self.mean
        if which == "squared":
            return self.deviations / self.count + self.mean.square()
        return self.deviations / (max(1, self.count - 1) if unbiased else self.count)


def _deviation(x: torch.Tensor, share: float) -> torch.Tensor:
    """The noise's standard deviation of each channel, (1, C, 1, ...): a share of the range over the whole case."""
    by_channel = x.transpose(0, 1).flatten(1)
    spread = by_channel.amax(1) - by_channel.amin(1)
    if not bool(spread.any()):
        raise XAIError(
            "The image has one intensity everywhere, so that no noise can be a share of its range.",
            "Check the volume and the preprocessing, or use gradient.",
        )
    return (share * spread).reshape(1, -1, *[1] * (x.dim() - 2))


def _noise(question: Question) -> torch.Tensor:
    """Standard normal numbers of the shape of the case, from the run's generator."""
    drawn = torch.randn(question.x.shape, generator=question.generator, dtype=torch.float32)
    return drawn.to(question.x.device, question.x.dtype)


def _explaining(question: Question, of: str, start: torch.Tensor, steps: int) -> Explaining:
    """What makes the maps of noisy copies, each of a sample of the case."""

    def gradient(images: torch.Tensor, samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return question.gradients(images, samples)

    def times_input(images: torch.Tensor, samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gradients, scores = question.gradients(images, samples)
        return gradients * images, scores

    def guided(images: torch.Tensor, samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return question.gradients(images, samples, GUIDED)

    nodes, weights = gauss_legendre(steps)

    def integrated(images: torch.Tensor, samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        before = start[samples]
        total = torch.zeros_like(images)
        for node, weight in zip(nodes, weights, strict=True):
            total += float(weight) * question.gradients(before + float(node) * (images - before), samples)[0]
        return total * (images - before), question.scores(images, samples)

    if of == "guided_backpropagation":
        question.diagnostics["rectifiers"] = len(rectifiers(question.graph(of_tile=True), "Guided backpropagation"))
        return guided
    return {"gradient": gradient, "gradient_x_input": times_input, "integrated_gradients": integrated}[of]


def _completeness(question: Question, sums: torch.Tensor, start: torch.Tensor) -> None:
    """Each copy's map adds up to its score less the baseline's; so does the mean."""
    found, scores = sums.reshape(2, -1, question.samples).mean(1)
    wanted = scores - question.scores(start).double()
    error = float((found - wanted).abs().sum() / wanted.abs().sum().clamp_min(1e-12))
    question.diagnostics.update(sum_of_map=float(found.sum()), completeness_error=error)
    if error > TOLERANCE:
        question.warn(
            f"The map adds up to the mean difference of the scores with an error of {error:.1%}; more steps make it "
            "smaller."
        )

"""Prediction difference analysis (Zintgraf et al. 2017), also over supervoxels of several sizes (Seo, Oh, Oh 2020)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from XAIExplainLib.compute.backgrounds import other_case
from XAIExplainLib.compute.conditional import Draws, Gaussian, Part, air, learned
from XAIExplainLib.compute.perturbation import Measure, covered_scores
from XAIExplainLib.compute.supervoxels import regions_of
from XAIExplainLib.effort import Sizes, passes_of_scores
from XAIExplainLib.errors import XAIError
from XAIExplainLib.method import Attribution, Method, register
from XAIExplainLib.parameter import Parameter
from XAIExplainLib.question import Question
from XAIExplainLib.visual.occlusion import MOST_WINDOWS, windows

PARTITIONS = ("patches", "supervoxels")
SAMPLERS = ("conditional", "marginal", "rim")
BACKGROUNDS = ("keep", "sample")
MEASURES = ("auto", "evidence", "probability", "score")
MOST_SCALES = 8
TOLERANCE = 0.1  # of the largest value: above this standard error of a part the map is called noisy

Drawn = Callable[[Part, int, torch.Generator], torch.Tensor]  # (part, count, generator) -> (count, C, voxels)


@register
class PredictionDifference(Method):
    """Draws other contents for one part after the other, and measures how the answer's expectation changes."""

    name = "prediction_difference"
    title = "Prediction difference"
    family = "Perturbation"
    model_specific = False
    needs = "scores"
    by_boxes = True
    cost = "as occlusion, times the number of samples"
    signed = True
    units = "weight of evidence (bits), or change of the score"
    summary = (
        "How far the answer changes, on average, when a patch is not known: its content is drawn many times from what "
        "could stand there. Positive where the content of the patch speaks for the target, more than what is expected "
        "from its surroundings."
    )
    citation = (
        "Zintgraf, Cohen, Adel, Welling: Visualizing deep neural network decisions: prediction difference analysis. "
        "ICLR 2017, arXiv:1702.04595 (equations 2 to 4, algorithm 1); Robnik-Sikonja, Kononenko: IEEE TKDE 2008; "
        "supervoxels of several sizes: Seo, Oh, Oh, IEEE Access 2020, arXiv:1807.11720."
    )
    proof = "the sampler equals the Gaussian conditional (1e-9), the map numerical integration on a logistic network"
    caution = (
        "What the network would say without a patch depends on how well its content can be guessed: the Gaussian model "
        "of neighbouring voxels knows textures and no anatomy. Evidence that is there twice is seen nowhere."
    )
    parameters = (
        Parameter(
            "partition", "choice", "patches",
            "What is drawn anew at once: boxes, or supervoxels of several sizes whose maps are averaged.",
            choices=PARTITIONS,
        ),
        Parameter("window", "voxels", 8, "Size of the patch on the network's grid.", unit="voxels", minimum=1),
        Parameter("stride", "voxels", 8, "From one patch to the next on the network's grid.", unit="voxels", minimum=1),
        Parameter("scales", "list", ("50", "150"), "Numbers of supervoxels, one for each averaged map."),
        Parameter(
            "samples", "integer", 10, "Contents drawn for each patch; more make the map less noisy.",
            unit="samples", minimum=1, maximum=10_000,
        ),
        Parameter(
            "sampler", "choice", "conditional",
            "Where contents come from: a Gaussian given the surroundings, other places (or the same place of other "
            "cases), or independent voxels with mean and deviation of the rim.",
            choices=SAMPLERS,
        ),
        Parameter(
            "surround", "integer", 1, "How far around a patch is looked at, to guess its content.",
            unit="voxels", minimum=0, maximum=8,
        ),
        Parameter(
            "cases", "list", (), "Cases that show what else could be there; none learns from the image itself.",
            of="volume",
        ),
        Parameter(
            "background", "choice", "keep", "Whether air of one value stays as it is, or is drawn anew too.",
            choices=BACKGROUNDS, advanced=True,
        ),
        Parameter(
            "measure", "choice", "auto",
            "What is compared: log-odds of the target's probability in bits, the probability, or the score; auto takes "
            "the first where the target has a probability, else the score.",
            choices=MEASURES, advanced=True,
        ),
        Parameter(
            "training_cases", "integer", 1000,
            "N of the Laplace correction (p N + 1) / (N + classes), which keeps certain answers finite.",
            minimum=1, maximum=10**9, advanced=True,
        ),
    )  # fmt: skip
    presets = {
        "quick": {"window": 16, "stride": 16, "samples": 4}, "thorough": {"window": 8, "stride": 4, "samples": 20},
    }  # fmt: skip

    @classmethod
    def passes(cls, sizes: Sizes, parameters: dict[str, Any]) -> float:
        samples = parameters["samples"]
        if parameters["partition"] != "patches":
            return 1 + passes_of_scores(sum(_numbers(parameters["scales"])) * samples)
        image = sizes.image if parameters["background"] == "keep" else None
        seen = None if image is None else ~air(image)
        return 1 + sizes.passes_of_boxes(parameters["window"], parameters["stride"], seen, samples)

    def explain(self, question: Question, **parameters: Any) -> Attribution:
        x, samples = question.x, parameters["samples"]
        scale = _scale(question, parameters["measure"], parameters["training_cases"])
        empty = air(x) if parameters["background"] == "keep" else torch.zeros_like(x[:, 0], dtype=torch.bool)
        known = ~empty
        parts = _parts(question, known, parameters)
        cases = [other_case(question, name) for name in parameters["cases"]]
        drawers = _drawers(question, known, parts, cases, parameters)
        number = sum(map(len, parts)) * samples
        if number > MOST_WINDOWS:
            raise XAIError(f"This makes {number:,} contents.", "Give a larger stride, or fewer samples.")
        question.diagnostics.update(
            measure=scale.name, parts=sum(map(len, parts)), passes=number + question.samples, samples=samples,
            background_share=float(empty.float().mean()),
        )  # fmt: skip
        total = torch.zeros((question.samples, 1, *question.spatial), dtype=torch.float64)
        count = torch.zeros_like(total)
        found: list[float] = []
        errors: list[float] = []
        done = 0
        # One number a part, so that a part's contents are the same in whichever order they are asked for.
        seeds = torch.randint(2**62, (sum(map(len, parts)),), generator=question.generator).tolist()
        for sample, (own, drawn) in enumerate(zip(parts, drawers, strict=True)):
            now = float(scale.measure(question.output[sample : sample + 1], torch.tensor([sample], device=x.device)))
            contents = _Contents(x[sample], own, samples, drawn, seeds[len(found) : len(found) + len(own)])
            numbers = torch.zeros(len(own) * samples, dtype=torch.float64)
            for some in _alike(own, parameters["partition"] == "patches"):
                boxes = [own[n].box for n in some for _ in range(samples)]
                items = [n * samples + draw for n in some for draw in range(samples)]
                question.progress(done / max(number, 1), f"content {done + 1} of {number}")
                for indices, values in covered_scores(
                    question, sample, boxes, contents.of(items), scale.measure, "Prediction difference"
                ):
                    numbers[[items[index] for index in indices]] = values.double().cpu()
                    done += len(indices)
                    question.progress(done / number, f"content {done} of {number}")
            for part, drawn_numbers in zip(own, numbers.reshape(-1, samples), strict=True):
                value, error = scale.difference(now, drawn_numbers)
                where = part.inside.cpu().double()
                total[(sample, 0, *part.box)] += value * where
                count[(sample, 0, *part.box)] += where
                found.append(value)
                errors.append(error)
        _report(question, found, errors, samples)
        if bool(((count == 0)[:, 0] & known.cpu()).any()):
            question.warn("Voxels that belong to no patch are 0: the stride is larger than the window.")
        return Attribution((total / count.clamp_min(1)).to(x.dtype))


# -- what is compared --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scale:
    """What is measured, and how the difference of its expectation is counted."""

    name: str
    measure: Measure
    correct: float  # N of the Laplace correction; 0 counts plain differences
    classes: int

    def difference(self, now: float, drawn: torch.Tensor) -> tuple[float, float]:
        """The image's number less the mean of the draws', on this scale, and the standard error."""
        mean = float(drawn.mean())
        error = float(drawn.std() / math.sqrt(len(drawn))) if len(drawn) > 1 else math.nan
        if not self.correct:
            return now - mean, error
        value = self._bits(now) - self._bits(mean)
        p = self._laplace(mean)
        return value, error * self.correct / (self.correct + self.classes) / (p * (1 - p) * math.log(2))

    def _laplace(self, p: float) -> float:
        return (p * self.correct + 1) / (self.correct + self.classes)

    def _bits(self, p: float) -> float:
        p = self._laplace(p)
        return math.log2(p / (1 - p))


def _scale(question: Question, wanted: str, instances: int) -> _Scale:
    """The scale that the user wants, if the target has a probability where it needs one."""
    score, probability = question.score, question.score.probability
    if probability is None:
        if wanted in ("evidence", "probability"):
            raise XAIError(
                f"The target {score.name} has no probability, so there is no {wanted} for it.",
                "Take the measure score, or explain a class of a classifier.",
            )
        return _Scale(f"difference of the score ({score.units})", score, 0.0, 1)
    if wanted == "score":
        return _Scale(f"difference of the score ({score.units})", score, 0.0, 1)

    def measure(outputs: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
        return probability(outputs.double(), samples)  # in double: near 1 single precision has few digits

    if wanted == "probability":
        return _Scale("difference of the probability", measure, 0.0, 1)
    classes = max(2, math.prod(question.output.shape[1:]))
    return _Scale("weight of evidence (bits)", measure, float(instances), classes)


# -- what is drawn anew ------------------------------------------------------------------------------------------------


def _parts(question: Question, known: torch.Tensor, parameters: dict[str, Any]) -> list[list[Part]]:
    """The patches or supervoxels of each sample, without those that are all air."""
    if parameters["partition"] == "patches":
        boxes = windows(question.spatial, parameters["window"], parameters["stride"])
        made = [[Part(box, inside) for box in boxes if bool((inside := one[box]).any())] for one in known]
        question.diagnostics["partition"] = "patches"
    else:
        made = [[] for _ in range(question.samples)]
        counts, volumes = [], []
        for number in _numbers(parameters["scales"]):
            question.check()
            labels = regions_of(question, torch.where(known[:, None], question.x + 1, question.x), "slic", number)
            counts.append(sum(labels.counts))
            volumes.append(question.diagnostics.pop("region_mm3"))
            for sample, (labelled, regions) in enumerate(zip(labels.labels, labels.counts, strict=True)):
                made[sample] += _regions(labelled, regions, known[sample])
        question.diagnostics.pop("regions", None)
        question.diagnostics.update(partition="supervoxels", regions_of_scales=counts, region_mm3_of_scales=volumes)
    if not any(made):
        question.warn("The image is empty: it has one value everywhere, so the map is 0.")
    return made


def _numbers(scales: tuple[str, ...]) -> list[int]:
    """Numbers of supervoxels."""
    numbers = [int(word) if word.isdecimal() else 0 for word in scales]
    if not numbers or min(numbers) < 1 or len(numbers) > MOST_SCALES:
        raise XAIError(
            f"The scales cannot be {','.join(scales)!r}.",
            f"Give from one to {MOST_SCALES} numbers of supervoxels, parted by commas, such as 100,300.",
        )
    return numbers


def _regions(labels: torch.Tensor, number: int, known: torch.Tensor) -> list[Part]:
    """Regions 1 to `number` of a label map (*spatial)."""
    places = torch.nonzero(labels)
    labelled = labels[tuple(places.T)]
    order = torch.argsort(labelled, stable=True)
    parts = []
    for one in places[order].split(torch.bincount(labelled, minlength=number + 1)[1:].tolist()):
        low, high = one.amin(0).tolist(), (one.amax(0) + 1).tolist()
        box = tuple(slice(first, last) for first, last in zip(low, high, strict=True))
        inside = torch.zeros([last - first for first, last in zip(low, high, strict=True)], dtype=torch.bool)
        inside[tuple((one.cpu() - torch.tensor(low)).T)] = True
        inside &= known[box].cpu()
        if bool(inside.any()):
            parts.append(Part(box, inside))
    return parts


def _alike(parts: list[Part], one_size: bool) -> list[list[int]]:
    """Groups of parts whose boxes differ little in size: all boxes of a group get patches of the largest's size."""
    if one_size:
        return [list(range(len(parts)))] * bool(parts)
    groups: dict[int, list[int]] = {}
    for number, part in enumerate(parts):
        side = max(piece.stop - piece.start for piece in part.box)
        groups.setdefault(math.ceil(math.log2(side)), []).append(number)
    return list(groups.values())


# -- what is drawn -----------------------------------------------------------------------------------------------------


def _drawers(
    question: Question, known: torch.Tensor, parts: list[list[Part]], cases: list[torch.Tensor],
    parameters: dict[str, Any],
) -> list[Drawn]:  # fmt: skip
    """For each sample, what draws contents; how it was learned goes into the diagnostics."""
    x, sampler = question.x, parameters["sampler"]
    question.diagnostics.update(sampler=sampler, learned_from=list(parameters["cases"]) or ["the image itself"])
    if not any(parts):
        return [_none] * question.samples
    if sampler == "marginal":
        if cases:
            return [_SamePlace([case[sample] for case in cases]).of for sample in range(question.samples)]
        if any(part.inside.shape == known.shape[1:] for own in parts for part in own):
            raise XAIError(
                "A patch is as large as the image, so there is no other place to take its content from.",
                "Give a smaller window, or cases.",
            )
        return [_OtherPlaces(image, where).of for image, where in zip(x, known, strict=True)]
    images = torch.cat(cases) if cases else x
    where = torch.cat([~air(case) for case in cases]) if cases and parameters["background"] == "keep" else (
        torch.ones_like(images[:, 0], dtype=torch.bool) if cases else known
    )  # fmt: skip
    if not bool(where.any()):
        raise XAIError("The cases are empty: each has one value everywhere.", "Give cases that show anatomy.")
    widest = [max(part.box[axis].stop - part.box[axis].start for own in parts for part in own)
              for axis in range(len(question.spatial))]  # fmt: skip
    surround = parameters["surround"]
    reach = tuple(w + 2 * surround - 1 for w in widest) if sampler == "conditional" else (0,) * len(widest)
    model = learned(images, where, reach)
    question.diagnostics["voxels_learned_from"] = model.voxels
    if sampler == "rim":
        return [_Rim(Draws(model, image, inside, surround)).of for image, inside in zip(x, known, strict=True)]
    question.diagnostics.update(
        covariance="stationary, from all voxels that are not air", shrinkage=model.shrinkage,
        effective_samples=model.effective,
    )  # fmt: skip
    return [_Clipped(model, Draws(model, image, inside, surround)).of for image, inside in zip(x, known, strict=True)]


def _none(part: Part, count: int, generator: torch.Generator) -> torch.Tensor:
    raise ValueError("nothing is drawn for an empty image")


@dataclass(frozen=True, eq=False)
class _Clipped:
    """Draws given the surroundings, cut to the values that the model was learned from (as the paper's code does)."""

    model: Gaussian
    draws: Draws

    def of(self, part: Part, count: int, generator: torch.Generator) -> torch.Tensor:
        found = self.draws.of(part, count, generator)
        low, high = self.model.low, self.model.high
        return found if low is None or high is None else found.clamp(low[:, None], high[:, None])


@dataclass(frozen=True, eq=False)
class _Rim:
    """Independent voxels, normal with the mean and deviation of the rim in each channel."""

    draws: Draws

    def of(self, part: Part, count: int, generator: torch.Generator) -> torch.Tensor:
        inside, around = self.draws.rim(part)
        rim = self.draws.image[(slice(None), *around.T)]
        model = self.draws.model
        mean, deviation = model.mean, model.between(*[torch.zeros((1, inside.shape[1]), dtype=torch.long)] * 2)
        deviation = deviation.diagonal().sqrt()
        if len(around) > 1:
            mean, deviation = rim.mean(1), rim.std(1)
        noise = torch.randn(count, len(mean), len(inside), generator=generator, dtype=torch.float64)
        return mean[:, None] + deviation[:, None] * noise


@dataclass(frozen=True, eq=False)
class _SamePlace:
    """The same voxels of other cases."""

    cases: list[torch.Tensor]

    def of(self, part: Part, count: int, generator: torch.Generator) -> torch.Tensor:
        chosen = torch.randint(len(self.cases), (count,), generator=generator).tolist()
        return torch.stack([self.cases[n][(slice(None), *part.box)][:, part.inside] for n in chosen])


class _OtherPlaces:
    """The same form at other places of the image whose middle is not air."""

    def __init__(self, image: torch.Tensor, known: torch.Tensor) -> None:
        self.image, self.places = image, torch.nonzero(known).cpu()

    def of(self, part: Part, count: int, generator: torch.Generator) -> torch.Tensor:
        spatial = torch.tensor(self.image.shape[1:])
        size = torch.tensor([piece.stop - piece.start for piece in part.box])
        chosen = self.places[torch.randint(len(self.places), (count,), generator=generator)]
        lows = torch.minimum((chosen - size // 2).clamp_min(0), spatial - size).tolist()
        side = size.tolist()
        boxes = [tuple(slice(n, n + s) for n, s in zip(low, side, strict=True)) for low in lows]
        return torch.stack([self.image[(slice(None), *box)][:, part.inside] for box in boxes])


class _Contents:
    """Contents of the parts' boxes: item n is draw n % samples of part n // samples."""

    def __init__(self, image: torch.Tensor, parts: list[Part], samples: int, drawn: Drawn, seeds: list[int]) -> None:
        self.image, self.parts, self.samples, self.drawn, self.seeds = image, parts, samples, drawn, seeds
        self._last: tuple[int, torch.Tensor] | None = None

    def of(self, items: list[int]) -> Callable[[list[int]], list[torch.Tensor]]:
        """Contents by the index of an item in a list of them."""
        return lambda indices: [self._content(*divmod(items[index], self.samples)) for index in indices]

    def _content(self, number: int, draw: int) -> torch.Tensor:
        part = self.parts[number]
        if self._last is None or self._last[0] != number:
            generator = torch.Generator().manual_seed(self.seeds[number])
            self._last = number, self.drawn(part, self.samples, generator).to(self.image)
        content = self.image[(slice(None), *part.box)].clone()
        content[:, part.inside] = self._last[1][draw]
        return content


def _report(question: Question, found: list[float], errors: list[float], samples: int) -> None:
    """The largest difference, and the standard error that comes from drawing."""
    if not found:
        return
    largest = max(map(abs, found))
    question.diagnostics["largest_difference"] = largest
    if samples < 2:
        question.warn("One sample a patch: how far chance moves the map is not known.")
        return
    error = math.sqrt(sum(one * one for one in errors) / len(errors))
    strongest = max(range(len(found)), key=lambda n: abs(found[n]))
    question.diagnostics.update(
        monte_carlo_error=error, largest_monte_carlo_error=max(errors), error_of_largest=errors[strongest],
    )  # fmt: skip
    if largest > 0 and error > TOLERANCE * largest:
        question.warn(
            f"The standard error of a patch is {error / largest:.0%} of the largest value; more samples make it less."
        )

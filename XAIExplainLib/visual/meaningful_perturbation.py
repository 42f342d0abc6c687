"""Meaningful perturbation (Fong & Vedaldi 2017) and its area constraint (Fong et al. 2019), in 3D."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from XAIExplainLib.compute.backgrounds import compared_with
from XAIExplainLib.compute.baselines import baseline
from XAIExplainLib.compute.inpainting import grown, harmonic, sweep
from XAIExplainLib.compute.soft_masks import Adam, Lattice, share_of_area, total_variation, with_area
from XAIExplainLib.compute.supervoxels import anatomy
from XAIExplainLib.effort import WALK, Sizes
from XAIExplainLib.errors import XAIError
from XAIExplainLib.method import Attribution, Method, register
from XAIExplainLib.networks.replacements import healthy_inpainter, reconstruction
from XAIExplainLib.parameter import Parameter
from XAIExplainLib.question import Question

REPLACEMENTS = ("mean", "blur", "noise", "harmonic", "vae", "inpainting")
RATE = 0.5  # largest step of the logarithm of the odds of a cell
LEAST_ANATOMY = 0.05  # of a cell, as which a cell with less of it is counted
SHARPNESS = 4.0  # of the bend where nothing of the score is left
LEAST_FALL = 0.25  # of the score's size; a smaller fall is no measure
REFRESH = 10  # steps between two fillings of the hole that the mask has become
LARGEST_HOLE = 0.3  # of the anatomy; a larger one has no surroundings to be filled from


@register
class MeaningfulPerturbation(Method):
    """A soft mask on a coarse grid, learnt by gradient descent."""

    name = "meaningful_perturbation"
    title = "Meaningful perturbation"
    family = "Perturbation"
    model_specific = True
    needs = "gradient"
    cost = "one forward and one backward pass for each step"
    signed = False
    units = "share that belongs to the region"
    summary = (
        "Learns the region whose replacement by something without evidence lowers the score most (deletion), or which "
        "alone keeps it (preservation): of a given share of the anatomy, or as small as is worth its price."
    )
    citation = (
        "Fong, Vedaldi: Interpretable explanations of black boxes by meaningful perturbation. ICCV 2017, "
        "arXiv:1704.03296 (equations 3 and 4). Area: Fong, Patrick, Vedaldi: Understanding deep networks via extremal "
        "perturbations and smooth masks. ICCV 2019, arXiv:1910.08485 (equation 2). Healthy replacement: Uzunova et al. "
        "SPIE Medical Imaging 2019 (autoencoder); Lenis et al. MICCAI 2020 (inpainting)."
    )
    proof = (
        "on a linear network the best region of an area is found exactly; the mask's gradient equals autograd's "
        "(1e-8); the score with the region replaced is measured, not assumed"
    )
    caution = (
        "A region is learnt, so another start may find another one of the same effect; the replacement decides what "
        "counts as removed, and a network may answer to the replacement itself."
    )
    parameters = (
        Parameter(
            "game", "choice", "deletion",
            "deletion: the region whose replacement lowers the score; preservation: the region that keeps the score "
            "when all else is replaced.",
            choices=("deletion", "preservation"),
        ),
        Parameter(
            "area", "number", 0.0,
            "Share of the anatomy that the region has; 0 lets the price decide, as in the paper of 2017.",
            minimum=0.0, maximum=0.9,
        ),
        Parameter(
            "replacement", "fill", "blur",
            "What takes the place of the region: an intensity after preprocessing, the image's mean, the blurred "
            "image, noise, its surroundings (harmonic), a healthy brain drawn by an autoencoder (vae) or by an "
            "inpainting network (the bundled brain problem only), or a healthy case.",
            choices=REPLACEMENTS, volumes=True,
        ),
        Parameter(
            "steps", "integer", 40, "Steps of the descent, each a gradient.", unit="steps", minimum=1, maximum=2000,
        ),
        Parameter(
            "cell", "voxels", 4, "Size of the mask's cells on the network's grid.", unit="voxels", minimum=1,
        ),
        Parameter(
            "smoothness", "number", 0.2, "Price of differences between neighbouring cells (total variation).",
            minimum=0.0, maximum=1000.0, advanced=True,
        ),
        Parameter(
            "price", "number", 8.0,
            "With area 0: what the whole anatomy costs, when the whole fall of the score is 1.",
            minimum=0.0, maximum=1e6, advanced=True,
        ),
        Parameter(
            "level", "number", 0.8,
            "Share of the possible fall of the score that the region should reach; below it the result warns.",
            minimum=0.0, maximum=1.0, advanced=True,
        ),
    )  # fmt: skip
    presets = {"quick": {"steps": 20, "cell": 8}, "thorough": {"steps": 150, "cell": 4}}

    @classmethod
    def passes(cls, sizes: Sizes, parameters: dict[str, Any]) -> float:
        return 4 + WALK * parameters["steps"]

    def explain(self, question: Question, **parameters: Any) -> Attribution:
        return _Descent(question, parameters).run()


class _Descent:
    """One run: the samples that have anatomy, their masks, and what replaces them."""

    def __init__(self, question: Question, parameters: dict[str, Any]) -> None:
        self.question, self.parameters = question, parameters
        self.deletion = parameters["game"] == "deletion"
        self.lattice = Lattice(question.spatial, _cell(parameters["cell"], question.spatial), (), question.x.dtype)
        question.progress(0.0, "replacing")
        everywhere = _Replacement(question, parameters["replacement"])
        inside = anatomy(question.x, everywhere.image)
        self.rows = inside.flatten(1).any(1).nonzero()[:, 0]  # a slice without anatomy has an empty map
        self.x = question.x[self.rows]
        self.inside = inside[self.rows]
        self.replacement = everywhere.of(self.x, self.rows, self.inside)
        ones = torch.ones_like(self.inside, dtype=self.x.dtype)
        self.weights = self.lattice.gathered(self.inside * ones)
        self.floor = LEAST_ANATOMY * self.lattice.gathered(ones)

    def run(self) -> Attribution:
        """Find the masks; the map is the share of each voxel that belongs to the region."""
        question = self.question
        values = torch.zeros((question.samples, 1, *question.spatial), dtype=question.x.dtype, device=question.x.device)
        if not len(self.rows):
            question.warn("The replacement changes no voxel of this image, so nothing can be removed: the map is 0.")
            return Attribution(values)
        before = question.scores_of_case[self.rows]
        everything = question.scores(self.replacement.image, self.rows)
        # A network may take the replacement itself for a lesion; what is without evidence is then the blurred image.
        blurred = torch.where(self.inside[:, None], baseline(self.x, "blur"), self.x)
        empty = torch.minimum(everything, question.scores(blurred, self.rows))
        mask, losses = self.descend(before, empty)
        region = self.lattice.enlarged(mask) * self.inside
        values[self.rows] = region[:, None]
        self.report(region, before, empty, everything, losses)
        return Attribution(values)

    def mixed(self, mask: torch.Tensor) -> torch.Tensor:
        """The image with the region replaced, or with all but the region replaced."""
        share = mask if self.deletion else 1 - mask
        return self.x + share[:, None] * (self.replacement.image - self.x)

    def descend(self, before: torch.Tensor, empty: torch.Tensor) -> tuple[torch.Tensor, list[float]]:
        """Mirror descent on the cells; gives the mask (n, *grid) and the loss of each step."""
        question, steps, area = self.question, self.parameters["steps"], self.parameters["area"]
        levels = torch.zeros_like(self.weights)
        adam = Adam(levels, RATE, shared=area > 0)
        total = self.weights.flatten(1).sum(1).reshape(-1, *[1] * (levels.dim() - 1))
        per_cell = (self.weights > 0) / torch.maximum(self.weights, self.floor)
        losses: list[float] = []
        for step in range(steps):
            question.progress(step / steps, f"step {step + 1} of {steps}")
            mask = self.mask_of(levels)
            lattice = self.jittered()
            enlarged = lattice.enlarged(mask)
            self.replacement.renew(step, self.x, enlarged)
            loss, gradient = self.loss(lattice, enlarged, before, empty)
            variation, slope = total_variation(mask)
            number = (self.weights > 0).flatten(1).sum(1).reshape(-1, *[1] * (levels.dim() - 1))
            smoothness = self.parameters["smoothness"]
            loss = loss + smoothness * variation / number.flatten()
            # by the share of the anatomy that a cell adds, not by the cell: small cells at the edge count alike
            gradient = (gradient + smoothness * slope / number) * per_cell * total
            if area == 0:
                loss = loss + self.parameters["price"] * share_of_area(mask, self.weights)
                gradient = gradient + self.parameters["price"] * (self.weights > 0)
            else:
                gradient = gradient - (gradient * self.weights).flatten(1).sum(1).reshape(total.shape) / total
            levels = levels + adam.step(gradient * (self.weights > 0))
            losses.append(float(loss.mean()))
        return self.mask_of(levels), losses

    def mask_of(self, levels: torch.Tensor) -> torch.Tensor:
        """The share of each cell that belongs to the region."""
        if self.parameters["area"] == 0:
            return torch.sigmoid(levels) * (self.weights > 0)
        return with_area(levels, self.weights, self.parameters["area"])

    def jittered(self) -> Lattice:
        """The grid of cells moved at random by up to half a cell, so that no pattern fits its lines."""
        generator = self.question.generator
        half = [int(cell) // 2 for cell in self.lattice.cell]
        shift = tuple(float(torch.randint(-most, most + 1, (1,), generator=generator)) for most in half)
        return Lattice(self.lattice.spatial, self.lattice.cell, shift, self.lattice.dtype)

    def loss(
        self, lattice: Lattice, enlarged: torch.Tensor, before: torch.Tensor, empty: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What is left of the score's possible fall (or lost of it), and its gradient by the mask, (n,) and (n, *grid).

        The image is linear in the mask: with ``x' = x + d (r - x)`` the derivative of the score by ``d`` is the
        gradient by the image times ``r - x``, summed over channels; the replacement ``r`` is taken as a constant.
        With area 0 it is bent to 0 where nothing is left (softplus), as the probability of the paper is: else the
        region grows to push the score where no evidence is left to be removed.
        """
        scale = _scale(before, empty)
        gradients, scores = self.question.gradients(self.mixed(enlarged), self.rows)
        by_voxel = (gradients * (self.replacement.image - self.x)).sum(1)
        by_cell = lattice.gathered(by_voxel)
        # Deletion: the score is to fall. Preservation: the share that is replaced is 1 - d, and it is to stay.
        left = (scores - empty) / scale if self.deletion else (before - scores) / scale
        if self.parameters["area"] == 0:
            slope = torch.sigmoid(SHARPNESS * left)
            left = functional.softplus(left, SHARPNESS)
            scale = scale / slope
        return left, by_cell / scale.reshape(-1, *[1] * (by_cell.dim() - 1))

    def report(
        self, region: torch.Tensor, before: torch.Tensor, empty: torch.Tensor, everything: torch.Tensor,
        losses: list[float],
    ) -> None:  # fmt: skip
        """What was reached, and a warning where it is less than wanted."""
        question = self.question
        after = question.scores(self.mixed(region), self.rows)
        hard = question.scores(self.mixed((region > 0.5).to(region.dtype)), self.rows)
        found = {name: float(value.double().mean()) for name, value in (
            ("before", before), ("after", after), ("hard", hard), ("empty", empty),
            ("everything", everything),
        )}  # fmt: skip
        possible = found["before"] - found["empty"]
        voxels = self.inside.flatten(1).sum(1).double()
        share = float((region.double().flatten(1).sum(1) / voxels).mean())
        size = max(abs(found["before"]), abs(found["empty"]))
        reached = None if possible <= LEAST_FALL * size else (found["before"] - found["after"]) / possible
        if reached is not None and not self.deletion:
            reached = 1 - reached
        every = max(1, -(-len(losses) // 20))
        question.diagnostics.update(
            score_after=found["after"], score_after_thresholded=found["hard"], score_empty=found["everything"],
            score_without_evidence=found["empty"],
            area_share=share, region_mm3=float((region > 0.5).sum()) * question.prepared.geometry.voxel_volume,
            fall_share=reached, steps=len(losses), losses=[*losses[::every], losses[-1]],
            **self.replacement.figures,
        )  # fmt: skip
        self.judge(found, share, reached)

    def judge(self, found: dict[str, float], share: float, reached: float | None) -> None:
        question, level = self.question, self.parameters["level"]
        name = self.parameters["replacement"]
        if reached is None:
            question.warn(
                f"Replacing the whole anatomy by {name} takes the score from {found['before']:.3g} to "
                f"{found['everything']:.3g}, which is no real fall, so how much of the evidence the region holds "
                "cannot be said."
            )
        elif reached < level and self.deletion:
            question.warn(
                f"Found no region of {share:.2%} of the anatomy whose replacement lowers the score by {level:.0%} of "
                f"what is possible: it falls by {reached:.0%}. Give a larger area, or more steps."
            )
        elif reached < level:
            question.warn(
                f"Found no region of {share:.2%} of the anatomy that alone keeps {level:.0%} of the score's fall: it "
                f"keeps {reached:.0%}. Give a larger area, or more steps."
            )


class _Replacement:
    """What takes the place of the region; some of them follow the region.

    Attributes
    ----------
    image : torch.Tensor
        Shape (n, C, *spatial), as it is in this step.
    figures : dict
        For the diagnostics.
    """

    def __init__(self, question: Question, kind: float | str) -> None:
        self.question, self.kind = question, kind
        self.figures: dict[str, Any] = {}
        self.inside: torch.Tensor | None = None
        if kind == "noise":
            self.image = self._noise(question.x)
        elif kind == "vae":
            self.image = reconstruction(question, "vae")
        elif kind == "inpainting":
            reconstruction(question, "inpainting")  # refuses where it is not trained for
            self.inside = (question.x != 0).any(1)
            self.image = self._swept(question.x)
        elif kind == "harmonic":
            self.inside = anatomy(question.x, torch.full_like(question.x, float("nan")))
            self.image = self._swept(question.x)
        else:
            self.image = compared_with(question, kind)

    def of(self, x: torch.Tensor, rows: torch.Tensor, inside: torch.Tensor) -> _Replacement:
        """The same for some samples only, whose anatomy it keeps to."""
        self.inside = inside if self.inside is None else self.inside[rows] & inside
        self.image = torch.where(inside[:, None], self.image[rows], x)
        return self

    def renew(self, step: int, x: torch.Tensor, mask: torch.Tensor) -> None:
        """For the region as it is now; the descent takes it as a constant until it is renewed again."""
        assert self.inside is not None
        if self.kind == "noise":
            self.image = torch.where(self.inside[:, None], self._noise(x), x)
        elif self.kind in ("harmonic", "inpainting") and step % REFRESH == 0 and step > 0:
            self.refill(x, mask)

    def refill(self, x: torch.Tensor, mask: torch.Tensor) -> None:
        """Fill the hole that the region is, where it leaves enough of the anatomy to be filled from."""
        assert self.inside is not None
        hole = grown(mask > 0.1) & self.inside
        for sample in range(len(x)):
            one = slice(sample, sample + 1)
            share = float(hole[one].sum()) / max(float(self.inside[one].sum()), 1.0)
            if 0 < share <= LARGEST_HOLE:
                self.figures["refilled"] = self.figures.get("refilled", 0) + 1
                filled = self._filled(x[one], hole[one], self.inside[one])
                self.image[one] = torch.where(hole[one][:, None], filled, self.image[one])

    def _noise(self, x: torch.Tensor) -> torch.Tensor:
        """Gaussian, with mean and deviation of each sample and channel."""
        axes = tuple(range(2, x.dim()))
        noise = torch.randn(x.shape, generator=self.question.generator).to(x)
        return x.mean(axes, keepdim=True) + x.std(axes, keepdim=True) * noise

    def _swept(self, x: torch.Tensor) -> torch.Tensor:
        """Each part of the image as it is filled from its surroundings, before there is a region.

        Laplace's equation is solved on a grid of 64 to 127 voxels along the shortest axis at most: what it fills is
        smooth, and the region itself is filled on the whole grid later.
        """
        assert self.inside is not None
        factor = max(1, min(x.shape[2:]) // 64) if self.kind == "harmonic" else 1
        small, inside = x, self.inside
        if factor > 1:
            grid = [size // factor for size in x.shape[2:]]
            share = functional.interpolate(self.inside[:, None].to(x.dtype), grid, mode="area")
            summed = functional.interpolate(x * self.inside[:, None], grid, mode="area")
            small, inside = summed / share.clamp_min(1e-6), share[:, 0] > 0
        core = 8 if self.kind == "inpainting" else max(1, min(8, round(min(small.shape[2:]) / 8)))
        image = small.clone()
        for turn, (hole, middle) in enumerate(sweep(tuple(small.shape[2:]), core, max(1, core // 2))):
            self.question.progress(0.0, f"filling, part {turn + 1}")
            hole, middle = hole.to(x.device).expand_as(inside), middle.to(x.device)
            filled = self._filled(small, hole, inside)
            image = torch.where(middle & inside[:, None], filled, image)
        if factor > 1:
            mode = "trilinear" if len(grid) == 3 else "bilinear"
            image = functional.interpolate(image, x.shape[2:], mode=mode)
        return torch.where(self.inside[:, None], image, x)

    def _filled(self, x: torch.Tensor, hole: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        if self.kind == "harmonic":
            return harmonic(x, hole, inside, check=self.question.check)
        with torch.no_grad():
            return healthy_inpainter()(x.float().cpu(), hole[:, None].cpu()).to(x)


def _scale(before: torch.Tensor, empty: torch.Tensor) -> torch.Tensor:
    """The score's possible fall, of each sample; where there is next to none, or a rise, the score's own size."""
    size = torch.maximum(before.abs(), empty.abs()).clamp_min(1e-12)
    return torch.where(before - empty > LEAST_FALL * size, before - empty, size)


def _cell(value: int | tuple[int, ...], spatial: tuple[int, ...]) -> tuple[float, ...]:
    values = (value,) * len(spatial) if isinstance(value, int) else value
    if len(values) != len(spatial):
        raise XAIError(
            f"The parameter cell has {len(values)} numbers for {len(spatial)} axes.",
            f"Give one number, or {len(spatial)}.",
        )
    return tuple(float(number) for number in values)

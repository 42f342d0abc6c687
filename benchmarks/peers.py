"""What the other libraries are asked: each as its own documentation shows it, 8 images at a time where it can.

Every function makes something to be timed, which gives a map (k, j, i) or None.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from captum import attr
from monai.visualize import GradCAM, GuidedBackpropGrad, OcclusionSensitivity, VanillaGrad
from torch import nn

from benchmarks.networks import Subject
from benchmarks.timing import Part, clock_of
from Testing.peers import lime_image, shap, zennit

Run = Callable[[], Any]
AT_ONCE = 8


def as_map(found: Any) -> np.ndarray:
    """(k, j, i) of (1, 1, k, j, i)."""
    return np.asarray(torch.as_tensor(found).detach())[0, 0]


@contextlib.contextmanager
def no_hooks_left(network: nn.Module) -> Any:
    """Take away the hooks that a peer leaves behind, MONAI always and others when they raise."""
    try:
        yield
    finally:
        for module in network.modules():
            for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
                getattr(module, name).clear()


def guarded(subject: Subject, run: Run) -> Run:
    """`run`, after which the network is as it was."""

    def guarded_run() -> Any:
        with no_hooks_left(subject.theirs):
            return run()

    return guarded_run


# -- a part of many passes ---------------------------------------------------------------------------------------------


class Enough(Exception):
    """The part of the work that was to be timed is done."""


class Watched(nn.Module):
    """A network that notes its answers, and stops who asks after so many images.

    Parameters
    ----------
    subject : Subject
        Whose network.
    images : int or None
        After so many the next batch raises `Enough`; None never does.
    threads : int
        For the clock.
    """

    def __init__(self, subject: Subject, images: int | None, threads: int) -> None:
        super().__init__()
        self.network, self.target, self.images = subject.theirs, subject.target, images
        self.clock = clock_of(threads)
        self.scores: list[float] = []  # of batches larger than one: what is not the image itself
        self.stamps: list[tuple[int, float]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Answer."""
        if self.images is not None and len(self.scores) >= self.images:
            raise Enough
        output: torch.Tensor = self.network(x)
        if len(x) > 1 or self.scores:
            self.scores += output[:, self.target].tolist()
            self.stamps.append((len(self.scores), self.clock()))
        return output


def in_part(subject: Subject, total: int, number: int | None, threads: int, ask: Callable[[nn.Module], Any]) -> Any:
    """What `ask` gives of the network; or, for a number below the total, a `Part` of it and the scores so far.

    Parameters
    ----------
    total, number : int
        How many images there are in all, and how many are run: rounded up to whole batches, at least two. The time
        between the end of the first batch and that of the last is scaled to all.
    """
    if number is None or number >= total:
        return ask(subject.theirs)
    number = max(2 * AT_ONCE, number)
    watched = Watched(subject, number, threads).eval()
    with contextlib.suppress(Enough):
        ask(watched)
    (first, began), (last, ended) = watched.stamps[0], watched.stamps[-1]
    seconds = (ended - began) / (last - first) * total
    return Part(seconds, np.asarray(watched.scores), f"timed on {last - first} of {total}, scaled")


# -- occlusion ---------------------------------------------------------------------------------------------------------


def windows(shape: tuple[int, ...], window: int, stride: int) -> int:
    """How many windows the grid has; of a stride larger than the window, one may begin beyond the edge."""
    return math.prod(len(range(0, min(n, n - window + stride), stride)) for n in shape)


def occlusion_captum(subject: Subject, window: int, stride: int, number: int | None, threads: int) -> Run:
    """captum."""

    def ask(network: nn.Module) -> np.ndarray:
        return as_map(attr.Occlusion(network).attribute(
            subject.x, (1, window, window, window), strides=(1, stride, stride, stride), target=subject.target,
            perturbations_per_eval=AT_ONCE,
        ))  # fmt: skip

    return lambda: in_part(subject, windows(subject.shape, window, stride), number, threads, ask)


def occlusion_monai(subject: Subject, window: int, stride: int, number: int | None, threads: int) -> Run:
    """MONAI, whose map is the score itself and not its drop."""

    def ask(network: nn.Module) -> np.ndarray:
        with torch.no_grad():
            maps, _ = OcclusionSensitivity(network, mask_size=window, n_batch=AT_ONCE, overlap=1 - stride / window,
                                           mode=0.0, activate=False, verbose=False)(subject.x)  # fmt: skip
            return float(network(subject.x)[0, subject.target]) - np.asarray(maps)[0, subject.target]

    return lambda: in_part(subject, windows(subject.shape, window, stride), number, threads, ask)


# -- gradients ---------------------------------------------------------------------------------------------------------


def gradient_captum(subject: Subject) -> Run:
    """captum."""
    return lambda: as_map(attr.Saliency(subject.theirs).attribute(subject.x, target=subject.target, abs=False))


def gradient_monai(subject: Subject) -> Run:
    """MONAI, which would add to the gradient that the image's tensor has already."""
    return lambda: as_map(VanillaGrad(subject.theirs)(subject.x.clone(), index=subject.target))


def guided_captum(subject: Subject) -> Run:
    """captum."""
    return lambda: as_map(attr.GuidedBackprop(subject.theirs).attribute(subject.x, target=subject.target))


def guided_monai(subject: Subject) -> Run:
    """MONAI."""
    return lambda: as_map(GuidedBackpropGrad(subject.theirs)(subject.x.clone(), index=subject.target))


def grad_cam_captum(subject: Subject) -> Run:
    """captum, enlarged to the image as the others are."""
    layer = subject.theirs.get_submodule(subject.layer)

    def run() -> np.ndarray:
        found = attr.LayerGradCam(subject.theirs, layer).attribute(
            subject.x, subject.target, relu_attributions=True
        )  # fmt: skip
        return as_map(nn.functional.interpolate(found, subject.shape, mode="trilinear"))

    return run


def grad_cam_monai(subject: Subject) -> Run:
    """MONAI, without its post-processing that inverts the map."""
    return lambda: as_map(
        GradCAM(subject.theirs, subject.layer, postprocessing=lambda m: m)(subject.x.clone(), class_idx=subject.target)
    )


def smooth_grad_captum(subject: Subject, samples: int, share: float) -> Run:
    """captum."""
    deviation = share * float(subject.x.max() - subject.x.min())

    def run() -> None:
        attr.NoiseTunnel(attr.Saliency(subject.theirs)).attribute(
            subject.x, nt_type="smoothgrad", nt_samples=samples, nt_samples_batch_size=4, stdevs=deviation,
            target=subject.target, abs=False,
        )  # fmt: skip

    return run


def integrated_captum(subject: Subject, steps: int, method: str) -> Run:
    """captum."""

    def run() -> np.ndarray:
        return as_map(attr.IntegratedGradients(subject.theirs).attribute(
            subject.x, target=subject.target, n_steps=steps, method=method, internal_batch_size=4,
        ))  # fmt: skip

    return run


# -- relevance and multipliers -----------------------------------------------------------------------------------------


def relevance_zennit(subject: Subject) -> Run:
    """zennit, EpsilonPlusFlat, with batch norms merged where it can."""
    module = zennit()
    merge = isinstance(subject.theirs, nn.Sequential) or subject.name == "brain-lesion"

    def run() -> np.ndarray:
        canonizers = [module.canonizers.SequentialMergeBatchNorm()] if merge else []
        composite = module.composites.EpsilonPlusFlat(canonizers=canonizers)
        leaf = subject.x.clone().requires_grad_()
        with module.attribution.Gradient(subject.theirs, composite) as attributor:
            one = torch.eye(3)[[subject.target]]
            return as_map(attributor(leaf, lambda output: output * one)[1])

    return run


def deep_shap_captum(subject: Subject, baselines: list[float]) -> Run:
    """captum."""
    images = torch.cat([torch.full_like(subject.x, value) for value in baselines])
    return lambda: as_map(
        attr.DeepLiftShap(subject.theirs).attribute(subject.x, baselines=images, target=subject.target)
    )


# -- random coalitions of supervoxels ----------------------------------------------------------------------------------


def boxes(subject: Subject, each: int) -> torch.Tensor:
    """Labels (k, j, i) from 0: `each` boxes along every axis."""
    places = [torch.arange(n) * each // n for n in subject.shape]
    k, j, i = torch.meshgrid(*places, indexing="ij")
    return (k * each + j) * each + i


def lime_captum(subject: Subject, labels: torch.Tensor, samples: int, number: int | None, threads: int) -> Run:
    """captum, with the linear model of the package lime (its own default gives zeros here)."""
    from captum._utils.models.linear_model import SkLearnRidge

    def ask(network: nn.Module) -> None:
        attr.Lime(network, interpretable_model=SkLearnRidge(alpha=1.0)).attribute(
            subject.x, target=subject.target, feature_mask=labels, n_samples=samples, perturbations_per_eval=AT_ONCE
        )

    return lambda: in_part(subject, samples, number, threads, ask)


def kernel_shap_captum(subject: Subject, labels: torch.Tensor, samples: int, number: int | None, threads: int) -> Run:
    """captum."""

    def ask(network: nn.Module) -> None:
        attr.KernelShap(network).attribute(
            subject.x, target=subject.target, feature_mask=labels, n_samples=samples, perturbations_per_eval=AT_ONCE
        )

    return lambda: in_part(subject, samples, number, threads, ask)


def lime_lime(subject: Subject, labels: torch.Tensor, samples: int, number: int | None, threads: int) -> Run:
    """The package lime: its image explainer takes an array of any form, if the parts and the cover are given."""
    image, parts = subject.x[0, 0].numpy(), labels.numpy()

    def ask(network: nn.Module) -> None:
        def scores(images: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return np.asarray(network(torch.from_numpy(images)[:, None]))

        lime_image().LimeImageExplainer(random_state=0).explain_instance(
            image, scores, labels=(subject.target,), hide_color=0, top_labels=None, num_samples=samples,
            batch_size=AT_ONCE, segmentation_fn=lambda _: parts,
        )  # fmt: skip

    return lambda: in_part(subject, samples, number, threads, ask)


def kernel_shap_shap(subject: Subject, labels: torch.Tensor, samples: int, number: int | None, threads: int) -> Run:
    """The package shap: its explainer of functions of a table, the table being which supervoxels are seen."""
    count = int(labels.max()) + 1

    def ask(network: nn.Module) -> None:
        def scores(table: np.ndarray) -> np.ndarray:
            found = []
            for rows in torch.from_numpy(np.asarray(table, dtype=np.float32)).split(AT_ONCE):
                with torch.no_grad():
                    found.append(network(subject.x * rows[:, labels][:, None])[:, subject.target])
            return torch.cat(found).numpy()

        explainer = shap().KernelExplainer(scores, np.zeros((1, count)))
        explainer.shap_values(np.ones((1, count)), nsamples=samples, silent=True)

    return lambda: in_part(subject, samples, number, threads, ask)

"""Methods that walk back through the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.limits import convolutions_seconds, first_layer_share
from benchmarks.networks import Subject
from benchmarks.rows import Contest, Goal, Options, Row
from benchmarks.timing import Timed

STEPS = (10, 15, 20, 25, 30, 40, 50, 60, 80)
CAPTUM_STEPS = 50
BACKGROUNDS = (0.0, 0.3, -0.3, 0.6)


def gradient(one: Subject, options: Options) -> Contest:
    """The gradient by the input."""

    def after(timed: dict[str, Timed]) -> list[str]:
        least = convolutions_seconds(one, options.threads)
        than = ", ".join(f"{timed[who].seconds / least:.2f} x {who}" for who in ("captum", "MONAI"))
        return [f"the convolutions alone, forth and back by oneDNN, take {least:.3g} s: {than}"]

    return Contest(
        lambda: one.ours("gradient").array,
        {"captum": peers.gradient_captum(one), "MONAI": peers.gradient_monai(one)},
        "F + B of autograd", lambda _, both, __: both, after=after,
    )  # fmt: skip


def guided(one: Subject, options: Options) -> Contest:
    """Guided backpropagation."""
    return Contest(
        lambda: one.ours("guided_backpropagation").array,
        {"captum": peers.guided_captum(one), "MONAI": peers.guided_monai(one)},
        "F + B of autograd", lambda _, both, __: both, wrong=("MONAI",),
        notes=["MONAI's guided backpropagation is the plain gradient unless a ReLU module is called so"],
    )  # fmt: skip


def grad_cam(one: Subject, options: Options) -> Contest:
    """Grad-CAM of the last map."""
    return Contest(
        lambda: one.ours("grad_cam", layer=one.layer).array,
        {"captum": peers.grad_cam_captum(one), "MONAI": peers.grad_cam_monai(one)},
        "F", lambda forward, _, __: forward, notes=[f"layer {one.layer}"],
    )  # fmt: skip


def smooth_grad(one: Subject, options: Options) -> Contest:
    """Twenty noisy copies."""
    return Contest(
        lambda: one.ours("smooth_grad", samples=20).array, {"captum": peers.smooth_grad_captum(one, 20, 0.1)},
        "20 (F + B)", lambda _, both, __: 20 * both, "other random noise",
    )  # fmt: skip


def integrated(rule: str) -> Callable[[Subject, Options], Contest]:
    """Against captum's 50 steps of a rule, with the fewest steps whose error is not larger."""

    def contest(one: Subject, options: Options) -> Contest:
        theirs = peers.integrated_captum(one, CAPTUM_STEPS, rule)
        if options.memory:
            return Contest(lambda: one.ours("integrated_gradients", steps=20).array, {"captum": theirs})
        start = one.score(one.x * 0)
        wanted = float(one.score(one.x)[0] - start[0])
        error = abs(float(np.asarray(theirs(), dtype=np.float64).sum()) - wanted) / abs(wanted)
        steps, own = fewest(one, error)

        def after(timed: dict[str, Timed]) -> list[str]:
            return [f"completeness error of captum's {CAPTUM_STEPS} steps {error:.1e}, of our {steps} steps {own:.1e}: "
                    "both from the float32 map"]  # fmt: skip

        return Contest(
            lambda: one.ours("integrated_gradients", steps=steps).array, {"captum": theirs},
            f"{steps} (F + B)", lambda _, both, __: steps * both, "another number of steps", after=after,
        )  # fmt: skip

    return contest


def fewest(one: Subject, error: float) -> tuple[int, float]:
    """The fewest steps, of a list, whose completeness error is not above `error`, nor is the next one's of the list.

    The second condition is against luck: the error of a rule swings around zero.
    """
    found: list[tuple[int, float]] = []
    for steps in STEPS:
        own = one.ours("integrated_gradients", steps=steps).diagnostics["completeness_error"]
        found = [*found, (steps, own)] if own <= error else []
        if len(found) == 2:
            break
    return found[0] if found else (STEPS[-1], own)


def relevance(one: Subject, options: Options) -> Contest:
    """LRP, epsilon plus flat, biases absorbed as zennit does."""
    kept: dict[str, Any] = {}

    def ours() -> np.ndarray:
        made = one.ours("lrp", composite="epsilon_plus_flat", bias="absorb")
        kept.update(made.diagnostics)
        return made.array

    def after(timed: dict[str, Timed]) -> list[str]:
        score = float(one.score(one.x)[0])
        theirs = timed["zennit"].result
        said = (
            f"; zennit's adds up to {float(theirs.sum(dtype=np.float64)) / score:.3g} logits"
            if theirs is not None
            else ""
        )
        return [f"our relevance and what the rules absorbed miss the logit by {kept['completeness_error']:.0e}{said}"]

    straight = one.name in ("plain", "brain-lesion")
    # The answer, the positive contributions, and the way back; the flat rule of the first layer multiplies nothing.
    passes = 3 - 2 * first_layer_share(one)
    return Contest(
        ours, {"zennit": peers.relevance_zennit(one)}, f"{passes:.2f} F, by its multiplications",
        lambda forward, _, __: passes * forward,
        "" if straight else "zennit counts relevance twice at sums and leaves batch norms unmerged here", after=after,
    )  # fmt: skip


def deep_shap(one: Subject, options: Options) -> Contest:
    """Four baselines, each a constant."""
    kept: dict[str, Any] = {}

    def ours() -> np.ndarray:
        made = one.ours("deep_shap", background=tuple(map(str, BACKGROUNDS)))
        kept.update(made.diagnostics)
        return made.array

    def after(timed: dict[str, Timed]) -> list[str]:
        wanted = float(one.score(one.x)[0]) - np.mean([float(one.score(one.x * 0 + b)[0]) for b in BACKGROUNDS])
        theirs = timed["captum"].result
        said = f"error of the sum: ours {kept['completeness_error']:.0e}"
        return [said if theirs is None else
                f"{said}, captum {abs(float(theirs.sum(dtype=np.float64)) - wanted) / abs(wanted):.0e}"]  # fmt: skip

    return Contest(
        ours, {"captum": peers.deep_shap_captum(one, list(BACKGROUNDS))}, "5 F + 4 B",
        lambda forward, both, _: forward + 4 * both, "captum's rule for max pools does not add up", after=after,
    )  # fmt: skip


def rows() -> list[Row]:
    """All of this kind."""
    found = []
    for network in ("plain", "resnet18", "DenseNet121"):
        quick = network == "plain"
        found += [
            Row("gradient", network, 64, gradient, (Goal("F", 2), Goal("captum", 1.6), Goal("MONAI", 2.2)), 3, 8,
                quick=quick),
            Row("Grad-CAM", network, 64, grad_cam, (Goal("F", 1.05), Goal("MONAI", 2.8)), 2, 6, quick=quick),
            Row("guided backpropagation", network, 64, guided, (), 3, 8),
            Row("LRP epsilon-plus-flat", network, 64, relevance, (Goal("F", 2), Goal("zennit", 3)), 4, 10, quick=quick),
            Row("Deep SHAP, 4 baselines", network, 64, deep_shap, (Goal("captum", 2.5),), 16, 40, quick=quick),
            Row("SmoothGrad, 20 copies", network, 64, smooth_grad, (), 50, 80),
            Row("integrated gradients against Gauss-Legendre 50", network, 64, integrated("gausslegendre"),
                (Goal("captum", 2.5),), 300, 350),
        ]  # fmt: skip
    found.append(Row("integrated gradients against trapezoid 50", "plain", 64, integrated("riemann_trapezoid"), (),
                     150, 350))  # fmt: skip
    for method, make in (("gradient", gradient), ("Grad-CAM", grad_cam), ("LRP epsilon-plus-flat", relevance)):
        found.append(Row(method, "brain-lesion", 64, make, (), 4, 8, quick=True))
    return found

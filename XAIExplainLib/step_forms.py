"""The preprocessing steps as forms show them: title, what it does, and each field with its kind and bounds.

The fields themselves, their defaults and what is refused are those of the steps; here is only how to ask for them.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

from XAIExplainLib.preprocessing import Step, step_classes

# What a field starts with where the step itself asks for a value.
_FILL = {"kind": "number", "help": "Value of the voxels that are added."}
_THRESHOLD = {"kind": "number", "help": "Voxels above it are foreground."}
_ORDER = {
    "title": "Interpolation", "kind": "choice", "choices": [1, 0], "labels": ["linear", "nearest voxel"],
    "help": "How values between voxels are found.",
}
_BLUR = {
    "title": "Blur first", "kind": "boolean",
    "help": "Blur first along the axes that become coarser, so that fine structure does not alias.",
}
_SIZE = {"kind": "sizes", "start": [96, 96, 96], "minimum": 1, "maximum": 2048, "help": "Voxels along i, j and k."}
_PERCENT = {"kind": "number", "minimum": 0.0, "maximum": 100.0}


def _orders() -> list[str]:
    """All 48 ways to name three axes, the usual ones first."""
    letters = ("RL", "AP", "SI")
    every = {
        "".join(choice)
        for order in itertools.permutations(letters)
        for choice in itertools.product(*order)
    }  # fmt: skip
    usual = ["RAS", "LPS", "SAR", "LAS", "IPL"]
    return usual + sorted(every - set(usual))


_FORMS: dict[str, tuple[str, str, dict[str, dict[str, Any]]]] = {
    "orient": ("Orient the axes", "Turns and flips, so that i, j and k grow towards the three letters.", {
        "axes": {"kind": "choice", "choices": _orders(), "start": "RAS", "help": "Where i, j and k grow to: Right or "
                 "Left, Anterior or Posterior, Superior or Inferior. A network trained after MONAI's Orientation RAS "
                 "wants SAR here, as its axes are in reverse."}}),
    "resample": ("Resample to a spacing", "Brings the voxels to a size in millimetres.", {
        "spacing": {"kind": "spacing", "start": [1.0, 1.0, 1.0], "minimum": 0.01, "maximum": 100.0, "unit": "mm",
                    "help": "Millimetres along i, j and k."},
        "order": _ORDER, "antialias": _BLUR}),
    "resize": ("Resize to voxels", "Brings the whole block to a size in voxels; their spacing follows.", {
        "size": _SIZE, "order": _ORDER, "antialias": _BLUR}),
    "crop_or_pad": ("Crop or pad to a size", "Cuts out, or fills up to, a block; nothing is interpolated.", {
        "size": _SIZE,
        "center": {"kind": "choice", "choices": ["image", "foreground"], "help": "What stays in the middle: the image "
                   "or the box around its foreground."},
        "fill": _FILL, "threshold": _THRESHOLD}),
    "crop_foreground": ("Crop to the foreground", "Cuts out the box around the voxels above a threshold.", {
        "margin": {"kind": "integer", "minimum": 0, "maximum": 512, "help": "Voxels that are left around the box."},
        "threshold": _THRESHOLD}),
    "pad_to_multiple": ("Pad to a multiple", "Fills up on both sides until each size is a multiple.", {
        "k": {"title": "Multiple of", "kind": "sizes", "start": [32, 32, 32], "minimum": 1, "maximum": 512,
              "help": "The multiple along i, j and k."},
        "fill": _FILL}),
    "normalize": ("Normalize the intensity", "Brings the values to a common scale.", {
        "kind": {"kind": "choice", "choices": ["zscore", "minmax", "percentile"], "start": "zscore", "help":
                 "zscore: mean 0 and standard deviation 1. minmax: from 0 to 1. percentile: two percentiles to 0 and "
                 "1, and what is beyond cut off."},
        "region": {"kind": "choice", "choices": ["all", "foreground"], "help": "Which voxels are counted; with "
                   "foreground the others become 0."},
        "per_channel": {"kind": "boolean", "help": "Whether each channel is taken by itself."},
        "low": {"title": "Lower percentile", **_PERCENT, "help": "Lower percentile, for the kind percentile."},
        "high": {"title": "Upper percentile", **_PERCENT, "help": "Upper percentile, for the kind percentile."},
        "threshold": _THRESHOLD}),
    "window": ("Window (CT)", "Brings the values between two numbers to a range, and cuts off what is beyond.", {
        "low": {"kind": "number", "start": -160.0, "help": "Value that becomes the lowest, such as Hounsfield units."},
        "high": {"kind": "number", "start": 240.0, "help": "Value that becomes the highest."},
        "out_low": {"title": "Lowest result", "kind": "number", "help": "The lowest value afterwards."},
        "out_high": {"title": "Highest result", "kind": "number", "help": "The highest value afterwards."}}),
    "scale_shift": ("Scale and shift", "Multiplies the values, and adds to them.", {
        "scale": {"kind": "number", "help": "Factor."}, "shift": {"kind": "number", "help": "What is added."}}),
}  # fmt: skip


def step_forms() -> list[dict[str, Any]]:
    """Every step: ``name``, ``title``, ``help`` and ``parameters``, declared as those of methods are.

    Kinds beside those of methods are ``sizes`` (three whole numbers along i, j, k) and ``spacing`` (three numbers);
    ``default`` is the step's own or, where it has none, what a form begins with; ``required`` says which.
    """
    return [_form(step) for step in step_classes().values()]


def _form(step: type[Step]) -> dict[str, Any]:
    title, text, declared = _FORMS[step.name]
    parameters = []
    for field in dataclasses.fields(step):  # type: ignore[arg-type]
        form = dict(declared[field.name])
        start = form.pop("start", None)
        required = field.default is dataclasses.MISSING
        default = start if required else field.default
        parameters.append({"name": field.name, "default": default, "required": required, **form})
    return {"name": step.name, "title": title, "help": text, "parameters": parameters}

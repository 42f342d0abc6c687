"""Peers without what they import and do not use here: torchvision, numba, scikit-image, and a package called slicer.

torchvision would bring another torch, and slicer would take the place of Slicer's own package of that name.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
from collections.abc import Iterator
from typing import Any


def zennit() -> types.ModuleType:
    """The package, with an empty torchvision where there is none."""
    names = ("torchvision", "torchvision.models", "torchvision.models.resnet", "torchvision.models.vgg")
    blank = {name: type(name, (), {}) for name in ("BasicBlock", "Bottleneck", "VGG", "ResNet")}
    with _blanks({} if "torchvision" in sys.modules else dict.fromkeys(names, blank)):
        for part in ("attribution", "canonizers", "composites", "rules"):
            importlib.import_module(f"zennit.{part}")
    return sys.modules["zennit"]


def shap() -> types.ModuleType:
    """The package; what numba would compile belongs to explainers of trees and of 2D images."""

    def as_it_is(function: Any = None, **_: Any) -> Any:
        return function if callable(function) else as_it_is

    slicer = {name: type(name, (), {}) for name in ("Alias", "Obj", "Slicer")}
    with _blanks({"numba": {"njit": as_it_is}, "numba.typed": {"List": list}, "slicer": slicer}):
        return importlib.import_module("shap")


def lime_image() -> types.ModuleType:
    """lime's explainer of images, for images that are parted by the caller."""
    parts = dict.fromkeys(("felzenszwalb", "slic", "quickshift"))
    with _blanks({"skimage": {}, "skimage.color": {"gray2rgb": None}, "skimage.segmentation": parts}):
        return importlib.import_module("lime.lime_image")


@contextlib.contextmanager
def _blanks(modules: dict[str, dict[str, Any]]) -> Iterator[None]:
    """Modules of these names with these contents, for as long as a package is imported; then what was there."""
    before = {name: sys.modules.get(name) for name in modules}
    for name, contents in modules.items():
        module = types.ModuleType(name)
        module.__dict__.update(contents)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module

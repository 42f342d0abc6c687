"""zennit without torchvision, which it imports for networks that no test uses."""

from __future__ import annotations

import sys
import types


def zennit() -> types.ModuleType:
    """The package, with an empty torchvision where there is none."""
    if "torchvision" not in sys.modules:
        blank = {name: type(name, (), {}) for name in ("BasicBlock", "Bottleneck", "VGG", "ResNet")}
        for name in ("torchvision", "torchvision.models", "torchvision.models.resnet", "torchvision.models.vgg"):
            module = types.ModuleType(name)
            module.__dict__.update(blank)
            sys.modules[name] = module
    import zennit
    import zennit.attribution
    import zennit.canonizers
    import zennit.composites
    import zennit.rules

    return zennit

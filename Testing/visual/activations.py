"""A layer's maps and their gradients by a hook and autograd: what the class activation maps are checked against."""

from __future__ import annotations

import torch


def hooked(network, x, *layers, score=lambda output: output[:, 1], tokens=None, grid=None, last=False):
    """For each layer (maps, gradients), (N, channels, *grid); tokens or channels-last maps are brought there.

    The network must have no in-place operation right after the layers.
    """
    held = {}

    def hook(name):
        def keep(module, given, output):
            held[name] = output.clone()
            return held[name].clone()

        return keep

    handles = [network.get_submodule(name).register_forward_hook(hook(name)) for name in layers]
    output = network(x.clone().requires_grad_())
    for handle in handles:
        handle.remove()
    output = output[0] if isinstance(output, tuple) else output
    # Each hook hands a copy on, so that the gradient of one layer is not cut off at another.
    found = []
    for name in layers:
        (gradient,) = torch.autograd.grad(score(output).sum(), held[name], retain_graph=True)
        pair = held[name].detach(), gradient
        if last:
            pair = tuple(one.movedim(-1, 1) for one in pair)
        if tokens is not None:
            pair = tuple(one[:, tokens:].transpose(1, 2).reshape(len(one), one.shape[2], *grid) for one in pair)
        found.append(pair)
    return found


LAYERS = [
    ("plain", "features.6", {}), ("plain odd, three channels", "features.7", {}), ("odd", "ceil", {}),
    ("resnet10", "layer3.0", {}), ("densenet", "features.denseblock1", {}),
    ("vit", "blocks.0", {"tokens": 1, "grid": (2, 2, 2)}), ("attending", "patches", {}),
]  # fmt: skip

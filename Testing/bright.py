"""A case and a network so small that a run takes milliseconds: a bright ball, and what says "bright" to it."""

import numpy as np
import torch

from XAIExplainLib.volume import Volume, save_volume


class Bright(torch.nn.Module):
    """Says ``bright`` the more, the more there is."""

    def __init__(self):
        super().__init__()
        self.features = torch.nn.Conv3d(1, 2, 3, padding=1)
        self.head = torch.nn.Linear(2, 2)
        with torch.no_grad():
            self.features.weight.fill_(0.1)
            self.features.bias.zero_()
            self.head.weight.copy_(torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))
            self.head.bias.zero_()

    def forward(self, x):
        return self.head(torch.relu(self.features(x)).mean((2, 3, 4)))


def make(folder):
    """Put ``case.nrrd``, ``bright.pt`` (TorchScript) and ``bright.pt2`` (torch.export) into `folder`."""
    k, j, i = np.ogrid[:12, :14, :16]
    ball = ((k - 4) ** 2 + (j - 7) ** 2 + (i - 10) ** 2 < 9).astype(np.float32)
    volume = Volume(ball, spacing=(1.0, 1.5, 2.0), origin=(-5.0, 3.0, 40.0))
    save_volume(volume.array, volume.geometry, folder / "case.nrrd")
    network = Bright().eval()
    torch.jit.script(network).save(str(folder / "bright.pt"))
    torch.export.save(torch.export.export(network, (torch.zeros(1, 1, 12, 14, 16),)), folder / "bright.pt2")
    return folder

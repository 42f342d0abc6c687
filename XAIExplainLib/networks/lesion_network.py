"""The demo classifier: five convolutions, global average pooling, one linear layer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LesionNetwork(nn.Module):
    """Features, global average pooling and a linear layer, and nothing else: class activation maps are exact.

    Parameters
    ----------
    channels : sequence of int
        Output channels of the five convolutions.
    classes : int
        Number of outputs.
    in_channels : int
        Number of input channels.

    Notes
    -----
    Conv (stride 2) - Conv - MaxPool - Conv - Conv - MaxPool - Conv, each 3 x 3 x 3 with batch normalisation and
    ReLU. An input of 64 x 80 x 64 voxels of 2.5 mm ends as a map of 8 x 10 x 8 cells of 20 mm. Because the sum over
    channels of (class weight x feature map), averaged over cells, plus the bias is the logit, the map of CAM (Zhou
    et al., CVPR 2016) explains the logit without a remainder.
    """

    def __init__(self, channels: Sequence[int] = (16, 32, 48, 64, 96), classes: int = 3, in_channels: int = 1) -> None:
        super().__init__()
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        previous = in_channels
        for number, width in enumerate(channels, start=1):
            stride = 2 if number == 1 else 1
            layers[f"conv{number}"] = nn.Conv3d(previous, width, 3, stride=stride, padding=1, bias=False)
            layers[f"norm{number}"] = nn.BatchNorm3d(width)
            layers[f"relu{number}"] = nn.ReLU()
            if number in (2, 4):
                layers[f"pool{number}"] = nn.MaxPool3d(2)
            previous = width
        self.features = nn.Sequential(layers)
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.classifier = nn.Linear(previous, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Class logits.

        Parameters
        ----------
        image : torch.Tensor
            Shape (n, in_channels, k, j, i), prepared as ``model.json`` says.

        Returns
        -------
        torch.Tensor
            Shape (n, classes).
        """
        return self.classifier(torch.flatten(self.pool(self.features(image)), 1))


class TrainingNetwork(nn.Module):
    """A `LesionNetwork` with what only training needs: normalised pooled features and an auxiliary voxel head.

    Parameters
    ----------
    network : LesionNetwork
        The network that is trained and, after `exported`, shipped.
    """

    def __init__(self, network: LesionNetwork) -> None:
        super().__init__()
        self.network = network
        width = network.classifier.in_features
        # The average over 640 cells makes a small lesion a tiny change: without this normalisation the linear
        # layer sees features of nearly no variance and does not leave chance for many epochs.
        self.pooled_norm = nn.BatchNorm1d(width)
        self.voxel_head = nn.Conv3d(width, network.classifier.out_features, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (n, classes) and logits of every cell of the last map (n, classes, k, j, i)."""
        features = self.network.features(image)
        pooled = torch.flatten(self.network.pool(features), 1)
        # In full precision: bfloat16 keeps too few digits of small differences between averages.
        with torch.autocast(image.device.type, enabled=False):
            logits = self.network.classifier(self.pooled_norm(pooled.float()))
        return logits, self.voxel_head(features)

    @torch.no_grad()
    def exported(self) -> LesionNetwork:
        """The network with the normalisation folded into its linear layer and the voxel head dropped.

        Returns
        -------
        LesionNetwork
            In evaluation mode, on the CPU; the same logits as this network in evaluation mode.
        """
        convolutions = [layer for layer in self.network.features if isinstance(layer, nn.Conv3d)]
        result = LesionNetwork(
            [layer.out_channels for layer in convolutions],
            self.network.classifier.out_features,
            convolutions[0].in_channels,
        )
        result.load_state_dict({name: value.cpu() for name, value in self.network.state_dict().items()})
        norm = self.pooled_norm
        state = {name: value.cpu() for name, value in norm.state_dict().items()}
        scale = state["weight"] / torch.sqrt(state["running_var"] + norm.eps)
        shift = state["bias"] - state["running_mean"] * scale
        result.classifier.bias.add_(result.classifier.weight @ shift)
        result.classifier.weight.mul_(scale)
        return result.eval()

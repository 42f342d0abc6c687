"""A network with several inputs, as one that takes them as the channels of one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from XAIExplainLib.errors import XAIError


class SeveralInputs(torch.nn.Module):
    """Parts the channels of one tensor among the inputs of a network.

    Parameters
    ----------
    network : torch.nn.Module
        Takes as many tensors as `channels` has numbers.
    channels : sequence of int
        How many channels each input has, in the order of the network's arguments.
    """

    def __init__(self, network: torch.nn.Module, channels: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.channels = tuple(channels)

    def forward(self, x: torch.Tensor) -> object:
        """The network's answer to x, shape (N, sum of channels, *spatial)."""
        return self.network(*x.split(self.channels, 1))


def with_one_input(network: object, inputs: Sequence[int]) -> SeveralInputs:
    """`network` behind one tensor.

    Raises
    ------
    XAIError
        If it is no module or program, or a number of channels is none.
    """
    if isinstance(network, torch.export.ExportedProgram):
        network = network.module()
    if not isinstance(network, torch.nn.Module):
        raise XAIError("A plain function cannot be given several inputs.", "Wrap it as a torch.nn.Module.")
    if not inputs or any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in inputs):
        raise XAIError(f"inputs cannot be {inputs!r}.", "Give the channels of each input, such as [1, 2].")
    return SeveralInputs(network, inputs)

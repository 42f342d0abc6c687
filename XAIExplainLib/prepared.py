"""A volume as a network sees it, and the way back onto the volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from XAIExplainLib.errors import XAIError
from XAIExplainLib.geometry import Geometry, resample
from XAIExplainLib.volume import Volume

AXES = {"k": 0, "j": 1, "i": 2}  # axis of an array (k, j, i)


@dataclass(frozen=True, eq=False)
class Prepared:
    """What `Model.prepare` gives.

    Parameters
    ----------
    tensor : torch.Tensor
        Shape (N, C, *spatial), float32, for the network. 3D: N = 1 and spatial = (k, j, i). 2D: one slice each, and
        spatial = the two other axes in the order k, j, i.
    geometry : Geometry
        The network's grid, on which `tensor` lies.
    volume : Volume
        What was prepared.
    axis : int or None
        2D: the axis of (k, j, i) along which slices were taken.
    slices : tuple of int
        2D: which slices of the network's grid they are.
    """

    tensor: torch.Tensor
    geometry: Geometry
    volume: Volume
    axis: int | None = None
    slices: tuple[int, ...] = ()

    def grid(self, values: Any) -> np.ndarray:
        """Put a result of the network's input shape onto the network's grid.

        Parameters
        ----------
        values : torch.Tensor or numpy.ndarray
            Shape (N, c, *spatial) as `tensor` has it, or already (k, j, i) or (c, k, j, i) where the network is 3D.

        Returns
        -------
        numpy.ndarray
            Shape (c, k, j, i), float32; slices that were not given to the network are 0.
        """
        array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
        array = array.astype(np.float32, copy=False)
        if self.axis is not None and array.ndim == 4 and len(array) == len(self.slices):
            result = np.zeros((array.shape[1], *self.geometry.shape), np.float32)
            np.moveaxis(result, self.axis + 1, 0)[list(self.slices)] = array
            return result
        if array.ndim == 5 and len(array) == 1:
            array = array[0]
        if array.ndim == 3:
            array = array[np.newaxis]
        if array.ndim != 4 or array.shape[1:] != self.geometry.shape:
            raise ValueError(f"shape {array.shape} does not fit an input of shape {tuple(self.tensor.shape)}")
        return array

    def rows(self, array: np.ndarray) -> torch.Tensor:
        """The inverse of `grid`: (k, j, i) or (c, k, j, i) on the network's grid as (N, c, *spatial), same dtype,
        on the device of `tensor`."""
        if array.shape[-3:] != self.geometry.shape or array.ndim not in (3, 4):
            raise ValueError(f"shape {array.shape} is not on a grid of {self.geometry.shape}")
        given = torch.as_tensor(np.ascontiguousarray(array.reshape(-1, *self.geometry.shape)))
        if self.axis is None:
            return given[None].to(self.tensor.device)
        return given.movedim(self.axis + 1, 0)[list(self.slices)].to(self.tensor.device)

    def to_volume(self, array: np.ndarray, order: int = 1) -> np.ndarray:
        """Carry (k, j, i) or (c, k, j, i) from the network's grid to the volume's; outside of it 0.

        `order` is 1 for linear, 0 for nearest (labels). Exact where only orient, crop and pad lie between.
        """
        return resample(array, self.geometry, self.volume.geometry, order=order)

    def to_network(self, mask: Volume) -> np.ndarray:
        """Carry a mask or label map of any grid to the network's, nearest voxel, shape (k, j, i).

        Raises
        ------
        XAIError
            If the mask has several channels.
        """
        if mask.channels != 1:
            raise XAIError(f"The mask has {mask.channels} channels.", "Give one mask of one channel.")
        return resample(mask.data[0], mask.geometry, self.geometry, order=0)

"""Brain extraction with the network of deepbet, to try the demo networks on a scan of the whole head."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from scipy import ndimage
from torch.nn import functional

from XAIExplainLib.errors import XAIError

_SHAPE = (128, 128, 128)


def _weights() -> Path:
    try:
        files = metadata.files("deepbet") or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "bbox_model.pt":
            return Path(str(file.locate()))
    raise XAIError(
        "Brain extraction needs the Python package deepbet, which is missing.",
        "Install it with: pip install --no-deps deepbet==1.0.2, or give a scan whose brain is extracted already.",
    )


@torch.no_grad()
def extract_brain(head: sitk.Image, erode_mm: float = 4.0) -> sitk.Image:
    """Set everything outside the brain of a T1-weighted head scan to 0.

    Parameters
    ----------
    head : SimpleITK.Image
        Scalar, three dimensions, any grid.
    erode_mm : float
        Taken off the brain's surface: the coarse mask takes in dura and some scalp, both bright after contrast agent.

    Returns
    -------
    SimpleITK.Image
        Float32, voxel axes towards right, anterior, superior, otherwise on the same grid.

    Raises
    ------
    XAIError
        If deepbet is not installed or nothing that could be a brain is found.

    Notes
    -----
    Source: Fisch et al., Computers in Biology and Medicine 179 (2024) 108845; only its first, coarse stage is used
    (128 x 128 x 128 voxels over the whole scan). Its weights are a TorchScript program, which runs code: it is
    loaded from the installed package and from nowhere else.
    """
    turned = sitk.DICOMOrient(sitk.Cast(head, sitk.sitkFloat32), "RAS")
    array = sitk.GetArrayFromImage(turned)
    # deepbet orders axes i, j, k.
    whole = torch.from_numpy(array.transpose(2, 1, 0).copy())[None, None]
    small = functional.interpolate(whole, _SHAPE, mode="nearest-exact")
    low, high = np.quantile(small.numpy(), [0.005, 0.995])
    small = ((small - low) / (high - low)).clamp(0, 1)
    network = torch.jit.load(str(_weights()), map_location="cpu").eval()
    probability = network(0.226 * (small - small.mean()) / small.std() + 0.449)[:, 1:2]
    full = functional.interpolate(probability, whole.shape[2:], mode="trilinear")[0, 0].numpy().transpose(2, 1, 0)
    parts, count = ndimage.label(full > 0.5)
    if not count:
        raise XAIError("No brain was found in the scan.", "Extract the brain with another tool first.")
    largest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    filled = ndimage.binary_fill_holes(largest)
    brain = ndimage.distance_transform_edt(filled, sampling=turned.GetSpacing()[::-1]) > erode_mm
    result = sitk.GetImageFromArray(np.where(brain, np.maximum(array, 1e-3), 0).astype(np.float32))
    result.CopyInformation(turned)
    return result

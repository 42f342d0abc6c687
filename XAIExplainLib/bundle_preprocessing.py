"""The transforms of a MONAI bundle, run on a `Volume`, with the grid that they end on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from XAIExplainLib.errors import XAIError
from XAIExplainLib.geometry import Geometry
from XAIExplainLib.volume import Volume

# Reading is done, and a Volume has its channels first already.
_DONE = ("LoadImage", "EnsureChannelFirst", "AsChannelFirst", "AddChannel")


class BundlePreprocessing:
    """A function from `Volume` to (tensor, `Geometry`), as `Model` takes one.

    MONAI's axes are (c, i, j, k), ours (c, k, j, i). The network wants its own order, so the tensor is left as MONAI
    makes it, and the geometry is told of its axes in reverse: what MONAI calls its first axis is our k.

    Parameters
    ----------
    transforms : Compose, list or callable
        The bundle's preprocessing, made from its configuration.
    text : str
        The configuration, for records and fingerprints.
    """

    def __init__(self, transforms: Any, text: str = "") -> None:
        from monai.transforms import MapTransform, RandomizableTrait

        flat = list(_flat(transforms))
        self.by_key = any(isinstance(t, MapTransform) for t in flat)
        self.keys = _image_keys(flat) if self.by_key else ("image",)
        self.transforms = [
            t for t in flat if not type(t).__name__.startswith(_DONE) and not isinstance(t, RandomizableTrait)
        ]
        for transform in self.transforms:
            if isinstance(transform, MapTransform):
                transform.allow_missing_keys = True  # labels are named beside the image, and there are none
        self.text = text

    def __call__(self, volume: Volume) -> tuple[torch.Tensor, Geometry]:
        """Run the transforms.

        Raises
        ------
        XAIError
            If one fails, or the place of the voxels is lost on the way.
        """
        data = self._start(volume)
        affine = volume.geometry.ras_affine
        lost = False
        for transform in self.transforms:
            shape = self._image(data).shape[1:]
            was_lost, data = lost, self._run(transform, data)
            found = _affine(self._image(data))
            # Once its place is dropped, a tensor is taken to stay where it was, as long as nothing can have moved it.
            # MONAI would go on with an invented place (the identity), so what it says after that does not count.
            lost = lost or found is None
            if lost and (self._image(data).shape[1:] != shape or (was_lost and _moves(transform))):
                raise XAIError(
                    f"The bundle's transform {type(transform).__name__} loses where the voxels lie.",
                    "Give the bundle's preprocessing as JSON steps instead, by preprocessing=.",
                )
            affine = affine if lost or found is None else found
        image = self._image(data).detach().cpu().to(torch.float32)
        image = (image.as_tensor() if hasattr(image, "as_tensor") else image).contiguous()
        if image.ndim != 4:
            raise XAIError(
                f"The bundle's preprocessing makes the shape {tuple(image.shape)}.",
                "It must end with one image (channels, three spatial axes).",
            )
        backwards = affine[:, [2, 1, 0, 3]]
        return image, Geometry.from_ras_affine(backwards, tuple(image.shape[:0:-1]))

    def _start(self, volume: Volume) -> dict[str, Any]:
        """The dictionary as LoadImaged and EnsureChannelFirstd would have made it."""
        from monai.data import MetaTensor

        channels = np.ascontiguousarray(volume.data.transpose(0, 3, 2, 1))
        affine = torch.from_numpy(volume.geometry.ras_affine)

        def image(array: np.ndarray) -> Any:
            meta = {
                "original_channel_dim": 0,
                "filename_or_obj": volume.name,
                "spatial_shape": array.shape[1:],
                "space": "RAS",  # Orientationd reads it
            }
            return MetaTensor(torch.from_numpy(array.copy()), affine=affine.clone(), meta=meta)

        if len(self.keys) == len(channels) > 1:  # one file a channel, put together by a later transform
            return {key: image(channels[n : n + 1]) for n, key in enumerate(self.keys)}
        return {self.keys[0]: image(channels)}

    def _image(self, data: dict[str, Any]) -> torch.Tensor:
        found = data.get("image", data.get(self.keys[0]))
        if found is None:
            raise XAIError("The bundle's preprocessing gives no image.", "It must keep the key image.")
        return found if isinstance(found, torch.Tensor) else torch.as_tensor(np.asarray(found))

    def _run(self, transform: Any, data: dict[str, Any]) -> dict[str, Any]:
        try:
            result = transform(data) if self.by_key else {"image": transform(data["image"])}
        except Exception as error:  # foreign code: it may fail in any way
            lines = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
            raise XAIError(
                f"The bundle's transform {type(transform).__name__} fails on this volume: {lines[0][:200]}.",
                "Check that the volume is of the kind that the bundle was made for.",
            ) from error
        if not isinstance(result, dict):
            raise XAIError(f"The bundle's transform {type(transform).__name__} gives no dictionary.", "Correct it.")
        return result


def _affine(image: torch.Tensor) -> np.ndarray | None:
    from monai.data import MetaTensor

    return np.asarray(image.affine.cpu(), dtype=np.float64) if isinstance(image, MetaTensor) else None


def _moves(transform: Any) -> bool:
    """Whether it belongs to MONAI's transforms that move or cut voxels."""
    return any(part in type(transform).__module__ for part in (".spatial", ".croppad"))


def _flat(transforms: Any) -> Iterator[Any]:
    """Transforms of nested Compose objects and lists, one after the other."""
    if type(transforms).__name__ == "Compose":  # others keep parts of their own under the same name
        transforms = transforms.transforms
    if isinstance(transforms, (list, tuple)):
        for transform in transforms:
            yield from _flat(transform)
    elif transforms is not None:
        yield transforms


def _image_keys(transforms: Sequence[Any]) -> tuple[str, ...]:
    """The keys that the bundle loads, without labels; only ``image`` where it is among them."""
    loaders = [t for t in transforms if type(t).__name__.startswith("LoadImage")]
    named = loaders or [t for t in transforms if hasattr(t, "keys")]
    keys = [str(key) for key in named[0].keys]
    images = [key for key in keys if key.lower() not in ("label", "mask", "seg", "gt", "pred")] or ["image"]
    return ("image",) if "image" in images else tuple(images)

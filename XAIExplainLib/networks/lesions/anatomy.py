"""Real brain anatomy: the T1 image and tissue maps from which subjects are made."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from scipy import ndimage

from XAIExplainLib.errors import XAIError

COLIN27_BRAIN = Path("/usr/share/mricron/templates/ch2bet.nii.gz")
"""Where Debian's ``mricron-data`` puts the brain of Colin27 (one person scanned 27 times)."""


@dataclass(frozen=True)
class Anatomy:
    """A brain as maps in its own space.

    Parameters
    ----------
    name : str
        Shown in the attributes of generated cases.
    maps : numpy.ndarray
        Shape (5, k, j, i), float32: cerebrospinal fluid, grey matter, white matter (they sum to 1 inside the
        brain), what the T1 shows beyond those three (in units of white matter), and the brain (0 or 1).
    to_index : numpy.ndarray
        Shape (4, 4): RAS millimetres (x, y, z, 1) to voxel indices (i, j, k, 1).
    """

    name: str
    maps: np.ndarray
    to_index: np.ndarray

    def sample(self, points: np.ndarray, channels: slice = slice(None)) -> np.ndarray:
        """Sample the maps linearly.

        Parameters
        ----------
        points : numpy.ndarray
            Shape (3, ...), x, y, z in RAS mm.
        channels : slice
            Which maps.

        Returns
        -------
        numpy.ndarray
            Shape (maps, ...), float32; zero outside.
        """
        flat = points.reshape(3, -1)
        index = self.to_index[:3, :3] @ flat + self.to_index[:3, 3:]
        sampled = [ndimage.map_coordinates(one, index[::-1], order=1) for one in self.maps[channels]]
        return np.stack(sampled).reshape(-1, *points.shape[1:]).astype(np.float32)

    @lru_cache(maxsize=2)  # noqa: B019 - anatomies live as long as the process
    def smoothed(self, sigma_mm: float) -> Anatomy:
        """Blur the maps, so that a coarse grid does not alias what it samples (1 mm voxels assumed)."""
        maps = np.stack([ndimage.gaussian_filter(one, sigma_mm) for one in self.maps])
        return Anatomy(self.name, maps, self.to_index)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


def _with_detail(name: str, t1: np.ndarray, tissue: np.ndarray, brain: np.ndarray, affine: np.ndarray) -> Anatomy:
    """Split a T1 into three tissues and the detail that they leave over."""
    # Only the brain with a margin wider than any blur: half of the template's volume is air.
    corners = [(hits.min(), hits.max() + 1) for hits in np.nonzero(brain)]
    window = tuple(slice(max(first - 8, 0), last + 8) for first, last in corners)
    affine = affine @ _translation([w.start for w in window[::-1]])
    t1, tissue, brain = t1[window], tissue[(slice(None), *window)], brain[window]
    inside = brain > 0.5
    # Least squares: the level of each tissue that explains the T1 best; what is left over is vessels, nuclei,
    # myelination, noise.
    level, *_ = np.linalg.lstsq(tissue[:, inside].T, t1[inside], rcond=None)
    detail = np.where(inside, t1 - np.tensordot(level, tissue, axes=1), 0) / level[2]
    maps = np.concatenate([tissue, detail[None], brain[None]]).astype(np.float32)
    return Anatomy(name, maps, np.linalg.inv(affine))


def _translation(offset: list[int]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = offset
    return matrix


@lru_cache(maxsize=1)
def mni152() -> Anatomy:
    """The MNI152 2009a symmetric average of 152 people, from the Python package ``nilearn``.

    Returns
    -------
    Anatomy
        Maps of 1 mm.

    Raises
    ------
    XAIError
        If the package is not installed.

    Notes
    -----
    Source: Fonov et al., NeuroImage 54 (2011) 313-327. The package is found without being imported (importing it
    would need scikit-learn and pandas). Licence: see ``Resources/cases/LICENSE-MNI.txt``.
    """
    import nibabel.nifti1

    spec = find_spec("nilearn")
    if spec is None or not spec.submodule_search_locations:
        raise XAIError(
            "The brain that the demo problem is made of comes with the Python package nilearn, which is missing.",
            "Install it with: pip install --no-deps nilearn==0.14.1",
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "datasets" / "data"
    arrays = []
    for part in ("t1", "gm", "wm"):
        path = folder / f"mni_icbm152_{part}_tal_nlin_sym_09a_converted.nii.gz"
        if not path.is_file():
            raise XAIError(
                f"The installed nilearn has no file {path.name}.",
                "Install the version that has it: pip install --no-deps nilearn==0.14.1",
            )
        image = nibabel.nifti1.Nifti1Image.from_filename(path)
        arrays.append(np.asarray(image.dataobj, dtype=np.float32).T / 255)
    t1, grey, white = arrays
    brain = ndimage.binary_fill_holes(t1 > 0).astype(np.float32)
    fluid = np.clip(brain - grey - white, 0, 1)
    tissue = np.stack([fluid, grey * brain, white * brain])
    tissue /= np.maximum(tissue.sum(0), 1e-6)
    return _with_detail("MNI152", t1, tissue * brain, brain, image.affine)


def anatomy_from_scan(path: Path, name: str) -> Anatomy:
    """Make an anatomy of a skull-stripped T1 scan, with tissues estimated from its intensities.

    Parameters
    ----------
    path : pathlib.Path
        A NIfTI file, zero outside the brain, voxels of about 1 mm with axes towards right, anterior, superior.
    name : str
        The anatomy's name.

    Returns
    -------
    Anatomy
        Tissue shares run linearly between the three class means of a one-dimensional k-means, which is what
        partial volume does to a T1.

    Raises
    ------
    XAIError
        If the file is missing.
    """
    import nibabel.nifti1

    if not Path(path).is_file():
        raise XAIError(f"There is no scan {path}.", "Colin27 comes with Debian's package mricron-data.")
    image = nibabel.nifti1.Nifti1Image.from_filename(path)
    t1 = np.asarray(image.dataobj, dtype=np.float32).T
    brain = ndimage.binary_fill_holes(t1 > 0)
    values = t1[brain]
    means = np.percentile(values, [5, 45, 85])
    for _ in range(30):
        nearest = np.abs(values[:, None] - means).argmin(1)
        means = np.array([values[nearest == label].mean() for label in range(3)])
    fluid = np.clip((means[1] - t1) / (means[1] - means[0]), 0, 1)
    white = np.clip((t1 - means[1]) / (means[2] - means[1]), 0, 1)
    tissue = np.stack([fluid, 1 - fluid - white, white]) * brain
    return _with_detail(name, t1 / means[2], tissue, brain.astype(np.float32), image.affine)

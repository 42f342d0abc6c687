"""How a scanner shows a subject: tissue contrast, texture, bias field, blur, slice thickness, noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, special

from XAIExplainLib.networks.lesions.fields import SmoothField
from XAIExplainLib.networks.lesions.grid import Grid


@dataclass(frozen=True)
class Scan:
    """One acquisition. White matter has the level 1.

    Parameters
    ----------
    fluid, grey : float
        Levels of cerebrospinal fluid and grey matter.
    detail : float
        How much of the real T1's detail beyond the three tissues is kept.
    sharpness : float
        Exponent on the tissue shares: the average of 152 people is blurred at the cortex, a person is not.
    folding : SmoothField
        Three channels: changes of the tissue shares from subject to subject, foremost the sulci.
    folding_amount : float
        Their amplitude in log units.
    gamma, texture_amount, bias_amount, blur_mm, noise : float
        Exponent on the signal; texture and bias field as fractions; Gaussian blur (standard deviation); Rician
        noise as a fraction of white matter.
    texture, bias : SmoothField
        The fields themselves.
    vessels : SmoothField
        Where enhancing vessels run in the fluid spaces.
    vessel_level : float
        How much they are raised, 0 for a scan without contrast agent.
    slice_axis : int
        Array axis across the slices (0 = k, 1 = j, 2 = i).
    slice_mm : float
        Slice thickness, 0 for an isotropic acquisition.
    """

    fluid: float
    grey: float
    detail: float
    sharpness: float
    folding: SmoothField
    folding_amount: float
    gamma: float
    texture: SmoothField
    texture_amount: float
    bias: SmoothField
    bias_amount: float
    vessels: SmoothField
    vessel_level: float
    blur_mm: float
    noise: float
    slice_axis: int
    slice_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Scan:
        """Draw a T1-weighted acquisition, wide enough to cover other scanners and other anatomies."""
        return cls(
            fluid=rng.uniform(0.10, 0.45),
            grey=rng.uniform(0.58, 0.96),
            detail=rng.uniform(0.4, 1.2),
            sharpness=rng.uniform(0.9, 3.0),
            folding=SmoothField.draw(rng, 5.0, 3),
            folding_amount=rng.uniform(0.0, 0.9),
            gamma=rng.uniform(0.8, 1.25),
            texture=SmoothField.draw(rng, 4.0),
            texture_amount=rng.uniform(0.0, 0.04),
            bias=SmoothField.draw(rng, 80.0),
            bias_amount=rng.uniform(0.0, 0.12),
            vessels=SmoothField.draw(rng, 3.0),
            # Whether agent was given says nothing about the lesion: else healthy veins would be a shortcut.
            vessel_level=float(rng.choice([0.0, 1.0], p=[0.65, 0.35]) * rng.uniform(0.4, 1.2)),
            blur_mm=rng.uniform(0.0, 1.0),
            noise=float(rng.choice([0.0, 1.0], p=[0.2, 0.8]) * rng.uniform(0.005, 0.06)),
            slice_axis=int(rng.choice([0, 0, 1, 2])),
            slice_mm=float(rng.choice([0.0, 1.0], p=[0.65, 0.35]) * rng.uniform(2.5, 7.0)),
        )

    def signal(self, maps: np.ndarray, grid: Grid) -> np.ndarray:
        """Signal of the tissues before the scanner spoils it.

        Parameters
        ----------
        maps : numpy.ndarray
            Shape (4 or 5, k, j, i): fluid, grey, white, detail as in `Anatomy`, sampled on `grid`.
        grid : Grid
            The grid.

        Returns
        -------
        numpy.ndarray
            Shape (k, j, i), float32, white matter 1.
        """
        share = np.clip(maps[:3], 1e-4, 1) ** self.sharpness * np.exp(self.folding_amount * self.folding.on(grid))
        share /= share.sum(0)
        levels = np.array([self.fluid, self.grey, 1.0], dtype=np.float32)
        signal = np.tensordot(levels, share, axes=1) + self.detail * maps[3]
        if self.vessel_level:
            # Veins and sinuses run where the fluid is; the strongest 10 % of the field become vessels.
            run = special.expit(6 * (self.vessels.on(grid)[0] - 1.3))
            signal = signal + self.vessel_level * share[0] * run
        return np.clip(signal * (1 + self.texture_amount * self.texture.on(grid)[0]), 0.02, None)

    def acquire(self, signal: np.ndarray, brain: np.ndarray, grid: Grid, rng: np.random.Generator) -> np.ndarray:
        """Image that the scanner makes of a signal, after brain extraction.

        Parameters
        ----------
        signal : numpy.ndarray
            Shape (k, j, i), white matter about 1.
        brain : numpy.ndarray
            Shape (k, j, i), bool.
        grid : Grid
            The grid.
        rng : numpy.random.Generator
            For the noise. A lesion case and its twin are given the same.

        Returns
        -------
        numpy.ndarray
            Shape (k, j, i), float32, above 0 inside the brain and 0 outside.
        """
        image = signal**self.gamma * np.exp(self.bias_amount * self.bias.on(grid)[0])
        image = np.where(brain, image, 0)
        weight = brain.astype(np.float32)
        sigmas = np.full(3, self.blur_mm)
        # A box of width w has the variance w^2 / 12; interpolating between slices adds about as much again.
        sigmas[self.slice_axis] = np.hypot(self.blur_mm, self.slice_mm * np.sqrt(2 / 12))
        image = ndimage.gaussian_filter(image, sigmas / grid.spacing)
        weight = ndimage.gaussian_filter(weight, sigmas / grid.spacing)
        image = np.where(brain, image / np.maximum(weight, 1e-3), 0)
        noise = rng.standard_normal((2, *grid.shape), dtype=np.float32) * self.noise
        image = np.hypot(image + noise[0], noise[1])
        return np.where(brain, np.maximum(image, 1e-3), 0).astype(np.float32)

"""What is known of curves along which a case loses its regions or gets them back, and of those of random orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from XAIExplainLib.compute.replacing import Followed


@dataclass(eq=False)
class Curve:
    """What the network says on the way.

    Parameters
    ----------
    shares : numpy.ndarray
        Shape (steps + 1,), from 0 to 1: which share of the voxels of all regions was taken away (given back).
    values : dict of str to numpy.ndarray
        ``score`` and, where the target has one, ``probability``, each of the shape of `shares`. Of a 2D network the
        mean over the slices, each of which loses its own regions.
    areas : dict of str to float
        The area under each, by trapezoids: the mean of the quantity over the way.
    """

    shares: np.ndarray
    values: dict[str, np.ndarray]
    areas: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        values = {name: found.tolist() for name, found in self.values.items()}
        return {"shares": self.shares.tolist(), "values": values, "areas": self.areas}


@dataclass(eq=False)
class Chance:
    """What orders do that know nothing.

    Parameters
    ----------
    shares : numpy.ndarray
        Shape (steps + 1,), equally far apart.
    mean, deviation : dict of str to numpy.ndarray
        By quantity, over the orders, each of the shape of `shares`; the deviation is that of a sample.
    areas, area_deviations : dict of str to float
        Of the areas under the curves of the orders.
    """

    shares: np.ndarray
    mean: dict[str, np.ndarray]
    deviation: dict[str, np.ndarray]
    areas: dict[str, float]
    area_deviations: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "shares": self.shares.tolist(), "areas": self.areas, "area_deviations": self.area_deviations,
            "mean": {name: found.tolist() for name, found in self.mean.items()},
            "deviation": {name: found.tolist() for name, found in self.deviation.items()},
        }  # fmt: skip


@dataclass(eq=False)
class Curves:
    """The curves of several maps of one answer.

    Parameters
    ----------
    target, units : str
        What the score is of, and its units.
    names : list of str
        Of the maps.
    deletion, insertion : list of Curve
        One a map.
    chance : dict of str to Chance
        By ``deletion`` and ``insertion``; empty where none was asked for.
    settings : dict
        Baseline, partition, regions, steps, chances, seed.
    diagnostics : dict
        Figures and warnings of the run.
    """

    target: str
    units: str
    names: list[str]
    deletion: list[Curve]
    insertion: list[Curve]
    chance: dict[str, Chance]
    settings: dict[str, Any]
    diagnostics: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "target": self.target, "units": self.units, "names": self.names, "settings": self.settings,
            "deletion": [curve.to_json() for curve in self.deletion],
            "insertion": [curve.to_json() for curve in self.insertion],
            "chance": {kind: chance.to_json() for kind, chance in self.chance.items()},
            "diagnostics": self.diagnostics,
        }  # fmt: skip


def curve_of(found: Followed, names: Sequence[str]) -> Curve:
    """One curve of what was followed: of one sample as it was measured, of several their mean."""
    areas = area(found.shares[..., None].expand_as(found.values), found.values).mean(0)
    if found.values.shape[1] == 1:
        shares, values = found.shares[:, 0].numpy(), found.values[:, 0].numpy()
    else:
        shares, values = on_common_shares(found)
    return Curve(
        shares, {name: values[:, n] for n, name in enumerate(names)},
        {name: float(areas[n]) for n, name in enumerate(names)},
    )  # fmt: skip


def area(shares: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The area under values along the first axis, by trapezoids."""
    return ((values[1:] + values[:-1]) / 2 * (shares[1:] - shares[:-1])).sum(0)


def on_common_shares(found: Followed) -> tuple[np.ndarray, np.ndarray]:
    """Equal shares, and the mean over the samples of what was measured, interpolated there: (steps + 1, quantities)."""
    shares = np.linspace(0, 1, len(found.shares))
    values = [
        [np.interp(shares, found.shares[:, n].numpy(), found.values[:, n, q].numpy())
         for q in range(found.values.shape[2])]
        for n in range(found.values.shape[1])
    ]  # fmt: skip
    return shares, np.mean(values, 0).T


def chance_of(found: list[Followed], names: Sequence[str]) -> Chance:
    """The mean and the deviation of random orders."""
    values = np.stack([on_common_shares(one)[1] for one in found])
    areas = [curve_of(one, names).areas for one in found]
    few = min(1, len(found) - 1)  # the deviation of one is 0
    deviation = values.std(0, ddof=few)
    return Chance(
        np.linspace(0, 1, values.shape[1]), {name: values.mean(0)[:, n] for n, name in enumerate(names)},
        {name: deviation[:, n] for n, name in enumerate(names)},
        {name: float(np.mean([one[name] for one in areas])) for name in names},
        {name: float(np.std([one[name] for one in areas], ddof=few)) for name in names},
    )  # fmt: skip

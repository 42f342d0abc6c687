"""Shapley values of a game of n players: exactly from all coalitions, or by KernelSHAP's regression from some.

Lundberg & Lee 2017: the Shapley values are the solution of a weighted least squares problem over all coalitions, with
the weight ``(n - 1) / (C(n, s) s (n - s))`` for one of s players, under the constraint that the values add up to
v(all) - v(none). Coalitions come in pairs with their complements (Covert & Lee 2021), so that a game of single and
pairwise effects is solved without any sampling error.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch

from XAIExplainLib.errors import XAIError

MOST_PLAYERS = 16  # of an exact enumeration
PASSES_A_PLAYER = 3  # at least, to tell the players apart and to estimate the error


def all_coalitions(players: int) -> torch.Tensor:
    """Every coalition, bool (2 ** players, players); bit i of a row's number says whether player i is in."""
    numbers = torch.arange(2**players)
    return (numbers[:, None] >> torch.arange(players) & 1).bool()


def exact_values(scores: torch.Tensor) -> torch.Tensor:
    """Shapley's formula: the mean over all orders of the players of what each adds when it joins.

    Parameters
    ----------
    scores : torch.Tensor
        Shape (2 ** n,), float64, in the order of `all_coalitions`.

    Returns
    -------
    torch.Tensor
        Shape (n,), float64.
    """
    players = (len(scores) - 1).bit_length()
    seen = all_coalitions(players)
    sizes = seen.sum(1)
    weight = torch.tensor(
        [1.0 / (players * math.comb(players - 1, size)) if size < players else 0.0 for size in range(players + 1)],
        dtype=torch.float64,
    )
    values = torch.zeros(players, dtype=torch.float64)
    for player in range(players):
        without = torch.nonzero(~seen[:, player])[:, 0]
        gains = scores[without + 2**player] - scores[without]
        values[player] = (weight[sizes[without]] * gains).sum()
    return values


@dataclass(frozen=True, eq=False)
class Pairs:
    """Coalitions for the regression; with each row goes its complement.

    Parameters
    ----------
    seen : torch.Tensor
        Shape (m, players), bool.
    weights : torch.Tensor
        Shape (m,), float64: the share of the Shapley kernel that the row and its complement stand for.
    drawn : torch.Tensor
        Shape (m,), bool: whether the row was drawn by chance, not listed with all others of its size.
    """

    seen: torch.Tensor
    weights: torch.Tensor
    drawn: torch.Tensor

    @property
    def complete(self) -> bool:
        """Whether every coalition is there, so that the regression is exact."""
        return not bool(self.drawn.any())


def pairs_of(players: int, samples: int, generator: torch.Generator) -> Pairs:
    """Choose about `samples` coalitions (both of a pair counted) for the regression.

    The smallest sizes, with their complements, are listed completely while the samples allow: as long as their share
    of the kernel would bring as many draws. The rest is drawn: the sizes in proportion to the kernel, the players
    of each evenly, no coalition of one size twice.

    Raises
    ------
    XAIError
        If there are too few samples for so many players.
    """
    left = samples // 2
    masses = _masses(players)
    rows: list[torch.Tensor] = []
    weights: list[float] = []
    sizes = list(masses)
    while sizes:
        size, rest = sizes[0], sum(masses[each] for each in sizes)
        number = math.comb(players, size) // (2 if 2 * size == players else 1)
        if number > left * masses[size] / rest:
            break
        listed = itertools.combinations(range(players), size)
        # Of a size that is its own complement, those with player 0 are one of each pair.
        chosen = [part for part in listed if 2 * size != players or 0 in part]
        block = torch.zeros(len(chosen), players, dtype=torch.bool)
        block[torch.arange(len(chosen))[:, None], torch.tensor(chosen)] = True
        rows.append(block)
        weights += [masses[size] / number] * number
        left -= number
        sizes.pop(0)
    listed_rows = len(weights)
    if sizes:
        if samples < PASSES_A_PLAYER * players:
            raise XAIError(
                f"{samples} samples are too few to tell {players} regions apart.",
                f"Give at least {PASSES_A_PLAYER * players} samples, or fewer regions.",
            )
        block = _drawn(players, sizes, masses, left, generator)
        rows.append(block)
        weights += [sum(masses[size] for size in sizes) / len(block)] * len(block)
    seen = torch.cat(rows) if rows else torch.zeros(0, players, dtype=torch.bool)
    drawn = torch.arange(len(seen)) >= listed_rows
    return Pairs(seen, torch.tensor(weights, dtype=torch.float64), drawn)


def _masses(players: int) -> dict[int, float]:
    """For each size up to half of the players: the share of the Shapley kernel on it and on its complement's size."""
    masses = {
        size: (1 if 2 * size == players else 2) / (size * (players - size)) for size in range(1, players // 2 + 1)
    }
    total = sum(masses.values())
    return {size: mass / total for size, mass in masses.items()}


def _drawn(
    players: int, sizes: list[int], masses: dict[int, float], number: int, generator: torch.Generator
) -> torch.Tensor:
    """Coalitions by chance: sizes at even steps of their cumulated mass, then players evenly."""
    share = torch.tensor([masses[size] for size in sizes], dtype=torch.float64).cumsum(0)
    steps = (torch.arange(number) + torch.rand(1, generator=generator, dtype=torch.float64)) / number
    which = torch.searchsorted(share / share[-1], steps).clamp(max=len(sizes) - 1)
    found = torch.zeros(number, players, dtype=torch.bool)
    known: set[tuple[int, ...]] = set()
    for row, index in enumerate(which.tolist()):
        while True:
            part = torch.randperm(players, generator=generator)[: sizes[index]].sort().values
            key = tuple(part.tolist())
            if key not in known:
                break
        known.add(key)
        found[row, part] = True
        if 2 * sizes[index] == players:  # its complement is of the same size
            known.add(tuple(torch.nonzero(~found[row])[:, 0].tolist()))
    return found


def regressed(
    pairs: Pairs, seen: torch.Tensor, unseen: torch.Tensor, empty: float, full: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """KernelSHAP's values and their standard errors.

    A row z and its complement make one equation, ``(v(z) - v(1 - z) + d) / 2 = z . values`` with d = v(all) - v(none);
    the constraint ``sum of values = d`` is kept exactly by solving in the space that is left. The errors are those of
    a regression with independent draws, each residual divided by one less its leverage (jackknife); listed
    coalitions have none. Draws of distinct coalitions with evenly spread sizes make them, if anything, too large.

    Parameters
    ----------
    pairs : Pairs
        Coalitions and weights.
    seen, unseen : torch.Tensor
        Shape (m,), float64: scores of the rows and of their complements.
    empty, full : float
        v(none) and v(all).

    Returns
    -------
    tuple of torch.Tensor
        Values and standard errors, each (players,), float64.

    Raises
    ------
    XAIError
        If the coalitions do not determine the values.
    """
    players = pairs.seen.shape[1]
    difference = full - empty
    even = torch.full((players,), difference / players, dtype=torch.float64)
    if players == 1:
        return even, torch.zeros(1, dtype=torch.float64)
    z = pairs.seen.double()
    # Columns: an orthonormal basis of what adds up to 0.
    basis = torch.linalg.qr(torch.cat([torch.ones(players, 1), torch.eye(players)[:, 1:]], 1).double()).Q[:, 1:]
    root = pairs.weights.sqrt()[:, None]
    design = root * (z @ basis)
    wanted = root[:, 0] * ((seen - unseen + difference) / 2 - z @ even)
    left, singular, right = torch.linalg.svd(design, full_matrices=False)
    if len(singular) < players - 1 or float(singular[-1]) < 1e-9 * float(singular[0]):
        raise XAIError(
            f"{2 * len(z)} coalitions do not tell {players} regions apart.", "Give more samples or fewer regions."
        )
    inverse = right.T / singular  # (players - 1, players - 1)
    values = even + basis @ (inverse @ (left.T @ wanted))
    residual = wanted - left @ (left.T @ wanted)
    leverage = (left**2).sum(1)
    drawn = pairs.drawn
    number = int(drawn.sum())
    if number < 2:
        return values, torch.zeros_like(values)
    each = (left * (residual / (1 - leverage).clamp_min(1e-6))[:, None])[drawn]
    each = each - each.mean(0)
    spread = basis @ inverse @ (each.T * math.sqrt(number / (number - 1)))
    return values, spread.norm(dim=1)

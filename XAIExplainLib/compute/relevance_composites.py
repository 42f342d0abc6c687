"""The composites by name, and the table that has a rule for every operation that there is one for."""

from __future__ import annotations

import functools

from XAIExplainLib.compute import relevance_attention, relevance_joins, relevance_linear, relevance_moves
from XAIExplainLib.compute.relevance import Composite, Maker, RelevanceTable, Settings

COMPOSITES = {
    "epsilon_plus": Composite("plus", "plus"),
    "epsilon_plus_flat": Composite("flat", "plus"),
    "epsilon_plus_square": Composite("square", "plus"),
    "epsilon_plus_box": Composite("box", "plus"),
    "epsilon_gamma": Composite("gamma", "gamma"),
    "epsilon_gamma_box": Composite("box", "gamma"),
    "epsilon_alpha2_beta1": Composite("alpha_beta", "alpha_beta"),
    "epsilon_alpha2_beta1_flat": Composite("flat", "alpha_beta"),
    "epsilon": Composite("epsilon", "epsilon", signed=True),
    "zero": Composite("epsilon", "epsilon", signed=True, zero=True),
}
MAKERS: dict[str, Maker] = {
    **relevance_moves.MAKERS, **relevance_linear.MAKERS, **relevance_joins.MAKERS, **relevance_attention.MAKERS,
}  # fmt: skip


@functools.lru_cache(maxsize=8)
def relevance_table(settings: Settings) -> RelevanceTable:
    """One table for the same settings, so that the pass that gave the answer has kept what its walk reads."""
    return RelevanceTable(settings, MAKERS)

"""The graph of each example, made once for all proofs."""

from __future__ import annotations

import functools

import torch

from Testing.networks_zoo import BY_NAME
from XAIExplainLib.compute.graph import Graph, export


@functools.cache
def network_of(name: str, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """The example's network in `dtype`; not to be changed."""
    return BY_NAME[name].network().to(dtype)


@functools.cache
def graph_of(name: str, dtype: torch.dtype = torch.float32) -> Graph:
    """The example's graph in `dtype`; not to be changed."""
    example = BY_NAME[name]
    return export(network_of(name, dtype), example.image(2).to(dtype), example.output)

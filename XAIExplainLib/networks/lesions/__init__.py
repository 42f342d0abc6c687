"""The demo problem: brain lesions of known place, size, kind and edge, each with its healthy twin."""

from XAIExplainLib.networks.lesions.anatomy import COLIN27_BRAIN, Anatomy, anatomy_from_scan, mni152
from XAIExplainLib.networks.lesions.generator import Case, generate, kind_of
from XAIExplainLib.networks.lesions.grid import FINE_GRID, TRAINING_GRID, Grid
from XAIExplainLib.networks.lesions.lesion import KINDS, Lesion
from XAIExplainLib.networks.lesions.marker import marker

__all__ = [
    "COLIN27_BRAIN",
    "FINE_GRID",
    "KINDS",
    "TRAINING_GRID",
    "Anatomy",
    "Case",
    "Grid",
    "Lesion",
    "anatomy_from_scan",
    "generate",
    "kind_of",
    "marker",
    "mni152",
]

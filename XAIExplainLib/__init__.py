"""XAIExplainLib: why did the network say that? Explanations of deep networks on 3D medical images.

Example
-------
>>> from XAIExplainLib import explain, load_case, load_model
>>> case = load_case("enhancing-ring")
>>> result = explain(load_model("brain-lesion"), case.volume, method="grad_cam", target="lesion")
>>> result.array.shape == case.volume.array.shape
True
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

# Torch's threads wait for each other by spinning. Where another program takes one of the processors, that made
# occlusion ten times slower (28 s against 2.9 s). OpenMP reads this when torch is first loaded.
if "torch" not in sys.modules:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from XAIExplainLib.cases import Case as Case
    from XAIExplainLib.cases import load_case as load_case
    from XAIExplainLib.compute.tiles import SlidingWindow as SlidingWindow
    from XAIExplainLib.errors import CancelledError as CancelledError
    from XAIExplainLib.errors import XAIError as XAIError
    from XAIExplainLib.evaluation.curves import Curves as Curves
    from XAIExplainLib.evaluation.insertion_deletion import insertion_deletion as insertion_deletion
    from XAIExplainLib.explaining import explain as explain
    from XAIExplainLib.explanation import Explanation as Explanation
    from XAIExplainLib.loading import load_model as load_model
    from XAIExplainLib.method import methods as methods
    from XAIExplainLib.model import Model as Model
    from XAIExplainLib.preprocessing import Preprocessing as Preprocessing
    from XAIExplainLib.target import Region as Region
    from XAIExplainLib.target import Voxel as Voxel
    from XAIExplainLib.target_combined import Difference as Difference
    from XAIExplainLib.target_combined import Head as Head
    from XAIExplainLib.target_combined import Probability as Probability
    from XAIExplainLib.volume import Volume as Volume
    from XAIExplainLib.volume import load_volume as load_volume
    from XAIExplainLib.volume import save_volume as save_volume

# Loaded on first use: the panel imports this package inside Slicer, where torch may not be installed.
_HOMES = {
    "Case": "cases", "load_case": "cases", "XAIError": "errors", "CancelledError": "errors", "explain": "explaining",
    "Explanation": "explanation", "Curves": "evaluation.curves",
    "insertion_deletion": "evaluation.insertion_deletion", "load_model": "loading", "methods": "method",
    "Model": "model", "Preprocessing": "preprocessing", "Region": "target", "Voxel": "target",
    "Difference": "target_combined", "Head": "target_combined", "Probability": "target_combined",
    "SlidingWindow": "compute.tiles", "Volume": "volume", "load_volume": "volume", "save_volume": "volume",
}  # fmt: skip
__all__ = sorted(_HOMES)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})

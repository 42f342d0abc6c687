"""Sets of generated cases, made by worker processes and kept in a cache outside the repository."""

from __future__ import annotations

import hashlib
import json
import logging
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from XAIExplainLib.networks.lesions import COLIN27_BRAIN, KINDS, Anatomy, anatomy_from_scan, generate, mni152
from XAIExplainLib.networks.preparation import crop_or_pad, normalize, take

logger = logging.getLogger(__name__)

DEFAULT_CACHE = Path.home() / ".cache" / "xaiexplain" / "networks"

# Seeds of the sets never overlap; the bundled cases come from 40000 on.
FIRST_SEED = {"train": 10_000, "validation": 20_000, "test": 30_000, "colin27": 30_000}
EVEN_SETS = ("train", "validation")
"""Sets whose lesions are even inside: unevenness is kept for the test, as a shift that no training case had."""

GENERATOR_VERSION = 3
"""Raise it when the generator changes, or the cache would give cases of the old one."""


@dataclass(frozen=True)
class CaseSet:
    """Cases ready for the network.

    Parameters
    ----------
    images, twins : numpy.ndarray
        Shape (n, k, j, i), float16, after the whole preprocessing.
    masks : numpy.ndarray
        Shape (n, k, j, i), bool.
    attributes : list of dict
        Of each case, see `XAIExplainLib.networks.lesions.Case`.
    """

    images: np.ndarray
    twins: np.ndarray
    masks: np.ndarray
    attributes: list[dict[str, Any]]

    @property
    def labels(self) -> np.ndarray:
        """Class index of each case, shape (n,)."""
        return np.array([case["label"] for case in self.attributes])


_anatomies: dict[str, Anatomy] = {}


def _anatomy(name: str) -> Anatomy:
    if name not in _anatomies:
        _anatomies[name] = anatomy_from_scan(COLIN27_BRAIN, "Colin27") if name == "colin27" else mni152()
    return _anatomies[name]


def _make(task: tuple[int, str | None, str, bool]) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
    seed, kind, anatomy, even = task
    case = generate(seed, kind, anatomy=_anatomy(anatomy), even=even)
    image, window = crop_or_pad(case.image)
    twin, mask = take(case.twin, window), take(case.mask, window)
    return normalize(image).astype(np.float16), normalize(twin).astype(np.float16), mask, case.attributes


def case_set(name: str, count: int, cache: Path = DEFAULT_CACHE, workers: int = 2) -> CaseSet:
    """Generate a set, or read it from the cache.

    Parameters
    ----------
    name : str
        ``"train"`` (only lesions, since their twins are the healthy half), ``"validation"``, ``"test"`` (all
        kinds) or ``"colin27"`` (the seeds of the test set on an anatomy that is never trained on).
    count : int
        Number of cases.
    cache : pathlib.Path
        Folder of the cache.
    workers : int
        Processes.

    Returns
    -------
    CaseSet
        The same for the same arguments, whatever the number of workers.
    """
    kinds = [KINDS[1 + n % 2] if name == "train" else None for n in range(count)]
    anatomy = "colin27" if name == "colin27" else "mni152"
    tasks = [(FIRST_SEED[name] + n, kind, anatomy, name in EVEN_SETS) for n, kind in enumerate(kinds)]
    key = hashlib.sha256(json.dumps([GENERATOR_VERSION, tasks]).encode()).hexdigest()[:12]
    path = cache / f"{name}-{key}.npz"
    if path.is_file():
        with np.load(path) as stored:
            masks = np.unpackbits(stored["masks"], axis=-1).astype(bool)
            return CaseSet(stored["images"], stored["twins"], masks, json.loads(str(stored["attributes"])))
    made = []
    with ProcessPoolExecutor(workers) as pool:
        for one in pool.map(_make, tasks, chunksize=4):
            made.append(one)
            if len(made) % 100 == 0:
                logger.info("%s: %d of %d cases", name, len(made), count)
    images, twins, masks = (np.stack(arrays) for arrays in list(zip(*made, strict=True))[:3])
    attributes = [one[3] for one in made]
    cache.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".partial.npz")
    np.savez(beside, images=images, twins=twins, masks=np.packbits(masks, axis=-1), attributes=json.dumps(attributes))
    beside.rename(path)
    return CaseSet(images, twins, masks, attributes)

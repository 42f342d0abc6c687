"""Graphs kept on the disk, so that a network that was exported once is not exported again by the next process.

A file holds the operations of one network for one size of image, no weights and no picture (`graph_json`). Its name is
a digest of all that the export depends on. Whatever is wrong with a file or the folder, the graph is exported as if
there were none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

import torch

from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.compute.graph_json import NotStored, decode, encode
from XAIExplainLib.compute.graph_key import Key

FILES = 200
BYTES = 100 << 20
_LARGEST = 20 << 20  # of one file


def folder() -> Path | None:
    """Where the files lie: `XAI_CACHE`, or the user's cache folder; None where `XAI_CACHE` is empty or ``off``."""
    chosen = os.environ.get("XAI_CACHE")
    try:
        if chosen is not None:
            return None if chosen.strip().lower() in ("", "off") else Path(chosen).expanduser() / "graphs"
        home = Path.home()
    except RuntimeError:  # there is no home
        return None
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "XAIExplain" / "graphs"


def load(key: Key, network: torch.nn.Module) -> Graph | None:
    """The graph of that key with the weights of `network`, or None; a file that cannot be taken is removed."""
    path = _path(key)
    if path is None:
        return None
    try:
        if path.stat().st_size > _LARGEST:
            raise NotStored("a large file")
        header, body = path.read_text("utf-8").split("\n", 1)
        found = json.loads(header)
        if found["key"] != key.name or found["digest"] != _digest(body) or found["tensors"] not in ("", key.tensors()):
            raise NotStored("of another network, or damaged")
        graph = decode(json.loads(body), network)
    except OSError:
        return None
    except (NotStored, ValueError, TypeError, KeyError, RecursionError):
        forget(key)
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # the ones that were used last are kept
    return graph


def save(key: Key, graph: Graph, network: torch.nn.Module) -> None:
    """Keep a graph as it was exported; where it or the folder does not allow it, nothing happens."""
    path = _path(key)
    if path is None:
        return
    try:
        data = encode(graph, network)
        own = any(isinstance(entry.get("constant"), dict) for entry in data["nodes"])  # numbers that the file holds
        body = json.dumps(data, allow_nan=False, separators=(",", ":"))
        decode(json.loads(body), network)  # what could not be read back is not written
        header = {"key": key.name, "tensors": key.tensors() if own else "", "digest": _digest(body)}
        text = f"{json.dumps(header)}\n{body}"
        if len(text) > _LARGEST:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        _prune(path.parent, len(text))
        handle, name = tempfile.mkstemp(suffix=".part", dir=path.parent)
        part = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            part.replace(path)  # whole or not at all, whoever else writes it now
        finally:
            part.unlink(missing_ok=True)
    except (NotStored, OSError, ValueError):
        return


def forget(key: Key) -> None:
    """Remove a file."""
    path = _path(key)
    if path is not None:
        with contextlib.suppress(OSError):
            path.unlink()


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode("utf-8")).hexdigest()


def _path(key: Key) -> Path | None:
    where = folder()
    return None if where is None or not key.name else where / f"{key.name}.json"


def _prune(where: Path, coming: int) -> None:
    """Make room for one file more, the ones that were used longest ago first."""
    known = []
    for path in (*where.glob("*.json"), *where.glob("*.part")):
        with contextlib.suppress(OSError):
            found = path.stat()
            known.append((found.st_mtime, found.st_size, path))
    known.sort()
    total = sum(size for _, size, _ in known) + coming
    while known and (len(known) >= FILES or total > BYTES):
        _, size, path = known.pop(0)
        total -= size
        with contextlib.suppress(OSError):
            path.unlink()

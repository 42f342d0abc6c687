"""What the engine runs on: packages, processor, graphics card, memory; for people, in a panel's row."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any


def describe_machine() -> dict[str, Any]:
    """MONAI's version, the devices by name, and all memory; what cannot be found out is None."""
    import torch

    card = torch.cuda.get_device_properties(0) if torch.cuda.is_available() else None
    return {
        "monai": package_version("monai"), "processor": processor_name(), "threads": torch.get_num_threads(),
        "machine": f"{platform.system()} {platform.machine()}", "total_memory": memory()["total"],
        "graphics": card.name if card is not None else None,
        "graphics_memory": int(card.total_memory) if card is not None else None,
    }  # fmt: skip


def memory() -> dict[str, int | None]:
    """Bytes of memory of the machine, and how many of them are free now; None without psutil."""
    try:
        import psutil
    except ImportError:
        return {"total": None, "available": None}
    found = psutil.virtual_memory()
    return {"total": int(found.total), "available": int(found.available)}


def package_version(name: str) -> str | None:
    """The version of an installed package, without importing it."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def processor_name() -> str:
    """What the processor calls itself."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return os.environ.get("PROCESSOR_IDENTIFIER") or platform.processor() or platform.machine()

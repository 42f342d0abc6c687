"""Is a NIfTI file whole? ITK reads a truncated one without a word (zeros for what is missing), and reports success
when the disk was full while it wrote."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

_BLOCK = 1 << 20


def is_nifti(path: Path) -> bool:
    """Whether the name says NIfTI in one file."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def nifti_is_whole(path: Path) -> bool:
    """Whether the file holds as many bytes as its header promises."""
    compressed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path, "rb") if compressed else path.open("rb") as file:
            return _whole(file)  # type: ignore[arg-type]
    except (EOFError, zlib.error, gzip.BadGzipFile, struct.error):
        return False


def _whole(file: BinaryIO) -> bool:
    head = file.read(352)
    if len(head) < 348:
        return False
    for order in "<>":
        size = struct.unpack_from(order + "i", head)[0]
        if size == 348:
            dim = struct.unpack_from(order + "8h", head, 40)
            bits = struct.unpack_from(order + "h", head, 72)[0]
            offset = struct.unpack_from(order + "f", head, 108)[0]
        elif size == 540:  # NIfTI-2
            bits = struct.unpack_from(order + "h", head, 14)[0]
            dim = struct.unpack_from(order + "8q", head, 16)
            offset = struct.unpack_from(order + "q", head, 168)[0]
        else:
            continue
        if not 1 <= dim[0] <= 7:
            return False
        needed = int(offset) + math.prod(max(n, 1) for n in dim[1 : dim[0] + 1]) * bits // 8
        there = len(head)
        # To the very end, not only to the last voxel: the checksum of gzip stands there.
        while block := file.read(_BLOCK):
            there += len(block)
        return there >= needed
    return True  # another header (Analyze): ITK's own reader decides

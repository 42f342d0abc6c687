"""Files that are whole or not there: write beside, then rename."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from XAIExplainLib.errors import XAIError


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; rename it to `path` when the block ends well, remove it otherwise.

    The name given ends as `path` does, so that writers which look at the ending work.

    Raises
    ------
    XAIError
        If the folder is missing or may not be written, or the disk is full.
    """
    goal = Path(path)
    if goal.is_dir():
        raise XAIError(f"{goal} is a folder.", "Give the name of a file in it.")
    beside = goal.with_name(f".{secrets.token_hex(4)}-{goal.name}")
    try:
        _make_folder(goal.parent)
        # Touch it first: libraries report a missing permission in many ways, the system in one.
        beside.touch()
        yield beside
        # The bytes must be on the disk before the name is, or a power cut leaves an empty file.
        with beside.open("rb") as written:
            os.fsync(written.fileno())
        beside.replace(goal)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise XAIError(
            f"{goal} could not be written: {reason}.",
            "Choose a folder that you may write to and that has room.",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise OSError(f"a part of the path {folder} is a file") from error

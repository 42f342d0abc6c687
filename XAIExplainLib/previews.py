"""Maps that are on their way, as files beside the result's: for a client that looks while a run goes on."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from XAIExplainLib.errors import XAIError
from XAIExplainLib.explanation import record_path
from XAIExplainLib.volume import save_volume

if TYPE_CHECKING:
    from XAIExplainLib.explanation import Explanation


class Previews:
    """Context: writes each preview to a file of its own, of which the last is there; none is left at the end.

    The names begin as the result's does, and have a part by chance, so that no file of the user is written over.

    Parameters
    ----------
    output : Path
        Where the result will be.
    tell : callable
        Takes the file's path and the preview.
    """

    def __init__(self, output: Path, tell: Callable[[Path, Explanation], None]) -> None:
        self._output, self._tell = output.absolute(), tell
        self._paths: set[Path] = set()

    def __enter__(self) -> Previews:
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def show(self, preview: Explanation) -> None:
        """Write `preview` and tell of it; one that cannot be written is left out, and the run goes on."""
        stem, number = record_path(self._output).stem, preview.diagnostics["stage"]["number"]
        path = self._output.with_name(f"{stem}.preview-{number}-{secrets.token_hex(4)}.nrrd")
        try:
            save_volume(preview.array, preview.geometry, path, compressed=False)
        except XAIError:
            return
        self._tell(path, preview)
        self._remove()
        self._paths.add(path)

    def _remove(self) -> None:
        for path in list(self._paths):
            with contextlib.suppress(OSError):  # on Windows, while somebody reads it: tried again
                path.unlink(missing_ok=True)
                self._paths.discard(path)

"""Where the project's data lies: models, cases, colour tables."""

from __future__ import annotations

from pathlib import Path

from XAIExplainLib.errors import XAIError


def resources_path(*parts: str) -> Path:
    """The path of something below ``Resources``; it need not exist.

    In the repository and in a Slicer build ``Resources`` lies beside the package, in an installed wheel inside it.

    Raises
    ------
    XAIError
        If there is no such folder at all.
    """
    package = Path(__file__).resolve().parent
    for folder in (package.parent / "Resources", package / "Resources"):
        # Slicer has a Resources of its own beside its modules: ours is the one with models or cases.
        if (folder / "models").is_dir() or (folder / "cases").is_dir():
            return folder.joinpath(*parts)
    raise XAIError("The bundled models and cases are missing from this installation.", "Install XAIExplain again.")

"""The one exception for what a user can mend, and the one for a run that was cancelled."""

from __future__ import annotations


class XAIError(Exception):
    """Something that the user can mend: one sentence that says what is wrong, and a hint that says what to do.

    Parameters
    ----------
    message : str
        What is wrong, in one sentence, naming the file, layer or class it is about.
    hint : str
        What to do about it; may be empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class CancelledError(XAIError):
    """The run was cancelled by its user; nothing was written."""

    def __init__(self) -> None:
        super().__init__("The explanation was cancelled.", "Run it again when you are ready.")

"""Loading a model is loading code, unless it is weights: the user is asked before."""

from __future__ import annotations

from XAIExplainLib.errors import XAIError


class ConsentError(XAIError):
    """A file can run code when it is loaded, and the user has not agreed to that.

    Parameters
    ----------
    name : str
        The file.
    what : str
        What kind of file it is, and why that means code.
    """

    consent = True

    def __init__(self, name: str, what: str) -> None:
        super().__init__(
            f"{name} is {what}: loading it can run code.",
            "If you trust where it comes from, give your consent: consent=True in Python, --allow-code in the shell.",
        )


def require_consent(given: bool, name: str, what: str) -> None:
    """Raise `ConsentError` unless consent was given."""
    if not given:
        raise ConsentError(name, what)

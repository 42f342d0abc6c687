"""Loading a model is loading code, unless it is weights: the user is asked before.

Consent is one of three: True, given; False, not given, so that every program asks, as the panel does; None, not asked
yet: what `screening` finds to do nothing but calculate is loaded, and the rest asks.
"""

from __future__ import annotations

from collections.abc import Callable

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


def require_consent(given: bool | None, name: str, what: str, why: Callable[[], str]) -> None:
    """Raise `ConsentError` unless consent was given, or was left open and `why` finds nothing that could run code."""
    if given:
        return
    reason = why() if given is None else ""
    if given is False or reason:
        raise ConsentError(name, f"{what}, and {reason}" if reason else what)

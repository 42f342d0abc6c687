"""The lines that pass the door between a client and the engine's process: how one is written, read and refused.

Read by Slicer's Python, so it imports neither torch nor numpy. docs/protocol.md describes the whole.
"""

from __future__ import annotations

import json
import math
from pathlib import PurePath
from typing import Any

from XAIExplainLib.errors import XAIError

PROTOCOL = 1
TRANSPORTS = ("files",)

USER, CANCELLED, MEMORY, BUG, DIED = "user", "cancelled", "memory", "bug", "died"
LAST_EVENTS = ("result", "error")


def encode(message: dict[str, Any]) -> bytes:
    """`message` as one line of strict JSON: numbers that JSON does not have become null."""
    return json.dumps(_plain(message), ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """The JSON object on one line.

    Raises
    ------
    XAIError
        If the line is no JSON object.
    """
    try:
        message = json.loads(line.decode("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise XAIError("A line is not JSON.", f"Send one JSON object a line, in UTF-8 ({error}).") from None
    if not isinstance(message, dict):
        raise XAIError("A line is not a JSON object.", 'Send an object such as {"id": 1, "command": "hello"}.')
    return message


def check_request(message: dict[str, Any]) -> tuple[int, str]:
    """The number and the command of a request.

    Raises
    ------
    XAIError
        If one is missing or of another type, or if arrays are to come in a way that this version does not know.
    """
    number, command = message.get("id"), message.get("command")
    if isinstance(number, bool) or not isinstance(number, int):
        raise XAIError("A request has no number.", 'Give every request a whole number of its own as "id".')
    if not isinstance(command, str):
        raise XAIError("A request has no command.", 'Give a word as "command".')
    transport = message.get("transport", "files")
    if transport not in TRANSPORTS:
        raise XAIError(
            f"Arrays cannot be passed by {transport!r}; this engine speaks protocol {PROTOCOL}, which passes files.",
            "Leave out transport, and give volumes and output as paths that the engine can read and write.",
        )
    return number, command


def _plain(value: Any) -> Any:
    """`value` in JSON's own types; numbers and arrays of numpy and torch are asked for theirs."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return str(value)

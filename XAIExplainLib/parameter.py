"""One parameter of a method: its type, unit, bounds and text, from which forms, options and checks are made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from XAIExplainLib.errors import XAIError

KINDS = ("integer", "number", "boolean", "choice", "voxels", "layer", "fill", "list")
KINDS_OF_LIST = ("layer", "model", "volume", "")
_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")


@dataclass(frozen=True)
class Parameter:
    """A parameter as a method declares it.

    Parameters
    ----------
    name : str
        The keyword in Python and in ``--set name=value``.
    kind : str
        ``integer``, ``number``, ``boolean``, ``choice`` (one of `choices`), ``voxels`` (one positive integer for
        all axes or three, in the order k, j, i), ``layer`` (dotted name of a layer, or None for the method's own
        choice), ``fill`` (a number, one of `choices`, or with `volumes` a volume), ``list`` (names parted by commas;
        what they name says `of`).
    default : object
        The value used when the user says nothing.
    help : str
        One sentence for a tooltip.
    unit : str
        ``voxel``, ``step``, ...; empty for a pure number.
    minimum, maximum : float or None
        Inclusive bounds of a number.
    choices : sequence of str
        The words allowed for ``choice`` and ``fill``, and for each name of a ``list``.
    advanced : bool
        Whether a form hides it under "Advanced".
    volumes : bool
        ``fill``: whether the name of a bundled case or the path of a volume may be given too.
    of : str
        ``list``: ``layer``, ``model`` or ``volume``; empty for words of the method's own.
    """

    name: str
    kind: str
    default: Any
    help: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: Sequence[str] = ()
    advanced: bool = False
    volumes: bool = False
    of: str = ""

    def describe(self) -> dict[str, Any]:
        """The declaration as JSON-ready values."""
        default = list(self.default) if isinstance(self.default, tuple) else self.default
        return {
            "name": self.name, "kind": self.kind, "default": default, "help": self.help, "unit": self.unit,
            "minimum": self.minimum, "maximum": self.maximum, "choices": list(self.choices),
            "advanced": self.advanced, "volumes": self.volumes, "of": self.of,
        }  # fmt: skip

    def check(self, value: Any) -> Any:
        """Return `value` in the parameter's own type.

        Text is parsed, so that a command line and a form need no parser of their own.

        Raises
        ------
        XAIError
            If the value is of another type or out of bounds.
        """
        checker = {
            "integer": self._integer, "number": self._number, "boolean": self._boolean, "choice": self._choice,
            "voxels": self._voxels, "layer": self._layer, "fill": self._fill,
            "list": self._list,
        }[self.kind]  # fmt: skip
        return checker(value)

    def _wrong(self, value: Any, wanted: str) -> XAIError:
        return XAIError(f"The parameter {self.name} cannot be {value!r}.", f"Give {wanted}.")

    def _bounds(self) -> str:
        if self.minimum is not None and self.maximum is not None:
            return f" from {self.minimum:g} to {self.maximum:g}"
        if self.minimum is not None:
            return f" of at least {self.minimum:g}"
        return f" of at most {self.maximum:g}" if self.maximum is not None else ""

    def _number(self, value: Any) -> float:
        wanted = f"a number{self._bounds()}"
        if isinstance(value, bool):
            raise self._wrong(value, wanted)
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise self._wrong(value, wanted) from None
        too_small = self.minimum is not None and number < self.minimum
        too_large = self.maximum is not None and number > self.maximum
        if not math.isfinite(number) or too_small or too_large:
            raise self._wrong(value, wanted)
        return number

    def _integer(self, value: Any) -> int:
        try:
            number = self._number(value)
        except XAIError:
            number = math.nan
        if number != number or number != int(number):
            raise self._wrong(value, f"a whole number{self._bounds()}")
        return int(number)

    def _boolean(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        word = str(value).strip().lower()
        if word not in (*_TRUE, *_FALSE):
            raise self._wrong(value, "true or false")
        return word in _TRUE

    def _choice(self, value: Any) -> str:
        if str(value) not in self.choices:
            raise self._wrong(value, "one of " + ", ".join(self.choices))
        return str(value)

    def _voxels(self, value: Any) -> tuple[int, ...] | int:
        if isinstance(value, str):
            parts: list[Any] = value.replace("x", ",").strip("()[] ").split(",")
        elif isinstance(value, Iterable):
            parts = list(value)
        else:
            parts = [value]
        try:
            numbers = tuple(self._integer(part) for part in parts)
        except XAIError:
            numbers = ()
        if len(numbers) not in (1, 2, 3) or min(numbers, default=0) < 1:
            raise self._wrong(value, f"one whole number{self._bounds()}, or three in the order k,j,i")
        return numbers[0] if len(numbers) == 1 else numbers

    def _layer(self, value: Any) -> str | None:
        return None if value in (None, "", "auto") else str(value)

    def _fill(self, value: Any) -> float | str:
        if isinstance(value, str) and value in self.choices:
            return value
        try:
            return self._number(value)
        except XAIError:
            if self.volumes and isinstance(value, str) and value.strip():
                return value.strip()
            words = [f"a number{self._bounds()}", *self.choices, *(["a case or the path of a volume"] * self.volumes)]
            raise self._wrong(value, " or ".join((", ".join(words[:-1]), words[-1]))) from None

    def _list(self, value: Any) -> tuple[str, ...]:
        if value is None:
            return ()
        parts = value.split(",") if isinstance(value, str) else list(value) if isinstance(value, Iterable) else [value]
        if not all(isinstance(part, str | int | float) and not isinstance(part, bool) for part in parts):
            raise self._wrong(value, "names, parted by commas")
        names = tuple(str(part).strip() for part in parts if str(part).strip())
        if self.choices and not set(names) <= set(self.choices):
            raise self._wrong(value, "some of " + ", ".join(self.choices) + ", parted by commas")
        return names

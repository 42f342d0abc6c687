"""What is done to a volume before a network sees it: a list of steps that can be written down and undone.

Each step takes and gives voxels (c, k, j, i) with their `Geometry`. Because every step says on which grid its
voxels lie, undoing is one resampling from the network's grid to the volume's, whatever the steps were.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from XAIExplainLib.errors import XAIError
from XAIExplainLib.geometry import Geometry

if TYPE_CHECKING:
    from XAIExplainLib.volume import Volume

_HINT = 'A step is written as {"step": "orient", "axes": "RAS"}.'


class Step:
    """One step; derive a frozen dataclass, give it a `name`, and write `__call__`.

    `__call__` takes the voxels (c, k, j, i), float32, and their geometry, and gives both anew; it never writes
    into what it was given.
    """

    name: ClassVar[str]

    def __call__(self, data: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, Geometry]:
        """Apply the step."""
        raise TypeError(f"{type(self).__name__} does not define __call__()")

    def to_json(self) -> dict[str, Any]:
        """The step as JSON-ready values: its name and the fields that are not at their default."""
        values: dict[str, Any] = {"step": self.name}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.default is dataclasses.MISSING or value != field.default:
                values[field.name] = list(value) if isinstance(value, tuple) else value
        return values

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Step:
        """The inverse of `to_json`, for a step of this class.

        Raises
        ------
        XAIError
            For an unknown or missing field or a value that cannot be.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        given = {key: item for key, item in value.items() if key != "step"}
        for key in given:
            if key not in fields:
                raise XAIError(
                    f"The preprocessing step {cls.name} has no field {key}.",
                    "Its fields are: " + (", ".join(fields) or "none") + ".",
                )
        missing = [key for key, field in fields.items() if field.default is dataclasses.MISSING and key not in given]
        if missing:
            raise XAIError(f"The preprocessing step {cls.name} lacks its {' and '.join(missing)}.", _HINT)
        return cls(**given)

    def wrong(self, field: str, wanted: str) -> XAIError:
        """The error for a field whose value cannot be."""
        value = getattr(self, field)
        return XAIError(f"The {field} of the preprocessing step {self.name} cannot be {value!r}.", f"Give {wanted}.")

    def three(self, field: str, kind: type) -> None:
        """Check that a field holds three positive numbers of `kind` and make it a tuple."""
        given = getattr(self, field)
        wanted = f"three positive {'whole ' if kind is int else ''}numbers in the order i, j, k"
        try:
            numbers = tuple(kind(v) for v in given)
        except (TypeError, ValueError):
            raise self.wrong(field, wanted) from None
        whole = kind is float or all(n == float(v) for n, v in zip(numbers, given, strict=True))
        if len(numbers) != 3 or not whole or not np.isfinite(numbers).all() or min(numbers) <= 0:
            raise self.wrong(field, wanted)
        object.__setattr__(self, field, numbers)

    def number(self, field: str) -> None:
        """Check that a field holds a finite number."""
        value = getattr(self, field)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
            raise self.wrong(field, "a finite number")

    def choice(self, field: str, words: Sequence[str]) -> None:
        """Check that a field is one of `words`."""
        if getattr(self, field) not in words:
            raise self.wrong(field, "one of " + ", ".join(words))


class Preprocessing:
    """Steps, one after the other.

    Parameters
    ----------
    steps : sequence of Step or dict
        Steps, or their JSON form.

    Raises
    ------
    XAIError
        For a step that does not exist, or a field that is unknown, missing or wrong.

    Examples
    --------
    >>> steps = Preprocessing([{"step": "orient", "axes": "RAS"}, {"step": "normalize", "kind": "zscore"}])
    >>> data, geometry = steps(volume)  # doctest: +SKIP
    """

    def __init__(self, steps: Sequence[Step | dict[str, Any]] = ()) -> None:
        if not isinstance(steps, (list, tuple)):
            raise XAIError("The preprocessing is not a list of steps.", _HINT)
        self.steps = tuple(step if isinstance(step, Step) else _step_from_json(step) for step in steps)

    def __call__(self, volume: Volume) -> tuple[np.ndarray, Geometry]:
        """Apply all steps to `volume`.

        Returns
        -------
        data : numpy.ndarray
            Shape (c, k, j, i), float32, C-contiguous; the volume itself is not touched.
        geometry : Geometry
            The grid of `data`: the network's grid.

        Raises
        ------
        XAIError
            If a step cannot be applied, or makes numbers that are not finite.
        """
        data, geometry = volume.data, volume.geometry
        for step in self.steps:
            data, geometry = step(data, geometry)
        data = np.array(data, dtype=np.float32, order="C")
        if not np.isfinite(data).all():
            raise XAIError(
                "The preprocessing makes numbers that are not finite.", "Check its normalization and scaling."
            )
        return data, geometry

    def to_json(self) -> list[dict[str, Any]]:
        """The steps as JSON-ready values."""
        return [step.to_json() for step in self.steps]

    @classmethod
    def from_json(cls, value: str | Sequence[dict[str, Any]]) -> Preprocessing:
        """The inverse of `to_json`; text is parsed."""
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except json.JSONDecodeError as error:
                raise XAIError(f"The preprocessing is not JSON: {error}.", _HINT) from error
        return cls(value)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Preprocessing) and self.steps == other.steps

    def __hash__(self) -> int:
        return hash(self.steps)

    def __repr__(self) -> str:
        return f"Preprocessing({self.to_json()})"


def step_classes() -> dict[str, type[Step]]:
    """Every step by the name it has in JSON."""
    # Imported here: the steps themselves need `Step`.
    from XAIExplainLib import steps_grid, steps_values

    classes = (*steps_grid.STEPS, *steps_values.STEPS)
    return {step.name: step for step in classes}


def _step_from_json(value: Any) -> Step:
    if not isinstance(value, dict) or "step" not in value:
        raise XAIError(f"{value!r} is no preprocessing step.", _HINT)
    known = step_classes()
    name = str(value["step"])
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or list(known)
        raise XAIError(f"There is no preprocessing step {name}.", f"Did you mean {', '.join(near)}?")
    return known[name].from_json(value)

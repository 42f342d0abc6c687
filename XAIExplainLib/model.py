"""A network with its preprocessing, its outputs and what they are called."""

from __future__ import annotations

import copy
import difflib
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from XAIExplainLib.compute.sliding import Watch, answer_of
from XAIExplainLib.compute.tiles import SlidingWindow
from XAIExplainLib.errors import XAIError
from XAIExplainLib.geometry import Geometry
from XAIExplainLib.layers import spatial_layers
from XAIExplainLib.prediction import Prediction, answer_of_logits, answer_of_maps, only_asked
from XAIExplainLib.prepared import AXES, Prepared
from XAIExplainLib.preprocessing import Preprocessing
from XAIExplainLib.program import (
    cannot_take,
    count,
    fingerprint,
    not_understood,
    only_batch,
    select_output,
    settled,
    wrong_channels,
)
from XAIExplainLib.several_inputs import with_one_input
from XAIExplainLib.volume import Volume

TASKS = ("classification", "multilabel", "regression", "segmentation")
KINDS = ("module", "torchscript", "exported")
_SLICES_AT_ONCE = 8

PreprocessingFunction = Callable[[Volume], tuple[torch.Tensor, Geometry]]


class Model:
    """A network, with all that is needed to ask it about a volume.

    The network is changed in place: evaluation mode, no gradients for its parameters, float32. Give a deep copy if
    you go on training it.

    Parameters
    ----------
    network : torch.nn.Module or callable
        Takes (N, C, *spatial) float32. Its output is (N, classes), or (N, classes, *spatial) for segmentation.
    preprocessing : Preprocessing, list of dict, callable or None
        Steps, their JSON form, or a function from `Volume` to (tensor (c, k, j, i), `Geometry`). None changes nothing.
    classes : sequence of str or None
        Names of the outputs.
    task : str or None
        One of `TASKS`; None is inferred from the first output: (N, C) is ``classification``, an output with the
        input's spatial shape ``segmentation``.
    groups : mapping or None
        Names for several classes together, such as ``{"lesion": ["enhancing", "dark"]}``.
    name : str
        What messages and reports call it.
    channels : int or None
        Channels of the input; None is not checked.
    spatial_dims : int
        3, or 2 for a network that sees slices.
    slice_axis : str
        2D: the axis of the network's grid (``k``, ``j`` or ``i``) across which slices are cut.
    slice_index : int or None
        2D: only this slice of the network's grid; None is all.
    output : int, str or None
        Which element of a tuple, list or dict the network gives; None is the first tensor.
    source : str
        Where the network comes from, for reports.
    kind : str
        ``module``, ``torchscript`` or ``exported``; found out from `network` where it is one of the latter.
    batch : int or None
        The one batch size that a program takes; None is any, or what an exported program itself says.
    inputs : sequence of int or None
        For a network with several inputs: how many of the volume's channels each one gets, in their order.
    overlapping : bool
        Segmentation: whether classes overlap (a sigmoid each) instead of excluding each other (softmax). Always so
        for a single class.
    sliding : SlidingWindow, mapping, int, sequence of int or None
        Segmentation: answer by tiles of this size and blend them, as MONAI's sliding-window inference does.
    information : mapping or None
        What else is known, JSON-ready: title, description, licence, card, figures.

    Attributes
    ----------
    outputs : int or None
        How many classes there are, known from `classes` or the first output.

    Raises
    ------
    XAIError
        If the arguments contradict each other.
    """

    def __init__(
        self,
        network: Any,
        preprocessing: Preprocessing | Sequence[dict[str, Any]] | PreprocessingFunction | None = None,
        *,
        classes: Sequence[str] | None = None,
        task: str | None = None,
        groups: Mapping[str, Sequence[str | int]] | None = None,
        name: str = "",
        channels: int | None = None,
        spatial_dims: int = 3,
        slice_axis: str = "k",
        slice_index: int | None = None,
        output: int | str | None = None,
        source: str = "",
        kind: str = "module",
        batch: int | None = None,
        inputs: Sequence[int] | None = None,
        overlapping: bool = False,
        sliding: SlidingWindow | Mapping[str, Any] | Sequence[int] | int | None = None,
        information: Mapping[str, Any] | None = None,
    ) -> None:
        if not callable(network) and not isinstance(network, torch.export.ExportedProgram):
            raise XAIError(f"A {type(network).__name__} is no network.", "Give a torch.nn.Module, or a function.")
        _one_of("task", task, (None, *TASKS))
        _one_of("kind", kind, KINDS)
        _one_of("spatial_dims", spatial_dims, (2, 3))
        _one_of("slice_axis", slice_axis, tuple(AXES))
        batch = only_batch(network) if batch is None else batch
        if inputs is not None:
            exported = isinstance(network, torch.export.ExportedProgram)
            kind = "exported" if exported else "torchscript" if isinstance(network, torch.jit.ScriptModule) else kind
            name = name or type(network).__name__
            network = with_one_input(network, inputs)
            channels = sum(inputs) if channels is None else channels
        self.network, self.kind = settled(network, kind)
        self.program = network if isinstance(network, torch.export.ExportedProgram) else None
        self.graphs: dict[Any, Any] = {}  # of compute.graphs, by the size of the input; they live with the model
        self.preprocessing = _preprocessing(preprocessing)
        self.classes = _names(classes)
        self.task = task
        self.groups = {key: tuple(members) for key, members in (groups or {}).items()}
        self.name = name or getattr(network, "original_name", "") or type(network).__name__
        self.channels = channels
        self.spatial_dims = spatial_dims
        self.slice_axis = slice_axis
        self.slice_index = slice_index
        self.output = output
        self.source = source
        self.batch = batch
        self.overlapping = overlapping
        self.sliding = SlidingWindow.of(sliding, task)
        self.information = dict(information or {})
        self.outputs = len(self.classes) if self.classes else None
        self.device = next((p.device for p in self._state()), torch.device("cpu"))
        self._fingerprint = ""
        if self.classes:
            for group in self.groups:
                self.group_indices(group)

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {self.task or 'task not yet known'}, classes {list(self.class_names)})"

    # -- a volume in -------------------------------------------------------------------------------------------------

    def prepare(self, volume: Volume) -> Prepared:
        """The input of the network for `volume`, and the way back.

        Raises
        ------
        XAIError
            If the preprocessing fails, the number of channels is wrong, or there is no such slice.
        """
        if isinstance(self.preprocessing, Preprocessing):
            data, geometry = self.preprocessing(volume)
            tensor = torch.from_numpy(data)
        else:
            tensor, geometry = self.preprocessing(volume)
            tensor = torch.as_tensor(tensor).detach().to(torch.float32)
            if not torch.isfinite(tensor).all():
                raise XAIError(f"The preprocessing of {self.name} makes numbers that are not finite.", "Check it.")
        if tensor.ndim != 4 or tuple(tensor.shape[1:]) != geometry.shape:
            raise XAIError(
                f"The preprocessing of {self.name} gives a shape {tuple(tensor.shape)} on a grid of {geometry.shape}.",
                "It must give a tensor (channels, k, j, i) and its Geometry.",
            )
        if self.channels is not None and len(tensor) != self.channels:
            raise wrong_channels(self.name, self.channels, len(tensor))
        if self.spatial_dims == 3:
            return Prepared(tensor[None].to(self.device), geometry, volume)
        axis = AXES[self.slice_axis]
        count = geometry.shape[axis]
        slices = tuple(range(count)) if self.slice_index is None else (int(self.slice_index),)
        if not 0 <= slices[0] < count:
            raise XAIError(
                f"There is no slice {slices[0]} along {self.slice_axis}.",
                f"Choose one from 0 to {count - 1}.",
            )
        cut = tensor.movedim(axis + 1, 0)[list(slices)].contiguous()
        return Prepared(cut.to(self.device), geometry, volume, axis, slices)

    # -- the network -------------------------------------------------------------------------------------------------

    def __call__(self, tensor: torch.Tensor, watch: Watch | None = None) -> torch.Tensor:
        """Run the network on (N, C, *spatial); gives (N, classes), or (N, classes, *spatial) for segmentation.

        Parameters
        ----------
        tensor : torch.Tensor
            The input; with a sliding window it is cut into tiles, and their answers are blended.
        watch : callable or None
            Called as ``watch(tiles done, of how many)``; raises to cancel.

        Raises
        ------
        XAIError
            If the network cannot take this input, or its output is not understood.
        """
        output = answer_of(self, tensor, watch)
        self.infer_task(output, tensor)
        return output

    def at_once(self, tensor: torch.Tensor) -> torch.Tensor:
        """The network's own answer to an input, whatever its sliding window."""
        if self.batch is None or len(tensor) == self.batch:
            output = self._run(tensor)
        else:
            answers = [self._run(part)[:real] for part, real in self._parts(tensor)]
            output = torch.cat(answers)
        if output.ndim == 1 and self.task == "regression":
            output = output[:, None]
        return output

    def _parts(self, tensor: torch.Tensor) -> Iterator[tuple[torch.Tensor, int]]:
        """Batches of the one size the program takes, the last filled up, and how many in each are real."""
        size = int(self.batch or len(tensor))
        for part in tensor.split(size):
            filling = [part[-1:]] * (size - len(part))
            yield torch.cat([part, *filling]), len(part)

    def _run(self, tensor: torch.Tensor) -> torch.Tensor:
        try:
            return select_output(self.network(tensor), self.output, self.name)
        except XAIError:
            raise
        except torch.OutOfMemoryError:
            raise  # the caller can answer it, with a smaller batch
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
            raise cannot_take(self.name, tensor, error) from error

    def infer_task(self, output: torch.Tensor, tensor: torch.Tensor) -> str:
        """The task that the output's shape speaks of; kept in `task` where none was given, checked where one was.

        Raises
        ------
        XAIError
            If the shape belongs to no task or to another one, or the number of classes is another one.
        """
        shape = tuple(output.shape)
        if output.ndim == 2 and len(output) == len(tensor):
            found = "classification"
        elif output.ndim == tensor.ndim and shape[2:] == tuple(tensor.shape[2:]) and len(output) == len(tensor):
            found = "segmentation"
        else:
            raise not_understood(self.name, f"its shape is {shape} for an input of {tuple(tensor.shape)}")
        if self.task is None:
            self.task = found
        elif (self.task == "segmentation") != (found == "segmentation"):
            raise XAIError(
                f"The task {self.task} does not fit the network {self.name}, whose output has the shape {shape}.",
                f"Leave out the task, or give {found}.",
            )
        if self.outputs is not None and shape[1] != self.outputs:
            raise XAIError(
                f"The network {self.name} has {count(shape[1], 'output')}, but {count(self.outputs, 'class name')}.",
                "Give one name for each output; a single one is called by what its positive values speak for.",
            )
        self.outputs = shape[1]
        return self.task

    def to(self, device: str | torch.device) -> Model:
        """Move the network to a device, in place."""
        if isinstance(self.network, torch.nn.Module):
            self.network.to(device)
        self.device = torch.device(device)
        return self

    def at_output(self, which: int | str) -> Model:
        """This model, answering with another element of the tuple, list or dict that its network gives.

        The network is shared. Class names and task go with it only where the output stays the same.
        """
        if which == self.output:
            return self
        other = copy.copy(self)
        other.output, other.graphs, other._fingerprint = which, {}, ""
        other.classes, other.groups, other.outputs, other.task = None, {}, None, None
        return other

    # -- the answer --------------------------------------------------------------------------------------------------

    def predict(self, volume: Volume | Prepared) -> Prediction:
        """What the network answers about `volume`.

        Raises
        ------
        XAIError
            As `prepare` and a call; and if the answer is not a finite number.
        """
        prepared = volume if isinstance(volume, Prepared) else self.prepare(volume)
        size = self.batch or _SLICES_AT_ONCE
        with torch.no_grad():
            output = torch.cat([self(part).cpu() for part in prepared.tensor.split(size)]).float()
        return self.answer(output, prepared)

    def answer(self, output: torch.Tensor, prepared: Prepared) -> Prediction:
        """The prediction that an output (N, ...) of this network for `prepared` means.

        Raises
        ------
        XAIError
            If it is not a finite number.
        """
        output = output.detach().cpu().float()
        if not torch.isfinite(output).all():
            raise XAIError(
                f"The network {self.name} answers with numbers that are not finite.",
                "Check its weights and its preprocessing.",
            )
        groups = {name: self.group_indices(name) for name in self.groups}
        if self.task != "segmentation":
            return answer_of_logits(output.numpy(), str(self.task), self.class_names, groups)
        overlapping = self.overlapping or self.outputs == 1
        volume_of_voxel = prepared.geometry.voxel_volume
        maps = only_asked(prepared.grid(output), prepared, overlapping)
        return answer_of_maps(maps, overlapping, self.class_names, groups, volume_of_voxel, len(output))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the outputs, made up where none were given; empty while their number is not known."""
        return self.classes or tuple(f"class {n}" for n in range(self.outputs or 0))

    def class_index(self, name: str | int) -> int:
        """The index of a class by name, index, or index in words.

        Raises
        ------
        XAIError
            If there is none; the hint lists the classes, the nearest names first.
        """
        names = self.class_names
        if isinstance(name, str) and name in names:
            return names.index(name)
        try:
            index = int(name) if isinstance(name, str) else operator.index(name)
        except (TypeError, ValueError):
            index = -1
        if index >= 0 and (not names or index < len(names)):
            return index
        near = difflib.get_close_matches(str(name), names, n=len(names) or 1, cutoff=0.4)
        ordered = [*near, *(other for other in names if other not in near)]
        listed = ", ".join(f"{other} ({names.index(other)})" for other in ordered)
        raise XAIError(
            f"The model {self.name} has no class {name}.",
            f"Its classes are: {listed}." if listed else "Its classes have no names: give an index from 0.",
        )

    def group_indices(self, name: str) -> tuple[int, ...]:
        """Indices of the classes in a group.

        Raises
        ------
        XAIError
            If there is no such group, or it names a class that does not exist.
        """
        if name not in self.groups:
            known = ", ".join(self.groups) or "none"
            raise XAIError(f"The model {self.name} has no group {name}.", f"Its groups are: {known}.")
        return tuple(self.class_index(member) for member in self.groups[name])

    def layers(self, volume: Volume | Prepared) -> list[dict[str, Any]]:
        """The layers that a map can be made at, as `layers.spatial_layers` lists them.

        Raises
        ------
        XAIError
            If the network shows no operations, as a TorchScript program.
        """
        prepared = volume if isinstance(volume, Prepared) else self.prepare(volume)
        return spatial_layers(self, prepared.tensor[:1])

    def describe(self) -> dict[str, Any]:
        """The model as JSON-ready values."""
        return {
            **self.information, "name": self.name, "task": self.task, "classes": list(self.class_names),
            "groups": {key: list(members) for key, members in self.groups.items()}, "channels": self.channels,
            "spatial_dims": self.spatial_dims, "kind": self.kind, "source": self.source,
            "preprocessing": self._written(), "sliding": None if self.sliding is None else self.sliding.to_json(),
            "fingerprint": self.fingerprint,
        }  # fmt: skip

    # -- identity ----------------------------------------------------------------------------------------------------

    def _written(self) -> Any:
        """The preprocessing as JSON-ready values: steps, a text, or the name of a function."""
        steps = self.preprocessing
        if isinstance(steps, Preprocessing):
            return steps.to_json()
        return str(getattr(steps, "text", "") or getattr(steps, "__qualname__", type(steps).__qualname__))

    def _state(self) -> list[torch.Tensor]:
        if not isinstance(self.network, torch.nn.Module):
            return []
        return [*self.network.parameters(), *self.network.buffers()]

    @property
    def fingerprint(self) -> str:
        """Sixteen digits that tell this network, its weights and its preprocessing from others.

        Computed once: set `_fingerprint` to "" after changing weights.
        """
        if not self._fingerprint:
            settings = (self._written(), self.spatial_dims, self.slice_axis, self.slice_index, self.output)
            tiles = "" if self.sliding is None else str(self.sliding)
            self._fingerprint = fingerprint(self.network, str(settings) + tiles)
        return self._fingerprint


def _preprocessing(given: Any) -> Preprocessing | PreprocessingFunction:
    if given is None:
        return Preprocessing()
    if isinstance(given, Preprocessing) or not callable(given):
        return given if isinstance(given, Preprocessing) else Preprocessing(given)
    function: PreprocessingFunction = given
    return function


def _names(classes: Sequence[str] | None) -> tuple[str, ...] | None:
    if classes is None:
        return None
    names = (classes,) if isinstance(classes, str) else tuple(str(name) for name in classes)
    if len(set(names)) != len(names):
        raise XAIError(f"The class names {', '.join(names)} are not all different.", "Give each class its own name.")
    return names or None


def _one_of(what: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        raise XAIError(f"{what} cannot be {value!r}.", "Give one of " + ", ".join(map(str, allowed)) + ".")

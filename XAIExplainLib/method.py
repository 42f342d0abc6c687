"""What a method is: its parameters, its place in the survey's taxonomy, its citation and caution; and the registry.

A new method is one file in the chapter it belongs to, with a class that derives from `Method` and carries
``@register``. The command line, the panel's form, the method's card and the documentation are made from the class.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from XAIExplainLib.errors import XAIError
from XAIExplainLib.parameter import Parameter

if TYPE_CHECKING:
    import torch

    from XAIExplainLib.compute.graph import Graph
    from XAIExplainLib.compute.reverse import Table
    from XAIExplainLib.effort import Sizes
    from XAIExplainLib.question import Question

CHAPTERS = ("visual", "textual", "examples", "evaluation")
FAMILIES = ("Backpropagation", "Class activation maps", "Attention", "Perturbation")  # in the survey's order
_registry: dict[str, type[Method]] = {}


@dataclass
class Attribution:
    """What a method returns, on the network's own grid.

    Parameters
    ----------
    values : torch.Tensor
        Shape (N, C, *spatial) on the input's grid, or (N, 1, *grid) on a layer's coarser grid. Positive speaks for
        the target, zero says nothing.
    origin, step : tuple of float or None
        For a coarser grid: the input voxel (k, j, i) at the centre of its first cell, and the distance of two cells
        in input voxels. None when `values` lies on the input's grid.
    diagnostics : dict
        Figures of the run, JSON-ready.
    signed : bool or None
        Whether this map may have negative values, where the parameters decide it; None is as the method says.
    """

    values: torch.Tensor
    origin: tuple[float, ...] | None = None
    step: tuple[float, ...] | None = None
    diagnostics: dict[str, Any] = field(default_factory=dict)
    signed: bool | None = None


class Method:
    """One way to explain an answer; derive, fill the class attributes, and write `explain`.

    Attributes
    ----------
    name, title : str
        The name in code (``grad_cam``) and on the screen (``Grad-CAM``).
    chapter, family : str
        The survey's chapter (one of `CHAPTERS`) and the heading inside it.
    model_based, model_specific, local : bool
        The survey's three questions: built into the model or post hoc; for some networks or for any; about one
        case or about the model.
    needs : str
        ``scores`` (any callable network), ``gradient`` (autograd) or ``graph`` (an exportable network).
    cost : str
        In words and in forward passes.
    signed : bool
        Whether the map has negative values (which speak against the target), with the default parameters.
    units : str
        What a value is, for the legend.
    citation, caution : str
        The paper, and what the survey warns of.
    by_boxes : bool
        Whether it asks for the scores of variations in boxes (`perturbation.covered_scores`).
    proof : str
        What independent result it was found equal to, in a phrase for the card.
    parameters : tuple of Parameter
        In the order of the form.
    presets : dict
        For ``quick`` and ``thorough``, the parameters that decide about the pace; both are empty where none does.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    chapter: ClassVar[str] = "visual"
    family: ClassVar[str]
    model_based: ClassVar[bool] = False
    model_specific: ClassVar[bool]
    local: ClassVar[bool] = True
    needs: ClassVar[str]
    cost: ClassVar[str]
    signed: ClassVar[bool]
    units: ClassVar[str]
    summary: ClassVar[str]
    citation: ClassVar[str]
    caution: ClassVar[str]
    by_boxes: ClassVar[bool] = False
    proof: ClassVar[str] = ""
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    presets: ClassVar[dict[str, dict[str, Any]]] = {"quick": {}, "thorough": {}}

    def explain(self, question: Question, **parameters: Any) -> Attribution:
        """Answer `question`; `parameters` are complete and checked."""
        raise TypeError(f"{type(self).__name__} does not define explain()")

    @classmethod
    def walk_start(cls, graph: Graph, parameters: dict[str, Any]) -> str | tuple[str, ...] | None:
        """The node at which the method's walk back from the case's own answer ends, where it makes one such walk.

        The first pass then keeps what the walk reads, and is the only one. A tuple names further nodes whose values
        the method will ask for. None is for all other methods.
        """
        return None

    @classmethod
    def walk_table(cls, parameters: dict[str, Any]) -> Table | None:
        """The rules of that walk; None are the true derivatives."""
        return None

    @classmethod
    def passes(cls, sizes: Sizes, parameters: dict[str, Any]) -> float:
        """About how many forward passes of the network a run takes, with complete parameters; from sizes alone."""
        raise TypeError(f"{cls.__name__} does not define passes()")

    @classmethod
    def check_parameters(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Defaults completed by `given`, each checked.

        Raises
        ------
        XAIError
            For an unknown name, a wrong type, or a value out of bounds.
        """
        known = {parameter.name: parameter for parameter in cls.parameters}
        for name in given:
            if name not in known:
                names = ", ".join(known) or "none"
                raise XAIError(f"The method {cls.name} has no parameter {name}.", f"Its parameters are: {names}.")
        return {
            name: parameter.check(given[name]) if name in given else parameter.default
            for name, parameter in known.items()
        }

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """The method's card as JSON-ready values; the passes are those of a case of 64 x 64 x 64 voxels."""
        from XAIExplainLib.effort import Sizes

        return {
            "name": cls.name, "title": cls.title, "chapter": cls.chapter, "family": cls.family,
            "taxonomy": {
                "basis": "model-based" if cls.model_based else "post hoc",
                "scope": "model-specific" if cls.model_specific else "model-agnostic",
                "reach": "local" if cls.local else "global",
            },
            "needs": cls.needs, "cost": cls.cost, "signed": cls.signed, "units": cls.units, "summary": cls.summary,
            "citation": cls.citation, "caution": cls.caution, "proof": cls.proof,
            "parameters": [parameter.describe() for parameter in cls.parameters],
            "presets": {
                name: {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
                for name, values in cls.presets.items()
            },
            "passes": round(cls.passes(Sizes(), cls.check_parameters({})), 1),
        }  # fmt: skip


def register(method: type[Method]) -> type[Method]:
    """Class decorator: make the method known by its name."""
    if method.name in _registry and _registry[method.name].__module__ != method.__module__:
        raise TypeError(f"two methods are called {method.name}")
    _registry[method.name] = method
    return method


def methods() -> dict[str, type[Method]]:
    """Every method by name, in the order of chapters, families and names."""
    for chapter in CHAPTERS:
        try:
            package = importlib.import_module(f"XAIExplainLib.{chapter}")
        except ModuleNotFoundError as error:
            if error.name != f"XAIExplainLib.{chapter}":
                raise
            continue
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
    families = {family: place for place, family in enumerate(FAMILIES)}

    def place(method: type[Method]) -> tuple[Any, ...]:
        return CHAPTERS.index(method.chapter), families.get(method.family, len(families)), method.family, method.name

    return {method.name: method for method in sorted(_registry.values(), key=place)}


def _import(name: str) -> None:
    """Import the file of that name, where the method of that name stands; all files take half a second."""
    if not str(name).isidentifier():
        return
    for chapter in CHAPTERS:
        home = f"XAIExplainLib.{chapter}.{name}"
        try:
            importlib.import_module(home)
        except ModuleNotFoundError as error:
            if error.name not in (home, f"XAIExplainLib.{chapter}"):
                raise


def get_method(name: str) -> type[Method]:
    """The method called `name`.

    Raises
    ------
    XAIError
        If there is none; the hint names the nearest ones.
    """
    if name not in _registry:
        _import(name)
    if name in _registry:
        return _registry[name]
    known = methods()
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4) or list(known)
        raise XAIError(f"There is no method called {name}.", f"Did you mean {', '.join(near)}?")
    return known[name]

"""The registry and the cards: what every method must say of itself, and what its parameters take."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from XAIExplainLib import XAIError, methods
from XAIExplainLib.method import CHAPTERS, get_method
from XAIExplainLib.parameter import KINDS, Parameter

FIRST = ("gradient", "integrated_gradients", "grad_cam", "occlusion")


def test_the_first_methods_are_there():
    assert set(FIRST) <= set(methods())


@pytest.mark.parametrize("name", methods())
def test_a_card_is_complete(name):
    method = methods()[name]
    card = method.describe()
    assert json.loads(json.dumps(card, allow_nan=False)) == card
    assert card["name"] == name == name.lower()
    assert card["chapter"] in CHAPTERS
    assert method.__module__.split(".")[1] == card["chapter"]
    assert card["needs"] in ("scores", "gradient", "graph")
    assert isinstance(card["signed"], bool)
    for key in ("title", "family", "cost", "units", "summary", "citation", "caution", "proof"):
        assert card[key] == card[key].strip() != "", key
    assert any(str(year) in card["citation"] for year in range(2013, 2027))
    assert card["summary"].endswith(".")
    assert card["caution"].endswith(".")
    assert (card["taxonomy"]["scope"] == "model-agnostic") == (card["needs"] == "scores")
    names = [parameter["name"] for parameter in card["parameters"]]
    assert len(set(names)) == len(names)
    assert not set(names) & {"model", "volume", "method", "target", "progress", "cancel", "device", "memory", "seed"}


@pytest.mark.parametrize("name", methods())
def test_defaults_are_taken_by_their_own_checks(name):
    """Also as text, as a command line and a form give them back."""
    method = methods()[name]
    defaults = method.check_parameters({})
    assert method.check_parameters(defaults) == defaults
    texts = {
        key: ", ".join(value) if isinstance(value, tuple) and value and isinstance(value[0], str) else str(value)
        for key, value in defaults.items() if value not in (None, ())
    }  # fmt: skip
    assert method.check_parameters({**defaults, **texts}) == defaults
    for parameter in method.parameters:
        assert parameter.kind in KINDS
        assert parameter.help.endswith(".")
        assert parameter.kind != "choice" or parameter.default in parameter.choices
        assert parameter.kind != "list" or isinstance(parameter.default, tuple)


@pytest.mark.parametrize(("wrong", "near"), [("grad-cam", "grad_cam"), ("GradCam", "grad_cam"),
                                             ("ocl", "occlusion")])  # fmt: skip
def test_an_unknown_name_brings_its_neighbours(wrong, near):
    with pytest.raises(XAIError, match=f"no method called {wrong}") as caught:
        get_method(wrong)
    assert near in caught.value.hint


def test_a_method_is_called_as_its_file():
    """So that one is found without the others."""
    assert all(method.__module__ == f"XAIExplainLib.{method.chapter}.{name}" for name, method in methods().items())


def test_one_method_is_imported_without_the_others():
    code = (
        "import sys; from XAIExplainLib.method import get_method; print(get_method('grad_cam').title);"
        "print(*(name for name in sys.modules if name.startswith('XAIExplainLib.visual.')))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split("\n")[:2] == ["Grad-CAM", "XAIExplainLib.visual.grad_cam"]


@pytest.mark.parametrize("name", ["..engine", "visual", "", None, 3, "__init__", "grad_cam.GradCAM"])
def test_what_is_no_name_of_a_method_is_refused(name):
    with pytest.raises(XAIError, match="no method called"):
        get_method(name)


def test_a_name_like_no_other_brings_all():
    with pytest.raises(XAIError) as caught:
        get_method("xyzzy")
    assert all(name in caught.value.hint for name in FIRST)


def test_an_unknown_parameter_brings_the_known():
    with pytest.raises(XAIError, match="occlusion has no parameter step") as caught:
        methods()["occlusion"].check_parameters({"step": 3})
    assert "window, stride, fill" in caught.value.hint


def parameter(kind, **keywords):
    return Parameter("it", kind, None, "Help.", **keywords)


TAKEN = [
    (parameter("integer"), 3, 3), (parameter("integer"), "3", 3), (parameter("integer"), 3.0, 3),
    (parameter("integer"), np.int64(3), 3), (parameter("integer", minimum=1), 1, 1),
    (parameter("number"), "1e-3", 0.001), (parameter("number"), -2, -2.0), (parameter("number"), " 2 ", 2.0),
    (parameter("number", minimum=0, maximum=1), 1, 1.0),
    (parameter("boolean"), True, True), (parameter("boolean"), "False", False), (parameter("boolean"), "on", True),
    (parameter("boolean"), 0, False), (parameter("choice", choices=("a", "b")), "b", "b"),
    (parameter("voxels"), 8, 8), (parameter("voxels"), "8", 8), (parameter("voxels"), "4,5,6", (4, 5, 6)),
    (parameter("voxels"), "(4, 5, 6)", (4, 5, 6)), (parameter("voxels"), "4x5x6", (4, 5, 6)),
    (parameter("voxels"), [4, 5], (4, 5)), (parameter("voxels"), (7,), 7),
    (parameter("voxels"), np.array([4, 5, 6]), (4, 5, 6)),
    (parameter("layer"), "a.b.0", "a.b.0"), (parameter("layer"), "", None), (parameter("layer"), None, None),
    (parameter("fill", choices=("mean",)), "mean", "mean"), (parameter("fill", choices=("mean",)), "-0.5", -0.5),
]  # fmt: skip


@pytest.mark.parametrize(("one", "given", "wanted"), TAKEN, ids=lambda value: repr(value)[:40])
def test_values_taken(one, given, wanted):
    found = one.check(given)
    assert found == wanted
    assert type(found) is type(wanted)


REFUSED = {
    "integer": [3.5, "three", True, None, math.nan, math.inf, "", [3], 0, 101],
    "number": ["x", None, False, math.nan, "inf", [1.0], 0.5, 101],
    "boolean": ["perhaps", "", None, 2],
    "choice": ["c", "", None, 1],
    "voxels": [0, -1, "8,8,8,8", [], "", "8;8", (8, 0, 8), 2.5, None, True, "8,,8"],
    "fill": ["median", None, math.nan, True, [0.0]],
}


@pytest.mark.parametrize(("kind", "given"), [(kind, value) for kind, values in REFUSED.items() for value in values])
def test_values_refused(kind, given):
    bounds = {"minimum": 1, "maximum": 100} if kind in ("integer", "number") else {}
    one = parameter(kind, choices=("a", "b"), **bounds)
    with pytest.raises(XAIError, match="parameter it cannot be") as caught:
        one.check(given)
    assert caught.value.hint.startswith("Give ")
    if bounds:
        assert "from 1 to 100" in caught.value.hint

"""Targets as people write them, and the scores that they mean."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from XAIExplainLib import Model, Region, Volume, Voxel, XAIError, explain
from XAIExplainLib.target import ClassTarget
from XAIExplainLib.target_combined import Difference, Head, Probability
from XAIExplainLib.target_parsing import parse_target


@pytest.mark.parametrize(("text", "wanted"), [
    (None, ClassTarget(None)), ("lesion", ClassTarget("lesion")), (2, ClassTarget(2)), (np.int64(2), ClassTarget(2)),
    ("voxel:1,2,3", Voxel((1, 2, 3))), ("voxel:1,2,3:lesion", Voxel((1, 2, 3), "lesion")),
    ({"voxel": [1, 2, 3], "class": 0}, Voxel((1, 2, 3), 0)), (Voxel((1, 2, 3)), Voxel((1, 2, 3))),
    ("probability:lesion", Probability(ClassTarget("lesion"))), ("probability:", Probability(ClassTarget(None))),
    ("probability:voxel:1,2,3:a", Probability(Voxel((1, 2, 3), "a"))),
    ("difference:a:b", Difference(ClassTarget("a"), ClassTarget("b"))),
    ({"difference": [0, "b"]}, Difference(ClassTarget(0), ClassTarget("b"))),
    ("output:1:a", Head(1, ClassTarget("a"))), ("output:risk", Head("risk", ClassTarget(None))),
    ("output:1:difference:a:b", Head(1, Difference(ClassTarget("a"), ClassTarget("b")))),
])  # fmt: skip
def test_what_is_understood(text, wanted):
    assert parse_target(text) == wanted


@pytest.mark.parametrize(("text", "path", "which"), [
    ("region:a/b.nrrd", "a/b.nrrd", None), ("region:a/b.nrrd:dark", "a/b.nrrd", "dark"),
    (r"region:C:\a\b.nrrd", r"C:\a\b.nrrd", None), (r"region:C:\a\b.nrrd:2", r"C:\a\b.nrrd", "2"),
    ("region:C:/a.nrrd", "C:/a.nrrd", None), ({"region": "m.nrrd"}, "m.nrrd", None),
    ({"region": "m.nrrd", "class": "dark"}, "m.nrrd", "dark"),
])  # fmt: skip
def test_regions(text, path, which):
    found = parse_target(text)
    assert isinstance(found, Region)
    assert (found.mask, found.which) == (path, which)


@pytest.mark.parametrize("value", ["", True, 1.5, [1], {}, {"class": 1}, "voxel:a,b,c", {"voxel": None},
                                   {"voxel": "here"}, "difference:a", {"difference": ["a"]}, {"output": ""},
                                   {"output": 1, "target": {"output": 2}}])  # fmt: skip
def test_what_is_not(value):
    with pytest.raises(XAIError, match="not understood"):
        parse_target(value)


@pytest.mark.parametrize("index", [(1, 2), (1, 2, 3, 4), (-1, 0, 0), (0, 0, 4)])
def test_voxels_that_are_none(index):
    model = Model(lambda x: x.repeat(1, 2, 1, 1, 1))
    prepared = model.prepare(Volume(np.ones((4, 5, 6))))
    with pytest.raises(XAIError, match="no voxel"):
        Voxel(index).bind(model, model(prepared.tensor), prepared)


def bound(output, target, **about):
    """The score of a target for an answer."""
    output = torch.as_tensor(output)
    made = Model(lambda x: output, **about)
    prepared = made.prepare(Volume(np.ones((2, 2, 2))))
    return parse_target(target).bind(made, output, prepared)(output)


@given(st.lists(st.floats(-30, 30), min_size=3, max_size=3))
def test_a_group_is_the_log_odds_of_its_classes(logits):
    output = torch.tensor([logits], dtype=torch.float64)
    found = bound(output, "ends", classes=["a", "b", "c"], groups={"ends": ["a", "c"]})
    chance = output.softmax(1)
    assert float(found) == pytest.approx(float((chance[:, 0] + chance[:, 2]).log() - chance[:, 1].log()), abs=1e-6)


def test_the_predicted_class():
    assert float(bound([[1.0, 5.0, 2.0]], None)) == 5
    assert float(bound([[-3.0]], None)) == -3
    assert float(bound([[1.0, 5.0]], "a", classes=["a", "b"])) == 1
    assert float(bound([[1.0, 5.0]], "1", classes=["a", "b"])) == 5


def test_all_classes_together_have_no_odds():
    """Against nothing: the sum of the logits, finite."""
    assert float(bound([[1.0, 5.0]], "all", classes=["a", "b"], groups={"all": ["a", "b"]})) == 6


def test_a_class_called_as_a_group_is_the_class():
    assert float(bound([[1.0, 5.0]], "a", classes=["a", "b"], groups={"a": ["a", "b"]})) == 1


def test_a_probability_is_the_softmax_the_sigmoid_or_the_groups():
    logits = [[1.0, 5.0, 2.0]]
    chance = torch.tensor(logits).softmax(1)[0]
    groups = {"classes": ["a", "b", "c"], "groups": {"ends": ["a", "c"]}}
    assert float(bound(logits, "probability:b", **groups)) == pytest.approx(float(chance[1]))
    assert float(bound(logits, "probability:ends", **groups)) == pytest.approx(float(chance[0] + chance[2]), rel=1e-5)
    assert float(bound([[0.7]], "probability:0")) == pytest.approx(float(torch.tensor(0.7).sigmoid()))
    assert float(bound(logits, "probability:b", **groups, task="multilabel")) == pytest.approx(0.9933, abs=1e-4)
    with pytest.raises(XAIError, match="no probability"):
        bound(logits, "probability:0", task="regression")


def test_a_voxels_probability():
    output = torch.zeros(1, 2, 2, 2, 2)
    output[0, 1, 1, 0, 1] = 2.0
    made = Model(lambda x: output)
    prepared = made.prepare(Volume(np.ones((2, 2, 2))))
    found = parse_target("probability:voxel:1,0,1:1").bind(made, output, prepared)(output)
    assert float(found) == pytest.approx(float(torch.tensor(2.0).sigmoid()))


def test_a_difference():
    assert float(bound([[1.0, 5.0, 2.0]], "difference:1:2")) == 3
    score = bound([[1.0, 5.0, 2.0]], {"difference": ["probability:0", "probability:2"]})
    chance = torch.tensor([1.0, 5.0, 2.0]).softmax(0)
    assert float(score) == pytest.approx(float(chance[0] - chance[2]))


def test_one_of_several_outputs():
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv3d(1, 5, 3)

        def forward(self, x):
            means = self.conv(x).mean((2, 3, 4))
            return {"kind": means[:, :3], "risk": means[:, 3:]}

    torch.manual_seed(0)
    model, volume = Model(Two(), classes=["a", "b", "c"]), Volume(np.random.default_rng(0).normal(size=(5, 6, 7)))
    whole = explain(model, volume, "gradient", "b")
    risk = explain(model, volume, "gradient", "output:risk:1")
    assert whole.diagnostics["score"] != risk.diagnostics["score"]
    leaf = torch.tensor(volume.data[None], dtype=torch.float32, requires_grad=True)
    (wanted,) = torch.autograd.grad(model.network(leaf)["risk"][0, 1], leaf)
    assert np.allclose(risk.array, wanted[0, 0].numpy(), atol=1e-6)
    with pytest.raises(XAIError, match="no output"):
        explain(model, volume, "gradient", "output:2:0")

"""Targets as people write them, and the scores that they mean."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from XAIExplainLib import Model, Region, Volume, Voxel, XAIError
from XAIExplainLib.target import ClassTarget, parse_target


@pytest.mark.parametrize(("text", "wanted"), [
    (None, ClassTarget(None)), ("lesion", ClassTarget("lesion")), (2, ClassTarget(2)), (np.int64(2), ClassTarget(2)),
    ("voxel:1,2,3", Voxel((1, 2, 3))), ("voxel:1,2,3:lesion", Voxel((1, 2, 3), "lesion")),
    ({"voxel": [1, 2, 3], "class": 0}, Voxel((1, 2, 3), 0)), (Voxel((1, 2, 3)), Voxel((1, 2, 3))),
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
                                   {"voxel": "here"}])  # fmt: skip
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

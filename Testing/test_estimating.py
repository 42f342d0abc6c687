"""Presets, and the time that a run will take: what every method declares, and how good the engine's estimate is."""

import math
import time

import numpy as np
import pytest
import torch

from Testing import bright
from XAIExplainLib import Volume, explain, methods
from XAIExplainLib.console import ProgressLine
from XAIExplainLib.effort import BY_STEPS, Sizes
from XAIExplainLib.engine import LocalEngine
from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainLib.estimating import Pace, estimate
from XAIExplainLib.method import get_method
from XAIExplainLib.model import Model

RUN = ProgressLine(None)


def never():
    """Nobody wants to stop."""


# -- what the methods declare


@pytest.mark.parametrize("name", methods())
def test_presets_are_valid_and_quick_is_not_slower(name):
    method = methods()[name]
    assert list(method.presets) == ["quick", "thorough"]
    quick, thorough = (method.check_parameters(method.presets[key]) for key in method.presets)
    assert set(method.presets["quick"]) == set(method.presets["thorough"]), "each undoes the other"
    assert method.passes(Sizes(), quick) <= method.passes(Sizes(), thorough)
    if method.presets["quick"]:
        assert method.passes(Sizes(), quick) < method.passes(Sizes(), thorough)
        assert quick != thorough


@pytest.mark.parametrize("name", methods())
def test_passes_are_positive_for_2d_and_3d(name):
    method = methods()[name]
    for spatial in ((40, 48), (24, 32, 16)):
        found = method.passes(Sizes(spatial), method.check_parameters({}))
        assert math.isfinite(found) and found >= 1


def test_passes_grow_with_what_costs_time():
    def passes(name, **parameters):
        method = get_method(name)
        return method.passes(Sizes(), method.check_parameters(parameters))

    assert passes("integrated_gradients", steps=40) == pytest.approx(2 * passes("integrated_gradients", steps=20), 0.1)
    assert passes("smooth_grad", of="integrated_gradients") > 5 * passes("smooth_grad")
    assert passes("gradient_shap", background="0,blur") > 1.8 * passes("gradient_shap")
    assert passes("kernel_shap", regions=5) < 40 < passes("kernel_shap")
    assert passes("ensemble_cam", models="one,two") == pytest.approx(3 * passes("ensemble_cam"))
    assert passes("occlusion") == pytest.approx(1 + 512 * BY_STEPS)
    assert passes("prediction_difference", samples=20) == pytest.approx(2 * passes("prediction_difference"), 0.01)


def test_windows_that_change_nothing_are_not_counted():
    image = torch.zeros(1, 1, 32, 32, 32)
    image[..., 8:16, 8:16, 8:16] = 1
    occlusion = get_method("occlusion")
    for fill, passes in ((0.0, 2), (1.0, 1 + 63), ("noise", 1 + 64 * BY_STEPS)):
        settings = occlusion.check_parameters({"fill": fill})
        assert occlusion.passes(Sizes((32, 32, 32), image), settings) == pytest.approx(passes)


def test_of_many_windows_some_stand_for_all():
    image = torch.zeros(1, 1, 40, 40, 40)
    image[..., :20, :, :] = 1
    occlusion = get_method("occlusion")
    settings = occlusion.check_parameters({"window": 2, "stride": 1})
    exact = 20 * 39 * 39  # windows that begin in the first 20 planes
    assert occlusion.passes(Sizes((40, 40, 40), image), settings) == pytest.approx(1 + exact * BY_STEPS, rel=0.1)


# -- seconds


class Slow(torch.nn.Module):
    """A network whose pass takes a known time."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds
        self.asked = 0

    def forward(self, x):
        self.asked += len(x)
        time.sleep(self.seconds * len(x))
        return torch.stack([x.mean((1, 2, 3, 4)), -x.mean((1, 2, 3, 4))], 1)


def slow(seconds=0.02, **settings):
    network = Slow(seconds)
    return network, Model(lambda x: network(x), task="classification", **settings)


def volume(size=(16, 16, 16)):
    return Volume(np.random.default_rng(0).random(size).astype(np.float32))


def test_seconds_are_passes_times_a_measured_pass():
    _, model = slow()
    pace = Pace(model, volume(), never)
    assert 0.02 <= pace.forward < 0.03
    found = estimate(pace, "occlusion", {"window": 4, "stride": 4})
    assert found["passes"] == pytest.approx(1 + 64 * BY_STEPS)  # 64 windows, by whole passes
    assert found["seconds"] == pytest.approx(found["passes"] * pace.forward, rel=0.3)
    assert "one pass took 0.02" in found["basis"]


def test_a_long_pass_is_measured_once_and_a_short_one_twice():
    for seconds, asked in ((0.6, 1), (0.01, 2)):
        network, model = slow(seconds)
        Pace(model, volume(), never)
        assert network.asked == asked


def test_a_run_corrects_the_estimates_of_its_method():
    _, model = slow()
    pace = Pace(model, volume(), never)
    before = estimate(pace, "rise", {"masks": 20})
    pace.learn("rise", {"masks": 20}, 3 * before["seconds"])
    after = estimate(pace, "rise", {"masks": 20})
    assert after["seconds"] == pytest.approx(3 * before["seconds"])
    assert "corrected" in after["basis"] and "corrected" not in before["basis"]
    pace.learn("rise", {"masks": 20}, before["seconds"])
    assert estimate(pace, "rise", {"masks": 20})["seconds"] == pytest.approx(before["seconds"])
    assert "corrected" not in estimate(pace, "lime", {})["basis"]


def test_it_is_right_within_a_factor_two_where_passes_are_all():
    _, model = slow(0.01)
    case = volume()
    wanted = estimate(Pace(model, case, never), "rise", {"masks": 40, "cells": 4})["seconds"]
    took = explain(model, case, "rise", masks=40, cells=4).diagnostics["seconds"]
    assert took / 2 < wanted < 2 * took


def test_what_is_wrong_is_said():
    _, model = slow(0.001)
    pace = Pace(model, volume(), never)
    with pytest.raises(XAIError, match="no method called"):
        estimate(pace, "no such", {})
    with pytest.raises(XAIError, match="cannot be"):
        estimate(pace, "rise", {"masks": "many"})


def test_a_client_that_does_not_want_to_wait_is_heard():
    def now():
        raise CancelledError

    network, model = slow(0.01)
    with pytest.raises(CancelledError):
        Pace(model, volume(), now)
    assert network.asked == 0


# -- the engine


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A case and networks for it."""
    return bright.make(tmp_path_factory.mktemp("estimating"))


def asked(folder, **fields):
    return {
        "volumes": [str(folder / "case.nrrd")], "model": str(folder / "bright.pt2"), "consent": True,
        "options": {"classes": ["dark", "bright"]}, **fields,
    }  # fmt: skip


def test_the_engine_measures_once_and_makes_the_graph_ready(folder, tmp_path):
    engine = LocalEngine()
    first = engine.estimate(asked(folder, method="gradient"), RUN)
    pace = engine._pace
    assert first["seconds"] > 0 and len(pace.model.graphs) == 1
    assert engine.estimate(asked(folder, method="lrp"), RUN)["passes"] >= 2
    assert engine._pace is pace
    request = asked(folder, method="gradient", output=str(tmp_path / "map.nrrd"))
    took = engine.explain(request, RUN)["diagnostics"]["seconds"]
    assert engine.estimate(asked(folder, method="gradient"), RUN)["seconds"] == pytest.approx(took, rel=0.5)
    engine.model(asked(folder, options={"classes": ["a", "b"]}))
    assert engine._pace is None, "nothing of the old model is kept"


def test_boxes_are_counted_by_what_they_reach():
    """On the bundled network, where boxes are worth following; not on one that is too small for it."""
    engine = LocalEngine()
    parameters = {"window": 8, "stride": 8}
    case = {"model": "brain-lesion", "volumes": ["enhancing-ring"]}
    alone = engine.estimate({**case, "method": "occlusion", "parameters": parameters}, RUN)
    assert "reach" in alone["basis"]
    method = get_method("occlusion")
    x = engine._pace.x
    whole = method.passes(Sizes(tuple(x.shape[2:]), x), method.check_parameters(parameters))
    assert alone["passes"] < 0.5 * whole


def test_boxes_that_are_not_worth_it_count_as_whole_passes(folder):
    asking = asked(folder, method="occlusion", parameters={"window": 2, "stride": 1})
    assert "reach" not in LocalEngine().estimate(asking, RUN)["basis"]

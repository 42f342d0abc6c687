"""A comparison from Python: networks of slices, of several channels, of regions; and what is counted."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from XAIExplainLib.errors import CancelledError
from XAIExplainLib.evaluation.comparison import Comparison
from XAIExplainLib.evaluation.report import Report
from XAIExplainLib.model import Model
from XAIExplainLib.volume import Volume


class Slices(nn.Module):
    """Two classes for each slice of two channels."""

    def __init__(self):
        super().__init__()
        self.features, self.head = nn.Conv2d(2, 3, 3, padding=1), nn.Linear(3, 2)

    def forward(self, x):
        return self.head(torch.relu(self.features(x)).mean((2, 3)))


def volume(channels: int) -> Volume:
    random = np.random.default_rng(0)
    return Volume(random.random((channels, 7, 9, 8)).astype(np.float32) + 0.1, spacing=(1.0, 1.5, 3.0), name="<b>&")


def truth() -> Volume:
    mask = np.zeros((7, 9, 8), np.float32)
    mask[2:5, 3:6, 1:4] = 7  # any label is the truth
    return Volume(mask, spacing=(1.0, 1.5, 3.0), name="truth")


@pytest.fixture
def models() -> dict[str, Model]:
    torch.manual_seed(0)
    return {
        "slices": Model(Slices(), spatial_dims=2),
        "one slice": Model(Slices(), spatial_dims=2, slice_index=4),
        "segmentation": Model(nn.Conv3d(2, 3, 3, padding=1)),
    }


@pytest.mark.parametrize("name", ["slices", "one slice", "segmentation"])
def test_any_network_is_compared(models, name, tmp_path):
    asked = Comparison(models[name], volume(2), None if name == "segmentation" else 1, truth())
    report = Report(tmp_path / "out")
    report.start(asked, ["gradient", "occlusion"])
    for method, parameters in (("gradient", {}), ("occlusion", {"window": 4, "stride": 4})):
        row, result = asked.run(method, parameters)
        assert row.refused == "" and 0 <= row.found.dice <= 1
        report.add(row, result)
    # Only what the network sees is measured, and the truth.
    seen = 9 * 8 + 2 * 9 if name == "one slice" else 7 * 9 * 8
    assert int((asked.domain | asked.truth.mask).sum()) == seen
    assert asked.chance["relevance_mass"] == pytest.approx(27 / seen)
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert found["prediction"]["task"] == models[name].task
    page = (tmp_path / "out" / "index.html").read_text()
    assert "2 channels, of which the first is shown" in page and "&lt;b&gt;&amp;" in page and "<b>&" not in page


def test_passes_are_those_that_the_method_counts_or_else_by_the_clock(models, monkeypatch):
    from XAIExplainLib.evaluation import comparison

    asked = Comparison(models["slices"], volume(2), 1)
    explain = comparison.explain

    def counted(*arguments, **options):
        result = explain(*arguments, **options)
        result.diagnostics["passes"], result.diagnostics["seconds"] = passes, 8.0
        return result

    monkeypatch.setattr(comparison, "explain", counted)
    passes = 12
    row, _ = asked.run("gradient", {})
    assert (row.passes, row.passes_counted) == (12, True)
    passes = None
    row, _ = asked.run("gradient", {})
    assert not row.passes_counted and row.passes == pytest.approx(8.0 / asked.pass_seconds)


def test_a_run_that_is_cancelled_is_no_refusal(models):
    asked = Comparison(models["slices"], volume(2), 1)
    with pytest.raises(CancelledError):
        asked.run("gradient", {}, cancel=lambda: True)


def test_of_a_masked_volume_only_the_inside_counts(models):
    array = volume(2).data.copy()
    array[:, :, :2] = array[:, :, 7:] = 0
    masked = Volume(array, spacing=(1.0, 1.5, 3.0))
    asked = Comparison(models["segmentation"], masked, None, truth())
    assert int(asked.domain.sum()) == 7 * 5 * 8 and "masked" in asked.domain_text
    array[0, 0, 0, 0] = 1  # one corner that is not zero: air is part of the image
    assert int(Comparison(models["segmentation"], Volume(array), None).domain.sum()) == 7 * 9 * 8

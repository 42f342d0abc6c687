"""What the engine tells of the machine it runs on."""

from __future__ import annotations

import pytest

from XAIExplainLib import machine


def test_memory_is_told_in_bytes() -> None:
    found = machine.memory()
    assert found["total"] is not None
    assert found["available"] is not None
    assert 2**28 < found["available"] <= found["total"] < 2**50


def test_versions_are_those_of_the_packages() -> None:
    import monai

    assert machine.package_version("monai") == monai.__version__
    assert machine.package_version("no-such-package") is None


def test_the_greeting_has_what_a_panel_shows() -> None:
    pytest.importorskip("torch")
    from XAIExplainLib.engine import LocalEngine

    greeting = LocalEngine().greeting()
    assert greeting["processor"] and greeting["threads"] >= 1
    assert greeting["monai"] and greeting["total_memory"] == machine.memory()["total"]
    assert (greeting["graphics"] is None) == (greeting["device"] == "cpu")

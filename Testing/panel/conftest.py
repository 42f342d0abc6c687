"""One host and one loaded module for all tests of the panel; an empty scene for each."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="package")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The module in the host."""
    pytest.importorskip("PySide6")
    pytest.importorskip("slicer")
    from Testing.Host import Host
    from Testing.panel.driver import Panel

    # Slicer's Reload reads the library again; other tests of this process keep the one they have.
    library = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "XAIExplainLib"}
    host = Host.fresh(size=(1366, 768), home=tmp_path_factory.mktemp("host"))
    panel = Panel(host, tmp_path_factory.mktemp("engine"))
    yield panel
    panel.logic.engine.stop()
    sys.modules.update(library)


@pytest.fixture
def panel(loaded: Any) -> Iterator[Any]:
    """The module with an empty scene; afterwards, nothing may have gone wrong unseen."""
    loaded.reset()
    yield loaded
    if loaded.logic.busy:
        loaded.logic.explainer.abandon()
    loaded.host.assertNoErrors()
    # The wheel of Slicer's core comes without the presets of volume rendering.
    assert [error for error in loaded.host.vtkErrors if "presets" not in str(error)] == []

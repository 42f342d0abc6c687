"""Everything is seen in a narrow panel: on a screen of 1366 x 768, and with letters twice as large."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from Testing.panel import layouts

NARROW = 420  # pixels: less than Slicer gives a module's panel


@pytest.fixture(params=[1, 2], ids=["usual letters", "letters twice as large"])
def letters(request: pytest.FixtureRequest, panel: Any) -> Iterator[int]:
    """The size of letters, and back."""
    font = panel.host.app.font()
    large = panel.host.app.font()
    large.setPointSizeF(font.pointSizeF() * request.param)
    panel.host.app.setFont(large)
    panel.host.processEvents()
    yield request.param
    panel.host.app.setFont(font)
    panel.host.processEvents()


def test_all_sections_fit(panel: Any, letters: int) -> None:
    layouts.everything(panel)
    root = panel.desk.case.widget.parentWidget()
    assert root.minimumSizeHint().width() <= letters * NARROW
    assert layouts.tooWide(panel) == []
    assert layouts.overlapping(panel) == []
    assert not panel.host.window.modulePanel().scrollArea().horizontalScrollBar().isVisible()


def test_what_does_not_fit_is_found(panel: Any) -> None:
    import qt

    panel.addVolume()
    wide = qt.QPushButton("W" * 100, panel.desk.run.widget)
    panel.desk.run.widget.layout().addWidget(wide)
    panel.host.processEvents()
    root = panel.desk.case.widget.parentWidget()
    assert root.minimumSizeHint().width() > NARROW
    wide.setMinimumWidth(10)
    wide.setMaximumWidth(50)
    panel.host.processEvents()
    assert any("its words need" in found for found in layouts.tooWide(panel))
    panel.desk.run.widget.layout().removeWidget(wide)
    wide.setParent(None)
    wide.deleteLater()
    lost = qt.QPushButton("over", panel.desk.run.widget)
    lost.setGeometry(panel.desk.run.ui.applyButton.geometry)
    lost.show()
    assert layouts.overlapping(panel)
    lost.setParent(None)
    lost.deleteLater()
    panel.host.processEvents()

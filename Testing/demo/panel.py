"""The panel, driven by clicks in the host, and photographed."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

MODULE = Path(__file__).resolve().parents[2] / "XAIExplain" / "XAIExplain.py"


def photograph(case: str, path: Path, method: str = "LRP (relevance)", target: str = "lesion (together)") -> None:
    """Explain a bundled case in the panel and write a picture of the window.

    Parameters
    ----------
    case : str
        Name of a bundled case.
    path : Path
        The PNG.
    method, target : str
        As the panel's lists call them.
    """
    from Testing.Host import Host

    host = Host(size=(1500, 950), home=tempfile.mkdtemp(prefix="xaiexplain-demo-"))
    import slicer

    slicer.app.settings().setValue("XAIExplain/Interpreter", sys.executable)
    widget = host.loadModule(MODULE)
    try:
        explain_in(host, widget, case, method, target)
        host.screenshot(path)
    finally:
        widget.cleanup()
        host.quit()


def explain_in(host: Any, widget: Any, case: str, method: str, target: str) -> None:
    """The clicks of a user: example, method, target, Apply."""
    desk = widget.desk
    host.wait(lambda: case in desk.catalog.cases or desk.engineError(), 120, "the engine does not start")
    widget.logic.loadCase(desk.catalog.cases[case])
    host.wait(lambda: desk.model.info is not None, 60, "the model is not loaded")
    host.clickRow(desk.method.ui.methodTree, method)
    combo = desk.target.ui.targetComboBox
    titles = [combo.itemText(index) for index in range(combo.count)]
    host.setCombo(combo, next(title for title in titles if title.startswith(target)))
    stride = desk.method.form.editors.get("stride")
    if stride is not None:
        for spin in stride.spins:
            spin.setValue(4)
    button = desk.run.ui.applyButton
    host.wait(lambda: button.enabled, 60, "Apply stays disabled")
    host.click(button)
    host.wait(lambda: not widget.logic.busy, 300, "the run does not end")
    desk.parameterNode.hiddenPercent = 95
    host.click(desk.displayPanel.ui.renderCheckBox)
    host.wait(lambda: not widget.logic.display.pending, 60, "nothing is rendered")

"""Finding a method and setting it up: the tree, the search, the presets, and the time that a run will take."""

from __future__ import annotations

from typing import Any

import pytest


def rows(panel: Any, wanted: Any = lambda item: True) -> list[tuple[int, str, str]]:
    """(depth, first column, second column) of the rows that are not hidden."""
    found = []

    def visit(item: Any, depth: int) -> None:
        for index in range(item.childCount()):
            child = item.child(index)
            if not child.isHidden() and wanted(child):
                found.append((depth, child.text(0), child.text(1)))
            visit(child, depth + 1)

    visit(panel.desk.method.ui.methodTree.invisibleRootItem(), 0)
    return found


def search(panel: Any, text: str) -> list[str]:
    panel.host.type(panel.desk.method.ui.methodSearchEdit, text)
    return [title for depth, title, _cost in rows(panel) if depth == 1]


def press(panel: Any, key: str, widget: Any = None) -> None:
    from PySide6 import QtCore, QtTest

    widget = widget or panel.host.window.focusWidget()
    QtTest.QTest.keyClick(widget, getattr(QtCore.Qt, "Key_" + key))
    panel.host.processEvents()


@pytest.fixture(autouse=True)
def searchedForNothing(panel: Any) -> None:
    panel.node.method = "grad_cam"
    panel.host.processEvents()
    search(panel, "other")
    panel.desk.method.ui.methodSearchEdit.clear()


# -- the tree


def test_methods_stand_under_their_families_with_their_cost(panel: Any) -> None:
    assert rows(panel) == [
        (0, "Backpropagation (2)", ""), (1, "Grad-CAM", "2 passes"), (1, "Gradient", "2 passes"),
        (0, "Perturbation (2)", ""), (1, "SHAP", "2 passes"), (1, "Occlusion", "380 passes"),
    ]  # fmt: skip
    headings = [depth for depth, *_rest in rows(panel, lambda item: item.isExpanded())]
    assert headings == [0], "only the family of the chosen method is open"


def test_a_click_chooses_a_method_and_a_heading_cannot_be_chosen(panel: Any) -> None:
    panel.chooseMethod("Occlusion")
    assert panel.node.method == "occlusion"
    tree = panel.desk.method.ui.methodTree
    panel.host.clickRow(tree, "Backpropagation (2)")
    assert panel.node.method == "occlusion"
    assert tree.currentItem().text(0) == "Occlusion", "the mark stays on the method"
    family = tree.currentItem().parent()
    panel.host.clickRow(tree, "Perturbation (2)")
    assert not family.isExpanded()
    panel.desk.refresh()
    assert not family.isExpanded(), "what the user has closed stays closed"
    panel.host.clickRow(tree, "Perturbation (2)")
    assert family.isExpanded()
    assert tree.currentItem().text(0) == "Occlusion"


def test_a_scenes_method_is_marked_and_seen(panel: Any) -> None:
    panel.node.method = "shap"
    panel.host.processEvents()
    tree = panel.desk.method.ui.methodTree
    assert tree.currentItem().text(0) == "SHAP"
    assert tree.viewport().rect.contains(tree.visualItemRect(tree.currentItem()).center())


@pytest.mark.parametrize(
    ("text", "found"),
    [("grad", ["Grad-CAM", "Gradient"]), ("perturb", ["SHAP", "Occlusion"]), ("CAM back", ["Grad-CAM"]),
     ("zisserman", ["Gradient"]), ("agnostic", ["Grad-CAM", "Gradient", "SHAP", "Occlusion"]), ("says what", [])],
)  # fmt: skip
def test_search_by_name_family_author_and_kind(panel: Any, text: str, found: list[str]) -> None:
    assert search(panel, text) == found
    assert panel.desk.method.ui.noMethodLabel.visible == (not found)
    assert panel.node.method == "grad_cam", "looking is not choosing"
    panel.desk.method.ui.methodSearchEdit.clear()
    assert len(rows(panel)) == 6
    assert not panel.desk.method.ui.noMethodLabel.visible


def test_the_tree_by_keyboard(panel: Any) -> None:
    edit = panel.desk.method.ui.methodSearchEdit
    edit.setFocus()
    search(panel, "perturb")
    press(panel, "Return", edit)
    assert panel.node.method == "shap"
    tree = panel.desk.method.ui.methodTree
    press(panel, "Down", tree)
    assert panel.node.method == "occlusion"
    press(panel, "Up", tree)
    assert panel.node.method == "shap"
    search(panel, "no such thing")
    press(panel, "Return", edit)
    assert panel.node.method == "shap"


def test_card_gives_the_cost_the_kind_and_the_caution(panel: Any) -> None:
    panel.chooseMethod("Occlusion")
    text = panel.desk.method.ui.cardLabel.text
    for word in ("Says what it does.", "post hoc", "model-agnostic", "local", "Cost:", "2 forward passes.", "Beware:",
                 "It is coarse.", "Nobody, Journal, 2020"):  # fmt: skip
        assert word in text


# -- presets


def test_presets_set_the_pace_and_leave_the_rest(panel: Any) -> None:
    panel.addVolume()
    panel.chooseMethod("Occlusion")
    form = panel.desk.method.form
    panel.host.setCombo(form.editors["fill"].combo, "blur")
    quick, thorough = form.presetButtons["quick"], form.presetButtons["thorough"]
    assert quick.toolTip == "Set window 16, batch 8; what else you chose stays."
    assert not quick.checked
    panel.host.click(quick)
    assert form.changes() == {"window": 16, "fill": "blur", "batch": 8}
    assert (quick.checked, thorough.checked) == (True, False)
    panel.host.click(thorough)
    assert form.changes() == {"window": [4, 4, 2], "fill": "blur", "batch": 64}
    assert (quick.checked, thorough.checked) == (False, True)
    panel.host.click(thorough)
    assert thorough.checked, "a second click changes nothing"
    panel.wait(lambda: panel.desk.run.ui.applyButton.enabled, "not ready")
    panel.apply()
    assert panel.requests("explain")[0]["parameters"] == {"window": [4, 4, 2], "fill": "blur", "batch": 64}
    form.editors["window"].spins[0].setValue(5)
    assert not thorough.checked
    panel.host.click(form.resetButton)
    assert form.changes() == {}


def test_a_method_of_one_pace_has_no_preset_buttons(panel: Any) -> None:
    panel.chooseMethod("SHAP")
    assert panel.desk.method.form.presetButtons == {}


# -- layers


def typed(panel: Any, text: str) -> Any:
    editor = panel.desk.method.form.editors["layer"]
    panel.host.type(editor.combo.lineEdit(), text)
    press(panel, "Return", editor.combo.lineEdit())
    return editor


def test_a_layer_is_found_by_a_part_of_its_name(panel: Any) -> None:
    panel.addVolume()
    panel.wait(lambda: panel.desk.run.ui.applyButton.enabled, "not ready")
    editor = panel.desk.method.form.editors["layer"]
    panel.host.click(editor.button)
    panel.wait(lambda: editor.combo.count == 3, "no layers")
    assert typed(panel, "NV2").combo.currentText == "conv2 (4 x 5 x 4)"
    assert panel.desk.method.parameters() == {"layer": "conv2"}
    assert typed(panel, "dense").combo.currentText == "conv2 (4 x 5 x 4)", "no such layer: nothing changes"
    assert typed(panel, "chosen").value() is None


def test_a_layer_can_be_typed_while_there_is_no_list(panel: Any) -> None:
    panel.addVolume()
    panel.chooseMethod("Gradient")
    panel.chooseMethod("Grad-CAM")  # a new form
    assert typed(panel, "features.conv0").value() == "features.conv0"
    assert panel.desk.method.parameters() == {"layer": "features.conv0"}


# -- the time


def time_text(panel: Any) -> str:
    label = panel.desk.run.ui.estimateLabel
    return str(label.text) if label.visible else ""


def ready(panel: Any) -> None:
    panel.addVolume()
    panel.chooseMethod("Occlusion")
    panel.wait(lambda: time_text(panel) == "Takes about 20 s.", "no time")


def test_time_is_told_before_apply_and_follows_the_parameters(panel: Any) -> None:
    assert time_text(panel) == ""
    ready(panel)
    assert "400 forward passes" in panel.desk.run.ui.estimateLabel.toolTip
    asked = len(panel.requests("estimate"))
    for value in (8, 16, 24):
        panel.desk.method.form.editors["batch"].widget.setValue(value)
    panel.wait(lambda: time_text(panel) == "Takes about 2 min.", "the time does not follow")
    requests = panel.requests("estimate")
    assert len(requests) == asked + 1, "asked once, when nothing changes any more"
    assert requests[-1]["parameters"] == {"batch": 24}
    assert requests[-1]["method"] == "occlusion"


def test_time_is_not_shown_where_there_is_none(panel: Any) -> None:
    panel.order("no estimate")
    panel.addVolume()
    panel.wait(lambda: panel.requests("estimate"), "not asked")
    panel.wait(lambda: panel.logic.estimator._job is None and time_text(panel) == "", "the label stays")
    assert panel.message == ""


def test_a_run_hides_the_time_and_asks_for_it_anew(panel: Any) -> None:
    ready(panel)
    panel.order("slow")
    panel.press()
    panel.wait(lambda: panel.logic.busy, "not busy")
    assert time_text(panel) == ""
    panel.host.click(panel.desk.run.ui.applyButton)
    panel.wait(lambda: not panel.logic.busy, "not cancelled")
    panel.order("")
    panel.wait(lambda: time_text(panel) == "Takes about 20 s.", "no time after the run")


def test_time_is_asked_of_no_large_volume_that_was_not_written(panel: Any, monkeypatch: Any) -> None:
    from XAIExplainPanels import estimator

    monkeypatch.setattr(estimator, "MOST_VOXELS", 100)
    panel.addVolume()
    panel.wait(lambda: panel.desk.run.ui.applyButton.enabled, "not ready")
    panel.host.wait(lambda: not panel.desk.run._timer.active, 5, "the timer runs on")
    assert panel.requests("estimate") == []
    panel.host.click(panel.desk.modelPanel.ui.predictButton)
    panel.wait(lambda: time_text(panel), "no time though the file is there")


def test_closing_the_scene_or_the_engine_leaves_no_open_question(panel: Any) -> None:
    panel.order("slow estimate")
    panel.addVolume()
    panel.wait(lambda: panel.requests("estimate"), "not asked")
    panel.host.closeScene()
    assert time_text(panel) == ""
    panel.addVolume()
    panel.wait(lambda: len(panel.requests("estimate")) > 1, "not asked")
    panel.logic.engine.stop()
    panel.host.processEvents()
    panel.order("")
    panel.desk.restartEngine()
    panel.wait(lambda: time_text(panel), "no time from the new engine")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "less than a second"), (3.4, "about 3 s"), (23, "about 25 s"), (200, "about 3 min"), (8000, "about 2 h")],
)
def test_times_are_as_rough_as_they_are_known(panel: Any, seconds: float, text: str) -> None:
    from XAIExplainPanels.figures import roughly

    assert roughly(seconds) == text

"""The figures of a run: what it explained, how far it can be believed, and what it cost."""

from html import escape

from slicer.i18n import tr as _

from XAIExplainPanels import record
from XAIExplainPanels.figures import duration, figure
from XAIExplainPanels.modelState import shownName
from XAIExplainPanels.panel import Panel

GOOD_COMPLETENESS = 0.05


class ResultPanel(Panel):
    """Reads the record that the shown map carries, so that it also speaks of a scene that was opened."""

    uiFile = "resultPanel.ui"

    def refresh(self):
        mapNode = self.node.mapVolume if self.node is not None else None
        rows, warnings = figures(mapNode) if record.isMap(mapNode) else ([], [])
        self.widget.visible = bool(rows)
        text = "<table cellspacing='0' cellpadding='1'>" + "".join(
            "<tr><td>{}&nbsp;&nbsp;&nbsp;</td><td>{}</td></tr>".format(escape(name), escape(value))
            for name, value in rows) + "</table>"
        text += "".join("<p style='margin-top:4px; margin-bottom:0px'><b>{}</b> {}</p>".format(
            _("Beware:"), escape(warning)) for warning in warnings)
        if self.ui.figuresLabel.text != text:
            self.ui.figuresLabel.text = text


def figures(mapNode):
    """Rows (name, value) of a map, and its warnings."""
    found = record.readRecord(mapNode)
    diagnostics = found.get("diagnostics") or {}
    rows = [
        (_("Volume"), mapNode.GetAttribute("XAIExplain.Volume") or ""),
        (_("Model"), shownName(mapNode.GetAttribute("XAIExplain.Model") or "")),
        (_("Explained"), explainedText(mapNode, found)),
        (_("Method"), methodText(mapNode)),
    ]
    if number(diagnostics.get("score")) is not None:
        score = "{} {}".format(figure(diagnostics["score"]), diagnostics.get("score_units") or "").strip()
        if number(diagnostics.get("baseline_score")) is not None:
            score += _(" (with nothing to see: {baseline})").format(baseline=figure(diagnostics["baseline_score"]))
        rows.append((_("Score of the network"), score))
    error = number(diagnostics.get("completeness_error"))
    if error is not None:
        verdict = _("adds up") if abs(error) <= GOOD_COMPLETENESS else _("does not add up: take more steps")
        text = _("{error:.2g} % ({verdict})").format(error=100 * error, verdict=verdict)
        rows.append((_("Completeness error"), text))
    if number(diagnostics.get("seconds")) is not None:
        rows.append((_("Time"), duration(diagnostics["seconds"])))
    memory = number(diagnostics.get("peak_bytes") or diagnostics.get("peak_memory"))
    if memory is not None:
        rows.append((_("Peak memory"), _("{size:.2f} GB").format(size=memory / 1024**3)))
    warnings = diagnostics.get("warnings") or []
    return [row for row in rows if row[1]], [warnings] if isinstance(warnings, str) else list(map(str, warnings))


def explainedText(mapNode, found):
    target = mapNode.GetAttribute("XAIExplain.Target")
    predicted = ((found.get("prediction") or {}).get("predicted") or {}).get("name", "")
    return target or (_("{name}, the network's answer").format(name=predicted) if predicted else "")


def methodText(mapNode):
    title = mapNode.GetAttribute("XAIExplain.Title") or mapNode.GetAttribute("XAIExplain.Method") or ""
    parameters = mapNode.GetAttribute("XAIExplain.Parameters") or "{}"
    return title if parameters == "{}" else "{} {}".format(title, parameters.replace('"', ""))


def number(value):
    """A float, or None for what is none."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

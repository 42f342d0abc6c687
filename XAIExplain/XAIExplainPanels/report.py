"""Reports: what a map says and how it was made, in words and pictures, as HTML or PDF that stands alone."""

import json
import os
import tempfile
import time

import numpy as np
import slicer
from slicer.i18n import tr as _

from XAIExplainLib.errors import XAIError
from XAIExplainPanels import capture, printing, record, reportPage
from XAIExplainPanels.answerBars import answerRows
from XAIExplainPanels.figures import duration, figure
from XAIExplainPanels.methodCard import taxonomyWords
from XAIExplainPanels.modelState import shownName
from XAIExplainPanels.reportFigures import figureTables
from XAIExplainPanels.resultPanel import GOOD_COMPLETENESS, number
from XAIExplainPanels.strength import peakPosition, stateOf
from XAIExplainPanels.usersViews import UsersViews

SURVEY = ("B.H.M. van der Velden, H.J. Kuijf, K.G.A. Gilhuijs, M.A. Viergever: Explainable artificial intelligence "
          "(XAI) in deep learning-based medical image analysis. Medical Image Analysis 79 (2022) 102470.")
LONGEST = 120


class Reporter:
    """
    Writes reports.

    :param logic: the module's logic: its display draws the pictures, its catalog has the methods' cards.
    """

    def __init__(self, logic):
        self.logic = logic
        self.written = ""  # the last report of this scene

    def write(self, path, mapNodes, title="", notes="", in3D=True):
        """
        Write a page for each map, with pictures of the user's views, which are left as they were.

        :param path: ends in .html or .pdf.
        :param title: what the case is called in the report; no name is taken from the scene.
        :param notes: what the reader is to know besides.
        :raises XAIError: if there is nothing to report, or the file cannot be written.
        """
        mapNodes = [node for node in mapNodes if record.isMap(node) and stateOf(node) is not None]
        if not mapNodes:
            raise XAIError(_("There is no map to report."), _("Explain an answer, and tick its map."))
        if self.logic.busy:
            raise XAIError(_("An explanation is running."), _("Wait for it, or cancel it."))
        if not path.lower().endswith((".html", ".htm", ".pdf")):
            raise XAIError(_("A report is a file that ends in .html or .pdf."), _("Give its name such an ending."))
        settings = self.logic.getParameterNode()
        pages = []
        display, shown = self.logic.display, settings.mapVolume
        with UsersViews(self.logic) as views:
            try:
                for mapNode in mapNodes:
                    pictures = capture.photograph(views, display, mapNode, settings, in3D)
                    pages.append(reportPage.page(self.describe(mapNode, pictures, title, notes)))
            finally:
                if record.isMap(shown):
                    display.update(shown, settings)
        heading = title or _("Report of XAIExplain")
        if path.lower().endswith(".pdf"):
            writeBeside(path, lambda beside: printing.writePdf(
                [reportPage.document([page], heading, forPrinter=True) for page in pages], beside, heading))
        else:
            writeBeside(path, lambda beside: writeText(reportPage.document(pages, heading), beside))
        self.written = path
        return path

    def saveScene(self, path):
        """
        Save the scene with all its data in one file (.mrb).

        :raises XAIError: if that fails.
        """
        if not slicer.util.saveScene(path):
            raise XAIError(
                _("The scene could not be saved to {path}.").format(path=path),
                _("Choose another folder, make room on the disk, and try again."))

    def describe(self, mapNode, pictures=(), title="", notes=""):
        """All that a page says of a map, as texts."""
        found = record.readRecord(mapNode)
        card = self._card(mapNode, found)
        prediction = found.get("prediction") or {}
        warnings = (found.get("diagnostics") or {}).get("warnings") or []
        warnings = [warnings] if isinstance(warnings, str) else [str(warning) for warning in warnings]
        name = explained(mapNode, found)
        return {
            "heading": title or caseTitle(mapNode) or _("A case without a name"),
            "case": _("Why did the network answer {answer}? {method}").format(
                answer=name, method=mapNode.GetAttribute("XAIExplain.Title") or ""),
            "title": mapNode.GetAttribute("XAIExplain.Title") or mapNode.GetAttribute("XAIExplain.Method"),
            "pictures": list(pictures),
            "answer": answerRows(prediction),
            "asked": [geometryText(mapNode), modelSentence(mapNode)],
            "scale": legend(mapNode),
            "words": mapWords(mapNode, bool(pictures)) + figureWords(found.get("diagnostics") or {}),
            "warnings": warnings + ([card["caution"]] if card.get("caution") else []),
            "figures": figureTables(mapNode),
            "card": cardWords(card),
            "made": self._made(mapNode, found),
            "notes": notes,
            "foot": [
                _("Not for diagnosis or treatment. A map shows what the network used, not what is there."),
                _("Method: {citation}").format(citation=card["citation"]) if card.get("citation") else "",
                _("Survey: {citation}").format(citation=SURVEY),
                _("Written on {date} with XAIExplain in 3D Slicer {version}.").format(
                    date=time.strftime("%Y-%m-%d %H:%M %z"), version=slicer.app.applicationVersion),
            ],
        }

    def _card(self, mapNode, found):
        """The method's card: the engine's, or what the map itself remembers of it."""
        known = self.logic.catalog.methods.get(mapNode.GetAttribute("XAIExplain.Method"))
        provenance = found.get("provenance") or {}
        return known or {key: provenance[key] for key in ("citation", "caution") if provenance.get(key)}

    def _made(self, mapNode, found):
        """Rows (name, value): parameters and versions."""
        rows = [(_("Explained"), explained(mapNode, found))]
        rows += [(name, valueText(value)) for name, value in parameters(mapNode, found).items()]
        provenance = found.get("provenance") or {}
        ready = self.logic.engine.ready or {}
        rows += [
            (_("Network's digest"), str(provenance.get("model_fingerprint") or "")[:16]),
            (_("Computed"), str(provenance.get("created") or "")),
            ("XAIExplain", str(provenance.get("XAIExplainLib") or ready.get("version") or "")),
            ("PyTorch", str(provenance.get("torch") or ready.get("torch") or "")),
            ("Python", str(provenance.get("python") or ready.get("python") or "")),
            ("3D Slicer", str(slicer.app.applicationVersion)),
        ]
        return rows


def caseTitle(mapNode):
    """The name of a bundled case; no other name is taken from the scene, since it may be a person's."""
    volumeNode = record.explainedVolume(mapNode)
    return volumeNode.GetName() if volumeNode is not None and volumeNode.GetAttribute("XAIExplain.Case") else ""


def explained(mapNode, found):
    """The answer that is explained."""
    predicted = ((found.get("prediction") or {}).get("predicted") or {}).get("name", "")
    return mapNode.GetAttribute("XAIExplain.Target") or predicted or _("as it did")


def geometryText(mapNode):
    """Size and place of the grid, which is the volume's."""
    dimensions, spacing = mapNode.GetImageData().GetDimensions(), mapNode.GetSpacing()
    text = _("Asked about {voxels} voxels of {spacing} mm.").format(
        voxels=" x ".join(str(count) for count in dimensions),
        spacing=" x ".join("{:.3g}".format(size) for size in spacing))
    if mapNode.GetParentTransformNode() is not None:
        text += " " + _("A transform places them.")
    return text


def modelSentence(mapNode):
    model = mapNode.GetAttribute("XAIExplain.Model") or ""
    return _("Network: {name}.").format(name=shownName(model)) if model else ""


def mapWords(mapNode, isPictured):
    """Where the map is strongest, and how it is drawn."""
    position, value = peakPosition(mapNode)
    units = mapNode.GetAttribute("XAIExplain.Units") or ""
    if position is None:
        return [_("The map is zero everywhere: nothing in this volume speaks for or against the answer.")]
    place = ", ".join("{} {:.0f}".format(("LR", "PA", "IS")[axis][position[axis] > 0], abs(position[axis]))
                      for axis in range(3))
    words = [_("It is strongest at {place} mm, with {value} {units}.").format(
        place=place, value=figure(value), units=units)]
    if isPictured:
        words.append(_("The slices cut through that place; four short lines point to it."))
    if mapNode.GetAttribute("XAIExplain.Signed") == "true":
        words.append(_("Positive values speak for the answer, negative ones against it."))
    drawn = shareDrawn(mapNode)
    if drawn is not None:
        words.append(_("The strongest {share:.2g} % of the voxels are drawn.").format(share=100 * drawn))
    return words


def figureWords(diagnostics):
    """The figures of the run as sentences."""
    words = []
    score = number(diagnostics.get("score"))
    if score is not None:
        text = _("The network's score is {score} {units}").format(
            score=figure(score), units=diagnostics.get("score_units") or "").strip()
        baseline = number(diagnostics.get("baseline_score"))
        if baseline is not None:
            text += _("; with nothing to see it would be {score}").format(score=figure(baseline))
        words.append(text + ".")
    error = number(diagnostics.get("completeness_error"))
    if error is not None:
        words.append((
            _("The map's parts add up to the score; {error:.2g} % are missing or too much.")
            if abs(error) <= GOOD_COMPLETENESS else
            _("The map's parts do not add up to the score: {error:.2g} % are missing or too much. Take more steps.")
        ).format(error=100 * abs(error)))
    seconds = number(diagnostics.get("seconds"))
    if seconds is not None:
        words.append(_("It took {time}.").format(time=duration(seconds)))
    return words


def cardWords(card):
    """What the method is; its caution stands with the warnings."""
    taxonomy = card.get("taxonomy") or {}
    kinds = [taxonomyWords().get(taxonomy.get(key), taxonomy.get(key)) for key in ("basis", "scope", "reach")]
    kinds.append(_("cost: {cost}").format(cost=card["cost"]) if card.get("cost") else None)
    checked = _("Checked: {proof}.").format(proof=card["proof"]) if card.get("proof") else ""
    return [card.get("summary") or "", ", ".join(str(kind) for kind in kinds if kind), checked]


def parameters(mapNode, found):
    """All parameters of the run where the record has them, else those that were changed."""
    if isinstance(found.get("parameters"), dict):
        return found["parameters"]
    try:
        changed = json.loads(mapNode.GetAttribute("XAIExplain.Parameters") or "{}")
    except ValueError:
        return {}
    return changed if isinstance(changed, dict) else {}


def valueText(value):
    """A parameter's value; of a file, only the name without its folder."""
    if value is None:
        return _("chosen by the method")
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, (list, tuple)):
        return ", ".join(valueText(one) for one in value)
    text = str(value)
    if "/" in text or "\\" in text:
        return _("a file")  # its name may be a person's
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."


def legend(mapNode):
    """The color scale as it is drawn: a picture, its ends and units; None where nothing is drawn."""
    display = mapNode.GetDisplayNode()
    table = display.GetColorNode().GetLookupTable() if display is not None and display.GetColorNode() else None
    if table is None:
        return None
    low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    colors = np.array([table.GetTableValue(index) for index in range(table.GetNumberOfTableValues())])
    if not len(colors) or not high > low:
        return None
    at = np.linspace(low, high, 300)
    row = colors[np.clip(((at - low) / (high - low) * len(colors)).astype(int), 0, len(colors) - 1)]
    drawn = row[:, 3] > 0
    if display.GetApplyThreshold():
        drawn &= at >= display.GetLowerThreshold() - 1e-6 * (high - low)
    pixels = np.where(drawn[:, None], row[:, :3] * 255, 255).astype(np.uint8)
    return {"png": capture.pngBytes(np.repeat(pixels[None], 12, axis=0)), "low": figure(low), "high": figure(high),
            "units": mapNode.GetAttribute("XAIExplain.Units") or ""}


def shareDrawn(mapNode):
    """The share of all voxels that the display draws, or None where that cannot be told."""
    display = mapNode.GetDisplayNode()
    if display is None or not display.GetLowerThreshold() > 0:
        return None
    array = slicer.util.arrayFromVolume(mapNode)
    return float(np.count_nonzero(np.abs(array) >= display.GetLowerThreshold()) / array.size)


def writeText(text, path):
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def writeBeside(path, write):
    """
    Let `write` make a file beside `path`, and rename it when it is whole.

    :raises XAIError: if that fails; a file that was there is then as it was.
    """
    path = os.path.abspath(path)
    beside = None
    try:
        handle, beside = tempfile.mkstemp(
            prefix=".xaiexplain-", suffix=os.path.splitext(path)[1], dir=os.path.dirname(path))
        os.close(handle)
        write(beside)
        if os.path.getsize(beside) == 0:
            raise OSError(_("nothing was written"))
        readable = 0o666 & ~_mask()
        os.chmod(beside, readable)
        os.replace(beside, path)
    except OSError as error:
        raise XAIError(
            _("The report could not be written to {path}: {reason}.").format(
                path=path, reason=error.strerror or error),
            _("Choose another folder, close the file if another program shows it, and try again."),
        ) from error
    finally:
        if beside is not None and os.path.exists(beside):
            os.remove(beside)


def _mask():
    mask = os.umask(0)
    os.umask(mask)
    return mask

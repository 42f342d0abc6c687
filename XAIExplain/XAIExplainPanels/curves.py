"""Insertion and deletion of results: asked of the engine, and put into the scene as tables and charts."""

import os

import slicer
from slicer.i18n import tr as _

from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainPanels import plots, record, tables
from XAIExplainPanels.agreement import asError
from XAIExplainPanels.compareLayouts import MOST
from XAIExplainPanels.comparison import labels
from XAIExplainPanels.explainer import GIGABYTE
from XAIExplainPanels.figures import figure
from XAIExplainPanels.waiting import wait

KINDS = ("deletion", "insertion")
AREAS = "areas"
PROBABILITY, SCORE = "probability", "score"
BASELINES = ("blur", "mean", "0")
BAND_STEPS = 100  # so many strokes make the band of chance


class Curves:
    """
    Curves of results that explain one answer of one network; one request is open at a time.

    :param engine: who computes.
    :param folder: the exchange folder.
    """

    def __init__(self, engine, folder):
        self.engine = engine
        self.folder = folder
        self._job = None
        self._onFailed = None
        self._number = 0

    @property
    def busy(self):
        """Whether curves are being computed."""
        return self._job is not None

    def measure(self, maps, baseline="blur", quantity=PROBABILITY, consent=False, memory=0.0, seed=0, onFinished=None,
                onFailed=None, onProgress=None, **settings):
        """
        Take away from the volume what each map calls important, part by part, and ask the network on the way; then give
        it back in the same order. Random orders are the level of chance.

        :param maps: one to six results of one volume that explain the same answer of the same network.
        :param baseline: what is seen instead: "blur", "mean" or a number.
        :param quantity: "probability" or "score"; a target without a probability has the score alone.
        :param settings: "regions", "steps", "chances", "partition", as the engine takes them.
        :param onFinished: called with the charts (deletion, insertion); without callbacks they are waited for and
            returned.
        :param onFailed: called with an XAIError.
        :param onProgress: called with the engine's progress event.
        :raises XAIError: if these results have no curves in common.
        """
        volumes, model, target = checked(maps)
        if self.busy:
            raise XAIError(_("Curves are being computed."), _("Wait for them, or cancel them."))
        files = [self.folder.volumeFile(node) for node in volumes]
        mapFiles = [self.folder.volumeFile(node) for node in maps]
        ids = [node.GetID() for node in maps]
        outcome = {}
        self._number += 1
        number = self._number

        def finished(answer):
            if number != self._number:
                return
            self._job = None
            try:
                outcome["charts"] = receive(ids, answer, quantity)
            except XAIError as error:
                failed(error)
                return
            if onFinished:
                onFinished(outcome["charts"])

        def failed(error):
            self._job = None
            outcome["error"] = error
            if onFailed:
                onFailed(error)

        def onError(event):
            if number == self._number:
                failed(asError(event))

        def progressed(event):
            if onProgress and number == self._number:
                onProgress(event)

        fields = {"memory": int(memory * GIGABYTE)} if memory else {}
        self._onFailed = failed
        self._job = self.engine.request(
            "curves", finished, onError, progressed, volumes=files, model=model, consent=consent, maps=mapFiles,
            target=target, baseline=baseline, seed=int(seed), **fields, **settings)
        if onFinished or onFailed:
            return self._job
        wait(self.engine, lambda: outcome)
        if "error" in outcome:
            raise outcome["error"]
        return outcome["charts"]

    def cancel(self):
        """Stop what runs; its onFailed is called when the engine has let go."""
        if self._job is not None:
            self.engine.cancel(self._job)

    def abandon(self):
        """Stop what runs, because the scene that it is about is gone."""
        if self._job is not None:
            self.cancel()
            self._number += 1
            self._onFailed(CancelledError())


def checked(maps):
    """
    What all of these maps were asked for: volumes, model and target.

    :raises XAIError: if they were not asked for the same, or it cannot be asked again.
    """
    if not 1 <= len(maps) <= MOST:
        raise XAIError(_("{count} results are checked.").format(count=len(maps)),
                       _("Check one to {most} results of one volume.").format(most=MOST))
    found = []
    for mapNode in maps:
        one = record.asked(mapNode)
        if one is None:
            raise XAIError(_("{name} does not say which answer of a network it explains.").format(
                name=mapNode.GetName()), _("Check results of methods; explain older ones again."))
        if any(volume is None for volume in one[0]):
            raise XAIError(_("The volume of a result is no longer in the scene."),
                           _("Check only results that have one."))
        found.append(one)
    first = found[0]
    for other in found[1:]:
        if [node.GetID() for node in other[0]] != [node.GetID() for node in first[0]] or other[1] != first[1]:
            raise XAIError(_("These results are of different volumes or networks."),
                           _("Check results of one network about one volume."))
        if other[2] != first[2]:
            raise XAIError(_("These results explain different answers, so their curves have no scale in common."),
                           _("Check results of one answer."))
    path = first[2].get("region") if isinstance(first[2], dict) else None
    if path and not os.path.isfile(path):
        raise XAIError(_("The region that these results are about is no longer known."), _("Explain it again."))
    return first


def receive(ids, answer, quantity):
    """Put the engine's answer into the scene; returns the charts, deletion and insertion."""
    maps = [slicer.mrmlScene.GetNodeByID(nodeID) for nodeID in ids]
    if any(mapNode is None or record.explainedVolume(mapNode) is None for mapNode in maps):
        raise XAIError(_("A result was deleted while its curves were being computed."), _("Choose the results again."))
    names, colors = labels(maps, plots.NAME_LENGTH), plots.colorsOf(maps)
    if PROBABILITY not in answer["deletion"][0]["values"]:
        quantity = SCORE
    charts = [chartOf(kind, maps, names, colors, answer, quantity) for kind in KINDS]
    areasTable(maps, names, answer, quantity)
    return charts


def chartOf(kind, maps, names, colors, answer, quantity):
    """One chart, with the table that it is drawn from."""
    curves, chance = answer[kind], answer["chance"].get(kind)
    volumeName = record.explainedVolume(maps[0]).GetName()
    name = (_("{name} deletion") if kind == "deletion" else _("{name} insertion")).format(name=volumeName)
    columns, values, series = [], [], []
    if chance:
        band, mean = "{} \u00b1 SD".format(_("Chance")), _("Chance")
        across, along = bandOf(chance, quantity)
        columns += [_("{name} share").format(name=band), band, _("{name} share").format(name=mean), mean]
        values += [across, along, chance["shares"], chance["mean"][quantity]]
        series += [
            plots.Series(band, band, columns[0], plots.BAND, width=5),
            plots.Series(_("{name}: {area}").format(name=mean, area=areaText(chance["areas"][quantity])), mean,
                         columns[2], plots.GRAY, dashed=True)]
    for mapNode, label, color, curve in zip(maps, names, colors, curves):
        share = _("{name} share").format(name=label)
        columns += [share, label]
        values += [curve["shares"], curve["values"][quantity]]
        title = _("{name}: {area}").format(name=label, area=areaText(curve["areas"][quantity]))
        series.append(plots.Series(title, label, share, color, mapNode, width=3))
    length = max(len(column) for column in values)
    rows = [[column[place] if place < len(column) else column[-1] for column in values] for place in range(length)]
    table = tables.tableNode("curves " + kind, name, maps, columns, rows)
    isDeletion = kind == "deletion"
    chart = plots.chartNode(
        "curves " + kind, name, maps, table, series,
        title=_("Deletion: a good map makes it fall") if isDeletion else _("Insertion: a good map makes it rise"),
        xTitle=_("Share taken away") if isDeletion else _("Share given back"),
        yTitle=plots.quantityTitle(answer["target"], quantity, answer["units"]),
        xRange=(0.0, 1.0), yRange=(0.0, 1.0) if quantity == PROBABILITY else None)
    if not isDeletion:
        chart.SetAttribute("XAIExplain.Rises", "true")
    return chart


def areaText(area):
    return figure(area) if abs(area) >= 100 else "{:.2f}".format(area)


def bandOf(chance, quantity):
    """One line to and fro between the mean less and more a deviation, close enough to look like a band."""
    import numpy as np

    shares = np.linspace(0, 1, BAND_STEPS + 1)
    low, high = (np.interp(shares, chance["shares"], np.add(chance["mean"][quantity], np.multiply(
        sign, chance["deviation"][quantity]))) for sign in (-1, 1))
    ends = np.stack([low, high], 1)
    ends[1::2] = ends[1::2, ::-1]
    return np.repeat(shares, 2).tolist(), ends.reshape(-1).tolist()


def areasName(volumeNode):
    return _("{name} areas of insertion and deletion").format(name=volumeNode.GetName())


def areasTable(maps, names, answer, quantity):
    """The areas under the curves as a table of the scene."""
    rows = [[name, *(answer[kind][place]["areas"][quantity] for kind in KINDS)] for place, name in enumerate(names)]
    chance = answer["chance"]
    if chance:
        rows.append([_("(chance)"), *(chance[kind]["areas"][quantity] for kind in KINDS)])
        rows.append([_("(its deviation)"), *(chance[kind]["area_deviations"][quantity] for kind in KINDS)])
    return tables.tableNode(AREAS, areasName(record.explainedVolume(maps[0])), maps, [
        _("Area, {quantity}").format(quantity=_("probability") if quantity == PROBABILITY else _("score")),
        _("Deletion"), _("Insertion")], rows)

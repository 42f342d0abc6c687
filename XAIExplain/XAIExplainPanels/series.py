"""The same question about several classes, one after the other."""

from slicer.i18n import tr as _

from XAIExplainLib.errors import XAIError
from XAIExplainPanels.compareLayouts import MOST
from XAIExplainPanels.waiting import wait


class Series:
    """
    Asks about each class in turn; made by `ClassSeries.start`.

    :param ask: called with a target and callbacks; starts a run.
    :param targets: names of classes.
    :param onFinished: called with the maps, when all are there.
    :param onFailed: called with an XAIError; the maps made before it stay.
    :param onProgress: called with the engine's progress event, its fraction that of all classes.
    """

    def __init__(self, ask, targets, onFinished, onFailed, onProgress):
        self._ask = ask
        self.targets = list(targets)
        self.maps = []
        self.done = False
        self.error = None
        self._onFinished, self._onFailed, self._onProgress = onFinished, onFailed, onProgress

    def next(self):
        """Ask about the next class, or end."""
        if len(self.maps) == len(self.targets):
            self.done = True
            if self._onFinished:
                self._onFinished(self.maps)
            return
        try:
            self._ask(self.targets[len(self.maps)], onFinished=self._finished, onFailed=self._failed,
                      onProgress=self._progress)
        except XAIError as error:
            self._failed(error)

    def _finished(self, mapNode, _answer):
        self.maps.append(mapNode)
        self.next()

    def _failed(self, error):
        self.done, self.error = True, error
        if self._onFailed:
            self._onFailed(error)

    def _progress(self, event):
        if self._onProgress:
            place, count = len(self.maps), len(self.targets)
            fraction = (place + float(event.get("fraction") or 0)) / count
            elapsed = float(event.get("elapsed") or 0)
            message = _("{target} ({place} of {count})").format(
                target=self.targets[place], place=place + 1, count=count)
            self._onProgress({"fraction": fraction, "elapsed": elapsed, "message": message})


def start(logic, volumeNodes, targets, onFinished=None, onFailed=None, onProgress=None, **question):
    """
    Explain several classes by one method.

    :param logic: the module's logic.
    :param volumeNodes: the volume, and further channels.
    :param targets: two to six classes.
    :param question: model, method, parameters, consent, memory, seed, as in `explain`.
    :return: the series at once where there is a callback; else the maps, when all are there.
    :raises XAIError: if there are too few or too many classes; without a callback, also if a run fails.
    """
    if not 2 <= len(targets) <= MOST:
        raise XAIError(_("{count} classes were given.").format(count=len(targets)),
                       _("Give two to {most}.").format(most=MOST))

    def ask(target, **callbacks):
        logic.explain(volumeNodes[0], target=target, moreVolumeNodes=volumeNodes[1:], wait=False, **callbacks,
                      **question)

    series = Series(ask, targets, onFinished, onFailed, onProgress)
    series.next()
    if onFinished or onFailed:
        return series
    wait(logic.engine, lambda: series.done)
    if series.error is not None:
        raise series.error
    return series.maps

"""Whether the engine computes here what it computed where it was made: a bundled case, explained and compared."""

import math
import os

from slicer.i18n import tr as _

from XAIExplainPanels.figures import duration, figure, percent

QUESTION = {"volumes": ["enhancing-ring"], "model": "brain-lesion", "method": "grad_cam", "parameters": {}}
ANSWER = "enhancing"
PROBABILITY, SCORE = 0.9616, 2.7831
PEAK = (-26.875, 65.125, -25.625)  # LPS, mm
# Other processors and versions of PyTorch round otherwise; a wrong axis or model is off by far more.
PROBABILITY_TOLERANCE, SCORE_TOLERANCE, PEAK_TOLERANCE = 0.01, 0.02, 4.0


class SelfTest:
    """
    Asks the engine about a bundled case. Nothing in the scene is touched.

    :param engine: who is asked.
    :param folder: where the map is written; it is removed.
    """

    def __init__(self, engine, folder):
        self.engine = engine
        self.folder = folder
        self.running = False

    def start(self, onDone):
        """
        Ask; returns at once.

        :param onDone: called with whether it is right (None if it was stopped), and a sentence that says it.
        """
        if self.running:
            return
        self.running = True
        path = self.folder.mapFile()

        def end(isRight, sentence):
            self.running = False
            for ending in (".nrrd", ".json"):
                beside = path[: -len(".nrrd")] + ending
                if os.path.exists(beside):
                    os.remove(beside)
            onDone(isRight, sentence)

        def failed(event):
            if event.get("kind") == "cancelled":
                end(None, "")
            else:
                end(False, _("The self-test could not run: {message} {hint}").format(
                    message=event.get("message", ""), hint=event.get("hint", "")).strip())

        self.engine.request("explain", lambda answer: end(*judge(answer)), failed, output=path, **QUESTION)


def judge(answer):
    """Whether the engine's answer is the expected one, and a sentence with the figures."""
    prediction, diagnostics = answer.get("prediction") or {}, answer.get("diagnostics") or {}
    predicted = prediction.get("predicted") or {}
    shares = prediction.get("probabilities") or []
    share = float(shares[predicted["index"]]) if shares and predicted.get("index") is not None else 0.0
    score = float(diagnostics.get("score") or 0.0)
    place = (answer.get("peak") or {}).get("lps") or (math.inf,) * 3
    off = math.dist(place, PEAK)
    wrong = []
    if predicted.get("name") != ANSWER or abs(share - PROBABILITY) > PROBABILITY_TOLERANCE:
        wrong.append(_("the answer is {name} with {share} instead of {expected} with {percent}").format(
            name=predicted.get("name"), share=percent(share), expected=ANSWER, percent=percent(PROBABILITY)))
    if abs(score - SCORE) > SCORE_TOLERANCE * abs(SCORE):
        wrong.append(_("the score is {score} instead of {expected}").format(
            score=figure(score), expected=figure(SCORE)))
    if not off <= PEAK_TOLERANCE:
        wrong.append(_("the peak is {off:.0f} mm from its place").format(off=off) if math.isfinite(off)
                     else _("the map has no peak"))
    if wrong:
        return False, _("Not right: {what}. Do not trust the maps of this installation; copy the log and report it."
                        ).format(what="; ".join(wrong))
    return True, _("Right: the network answers {name} with {share} and a score of {score}, and the map's peak is "
                   "{off:.1f} mm from its place, as where it was made. It took {time}.").format(
        name=ANSWER, share=percent(share), score=figure(score), off=off,
        time=duration(diagnostics.get("seconds") or 0))

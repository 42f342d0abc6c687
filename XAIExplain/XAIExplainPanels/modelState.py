"""The network that is chosen: loaded by the engine, described, asked, and trusted or not."""

import os

from slicer.i18n import tr as _


class ModelState:
    """
    What is known about the chosen model.

    :param engine: who loads it.
    :param onChanged: called when anything here has changed.
    """

    def __init__(self, engine, onChanged):
        self.engine = engine
        self.onChanged = onChanged
        self.name = ""
        self.info = None
        self.error = None
        self.loading = False
        self.needsConsent = ""
        self.prediction = None
        self.predictedVolumes = None
        self.predicting = False
        self._consented = set()
        self._question = 0

    @property
    def consent(self):
        """Whether the user allowed this file to run code. It is never saved: a scene must not answer for its reader."""
        return self.name in self._consented

    @property
    def channels(self):
        return int((self.info or {}).get("channels") or 1)

    @property
    def classes(self):
        return [str(name) for name in (self.info or {}).get("classes") or []]

    @property
    def groups(self):
        return [str(name) for name in (self.info or {}).get("groups") or {}]

    def choose(self, name, again=False):
        """Load the model called `name`, unless it is the one that is loaded."""
        if name == self.name and not again:
            return
        self.name = name
        self.info = self.error = self.prediction = self.predictedVolumes = None
        self.needsConsent = ""
        self._question += 1
        self.loading = bool(name)
        if name:
            question = self._question
            self.engine.request(
                "load_model",
                lambda info: self._onInfo(question, info),
                lambda event: self._onError(question, event),
                model=name, consent=self.consent,
            )  # fmt: skip
        self.onChanged()

    def allow(self):
        """The user trusts the file."""
        self._consented.add(self.name)
        self.choose(self.name, again=True)

    def trust(self, name):
        """The user has agreed to load this file, elsewhere in the window."""
        self._consented.add(name)

    def predict(self, paths, volumeIDs):
        """Ask the network about the volumes."""
        question = self._question
        self.predicting, self.error = True, None
        self.engine.request(
            "predict",
            lambda answer: self._onPrediction(question, volumeIDs, answer),
            lambda event: self._onError(question, event),
            volumes=paths, model=self.name, consent=self.consent,
        )  # fmt: skip
        self.onChanged()

    def setPrediction(self, prediction, volumeIDs):
        """The answer that came with an explanation."""
        self.prediction, self.predictedVolumes = prediction, volumeIDs

    def forgetEngine(self):
        """Another engine process: everything must be asked again."""
        self.name, self.info, self.error, self.loading, self.predicting = "", None, None, False, False
        self.needsConsent = ""
        self._question += 1

    def _onInfo(self, question, info):
        if question == self._question:
            self.info, self.loading, self.error, self.needsConsent = info, False, None, ""
            self.onChanged()

    def _onPrediction(self, question, volumeIDs, answer):
        self.predicting = False
        if question == self._question:
            self.setPrediction(answer, volumeIDs)
        self.onChanged()

    def _onError(self, question, event):
        self.predicting = False
        if question == self._question:
            self.loading = False
            if asksConsent(event) and not self.consent:
                self.needsConsent = _("{message} {hint}").format(
                    message=event.get("message", ""), hint=_("Load it only if you trust where it comes from."))
            elif event.get("kind") != "cancelled":
                self.error = event
        self.onChanged()


def asksConsent(event):
    """Whether the engine refuses a file because it could run code."""
    if event.get("consent"):
        return True
    words = "{} {}".format(event.get("message", ""), event.get("hint", "")).lower()
    return event.get("kind") == "user" and "consent" in words


def shownName(name):
    """A model's name for people: of a file its own name, of a folder with model.json that of the folder."""
    if not isFile(name):
        return name
    folder, file = os.path.split(name)
    return os.path.basename(folder) if file == "model.json" else file


def isFile(name):
    """Whether the model is named by a path and not by a bundled name."""
    return bool(name) and (os.sep in name or "/" in name or os.path.splitext(name)[1] != "")

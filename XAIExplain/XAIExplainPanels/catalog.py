"""What the engine has to offer: methods, models and cases, asked once and kept."""


class Catalog:
    """
    The engine's lists.

    :param engine: who is asked.
    """

    QUESTIONS = ("methods", "models", "cases")

    def __init__(self, engine):
        self.engine = engine
        self.methods = {}
        self.models = {}
        self.cases = {}
        self.error = None
        self.loading = False
        self.modelsFolder = lambda: ""  # of the user's own models
        self._open = 0
        self._listeners = []

    @property
    def loaded(self):
        return bool(self.methods) and bool(self.models)

    def load(self, onLoaded=None):
        """Ask for what is missing; `onLoaded` is called when all answers are there, or one is an error."""
        if onLoaded:
            self._listeners.append(onLoaded)
        if self.loading:
            return
        self.loading, self.error = True, None
        self._open = len(self.QUESTIONS)
        for question in self.QUESTIONS:
            self.engine.request(
                question,
                lambda answer, question=question: self._onAnswer(question, answer),
                self._onError,
                **({"folder": self.modelsFolder()} if question == "models" else {}),
            )

    def setModels(self, answer):
        """The models, which have changed."""
        self.models = byName(answer, "models")

    def clear(self):
        """Forget all, because another engine answers now."""
        self.methods, self.models, self.cases = {}, {}, {}
        self.error, self.loading, self._open, self._listeners = None, False, 0, []

    def _onAnswer(self, question, answer):
        setattr(self, question, byName(answer, question))
        self._closeOne()

    def _onError(self, event):
        self.error = self.error or event
        self._closeOne()

    def _closeOne(self):
        self._open -= 1
        if self._open == 0:
            self.loading = False
            listeners, self._listeners = self._listeners, []
            for listener in listeners:
                listener()


def byName(answer, question):
    """
    The engine's list as a dict by name, or by path where an entry has one: what the engine is asked by. The list may be
    the answer, or lie in it under the question's name.
    """
    entries = answer.get(question, []) if isinstance(answer, dict) else answer
    return {entry.get("path") or entry["name"]: entry for entry in entries or []}

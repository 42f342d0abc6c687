"""How long a question will take, asked of the engine before the question itself."""

from XAIExplainLib.errors import XAIError

# Larger volumes are not written to disk for an estimate alone: that would stop the window for a moment.
MOST_VOXELS = 4_000_000


class Estimator:
    """
    Asks the engine for the time that an explanation will take; one question is open at a time.

    :param engine: who is asked.
    :param folder: where the volumes' files are.
    """

    def __init__(self, engine, folder):
        self.engine = engine
        self.folder = folder
        self._job = None
        self._question = 0

    def ask(self, volumeNodes, model, method, parameters, onAnswer, consent=False):
        """
        Ask; the answer to an earlier question is not waited for any more.

        :param onAnswer: called with the engine's answer (seconds, passes, basis), or with None if there is none.
        :return: whether it was asked: not while the engine is down, nor about a large volume that it has not read yet.
        """
        self.cancel()
        if not self.engine.alive or not all(self._canBeWritten(node) for node in volumeNodes):
            return False
        try:
            paths = [self.folder.volumeFile(node) for node in volumeNodes]
        except XAIError:
            return False
        question = self._question

        def answered(answer):
            if question == self._question:
                self._job = None
                onAnswer(answer)

        self._job = self.engine.request(
            "estimate", answered, lambda event: answered(None),
            volumes=paths, model=model, consent=consent, method=method, parameters=parameters,
        )  # fmt: skip
        return True

    def cancel(self):
        """Stop the question that is open; its answer goes nowhere."""
        self._question += 1
        job, self._job = self._job, None
        if job is not None:
            self.engine.cancel(job)

    def _canBeWritten(self, node):
        image = node.GetImageData()
        return image is not None and (image.GetNumberOfPoints() <= MOST_VOXELS or self.folder.isWritten(node))

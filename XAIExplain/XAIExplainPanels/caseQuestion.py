"""What is asked about every case of a queue."""

import json


class CaseQuestion:
    """
    What is asked about every case; it does not change while the queue runs.

    :param target: as `logic.explain` takes it, or a function that makes a `targets.Target` for a volume.
    :param targetText: what identifies a target that is made by a function.
    :param more: title, parameters, consent, memory and seed, as in `logic.explain`.
    """

    def __init__(self, model, method, target=None, targetText="", **more):
        self.model, self.method, self.more = model, method, more
        self._target = target
        self.targetText = targetText or ("" if target is None or callable(target) else str(target))

    @property
    def title(self):
        return self.more.get("title") or self.method

    @property
    def key(self):
        """Equal for equal questions."""
        about = {name: self.more.get(name) for name in ("parameters", "seed")}
        return json.dumps([self.model, self.method, self.targetText, about], sort_keys=True, default=str)

    def target(self, volumeNode):
        """The target and its title, for one volume."""
        if not callable(self._target):
            return self._target, ""
        return self._target(volumeNode)

"""The user's own models: looked into, tried, kept in a folder, listed in later sessions, sent to a colleague."""

import os

import slicer
from slicer.i18n import tr as _

from XAIExplainLib.errors import XAIError
from XAIExplainPanels.agreement import asError
from XAIExplainPanels.waiting import wait

FOLDER_SETTING = "XAIExplain/ModelsFolder"


class OwnModels:
    """
    What a script can do with models, and what the dialog does by clicks. The engine reads and writes the files.

    Every function waits for the engine and returns what it gives, unless `onFinished` is given: then it returns the
    engine's job at once, and one of `onFinished`, `onFailed` (with an XAIError) is called on the main thread.

    :param engine: who is asked.
    :param catalog: where models are listed.
    :param exchange: the exchange folder, for volumes that a model is tried on.
    """

    def __init__(self, engine, catalog, exchange):
        self.engine = engine
        self.catalog = catalog
        self.exchange = exchange
        catalog.modelsFolder = lambda: self.folder

    @property
    def folder(self):
        """The folder of models; remembered for later sessions."""
        return str(slicer.app.settings().value(FOLDER_SETTING) or "") or defaultFolder()

    def setFolder(self, path, onFinished=None, onFailed=None):
        """Use another folder from now on; an empty path is the default again. What is in the old one stays there."""
        if path and os.path.abspath(path) != os.path.abspath(defaultFolder()):
            slicer.app.settings().setValue(FOLDER_SETTING, os.path.abspath(path))
        else:
            slicer.app.settings().remove(FOLDER_SETTING)
        return self._list(lambda _answer: self.all(), onFinished, onFailed)

    def all(self):
        """The models of the folder by the path of their JSON, as they were listed last."""
        return {key: model for key, model in self.catalog.models.items() if model.get("own")}

    def inspect(self, path, volumes=(), consent=False, options=None, layers=True, onFinished=None, onFailed=None,
                onProgress=None):
        """
        Look into a model, and try it.

        :param path: TorchScript, torch.export, folder or zip of a MONAI bundle, or a JSON that describes a model.
        :param volumes: volume nodes (one, or several for several channels) or the name of a bundled case, to try it
            on.
        :param consent: True if a file that can run code is trusted. Without it, such a file is not loaded.
        :param options: what is said about the model: classes, task, preprocessing, spatial_dims, slice_axis, ...
        :param layers: whether its layers are listed.
        :returns: what was found (docs/protocol.md, inspect); "trial" has the answer about the volumes.
        :raises XAIError: if it is no model, or cannot answer; with `consent` where that is asked for.
        """
        return self._ask("inspect", lambda found: found, onFinished, onFailed, onProgress, model=str(path),
                         volumes=[self._file(volume) for volume in volumes], consent=bool(consent),
                         options=dict(options or {}), layers=layers)

    def add(self, path, name="", classNames=None, task=None, preprocessing=None, description=None, copy=True,
            consent=False, onFinished=None, onFailed=None, onProgress=None, **more):
        """
        Keep a model in the folder, so that it is listed now and later.

        :param path: as for `inspect`.
        :param name: what it is called; without one, as its file.
        :param classNames: names of its outputs, in their order.
        :param task: "classification", "multilabel", "regression" or "segmentation"; None is found out.
        :param preprocessing: list of steps, such as {"step": "normalize", "kind": "zscore"}; None keeps what the file
            brings.
        :param copy: copy the file into the folder; otherwise it is named where it is.
        :param consent: as for `inspect`.
        :param more: other fields of the JSON, such as groups, channels, spatial_dims, slice_axis, sliding.
        :returns: path of the model's JSON, which is the model's name for everything else.
        :raises XAIError: if the network does not fit what is said about it, or the name is taken.
        """
        values = fields(classNames, task, preprocessing, description, more)
        return self._change("add_model", onFinished, onFailed, onProgress, model=str(path), consent=bool(consent),
                            name=name or nameOf(path), values=values, copy=bool(copy))

    def edit(self, path, name=None, classNames=None, task=None, preprocessing=None, description=None, consent=False,
             onFinished=None, onFailed=None, onProgress=None, **more):
        """Say other things about a model of the folder; None leaves what it says. Parameters as those of `add`."""
        values = fields(classNames, task, preprocessing, description, more)
        if name is not None:
            values["name"] = name
        return self._change("edit_model", onFinished, onFailed, onProgress, model=str(path), consent=bool(consent),
                            values=values)

    def remove(self, path, onFinished=None, onFailed=None):
        """Take a model out of the folder, with the copy of its file. A file that it only names stays."""
        return self._change("remove_model", onFinished, onFailed, None, model=str(path))

    def _file(self, volume):
        return volume if isinstance(volume, str) else self.exchange.volumeFile(volume)

    def _change(self, command, onFinished, onFailed, onProgress, **values):
        """Ask for a change in the folder, and list the folder anew before it is told."""
        if onFinished is not None:
            def changed(answer):
                self._list(lambda _list: answer, lambda _list: onFinished(answer.get("path")),
                           lambda _error: onFinished(answer.get("path")))

            return self._ask(command, changed, lambda _value: None, onFailed, onProgress, folder=self.folder, **values)
        answer = self._ask(command, lambda answer: answer, None, None, None, folder=self.folder, **values)
        self._list(lambda _list: None, None, None)
        return answer.get("path")

    def _list(self, receive, onFinished, onFailed):
        def listed(answer):
            self.catalog.setModels(answer)
            return receive(answer)

        return self._ask("models", listed, onFinished, onFailed, None, folder=self.folder)

    def _ask(self, command, receive, onFinished, onFailed, onProgress, **values):
        outcome = {}

        def result(answer):
            value = receive(answer)
            outcome["value"] = value
            if onFinished is not None:
                onFinished(value)

        def failed(event):
            error = asError(event)
            error.consent = bool(event.get("consent"))
            outcome["error"] = error
            if onFailed is not None:
                onFailed(error)

        job = self.engine.request(command, result, failed, onProgress, **values)
        if onFinished is not None:
            return job
        wait(self.engine, lambda: outcome)
        if "error" in outcome:
            raise outcome["error"]
        return outcome["value"]


def fields(classNames, task, preprocessing, description, more):
    """Fields of the JSON; None is left out."""
    values = {"classes": classNames, "task": task, "preprocessing": preprocessing, "description": description, **more}
    for key in ("classes", "preprocessing"):
        if values[key] is not None:
            values[key] = list(values[key])
    return {key: value for key, value in values.items() if value is not None}


def defaultFolder():
    """Beside Slicer's own settings, where users keep what is theirs."""
    return os.path.join(os.path.dirname(os.path.abspath(slicer.app.slicerUserSettingsFilePath)), "XAIExplainModels")


def nameOf(path):
    """A name for the model at the path: that of its file or folder."""
    path = os.path.abspath(str(path))
    name = os.path.basename(path)
    if name == "model.json":
        name = os.path.basename(os.path.dirname(path))
    return os.path.splitext(name)[0] if os.path.isfile(path) else name


def checkedNames(text, outputs):
    """
    Class names that were typed with commas between them; None where there are none.

    :raises XAIError: if two are alike, or their number is not that of the outputs.
    """
    names = [name.strip() for name in str(text).split(",") if name.strip()]
    if not names:
        return None
    if len(set(names)) != len(names):
        raise XAIError(_("Two classes have the same name."), _("Give each class its own name."))
    if outputs and len(names) != outputs:
        raise XAIError(_("Outputs of the network: {outputs}; class names given: {names}.").format(
            outputs=outputs, names=len(names)), _("Give one name for each output, in their order."))
    return names

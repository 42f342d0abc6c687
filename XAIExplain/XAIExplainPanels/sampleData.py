"""Sample data: the bundled cases as sources of Slicer's module, and Slicer's own samples for the panel."""

import hashlib
import json
import os
import pathlib

import qt
import slicer
from slicer.i18n import tr as _

from XAIExplainPanels.cases import nameOnce

CATEGORY = "XAIExplain"
PATIENCE_MILLISECONDS = 30_000


def casesFolder(moduleFolder):
    """Where the cases lie: beside the module in a built extension, one folder up in a checkout."""
    for folder in (moduleFolder, os.path.dirname(moduleFolder)):
        path = os.path.join(folder, "Resources", "cases")
        if os.path.isdir(path):
            return path
    return None


def registerCases(sampleDataLogic, moduleFolder):
    """Register each case by the URI of its file."""
    folder = casesFolder(moduleFolder)
    if folder is None:
        return
    if hasattr(sampleDataLogic, "registerCustomSampleDataCategory"):  # not before Slicer 5.12
        sampleDataLogic.registerCustomSampleDataCategory(CATEGORY, title=_("XAIExplain"))
    for name in sorted(os.listdir(folder)):
        try:
            with open(os.path.join(folder, name, "case.json"), encoding="utf-8") as file:
                information = json.load(file)
        except (OSError, ValueError):
            continue
        for ending in (".nii.gz", ".nrrd"):
            image = pathlib.Path(folder, name, "image" + ending)
            if image.is_file():
                title = information.get("title") or name
                sampleDataLogic.registerCustomSampleDataSource(
                    category=CATEGORY, sampleName=title, uris=image.resolve().as_uri(), fileNames=name + ending,
                    nodeNames=title,
                )  # fmt: skip
                break


class SlicerSamples:
    """
    Slicer's own sample volumes. Fetching one does not stop the window, and is for the caller to ask about first.
    """

    NAMES = ("MRHead", "MRBrainTumor1", "MRBrainTumor2")

    def __init__(self):
        self._manager = None
        self._reply = None
        self._timer = None

    @property
    def fetching(self):
        """Whether one is on its way."""
        return self._reply is not None

    def names(self):
        """Those that this Slicer knows."""
        logic = sampleLogic()
        return [name for name in self.NAMES if logic is not None and logic.sourceForSampleName(name) is not None]

    def isHere(self, name):
        """Whether the sample was fetched before, whole."""
        source = sampleLogic().sourceForSampleName(name)
        return isWhole(cachePath(source), source.checksums[0])

    def address(self, name):
        """Where the sample is fetched from."""
        return str(sampleLogic().sourceForSampleName(name).uris[0])

    def load(self, name, onLoaded, onFailed):
        """
        Load the sample, and fetch it before if it is not here; returns at once.

        :param onLoaded: called with the volume's node.
        :param onFailed: called with a sentence.
        """
        if self.fetching:
            onFailed(_("Another sample is being fetched. Wait for it."))
            return
        source = sampleLogic().sourceForSampleName(name)
        if self.isHere(name):
            self._read(name, source, onLoaded, onFailed)
        else:
            self._fetch(name, source, onLoaded, onFailed)

    def stop(self):
        """Give up what is on its way."""
        if self._reply is not None:
            reply, self._reply = self._reply, None
            self._timer.stop()
            reply.abort()
            reply.deleteLater()

    def _read(self, name, source, onLoaded, onFailed):
        nodes = sampleLogic().downloadFromSource(source)  # finds the file in the cache
        if nodes and hasattr(nodes[0], "GetImageData"):
            nameOnce(nodes[0], name)
            onLoaded(nodes[0])
        else:
            onFailed(_("The sample {name} could not be read.").format(name=name))

    def _fetch(self, name, source, onLoaded, onFailed):
        path = cachePath(source)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if self._manager is None:
            self._manager, self._timer = qt.QNetworkAccessManager(), qt.QTimer()
            self._timer.setSingleShot(True)
            self._timer.setInterval(PATIENCE_MILLISECONDS)
        request = qt.QNetworkRequest(qt.QUrl(source.uris[0]))
        request.setAttribute(
            qt.QNetworkRequest.RedirectPolicyAttribute, qt.QNetworkRequest.NoLessSafeRedirectPolicy)
        reply = self._reply = self._manager.get(request)
        self._timer.disconnect("timeout()")
        self._timer.connect("timeout()", reply.abort)

        def progress(done, total):
            self._timer.start()  # again from the beginning: it is silence that ends the wait

        def finished():
            if self._reply is not reply:
                return
            self._reply = None
            self._timer.stop()
            problem = save(reply, path, source.checksums[0])
            reply.deleteLater()
            if problem:
                onFailed(_("The sample {name} could not be fetched: {problem}. Try again when the internet can be "
                           "reached, or load a bundled case, which needs none.").format(name=name, problem=problem))
            else:
                self._read(name, source, onLoaded, onFailed)

        reply.connect("downloadProgress(qint64,qint64)", progress)
        reply.connect("finished()", finished)
        self._timer.start()


def sampleLogic():
    """The logic of Slicer's module Sample Data; None in an application without it."""
    try:
        import SampleData
    except ImportError:
        return None
    return SampleData.SampleDataLogic()


def cachePath(source):
    """Where Slicer keeps the sample."""
    return os.path.join(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory(), source.fileNames[0])


def isWhole(path, checksum):
    """Whether the file is there, with the right content if Slicer says what that is ("SHA256:...")."""
    if not os.path.isfile(path) or os.path.getsize(path) == 0:
        return False
    algorithm, _colon, digest = str(checksum or "").partition(":")
    if not digest:
        return True
    with open(path, "rb") as file:
        return hashlib.new(algorithm.lower(), file.read()).hexdigest() == digest.lower()


def save(reply, path, checksum):
    """Write what came beside `path` and rename it; returns what was wrong, or an empty text."""
    status = reply.attribute(qt.QNetworkRequest.HttpStatusCodeAttribute)
    if status != 200:
        return str(reply.errorString()) if not status else _("the server answered {status}").format(status=status)
    beside = path + ".part"
    file = qt.QFile(beside)
    if not file.open(qt.QIODevice.WriteOnly):
        return _("{path} cannot be written").format(path=beside)
    file.write(reply.readAll())
    file.close()
    try:
        if not isWhole(beside, checksum):
            return _("it came damaged")
        os.replace(beside, path)
    except OSError as error:
        return str(error.strerror or error)
    finally:
        if os.path.exists(beside):
            os.remove(beside)
    return ""

"""All that the module does, without a window: what the panels call, and what a script can call."""

import os
import time

import slicer

from XAIExplainPanels import plots, record, tables
from XAIExplainPanels.agreement import Agreement
from XAIExplainPanels.caseQuestion import CaseQuestion
from XAIExplainPanels.caseQueue import CaseQueue
from XAIExplainPanels.caseRunning import runCases
from XAIExplainPanels.cases import casePath, caseTitle, nameOnce
from XAIExplainPanels.catalog import Catalog
from XAIExplainPanels.comparison import Comparison
from XAIExplainPanels.curves import Curves
from XAIExplainPanels.display import MapDisplay
from XAIExplainPanels.engine import Engine
from XAIExplainPanels.estimator import Estimator
from XAIExplainPanels.exchange import ExchangeFolder
from XAIExplainPanels.explainer import Explainer
from XAIExplainPanels.made import isMade, removeQuietly
from XAIExplainPanels.ownModels import OwnModels
from XAIExplainPanels.plotLayouts import PlotViews
from XAIExplainPanels.regions import Regions
from XAIExplainPanels.report import Reporter
from XAIExplainPanels.sampleData import SlicerSamples
from XAIExplainPanels.selfTest import SelfTest
from XAIExplainPanels.targets import Targets
from XAIExplainPanels.workshop import Workshop


class ExplainLogic:
    """
    The module's work. `XAIExplainLogic` adds Slicer's base class.

    :param client: a client of the engine to use instead of one made for the chosen interpreter.
    """

    def setUpEngine(self, client=None):
        self.engine = Engine(client)
        self.folder = ExchangeFolder()
        self.catalog = Catalog(self.engine)
        self.models = OwnModels(self.engine, self.catalog, self.folder)
        self.display = MapDisplay()
        self.explainer = Explainer(self.engine, self.folder, self.display.know)
        self.targets = Targets(self.folder)
        self.estimator = Estimator(self.engine, self.folder)
        self.comparison = Comparison(self.display)
        self.agreement = Agreement(self.engine, self.folder)
        self.curves = Curves(self.engine, self.folder)
        self.plotViews = PlotViews()
        self.regions = Regions(self.folder)
        self.reporter = Reporter(self)
        self.selfTest = SelfTest(self.engine, self.folder)
        self.samples = SlicerSamples()
        self.queue = CaseQueue(self)
        self.workshop = Workshop(self)
        self._companions = {}

    @property
    def busy(self):
        """Whether a question is being answered."""
        return self.explainer.busy or self.queue.running

    def explain(self, volumeNode, model="brain-lesion", method="grad_cam", target=None, parameters=None,
                outputNode=None, wait=True, moreVolumeNodes=(), consent=False, memory=0.0, seed=0, show=False,
                **callbacks):
        """
        Explain what the network answers about a volume.

        :param volumeNode: the volume; `moreVolumeNodes` are further channels.
        :param model: name of a bundled model, or path of a model file; `self.models` keeps own models in a folder.
        :param method: name of the method, such as "grad_cam" or "occlusion".
        :param target: class, group, index, or None for the network's own answer; `self.targets` makes others, whose
            title is given as `targetTitle`.
        :param parameters: the method's parameters by name, where they differ from its defaults.
        :param outputNode: scalar volume that is written over; None updates the map of the same question, or makes one.
        :param wait: return the map (True), or a run at once, with onFinished, onFailed, onProgress to call (False).
        :param consent: True if a model file that can run code is trusted.
        :param memory: gigabytes that the engine may use; 0 lets it decide.
        :param show: show the map in the slice views, when it was waited for.
        :raises XAIError: if the question cannot be answered.
        """
        run = self.explainer.start(
            [volumeNode, *moreVolumeNodes], model, method, target, dict(parameters or {}), outputNode=outputNode,
            consent=consent, memory=memory, seed=seed, **callbacks,
        )  # fmt: skip
        if not wait:
            return run
        while not run.done:
            self.engine.poll()
            self.explainer.finish()
            slicer.app.processEvents()
            time.sleep(0.01)
        if run.error is not None:
            raise run.error
        if show:
            self.display.show(run.node, self.getParameterNode())
            self.display.finish()
        return run.node

    def runCases(self, cases, model="brain-lesion", method="grad_cam", target=None, parameters=None, wait=True,
                 consent=False, memory=0.0, seed=0, title="", targetText=""):
        """
        Explain many cases, one after the other; one that fails does not stop the others.

        :param cases: of each a volume, a list of volumes (channels), a file, a list of files, or a sequence.
        :param target: as in `explain`, or a function that makes a `targets.Target` for a volume, with `targetText`.
        :param wait: return when all are over (True), or at once (False); `self.queue` says how far it is.
        :return: the cases, each with state ("done", "failed"...), mapNode, answer, outcomes and problem. The table of
            the scene is `self.queue.table`.
        :raises XAIError: if an explanation is running, or something is no case.
        """
        question = CaseQuestion(model, method, target, targetText, title=title, parameters=dict(parameters or {}),
                                consent=consent, memory=memory, seed=seed)
        return runCases(self, cases, question, wait)

    def loadCase(self, case):
        """Load the volume of a bundled case, as the engine describes it; None if that fails."""
        path = casePath(case)
        if not os.path.isfile(path):
            return None
        try:
            node = slicer.util.loadVolume(path, {"name": caseTitle(case), "show": False})
        except RuntimeError:
            return None
        if node is not None:
            node.SetAttribute("XAIExplain.Case", case["name"])
            nameOnce(node, caseTitle(case))
        return node

    def onNodeAboutToBeRemoved(self, node):
        """A node is leaving the scene, and still knows its own."""
        if not slicer.mrmlScene.IsClosing() and (isMade(node) or node.IsA("vtkMRMLScalarVolumeNode")):
            self._companions[node.GetID()] = self.display.companions(node)

    def onNodeRemoved(self, node):
        """A node has left the scene: end what was about it."""
        self.queue.onNodeRemoved(node)
        self.explainer.onNodeRemoved(node)
        self.display.onNodeRemoved(node)
        for companion in self._companions.pop(node.GetID(), []):
            removeQuietly(companion)
        if record.isMap(node) and not slicer.mrmlScene.IsClosing():
            tables.onMapRemoved()
            plots.onMapRemoved()

    def onSceneClosed(self):
        """Nothing of the old scene is left."""
        self.queue.forget()
        self.explainer.abandon()
        self.curves.abandon()
        self.reporter.written = ""
        self.comparison.forget()
        self.display.forget()

    def cleanup(self):
        """End the engine's process, and remove the files of this session."""
        self.queue.cleanup()
        self.explainer.stop()
        self.display.forget()
        self.comparison.close()
        self.samples.stop()
        self.engine.close()
        self.folder.remove()

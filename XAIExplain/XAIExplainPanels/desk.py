"""What the panels of the window share: state, messages, and the way from a click to the logic and back."""

import contextlib
import time

import qt
import slicer
from slicer.i18n import tr as _

from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainPanels import channels, record
from XAIExplainPanels.casePanel import CasePanel
from XAIExplainPanels.casesPanel import CasesPanel
from XAIExplainPanels.comparePanel import ComparePanel
from XAIExplainPanels.displayPanel import DisplayPanel
from XAIExplainPanels.figures import duration
from XAIExplainPanels.guidePanel import GuidePanel
from XAIExplainPanels.layers import jumpTo, sliceOffsets
from XAIExplainPanels.methodPanel import MethodPanel
from XAIExplainPanels.modelPanel import ModelPanel
from XAIExplainPanels.modelState import ModelState
from XAIExplainPanels.regions import showTruthOf
from XAIExplainPanels.regionsPanel import RegionsPanel
from XAIExplainPanels.reportPanel import ReportPanel
from XAIExplainPanels.resultPanel import ResultPanel
from XAIExplainPanels.runPanel import RunPanel
from XAIExplainPanels.setupPanel import SetupPanel
from XAIExplainPanels.strength import peakPosition
from XAIExplainPanels.surfacePanel import SurfacePanel
from XAIExplainPanels.targetPanel import TargetPanel
from XAIExplainPanels.workshopPanel import WorkshopPanel


class Desk:
    """
    Owns the panels.

    :param logic: the module's logic.
    :param resourcePath: the module's function of that name.
    """

    def __init__(self, logic, resourcePath):
        self.logic = logic
        self.resourcePath = resourcePath
        self.catalog = logic.catalog
        self.model = ModelState(logic.engine, self.refresh)
        self.parameterNode = None
        self._refreshing = False
        self._holding = False  # several changes are made, and seen together
        self.keyboard = None  # the shortcuts, where there is a window
        self._predictNext = False
        self._closed = False
        self._running = None
        self._shownBefore = (None, "overlay")  # the map and the view before the run
        self._jumpedTo = None  # where a run's first preview took the slices
        self._arrived = None  # ID of a map that came while another module was open
        self.case = CasePanel(self)
        self.modelPanel = ModelPanel(self)
        self.target = TargetPanel(self)
        self.method = MethodPanel(self)
        self.run = RunPanel(self)
        self.displayPanel = DisplayPanel(self)
        self.surfaces = SurfacePanel(self)
        self.result = ResultPanel(self)
        self.compare = ComparePanel(self)
        self.regions = RegionsPanel(self)
        self.cases = CasesPanel(self)
        self.report = ReportPanel(self)
        self.guide = GuidePanel(self)
        self.workshop = WorkshopPanel(self)
        self.setup = SetupPanel(self)
        self.panels = (self.guide, self.case, self.modelPanel, self.target, self.method, self.run, self.displayPanel,
                       self.surfaces, self.result, self.compare, self.regions, self.cases, self.report, self.workshop,
                       self.setup)
        logic.engine.onStateChanged = self.refresh

    # State

    def setParameterNode(self, node):
        self.parameterNode = node
        for panel in self.panels:
            panel.setParameterNode(node)
        arrived = slicer.mrmlScene.GetNodeByID(self._arrived) if self._arrived else None
        if node is not None and arrived is not None:
            self._show(arrived)
        if node is not None:
            self._arrived = None
        self.refresh()

    def refresh(self):
        """Bring every panel up to date. Changes that a panel makes on the way are seen by a second round."""
        if self._refreshing or self._holding or self._closed or slicer.mrmlScene.IsBatchProcessing():
            return
        if self.logic.comparison.changing:
            return  # views come and go, one node after the other
        self._refreshing = True
        try:
            if self.parameterNode is not None and self.catalog.loaded:
                self.model.choose(self.parameterNode.model)
            for _round in range(2):
                for panel in self.panels:
                    panel.refresh()
            if self.keyboard is not None:
                self.keyboard.refresh()
        finally:
            self._refreshing = False
        if self._predictNext and self.canPredict():
            self._predictNext = False
            self.predict()

    @contextlib.contextmanager
    def together(self):
        """Bring the panels up to date once, after all that is changed inside, when the window had time for the user."""
        if self._holding:
            yield
            return
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
            qt.QTimer.singleShot(0, self.refresh)

    def volumes(self):
        """The chosen volumes, as many as the model has channels; None where one is missing."""
        node = self.parameterNode
        if node is None:
            return []
        chosen = [node.inputVolume, node.secondVolume, node.thirdVolume, node.fourthVolume]
        return chosen[: max(1, min(self.model.channels, len(chosen)))]

    def volumeIDs(self):
        """What identifies the chosen volumes and the model that is asked about them."""
        return tuple(volume.GetID() if volume is not None else None for volume in self.volumes()) + (self.model.name,)

    def engineError(self):
        """The event that says why there is no engine, or None."""
        return self.catalog.error

    def reasonNotToRun(self):
        """Why Apply is disabled, as a sentence; empty if it is not."""
        return self.reasonNotToAsk() or self.target.reasonNotToRun()

    def reasonNotToAsk(self):
        """Why the network cannot be asked, as a sentence; empty if it can."""
        reason = self.reasonNoEngine()
        if reason:
            return reason
        if self.parameterNode is None or self.parameterNode.inputVolume is None:
            return _("Choose a volume, or load an example.")
        reason = self.reasonNoModel()
        if reason:
            return reason
        if any(volume is None for volume in self.volumes()):
            return _("This network takes {count} volumes: choose all channels.").format(count=self.model.channels)
        return channels.mismatch(self.volumes())

    def reasonNoEngine(self):
        if self.engineError():
            return _("The engine cannot start. See Set-up below.")
        return "" if self.catalog.loaded else _("The engine is starting...")

    def reasonNoModel(self):
        """Why there is no network to ask, as a sentence; empty if there is one."""
        if not self.model.name:
            return _("Choose the file of the model.")
        if self.model.needsConsent:
            return _("Decide whether the model's file may be loaded.")
        if self.model.loading:
            return _("The model is being loaded...")
        if self.model.info is None:
            return _("The model could not be loaded. Choose another one.")
        if self.model.channels > 4:
            return _("This network takes {count} volumes. The panel offers four; use the Python interface.").format(
                count=self.model.channels)
        return ""

    def canPredict(self):
        return not self.reasonNotToAsk() and not self.logic.busy and not self.model.predicting

    # Actions

    def startEngine(self):
        """Ask the engine for its lists, which starts it."""
        if not self.catalog.loaded and not self.catalog.loading:
            self.catalog.load(self.refresh)
        self.refresh()

    def restartEngine(self):
        self.logic.explainer.abandon()
        self.logic.engine.restart()
        self.catalog.clear()
        self.model.forgetEngine()
        self.log(_("Engine restarted."))
        self.startEngine()

    def predictWhenReady(self):
        """Ask the network as soon as the model is there."""
        self._predictNext = True
        self.refresh()

    def predict(self):
        """Ask the network about the chosen volumes."""
        volumeIDs = self.volumeIDs()

        def ask(paths):
            if not self._closed and volumeIDs == self.volumeIDs():
                self.model.predict(paths, volumeIDs)

        try:
            self.logic.folder.prepare(self.volumes(), ask, self._onUnwritten)
        except XAIError as error:
            self._onUnwritten(error)

    def askForLayers(self, onLayers):
        """Ask for the network's layers; `onLayers` gets the list, or an empty one with a message in the panel."""
        paths = self._write() if self.canPredict() else None
        if not paths:
            onLayers([])
            if not self.run.ui.messageLabel.text:
                self.say(self.reasonNotToAsk() or _("The engine is busy."))
            return

        def failed(event):
            onLayers([])
            self.sayError(event.get("message", ""), event.get("hint", ""))

        self.logic.engine.request("layers", onLayers, failed, volumes=paths, model=self.model.name,
                                  consent=self.model.consent)

    def apply(self):
        """Ask the question that the panels show."""
        node = self.parameterNode
        card = self.catalog.methods.get(node.method, {})
        volumeIDs, started = self.volumeIDs(), time.time()
        self._shownBefore = (node.mapVolume.GetID() if node.mapVolume is not None else None, node.viewMode)
        self._jumpedTo = None
        self._running = None
        self.run.begin()
        try:
            target = self.target.target()
            run = self.logic.explain(
                self.volumes()[0], model=self.model.name, method=node.method, target=target.value,
                parameters=self.method.parameters(), outputNode=node.outputVolume, wait=False,
                moreVolumeNodes=self.volumes()[1:], consent=self.model.consent, memory=node.memoryLimit,
                seed=node.randomSeed, title=card.get("title", ""), targetTitle=target.title,
                onProgress=self.run.progress,
                onFailed=self._onFailed, onPreview=self._onPreview, drawn=True,
                onFinished=lambda mapNode, answer: self._onFinished(mapNode, answer, volumeIDs, started),
            )  # fmt: skip
        except XAIError as error:
            self._onFailed(error)
            return
        self._running = run
        self.log(_("{method} on {volume}...").format(method=card.get("title", node.method),
                                                     volume=node.inputVolume.GetName()))
        self.refresh()

    def cancel(self):
        if self.logic.queue.running:
            self.logic.queue.stop()
        else:
            self.logic.explainer.cancel()

    def onShortcut(self):
        """The keyboard's Apply; does nothing where the button would not."""
        if self.run.ui.applyButton.enabled and not self.logic.busy:
            self.apply()

    # Answers

    def _onFinished(self, mapNode, answer, volumeIDs, started):
        if self._closed:
            return
        with self.together():
            if answer.get("prediction"):
                self.model.setPrediction(answer["prediction"], volumeIDs)
            if self.parameterNode is not None:
                self._show(mapNode)
            else:
                self._arrived = mapNode.GetID()
            message = " ".join(
                [_("Done in {time}.").format(time=duration(time.time() - started)), *self._running.notes])
            self.log(_("{name}: {message}").format(name=mapNode.GetName(), message=message))
            self.run.end(message)

    def _onPreview(self, mapNode, event):
        if self._closed:
            return
        with self.together():
            if self.parameterNode is not None:
                self._show(mapNode)
            else:
                self._arrived = mapNode.GetID()
            self.run.preview(event)

    def _show(self, mapNode):
        """Show a map where it is strongest; slices that the user has moved since the first preview stay there."""
        self.displayPanel.show(mapNode)
        showTruthOf(record.explainedVolume(mapNode))
        if self._jumpedTo is not None and (self.logic.busy or self._jumpedTo != sliceOffsets()):
            return
        position, _value = peakPosition(mapNode, self.logic.display.strength(mapNode))
        if position is not None:
            jumpTo(position)
            self._jumpedTo = sliceOffsets()

    def _showFormer(self):
        """Show what was shown before the previews of a run that was not finished."""
        mapID, viewMode = self._shownBefore
        self._arrived = None
        if self.parameterNode is None:
            self._arrived = mapID
            return
        former = slicer.mrmlScene.GetNodeByID(mapID) if mapID else None
        if former is None:
            self.displayPanel.onRestore()
            return
        self.displayPanel.show(former)
        self.parameterNode.viewMode = viewMode

    def _onFailed(self, error):
        if self._closed:
            return
        if self._running is not None and self._running.former is not None and not slicer.mrmlScene.IsClosing():
            self._showFormer()
        if isinstance(error, CancelledError):
            self.log(_("Cancelled."))
            self.run.end(_("Cancelled; nothing was changed."))
            return
        self.log("{} {}".format(error.message, error.hint))
        self.run.end("{} {}".format(error.message, error.hint).strip(), isError=True)

    def say(self, message, isError=False):
        """Show a sentence under Apply."""
        self.run.say(message, isError)

    def sayError(self, message, hint=""):
        self.log("{} {}".format(message, hint))
        self.say("{} {}".format(message, hint).strip(), isError=True)

    def log(self, text):
        self.setup.log("{} {}".format(time.strftime("%H:%M:%S"), text))

    def _onUnwritten(self, error):
        self.sayError(error.message, error.hint)

    def _write(self):
        """Files of the chosen volumes, or None with a message."""
        try:
            return [self.logic.folder.volumeFile(volume) for volume in self.volumes()]
        except XAIError as error:
            self._onUnwritten(error)
            return None

    # The scene

    def onSceneClosed(self):
        """The answer was about a volume that is gone; the next scene's nodes may have the same IDs."""
        self.model.setPrediction(None, None)
        self.logic.onSceneClosed()

    def onNodeRemoved(self, node):
        self.logic.onNodeRemoved(node)
        if not slicer.mrmlScene.IsClosing():
            self.refresh()

    def chooseFirstVolume(self):
        """Preselect a volume, to save the user a click; never a map."""
        node = self.parameterNode
        if node is not None and node.inputVolume is None:
            for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
                if not record.isMap(volume) and volume.GetClassName() == "vtkMRMLScalarVolumeNode":
                    node.inputVolume = volume
                    break

    def cleanup(self):
        if self._closed:
            return
        self._closed = True
        if self.keyboard is not None:
            self.keyboard.cleanup()
        for panel in self.panels:
            panel.cleanup()

"""XAIExplain: shows in the views why a deep network answered as it did about a volume."""

import os
import sys

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

# In an installed extension the library lies beside this file; in a checkout that was not built, one folder up.
_MODULE_FOLDER = os.path.dirname(os.path.abspath(__file__))
for _folder in (_MODULE_FOLDER, os.path.dirname(_MODULE_FOLDER)):
    if _folder not in sys.path and os.path.isdir(os.path.join(_folder, "XAIExplainLib")):
        sys.path.insert(0, _folder)

# Slicer's Reload runs this file again, and no other: the module's own packages must be read again with it.
if hasattr(slicer.modules, "XAIExplainWidget"):
    for _name in list(sys.modules):
        if _name.split(".")[0] in ("XAIExplainPanels", "XAIExplainLib"):
            del sys.modules[_name]

from XAIExplainPanels.logic import ExplainLogic  # noqa: E402
from XAIExplainPanels.parameterNode import XAIExplainParameterNode  # noqa: E402

SHORTCUT = "Ctrl+Shift+E"


class XAIExplain(ScriptedLoadableModule):
    """What Slicer lists."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("XAIExplain")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Analysis")]
        self.parent.dependencies = ["Colors", "Markups", "Segmentations", "VolumeRendering", "Volumes"]
        self.parent.contributors = ["XAIExplain contributors"]
        self.parent.helpText = _("""
Shows why a deep network answered as it did about the MRI or CT in the views: as a heat map that lies exactly on the
volume, by the method of your choice, with figures that say how far it can be believed. Choose a volume (or load an
example), a network, the answer and a method, and press Apply. Everything can be done from Python as well:
<code>slicer.modules.xaiexplain.widgetRepresentation().self().logic.explain(volumeNode)</code>.
<p>For research only. Not for diagnosis: a map shows what the network used, not what is there.</p>
""")
        self.parent.acknowledgementText = _("""
The methods, their names and their taxonomy follow B.H.M. van der Velden, H.J. Kuijf, K.G.A. Gilhuijs, M.A. Viergever,
"Explainable artificial intelligence (XAI) in deep learning-based medical image analysis", Medical Image Analysis 79
(2022) 102470. Please cite that survey, and the paper of the method that you use, which its card names.
""")
        slicer.app.connect("startupCompleted()", registerSampleData)
        slicer.app.connect("startupCompleted()", registerLayouts)


def registerSampleData():
    """Offer the bundled cases in the module Sample Data; nothing is downloaded."""
    try:
        import SampleData
    except ImportError:  # a Slicer without the module, such as a custom application
        return
    from XAIExplainPanels.sampleData import registerCases

    registerCases(SampleData.SampleDataLogic, _MODULE_FOLDER)


def registerLayouts():
    """Know the layouts of comparisons and plots, which a scene that is opened may ask for."""
    from XAIExplainPanels import compareLayouts, plotLayouts

    compareLayouts.registerLayouts()
    plotLayouts.registerLayouts()


class XAIExplainWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The window: a desk with panels, and the scene's events."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.desk = None
        self.uiWidget = None
        self.shortcut = None
        self._parameterNode = None

    def setup(self):
        """Called when the module is opened for the first time, and after a reload."""
        ScriptedLoadableModuleWidget.setup(self)
        from XAIExplainPanels.desk import Desk
        from XAIExplainPanels.keyboard import Keyboard

        uiWidget = self.uiWidget = slicer.util.loadUI(self.resourcePath("UI/XAIExplain.ui"))
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        self.logic = XAIExplainLogic()
        self.desk = Desk(self.logic, self.resourcePath)
        for index, panel in enumerate(self.desk.panels):
            uiWidget.layout().insertWidget(index, panel.widget)
        self.layout.addStretch(1)
        self.desk.keyboard = Keyboard(self.desk, uiWidget)

        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        self.addObserver(scene, scene.EndBatchProcessEvent, self.onParameters)
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self.onNodeAboutToBeRemoved)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onNodeRemoved)
        self.addObserver(scene, scene.NodeAddedEvent, self.onNodeAdded)
        mainWindow = slicer.util.mainWindow()
        if mainWindow is not None:
            self.shortcut = qt.QShortcut(mainWindow)
            self.shortcut.setKey(qt.QKeySequence(SHORTCUT))
            self.shortcut.connect("activated()", self.desk.onShortcut)
        self.initializeParameterNode()
        self.desk.startEngine()

    def cleanup(self):
        """Called when Slicer quits and before a reload."""
        if self.shortcut is not None:
            self.shortcut.setEnabled(False)
            self.shortcut.setParent(None)
            self.shortcut.deleteLater()
            self.shortcut = None
        if self.desk is not None:
            self.setParameterNode(None)
            self.desk.cleanup()
        self.removeObservers()
        if self.logic is not None:
            self.logic.cleanup()
        if self.uiWidget is not None:  # a reload only hides it, and all that it is connected with would live on
            self.uiWidget.hide()
            self.uiWidget.setParent(None)
            self.uiWidget.deleteLater()
            self.uiWidget = None

    def enter(self):
        """Called each time the module is opened."""
        self.initializeParameterNode()
        self.desk.startEngine()

    def exit(self):
        """Called each time another module is opened; what runs goes on."""
        self.setParameterNode(None)

    def onSceneStartClose(self, caller=None, event=None):
        self.setParameterNode(None)
        self.desk.onSceneClosed()

    def onSceneEndClose(self, caller=None, event=None):
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, caller=None, event=None):
        if self.parent.isEntered:
            self.setParameterNode(None)
            self.initializeParameterNode()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAboutToBeRemoved(self, caller, event, node):
        self.logic.onNodeAboutToBeRemoved(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(self, caller, event, node):
        self.desk.onNodeRemoved(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAdded(self, caller, event, node):
        if node.IsA("vtkMRMLScalarVolumeNode") and not slicer.mrmlScene.IsBatchProcessing():
            self.desk.refresh()

    def initializeParameterNode(self):
        """Bind the scene's parameter node."""
        self.setParameterNode(self.logic.getParameterNode())
        self.desk.chooseFirstVolume()

    def setParameterNode(self, node):
        if self._parameterNode is not None:
            self.removeObserver(self._parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParameters)
        self._parameterNode = node
        self.desk.setParameterNode(node)
        if node is not None:
            self.addObserver(node.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParameters)

    def onParameters(self, caller=None, event=None):
        self.desk.refresh()


class XAIExplainLogic(ExplainLogic, ScriptedLoadableModuleLogic):
    """
    The module without its window; see `explain`.

    :param client: a client of the engine to use instead of one made for the chosen interpreter.
    """

    def __init__(self, client=None):
        ScriptedLoadableModuleLogic.__init__(self)
        self.setUpEngine(client)

    def getParameterNode(self):
        return XAIExplainParameterNode(super().getParameterNode())


class XAIExplainTest(ScriptedLoadableModuleTest):
    """The self-test behind Reload & Test: offline, on the processor, with the bundled model and case."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_explainExample()

    def test_explainExample(self):
        """A bundled case is explained, and its map lies on it."""
        self.delayDisplay(_("Explaining an example"))
        logic = XAIExplainLogic()
        try:
            logic.catalog.load()
            while logic.catalog.loading:
                logic.engine.poll()
                slicer.app.processEvents()
            volume = logic.loadCase(next(iter(logic.catalog.cases.values())))
            mapNode = logic.explain(volume, method="grad_cam", show=True)
            self.assertEqual(mapNode.GetImageData().GetDimensions(), volume.GetImageData().GetDimensions())
            self.assertGreater(mapNode.GetImageData().GetScalarRange()[1], 0)
            again = logic.explain(volume, method="grad_cam")
            self.assertEqual(again.GetID(), mapNode.GetID())
        finally:
            logic.cleanup()
        self.delayDisplay(_("Test passed"))

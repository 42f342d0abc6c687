"""A small module with which the host is tested: shows a map of bright voxels over a volume."""

import logging
import sys
from typing import Annotated

import qt
import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import (
    Choice,
    FloatRange,
    RangeBounds,
    WithinRange,
    parameterNodeWrapper,
    parameterPack,
)
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class HostSample(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Host Sample")
        self.parent.categories = ["Testing"]
        self.parent.helpText = _("Shows the brightest voxels of a volume.")
        self.parent.acknowledgementText = _("Part of XAIExplain's tests.")
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="HostSample",
        sampleName="Nothing",
        uris="file:///nothing",
        fileNames="nothing.nrrd",
        nodeNames="Nothing",
    )


@parameterPack
class Appearance:
    opacity: Annotated[float, WithinRange(0, 1)] = 0.5
    label: str = "heat"


@parameterNodeWrapper
class HostSampleParameterNode:
    inputVolume: vtkMRMLScalarVolumeNode
    mapVolume: vtkMRMLScalarVolumeNode | None = None
    threshold: Annotated[float, WithinRange(0, 1)] = 0.5
    count: Annotated[int, WithinRange(0, 10)] = 3
    method: Annotated[str, Choice(["bright", "dark"])] = "bright"
    smooth: bool = False
    note: str = ""
    window: Annotated[FloatRange, RangeBounds(0, 1)] = FloatRange(0.1, 0.9)
    history: list[str]
    appearance: Appearance


class HostSampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._guiTag = None
        self.process = None
        self.output = ""

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/HostSample.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = HostSampleLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.ui.processButton.connect("clicked()", self.onProcess)
        self.ui.failButton.connect("clicked(bool)", self.onFail)
        self.initializeParameterNode()

    def cleanup(self):
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self):
        self.initializeParameterNode()

    def exit(self):
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event):
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            self._parameterNode.inputVolume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")

    def setParameterNode(self, node):
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)
        self._parameterNode = node
        if node:
            self._guiTag = node.connectGui(self.ui)
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)
            self._checkCanApply()

    def _checkCanApply(self, caller=None, event=None):
        self.ui.applyButton.enabled = self._parameterNode.inputVolume is not None
        self.ui.applyButton.toolTip = (
            _("Show the map") if self._parameterNode.inputVolume else _("Select a volume")
        )

    def onApply(self):
        with slicer.util.tryWithErrorDisplay(_("The map could not be made."), waitCursor=True):
            node = self._parameterNode
            node.mapVolume = self.logic.process(node.inputVolume, node.mapVolume, node.threshold, node.method)
            node.history.append(node.method)
            self.ui.statusLabel.text = _("Done: {name}").format(name=node.mapVolume.GetName())

    def onProcess(self):
        self.process = qt.QProcess()
        self.process.connect("readyReadStandardOutput()", self.onOutput)
        self.process.connect("finished(int,QProcess::ExitStatus)", self.onFinished)
        self.ui.processButton.enabled = False
        self.process.start(sys.executable, ["-c", "print('hello from the child')"])

    def onOutput(self):
        self.output += bytes(self.process.readAllStandardOutput().data()).decode()

    def onFinished(self, code, status):
        self.onOutput()
        self.ui.statusLabel.text = f"{code}: {self.output.strip()}"
        self.ui.processButton.enabled = True

    def onFail(self):
        if slicer.util.confirmOkCancelDisplay(_("Shall it fail?"), windowTitle="Failure"):
            with slicer.util.tryWithErrorDisplay(_("It failed.")):
                raise RuntimeError("as asked for")


class HostSampleLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self):
        return HostSampleParameterNode(super().getParameterNode())

    def process(self, volume, output=None, threshold=0.5, method="bright"):
        """A map of what is above the threshold (relative to the maximum), over the volume, with a legend."""
        array = slicer.util.arrayFromVolume(volume).astype("float32")
        array = array / max(float(array.max()), 1e-6)
        heat = (array if method == "bright" else 1 - array) * (array > threshold)
        if output is None:
            output = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"{volume.GetName()} map")
        output.CopyOrientation(volume)
        slicer.util.updateVolumeFromArray(output, heat)
        output.CreateDefaultDisplayNodes()
        display = output.GetDisplayNode()
        display.SetAndObserveColorNodeID(self.colors().GetID())
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(0, 1)
        display.SetThreshold(threshold, 1.0)
        display.ApplyThresholdOn()
        slicer.util.setSliceViewerLayers(background=volume, foreground=output, foregroundOpacity=0.6)
        slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(output)
        logging.info("Map made")
        return output

    def colors(self):
        node = slicer.mrmlScene.GetFirstNodeByName("HostSampleHeat")
        if node is None:
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", "HostSampleHeat")
            node.SetTypeToUser()
            node.SetNumberOfColors(256)
            for index in range(256):
                x = index / 255
                node.SetColor(index, f"{x:.2f}", min(1, 2 * x), max(0, 2 * x - 0.6) / 1.4, 0.05, 1.0)
        return node


class HostSampleTest(ScriptedLoadableModuleTest):
    def setUp(self):
        slicer.mrmlScene.Clear()

    def test_logic(self):
        self.delayDisplay("nothing to do")

"""The host itself, driven through the small module in sample/."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from Testing.Host import Host, suspectIdioms

SAMPLE = os.path.join(os.path.dirname(__file__), "sample", "HostSample.py")


@pytest.fixture
def host(tmp_path_factory):
    host = Host.fresh(home=tmp_path_factory.getbasetemp() / "home")
    yield host
    host.assertNoErrors()


def head(name="head", shape=(40, 48, 44), ijkToRAS=None):
    """A made-up head: a grey ball with a bright spot on the patient's left, front, top."""
    import slicer

    k, j, i = np.indices(shape).astype("float32")
    centre = [(n - 1) / 2 for n in shape]
    ball = (k - centre[0]) ** 2 + (j - centre[1]) ** 2 + (i - centre[2]) ** 2 < 17**2
    voxels = np.where(ball, 100, 0).astype("int16")
    voxels[24:32, 28:36, 8:16] = 255
    # i runs to the right, j to the front, k to the top: the spot is at the patient's left.
    matrix = np.diag([2.0, 2.0, 2.0, 1.0]) if ijkToRAS is None else ijkToRAS
    matrix[:3, 3] = -matrix[:3, :3] @ [centre[2], centre[1], centre[0]]
    return slicer.util.addVolumeFromArray(voxels, matrix, name)


def coloured(picture):
    """Where a picture is not grey."""
    return np.ptp(picture.astype(int), axis=2) > 40


@pytest.fixture
def widget(host):
    import slicer

    volume = head()
    widget = host.loadModule(SAMPLE)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    slicer.modules.markups.logic().JumpSlicesToLocation(-20, 16, 16, False)
    return widget


def testModuleIsShown(host, widget):
    import slicer

    assert slicer.util.getModuleWidget("HostSample") is widget
    assert slicer.util.selectedModule() == "HostSample"
    assert slicer.util.modulePath("HostSample") == SAMPLE
    assert widget.ui.inputSelector.currentNode().GetName() == "head", "the first volume is preselected"
    assert widget.parent.isEntered
    host.exitModule()
    assert not widget.parent.isEntered and widget._parameterNode is None
    host.enterModule()
    assert widget._parameterNode is not None
    assert widget.ui.thresholdSlider.isVisible()
    assert host.strayAttributes() == []
    assert suspectIdioms(SAMPLE) == []


def testOverlayLegendAndLayers(host, widget):
    import slicer

    assert not coloured(host.captureView("Red")[30:, :]).any()
    host.click(widget.ui.applyButton)
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    heat = slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID())
    assert heat.GetName() == "head map" and composite.GetForegroundOpacity() == pytest.approx(0.6)
    assert widget.ui.statusLabel.text == "Done: head map"
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(heat)
    legend.SetVisibility(False)
    picture = host.captureView("Red")
    rows, columns = np.nonzero(coloured(picture))
    height, width = picture.shape[:2]
    assert columns.min() > width / 2, "the patient's left is on the right of an axial view"
    assert rows.max() < height / 2, "and the front is above"
    legend.SetVisibility(True)
    withLegend = coloured(host.captureView("Red"))
    right = withLegend[:, int(0.85 * width) :]
    assert right.sum() > 500, "the colour bar is drawn at the right border"
    composite.SetForegroundOpacity(0.0)
    legend.SetVisibility(False)
    assert not coloured(host.captureView("Red")).any()
    corner = slicer.app.layoutManager().sliceWidget("Red").sliceView().cornerText()
    assert corner == "F: head map (0%)\nB: head"


def testCollapsedSectionsAndWidgets(host, widget):
    ui, node = widget.ui, widget._parameterNode
    assert not ui.countSpinBox.isVisible()
    with pytest.raises(AssertionError, match="not visible"):
        host.click(ui.smoothCheckBox)
    host.click(ui.advancedCollapsibleButton)
    assert ui.countSpinBox.isVisible() and not ui.advancedCollapsibleButton.collapsed
    host.click(ui.smoothCheckBox)
    assert node.smooth is True
    host.type(ui.noteEdit, "typed")
    assert node.note == "typed"
    host.setCombo(ui.methodCombo, "dark")
    assert node.method == "dark"
    ui.windowRange.setValues(0.2, 0.6)
    assert (node.window.minimum, node.window.maximum) == (0.2, 0.6)
    ui.opacitySlider.value = 0.25
    assert node.appearance.opacity == 0.25 and node.appearance.label == "heat"
    node.appearance.opacity = 0.75
    node.threshold, node.count = 0.3, 7
    assert (ui.opacitySlider.value, ui.thresholdSlider.value, ui.countSpinBox.value) == (0.75, 0.3, 7)
    node.history.append("one")
    node.history += ["two"]
    assert node.history == ["one", "two"]
    with pytest.raises(ValueError, match="within range"):
        node.threshold = 3.0
    with pytest.raises(TypeError):
        node.count = "three"
    ui.countSpinBox.visible = False
    ui.advancedCollapsibleButton.collapsed = True
    ui.advancedCollapsibleButton.collapsed = False
    assert not ui.countSpinBox.isVisible(), "what was hidden stays hidden"
    ui.countSpinBox.visible = True


def testNodeSelectorActions(host, widget):
    import slicer

    selector = widget.ui.mapSelector
    assert selector.currentNode() is None and selector.nodeCount() == 1
    heard = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", heard.append)
    host.setCombo(selector, "Create new " + selector.nodeTypeLabel("vtkMRMLScalarVolumeNode"))
    assert selector.currentNode().GetName() == "Map" and heard == [selector.currentNode()]
    assert widget._parameterNode.mapVolume is selector.currentNode()
    host.answers.text = "Renamed"
    host.setCombo(selector, "Rename current " + selector.nodeTypeLabel("vtkMRMLScalarVolumeNode"))
    assert selector.currentNode().GetName() == "Renamed"
    assert selector.comboBox().currentText == "Renamed"
    widget._parameterNode.mapVolume = slicer.util.getNode("head")
    assert selector.currentNode().GetName() == "head"
    host.setCombo(selector, "None")
    assert widget._parameterNode.mapVolume is None
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("Renamed"))
    host.setCombo(selector, "head")
    slicer.mrmlScene.RemoveNode(selector.currentNode())
    assert selector.currentNode() is None and not widget.ui.applyButton.enabled


def testStrictness(host, widget):
    import ctk
    import qt

    ui = widget.ui
    for mistake, kind, words in (
        (lambda: ui.applyButton.connect("clickd()", print), RuntimeError, "no signal clickd"),
        (
            lambda: ui.thresholdSlider.connect("valueChanged(int)", print),
            RuntimeError,
            r"valueChanged\(double\)",
        ),
        (lambda: setattr(ui.applyButton, "mine", 1), AttributeError, "none can be added"),
        (lambda: setattr(ui.inputSelector, "mine", 1), AttributeError, "none can be added"),
        (lambda: setattr(ui.applyButton, "enabled", None), AttributeError, "needs a bool"),
        (lambda: setattr(ui.applyButton, "toolTip", None), AttributeError, "does not accept"),
        (lambda: setattr(ui.applyButton, "click", None), AttributeError, "can not be overwritten"),
        (lambda: qt.QPushButton(text="z"), ValueError, "keyword"),
        (lambda: ui.statusLabel.text(), TypeError, "not callable"),
        (lambda: ui.mapSelector.setCurrentNode("id"), ValueError, "needs a node"),
    ):
        with pytest.raises(kind, match=words):
            mistake()
    vars(ui.applyButton)["smuggled"] = 1
    assert host.strayAttributes() == ["QPushButton 'applyButton': smuggled"]
    del vars(ui.applyButton)["smuggled"]
    spin = qt.QSpinBox()
    spin.value = 3.7
    assert spin.value == 3
    box = ctk.ctkCollapsibleButton("Text")
    assert box.text == "Text" and box.className() == "ctkCollapsibleButton"
    assert isinstance(widget.parent.findChildren(qt.QLabel), tuple)
    assert ui.applyButton.name == "applyButton"
    received = []

    def slot():
        received.append("called")

    ui.failButton.connect("clicked(bool)", slot)
    ui.failButton.disconnect("clicked(bool)", widget.onFail)
    host.click(ui.failButton)
    assert received == ["called"]


def testMessagesAndErrors(host, widget):
    host.answers.confirm = [False, True]
    host.click(widget.ui.failButton)
    assert host.dialogs[-1]["kind"] == "confirm" and not host.errors
    host.testing = False
    host.click(widget.ui.failButton)
    assert [d["kind"] for d in host.dialogs] == ["confirm", "confirm", "error"]
    assert host.dialogs[-1]["text"] == "It failed.\n\nas asked for"
    assert "RuntimeError" in host.dialogs[-1]["details"]
    assert [str(e) for e in host.errors] == ["as asked for"]
    with pytest.raises(AssertionError):
        host.assertNoErrors()
    host.errors.clear()


def testChildProcesses(host, widget):
    import qt

    host.click(widget.ui.processButton)
    assert not widget.ui.processButton.enabled
    host.wait(lambda: widget.ui.processButton.enabled, 20, "the child did not end")
    assert widget.ui.statusLabel.text == "0: hello from the child"
    child = subprocess.Popen([sys.executable, "-c", "print(6 * 7)"], stdout=subprocess.PIPE, text=True)
    timer, seen = qt.QTimer(), []
    timer.interval = 20
    timer.connect("timeout()", lambda: seen.append(child.poll()))
    timer.start()
    host.wait(lambda: seen and seen[-1] == 0, 20, "polling did not see the end")
    timer.stop()
    assert child.stdout.read().strip() == "42"
    child.stdout.close()
    started = time.monotonic()
    with pytest.raises(TimeoutError, match="never"):
        host.wait(lambda: False, 0.1, "never")
    assert time.monotonic() - started < 2


def testVolumeRendering(host, widget):
    import slicer
    import vtk

    view = slicer.app.layoutManager().threeDWidget(0).threeDView()
    view.mrmlViewNode().SetBoxVisible(False)
    view.mrmlViewNode().SetAxisLabelsVisible(False)
    before = host.captureView("1")
    display = slicer.modules.volumerendering.logic().CreateDefaultVolumeRenderingNodes(
        slicer.util.getNode("head")
    )
    colors, opacity = vtk.vtkColorTransferFunction(), vtk.vtkPiecewiseFunction()
    for value, red, alpha in ((0, 0, 0), (50, 0, 0), (60, 1, 0.6), (255, 1, 1)):
        colors.AddRGBPoint(value, red, 0, 0)
        opacity.AddPoint(value, alpha)
    display.GetVolumePropertyNode().SetColor(colors)
    display.GetVolumePropertyNode().SetScalarOpacity(opacity)
    display.SetVisibility(True)
    slicer.util.resetThreeDViews()
    after = host.captureView("1")
    height, width = after.shape[:2]
    assert before[height // 2, width // 2, 2] > before[height // 2, width // 2, 0], "the empty view is blue"
    middle = (
        after[height // 2 - 5 : height // 2 + 5, width // 2 - 5 : width // 2 + 5].reshape(-1, 3).mean(axis=0)
    )
    assert middle[0] > 2 * middle[2], "the ball is red"
    display.SetVisibility(False)
    eightBit = slicer.util.addVolumeFromArray(np.ones((4, 4, 4), "uint8"))
    assert slicer.modules.volumerendering.logic().CreateDefaultVolumeRenderingNodes(eightBit) is not None


def testSceneRoundTrip(host, widget, tmp_path):
    import slicer
    import vtk

    host.click(widget.ui.applyButton)
    oblique = np.eye(4)
    oblique[:3, :3] = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) * [1.0, 2.0, 3.0]
    head("oblique", ijkToRAS=oblique)
    matrix = slicer.util.arrayFromVTKMatrix
    node = widget._parameterNode
    node.threshold, node.note = 0.4, "kept"
    host.saveScene(tmp_path / "scene.mrb")
    ijkToRAS = vtk.vtkMatrix4x4()
    slicer.util.getNode("oblique").GetIJKToRASMatrix(ijkToRAS)
    before = matrix(ijkToRAS).copy()
    host.closeScene()
    assert widget._parameterNode.mapVolume is None and widget._parameterNode.note == ""
    assert not coloured(host.captureView("Red")).any()
    host.loadScene(tmp_path / "scene.mrb")
    host.exitModule()
    host.enterModule()
    node = widget._parameterNode
    assert (node.threshold, node.note, node.history) == (0.4, "kept", ["bright"])
    assert node.mapVolume.GetName() == "head map" and widget.ui.mapSelector.currentNode() is node.mapVolume
    table = node.mapVolume.GetDisplayNode().GetColorNode()
    assert table.GetName() == "HostSampleHeat" and table.GetNumberOfColors() == 256
    slicer.util.getNode("oblique").GetIJKToRASMatrix(ijkToRAS)
    assert np.allclose(matrix(ijkToRAS), before)
    assert coloured(host.captureView("Red")).any(), "the overlay is shown again"


@pytest.mark.parametrize("ending", [".nrrd", ".nii.gz"])
def testFilesKeepGeometry(host, tmp_path, ending):
    import SimpleITK as sitk
    import slicer

    matrix = np.diag([1.5, 2.0, 2.5, 1.0])
    volume = head(ijkToRAS=matrix)
    path = str(tmp_path / f"head{ending}")
    assert slicer.util.saveNode(volume, path)
    image = sitk.ReadImage(path)
    origin = volume.GetOrigin()
    assert np.allclose(image.GetOrigin(), [-origin[0], -origin[1], origin[2]]), "files are LPS"
    again = slicer.util.loadVolume(path)
    assert np.array_equal(slicer.util.arrayFromVolume(again), slicer.util.arrayFromVolume(volume))
    assert again.GetName() == "head_1" and np.allclose(again.GetOrigin(), origin)
    assert np.allclose(again.GetSpacing(), (1.5, 2.0, 2.5))
    with pytest.raises(RuntimeError, match="does not exist"):
        slicer.util.loadVolume(str(tmp_path / "missing.nrrd"))
    assert host.vtkErrors == []
    (tmp_path / "broken.nrrd").write_text("no image")
    with pytest.raises(RuntimeError, match="cannot be read"):
        slicer.util.loadVolume(str(tmp_path / "broken.nrrd"))
    assert host.vtkErrors


def testSegmentationHierarchyAndMarkups(host):
    import slicer

    volume = head()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(volume)
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Study")
    hierarchy.SetItemParent(item, folder)
    assert hierarchy.GetItemName(hierarchy.GetItemParent(item)) == "Study"
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    identifier = segmentation.GetSegmentation().AddEmptySegment("spot")
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        (slicer.util.arrayFromVolume(volume) > 200).astype("uint8"), segmentation, identifier, volume
    )
    assert slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, identifier, volume).sum() == 8**3
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    slicer.modules.markups.logic().JumpSlicesToLocation(-20, 16, 16, True)
    assert coloured(host.captureView("Green")).any(), "the segment is drawn"
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Region")
    roi.SetSize(10, 20, 30)
    assert hierarchy.GetItemByDataNode(roi) and tuple(roi.GetSize()) == (10, 20, 30)
    slicer.mrmlScene.RemoveNode(roi)
    assert not hierarchy.GetItemByDataNode(volume) == 0


def testLayoutsOffsetsAndMouse(host):
    import slicer
    from PySide6 import QtCore, QtGui

    volume = head()
    manager = slicer.app.layoutManager()
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    red = manager.sliceWidget("Red")
    assert manager.sliceViewNames() and manager.threeDViewCount == 1
    slider = red.sliceController().sliceOffsetSlider()
    slider.value = 12.0
    assert red.sliceLogic().GetSliceOffset() == pytest.approx(12.0)
    red.sliceLogic().SetSliceOffset(-8.0)
    assert slider.value == pytest.approx(-8.0)
    place = QtCore.QPointF(red.sliceView().width / 2, red.sliceView().height / 2)
    event = QtGui.QWheelEvent(
        place,
        place,
        QtCore.QPoint(),
        QtCore.QPoint(0, 120),
        QtCore.Qt.NoButton,
        QtCore.Qt.NoModifier,
        QtCore.Qt.NoScrollPhase,
        False,
    )
    host.app.sendEvent(red.sliceView(), event)
    assert red.sliceLogic().GetSliceOffset() != pytest.approx(-8.0), "the wheel moves the slice"
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    host.processEvents()
    assert red.isVisible() and not manager.sliceWidget("Green").isVisible()
    text = "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{name}"/></item>' for name in ("Red", "Compare9")
    )
    manager.layoutLogic().GetLayoutNode().AddLayoutDescription(
        901, f'<layout type="horizontal">{text}</layout>'
    )
    manager.setLayout(901)
    host.processEvents()
    assert manager.sliceWidget("Compare9").isVisible() and manager.sliceWidget("Red").isVisible()


def testReloadAndPackages(host, widget):
    import slicer
    from slicer.packaging import pip_install

    from Testing.Host import neighbours

    again = host.reloadModule()
    assert again is not widget and slicer.modules.HostSampleWidget is again
    host.click(again.ui.applyButton)
    assert again.ui.statusLabel.text == "Done: head map"
    pip_install("nothing-at-all>=1")
    assert neighbours.installed[-1] == "nothing-at-all>=1"
    assert neighbours.sampleData[-1]["sampleName"] == "Nothing"
    slicer.selfTests["HostSample"]()


def testScreenshot(host, widget, tmp_path):
    picture = host.screenshot(tmp_path / "window.png")
    assert picture.shape == (950, 1500, 3) and (tmp_path / "window.png").stat().st_size > 20000
    bar = picture[36:56, 520:960].reshape(-1, 3).mean(axis=0)
    assert bar[0] > 180 and bar[2] < 120, "the red bar is where Slicer has it"
    assert picture[100:900, 10:480].mean() < 90, "the panel is dark"


def testModuleThatFails(host, tmp_path):
    for stage in ("__init__", "setup", "enter"):
        path = tmp_path / f"Broken{stage.strip('_')}.py"
        name = path.stem
        path.write_text(
            "from slicer.ScriptedLoadableModule import *\n"
            f"class {name}(ScriptedLoadableModule):\n    pass\n"
            f"class {name}Widget(ScriptedLoadableModuleWidget):\n"
            f"    def {stage}(self, parent=None):\n        raise KeyError('{stage}')\n"
        )
        with pytest.raises(KeyError, match=stage):
            host.loadModule(path)
        assert Host.fresh() is host
    host.loadModule(SAMPLE)


def testCommandLine(tmp_path):
    picture = tmp_path / "out.png"
    command = [
        sys.executable,
        "-m",
        "Testing.Host",
        SAMPLE,
        "--screenshot",
        str(picture),
        "--size",
        "900x600",
    ]
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert picture.stat().st_size > 10000

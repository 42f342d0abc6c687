"""The MRML scene with the logics of Slicer's C++ modules, in the order in which they need one another."""

import os

import slicer
import vtk

from .subjecthierarchy import SubjectHierarchyPlugins

SLICE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLTransformsDisplayableManager2D",
    "vtkMRMLLinearTransformsDisplayableManager",
)
THREED_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLThreeDReformatDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager3D",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLTransformsDisplayableManager3D",
    "vtkMRMLLinearTransformsDisplayableManager",
    "vtkMRMLVolumeRenderingDisplayableManager",
)
# Module name, logic class; Terminologies is missing because its JSON files are not in the wheel.
LOGICS = (
    ("Units", "vtkSlicerUnitsLogic"),
    ("Cameras", "vtkSlicerCamerasModuleLogic"),
    ("Volumes", "vtkSlicerVolumesLogic"),
    ("Models", "vtkSlicerModelsLogic"),
    ("Transforms", "vtkSlicerTransformLogic"),
    ("SubjectHierarchy", "vtkSlicerSubjectHierarchyModuleLogic"),
    ("Segmentations", "vtkSlicerSegmentationsModuleLogic"),
    ("Markups", "vtkSlicerMarkupsLogic"),
    ("VolumeRendering", "vtkSlicerVolumeRenderingLogic"),
    ("Sequences", "vtkSlicerSequencesLogic"),
    ("CropVolume", "vtkSlicerCropVolumeLogic"),
    ("Tables", "vtkSlicerTablesLogic"),
    ("Texts", "vtkSlicerTextsLogic"),
    ("Plots", "vtkSlicerPlotsLogic"),
)


class VolumeRenderingLogic(slicer.vtkSlicerVolumeRenderingLogic):
    """For 8-bit volumes Slicer copies a preset without looking; the wheel has none, and it crashes."""

    def CreateDefaultVolumeRenderingNodes(self, volume):
        image = volume.GetImageData()
        known = self.GetFirstVolumeRenderingDisplayNode(volume)
        if known is not None or image is None or image.GetScalarType() != vtk.VTK_UNSIGNED_CHAR:
            return super().CreateDefaultVolumeRenderingNodes(volume)
        display = self.CreateVolumeRenderingDisplayNode()
        display.UnRegister(None)
        self.GetMRMLScene().AddNode(display)
        for view in slicer.util.getNodesByClass("vtkMRMLViewNode"):
            display.AddViewNodeID(view.GetID())
        volume.AddAndObserveDisplayNodeID(display.GetID())
        self.UpdateDisplayNodeFromVolumeNode(display, volume, None, None, False)
        display.GetVolumePropertyNode().GetVolumeProperty().SetIndependentComponents(
            image.GetNumberOfScalarComponents() not in (3, 4)
        )
        return display


class Scene:
    """`scene.mrml` (vtkMRMLScene), `scene.applicationLogic`, `scene.logics["Colors"]`..."""

    def __init__(self, home):
        self.home = str(home)
        self.temporaryPath = os.path.join(self.home, "temporary")
        os.makedirs(self.temporaryPath, exist_ok=True)
        self.mrml = slicer.vtkMRMLScene()
        self.logics = {}
        self._addSingletons()
        self.applicationLogic = self._makeApplicationLogic()
        self._addLogics()
        self._plugins = SubjectHierarchyPlugins(self.mrml)
        self._registerDisplayableManagers()
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.mrml, True)

    def _addSingletons(self):
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.mrml.AddNode(crosshair)
        self.mrml.AddNode(slicer.vtkMRMLInteractionNode())
        self.mrml.AddNode(slicer.vtkMRMLSelectionNode())
        self.mrml.SetUndoOff()

    def _makeApplicationLogic(self):
        logic = slicer.vtkSlicerApplicationLogic()
        logic.SetHomeDirectory(self.home)
        logic.SetShareDirectory("share")
        logic.SetTemporaryPath(self.temporaryPath)
        logic.SetMRMLScene(self.mrml)
        logic.SetSliceLogics(vtk.vtkCollection())
        logic.SetViewLogics(vtk.vtkCollection())
        remote = self._remote = slicer.vtkMRMLRemoteIOLogic()
        remote.SetMRMLScene(self.mrml)
        remote.GetCacheManager().SetRemoteCacheDirectory(self.temporaryPath)
        remote.AddDataIOToScene()
        data = self._data = slicer.vtkDataIOManagerLogic()
        data.SetMRMLScene(self.mrml)
        data.SetMRMLApplicationLogic(logic)
        data.SetAndObserveDataIOManager(remote.GetDataIOManager())
        return logic

    def _addLogics(self):
        # The colour logic needs the application logic when it gets the scene.
        self._addLogic("Colors", slicer.vtkSlicerColorLogic())
        self.applicationLogic.SetColorLogic(self.logics["Colors"])
        for name, className in LOGICS:
            self._addLogic(
                name, VolumeRenderingLogic() if name == "VolumeRendering" else getattr(slicer, className)()
            )
        rendering = self.logics["VolumeRendering"]
        rendering.SetDefaultRenderingMethod("vtkMRMLCPURayCastVolumeRenderingDisplayNode")
        # Slicer's presets are not in the wheel: none, rather than an error at each look-up.
        share = os.path.join(self.home, "share", "VolumeRendering")
        os.makedirs(share, exist_ok=True)
        with open(os.path.join(share, "presets.xml"), "w", encoding="utf-8") as file:
            file.write('<MRML version="5.13"></MRML>')
        rendering.SetModuleShareDirectory(share)

    def _addLogic(self, name, logic):
        logic.SetMRMLApplicationLogic(self.applicationLogic)
        logic.SetMRMLScene(self.mrml)
        self.logics[name] = logic
        self.applicationLogic.SetModuleLogic(name, logic)

    def _registerDisplayableManagers(self):
        self.sliceFactory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        self.threeDFactory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        for factory, managers in ((self.sliceFactory, SLICE_MANAGERS), (self.threeDFactory, THREED_MANAGERS)):
            factory.SetMRMLApplicationLogic(self.applicationLogic)
            for manager in managers:
                if not factory.IsDisplayableManagerRegistered(manager):
                    factory.RegisterDisplayableManager(manager)

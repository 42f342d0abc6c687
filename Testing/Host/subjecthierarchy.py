"""Gives data nodes their items in the subject hierarchy, as Slicer's plugins (Qt code) do."""

import slicer
import vtk

_OWNERS = {
    "vtkMRMLLabelMapVolumeNode": "LabelMaps",
    "vtkMRMLVolumeNode": "Volumes",
    "vtkMRMLSegmentationNode": "Segmentations",
    "vtkMRMLMarkupsNode": "Markups",
    "vtkMRMLModelNode": "Models",
    "vtkMRMLTransformNode": "Transforms",
    "vtkMRMLTableNode": "Tables",
    "vtkMRMLTextNode": "Texts",
    "vtkMRMLPlotChartNode": "Charts",
}


class SubjectHierarchyPlugins:
    """Observes the scene; keep a reference as long as the scene lives."""

    def __init__(self, scene):
        self._scene = scene
        for event, callback in (
            (scene.NodeAddedEvent, self._added),
            (scene.NodeAboutToBeRemovedEvent, self._removed),
        ):
            callback.__func__.CallDataType = vtk.VTK_OBJECT
            scene.AddObserver(event, callback)
        scene.AddObserver(scene.EndImportEvent, lambda *_: self._addMissing(), 10.0)
        scene.AddObserver(
            scene.EndCloseEvent, lambda *_: slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(scene)
        )

    def _owner(self, node):
        return next((owner for kind, owner in _OWNERS.items() if node.IsA(kind)), None)

    def _added(self, scene, event, node):
        if node.IsA("vtkMRMLSubjectHierarchyNode"):
            slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(scene)
        elif not scene.IsImporting():
            self._add(node)

    def _add(self, node):
        owner = self._owner(node)
        if owner is None or node.GetHideFromEditors():
            return
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)
        if not hierarchy.GetItemByDataNode(node):
            item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
            hierarchy.SetItemOwnerPluginName(item, owner)

    def _addMissing(self):
        slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(self._scene)
        for index in range(self._scene.GetNumberOfNodes()):
            self._add(self._scene.GetNthNode(index))

    def _removed(self, scene, event, node):
        if scene.IsClosing() or node.IsA("vtkMRMLSubjectHierarchyNode"):
            return
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.RemoveItem(item, False, False)

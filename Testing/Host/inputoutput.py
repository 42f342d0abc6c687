"""`slicer.app.coreIOManager()`: which file is what, loading, saving, exporting; .mrml and .mrb."""

import os

import slicer

# The longest ending that fits decides.
_ENDINGS = {
    ".seg.nrrd": "SegmentationFile",
    ".mrk.json": "MarkupsFile",
    ".mrml": "SceneFile",
    ".mrb": "SceneFile",
    ".nrrd": "VolumeFile",
    ".nhdr": "VolumeFile",
    ".nii.gz": "VolumeFile",
    ".nii": "VolumeFile",
    ".mha": "VolumeFile",
    ".mhd": "VolumeFile",
    ".hdr": "VolumeFile",
    ".img": "VolumeFile",
    ".dcm": "VolumeFile",
    ".tif": "VolumeFile",
    ".vtk": "ModelFile",
    ".vtp": "ModelFile",
    ".stl": "ModelFile",
    ".ply": "ModelFile",
    ".obj": "ModelFile",
    ".ctbl": "ColorTableFile",
    ".txt": "ColorTableFile",
    ".h5": "TransformFile",
    ".tfm": "TransformFile",
    ".csv": "TableFile",
    ".tsv": "TableFile",
    ".json": "TextFile",
    ".xml": "TextFile",
}
_CLASSES = {
    "ModelFile": "vtkMRMLModelNode",
    "ColorTableFile": "vtkMRMLColorTableNode",
    "TransformFile": "vtkMRMLTransformNode",
    "TableFile": "vtkMRMLTableNode",
    "TextFile": "vtkMRMLTextNode",
    "SegmentationFile": "vtkMRMLSegmentationNode",
}


def ending(path):
    return max(
        (e for e in _ENDINGS if str(path).lower().endswith(e)), key=len, default=os.path.splitext(path)[1]
    )


class CoreIOManager:
    """The part of qSlicerCoreIOManager that `slicer.util` calls."""

    def __init__(self, scene, thumbnail):
        self._scene, self._thumbnail = scene, thumbnail

    def fileType(self, path):
        return _ENDINGS.get(ending(path), "NoFile")

    def fileWriterFileType(self, node, *_):
        return (
            "SceneFile"
            if node is self._scene.mrml
            else "VolumeFile"
            if node.IsA("vtkMRMLVolumeNode")
            else node.GetNodeTagName()
        )

    def extractKnownExtension(self, path, node=None):
        return ending(path)

    def fileWriterExtensions(self, node):
        storage = node.CreateDefaultStorageNode()
        if storage is None:
            return ()
        storage.UnRegister(None)
        types = storage.GetSupportedWriteFileTypes()
        return tuple(types.GetValue(i) for i in range(types.GetNumberOfValues()))

    def loadNodes(self, fileType, properties, nodes=None, messages=None):
        path = str(properties["fileName"])
        if not os.path.exists(path):
            return self._fail(messages, f"The file does not exist: {path}")
        if fileType == "SceneFile":
            return self.loadScene(path, clear=properties.get("clear", False), messages=messages)
        if fileType == "VolumeFile":
            node = self._loadVolume(path, properties)
        elif fileType == "MarkupsFile":
            node = self._scene.mrml.GetNodeByID(self._scene.logics["Markups"].LoadMarkups(path, "") or "")
        elif fileType == "SegmentationFile" and hasattr(
            self._scene.logics["Segmentations"], "LoadSegmentationFromFile"
        ):
            node = self._scene.logics["Segmentations"].LoadSegmentationFromFile(
                path, True, properties.get("name", "")
            )
        elif fileType == "ColorTableFile":
            node = self._scene.logics["Colors"].LoadColorFile(
                path, properties.get("name", os.path.basename(path))
            )
        else:
            node = self._loadByStorage(path, _CLASSES.get(fileType), properties)
        if node is None:
            return self._fail(messages, f"The file cannot be read as {fileType}: {path}")
        if properties.get("name"):
            node.SetName(self._scene.mrml.GenerateUniqueName(properties["name"]))
        if nodes is not None:
            nodes.AddItem(node)
        return True

    def _fail(self, messages, text):
        if messages is not None:
            messages.AddMessage(0x10000, text)
        return False

    def _loadVolume(self, path, properties):
        options = sum(
            bit
            for name, bit in (("labelmap", 1), ("center", 2), ("singleFile", 4), ("discardOrientation", 16))
            if properties.get(name)
        )
        options += 8 if properties.get("autoWindowLevel", True) else 0
        name = properties.get("name") or os.path.basename(path)[: -len(ending(path)) or None]
        node = self._scene.logics["Volumes"].AddArchetypeVolume(path, name, options)
        if node is not None and properties.get("show", True):
            selection = self._scene.applicationLogic.GetSelectionNode()
            if node.IsA("vtkMRMLLabelMapVolumeNode"):
                selection.SetActiveLabelVolumeID(node.GetID())
            else:
                selection.SetActiveVolumeID(node.GetID())
            self._scene.applicationLogic.PropagateVolumeSelection()
        return node

    def _loadByStorage(self, path, className, properties):
        if className is None:
            return None
        name = properties.get("name") or os.path.basename(path)[: -len(ending(path)) or None]
        node = self._scene.mrml.AddNewNodeByClass(className, name)
        node.AddDefaultStorageNode(path)
        if not node.GetStorageNode().ReadData(node):
            self._scene.mrml.RemoveNode(node)
            return None
        if hasattr(node, "CreateDefaultDisplayNodes"):
            node.CreateDefaultDisplayNodes()
        return node

    def saveNodes(self, fileType, properties, messages=None):
        path = str(properties["fileName"])
        if fileType == "SceneFile":
            return self.saveScene(path, messages)
        node = self._scene.mrml.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode(path)
        storage = node.GetStorageNode()
        if storage is None:
            return self._fail(messages, f"{node.GetName()} cannot be stored")
        storage.SetFileName(path)
        if "useCompression" in properties:
            storage.SetUseCompression(properties["useCompression"])
        return bool(storage.WriteData(node))

    def exportNodes(self, nodeIDs, fileNames, properties, hardenTransform=False, messages=None):
        for nodeID, path in zip(nodeIDs, fileNames, strict=True):
            node = self._scene.mrml.GetNodeByID(nodeID)
            storage = node.CreateDefaultStorageNode()
            storage.UnRegister(None)
            storage.SetFileName(str(path))
            if not storage.WriteData(node):
                return False
        return True

    # Scenes

    def saveScene(self, path, messages=None):
        scene = self._scene.mrml
        if path.endswith(".mrb"):
            return bool(scene.WriteToMRB(path, self._thumbnail()))
        if path.endswith(".mrml"):
            scene.SetURL(path)
            return bool(scene.Commit(path))
        os.makedirs(path, exist_ok=True)
        return bool(scene.SaveSceneToSlicerDataBundleDirectory(path, self._thumbnail()))

    def loadScene(self, path, clear=True, messages=None):
        scene = self._scene.mrml
        if path.endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, clear))
        scene.SetURL(path)
        return bool(scene.Connect() if clear else scene.Import())

    def addDefaultStorageNodes(self):
        for node in slicer.util.getNodesByClass("vtkMRMLStorableNode"):
            if node.GetStorageNode() is None:
                node.AddDefaultStorageNode()

"""Slicer's module Sample Data, as far as another module may call it: sources by name, and files in the cache.

Read from Slicer's SampleData.py: `downloadFromSource` takes a file that is in the cache with the right checksum, and
otherwise fetches it, in the middle of which the window stands still; this host fetches nothing, and raises instead.
"""

import hashlib
import os

import slicer

from .neighbours import SampleDataLogic as Registry

_STORE = "https://github.com/Slicer/SlicerTestingData/releases/download/"
_BUILT_IN = (
    ("MRHead", "MR-head.nrrd", "cc211f0dfd9a05ca3841ce1141b292898b2dd2d3f08286affadf823a7e58df93"),
    ("MRBrainTumor1", "RegLib_C01_1.nrrd", "998cb522173839c78657f4bc0ea907cea09fd04e44601f17c82ea27927937b95"),
    ("MRBrainTumor2", "RegLib_C01_2.nrrd", "1a64f3f422eb3d1c9b093d1a18da354b13bcf307907c66317e2463ee530b7a97"),
)


class SampleDataSource:
    """Lists of the same length, one entry a file."""

    def __init__(self, sampleName, uris, fileNames, nodeNames, checksums):
        self.sampleName, self.sampleDescription = sampleName, sampleName
        self.uris, self.fileNames, self.nodeNames, self.checksums = [uris], [fileNames], [nodeNames], [checksums]
        self.loadFiles, self.loadFileType, self.loadFileProperties = [None], ["VolumeFile"], {}
        self.customDownloader = self.thumbnailFileName = None


class SampleDataLogic(Registry):
    """Knows Slicer's own samples, in `slicer.modules.sampleDataSources`."""

    builtInCategoryName = "General"

    def __init__(self, logMessage=None):
        if not hasattr(slicer.modules, "sampleDataSources"):
            slicer.modules.sampleDataSources = {}
        sources = slicer.modules.sampleDataSources.setdefault(self.builtInCategoryName, [])
        for name, fileName, digest in () if sources else _BUILT_IN:
            sources.append(SampleDataSource(name, f"{_STORE}SHA256/{digest}", fileName, name, f"SHA256:{digest}"))

    def sourceForSampleName(self, sampleName):
        for sources in slicer.modules.sampleDataSources.values():
            for source in sources:
                if source.sampleName == sampleName:
                    return source
        return None

    def downloadFromSource(self, source, maximumAttemptsCount=3):
        folder = slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory()
        path = os.path.join(folder, source.fileNames[0])
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        if source.checksums[0] and digest != source.checksums[0].partition(":")[2]:
            raise RuntimeError("Slicer would fetch it again, and the window would stand still")
        node = slicer.util.loadVolume(path, {"name": source.nodeNames[0], "show": False})
        storage = node.GetStorageNode()
        if storage is not None:
            slicer.mrmlScene.RemoveNode(storage)
            node.SetAndObserveStorageNodeID(None)
        return [node]

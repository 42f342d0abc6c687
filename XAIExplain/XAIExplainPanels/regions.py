"""How much of a map lies in each segment of a segmentation: figures, the table of them, and a segment as a file."""

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from XAIExplainLib.errors import XAIError
from XAIExplainPanels import exchange, record, tables
from XAIExplainPanels.strength import stateOf

KIND = "segments"
METRICS = "metrics"  # the kind of the table of results against a segment
TRUTH = (0.2, 1.0, 0.2)  # the color of its outline, which no map has
TRUTH_OF = "XAIExplain.TruthOf"  # reference of a truth's node to its volume
HIDDEN = "XAIExplain.HiddenTruth"
SLAB = 1_000_000  # voxels that are read between two looks at the panel


class Regions:
    """
    Figures of maps by segment.

    :param folder: the exchange folder.
    """

    def __init__(self, folder):
        self.folder = folder

    def statistics(self, maps, segmentationNode):
        """
        Figures of each map in each segment, and their table in the scene.

        :return: the table's node.
        :raises XAIError: see `steps`.
        """
        job = self.steps(maps, segmentationNode)
        while True:
            try:
                next(job)
            except StopIteration as end:
                return end.value

    def steps(self, maps, segmentationNode):
        """
        As `statistics`, a segment or a slab at a time: a generator of the share that is done, and at last of the node.

        :raises XAIError: if there is no map or no segment, or the segmentation has no labelmap.
        """
        if not maps:
            raise XAIError(_("No result is checked."), _("Check the results that you want the figures of."))
        segments = segmentsOf(segmentationNode)
        if not segments:
            raise XAIError(_("There is no segmentation with segments."),
                           _("Choose one, or make one with the module Segment Editor."))
        ids = [mapNode.GetID() for mapNode in maps]
        rows = []
        for place, mapID in enumerate(ids):
            found = None
            for share, found in self._mapSteps(mapID, segmentationNode, segments):  # noqa: B007
                yield (place + share) / len(ids)
            rows += found
        maps = [slicer.mrmlScene.GetNodeByID(mapID) for mapID in ids]
        if any(mapNode is None for mapNode in maps):
            raise gone()
        return tables.tableNode(KIND, tableName(segmentationNode), maps, columns(), rows)

    def _mapSteps(self, mapID, segmentationNode, segments):
        """The rows of one map; the last is what lies in no segment."""
        mapNode = slicer.mrmlScene.GetNodeByID(mapID)
        if mapNode is None or stateOf(mapNode) is None:
            raise gone()
        array = slicer.util.arrayFromVolume(mapNode)
        voxel = voxelVolume(mapNode)
        whole = Tally()
        for slab in slabs(array.shape):
            whole.add(array[slab].reshape(-1))
            yield 0.3 * slab.start / len(array), []
        rows, covered = [], np.zeros(array.shape, bool)
        for place, (segmentID, name) in enumerate(segments):
            if slicer.mrmlScene.GetNodeByID(mapID) is None or not slicer.mrmlScene.IsNodePresent(segmentationNode):
                raise gone()
            box, inside = segmentMask(segmentationNode, segmentID, mapNode)
            tally = Tally()
            part = array[box]
            for slab in slabs(part.shape):
                covered[box][slab] |= inside[slab]
                tally.add(part[slab][inside[slab]])
                yield 0.3 + 0.5 * place / len(segments), []
            rows.append([mapNode.GetName(), name, *tally.figures(whole, voxel)])
        tally = Tally()
        for slab in slabs(array.shape):
            tally.add(array[slab][~covered[slab]])
            yield 0.8 + 0.2 * slab.start / len(array), []
        if tally.voxels:
            rows.append([mapNode.GetName(), _("(elsewhere)"), *tally.figures(whole, voxel)])
        yield 1.0, rows

    def maskFile(self, segmentationNode, segmentID, mapNode):
        """
        The segment as a file on the map's grid, for the engine; the caller removes it.

        :raises XAIError: if it is empty there.
        """
        import SimpleITK

        from XAIExplainLib.geometry import place

        geometry = exchange.worldGeometry(mapNode)
        mask = np.zeros(geometry.shape, np.uint8)
        box, inside = segmentMask(segmentationNode, segmentID, mapNode)
        mask[box] = inside
        if not mask.any():
            raise XAIError(_("The segment has no voxel on the map."), _("Choose a segment that lies on the volume."))
        image = SimpleITK.GetImageFromArray(mask)
        place(image, geometry)
        path = self.folder.mapFile()
        try:
            SimpleITK.WriteImage(image, path, useCompression=False)
        except RuntimeError as error:
            raise XAIError(_("The segment could not be written for the engine: {path}").format(path=path),
                           _("Make room on the disk.")) from error
        return path


def tableName(segmentationNode):
    """What the table of a segmentation's figures is called."""
    return _("{name} relevance by segment").format(name=segmentationNode.GetName())


def truthPath(case):
    """File of what was put into a bundled case: the mask of its lesion, or else of its marker; empty if neither."""
    paths = (case or {}).get("paths") or {}
    return paths.get("mask") or paths.get("marker") or ""


def isTruthOf(segmentationNode, volumeNode):
    """Whether the segmentation is what was put into this bundled case; None for the volume asks for any case."""
    found = segmentationNode.GetNodeReferenceID(TRUTH_OF) if segmentationNode is not None else None
    return bool(found) and (volumeNode is None or found == volumeNode.GetID())


def truthOf(volumeNode):
    """The scene's truth of this bundled case, or None."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return next((node for node in nodes if isTruthOf(node, volumeNode)), None)


def showTruthOf(volumeNode):
    """Hide the truth of other cases, whose outlines would lie over this one, and show again what was hidden so."""
    if volumeNode is None:
        return
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        display = node.GetDisplayNode() if isTruthOf(node, None) else None
        if display is None:
            continue
        if not isTruthOf(node, volumeNode) and display.GetVisibility():
            display.SetVisibility(False)
            node.SetAttribute(HIDDEN, "true")
        elif isTruthOf(node, volumeNode) and node.GetAttribute(HIDDEN) == "true":
            display.SetVisibility(True)
            node.RemoveAttribute(HIDDEN)


def loadTruth(case, volumeNode):
    """
    Load what was put into a bundled case, its lesion or its marker, as a segmentation of its volume.

    :param case: the case as the engine describes it.
    :return: the segmentation's node.
    :raises XAIError: if it has none, or it cannot be read.
    """
    path = truthPath(case)
    failed = XAIError(_("The truth of this example could not be read."), _("Install XAIExplain again."))
    if not path:
        raise failed
    try:
        labelmap = slicer.util.loadVolume(path, {"labelmap": True, "show": False})
    except RuntimeError as error:
        raise failed from error
    try:
        name = _("{name} truth").format(name=volumeNode.GetName())
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
        slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labelmap, node)
        node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
        node.SetNodeReferenceID(TRUTH_OF, volumeNode.GetID())
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetVisibility2DFill(False)  # a fill would cover the maps
        node.GetDisplayNode().SetSliceIntersectionThickness(2)
    finally:
        slicer.mrmlScene.RemoveNode(labelmap)
    segmentation = node.GetSegmentation()
    for index in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(index)
        if segmentation.GetNumberOfSegments() == 1:
            segment.SetName(_("lesion") if case["paths"].get("mask") else _("marker"))
        segment.SetColor(*TRUTH)
    record.placeUnder(node, volumeNode)
    return node


def gone():
    return XAIError(_("A result or the segmentation was deleted meanwhile."), _("Choose them again."))


def readable(rows):
    """Titles and rows of one result's segments, short for a reader: without the result, volumes in cm\u00b3."""
    titles = [_("Segment"), _("cm\u00b3"), _("Share %"), _("For %"), _("Mean"), _("Peak"), _("per mm\u00b3")]
    return titles, [[row[1], row[2] / 1000, *row[3:]] for row in rows]


def columns():
    """Titles of the table's columns."""
    return [_("Result"), _("Segment"), _("Volume (mm\u00b3)"), _("Share of relevance (%)"),
            _("Share of what speaks for (%)"), _("Mean"), _("Peak"), _("Relevance per mm\u00b3")]


class Tally:
    """What is counted of voxels, a part at a time."""

    def __init__(self):
        self.voxels = 0
        self.relevance = self.positive = self.sum = self.peak = 0.0

    def add(self, values):
        """Count further values, shape (n,)."""
        if not values.size:
            return
        size = np.abs(values)
        self.voxels += values.size
        self.relevance += float(size.sum(dtype=float))
        self.sum += float(values.sum(dtype=float))
        self.positive += float(np.clip(values, 0, None).sum(dtype=float))
        strongest = float(values[int(size.argmax())])
        if abs(strongest) > abs(self.peak):
            self.peak = strongest

    def figures(self, whole, voxel):
        """
        :param whole: the tally of the whole map.
        :param voxel: cubic millimeters of a voxel.
        :return: volume, share of |value| and of the positive values in percent, mean, peak (the value that is largest
            by size), and the sum of |value| per cubic millimeter; None where there is none.
        """
        if not self.voxels:
            return [0.0, 0.0, 0.0, None, None, None]
        volume = self.voxels * voxel
        return [
            volume,
            100 * self.relevance / whole.relevance if whole.relevance > 0 else None,
            100 * self.positive / whole.positive if whole.positive > 0 else None,
            self.sum / self.voxels,
            self.peak,
            self.relevance / volume,
        ]


def slabs(shape):
    """Slices of the first axis, each of some hundred thousand voxels at most."""
    depth = max(1, SLAB // max(1, shape[1] * shape[2]))
    return [slice(start, start + depth) for start in range(0, shape[0], depth)]


def segmentsOf(segmentationNode):
    """ID and name of each segment."""
    if segmentationNode is None:
        return []
    segmentation = segmentationNode.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    return [(segmentID, segmentation.GetSegment(segmentID).GetName()) for segmentID in ids]


def segmentMask(segmentationNode, segmentID, mapNode):
    """
    The segment on the map's voxels, with the transforms of both: a box of the map's array (three slices), and which of
    its voxels are inside. A voxel is inside if its center is.

    :raises XAIError: if the segmentation has no binary labelmap and none can be made.
    """
    labelmap = slicer.vtkOrientedImageData()
    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    segmentation = segmentationNode.GetSegmentation()
    made = not segmentation.ContainsRepresentation(name)
    if made and not segmentationNode.CreateBinaryLabelmapRepresentation():
        raise XAIError(
            _("The segmentation {name} could not be turned into voxels.").format(name=segmentationNode.GetName()),
            _("Make its binary labelmap with the module Segmentations."))
    try:
        segmentationNode.GetBinaryLabelmapRepresentation(segmentID, labelmap)
    finally:
        if made:
            segmentation.RemoveRepresentation(name)
    nowhere = (slice(0, 0),) * 3
    if labelmap.GetPointData() is None or labelmap.GetPointData().GetScalars() is None:
        return nowhere, np.zeros((0, 0, 0), bool)
    grid = slicer.vtkOrientedImageData()
    grid.SetExtent(mapNode.GetImageData().GetExtent())
    matrix = vtk.vtkMatrix4x4()
    mapNode.GetIJKToRASMatrix(matrix)
    grid.SetGeometryFromImageToWorldMatrix(matrix)
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
        segmentationNode.GetParentTransformNode(), mapNode.GetParentTransformNode(), transform)
    placed = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        labelmap, grid, placed, False, False, transform)
    scalars = placed.GetPointData().GetScalars() if placed.GetPointData() is not None else None
    if scalars is None or not scalars.GetNumberOfTuples():
        return nowhere, np.zeros((0, 0, 0), bool)
    low, high = placed.GetExtent()[::2], placed.GetExtent()[1::2]
    shape = [high[axis] - low[axis] + 1 for axis in (2, 1, 0)]
    inside = vtk_to_numpy(scalars).reshape(shape) > 0
    size = mapNode.GetImageData().GetDimensions()
    box, part = [], []
    for axis in (2, 1, 0):  # what reaches over the map's edge is left out
        start, stop = max(low[axis], 0), min(high[axis] + 1, size[axis])
        box.append(slice(start, max(start, stop)))
        part.append(slice(start - low[axis], max(start, stop) - low[axis]))
    return tuple(box), inside[tuple(part)].copy()


def voxelVolume(mapNode):
    """Cubic millimeters of a voxel in the world, its parent transforms included where they are linear."""
    matrix = vtk.vtkMatrix4x4()
    mapNode.GetIJKToRASMatrix(matrix)
    transform = mapNode.GetParentTransformNode()
    if transform is not None and transform.IsTransformToWorldLinear():
        toWorld = vtk.vtkMatrix4x4()
        transform.GetMatrixTransformToWorld(toWorld)
        vtk.vtkMatrix4x4.Multiply4x4(toWorld, matrix, matrix)
    return abs(float(np.linalg.det(slicer.util.arrayFromVTKMatrix(matrix)[:3, :3])))

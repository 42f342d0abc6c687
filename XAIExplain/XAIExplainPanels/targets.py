"""What is explained, where it is more than a class: for the engine, and in words for the map's name and its record."""

import hashlib
import os
from collections import namedtuple

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from XAIExplainLib.errors import XAIError
from XAIExplainPanels.exchange import worldGeometry, writeArray
from XAIExplainPanels.regions import segmentMask

# `value` is the target as `logic.explain` takes it, `title` is given with it as `targetTitle`.
Target = namedtuple("Target", "value title")

SCORE, PROBABILITY, DIFFERENCE = "score", "probability", "difference"
SEGMENT, BOX, VOXEL = "segment", "box", "voxel"


class Targets:
    """
    Makes targets of what is in the scene. A class is a name, or "" for the network's own answer.

    :param folder: the exchange folder, where masks are written.
    """

    def __init__(self, folder):
        self.folder = folder

    def score(self, name=""):
        """The score of a class, as the network gives it."""
        return Target(name or None, name)

    def probability(self, name=""):
        """How probable the network says a class is."""
        return Target({"probability": name or None}, _("probability of {name}").format(name=name or _("the answer")))

    def difference(self, one, other):
        """What speaks for a class rather than for another one."""
        if not one or not other or one == other:
            raise XAIError(_("A difference needs two classes."), _("Choose two different classes by name."))
        return Target({"difference": [one, other]}, _("{one} rather than {other}").format(one=one, other=other))

    def segment(self, volumeNode, segmentationNode, segmentID, name=""):
        """A class of a segmenting network within a segment of the scene."""
        segmentation = segmentationNode.GetSegmentation() if segmentationNode is not None else None
        segment = segmentation.GetSegment(segmentID) if segmentation is not None and segmentID else None
        if segment is None:
            raise XAIError(_("No segment is chosen."), _("Choose a segmentation of the scene, and a segment of it."))
        mask = np.zeros(worldGeometry(volumeNode).shape, np.uint8)
        box, inside = segmentMask(segmentationNode, segmentID, volumeNode)
        mask[box] = inside
        return self._region(volumeNode, mask, segmentationNode.GetID() + segmentID, segment.GetName(), name)

    def box(self, volumeNode, roiNode, name=""):
        """A class of a segmenting network within a region of interest of the module Markups."""
        if roiNode is None or min(roiNode.GetSize()) <= 0:
            raise XAIError(_("No region of interest is chosen."), _("Draw one with the module Markups, and choose it."))
        return self._region(volumeNode, boxMask(volumeNode, roiNode), roiNode.GetID(), roiNode.GetName(), name)

    def voxel(self, volumeNode, index, name=""):
        """A class of a segmenting network at one voxel (i, j, k) of the volume."""
        size = volumeNode.GetImageData().GetDimensions()
        if len(index) != 3 or any(not 0 <= n < most for n, most in zip(index, size)):
            raise XAIError(
                _("The voxel lies outside of the volume {name}.").format(name=volumeNode.GetName()),
                _("Move the crosshair into the volume (Shift and the mouse), and take its place again."))
        where = _("voxel {index}").format(index=", ".join(str(int(n)) for n in index))
        return Target({"voxel": [int(n) for n in index], "class": name or None}, at(name, where))

    def _region(self, volumeNode, mask, source, where, name):
        if not mask.any():
            raise XAIError(
                _("{where} does not touch the volume {name}.").format(where=where, name=volumeNode.GetName()),
                _("Draw it where the volume is, or choose another one."))
        digest = hashlib.sha1(source.encode("utf-8"), usedforsecurity=False).hexdigest()[:12]
        path = os.path.join(self.folder.path, "region-{}.nrrd".format(digest))
        writeArray(mask, worldGeometry(volumeNode), path)
        return Target({"region": path, "class": name or None}, at(name, where))


def at(name, where):
    """A class and a place in words."""
    return _("{name} in {where}").format(name=name, where=where) if name else _("in {where}").format(where=where)


def boxMask(volumeNode, roiNode):
    """Which voxels of the volume (k, j, i) have their center in the region of interest, with the transforms of both."""
    toBox = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(roiNode.GetObjectToWorldMatrix(), toBox)
    toBox = slicer.util.arrayFromVTKMatrix(toBox) @ worldGeometry(volumeNode).ras_affine
    half = np.array(roiNode.GetSize()) / 2
    shape = volumeNode.GetImageData().GetDimensions()
    corners = np.array(np.meshgrid(*[[-side, side] for side in half], indexing="ij")).reshape(3, 8)
    corners = np.linalg.inv(toBox) @ np.vstack([corners, np.ones(8)])
    # Only the part of the volume around the box is looked at.
    low = np.clip(np.floor(corners[:3].min(1)), 0, shape).astype(int)
    high = np.clip(np.ceil(corners[:3].max(1)) + 1, low, shape).astype(int)
    i, j, k = (np.arange(first, last) for first, last in zip(low, high))
    inside = np.ones((len(k), len(j), len(i)), bool)
    for row, side in zip(toBox[:3], half):
        place = row[2] * k[:, None, None] + row[1] * j[:, None] + row[0] * i + row[3]
        inside &= np.abs(place) <= side * (1 + 1e-9) + 1e-9
    mask = np.zeros(shape[::-1], np.uint8)
    mask[low[2]:high[2], low[1]:high[1], low[0]:high[0]] = inside
    return mask


def crosshairVoxel(volumeNode):
    """The voxel (i, j, k) of the volume under the crosshair, rounded; it may lie outside."""
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    position = list(crosshair.GetCrosshairRAS()) if crosshair is not None else [0.0, 0.0, 0.0]
    affine = worldGeometry(volumeNode).ras_affine
    return [int(round(n)) for n in (np.linalg.inv(affine) @ [*position[:3], 1.0])[:3]]

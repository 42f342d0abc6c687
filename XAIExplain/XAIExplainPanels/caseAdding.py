"""Finds cases: in the scene, and among files."""

import os
import re

import slicer
from slicer.i18n import tr as _

from XAIExplainLib.errors import XAIError
from XAIExplainPanels import sequences
from XAIExplainPanels.caseFiles import stem
from XAIExplainPanels.caseItems import FileCase, VolumeCase, canBeCase

# What tells the channels of a case apart, at the end of a file's name: _0000 (nnU-Net), _t1ce (BraTS), -flair.
CHANNEL = re.compile(r"[_\-.][A-Za-z0-9]+$")


def sceneCases(channels=1):
    """
    A case of each volume of the scene that is no map; of a network with several channels one of each study that has
    as many volumes. Volumes in which sequences play are left out.

    :return: the cases, and a sentence about what was left out; empty if nothing was.
    """
    nodes = [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if canBeCase(node)]
    playing = [node for node in nodes if sequences.sequenceOf(node) is not None]
    nodes = [node for node in nodes if node not in playing]
    notes = []
    if playing:
        notes.append(_("{names}: a sequence plays there; choose it as the volume, and press Sequence.").format(
            names=", ".join(node.GetName() for node in playing)))
    if channels == 1:
        return [VolumeCase([node]) for node in nodes], " ".join(notes)
    hierarchy, groups = slicer.mrmlScene.GetSubjectHierarchyNode(), {}
    for node in nodes:
        parent = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) if hierarchy is not None else 0
        groups.setdefault(parent, []).append(node)
    whole = [group for group in groups.values() if len(group) == channels]
    others = [node for group in groups.values() if len(group) != channels for node in group]
    if others:
        notes.append(_(
            "{names}: a case of this network has {count} volumes, and these do not lie in a study of {count} in the "
            "module Data. Choose the channels above, and press Chosen volume.").format(
                names=", ".join(node.GetName() for node in others), count=channels))
    return [VolumeCase(group) for group in whole], " ".join(notes)


def fileCases(paths, channels=1):
    """
    A case of each file; of a network with several channels one of all files whose names differ only at their end, in
    the order of their names.

    :raises XAIError: if a case would have another number of files than the network takes.
    """
    paths = sorted(map(str, paths))
    if channels == 1:
        return [FileCase([path]) for path in paths]
    groups = {}
    for path in paths:
        groups.setdefault((os.path.dirname(path), CHANNEL.sub("", stem(path))), []).append(path)
    for (_folder, name), group in groups.items():
        if len(group) != channels:
            raise XAIError(
                _("This network takes {wanted} files for a case; of those chosen, {found} begin with {name}.").format(
                    wanted=channels, found=len(group), name=name),
                _("Name the channels of a case alike up to the last part, such as {name}_0000 and {name}_0001.").format(
                    name=name))
    return [FileCase(group) for group in groups.values()]

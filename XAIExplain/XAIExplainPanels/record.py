"""What a map says about itself: attributes of its node, its name, and its place in the subject hierarchy."""

import json

import slicer

VOLUME_REFERENCE = "XAIExplain.Volume"
CHANNEL_REFERENCE = "XAIExplain.Channel"  # to the further channels of a network with several
ASKED = "XAIExplain.Asked"  # the target as the engine takes it
SHARE = "XAIExplain.Share"
NATIVE = "XAIExplain.Native"  # see cells.py
FRAMES = "XAIExplain.Frames"  # a map's reference to the sequence whose maps it shows one after the other
KEPT = ("diagnostics", "prediction", "peak", "display", "parameters", "provenance")


def isMap(node):
    """Whether `node` is a map that this module made."""
    return bool(node is not None and node.GetAttribute("XAIExplain.Method"))


def maps():
    """The maps of the scene."""
    return [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if isMap(node)]


def findMap(question):
    """The map that answered the same question before, or None. Maps that play along with a sequence are left alone."""
    for node in maps():
        if node.GetNodeReferenceID(FRAMES):
            continue
        sameQuestion = (
            node.GetNodeReferenceID(VOLUME_REFERENCE) == question["volume"]
            and node.GetAttribute("XAIExplain.Model") == question["model"]
            and node.GetAttribute("XAIExplain.Method") == question["method"]
            and node.GetAttribute("XAIExplain.Target") == question["target"]
        )
        if sameQuestion:
            return node
    return None


def writeRecord(mapNode, volumeNode, question, answer):
    """Write down in the node how the map was made."""
    display = answer.get("display") or {}
    attributes = {
        "Method": question["method"],
        "Target": question["target"],
        "Model": question["model"],
        "Parameters": json.dumps(question["parameters"], sort_keys=True),
        "Volume": volumeNode.GetName(),
        "Record": json.dumps(answerRecord(answer), sort_keys=True),
        "Signed": "true" if display.get("signed") else "false",
        "Units": str(display.get("units") or ""),
        "Title": str(display.get("title") or question["method"]),
    }
    with slicer.util.NodeModify(mapNode):
        for name, value in attributes.items():
            mapNode.SetAttribute("XAIExplain." + name, value)
        share = (answer.get("stage") or {}).get("share")
        if share:
            mapNode.SetAttribute(SHARE, str(share))
        else:
            mapNode.RemoveAttribute(SHARE)
        if answer.get("native"):
            mapNode.SetAttribute(NATIVE, json.dumps(answer["native"]))
        else:
            mapNode.RemoveAttribute(NATIVE)
        mapNode.SetNodeReferenceID(VOLUME_REFERENCE, volumeNode.GetID())
        mapNode.RemoveNodeReferenceIDs(CHANNEL_REFERENCE)
        for nodeID in question.get("channels") or ():
            mapNode.AddNodeReferenceID(CHANNEL_REFERENCE, nodeID)
        if "asked" in question:
            mapNode.SetAttribute(ASKED, json.dumps(question["asked"], sort_keys=True))
        else:
            mapNode.RemoveAttribute(ASKED)
    placeUnder(mapNode, volumeNode)


def answerRecord(answer):
    """The part of the engine's answer that is worth keeping with the map."""
    return {key: answer[key] for key in KEPT if key in answer}


def readRecord(mapNode):
    """What `writeRecord` wrote; empty where nothing or nothing readable is there."""
    try:
        record = json.loads(mapNode.GetAttribute("XAIExplain.Record") or "{}")
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def shareDone(mapNode):
    """The share of the work that is in the map: less than 1 while it is on its way."""
    share = mapNode.GetAttribute(SHARE)
    return float(share) if share else 1.0


def asked(mapNode):
    """
    What the map was asked for, as the engine takes it: (volumes, model, target), with a volume None that is gone; None
    where the map is no answer of a network, as the difference of two maps.
    """
    text = mapNode.GetAttribute(ASKED)
    if text is None:
        return None
    count = mapNode.GetNumberOfNodeReferences(CHANNEL_REFERENCE)
    channels = [mapNode.GetNthNodeReference(CHANNEL_REFERENCE, index) for index in range(count)]
    return [explainedVolume(mapNode), *channels], mapNode.GetAttribute("XAIExplain.Model") or "", json.loads(text)


def explainedVolume(mapNode):
    """The volume that the map explains, or None if it is gone."""
    return mapNode.GetNodeReference(VOLUME_REFERENCE) if mapNode is not None else None


def placeUnder(mapNode, volumeNode):
    """Put the map beside its volume in the subject hierarchy: under the same patient and study."""
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    if hierarchy is None:
        return
    volumeItem, item = hierarchy.GetItemByDataNode(volumeNode), hierarchy.GetItemByDataNode(mapNode)
    if not volumeItem:
        return
    parent = hierarchy.GetItemParent(volumeItem)
    if item:
        hierarchy.SetItemParent(item, parent)
    else:
        hierarchy.CreateItem(parent, mapNode)

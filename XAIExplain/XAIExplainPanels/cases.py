"""A bundled case as the engine describes it."""

import slicer


def caseTitle(case):
    return str(case.get("title") or case["name"])


def casePath(case):
    """Path of the case's volume."""
    return str((case.get("paths") or {}).get("image") or "")


def nameOnce(node, name):
    """Give a node that was read the name it was to have: some readers add a number for nothing."""
    if slicer.mrmlScene.GetFirstNodeByName(name) is None:
        node.SetName(name)

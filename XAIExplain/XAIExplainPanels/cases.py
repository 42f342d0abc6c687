"""A bundled case as the engine describes it."""


def caseTitle(case):
    return str(case.get("title") or case["name"])


def casePath(case):
    """Path of the case's volume."""
    return str((case.get("paths") or {}).get("image") or "")

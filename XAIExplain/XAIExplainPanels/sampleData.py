"""The bundled cases as sources of the module Sample Data."""

import json
import os
import pathlib

from slicer.i18n import tr as _

CATEGORY = "XAIExplain"


def casesFolder(moduleFolder):
    """Where the cases lie: beside the module in a built extension, one folder up in a checkout."""
    for folder in (moduleFolder, os.path.dirname(moduleFolder)):
        path = os.path.join(folder, "Resources", "cases")
        if os.path.isdir(path):
            return path
    return None


def registerCases(sampleDataLogic, moduleFolder):
    """Register each case by the URI of its file."""
    folder = casesFolder(moduleFolder)
    if folder is None:
        return
    if hasattr(sampleDataLogic, "registerCustomSampleDataCategory"):  # not before Slicer 5.12
        sampleDataLogic.registerCustomSampleDataCategory(CATEGORY, title=_("XAIExplain"))
    for name in sorted(os.listdir(folder)):
        try:
            with open(os.path.join(folder, name, "case.json"), encoding="utf-8") as file:
                information = json.load(file)
        except (OSError, ValueError):
            continue
        for ending in (".nii.gz", ".nrrd"):
            image = pathlib.Path(folder, name, "image" + ending)
            if image.is_file():
                title = information.get("title") or name
                sampleDataLogic.registerCustomSampleDataSource(
                    category=CATEGORY, sampleName=title, uris=image.resolve().as_uri(), fileNames=name + ending,
                    nodeNames=title,
                )  # fmt: skip
                break

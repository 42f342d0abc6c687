"""Modules of Slicer that another module imports: SampleData, ScreenCapture, slicer.packaging, slicer.i18n.

Nothing is downloaded or installed here; what was asked for is recorded.
"""

import re
import sys
import types

import slicer

sampleData = []
installed = []


class SampleDataLogic:
    """Keeps what a module registers (`Testing.Host.neighbours.sampleData`)."""

    @staticmethod
    def registerCustomSampleDataSource(
        category="Custom",
        sampleName=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileTypes=None,
        loadFiles=None,
        loadFileProperties=None,
        checksums=None,
        loadFileType=None,
    ):
        sampleData.append(
            {
                "category": category,
                "sampleName": sampleName,
                "uris": uris,
                "fileNames": fileNames,
                "nodeNames": nodeNames,
                "checksums": checksums,
                "thumbnailFileName": thumbnailFileName,
                "customDownloader": customDownloader,
            }
        )

    def downloadSample(self, name):
        raise RuntimeError(f"This host does not download; '{name}' was asked for")


class ScreenCaptureLogic:
    """Captures of views."""

    def viewFromNode(self, node):
        manager = slicer.app.layoutManager()
        if node.IsA("vtkMRMLSliceNode"):
            return manager.sliceWidget(node.GetLayoutName()).sliceView()
        return manager.threeDWidget(node.GetLayoutName()).threeDView()

    def captureImageFromView(self, view, filename, transparentBackground=False):
        picture = view.forceRender() if view is not None else slicer.util.mainWindow().grab().toImage()
        if not picture.save(str(filename)):
            raise RuntimeError(f"Cannot write {filename}")

    def showViewControllers(self, show):
        slicer.util.setViewControllersVisible(show)


def _requirements(path):
    from packaging.requirements import Requirement

    with open(path, encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    return [Requirement(line) for line in lines if line and line[0] not in "#-"]


def _check(requirements):
    """Whether all are installed in the right version."""
    from importlib import metadata

    from packaging.requirements import Requirement

    for item in requirements if isinstance(requirements, (list, tuple)) else [requirements]:
        wanted = item if isinstance(item, Requirement) else Requirement(item)
        try:
            version = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            return False
        if not wanted.specifier.contains(version, prereleases=True):
            return False
    return True


def _install(requirements, *args, **options):
    installed.append(requirements)


def _ensure(
    requirements,
    constraints=None,
    prompt_install=True,
    prompt_restart=True,
    requester=None,
    skip_in_testing=True,
    show_progress=True,
    **more,
):
    if _check(requirements) or skip_in_testing and slicer.app.testingEnabled():
        return
    text = f"{requester or 'A module'} needs " + ", ".join(map(str, requirements))
    if prompt_install and not slicer.util.confirmOkCancelDisplay(text):
        raise RuntimeError("The installation was declined")
    installed.append(requirements)


def translate(text):
    return text


def install():
    """Put the modules where imports look for them."""
    packaging = types.ModuleType("slicer.packaging")
    packaging.load_requirements, packaging.pip_check = _requirements, _check
    packaging.pip_ensure, packaging.pip_install = _ensure, _install
    packaging.pip_uninstall = lambda requirements, **options: installed.append(("uninstall", requirements))
    packaging.isPipInstallInProgress = lambda: False
    i18n = types.ModuleType("slicer.i18n")
    i18n.tr, i18n.translate = translate, lambda context, text: text
    i18n.getContext = lambda path: re.sub(r"\.py$", "", path.split("/")[-1])
    for name, module in (("packaging", packaging), ("i18n", i18n)):
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)
    for name, logic in (("SampleData", SampleDataLogic), ("ScreenCapture", ScreenCaptureLogic)):
        module = types.ModuleType(name)
        setattr(module, name + "Logic", logic)
        sys.modules[name] = module

"""Installing what the engine needs into Slicer's Python: asked first, and nothing that Slicer needs is replaced."""

import importlib.metadata
import importlib.util
import os
import tempfile

import slicer
from slicer.i18n import tr as _

from XAIExplainPanels.status import installAdvice

# Versions of these are frozen: another torch would lose the graphics card, another numpy or SimpleITK breaks Slicer.
FROZEN = ("torch", "torchvision", "numpy", "scipy", "SimpleITK", "vtk")
REQUESTER = "XAIExplain"
TORCH = ">=2.8"


class InstallError(Exception):
    """A sentence for the user."""


def requirementsPath(desk):
    return desk.resourcePath("requirements.txt")


def requirements(path):
    """The lines of the file that name a package."""
    with open(path) as file:
        lines = [line.strip() for line in file]
    return [line for line in lines if line and not line.startswith(("#", "-"))]


def plan(path):
    """What would be done, as a sentence that is shown before the user is asked."""
    packages = ", ".join(requirements(path))
    return _(
        "This downloads PyTorch (by Slicer's PyTorch extension) and {packages} from the internet into Slicer's own "
        "Python: about 1 GB, more with a graphics card. Nothing is sent. Packages that Slicer needs are not replaced."
    ).format(packages=packages)


def install(path):
    """
    Install; returns whether Slicer must be restarted before it can go on.

    :raises InstallError: if something is missing or failed.
    """
    if not hasattr(slicer.app, "extensionsManagerModel"):
        raise InstallError(_(
            "This is not the Slicer application. Install the packages with pip, or choose another Python above."))
    try:
        import PyTorchUtils
    except ImportError:
        return installExtension()
    try:
        torch = PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False, torchVersionRequirement=TORCH)
        if torch is None:
            raise InstallError(_("PyTorch could not be installed. The log of Slicer says why."))
        installPackages(path)
    except InstallError:
        raise
    except Exception as error:  # pip's failures come as many types
        raise InstallError(_("The installation failed: {error}. {advice}").format(
            error=str(error).rstrip("."), advice=installAdvice(failureText(error)))) from error
    return False


def failureText(error):
    """All that an installer's exception says, with what the program wrote if it is kept."""
    parts = [str(error), *(str(getattr(error, name, None) or "") for name in ("output", "stderr"))]
    return " ".join(parts)


def installExtension():
    """Install Slicer's PyTorch extension; Slicer must be restarted to load it."""
    model = slicer.app.extensionsManagerModel()
    if model is None or not model.installExtensionFromServer("PyTorch"):
        raise InstallError(_(
            "Slicer's extension PyTorch could not be installed. Install it with the Extensions Manager, restart "
            "Slicer, and try again."))
    return True


def installPackages(path):
    """Install the packages of the file, with what Slicer needs held where it is."""
    constraints = writeConstraints()
    try:
        if importlib.util.find_spec("slicer.packaging") is not None:
            from slicer import packaging

            packaging.pip_ensure(
                packaging.load_requirements(path), constraints=constraints, prompt_install=False,
                requester=REQUESTER,
            )  # fmt: skip
        else:  # Slicer 5.10 and before
            slicer.util.pip_install(["-c", constraints, *requirements(path)])
    finally:
        os.remove(constraints)


def writeConstraints():
    """A file for pip that freezes what must not be replaced."""
    handle, path = tempfile.mkstemp(prefix="XAIExplain-constraints-", suffix=".txt")
    with os.fdopen(handle, "w") as file:
        for name in FROZEN:
            try:
                file.write("{}=={}\n".format(name, importlib.metadata.version(name)))
            except importlib.metadata.PackageNotFoundError:
                continue
    return path

"""Volumes that are loaded from files when it is their turn."""

import os
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from XAIExplainLib.errors import XAIError
from XAIExplainPanels.cases import nameOnce


def stem(path):
    """The name of a file without its endings."""
    name = os.path.basename(str(path))
    for ending in (".gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd"):
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    return name


def load(path):
    """
    Load a volume of a file, without showing it.

    :raises XAIError: if that fails, or the file is cut off, or holds several frames.
    """
    check(path)
    try:
        node = slicer.util.loadVolume(path, {"name": stem(path), "show": False})
    except RuntimeError as error:
        raise unreadable(path) from error
    if node is None:
        raise unreadable(path)
    nameOnce(node, stem(path))
    return node


def check(path):
    """Look into a file before it is loaded: readers fill up what is cut off, and take the first of several frames."""
    import SimpleITK

    from XAIExplainLib.nifti import is_nifti, nifti_is_whole

    name = os.path.basename(path)
    if not os.path.isfile(path):
        raise XAIError(_("There is no file {name}.").format(name=name), _("It was moved or deleted; add it again."))
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise unreadable(path) from error
    frames = reader.GetSize()[3] if reader.GetDimension() > 3 else 1
    if frames > 1:
        raise XAIError(
            _("{name} is four-dimensional: it holds {frames} frames.").format(name=name, frames=frames),
            _("Load it as a sequence, choose its volume, and press Sequence."))
    if is_nifti(Path(path)) and not nifti_is_whole(Path(path)):
        raise XAIError(_("{name} is cut off: its header promises more voxels than there are.").format(name=name),
                       _("Copy or export it again."))


def unreadable(path):
    return XAIError(_("{name} could not be read as a volume.").format(name=os.path.basename(path)),
                    _("Check that it is there and whole: NRRD, NIfTI or MetaImage."))

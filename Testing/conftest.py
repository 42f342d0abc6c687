"""What every test shares: the option --full, the threads of torch, and real volumes where this machine has them."""

from __future__ import annotations

import os
import plistlib
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"

# Before torch is loaded: the test machine has two cores, and more threads only get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", str(min(2, os.cpu_count() or 1)))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Every test exports its own graphs; the tests of the kept ones name a folder.
os.environ["XAI_CACHE"] = "off"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the slow proofs be asked for."""
    parser.addoption("--full", action="store_true", help="run the slow proofs too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow proofs out, unless they are asked for."""
    if config.getoption("--full"):
        return
    slow = [item for item in items if item.get_closest_marker("full")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("full")]


@pytest.fixture(scope="session")
def colin27() -> Path:
    """One healthy head in T1 MRI, skull stripped (Colin 27)."""
    return _needed(Path("/usr/share/mricron/templates/ch2bet.nii.gz"), "apt install mricron-data")


@pytest.fixture(scope="session")
def cranial_ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CT of a head, from the archive of InVesalius that Debian packages; its face is not to be published."""
    import numpy
    import SimpleITK

    archive = Path("/usr/share/doc/invesalius-examples/examples/Cranium.inv3")
    _needed(archive, "apt install invesalius-examples")
    with tarfile.open(archive) as files:
        parts = {Path(name).name: name for name in files.getnames()}
        about = plistlib.loads(_member(files, parts["main.plist"]))
        shape = about["matrix"]["shape"]
        voxels = numpy.frombuffer(_member(files, parts[about["matrix"]["filename"]]), dtype=about["matrix"]["dtype"])
    image = SimpleITK.GetImageFromArray(voxels.reshape(shape))
    image.SetSpacing([float(spacing) for spacing in about["spacing"]])
    path = tmp_path_factory.mktemp("cranial_ct") / "cranium.nrrd"
    SimpleITK.WriteImage(image, str(path))
    return path


def _member(files: tarfile.TarFile, name: str) -> bytes:
    file = files.extractfile(name)
    assert file is not None
    return file.read()


@pytest.fixture(scope="session")
def tumour() -> Path:
    """A brain with a tumour in contrast-enhanced T1 MRI; its mask lies beside it as brain1_label.nrrd."""
    return _needed(SHARED / "brain1_image.nrrd", "it is not part of the repository")


@pytest.fixture(scope="session")
def abdomen_ct() -> Path:
    """A CT of an abdomen."""
    return _needed(SHARED / "abdomen_ct.nii.gz", "it is not part of the repository")


def _needed(path: Path, how: str) -> Path:
    if not path.exists():
        pytest.skip(f"{path} is not here ({how})")
    return path

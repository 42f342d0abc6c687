"""What Slicer's extension build packages: everything, and nothing that is not there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULE = ROOT / "XAIExplain"


def cmake_list(path: Path, name: str) -> list[str]:
    """The values of ``set(NAME ...)``, with ${MODULE_NAME} replaced."""
    text = re.sub(r"#.*", "", path.read_text(encoding="utf-8"))
    module = re.search(r"set\(MODULE_NAME\s+(\w+)\)", text)
    found = re.search(rf"set\({name}\s+(.*?)\)", text.replace("${MODULE_NAME}", module[1] if module else ""), re.S)
    assert found is not None, f"{path.name} does not set {name}"
    return found[1].split()


def metadata() -> dict[str, str]:
    """The EXTENSION_* values of the root's CMakeLists.txt."""
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    return dict(re.findall(r'set\((EXTENSION_\w+)\s+"(.*?)"\)', text))


def files_of(folder: Path, pattern: str) -> set[str]:
    return {
        path.relative_to(MODULE).as_posix()
        for path in folder.rglob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_every_script_of_the_module_is_listed() -> None:
    listed = cmake_list(MODULE / "CMakeLists.txt", "MODULE_PYTHON_SCRIPTS")
    assert len(listed) == len(set(listed))
    assert set(listed) == files_of(MODULE, "*.py")


def test_every_resource_of_the_module_is_listed() -> None:
    listed = cmake_list(MODULE / "CMakeLists.txt", "MODULE_PYTHON_RESOURCES")
    assert len(listed) == len(set(listed))
    assert set(listed) == files_of(MODULE / "Resources", "*")


def test_only_one_python_file_lies_where_slicer_looks_for_modules() -> None:
    # Slicer takes each .py file beside the module for a module of its own.
    assert [path.name for path in MODULE.glob("*.py")] == ["XAIExplain.py"]


def test_the_library_is_packaged_whole() -> None:
    text = (ROOT / "XAIExplainLib" / "CMakeLists.txt").read_text(encoding="utf-8")
    assert re.search(r"file\(GLOB_RECURSE MODULE_PYTHON_SCRIPTS.*?\*\.py", text, re.S)
    assert "WITH_SUBDIR" in text
    resources = re.search(r"RESOURCES (.*)", text)
    assert resources is not None
    others = {
        path.relative_to(ROOT / "XAIExplainLib").as_posix()
        for path in (ROOT / "XAIExplainLib").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and path.name != "CMakeLists.txt"
    }
    assert not others, f"{sorted(others)} would not be packaged: list them as RESOURCES of XAIExplainLib/CMakeLists.txt"


def test_library_needs_no_name_that_slicer_has() -> None:
    # Both packages are importable by these names from Slicer's one site of scripted modules.
    assert (ROOT / "XAIExplainLib" / "__init__.py").is_file()
    assert (MODULE / "XAIExplainPanels" / "__init__.py").is_file()


def test_models_and_cases_are_packaged_beside_the_library() -> None:
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    for name in ("models", "cases", "replacements"):
        assert re.search(rf"foreach\(_resource[^)]*\b{name}\b", text)
    assert 'DESTINATION "${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}/Resources"' in text


@pytest.mark.parametrize("name", ["HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"])
def test_extension_metadata_is_complete(name: str) -> None:
    value = metadata().get(f"EXTENSION_{name}", "")
    assert value
    assert "example.com" not in value
    assert "John Doe" not in value


def test_extension_metadata_is_what_the_index_takes() -> None:
    values = metadata()
    assert values["EXTENSION_DEPENDS"] == "PyTorch"
    assert values["EXTENSION_ICONURL"].endswith(".png")
    assert all(url.endswith((".png", ".jpg", ".jpeg")) for url in values["EXTENSION_SCREENSHOTURLS"].split())
    assert re.search(r"^project\(XAIExplain\)$", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"), re.M)


def test_icon_of_the_extension_is_there() -> None:
    icon = (MODULE / "Resources" / "Icons" / "XAIExplain.png").read_bytes()
    assert icon.startswith(b"\x89PNG")
    width, height = (int.from_bytes(icon[start : start + 4], "big") for start in (16, 20))
    assert (width, height) == (128, 128)
    assert (MODULE / "Resources" / "Icons" / "XAIExplain.svg").is_file()


def test_module_imports_no_network_library() -> None:
    # Slicer runs the module's files at start-up; torch there costs seconds, and breaks Slicer where it is missing.
    found = subprocess.run(
        ["grep", "-rnE", r"^\s*(import|from) (torch|monai)\b", str(MODULE), "--include=*.py"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.stdout == ""

"""Rules of the house that a machine can check."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGINE = sorted((ROOT / "XAIExplainLib").rglob("*.py"))
PANEL = sorted((ROOT / "XAIExplain").rglob("*.py"))
FOR_SLICER = [ROOT / "XAIExplainLib" / f"{name}.py" for name in ("__init__", "errors", "protocol", "child", "client")]
OF_SLICER = {"qt", "ctk", "slicer", "vtk", "vtkmodules", "mrml", "PySide6", "PythonQt"}
OF_THE_ENGINE = {"torch", "torchvision", "monai", "captum"}


def name_of(path):
    return str(path.relative_to(ROOT))


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(path):
    """Top-level packages that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", ENGINE, ids=name_of)
def test_only_the_shell_prints(path):
    calls = [
        node.lineno for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]  # fmt: skip
    assert path.name == "cli.py" or not calls, f"print in lines {calls}"


@pytest.mark.parametrize("path", ENGINE, ids=name_of)
def test_the_engine_knows_nothing_of_slicer(path):
    assert not imported(path) & OF_SLICER


@pytest.mark.parametrize("path", PANEL or [pytest.param(None, marks=pytest.mark.skip("no panel yet"))], ids=str)
def test_the_panel_knows_nothing_of_torch(path):
    assert not imported(path) & OF_THE_ENGINE


@pytest.mark.parametrize("path", FOR_SLICER, ids=name_of)
def test_what_slicer_imports_is_readable_to_its_oldest_python(path):
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    assert any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    assert imported(path) <= sys.stdlib_module_names | {"XAIExplainLib"}


def test_the_client_loads_neither_torch_nor_numpy_nor_qt():
    code = (
        "import sys; from XAIExplainLib import client, errors, protocol\n"
        "loaded = {'torch', 'numpy', 'monai', 'SimpleITK', 'scipy', 'qt', 'slicer', 'vtk'} & set(sys.modules)\n"
        "sys.exit(', '.join(loaded) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", ENGINE, ids=name_of)
def test_every_file_says_what_it_is(path):
    assert ast.get_docstring(tree_of(path)), "it has no docstring"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 450, "it holds more than one idea"

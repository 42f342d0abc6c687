"""Installing what the engine needs: in the right order, with what Slicer needs held where it is."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import pytest


class Record:
    """Stands for Slicer's installers and writes down what they are asked."""

    def __init__(self, torch: Any = "torch") -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.torch = torch

    def installTorch(self, askConfirmation: bool = True, torchVersionRequirement: str | None = None) -> Any:
        self.asked.append(("torch", torchVersionRequirement))
        return self.torch

    def pip_ensure(self, requirements: list[str], constraints: str | None = None, **options: Any) -> None:
        assert constraints is not None
        self.asked.append(("packages", requirements, Path(constraints).read_text(), options))

    def pip_install(self, arguments: list[str]) -> None:
        self.asked.append(("pip", arguments, Path(arguments[1]).read_text()))


@pytest.fixture
def installing(panel: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    import XAIExplainPanels.installing as module

    return module


def slicerHas(monkeypatch: pytest.MonkeyPatch, record: Record, packaging: bool) -> None:
    import slicer

    utils = types.ModuleType("PyTorchUtils")
    utils.PyTorchUtilsLogic = lambda: record  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "PyTorchUtils", utils)
    found = importlib.util.find_spec
    if packaging:
        module = types.ModuleType("slicer.packaging")
        module.load_requirements = lambda path: ["monai>=1.6"]  # type: ignore[attr-defined]
        module.pip_ensure = record.pip_ensure  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "slicer.packaging", module)
        monkeypatch.setattr(slicer, "packaging", module, raising=False)
        spec: Any = object()
    else:
        spec = None
        monkeypatch.setattr(slicer.util, "pip_install", record.pip_install, raising=False)
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: spec if name == "slicer.packaging" else found(name, *rest)
    )


def path(panel: Any) -> str:
    return str(panel.widget.resourcePath("requirements.txt"))


@pytest.mark.parametrize("packaging", [True, False], ids=["slicer.packaging", "slicer 5.10"])
def test_torch_first_then_packages_with_constraints(
    installing: Any, panel: Any, monkeypatch: pytest.MonkeyPatch, packaging: bool
) -> None:
    record = Record()
    slicerHas(monkeypatch, record, packaging)
    assert installing.install(path(panel)) is False
    assert [asked[0] for asked in record.asked] == ["torch", "packages" if packaging else "pip"]
    assert record.asked[0][1] == ">=2.8"
    frozen = record.asked[1][2].splitlines()
    for name in ("numpy", "SimpleITK", "torch"):
        assert f"{name}=={importlib.metadata.version(name)}" in frozen
    if not packaging:
        assert any(argument.startswith("monai") for argument in record.asked[1][1])


def test_failure_is_a_sentence(installing: Any, panel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    slicerHas(monkeypatch, Record(torch=None), True)
    with pytest.raises(installing.InstallError, match="could not be installed"):
        installing.install(path(panel))


def test_requirements_are_what_slicer_can_read(installing: Any, panel: Any) -> None:
    # slicer.packaging raises on an inline comment; exact pins would fight with other extensions.
    lines = installing.requirements(path(panel))
    assert lines
    assert not any("#" in line or "==" in line for line in lines)
    assert not any(line.split(">")[0] in ("torch", "numpy", "SimpleITK") for line in lines)


def test_plan_says_what_is_downloaded(installing: Any, panel: Any) -> None:
    text = installing.plan(path(panel))
    assert "monai" in text
    assert "GB" in text
    assert "Nothing is sent" in text


def test_module_files_keep_to_what_both_bindings_accept() -> None:
    from Testing.Host import suspectIdioms

    module = Path(__file__).resolve().parents[2] / "XAIExplain"
    assert [hit for file in sorted(module.rglob("*.py")) for hit in suspectIdioms(file)] == []

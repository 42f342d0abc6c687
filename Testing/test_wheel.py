"""What `pip install .` installs works from any folder, with the data that lies beside the package in the repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.full
def test_a_wheel_carries_the_command_and_the_resources(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("XAIExplainLib", "Resources"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "LICENSE.txt", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "--quiet", "install", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([*pip, str(site), str(source)], check=True)

    package = site / "XAIExplainLib"
    assert _below(package, "*.py") == _below(source / "XAIExplainLib", "*.py")
    assert _below(package / "Resources", "*.*") == _below(source / "Resources", "*.*")

    shutil.rmtree(source)
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    for words in (["--version"], ["methods"], ["models"], ["cases"]):
        subprocess.run(
            [sys.executable, str(site / "bin" / "xaiexplain"), *words], cwd=tmp_path, env=environment, check=True
        )


def _below(folder, pattern):
    return {path.relative_to(folder) for path in folder.rglob(pattern)}

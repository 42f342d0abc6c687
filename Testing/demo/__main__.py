"""Run the demonstration: ``python3 xai.py demo [--output DIR] [--case NAME] [--no-window]``."""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
METHODS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("lrp", {}),
    ("deep_shap", {}),
    ("multi_scale_cam", {}),
    ("grad_cam", {}),
    ("occlusion", {"window": 8, "stride": 4, "fill": "blur"}),
    ("integrated_gradients", {"baseline": "blur"}),
    ("gradient", {"kind": "absolute"}),
)


WINDOW_LIBRARIES = {
    "libxcb-cursor.so.0": "libxcb-cursor0", "libxcb-icccm.so.4": "libxcb-icccm4", "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1", "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0", "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
}  # fmt: skip


def say(text: str) -> None:
    """Tell the user at the terminal."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def explain_case(name: str, output: Path) -> None:
    """Explain a bundled case by each method, and write maps and page."""
    from Testing.demo.page import Shown, write_page
    from XAIExplainLib import explain, load_case, load_model
    from XAIExplainLib.evaluation.localisation import localisation

    case, model = load_case(name), load_model("brain-lesion")
    say(f"{case.information.get('title', name)}: the network answers\n{model.predict(case.volume).text()}")
    shown = []
    for method, parameters in METHODS:
        result = explain(model, case.volume, method, target="lesion", **parameters)
        file = result.save(output / f"{name}_{method}.nrrd")
        brain = case.volume.data[0] > 0
        found = None if case.mask is None else localisation(result.array, case.mask.data[0], brain)
        shown.append(Shown(result, found, file.name))
        told = f"  {result.title}: {result.diagnostics['seconds']:.1f} s"
        if found is not None:
            told += f", {found.relevance_mass:.1%} of the relevance inside the lesion ({found.chance:.1%} by chance)"
        say(told)
    panel = output / "panel.png"
    write_page(output / "index.html", case, shown, panel.name if panel.is_file() else None)


def photograph_panel(name: str, path: Path) -> None:
    """Drive the module in the host by clicks, and take a picture of it. In a process of its own."""
    from Testing.demo.panel import photograph

    photograph(name, path)


def main() -> int:
    """Explain, photograph, write the page, and open the window where there is a screen."""
    parser = argparse.ArgumentParser(prog="xai.py demo", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "demo-output")
    parser.add_argument("--case", default="enhancing-ring", help="a bundled case (xai.py run cases lists them)")
    parser.add_argument("--no-window", action="store_true", help="write the files only")
    parser.add_argument("--panel-only", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.panel_only:
        photograph_panel(arguments.case, arguments.panel_only)
        return 0
    from XAIExplainLib.errors import XAIError

    began = time.perf_counter()
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
        panel = arguments.output / "panel.png"
        panel.unlink(missing_ok=True)
        # Qt and VTK may end a process without asking; the maps are made whatever becomes of the picture.
        command = [sys.executable, "-m", "Testing.demo", "--case", arguments.case, "--panel-only", str(panel)]
        picture = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        code = _outcome(picture)
        explain_case(arguments.case, arguments.output)
    except XAIError as error:
        sys.stderr.write(f"error: {error.message}\n{error.hint}\n")
        return 2
    say(f"\n{arguments.output / 'index.html'}  ({time.perf_counter() - began:.0f} s in all)")
    if not arguments.no_window and _screen():
        missing = missing_for_a_window()
        if missing:
            say("The panel's window is not opened: the system lacks libraries that it needs.\n"
                f"On Debian or Ubuntu: sudo apt install {' '.join(missing)}")  # fmt: skip
            return 1 if code else 0
        say("Opening the panel; close its window to end.")
        module = str(ROOT / "XAIExplain" / "XAIExplain.py")
        image = str(ROOT / "Resources" / "cases" / arguments.case / "image.nii.gz")
        return subprocess.call([sys.executable, "-m", "Testing.Host", module, "--volume", image], cwd=ROOT)
    return 1 if code else 0


def _outcome(picture: subprocess.Popen[str]) -> int:
    text, _ = picture.communicate()
    if picture.returncode:
        tail = "\n".join(text.strip().splitlines()[-5:])
        say(f"The picture of the panel could not be made (exit {picture.returncode}):\n{tail}")
    return picture.returncode


def missing_for_a_window() -> list[str]:
    """Debian packages that Qt's plugin for X11 wants and that are not here; Qt itself would abort without a word."""
    if not sys.platform.startswith("linux"):
        return []
    missing = []
    for library, package in WINDOW_LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            missing.append(package)
    return missing


def _screen() -> bool:
    """Whether a window can be opened here."""
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


if __name__ == "__main__":
    sys.exit(main())

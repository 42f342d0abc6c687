"""The workshop's pictures, and how long the computer takes for each step. `python -m Testing.pictures.workshop`."""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from pathlib import Path

from Testing.panel.student import Student
from Testing.pictures.compare import few_colors
from Testing.pictures.studio import studio
from Testing.workshop_page import PICTURES, ROOT, TIMES


def main(folder: Path = ROOT / "docs" / "images") -> None:
    """Walk through the guide, write a picture of each step that has one, and the times.

    Parameters
    ----------
    folder : Path
        Where the pictures go.
    """
    home = Path(tempfile.mkdtemp(prefix="xaiexplain-pictures-"))
    os.environ["XAI_CACHE"] = str(home / "graphs")  # as on a computer that has never seen these networks
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = f"{platform.system()}, {cores} core{'s' if cores != 1 else ''} of {processor()}"
    began = time.monotonic()
    with studio(home) as (host, widget):
        desk = widget.desk
        seconds = {}
        host.wait(lambda: desk.model.info is not None or desk.engineError(), 120, "the engine does not start")
        start = time.monotonic() - began
        student = Student(host, home)
        host.click(desk.workshop.ui.workshopSection)
        host.click(desk.workshop.ui.startButton)
        for step in widget.logic.workshop.steps:
            began = time.monotonic()
            student.do(step.key)
            seconds[step.key] = round(time.monotonic() - began, 1)
            if step.key not in widget.logic.workshop.done:
                raise RuntimeError(f"{step.key}: {desk.guide.ui.stateLabel.text}")
            if step.key == "find":
                lrp = "Healthy brain with a marker beside it LRP (relevance) lesion"
                host.setCombo(desk.displayPanel.ui.mapSelector, lrp)
            if step.key in PICTURES:
                host.click(desk.guide.ui.placeButton)
                student.settle()
                few_colors(host.screenshot()).save(folder / f"workshop-{step.key}.png", optimize=True)
            if desk.guide.ui.nextButton.enabled:
                host.click(desk.guide.ui.nextButton)
    if hasattr(os, "getloadavg"):
        machine += f", on which {os.getloadavg()[1]:.0f} programs were busy on average"
    about = {"machine": machine, "start": round(start, 1), "seconds": seconds}
    TIMES.parent.mkdir(parents=True, exist_ok=True)
    TIMES.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def processor() -> str:
    """Its name, where the system tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "an unknown processor"


if __name__ == "__main__":
    main()

"""The parts of docs/workshop that the guide's own steps make: `python -m Testing.workshop_page`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "workshop"
TIMES = FOLDER / "times.json"
PICTURES = {
    "load": "A brain with a ring-enhancing lesion, and the guide above the section Case",
    "grad_cam": "The blob of Grad-CAM",
    "compare": "Four methods side by side",
    "fooled": "Guided backpropagation of a network that has learned nothing: the rim of the lesion",
    "truth": "All maps against the truth",
    "find": "The shortcut: LRP lies on a capsule beside the head",
    "marker": "How much of each map lies in the capsule",
    "write": "The notes in the report",
}


def pages(steps: list[Any]) -> dict[Path, str]:
    """The pages as they should be.

    Parameters
    ----------
    steps : list
        Of the workshop, as the module has them.
    """
    parts = {FOLDER / "README.md": lesson(steps), FOLDER / "teacher.md": timetable(steps)}
    return {path: _between(path.read_text(encoding="utf-8"), part) for path, part in parts.items()}


def lesson(steps: list[Any]) -> str:
    """Every step with its picture, question and answer."""
    lines, minute = [], 0
    for number, step in enumerate(steps, 1):
        lines += [f"## {number}. {step.title}", "", f"*Minute {minute} to {minute + step.minutes}.*", ""]
        lines += [f"{place}. {markdown(sentence)}" for place, sentence in enumerate(step.do, 1)]
        lines += ["", f"**Look:** {markdown(step.look)}", ""]
        if step.key in PICTURES:
            lines += [f"![{PICTURES[step.key]}](../images/workshop-{step.key}.png)", ""]
        lines += [f"**Question:** {markdown(step.question)}", ""]
        lines += ["<details><summary>Answer</summary>", "", markdown(step.answer), "", "</details>", ""]
        minute += step.minutes
    return "\n".join(lines)


def timetable(steps: list[Any]) -> str:
    """Minutes for the students, and what the computer takes of them."""
    times = json.loads(TIMES.read_text(encoding="utf-8"))
    lines = ["| step | minutes | of these the computer | question | answer |", "|---|---|---|---|---|"]
    for number, step in enumerate(steps, 1):
        seconds = times["seconds"][step.key]
        taken = f"{seconds:.0f} s" if seconds >= 1 else "less than 1 s"
        cells = [f"{number}. {step.title}", str(step.minutes), taken, markdown(step.question), markdown(step.answer)]
        lines.append("| " + " | ".join(cells) + " |")
    whole = sum(times["seconds"].values())
    lines += [
        "",
        f"All {len(steps)} steps: {sum(step.minutes for step in steps)} minutes, of which the computer takes "
        f"{whole:.0f} s; the engine takes another {times['start']:.0f} s to start, once. Measured by clicking through "
        f"the guide with the real engine: {times['machine']}.",
    ]
    return "\n".join(lines)


def markdown(text: str) -> str:
    """Bold as Markdown has it; what Markdown could take for something else is left alone, as no text has it."""
    return re.sub(r"</?b>", "**", text)


def _between(page: str, part: str) -> str:
    start, end = "<!-- steps -->", "<!-- /steps -->"
    before, rest = page.split(start)
    return f"{before}{start}\n{part.strip()}\n{end}{rest.split(end)[1]}"


def main() -> None:
    """Write the pages."""
    import sys
    import tempfile

    from Testing.Host import Host

    host = Host(size=(800, 600), home=tempfile.mkdtemp(prefix="xaiexplain-workshop-"))
    sys.path.insert(0, str(ROOT / "XAIExplain"))
    from XAIExplainPanels.workshopSteps import steps

    for path, text in pages(steps()).items():
        path.write_text(text, encoding="utf-8")
    host.quit()


if __name__ == "__main__":
    main()

"""The table: from the JSON to Markdown, and rows into the JSON as they come."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import torch

PEERS = ("captum", "MONAI", "zennit", "shap", "lime", "own dense")
HEADER = ("network", "volume", "weights", "method", "threads", "ours", "ours / F", *(f"{who} / ours" for who in PEERS),
          "share of the limit", "difference", "peak MiB", "goals")  # fmt: skip
EQUAL = 1e-5
ABOUT = """\
Made by `python3 xai.py bench`; docs/speed.md says how to read it. One thread: processor seconds; two: seconds on the
wall. The least of several runs in turns, in one process with one allocator; what is made once a network and size (the
graph) is not counted. F is one forward pass of the torch module without gradients, batch 1. A ratio above 1 means that
ours is faster; `*` that the peer was timed on a part and scaled. The share of the limit is the limit over ours: over
1, ours is faster than torch's own passes would be. The difference is the largest between our map and a peer's over the
peer's largest value (occlusion: over the logit, where that is larger than every drop); **!** marks what should be equal
and is farther than 1e-5. Peak memory is the growth of resident memory in a fresh process for each figure. Goals are met
(+), missed (**-**, with what the limit itself would give where that is not enough either), or cannot be judged because
the peer fails (?)."""


def load(path: Path) -> dict[str, Any]:
    """What was measured before; an empty record where nothing was."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"rows": [], "series": []}
    return found


def put(path: Path, part: str, row: dict[str, Any], order: list[str]) -> None:
    """Put a row in place of the one of its name and threads, and write JSON and Markdown anew.

    Parameters
    ----------
    path : Path
        The JSON; the Markdown lies beside it.
    part : str
        ``rows`` or ``series``.
    row : dict
        With ``name`` and ``threads``.
    order : list of str
        The names as the table has them.
    """
    record = load(path)
    key = row["name"], row["threads"]
    known: dict[str, Any] = next((one for one in record[part] if (one["name"], one["threads"]) == key), {})
    if "memory" in known and "memory" not in row:
        row = {**row, "memory": known["memory"]}
    rows = [*(one for one in record[part] if (one["name"], one["threads"]) != key), row]
    place = {name: number for number, name in enumerate(order)}
    record[part] = sorted(rows, key=lambda one: (one["threads"], place.get(one["name"], len(place)), one["name"]))
    record["machine"] = (
        f"{platform.machine()}, {os.cpu_count()} processors, torch {torch.__version__}, {platform.system()}"
    )
    _write(path, json.dumps(record, indent=1) + "\n")
    _write(path.with_suffix(".md"), table(record))


def _write(path: Path, text: str) -> None:
    beside = path.with_name(path.name + ".part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def table(record: dict[str, Any]) -> str:
    """The Markdown of a record."""
    notes: list[str] = []
    lines = [
        "# Against the other libraries",
        "",
        ABOUT,
        "",
        "| " + " | ".join(HEADER) + " |",
        "|---" * len(HEADER) + "|",
    ]
    for row in record["rows"]:
        text = remarks(row)
        if text and text not in notes:
            notes.append(text)
        mark = f" [{notes.index(text) + 1}]" if text else ""
        lines.append("| " + " | ".join(cells(row, mark)) + " |")
    met = [goal["met"] for row in record["rows"] for goal in row["goals"]]
    lines += ["", f"Goals: {met.count(True)} met, {met.count(False)} missed, {met.count(None)} not to be judged.", ""]
    lines += ["## Remarks", ""] + [f"{number}. {text}" for number, text in enumerate(notes, 1)]
    dates = sorted({row["date"] for row in record["rows"]})
    when = f" Measured {dates[0]}" + (f" to {dates[-1]}" if len(dates) > 1 else "") + " UTC." if dates else ""
    return "\n".join([*lines, "", f"{record.get('machine', '')}.{when}", ""])


def cells(row: dict[str, Any], mark: str) -> list[str]:
    """One line's."""
    if "figure" in row:
        return [row["network"], row["volume"], row["weights"], row["method"] + mark, str(row["threads"]),
                f"{row['figure']:.3g} {row['units']}", "", *(_other(row, who) for who in PEERS), "", "", "",
                goals(row)]  # fmt: skip
    share = f"{row['limit'] / row['ours']:.2f}" if row["limit"] else ""
    return [
        row["network"], row["volume"], row["weights"], row["method"] + mark, str(row["threads"]),
        f"{row['ours']:.3g} s", f"{row['ours'] / row['forward']:.2f}", *(_ratio(row, who) for who in PEERS), share,
        differences(row), memories(row), goals(row),
    ]  # fmt: skip


def _ratio(row: dict[str, Any], who: str) -> str:
    peer = row["peers"].get(who)
    if peer is None:
        return ""
    return "fails" if "fails" in peer else f"{peer['seconds'] / row['ours']:.3g}" + ("*" if "part" in peer else "")


def _other(row: dict[str, Any], who: str) -> str:
    peer = row["peers"].get(who)
    if peer is None:
        return ""
    return "fails" if "fails" in peer else f"{peer['figure'] / row['figure']:.3g}"


def differences(row: dict[str, Any]) -> str:
    """To each peer whose whole map is there."""
    found = []
    for who, peer in row["peers"].items():
        if "difference" in peer:
            far = not row["equal"] and who not in row.get("wrong", ()) and peer["difference"] > EQUAL
            found.append(
                f"{who} {peer['difference']:.0e}" + (f" **!** ({peer.get('far', 1):.1%} of the voxels)" if far else "")
            )
    return ", ".join(found)


def memories(row: dict[str, Any]) -> str:
    """Of ours and of each peer."""
    return ", ".join(f"{who} {size / 2**20:.0f}" for who, size in row.get("memory", {}).items())


def goals(row: dict[str, Any]) -> str:
    """Each with its mark."""
    marks = {True: "+", False: "**-**", None: "?"}
    return ", ".join(f"{goal['text']} {marks[goal['met']]}{bound(row, goal)}" for goal in row["goals"])


def bound(row: dict[str, Any], goal: dict[str, Any]) -> str:
    """Of a goal that was missed: what the row's limit, reached, would give; empty where it would give enough."""
    limit = row.get("limit")
    if goal["met"] is not False or not limit or goal["found"] is None:
        return ""
    best = goal["found"] * row["ours"] / limit if goal["text"].split(" x ")[-1] in row["peers"] else None
    if best is not None and best < float(goal["text"].split()[0]):
        return f" (the limit would be {best:.3g})"
    if goal["text"].endswith(" F") and limit / row["forward"] > float(goal["text"].split()[-2]):
        return f" (the limit is {limit / row['forward']:.3g} F)"
    return ""


def remarks(row: dict[str, Any]) -> str:
    """What is to be said of a row below the table."""
    found = list(row["notes"])
    if row.get("limit_is"):
        found.append(f"limit: {row['limit_is']}")
    if "best_batch" in row and "best batch" in row.get("limit_is", "") + " best batch" * ("bound" in row["limit_is"]):
        found.append(f"best batch {row['best_batch']}: {row['forward_best']:.3g} s an image, F {row['forward']:.3g} s")
    if row.get("equal") and any("difference" in peer for peer in row["peers"].values()):
        found.append(f"maps need not be equal: {row['equal']}")
    for who, peer in row["peers"].items():
        if "fails" in peer:
            found.append(f"{who} fails: {peer['fails']}")
        elif "part" in peer:
            found.append(f"* {who} {peer['part']}")
    text = "; ".join(found).replace("|", "/").replace("\n", " ")
    return text + "." if text else ""

"""The command ``xaiexplain curves``: insertion and deletion of maps that were written before."""

from __future__ import annotations

import argparse
import csv
import io
import json
from pathlib import Path
from typing import Any

from XAIExplainLib.errors import XAIError

ENDINGS = (".json", ".csv")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument(
        "--map", action="append", required=True, metavar="MAP.nrrd", dest="maps",
        help="a map of this case; repeat it for further ones",
    )  # fmt: skip
    parser.add_argument(
        "--output", metavar="OUT", help="write the curves as .csv (a row a step) or .json (all that is known)"
    )
    parser.add_argument(
        "--baseline", metavar="B", help="what takes the place of the case: blur (the default), mean or a number"
    )
    parser.add_argument(
        "--partition", metavar="P", help="what is replaced at a time: slic (supervoxels, the default), boxes or voxels"
    )
    parser.add_argument("--regions", type=int, metavar="N", help="about how many supervoxels or boxes (default 100)")
    parser.add_argument("--steps", type=int, metavar="N", help="how often the network is asked on the way (default 50)")
    parser.add_argument("--chances", type=int, metavar="N", help="random orders, as the level of chance (default 10)")


def request_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of the engine's request; what cannot be written is refused before anything runs."""
    if arguments.output is not None:
        path = Path(arguments.output).expanduser()
        if path.suffix.lower() not in ENDINGS:
            raise XAIError(f"Curves cannot be written as {path.name}.", f"Let its name end in {' or '.join(ENDINGS)}.")
        if not path.absolute().parent.is_dir():
            raise XAIError(f"{path} cannot be written: there is no such folder.", "Make it, or choose another one.")
    names = ("maps", "target", "baseline", "partition", "regions", "steps", "chances", "memory", "device", "seed")
    return {name: getattr(arguments, name) for name in names}


def write(answer: dict[str, Any], output: str) -> None:
    """Write the engine's answer; the file is whole or as it was."""
    from XAIExplainLib.files import atomic_path

    path = Path(output).expanduser()
    with atomic_path(path) as beside:
        if path.suffix.lower() == ".json":
            beside.write_text(json.dumps(answer, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        else:
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(rows_of(answer))
            beside.write_text(text.getvalue(), encoding="utf-8")


def rows_of(answer: dict[str, Any]) -> list[list[Any]]:
    """A table with a row for each curve and step; its first row has the titles."""
    kinds, quantities = ("deletion", "insertion"), list(answer["deletion"][0]["values"])
    rows: list[list[Any]] = [["kind", "map", "share", *quantities, *(f"{name} deviation" for name in quantities)]]
    for kind in kinds:
        for name, curve in zip(answer["names"], answer[kind], strict=True):
            for step, share in enumerate(curve["shares"]):
                values = [curve["values"][one][step] for one in quantities]
                rows.append([kind, name, share, *values, *[""] * len(quantities)])
        chance = answer["chance"].get(kind)
        for step, share in enumerate(chance["shares"] if chance else ()):
            rows.append([kind, "(chance)", share, *(chance["mean"][one][step] for one in quantities),
                         *(chance["deviation"][one][step] for one in quantities)])  # fmt: skip
    return rows


def summary(answer: dict[str, Any]) -> list[str]:
    """The areas, for people."""
    quantity = "probability" if "probability" in answer["deletion"][0]["values"] else "score"
    settings, chance = answer["settings"], answer["chance"]
    lines = [
        f"{answer['target']}: area under the {quantity}; {settings['regions']} regions, "
        f"{settings['steps']} steps, baseline {settings['baseline']}"
    ]
    rows: list[tuple[str, ...]] = [("map", "deletion (low is good)", "insertion (high is good)")]
    for n, name in enumerate(answer["names"]):
        rows.append((name, *(f"{answer[kind][n]['areas'][quantity]:.4g}" for kind in ("deletion", "insertion"))))
    if chance:
        rows.append(("(chance)", *(
            f"{chance[kind]['areas'][quantity]:.4g} +- {chance[kind]['area_deviations'][quantity]:.2g}"
            for kind in ("deletion", "insertion"))))  # fmt: skip
    widths = [max(len(row[column]) for row in rows) + 2 for column in range(2)]
    lines += ["".join(cell.ljust(width) for cell, width in zip(row[:2], widths, strict=True)) + row[2] for row in rows]
    return lines + [f"warning: {warning}" for warning in answer["diagnostics"].get("warnings") or ()]

"""Run by ``python3 xai.py validity``; writes docs/validity.md, the README's table and the cards in docs/methods.

``--only documents`` measures nothing and writes what is known; ``--methods a,b`` and ``--networks x,y`` measure a part
and keep the rest of docs/validity.json as it is.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
from pathlib import Path
from typing import Any

import torch

from Testing.validity import cautions, documents, parity
from Testing.validity.matrix import Cell, matrix
from Testing.validity.networks import BY_NAME, SUBJECTS
from XAIExplainLib.method import Method, methods

ROOT = documents.ROOT
RECORD = ROOT / "docs" / "validity.json"
PAGE = ROOT / "docs" / "validity.md"
README = ROOT / "README.md"
PARTS = ("matrix", "parity", "cautions")
logger = logging.getLogger(__name__)


def main() -> None:
    """Measure what is asked for, and write the documents from all that is known."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("documents", *PARTS), help="do one part")
    parser.add_argument("--methods", help="names, parted by commas")
    parser.add_argument("--networks", help="names, parted by commas: " + ", ".join(BY_NAME))
    arguments = parser.parse_args()
    known = {name: method for name, method in methods().items() if method.chapter == "visual"}
    record: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    chosen = [known[name] for name in _words(arguments.methods) or known]
    subjects = [BY_NAME[name] for name in _words(arguments.networks) or BY_NAME]
    if arguments.only in (None, "matrix"):
        for subject in subjects:
            _merge(record, matrix(chosen, [subject]))
            _save(record)
    if arguments.only in (None, "parity"):
        record["parity"] = []
        for row in parity.rows():
            logger.info("%s", row)
            record["parity"].append(row.__dict__)
        record["peers"] = parity.where_peers_miss()
        _save(record)
    if arguments.only in (None, "cautions"):
        rows = {row["method"]: row for row in (*record.get("cautions", []), *cautions.figures(chosen))}
        record["cautions"] = [rows[name] for name in known if name in rows]
        _save(record)
    documents.write_pages(known)
    _write(record, known)


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _merge(record: dict[str, Any], cells: list[Cell]) -> None:
    """New cells in the place of old ones; those of methods and networks that are no more are dropped."""
    found = {(one["method"], one["subject"]): one for one in record.get("cells", [])}
    found.update({(one["method"], one["subject"]): one for one in documents.to_json(cells)})
    order = [(name, subject.name) for subject in SUBJECTS for name in methods()]
    record["cells"] = [found[key] for key in order if key in found]


def _save(record: dict[str, Any]) -> None:
    record["versions"] = {"torch": torch.__version__, "python": platform.python_version()}
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def cells_of(record: dict[str, Any]) -> list[Cell]:
    """The cells of a record."""
    return [Cell(**one) for one in record.get("cells", [])]


def readme(text: str, record: dict[str, Any], known: dict[str, type[Method]]) -> str:
    """The README with the table of methods as `record` has it."""
    return documents.between(text, "methods", documents.table(known, cells_of(record), len(SUBJECTS)))


def _write(record: dict[str, Any], known: dict[str, type[Method]]) -> None:
    README.write_text(readme(README.read_text(encoding="utf-8"), record, known), encoding="utf-8")
    _fill(PAGE, documents.validity(record, known, cells_of(record), SUBJECTS))


def _fill(path: Path, parts: dict[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    for name, body in parts.items():
        text = documents.between(text, name, body)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

"""A comparison as a folder: each map as NRRD with its record, the figures as CSV and JSON, and a page.

Every map is written when its method has finished, and the tables and the page are written again then: what is there is
always whole, and says whether methods are still missing.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from pathlib import Path
from typing import Any

from XAIExplainLib.errors import XAIError
from XAIExplainLib.evaluation.comparison import COST, LOCALISATION, Comparison, Row
from XAIExplainLib.evaluation.page import Page
from XAIExplainLib.explanation import Explanation, record_path, versions
from XAIExplainLib.files import atomic_path

MADE_BY = "xaiexplain compare"
_JSON, _CSV, _PAGE = "comparison.json", "comparison.csv", "index.html"


class Report:
    """The folder of a comparison.

    Parameters
    ----------
    folder : str or Path
        New, empty, or of an earlier comparison, whose files are then replaced; other files in it stay.

    Raises
    ------
    XAIError
        If it cannot be written, or holds something else.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        self._earlier = self._files_of_earlier()
        there = next(path for path in (self.folder.absolute(), *self.folder.absolute().parents) if path.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            raise XAIError(
                f"{self.folder} cannot be written: {there} is no folder that you may write to.", "Choose another one."
            )
        self.rows: list[Row] = []
        self._page: Page | None = None
        self._asked: dict[str, Any] = {}
        self._all: list[str] = []

    def start(self, comparison: Comparison, methods: list[str]) -> None:
        """Say what is compared, before the first `add`."""
        self._page, self._asked, self._all = Page(comparison), comparison.to_json(), list(methods)

    def add(self, row: Row, result: Explanation | None) -> None:
        """Write one method's map, and the tables anew; nothing is written before the first map is there."""
        if self._page is None:
            raise ValueError("the report was not started")
        if result is not None:
            self._clear()
            row.map = result.save(self.folder / f"{row.method}.nrrd").name
        self.rows.append(row)
        self._page.add(row, result)
        if any(one.map for one in self.rows):
            self._write()

    @property
    def missing(self) -> list[str]:
        """Methods that are still to come."""
        done = {row.method for row in self.rows}
        return [name for name in self._all if name not in done]

    def to_json(self) -> dict[str, Any]:
        """All figures, JSON-ready."""
        maps = [row.map for row in self.rows if row.map]
        return {
            "made_by": MADE_BY, "complete": not self.missing, "missing": self.missing, **self._asked,
            "columns": {
                name: {"title": column.title, "better": column.better, "unit": column.unit, "text": column.text}
                for name, column in {**LOCALISATION, **COST}.items()
            },
            "methods": [row.to_json() for row in self.rows],
            "files": [*(name for map_ in maps for name in (map_, record_path(map_).name)), _CSV, _PAGE],
            "versions": versions(), "not_for": "Not for diagnosis or treatment.",
        }  # fmt: skip

    def to_csv(self) -> str:
        """One line a method, and one with the level of chance; empty where there is no figure."""
        columns = {**(LOCALISATION if self._asked["truth"] else {}), **COST}
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["method", *columns, "passes_counted", "map", "refused"])
        for row in self.rows:
            figures = [_number(row.value(name)) for name in columns]
            writer.writerow([row.method, *figures, "yes" if row.passes_counted else "no", row.map, row.refused])
        if self._asked["chance"]:
            writer.writerow(["(chance)", *(_number(self._asked["chance"].get(name)) for name in columns), "", "", ""])
        if self.missing:
            writer.writerow([f"(incomplete: {', '.join(self.missing)} did not run)"])
        return file.getvalue()

    def _write(self) -> None:
        assert self._page is not None
        for name, text in (
            (_CSV, self.to_csv()),
            (_PAGE, self._page.html(self.missing)),
            (_JSON, json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n"),
        ):
            with atomic_path(self.folder / name) as beside:
                beside.write_text(text, encoding="utf-8")

    def _files_of_earlier(self) -> list[str]:
        """The files that an earlier comparison left here."""
        if not self.folder.is_dir() or not any(self.folder.iterdir()):
            return []
        try:
            earlier = json.loads((self.folder / _JSON).read_text(encoding="utf-8"))
            if earlier["made_by"] != MADE_BY:
                raise KeyError
            return [str(name) for name in earlier["files"] if Path(name).name == name]
        except (OSError, ValueError, KeyError, TypeError):
            raise XAIError(
                f"The folder {self.folder} holds files that are not of a comparison.",
                "Give a new folder, or one of an earlier comparison.",
            ) from None

    def _clear(self) -> None:
        """Remove what an earlier comparison left, once something new is there to take its place."""
        for name in [*self._earlier, _JSON] if self._earlier else []:
            with contextlib.suppress(OSError):
                (self.folder / name).unlink()
        self._earlier = []


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"

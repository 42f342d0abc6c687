"""No method has a defect on any network; the documents say what the code says."""

import json

import pytest

from Testing.validity import documents
from Testing.validity.__main__ import README, RECORD, readme
from Testing.validity.matrix import STATES, matrix
from Testing.validity.networks import SUBJECTS
from XAIExplainLib.method import methods

QUICK = ("functional", "Sequential", "plain GAP 2D", "TorchScript")
KNOWN = {name: method for name, method in methods().items() if method.chapter == "visual"}


@pytest.mark.parametrize(
    "subject", [pytest.param(one, id=one.name, marks=[] if one.name in QUICK else [pytest.mark.full])
                for one in SUBJECTS],
)  # fmt: skip
def test_each_method_makes_a_map_or_says_why_not(subject):
    cells = matrix(KNOWN.values(), [subject])
    assert {cell.method for cell in cells} == set(KNOWN)
    assert [cell for cell in cells if cell.state == "fails"] == []
    for cell in cells:
        assert cell.state in STATES
        assert cell.state != "refuses" or cell.sentence.endswith(".")
        assert cell.state in ("warns", "refuses") or cell.sentence == ""


@pytest.mark.parametrize("name", KNOWN)
def test_each_method_has_a_page_with_the_card_of_the_code(name):
    """Written by ``python3 xai.py validity --only documents``."""
    path = documents.PAGES / f"{name}.md"
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert documents.page(KNOWN[name], text) == text, "run python3 xai.py validity --only documents"
    prose = text.split("<!-- /card -->")[1]
    assert len(prose.split()) > 150, "the page says too little"


def test_the_list_of_pages_is_the_codes():
    assert (documents.PAGES / "README.md").read_text(encoding="utf-8") == documents.index(KNOWN)


def test_the_readmes_table_is_that_of_the_record():
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    text = README.read_text(encoding="utf-8")
    assert readme(text, record, KNOWN) == text
    found = {(cell["method"], cell["subject"]) for cell in record["cells"]}
    assert found == {(name, subject.name) for name in KNOWN for subject in SUBJECTS}
    assert not [cell for cell in record["cells"] if cell["state"] == "fails"]

"""What the code writes into the documents: each method's card, and the table of methods in the README."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from Testing.validity.matrix import Cell
from Testing.validity.networks import Subject
from XAIExplainLib.method import Method
from XAIExplainLib.parameter import Parameter

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "methods"
NEEDS = {
    "scores": "any network that can be called, TorchScript too",
    "gradient": "a network with gradients; the graph of its operations where it has one",
    "graph": "the graph of the network's operations (torch.export)",
}


def between(text: str, name: str, body: str) -> str:
    """`text` with what lies between ``<!-- name -->`` and ``<!-- /name -->`` exchanged."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if text.count(start) != 1 or text.count(end) != 1:
        raise ValueError(f"the document needs {start} and {end} once each")
    head, _, rest = text.partition(start)
    _, _, tail = rest.partition(end)
    return f"{head}{start}\n{body.strip()}\n{end}{tail}"


def card(method: type[Method]) -> str:
    """A method's card and its parameters, as Markdown."""
    described = method.describe()
    taxonomy = described["taxonomy"]
    lines = [
        f"> {described['summary']}", "",
        "| | |", "|---|---|",
        f"| name | `{method.name}` |",
        f"| family | {method.family} |",
        f"| kind | {taxonomy['basis']}, {taxonomy['scope']}, {taxonomy['reach']} |",
        f"| needs | {NEEDS[method.needs]} |",
        f"| cost | {method.cost} |",
        f"| a value is | {method.units}{', positive and negative' if method.signed else ''} |",
        f"| proven by | {method.proof} |",
        f"| paper | {method.citation} |",
        f"| beware | {method.caution} |",
    ]  # fmt: skip
    if method.parameters:
        lines += ["", "| parameter | default | |", "|---|---|---|"]
        lines += [f"| `{one.name}` | {_default(one)} | {_help(one)} |" for one in method.parameters]
    return "\n".join(lines)


def _default(parameter: Parameter) -> str:
    value = parameter.default
    if value is None or value == ():
        return "chosen by the method" if parameter.kind == "layer" else "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if parameter.kind == "number" else str(value)


def _help(parameter: Parameter) -> str:
    text = parameter.help
    if parameter.kind == "choice" and not all(choice in text for choice in parameter.choices):
        text += f" One of {', '.join(parameter.choices)}."
    return text.replace("|", "\\|")


def page(method: type[Method], text: str) -> str:
    """The method's page with its card as the class has it now."""
    return between(text, "card", card(method))


def write_pages(methods: dict[str, type[Method]]) -> None:
    """Put the cards into docs/methods, and list the pages."""
    for name, method in methods.items():
        path = PAGES / f"{name}.md"
        path.write_text(page(method, path.read_text(encoding="utf-8")), encoding="utf-8")
    (PAGES / "README.md").write_text(index(methods), encoding="utf-8")


def index(methods: dict[str, type[Method]]) -> str:
    """The list of all pages, family by family."""
    lines = ["# Methods", "", "One page each: what it shows, how it is read, when it refuses, how it is proven.", ""]
    for family in dict.fromkeys(method.family for method in methods.values()):
        lines += [f"## {family}", ""]
        for name, method in methods.items():
            if method.family == family:
                lines.append(f"- [{method.title}]({name}.md) (`{name}`): {method.summary}")
        lines.append("")
    return "\n".join(lines)


def table(methods: dict[str, type[Method]], cells: list[Cell], subjects: int) -> str:
    """The README's table: each method, its cost, its proof, and on how many of the networks it works."""
    lines = ["| method | cost | proven by | networks |", "|---|---|---|---|"]
    for name, method in methods.items():
        own = [one for one in cells if one.method == name]
        paper = re.split(r"[.:]", method.citation)[0]
        lines.append(
            f"| [`{name}`](docs/methods/{name}.md) {_short(paper, method.citation)} | {method.cost} | {method.proof} | "
            f"{_networks(own, subjects)} |"
        )
    return "\n".join(lines)


def _short(authors: str, citation: str) -> str:
    """First author and year."""
    first = re.split(r"[,:]", authors)[0].split(" and ")[0].strip()
    year = re.findall(r"\b(?:19|20)\d\d\b", citation)
    return f"({first} {year[0]})" if year else f"({first})"


def _networks(cells: list[Cell], subjects: int) -> str:
    works = [one for one in cells if one.state in ("works", "warns")]
    refused: dict[str, list[str]] = {}
    for one in cells:
        if one.state not in ("works", "warns"):
            refused.setdefault(one.state, []).append(one.subject)
    text = f"works on {'all ' if len(works) == subjects else ''}{len(works)}"
    text += f" of {subjects}" if len(works) != subjects else ""
    for state, names in refused.items():
        text += f"; {state}: {', '.join(names)}"
    return text


def grid(methods: dict[str, type[Method]], cells: list[Cell], names: list[str]) -> str:
    """Methods by networks: a mark each, and below it every warning and refusal with its sentence."""
    marks = {"works": "✓", "warns": "✓", "refuses": "–", "fails": "✗"}
    notes: dict[str, int] = {}
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for name in methods:
        row = []
        for subject in names:
            found = next((one for one in cells if one.method == name and one.subject == subject), None)
            if found is None:
                row.append("")
                continue
            mark = marks[found.state]
            if found.sentence:
                mark += f" {notes.setdefault(_alike(found.sentence), len(notes) + 1)}"
            row.append(mark)
        lines.append(f"| `{name}` | " + " | ".join(row) + " |")
    lines += ["", "✓ a map; – refuses; a number is the sentence that comes with it (… for figures and layers):", ""]
    lines += [f"{number}. {sentence}" for sentence, number in notes.items()]
    return "\n".join(lines)


def _alike(sentence: str) -> str:
    """A sentence without its figures and layers, which differ from network to network."""
    sentence = re.sub(r" \(layer [^)]*\)", "", sentence)
    sentence = re.sub(r"(the (?:layer|map of|maps of|parts of) |only, at )(?!is\b)[\w.]*\w", r"\1…", sentence)
    return re.sub(r"(?<![\w-])[-+]?\d[\d.]*(?:e[-+]?\d+)?", "…", sentence)


def sums(cells: list[Cell], methods: dict[str, type[Method]], names: list[str]) -> str:
    """Relative errors of the sums that the theories ask for."""
    asked = [name for name in methods if any(one.method == name and one.error is not None for one in cells)]
    lines = ["| | " + " | ".join(f"`{name}`" for name in asked) + " |", "|---|" + "---|" * len(asked)]
    for subject in names:
        row = []
        for name in asked:
            found = next((one for one in cells if one.method == name and one.subject == subject), None)
            row.append("" if found is None or found.error is None else f"{found.error:.1e}")
        lines.append(f"| {subject} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def validity(
    record: dict[str, Any], methods: dict[str, type[Method]], cells: list[Cell], subjects: Sequence[Subject]
) -> dict[str, str]:
    """The parts of docs/validity.md by the names of their markers."""
    names = [subject.name for subject in subjects]
    parity = ["| method | network | peer | largest difference |", "|---|---|---|---|"]
    parity += [f"| `{row['method']}` | {row['network']} | {row['peer']} | {row['difference']:.0e} |"
               for row in record.get("parity", [])]  # fmt: skip
    peers = ["| peer | network | what | figure |", "|---|---|---|---|"]
    peers += [f"| {row['peer']} | {row['network']} | {row['what']} | {row['figure']} |"
              for row in record.get("peers", [])]  # fmt: skip
    cautions = ["| method | enhancing and dark | trained and random |", "|---|---|---|"]
    cautions += [f"| `{row['method']}` | {_figure(row['contrast'])} | {_figure(row['random'])} |"
                 for row in record.get("cautions", [])]  # fmt: skip
    return {
        "networks": "\n".join(["| network | what it is there for |", "|---|---|",
                               *(f"| {one.name} | {one.what} |" for one in subjects)]),
        "grid": grid(methods, cells, names),
        "sums": sums(cells, methods, names),
        "parity": "\n".join(parity),
        "peers": "\n".join(peers),
        "cautions": "\n".join(cautions),
    }  # fmt: skip


def _figure(value: float | str | None) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str("a map is zero" if value is None else value)


def to_json(cells: list[Cell]) -> list[dict[str, Any]]:
    """Cells by name, without their seconds, which differ from run to run."""
    return [{key: value for key, value in one.to_json().items() if key != "seconds"} for one in cells]

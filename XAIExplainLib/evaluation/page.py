"""The page of a comparison: a table to sort, and a card with pictures for each method; one file that stands alone."""

from __future__ import annotations

import html
from typing import Any

import numpy as np

from XAIExplainLib.evaluation.comparison import COST, LOCALISATION, Column, Comparison, Row
from XAIExplainLib.evaluation.pictures import COOL, PLANES, TRUTH, WARM, Slices, opacity, picture, ramp
from XAIExplainLib.explanation import Explanation

STYLE = """
:root { --ink: #1b2329; --dim: #5d6b76; --line: #dfe5e9; --bar: #d5e6f3; --paper: #fff; --wash: #f5f7f9; }
* { box-sizing: border-box; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
body { margin: 0; background: var(--wash); color: var(--ink);
       font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 36px 28px 56px; }
h1 { font-size: 27px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -.012em; }
h2 { font-size: 18px; margin: 0; }
p { margin: 6px 0; max-width: 82ch; } a { color: inherit; } .dim { color: var(--dim); } .small { font-size: 13px; }
.box { background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: 20px 22px;
       margin-top: 20px; }
.asked { display: grid; grid-template-columns: minmax(0, 1fr) 330px; gap: 28px; align-items: start; }
.answer { display: grid; grid-template-columns: minmax(80px, auto) 1fr 48px; gap: 8px; align-items: center;
          font-size: 13px; }
.answer i { display: block; height: 8px; border-radius: 4px; background: var(--line); overflow: hidden; }
.answer b { display: block; height: 100%; background: #2f7fb8; } .answer span:last-child { text-align: right; }
.wide { overflow-x: auto; margin: 0 -6px; }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 600; vertical-align: bottom; padding: 4px 7px; line-height: 1.25; }
th:first-child, td:first-child { text-align: left; }
th button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer;
            text-align: inherit; }
th button::after { content: "\\a0\\2195"; color: #b4bfc7; }
th[aria-sort=ascending] button::after { content: "\\a0\\2191"; color: var(--ink); }
th[aria-sort=descending] button::after { content: "\\a0\\2193"; color: var(--ink); }
th .dim { display: block; font-weight: 400; }
td { border-top: 1px solid var(--line); padding: 6px 7px; text-align: right; white-space: nowrap; }
#figures td:first-child { white-space: normal; min-width: 128px; line-height: 1.3; }
td:first-child a { font-weight: 600; text-decoration: none; } td:first-child a:hover { text-decoration: underline; }
td.bar { background: linear-gradient(90deg, var(--bar) var(--share), transparent var(--share)) no-repeat
         4px 50% / calc(100% - 8px) 20px; }
td.best { font-weight: 700; } td.why { text-align: left; white-space: normal; color: var(--dim); }
tfoot td { color: var(--dim); border-top: 2px solid var(--line); }
.card { display: grid; grid-template-columns: minmax(0, 1fr) 290px; gap: 24px; break-inside: avoid; }
.views { display: flex; gap: 10px; align-items: flex-start; }
.views figure { margin: 0; min-width: 0; flex-basis: 0; }
.views svg { display: block; width: 100%; border-radius: 4px; background: #000; }
figcaption { color: var(--dim); font-size: 12px; padding-top: 3px; line-height: 1.3; }
.apart { border-left: 1px solid var(--line); padding-left: 10px; }
.facts td { padding: 3px 0; } .facts td:last-child { padding-left: 12px; white-space: normal; overflow-wrap: anywhere; }
.scale { display: flex; gap: 8px; align-items: center; font-size: 12px; color: var(--dim); margin-top: 10px; }
.scale svg { width: 180px; height: 10px; border-radius: 2px; }
.warn { border-left: 3px solid #d98c00; padding-left: 9px; font-size: 13px; }
.refused { border-left: 3px solid #9aa7b1; padding-left: 9px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 16px; font-size: 13px; margin: 8px 0 0; }
dt { font-weight: 600; } dd { margin: 0; color: var(--dim); }
.truth { fill: none; stroke: TRUTH; stroke-width: 1.3px; vector-effect: non-scaling-stroke; stroke-linecap: round; }
.key { display: inline-block; width: 18px; height: 0; border-top: 2px solid #12a866; vertical-align: middle; }
svg text { fill: #fff; text-anchor: middle; dominant-baseline: middle; font-family: system-ui, sans-serif; }
svg text.side { fill: #c9d2d8; paint-order: stroke; stroke: #000; stroke-width: 1.2px; }
svg text.rule { text-anchor: start; dominant-baseline: auto; fill: #dfe5e9; }
path.rule { stroke: #dfe5e9; } .halo { stroke: #000; opacity: .55; } .peak { stroke: #fff; }
@media (max-width: 940px) { .asked, .card { grid-template-columns: minmax(0, 1fr); } }
@media print { body { background: #fff; font-size: 11px; } main { max-width: none; padding: 0; }
  .box { border: 0; border-top: 1px solid var(--line); border-radius: 0; padding: 12px 0; margin-top: 12px; }
  th button::after { content: "" !important; } table { font-size: 9.5px; } th, td { padding: 3px 4px; }
  .card { grid-template-columns: minmax(0, 1fr) 210px; } .asked { grid-template-columns: minmax(0, 1fr) 240px; }
  @page { size: A4 landscape; margin: 14mm; } }
""".replace("TRUTH", TRUTH)

SCRIPT = """
for (const button of document.querySelectorAll("th button")) button.onclick = () => {
  const head = button.closest("th"), body = document.querySelector("#figures tbody");
  const column = [...head.parentNode.children].indexOf(head), was = head.getAttribute("aria-sort");
  const up = was ? was == "descending" : head.dataset.better != "high";
  for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = row => { const cell = row.children[column]; return cell ? cell.dataset.value : undefined; };
  const order = (a, b) => {
    const [x, y] = [key(a), key(b)];
    if (!x || !y) return (x ? 0 : 1) - (y ? 0 : 1);
    const less = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
    return up ? less : -less;
  };
  body.append(...[...body.children].sort(order));
};
"""


class Page:
    """The page, card by card.

    Parameters
    ----------
    comparison : Comparison
        What is asked.
    """

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        truth = comparison.truth
        self.slices = Slices(comparison.volume, comparison.domain, None if truth is None else truth.mask)
        self.centre = None if truth is None else _centre(truth.mask, comparison)
        self._cards: list[str] = []
        self._rows: list[Row] = []
        self._shared = ""
        if self.centre is not None:
            groups = []
            for name in PLANES:
                plane = self.slices.plane(name, self.centre)
                groups.append(f'<g id="{name}">{self.slices.ground(plane)}</g>')
                groups.append(f'<g id="truth-{name}">{self.slices.outline(plane)}</g>')
            # Drawn once and used in every card.
            self._shared = f'<svg style="position:absolute;width:0;height:0"><defs>{"".join(groups)}</defs></svg>'

    def add(self, row: Row, result: Explanation | None) -> None:
        """Draw a method's card."""
        self._rows.append(row)
        self._cards.append(_refusal(row) if result is None else self._card(row, result))

    def html(self, missing: list[str]) -> str:
        """The whole page; `missing` names the methods that are still to come."""
        asked = self.comparison
        name = html.escape(asked.volume.name or "the volume")
        warning = ""
        if missing:
            warning = f"<p class=warn>Incomplete: {html.escape(', '.join(missing))} did not run.</p>"
        return (
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
            f"<title>Methods compared: {name}</title><style>{STYLE}</style>{self._shared}<main>"
            f"<h1>{len(self._rows)} method{'s' * (len(self._rows) != 1)} asked about {name}</h1>{warning}"
            f"{self._asked()}{self._table()}{''.join(self._cards)}{self._notes()}</main>"
            f"<script>{SCRIPT}</script></html>\n"
        )

    def _asked(self) -> str:
        """The question, and the network's answer."""
        asked = self.comparison
        grid = asked.volume.geometry
        size = " x ".join(map(str, grid.size))
        spacing = " x ".join(f"{s:.3g}" for s in grid.spacing)
        many = asked.volume.channels
        channels = f" and {many} channels, of which the first is shown" if many > 1 else ""
        lines = [
            f"Explained: <b>{html.escape(asked.target_name)}</b>, score {asked.score:.3g} "
            f"({html.escape(asked.score_units)}), by the model <b>{html.escape(asked.model.name)}</b>.",
            f"The volume has {size} voxels of {spacing} mm{channels}.",
        ]
        if asked.truth is not None:
            voxels = int(asked.truth.mask.sum())
            carried = ", carried from its own grid to the nearest voxels," if asked.truth.resampled else ""
            lines.append(
                f"<span class=key></span> The truth, {html.escape(asked.truth.source)},{carried} has "
                f"{voxels} voxels ({voxels * grid.voxel_volume / 1000:.3g} ml). It plays no part in the explanations."
            )
        text = "".join(f"<p>{line}</p>" for line in lines)
        return f"<div class='box asked'><div>{text}</div><div>{_answer(asked.prediction.to_json())}</div></div>"

    def _columns(self) -> dict[str, Column]:
        return {**(LOCALISATION if self.comparison.truth is not None else {}), **COST}

    def _table(self) -> str:
        columns, chance = self._columns(), self.comparison.chance
        best = {name: self._best(name, column) for name, column in columns.items()}
        head = "<th data-better=low><button>Method</button></th>"
        for column in columns.values():
            unit = f" <span class=dim>{column.unit}</span>" if column.unit not in ("", "map units") else ""
            head += (
                f'<th data-better="{column.better or "low"}" title="{html.escape(column.text)}">'
                f"<button>{html.escape(column.title)}</button>{unit}</th>"
            )
        body = ""
        for row in self._rows:
            name = html.escape(row.title)
            title = f"<td data-value='{name}'><a href='#{row.method}'>{name}</a></td>"
            if row.refused:
                body += f"<tr>{title}<td class=why colspan={len(columns)}>refuses: {html.escape(row.refused)}</td></tr>"
                continue
            body += f"<tr>{title}{''.join(_cell(row, name, best[name]) for name in columns)}</tr>"
        foot = ""
        if chance:
            cells = "".join(f"<td>{_figure(name, chance.get(name))}</td>" for name in columns)
            foot = f"<tfoot><tr><td>level of chance</td>{cells}</tr></tfoot>"
        return (
            f"<div class=box><div class=wide><table id=figures><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody>{foot}</table></div></div>"
        )

    def _best(self, name: str, column: Column) -> float | None:
        values = [value for row in self._rows if (value := row.value(name)) is not None]
        if name not in LOCALISATION or not column.better or len(values) < 2:
            return None
        return max(values) if column.better == "high" else min(values)

    def _card(self, row: Row, result: Explanation) -> str:
        values, grid = result.array, result.geometry
        full = float(np.percentile(np.abs(values[values != 0]), 99.9)) if values.any() else 1.0
        k, j, i = np.unravel_index(int(np.argmax(values)), values.shape)
        peak = grid.index_to_physical((int(i), int(j), int(k)))
        figures, title = [], html.escape(row.title)
        if self.centre is not None:
            for name in PLANES:
                plane = self.slices.plane(name, self.centre)
                drawn = self.slices.overlay(plane, values, full)
                layers = [f'<use href="#{name}"/>', drawn, f'<use href="#truth-{name}"/>']
                figures.append((plane, picture(plane, layers, peak, f"{title}, {name}, through the truth"), name, ""))
        for name in PLANES if self.centre is None else PLANES[:1]:
            plane = self.slices.plane(name, peak)
            layers = [self.slices.ground(plane), self.slices.overlay(plane, values, full), self.slices.outline(plane)]
            kind, text = ("", name) if self.centre is None else ("apart", f"{name}, through the map's highest voxel")
            figures.append((plane, picture(plane, layers, peak, f"{title}, {text}"), text, kind))
        views = "".join(
            f'<figure class="{kind}" style="flex-grow:{plane.size[0] / plane.size[1]:.3f}">{drawn}'
            f"<figcaption>{text}</figcaption></figure>"
            for plane, drawn, text, kind in figures
        )
        signed = row.signed and bool((values < 0).any())
        warnings = "".join(f"<p class=warn>{html.escape(text)}</p>" for text in row.warnings)
        facts = "".join(f"<tr><td>{a}</td><td>{b}</td></tr>" for a, b in self._facts(row, result))
        return (
            f'<div class="box card" id="{row.method}"><div><div class=views>{views}</div>'
            f"<div class=scale>{f'{-full:.2g}' if signed else '0'}{_scale(signed)}{full:.2g}&ensp;"
            f"{html.escape(row.units)}</div></div><div><h2>{title}</h2>"
            f"<table class=facts>{facts}</table>{warnings}"
            f"<p class='dim small'>{html.escape(str(result.provenance.get('caution', '')))}</p></div></div>"
        )

    def _facts(self, row: Row, result: Explanation) -> list[tuple[str, str]]:
        """What the card says beside the pictures."""
        given = ", ".join(f"{key} {_plain(value)}" for key, value in row.parameters.items() if value is not None)
        facts = [("parameters", html.escape(given) or "none")]
        if "layer" in result.diagnostics:
            facts.append(("layer", html.escape(str(result.diagnostics["layer"]))))
        if row.found is not None:
            times = row.found.relevance_mass / self.comparison.chance["relevance_mass"]
            facts.append(("relevance in the truth", f"{100 * row.found.relevance_mass:.1f} % ({times:.0f} x chance)"))
            share = row.found.pointing_game
            inside = {0.0: "no", 1.0: "yes"}.get(share, f"{100 * share:.0f} % of several equal ones")
            facts.append(("highest voxel in it", inside))
        facts.append(("file", f"<a href='{html.escape(row.map)}'>{html.escape(row.map)}</a>"))
        return facts

    def _notes(self) -> str:
        """What each figure is."""
        text = "".join(
            f"<dt>{html.escape(column.title)}</dt><dd>{html.escape(column.text)}</dd>"
            for column in self._columns().values()
        )
        chance = ""
        if self.comparison.chance:
            chance = (
                f"<p class=small>The measures look at {html.escape(self.comparison.domain_text)}; what speaks against "
                "the target counts as nothing. The level of chance is that of a map that is the same everywhere. No "
                "measure ranks all methods alike, and a network may rightly look elsewhere than at the truth.</p>"
            )
        return (
            f"<div class=box><h2>What the figures are</h2>{chance}<dl>{text}</dl>"
            f"<p class=small>One forward pass takes {self.comparison.pass_seconds:.3g} s here. Colours: warm speaks "
            "for the target, cool against it, clear says nothing; each map has its own scale, which ends at the 99.9th "
            "percentile of its voxels that are not zero. The cross is the map's highest voxel.</p>"
            "<p class='dim small'>Not for diagnosis or treatment. After van der Velden, Kuijf, Gilhuijs, Viergever: "
            "Explainable artificial intelligence (XAI) in deep learning-based medical image analysis, Medical Image "
            "Analysis 79 (2022) 102470.</p></div>"
        )


def _centre(mask: np.ndarray, comparison: Comparison) -> np.ndarray:
    """The truth's voxel that is nearest to its centre of mass, as a point in LPS millimetres."""
    grid = comparison.volume.geometry
    points = grid.index_to_physical(np.argwhere(mask)[:, ::-1])
    nearest: np.ndarray = points[((points - points.mean(0)) ** 2).sum(1).argmin()]
    return nearest


def _refusal(row: Row) -> str:
    return (
        f'<div class=box id="{row.method}"><h2>{html.escape(row.title)}</h2><p class=refused>'
        f"{html.escape(row.refused)} <span class=dim>{html.escape(row.hint)}</span></p></div>"
    )


def _cell(row: Row, name: str, best: float | None) -> str:
    value = row.value(name)
    if value is None:
        return "<td class=dim>-</td>"
    classes = ["best"] * (best is not None and value == best)
    style = ""
    if name in LOCALISATION and LOCALISATION[name].better == "high":
        classes.append("bar")
        style = f' style="--share:{100 * value:.1f}%"'
    about = "~" if name == "passes" and not row.passes_counted else ""
    return f'<td class="{" ".join(classes)}"{style} data-value="{value:.6g}">{about}{_figure(name, value)}</td>'


def _figure(name: str, value: float | None) -> str:
    """A figure for people."""
    if value is None:
        return ""
    if name == "peak_bytes":
        return f"{value / 2**20:.0f}" if value >= 2**20 else "< 1"
    if name in ("hausdorff", "hausdorff_95", "seconds"):
        return f"{value:.1f}" if value >= 0.95 else f"{value:.2g}"
    if name == "passes":
        return f"{value:.0f}" if value >= 9.5 else f"{value:.1f}"
    if name == "completeness_error":
        return f"{100 * value:.2g} %" if value >= 1e-4 else "< 0.01 %"
    if name == "dice_threshold":
        return f"{value:.0f}" if 100 <= value < 1e5 else f"{value:.2g}"
    return f"{value:.2g}" if 0 < value < 0.0095 else f"{value:.3f}"


def _plain(value: Any) -> str:
    return " x ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _scale(signed: bool) -> str:
    """The colour bar, as it looks over middle grey."""
    low = -1 if signed else 0
    stops = ""
    for at in np.linspace(low, 1, 25):
        tint = ramp(WARM if at >= 0 else COOL, np.abs(at))
        shown = tint * opacity(np.abs(at)) + 96 * (1 - opacity(np.abs(at)))
        share = 100 * (at - low) / (1 - low)
        stops += f'<stop offset="{share:.1f}%" stop-color="rgb({",".join(f"{c:.0f}" for c in shown)})"/>'
    name = "both" if signed else "one"
    return (
        '<svg viewBox="0 0 180 10" preserveAspectRatio="none" aria-hidden="true"><defs>'
        f'<linearGradient id="{name}">{stops}</linearGradient></defs>'
        f'<rect width="180" height="10" fill="url(#{name})"/></svg>'
    )


def _answer(prediction: dict[str, Any]) -> str:
    """The network's answer as bars, or in numbers where it has no probabilities."""
    if prediction["probabilities"]:
        rows = zip(prediction["classes"], prediction["probabilities"], strict=True)
        return "".join(
            f'<div class=answer><span>{html.escape(name)}</span><i><b style="width:{100 * share:.1f}%"></b></i>'
            f"<span>{100 * share:.0f} %</span></div>".replace("<span>0 %", "<span>&lt; 1 %")
            for name, share in rows
        )
    figures = prediction["millilitres"] or prediction["logits"] or []
    unit = " ml" if prediction["millilitres"] else ""
    return "".join(
        f"<div class=small>{html.escape(name)}: {value:.3g}{unit}</div>"
        for name, value in zip(prediction["classes"], figures, strict=False)
    )

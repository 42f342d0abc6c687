"""The page of the demonstration: case, prediction, the maps and their figures; it stands alone."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from Testing.demo.slices import PLANES, Hanging, as_source, bar
from XAIExplainLib.cases import Case
from XAIExplainLib.evaluation.localisation import Localisation
from XAIExplainLib.explanation import Explanation

STYLE = """
:root { color-scheme: dark; --line: #2c3238; --dim: #97a1ab; --warm: #f5a13c; --truth: #5ae6aa; }
* { box-sizing: border-box; }
body { margin: 0; background: #101316; color: #e8ecef; font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 36px 28px 64px; }
h1 { font-size: 28px; margin: 0 0 4px; letter-spacing: -.01em; } h2 { font-size: 18px; margin: 0; }
p { margin: 6px 0; max-width: 78ch; } .dim { color: var(--dim); } .small { font-size: 13px; }
section { border-top: 1px solid var(--line); padding: 22px 0; display: grid; gap: 22px;
          grid-template-columns: minmax(0, 1fr) 300px; }
.views { display: flex; gap: 8px; align-items: flex-end; } .views figure { margin: 0; flex: 1 1 0; min-width: 0; }
.views img { width: 100%; border-radius: 3px; display: block; background: #000; }
figcaption { color: var(--dim); font-size: 12px; padding-top: 3px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 13px; }
td { padding: 3px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td:last-child { text-align: right; padding-left: 12px; }
.answer { display: grid; grid-template-columns: 90px 1fr 48px; gap: 8px; align-items: center; font-size: 13px; }
.answer i { display: block; height: 8px; border-radius: 4px; background: #3b444c; }
.answer i b { display: block; height: 100%; border-radius: 4px; background: var(--warm); }
.scale { display: flex; align-items: center; gap: 8px; font-size: 12px; color: var(--dim); margin-top: 8px; }
.scale img { border-radius: 2px; } .warn { color: #ffcf8a; font-size: 13px; } .truth { color: var(--truth); }
.panel { width: 100%; border: 1px solid var(--line); border-radius: 4px; }
@media (max-width: 860px) { section { grid-template-columns: 1fr; } }
"""


@dataclass
class Shown:
    """One explanation with what was measured of it and the file that holds it."""

    result: Explanation
    found: Localisation | None
    file: str


def write_page(path: Path, case: Case, shown: list[Shown], panel: str | None) -> None:
    """Write the page.

    Parameters
    ----------
    path : Path
        The HTML file.
    case : Case
        What was explained.
    shown : list of Shown
        The explanations, all of the same answer.
    panel : str or None
        File name of the picture of the panel, beside the page.
    """
    mask = None if case.mask is None else case.mask.data[0]
    hanging = Hanging(case.volume.data[0], case.volume.geometry, mask)
    place = _place(case, shown[0].result, hanging)
    parts = [_head(case, shown, hanging, place)]
    parts += [_explanation(one, hanging, place) for one in shown]
    if panel:
        parts.append(
            f'<section style="grid-template-columns:1fr"><div><h2>The panel</h2><p class="dim small">The '
            f'extension\'s module for 3D Slicer, photographed in the project\'s own host.</p>'
            f'<img class="panel" src="{panel}" alt="The panel with slice views and a 3D view"></div></section>'
        )
    body = "\n".join(parts)
    path.write_text(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>XAIExplain: {html.escape(_title(case))}</title><style>{STYLE}</style><main>{body}"
        "<section style='grid-template-columns:1fr'><p class='dim small'>Not for diagnosis or treatment. After van der "
        "Velden, Kuijf, Gilhuijs, Viergever: Explainable artificial intelligence (XAI) in deep learning-based medical "
        "image analysis, Medical Image Analysis 79 (2022) 102470.</p></section></main></html>\n",
        encoding="utf-8",
    )


def _title(case: Case) -> str:
    return str(case.information.get("title", case.name))


def _place(case: Case, result: Explanation, hanging: Hanging) -> tuple[int, int, int]:
    """Where the slices are cut: the middle of the truth, or the peak of the first map."""
    source = result.array if case.mask is None else case.mask.data[0]
    voxels = np.argwhere(source > 0) if case.mask is not None else None
    if voxels is not None and len(voxels):
        k, j, i = np.rint(voxels.mean(0)).astype(int)
    else:
        k, j, i = np.unravel_index(int(np.argmax(result.array)), result.array.shape)
    return hanging.index_of((int(i), int(j), int(k)))


def _views(hanging: Hanging, place: tuple[int, int, int], **overlay: Any) -> str:
    figures = []
    for plane in PLANES:
        picture = hanging.picture(plane, place, **overlay)
        figures.append(
            f'<figure style="flex-grow:{picture.width}"><img src="{as_source(picture)}" alt="{plane} slice">'
            f"<figcaption>{plane}</figcaption></figure>"
        )
    return f'<div class="views">{"".join(figures)}</div>'


def _head(case: Case, shown: list[Shown], hanging: Hanging, place: tuple[int, int, int]) -> str:
    result = shown[0].result
    prediction = result.prediction.to_json()
    rows = zip(prediction["classes"], prediction["probabilities"], strict=True)
    bars = "".join(
        f'<div class="answer"><span>{html.escape(name)}</span><i><b style="width:{100 * p:.1f}%"></b></i>'
        f"<span>{100 * p:.0f} %</span></div>".replace("<span>0 %", "<span>&lt; 1 %")
        for name, p in rows
    )
    size = " x ".join(map(str, case.volume.geometry.size))
    spacing = " x ".join(f"{s:g}" for s in case.volume.spacing)
    description = html.escape(str(case.information.get("description", "")))
    return (
        f"<h1>Why did the network say that?</h1><p class=dim>{html.escape(_title(case))} - {description}</p>"
        f"<section><div>{_views(hanging, place)}</div><div><h2>The network's answer</h2>"
        f'<p class="dim small">{html.escape(str(result.provenance["model"]))}, asked about {size} voxels of '
        f"{spacing} mm</p>{bars}"
        f'<p class="small">Explained: <b>{html.escape(result.target)}</b>, score '
        f"{result.diagnostics['score']:.2f} ({html.escape(result.diagnostics['score_units'])})</p>"
        f'<p class="small truth">Outline: the true lesion, which the network never sees.</p></div></section>'
    )


def _explanation(one: Shown, hanging: Hanging, place: tuple[int, int, int]) -> str:
    result = one.result
    full = float(np.percentile(np.abs(result.array[result.array != 0]), 99.9)) if result.array.any() else 1.0
    views = _views(hanging, place, values=result.array, full=full, signed=result.signed)
    diagnostics = result.diagnostics
    rows = [("parameters", ", ".join(f"{k} {v}" for k, v in result.parameters.items() if v is not None) or "none")]
    if "layer" in diagnostics:
        grid = " x ".join(map(str, diagnostics["layer_grid"]))
        rows.append(("layer", f"{diagnostics['layer']} ({grid})"))
    if one.found is not None:
        times = one.found.relevance_mass / one.found.chance
        rows.append(("relevance inside the lesion", f"{100 * one.found.relevance_mass:.1f} % ({times:.0f} x chance)"))
        rows.append(("highest voxel inside", "yes" if one.found.pointing_game > 0.5 else "no"))
        rows.append(("AUPRC (chance)", f"{one.found.average_precision:.3f} ({one.found.chance:.3f})"))
    if "completeness_error" in diagnostics:
        rows.append(("error of the sum", f"{100 * diagnostics['completeness_error']:.2f} %"))
    rows.append(("time, memory", f"{diagnostics['seconds']:.1f} s, {diagnostics['peak_bytes'] / 2**20:.0f} MiB"))
    table = "".join(f"<tr><td>{html.escape(a)}</td><td>{html.escape(b)}</td></tr>" for a, b in rows)
    warnings = "".join(f"<p class=warn>{html.escape(text)}</p>" for text in diagnostics["warnings"])
    low = f"{-full:.2g}" if result.signed else "0"
    return (
        f"<section><div>{views}<div class=scale>{low}<img src='{as_source(bar(result.signed))}' alt='colour bar'>"
        f"{full:.2g}&ensp;{html.escape(result.units)}</div></div><div><h2>{html.escape(result.title)}</h2>"
        f"<table>{table}</table>{warnings}<p class='dim small'>{html.escape(result.provenance['caution'])}</p>"
        f"<p class='dim small'>{html.escape(one.file)}</p></div></section>"
    )

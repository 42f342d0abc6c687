"""DeepLIFT's multipliers for a segmenter that answers by tiles.

The blended answer is linear in the tiles' answers, so its multipliers go to each tile's answer as the gradient does:
times the tile's share of the blend. The contributions of all tiles add up to the difference of the scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from XAIExplainLib.compute.memory import batch_for, forward_bytes
from XAIExplainLib.compute.multipliers import REFERENCE, Comparison, multipliers_of_score
from XAIExplainLib.compute.reverse import Table, kept_values, walk

if TYPE_CHECKING:
    from XAIExplainLib.question import Question


def compare_by_tiles(question: Question, backgrounds: Sequence[torch.Tensor], table: Table) -> Iterator[Comparison]:
    """As `multipliers.compare`, one sample and one tile at a time."""
    tiled = question.tiled
    assert tiled is not None
    tiles, graph = tiled.tiles, question.graph(of_tile=True)
    path = graph.between(graph.input, graph.output)
    kept = kept_values(graph, table, path, graph.input) | {graph.output, graph.input}
    needed = 2 * (forward_bytes(graph, kept, question.x.element_size()) + tiled.bytes)
    batch_for(needed, question.memory, 1, "The comparison of a tile with a background")
    count = question.samples * len(backgrounds)
    for sample in range(question.samples):
        rows, x = slice(sample, sample + 1), question.x[sample : sample + 1]
        row = torch.tensor([sample], device=x.device)
        for number, background in enumerate(backgrounds):
            start = background[rows]
            done = sample * len(backgrounds) + number
            question.progress(done / count, f"background {number + 1} of {len(backgrounds)}")
            with torch.no_grad():
                reference = tiled.answers(start, row)
            seed, scores, others = multipliers_of_score(question, question.output[rows], reference, row)
            wide = tiles.uncrop(seed)
            walked = [one for one in range(len(tiles)) if bool(tiles.cut(wide, one).any())]
            tiled.say_walked(len(walked))
            pair = tiles.pad(x), tiles.pad(start)
            found = torch.zeros_like(pair[0])
            for turn, one in enumerate(walked):
                question.progress((done + turn / len(walked)) / count, f"tile {turn + 1} of {len(walked)}")
                ends = [tiles.cut(image, one) for image in pair]
                filled = [end.expand(graph.static_batch or 1, *end.shape[1:]) for end in ends]
                after, before = (graph.run(end, keep=kept, check=question.check) for end in filled)
                values = {**after, **{REFERENCE + name: value for name, value in before.items()}}
                given = (tiles.cut(wide, one) * tiles.share(one, wide)).expand_as(after[graph.output])
                back = walk(graph, table, values, given, graph.input, path, question.check)[:1]
                found[(..., *tiles.places[one])] += back * (ends[0] - ends[1])
                del values, after, before
            yield Comparison(rows, number, tiles.fold(found), scores, others)

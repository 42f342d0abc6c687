"""How long a run will take, before it is asked for: in forward passes, from sizes alone; and what they are counted by.

A unit is one forward pass of the network over the whole case (a 2D network: over all slices).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Box = tuple[Any, ...]  # slices, one an axis
Share = Callable[[list[Box], int], float]

# In forward passes, measured on the bundled networks and on those of docs/speed.md.
WALK = 2.3  # forth and back for another image than the case
FIRST_WALK = 2.0  # and for the case itself, whose answer the same pass gives
TO_A_LAYER = 1.2  # forth, and back to a layer near the end
BY_STEPS = 0.75  # a whole pass where there are many, by the steps of the graph
MANY = 64  # from how many on these are taken
MOST_BOXES = 4096  # that are looked at; of more, some stand for all
NOMINAL = (64, 64, 64)


@dataclass(frozen=True)
class Sizes:
    """What the length of a run depends on, besides its parameters.

    Parameters
    ----------
    spatial : tuple of int
        The shape of the image, on the network's grid.
    image : torch.Tensor or None
        The case, shape (N, C, *spatial); None where none is known, and all of it counts.
    share : callable or None
        ``(boxes, of how many) -> share of a whole pass that one of them takes``, by the cost model of the network's
        graph; None where there is no graph.
    """

    spatial: tuple[int, ...] = NOMINAL
    image: torch.Tensor | None = None
    share: Share | None = None

    def passes_of_boxes(
        self, window: int | tuple[int, ...], stride: int | tuple[int, ...], seen: torch.Tensor | None, times: int = 1
    ) -> float:
        """Passes that it takes to cover, so many times each, the boxes of a grid that change the image.

        Parameters
        ----------
        window, stride : int or tuple of int
            In voxels.
        seen : torch.Tensor or None
            Bool, shape (N, *spatial): a box without any of these voxels changes nothing. None is all.
        times : int
            How often each box is asked about.
        """
        from XAIExplainLib.visual.occlusion import windows

        steps = (stride,) * len(self.spatial) if isinstance(stride, int) else stride
        sizes = (window,) * len(self.spatial) if isinstance(window, int) else window
        count = math.prod(1 + math.ceil(max(n - w, 0) / s) for n, w, s in zip(self.spatial, sizes, steps, strict=False))
        wider = math.ceil(max(1.0, count / MOST_BOXES) ** (1 / len(self.spatial)))
        boxes = windows(self.spatial, window, tuple(s * wider for s in steps))
        if seen is not None:
            found = [[box for box in boxes if bool(one[box].any())] for one in seen]
            changed = count * sum(map(len, found)) / (len(boxes) * len(seen))
            boxes = max(found, key=len)
        else:
            changed = float(count)
        number = round(changed * times)
        if not boxes or not number:
            return 0.0
        share = self.share(boxes, number) if self.share is not None else 1.0
        return number * share * (BY_STEPS if self.share is not None else rate(number))


def rate(passes: int) -> float:
    """What one of so many whole passes takes."""
    return BY_STEPS if passes >= MANY else 1.0


def passes_of_scores(passes: int) -> float:
    """What so many whole passes take, of varied images that are made for them."""
    return passes * rate(passes)

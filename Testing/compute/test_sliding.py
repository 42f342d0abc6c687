"""Tiles against MONAI's sliding-window inference, and all that goes back through it against autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from Testing.compute.tiled import monai, segmenter, tensor, tiled_question
from XAIExplainLib.compute.perturbation import covered_scores
from XAIExplainLib.compute.rectifiers import GUIDED
from XAIExplainLib.compute.tiles import SlidingWindow
from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainLib.model import Model
from XAIExplainLib.target import ClassTarget, Region, Voxel
from XAIExplainLib.target_combined import Difference, Probability
from XAIExplainLib.visual.occlusion import windows

CUBE = {"roi": (16, 16, 16)}
CASES: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((1, 1, 23, 20, 27), CUBE),
    ((1, 2, 23, 20, 27), {**CUBE, "mode": "gaussian"}),
    ((1, 1, 23, 20, 33), {"roi": (16, 8, 16), "mode": "gaussian", "overlap": (0.5, 0.0, 0.7), "batch": 4}),
    ((1, 1, 16, 16, 17), {**CUBE, "overlap": 0.6, "sigma": (0.1, 0.2, 0.3), "mode": "gaussian"}),
    ((1, 1, 11, 20, 9), {**CUBE, "padding_value": -1.0}),
    ((1, 1, 11, 20, 13), {**CUBE, "padding": "reflect", "mode": "gaussian"}),
    ((1, 1, 11, 20, 7), {**CUBE, "padding": "replicate"}),
    ((1, 1, 11, 20, 13), {**CUBE, "padding": "circular"}),
    ((1, 1, 22, 20, 12), {"roi": (16, 16, -1), "overlap": 0.5}),
    ((1, 1, 20, 18, 24), {"roi": 16, "overlap": 0.75, "mode": "gaussian", "batch": 3}),
    ((3, 1, 23, 27), {"roi": (16, 16), "mode": "gaussian"}),
    ((2, 2, 10, 37), {"roi": (16, 16), "overlap": 0.5, "batch": 3}),
    ((2, 1, 9, 31), {"roi": 16, "padding": "reflect", "overlap": 0.1}),
]


def names(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else "-".join(map(str, value.values()))


@pytest.mark.parametrize(("shape", "window"), CASES, ids=names)
def test_the_answer_is_monais(shape: tuple[int, ...], window: dict[str, Any]) -> None:
    network, x = segmenter(len(shape) - 2, shape[1], True), tensor(*shape)
    model = Model(network, spatial_dims=len(shape) - 2, sliding=window)
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-12)):
        network.to(dtype)
        with torch.no_grad():
            wanted = monai(x.to(dtype), network, window)
            found = model(x.to(dtype))
        assert found.dtype == dtype
        torch.testing.assert_close(found, wanted, atol=tolerance * float(wanted.abs().max()), rtol=0)
    network.double()


@pytest.mark.parametrize(("shape", "window"), CASES, ids=names)
def test_the_gradient_is_autograds_through_monais_function(shape: tuple[int, ...], window: dict[str, Any]) -> None:
    x = tensor(*shape)
    question = tiled_question(x, window, Probability(Voxel((3, 4, 0 if x.dim() == 4 else 5), 1)), instance=True)
    network = question.model.network
    for images, score in ((x, question.score), (x + 0.1 * tensor(*shape, seed=2), question.score)):
        leaf = images.clone().requires_grad_()
        wanted = score(monai(leaf, network, window))
        wanted.sum().backward()
        found, scores = question.gradients(images)
        assert float(leaf.grad.abs().max()) > 0
        torch.testing.assert_close(found, leaf.grad, atol=1e-10, rtol=0)
        torch.testing.assert_close(scores, wanted.detach(), atol=1e-10, rtol=0)
    assert question.diagnostics["engine"] == "graph"
    assert 0 < question.diagnostics["tiles_walked"] <= question.diagnostics["tiles"]


def mask(shape: tuple[int, ...]) -> np.ndarray:
    made = np.zeros(shape, np.float32)
    made[1:4, 2:6, 1:5] = 1
    return made


TARGETS = {
    "class": ClassTarget(1), "voxel": Voxel((2, 3, 4), 2), "probability": Probability(Voxel((20, 3, 4), 0)),
    "region": Region(mask((23, 20, 27)), 1), "difference": Difference(Voxel((2, 3, 4), 2), Voxel((25, 18, 21), 0)),
}  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
def test_only_the_tiles_that_the_score_reads_are_walked(target: str) -> None:
    x = tensor(1, 1, 23, 20, 27)
    window = {**CUBE, "overlap": 0.5, "mode": "gaussian"}
    question = tiled_question(x, window, TARGETS[target])
    images = torch.cat([x, 0.5 * x, x * tensor(1, 1, 23, 20, 27, seed=4)])
    rows = torch.zeros(3, dtype=torch.long)
    leaf = images.clone().requires_grad_()
    wanted = question.score(monai(leaf, question.model.network, window), rows)
    wanted.sum().backward()
    found, scores = question.gradients(images, rows)
    torch.testing.assert_close(found, leaf.grad, atol=1e-10, rtol=0)
    torch.testing.assert_close(scores, wanted.detach(), atol=1e-10, rtol=0)
    torch.testing.assert_close(question.scores(images, rows), wanted.detach(), atol=1e-10, rtol=0)
    walked, number = question.diagnostics["tiles_walked"], question.diagnostics["tiles"]
    assert number == 12
    assert (walked == number) == (target == "class")


def test_a_score_that_is_not_linear_and_reads_all() -> None:
    """Its derivative differs from image to image, and is asked at the blended answer."""
    x = tensor(1, 1, 23, 20, 27)
    question = tiled_question(x, CUBE)
    question.score = type(question.score)("energy", "", lambda rows, samples: (rows[:, 1] ** 2).flatten(1).mean(1))
    image = x + tensor(*x.shape, seed=7)
    leaf = image.clone().requires_grad_()
    question.score(monai(leaf, question.model.network, CUBE)).sum().backward()
    torch.testing.assert_close(question.gradients(image)[0], leaf.grad, atol=1e-10, rtol=0)


def test_a_network_without_a_graph_goes_by_autograd_tile_by_tile() -> None:
    x = tensor(1, 1, 23, 20, 27)
    made = torch.jit.trace(segmenter(3), tensor(1, 1, 16, 16, 16))
    question = tiled_question(x, CUBE, network=made)
    image = x + tensor(*x.shape, seed=7)
    found, scores = question.gradients(image)
    leaf = image.clone().requires_grad_()
    wanted = question.score(monai(leaf, segmenter(3), CUBE))
    wanted.sum().backward()
    assert "TorchScript" in question.diagnostics["engine"]
    torch.testing.assert_close(found, leaf.grad, atol=1e-10, rtol=0)
    torch.testing.assert_close(scores, wanted.detach(), atol=1e-10, rtol=0)


def test_another_table_is_walked_as_through_one_network_of_all_tiles() -> None:
    """Guided backpropagation by tiles against the same rule written by hand into autograd, through MONAI's blend."""

    class Guided(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
            context.save_for_backward(x)
            return x.relu()

        @staticmethod
        def backward(context: Any, cotangent: torch.Tensor) -> torch.Tensor:
            (x,) = context.saved_tensors
            return cotangent.clamp_min(0) * (x > 0)

    class Rectifier(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return Guided.apply(x)

    x = tensor(1, 1, 23, 20, 27)
    window = {**CUBE, "mode": "gaussian"}
    question = tiled_question(x, window, TARGETS["difference"])
    leaf = x.clone().requires_grad_()
    network = type(segmenter(3))().double().eval()
    network.load_state_dict(segmenter(3).state_dict())
    network.first[2] = network.deep[3] = Rectifier()
    question.score(monai(leaf, network, window)).sum().backward()
    found, _ = question.gradients(x, table=GUIDED)
    torch.testing.assert_close(found, leaf.grad, atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    ("target", "shape", "padding"),
    [
        *((target, (23, 20, 27), "constant") for target in TARGETS), ("voxel", (13, 20, 27), "reflect"),
        ("class", (23, 11, 20), "replicate"), ("class", (23, 20, 9), "constant"), ("voxel", (9, 20, 21), "circular"),
    ],
)  # fmt: skip
def test_covered_boxes_are_whole_reruns(target: str, shape: tuple[int, ...], padding: str) -> None:
    x = tensor(1, 1, *shape)
    window = {**CUBE, "padding": padding, "overlap": 0.4, "mode": "gaussian"}
    question = tiled_question(x, window, TARGETS[target], True)
    boxes = windows(question.spatial, 6, 8)
    cover = torch.full_like(x, 0.3)
    found = torch.zeros(len(boxes), dtype=torch.float64)
    for indices, scores in covered_scores(question, 0, boxes, cover):
        found[indices] = scores
    wanted = torch.zeros_like(found)
    for n, box in enumerate(boxes):
        image = x.clone()
        image[(..., *box)] = 0.3
        with torch.no_grad():
            wanted[n] = question.score(monai(image, question.model.network, window))
    assert float((wanted - question.scores_of_case).abs().max()) > 1e-3
    torch.testing.assert_close(found, wanted, atol=1e-9, rtol=0)
    share = question.diagnostics["share_of_tiles"]
    assert question.diagnostics["engine"] == "tiles" and question.diagnostics["tiles_error"] < 1e-9
    assert share < (0.9 if target == "class" else 0.6)


def test_covered_boxes_with_another_measure_read_all() -> None:
    """What a function reads of the answer is not known, so that every tile that sees the box counts."""
    x = tensor(1, 1, 23, 20, 27)
    question = tiled_question(x, CUBE, TARGETS["voxel"])
    boxes = windows(question.spatial, 9, 9)

    def measure(rows: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
        return rows.flatten(1).square().mean(1)

    for indices, scores in covered_scores(question, 0, boxes, torch.zeros_like(x), measure):
        for n, score in zip(indices, scores, strict=True):
            image = x.clone()
            image[(..., *boxes[n])] = 0
            with torch.no_grad():
                wanted = measure(monai(image, question.model.network, CUBE), torch.zeros(1))
            assert abs(float(wanted) - float(score)) < 1e-9


def test_slices_are_covered_each_by_itself() -> None:
    x = tensor(3, 1, 23, 27)
    window = {"roi": 16, "overlap": 0.5}
    question = tiled_question(x, window)
    boxes = windows(question.spatial, 6, 6)
    for sample in range(3):
        for indices, scores in covered_scores(question, sample, boxes, torch.zeros_like(x)):
            for n, score in zip(indices, scores, strict=True):
                image = x[sample : sample + 1].clone()
                image[(..., *boxes[n])] = 0
                with torch.no_grad():
                    answer = monai(image, question.model.network, window)
                assert abs(float(question.score(answer, torch.tensor([sample]))) - float(score)) < 1e-9


def test_one_tile_is_the_network_itself() -> None:
    x = tensor(1, 1, 16, 16, 16)
    question = tiled_question(x, CUBE)
    assert question.tiled is None and "tiles" not in question.diagnostics
    torch.testing.assert_close(question.output, question.model.network(x), atol=0, rtol=0)
    assert question.graph().shape(question.graph().output, 1) == (1, 3, 16, 16, 16)


def test_progress_is_told_by_tiles_and_a_cancel_is_heard_between_them() -> None:
    told: list[tuple[float, str]] = []
    stop = [False]

    def progress(fraction: float, message: str) -> None:
        told.append((fraction, message))
        stop[0] = message == "tile 3 of 8"

    question = tiled_question(tensor(1, 1, 23, 20, 27), CUBE, progress=progress)
    assert [message for _, message in told] == [f"tile {n} of 8" for n in range(1, 9)]
    with pytest.raises(CancelledError):
        tiled_question(tensor(1, 1, 23, 20, 27), CUBE, progress=progress, cancel=lambda: stop[0])
    assert told[-1][1] == "tile 3 of 8"
    question.progress(0.5, "half")
    stop[0] = False
    question.gradients(question.x)
    assert told[-1] == (0.5, "tile 8 of 8")


def test_what_does_not_fit_is_said_after_the_first_tile() -> None:
    runs: list[int] = []
    network = type(segmenter(3))().double().eval()
    network.register_forward_hook(lambda *_: runs.append(1))
    with pytest.raises(XAIError, match="One tile, with the blended answer, needs about"):
        tiled_question(tensor(1, 1, 23, 20, 27), CUBE, network=network, memory=50_000)
    assert len(runs) == 1
    question = tiled_question(tensor(1, 1, 23, 20, 27), CUBE)
    question.memory = 100_000
    with pytest.raises(XAIError, match="The gradient needs about"):
        question.gradients(question.x)


def test_little_memory_gives_the_same_covered_scores() -> None:
    """Where there is no room for the tiles' answers, they are found again."""
    x = tensor(1, 1, 23, 20, 27)
    found = []
    for memory in (2**30, 14_000_000):
        question = tiled_question(x, {**CUBE, "overlap": 0.5}, memory=memory)
        boxes = windows(question.spatial, 9, 9)
        scores = torch.zeros(len(boxes), dtype=torch.float64)
        for indices, part in covered_scores(question, 0, boxes, torch.zeros_like(x)):
            scores[indices] = part
        found.append(scores)
    torch.testing.assert_close(*found, atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ({"overlap": 0.5}, "not understood"), ({"roi": 0.5}, "not understood"), ({"roi": 8, "overlap": 1}, "not"),
        ({"roi": 8, "mode": "median"}, "mode of a sliding window cannot be"), ({"roi": 8, "x": 1}, "not understood"),
        ({"roi": 8, "padding": "zeros"}, "padding of"), ({"roi": 8, "sigma": 0.0}, "sigma"), ("8", "not understood"),
        ({"roi": 8, "batch": 0}, "not understood"), (True, "not understood"), ({"roi": "8"}, "not understood"),
    ],
)  # fmt: skip
def test_bad_windows_get_one_sentence(window: Any, message: str) -> None:
    with pytest.raises(XAIError, match=message):
        SlidingWindow.of(window)


def test_windows_that_do_not_fit_get_one_sentence() -> None:
    with pytest.raises(XAIError, match="has 2 numbers, the image 3 axes"):
        tiled_question(tensor(1, 1, 23, 20, 27), {"roi": (16, 16)})
    with pytest.raises(XAIError, match="too small to be put into tiles"):
        tiled_question(tensor(1, 1, 23, 20, 5), {**CUBE, "padding": "reflect"})
    with pytest.raises(XAIError, match="no map of the tile"):
        Model(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(512, 2)), sliding=8)(torch.zeros(1, 1, 9, 9, 9))
    with pytest.raises(XAIError, match="does not fit the task"):
        Model(segmenter(3), task="classification", sliding=8)


def test_a_window_is_what_its_json_says() -> None:
    window = SlidingWindow((16, 8, 16), 0.5, "gaussian", (0.1, 0.2, 0.3), 2, "reflect", 1.0)
    assert SlidingWindow.of(window.to_json()) == window
    assert SlidingWindow.of([8, 8, 8]) == SlidingWindow((8, 8, 8)) and SlidingWindow.of(8) == SlidingWindow(8)
    assert SlidingWindow.of(None) is None and SlidingWindow.of(False) is None and SlidingWindow.of(window) is window
    plain, other = (Model(segmenter(3), sliding=value) for value in (None, 16))
    assert plain.fingerprint != other.fingerprint and other.describe()["sliding"]["roi"] == 16
    segmenter(3).double()

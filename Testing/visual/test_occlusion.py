"""Occlusion: equal to captum's for every window and stride, and to MONAI's."""

import pytest
import torch
from captum.attr import Occlusion
from monai.visualize import OcclusionSensitivity

from Testing.compute.graphs import network_of
from Testing.networks_zoo import BY_NAME
from Testing.visual.asking import asked, assert_close, native, rows
from Testing.visual.test_integrated_gradients import BASELINES
from XAIExplainLib import question as services
from XAIExplainLib.compute.baselines import mean_around, noise
from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainLib.visual.occlusion import Grid, windows
from XAIExplainLib.volume import Volume, save_volume


def captums(network, x, window, stride, start=torch.zeros_like):
    """The map (N, *spatial) by captum; a window covers all channels."""
    channels = x.shape[1]
    found = Occlusion(network).attribute(
        x, sliding_window_shapes=(channels, *window), strides=(channels, *stride), baselines=start(x), target=1
    )
    return found[:, :1]


CASES = [
    ("plain odd, three channels", (11, 12, 9), (11, 12, 9)), ("plain odd, three channels", (12, 16, 14), (9, 8, 13)),
    ("functional", (8, 8, 8), (4, 8, 5)), ("plain", (16, 16, 16), (4, 4, 4)), ("attending", (6, 6, 6), (5, 5, 5)),
    ("spectral", (3, 4, 4), (3, 4, 4)), ("plain 2D", (9, 10), (5, 10)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "window", "stride"), CASES)
def test_it_is_captums(name, window, stride):
    network, x = network_of(name), BY_NAME[name].image(2 if name.endswith("2D") else 1)
    result = asked(network, x, "occlusion", window=window, stride=stride)
    assert_close(rows(result, x), captums(network, x, window, stride), 1e-4)


@pytest.mark.parametrize("start", BASELINES)
@pytest.mark.parametrize("name", ["odd", "plain 2D"])
def test_what_covers(name, start):
    network, x = network_of(name), BY_NAME[name].image(2 if name.endswith("2D") else 1)
    window = (16,) * (x.dim() - 2)
    result = asked(network, x, "occlusion", window=16, stride=16, fill=start)
    assert_close(rows(result, x), captums(network, x, window, window, BASELINES[start]).float(), 1e-4)


def looped(network, x, window, stride, content):
    """The map (N, 1, *spatial) by a loop: `content(sample, box)` is what covers a box of a sample."""
    total, count = torch.zeros(len(x), 1, *x.shape[2:]), torch.zeros(x.shape[2:])
    for box in windows(x.shape[2:], window, stride):
        count[box] += 1
        for sample in range(len(x)):
            covered = x[sample : sample + 1].clone()
            covered[(0, slice(None), *box)] = content(sample, box)
            total[(sample, 0, *box)] += float((network(x[sample : sample + 1]) - network(covered))[0, 1])
    return total / count


FILLED = [("plain odd, three channels", (12, 16, 14), (9, 8, 13)), ("functional", 4, 4), ("plain 2D", (9, 10), (5, 10))]


@pytest.mark.parametrize(("name", "window", "stride"), [FILLED[0], FILLED[2]])
def test_noise_covers(name, window, stride):
    """Noise of the seed: the first numbers of the run's generator."""
    network, x = network_of(name), BY_NAME[name].image(2 if name.endswith("2D") else 1)
    cover = noise(x, torch.Generator().manual_seed(7))
    result = asked(network, x, "occlusion", window=window, stride=stride, fill="noise", seed=7)
    wanted = looped(network, x, window, stride, lambda sample, box: cover[(sample, slice(None), *box)])
    assert_close(rows(result, x), wanted, 1e-4)
    other = asked(network, x, "occlusion", window=window, stride=stride, fill="noise", seed=8)
    assert not torch.allclose(rows(other, x), rows(result, x), rtol=1e-2)


@pytest.mark.parametrize(("name", "window", "stride"), FILLED)
def test_the_mean_around_covers(name, window, stride):
    """The shell is half as wide as the box."""
    network, x = network_of(name), BY_NAME[name].image(2 if name.endswith("2D") else 1)
    if name == "functional":
        x[..., :9] = -2.0  # level: what is covered there is what was there
    result = asked(network, x, "occlusion", window=window, stride=stride, fill="local_mean")
    width = {"plain odd, three channels": (6, 8, 7), "functional": (2, 2, 2), "plain 2D": (5, 5)}[name]

    def content(sample, box):
        return mean_around(x[sample], box, width).reshape(-1, *[1] * len(box))

    assert_close(rows(result, x), looped(network, x, window, stride, content), 1e-4)
    if name == "functional":
        assert result.diagnostics["passes"] < result.diagnostics["windows"]
        assert not result.array[..., :4].any()


@pytest.mark.parametrize("name", ["odd", "plain 2D"])
def test_another_case_covers(name, tmp_path):
    network, x = network_of(name), BY_NAME[name].image(2 if name.endswith("2D") else 1)
    other = x.flip(-1) + 0.5
    save_volume(Volume(other.transpose(0, 1).numpy() if x.dim() == 4 else other[0].numpy()), None,
                tmp_path / "other.nrrd")  # fmt: skip
    result = asked(network, x, "occlusion", window=16, stride=16, fill=str(tmp_path / "other.nrrd"))
    wanted = looped(network, x, 16, 16, lambda sample, box: other[(sample, slice(None), *box)])
    assert_close(rows(result, x), wanted, 1e-4)
    with pytest.raises(XAIError, match="nowhere"):
        asked(network, x, "occlusion", fill="nowhere")


def test_it_is_monais_difference():
    network, x = network_of("plain"), BY_NAME["plain"].image()
    peer = OcclusionSensitivity(network, mask_size=8, n_batch=4, overlap=0.5, mode=0.0, activate=False)
    maps, _ = peer(x)
    result = asked(network, x, "occlusion", window=8, stride=4)
    wanted = network(x)[0, 1] - torch.as_tensor(maps)[:, 1:2]
    # MONAI pads nothing, and gives voxels near the edge to the windows that reach them: as here.
    assert_close(rows(result, x)[..., 4:12, 4:12, 4:12], wanted[..., 4:12, 4:12, 4:12], 1e-4)


def test_a_window_that_changes_nothing_costs_nothing():
    network, x = network_of("plain"), BY_NAME["plain"].image()
    x[..., 8:] = 0
    result = asked(network, x, "occlusion", window=4, stride=4)
    assert_close(rows(result, x), captums(network, x, (4, 4, 4), (4, 4, 4)), 1e-4)
    assert result.diagnostics["passes"] == 1 + 32
    assert result.diagnostics["windows"] == 64
    assert not result.array[..., 8:].any()


def test_a_window_larger_than_the_image_is_the_image():
    network, x = network_of("plain"), BY_NAME["plain"].image()
    result = asked(network, x, "occlusion", window=99, stride=99)
    drop = float((network(x) - network(torch.zeros_like(x)))[0, 1])
    assert torch.allclose(torch.from_numpy(result.array), torch.tensor(drop), rtol=1e-5)


def test_a_stride_larger_than_the_window_leaves_gaps_and_says_so():
    network, x = network_of("plain"), BY_NAME["plain"].image()
    result = asked(network, x, "occlusion", window=2, stride=5)
    assert "never covered" in result.diagnostics["warnings"][0]
    wanted = torch.zeros_like(x)  # captum refuses such a stride
    for box in windows((16, 16, 16), 2, 5):
        covered = x.clone()
        covered[0, 0][box] = 0
        wanted[0, 0][box] = float((network(x) - network(covered))[0, 1])
    assert_close(rows(result, x), wanted, 1e-4)
    assert not result.array[2:5].any()


def test_slices_of_a_2d_network_are_each_their_own():
    network, x = network_of("plain 2D"), BY_NAME["plain 2D"].image(3)
    together = rows(asked(network, x, "occlusion", window=8, stride=8), x)
    alone = torch.cat([rows(asked(network, one[None], "occlusion", window=8, stride=8), one[None]) for one in x])
    assert_close(together, alone, 1e-4)


def test_a_single_bright_box_has_the_whole_drop():
    """A network that adds up one box: only windows over it lower the score, by what they cover."""
    def network(x):
        return x[..., 4:8, 4:8, 4:8].sum((2, 3, 4)).repeat(1, 2)

    x = torch.ones(1, 1, 12, 12, 12)
    array = asked(network, x, "occlusion", window=4, stride=4).array
    assert array[4:8, 4:8, 4:8].min() == array.max() == 64
    assert array.sum() == 64 * 64


@pytest.mark.parametrize(("shape", "window", "stride", "count"), [
    ((10,), 4, 3, 3), ((10,), 4, 4, 3), ((10,), 4, 7, 2), ((10,), 20, 1, 1), ((10, 10), 5, 5, 4), ((7,), 1, 1, 7),
    ((10,), 1, 10, 1),
])  # fmt: skip
def test_the_windows(shape, window, stride, count):
    found = windows(shape, window, stride)
    assert len(found) == count
    assert all(0 <= part.start < part.stop <= size for box in found for part, size in zip(box, shape, strict=True))
    if stride <= window:
        covered = torch.zeros(shape)
        for box in found:
            covered[box] = 1
        assert bool(covered.all())


def test_impossible_windows_are_refused():
    network, x = network_of("plain"), BY_NAME["plain"].image()
    with pytest.raises(XAIError, match="2 numbers for 3 axes"):
        asked(network, x, "occlusion", window=(4, 4))
    with pytest.raises(XAIError, match="windows"):
        windows((512, 512, 512), 1, 1)


@pytest.fixture
def every_preview(monkeypatch):
    """No preview is left out for coming too soon."""
    monkeypatch.setattr(services, "PREVIEW_SECONDS", 0.0)
    monkeypatch.setattr(services, "PREVIEW_SHARE", 0.0)


@pytest.mark.parametrize(("spatial", "window", "stride"), [
    ((64, 80, 64), 8, 8), ((11, 12, 9), (3, 4, 3), (2, 3, 1)), ((16, 16), 4, 4), ((5, 30, 31), 6, 3), ((8, 8, 8), 8, 8),
    ((7,), 1, 1), ((40, 3, 3), 3, 2),
])  # fmt: skip
def test_stages_refine_and_have_every_window_once(spatial, window, stride):
    grid = Grid(spatial, window, stride)
    assert sorted(n for members in grid.stages for n in members) == list(range(len(grid.boxes)))
    sizes = [len(members) for members in grid.stages]
    assert min(sizes) > 0
    if len(sizes) > 1:
        assert 8 <= sizes[0] < 8 * 2 ** len(spatial)
        shares = [sum(sizes[: n + 1]) / sum(sizes) for n in range(len(sizes))]
        assert all(0.3 <= share <= 0.7 for share in shares[-2:-1])  # the last stage is not most of the work


@pytest.mark.parametrize(("name", "window", "stride"), [
    ("plain", 4, (2, 3, 4)), ("plain odd, three channels", (6, 5, 4), (3, 4, 5)), ("plain 2D", (3, 4), (2, 3)),
    ("plain", 5, 2), ("plain", 2, 3),
])  # fmt: skip
def test_previews_show_what_was_measured_and_nothing_else(name, window, stride, every_preview):
    """Each is, at every voxel, the mean of naive drops over those windows tried so far that cover it, or 0."""
    network, x = network_of(name), BY_NAME[name].image(2 if name.endswith("2D") else 1)
    shown = []
    result = rows(asked(network, x, "occlusion", window=window, stride=stride, preview=shown.append), x)
    grid = Grid(tuple(x.shape[2:]), window, stride)
    assert len(shown) == len(grid.stages) - 1 >= 1
    base = network(x)[:, 1]
    total, count, left = torch.zeros(len(x), *x.shape[2:]), torch.zeros(x.shape[2:]), torch.zeros(x.shape[2:])
    for box in grid.boxes:
        left[box] += 1
    tried, finished = 0, []
    for number, (one, members) in enumerate(zip(shown, grid.stages, strict=False)):
        for box in (grid.boxes[n] for n in members):
            covered = x.clone()
            covered[(slice(None), slice(None), *box)] = 0
            drop = base - network(covered)[:, 1]
            total[(slice(None), *box)] += drop.reshape(-1, *[1] * len(box))
            count[box] += 1
            left[box] -= 1
        tried += len(members)
        stage, of = one.diagnostics["stage"], len(grid.boxes) * len(x)
        assert (stage["number"], stage["of"], stage["windows"]) == (number + 1, len(grid.stages), tried * len(x))
        assert stage["share"] == pytest.approx(tried / len(grid.boxes))
        assert stage["text"] == f"{tried * len(x)} of {of} windows"
        assert f"preview {number + 1} of {len(grid.stages)}" in one.title
        found = rows(one, x)[:, 0]
        assert_close(found, total / count.clamp_min(1), 1e-4)
        assert not found[:, count == 0].any()
        # Where no window is to come any more, the result is there already, to the bit.
        done = (left == 0) & (count > 0)
        assert torch.equal(found[:, done], result[:, 0][:, done])
        finished.append(int(done.sum()))
    if all(w <= s for w, s in zip(grid.window, grid.stride, strict=True)):  # no two windows share a voxel
        assert finished[0] > 0 and finished == sorted(set(finished))


def test_the_first_preview_leaves_blank_what_no_window_of_it_covered(every_preview):
    """A straight line between its windows would have a value everywhere."""
    shown = []
    asked(network_of("plain"), BY_NAME["plain"].image(), "occlusion", window=2, stride=2, preview=shown.append)
    for one in shown:
        share = one.diagnostics["stage"]["share"]
        assert 0.5 * share <= (one.array != 0).mean() <= 1.01 * share
    assert shown[0].diagnostics["stage"]["share"] < 0.1


@pytest.mark.parametrize("fill", [0.0, "local_mean", "noise"])
def test_a_listener_changes_nothing(fill, every_preview):
    network, x = network_of("plain"), BY_NAME["plain"].image()
    shown = []
    heard = asked(network, x, "occlusion", window=4, stride=2, fill=fill, preview=shown.append)
    alone = asked(network, x, "occlusion", window=4, stride=2, fill=fill)
    assert shown
    assert torch.equal(torch.from_numpy(heard.array), torch.from_numpy(alone.array))
    assert heard.diagnostics["passes"] == alone.diagnostics["passes"]
    again = []
    asked(network, x, "occlusion", window=4, stride=2, fill=fill, preview=again.append)
    for one, other in zip(shown, again, strict=True):
        assert torch.equal(torch.from_numpy(one.array), torch.from_numpy(other.array))


def test_without_a_listener_no_preview_is_made(monkeypatch):
    monkeypatch.setattr(Grid, "preview", lambda *_: pytest.fail("a preview was made"))
    asked(network_of("plain"), BY_NAME["plain"].image(), "occlusion", window=4, stride=4)


def test_previews_do_not_come_at_once_after_another(monkeypatch):
    monkeypatch.setattr(services, "PREVIEW_SECONDS", 1000.0)
    shown = []
    asked(network_of("plain"), BY_NAME["plain"].image(), "occlusion", window=4, stride=2, preview=shown.append)
    assert len(shown) == 1


@pytest.mark.parametrize("after", [1, 2])
def test_a_run_is_cancelled_between_its_stages(after, every_preview):
    shown = []
    with pytest.raises(CancelledError):
        asked(network_of("plain"), BY_NAME["plain"].image(), "occlusion", window=4, stride=2, preview=shown.append,
              cancel=lambda: len(shown) >= after)  # fmt: skip
    assert len(shown) == after


def test_a_window_that_changes_nothing_is_zero_in_a_preview(every_preview):
    network, x = network_of("plain"), BY_NAME["plain"].image()
    x[..., 8:] = 0
    shown = []
    asked(network, x, "occlusion", window=4, stride=4, preview=shown.append)
    assert not native(shown[-1])[..., -1].any() and native(shown[-1]).any()

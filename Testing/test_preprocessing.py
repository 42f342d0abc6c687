"""What is done to a volume can be written down, and undone onto the very voxel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from scipy import ndimage
from scipy.spatial.transform import Rotation

from XAIExplainLib.errors import XAIError
from XAIExplainLib.geometry import Geometry, place, resample
from XAIExplainLib.preprocessing import Preprocessing, step_classes
from XAIExplainLib.volume import Volume, load_volume

SHIPPED = [
    {"step": "orient", "axes": "RAS"},
    {"step": "resample", "spacing": [2.5, 2.5, 2.5]},
    {"step": "crop_or_pad", "size": [64, 80, 64], "center": "foreground"},
    {"step": "normalize", "kind": "zscore", "region": "foreground"},
]


def random_geometry(rng: np.random.Generator, smallest: int = 12, largest: int = 24) -> Geometry:
    """An oblique, anisotropic grid, left-handed half of the time."""
    turn = Rotation.random(random_state=int(rng.integers(1 << 30))).as_matrix()
    size = tuple(int(n) for n in rng.integers(smallest, largest + 1, 3))
    hand = np.diag([1.0, 1.0, rng.choice([1.0, -1.0])])
    return Geometry(size, rng.uniform(0.7, 4, 3), rng.normal(0, 80, 3), turn @ hand)


def random_axes(rng: np.random.Generator) -> str:
    """Three letters for `orient`."""
    pairs = ["RL", "AP", "IS"]
    return "".join(pairs[n][rng.integers(2)] for n in rng.permutation(3))


def places(geometry: Geometry) -> np.ndarray:
    """LPS millimetres of every voxel, shape (3, k, j, i)."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in geometry.shape), indexing="ij")
    return np.moveaxis(geometry.index_to_physical(np.stack([i, j, k], axis=-1)), -1, 0)


def random_steps(rng: np.random.Generator, geometry: Geometry, coarser: float) -> list[dict]:
    """Steps of every kind that changes the grid; voxels become at most `coarser` times as long."""
    steps: list[dict] = [{"step": "orient", "axes": random_axes(rng)}]
    oriented = Preprocessing(steps)(Volume.on(geometry, np.zeros(geometry.shape)))[1]
    if rng.random() < 0.5:
        steps.append({"step": "resample", "spacing": (oriented.spacing * rng.uniform(0.5, coarser, 3)).tolist()})
    else:
        size = np.ceil(oriented.size / rng.uniform(0.5, coarser, 3)).astype(int)
        steps.append({"step": "resize", "size": size.tolist()})
    steps.append({"step": "pad_to_multiple", "k": int(rng.integers(2, 6))})
    steps.append({"step": "crop_or_pad", "size": rng.integers(14, 60, 3).tolist(), "center": "image"})
    return steps


# -- undoing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
def test_every_place_is_kept_there_and_back(seed: int) -> None:
    """Trilinear interpolation carries coordinates exactly: a volume of its own coordinates proves each voxel."""
    rng = np.random.default_rng(seed)
    geometry = random_geometry(rng)
    steps = Preprocessing(random_steps(rng, geometry, coarser=2.5))
    truth = places(geometry)
    data, grid = steps(Volume.on(geometry, truth))
    index = geometry.physical_to_index(np.moveaxis(places(grid), 0, -1))
    inside = ((index >= 0) & (index <= np.array(geometry.size) - 1)).all(-1)
    assert inside.any()
    np.testing.assert_allclose(data[:, inside], places(grid)[:, inside], atol=2e-3)
    back = resample(places(grid).astype(np.float32), grid, geometry)
    index = grid.physical_to_index(np.moveaxis(truth, 0, -1))
    seen = ((index >= 0) & (index <= np.array(grid.size) - 1)).all(-1)
    assert seen.any()
    np.testing.assert_allclose(back[:, seen], truth[:, seen], atol=2e-3)


@pytest.mark.parametrize("seed", range(30))
def test_a_marker_comes_back_at_its_voxel(seed: int) -> None:
    """Where the network's voxels are no longer than the volume's, one voxel's mark returns with its peak there."""
    rng = np.random.default_rng(100 + seed)
    geometry = random_geometry(rng)
    steps = Preprocessing(random_steps(rng, geometry, coarser=1.0))
    grid = steps(Volume.on(geometry, np.zeros(geometry.shape)))[1]
    index = grid.physical_to_index(np.moveaxis(places(geometry), 0, -1))
    seen = np.argwhere(((index >= 2) & (index <= np.array(grid.size) - 3)).all(-1))
    for marker in seen[rng.choice(len(seen), min(5, len(seen)), replace=False)]:
        array = np.zeros(geometry.shape, np.float32)
        array[tuple(marker)] = 1
        data, grid = steps(Volume.on(geometry, array))
        back = resample(data[0], grid, geometry)
        assert np.unravel_index(back.argmax(), back.shape) == tuple(marker)


@pytest.mark.parametrize("seed", range(20))
def test_a_blob_comes_back_at_its_place_from_a_coarser_grid(seed: int) -> None:
    rng = np.random.default_rng(200 + seed)
    geometry = random_geometry(rng, 24, 30)
    marker = np.array(geometry.shape) // 2
    array = np.zeros(geometry.shape, np.float32)
    array[tuple(marker)] = 1
    array = ndimage.gaussian_filter(array, 2.5)
    steps = Preprocessing(random_steps(rng, geometry, coarser=2.0)[:3])
    data, grid = steps(Volume.on(geometry, array))
    back = resample(data[0], grid, geometry)
    assert np.linalg.norm(np.array(ndimage.center_of_mass(back)) - marker) < 0.05
    assert np.abs(np.array(np.unravel_index(back.argmax(), back.shape)) - marker).max() <= 1


@pytest.mark.parametrize("seed", range(30))
def test_orient_crop_and_pad_are_undone_exactly(seed: int) -> None:
    rng = np.random.default_rng(300 + seed)
    geometry = random_geometry(rng)
    array = rng.normal(size=(2, *geometry.shape)).astype(np.float32)
    array[:, :3] = -9  # background for the foreground crop
    steps = Preprocessing(
        [
            {"step": "orient", "axes": random_axes(rng)},
            {"step": "crop_foreground", "margin": int(rng.integers(3)), "threshold": -8},
            {"step": "pad_to_multiple", "k": rng.integers(1, 9, 3).tolist(), "fill": -9},
            {
                "step": "crop_or_pad",
                "size": rng.integers(8, 40, 3).tolist(),
                "center": "foreground",
                "threshold": -8,
                "fill": -9,
            },
        ]
    )
    data, grid = steps(Volume.on(geometry, array))
    back = resample(data, grid, geometry, fill=np.float32(77))
    kept = back != 77
    assert kept.any()
    np.testing.assert_array_equal(back[kept], array[kept])
    again = resample(back, geometry, grid, fill=0)
    placed = resample(kept, geometry, grid, order=0)
    np.testing.assert_array_equal(again[placed], data[placed])


def test_no_voxel_of_the_volume_is_left_without_an_answer() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        geometry = random_geometry(rng, 3, 40)
        grid = Preprocessing([{"step": "resample", "spacing": rng.uniform(0.5, 9, 3).tolist()}])(
            Volume.on(geometry, np.zeros(geometry.shape))
        )[1]
        assert (resample(np.ones(grid.shape), grid, geometry) == 1).all()


# -- the steps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LIP", "SAR", "PIL", "ASR"])
def test_orient_agrees_with_itk(axes: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        geometry = random_geometry(rng)
        array = rng.random(geometry.shape).astype(np.float32)
        image = SimpleITK.GetImageFromArray(array)
        place(image, geometry)
        turned = SimpleITK.DICOMOrient(image, axes)
        data, grid = Preprocessing([{"step": "orient", "axes": axes.lower()}])(Volume.on(geometry, array))
        np.testing.assert_array_equal(data[0], SimpleITK.GetArrayFromImage(turned))
        np.testing.assert_allclose(grid.origin, turned.GetOrigin(), atol=1e-9)
        assert grid.axes == axes


def test_resample_and_resize_keep_the_extent() -> None:
    rng = np.random.default_rng(0)
    geometry = random_geometry(rng)
    volume = Volume.on(geometry, rng.random(geometry.shape))
    middle = geometry.index_to_physical((np.array(geometry.size) - 1) / 2)
    extent = np.array(geometry.size) * geometry.spacing
    for step in ({"step": "resize", "size": [7, 50, 20]}, {"step": "resample", "spacing": [1.3, 2.9, 0.6]}):
        _, grid = Preprocessing([step])(volume)
        np.testing.assert_allclose(grid.index_to_physical((np.array(grid.size) - 1) / 2), middle, atol=1e-9)
        longer = np.array(grid.size) * grid.spacing - extent
        assert (longer > -0.01 * np.array(grid.spacing)).all() and (longer < grid.spacing).all()
    assert Preprocessing([{"step": "resize", "size": [7, 50, 20]}])(volume)[1].size == (7, 50, 20)
    assert Preprocessing([{"step": "resample", "spacing": list(geometry.spacing)}])(volume)[1].same_as(geometry)


def test_antialias_removes_what_the_coarse_grid_cannot_hold() -> None:
    stripes = np.indices((8, 8, 64))[2] % 2.0
    for antialias, spread in ((False, 0.3), (True, 0.1)):
        step = {"step": "resample", "spacing": [3.0, 1.0, 1.0], "antialias": antialias}
        data, _ = Preprocessing([step])(Volume(stripes))
        assert (data[0, :, :, 2:-2].std() > spread) != antialias


def test_crop_or_pad_centres_the_foreground() -> None:
    array = np.zeros((20, 20, 20), np.float32)
    array[2:6, 3:7, 10:16] = 5
    data, grid = Preprocessing([{"step": "crop_or_pad", "size": [10, 8, 8], "center": "foreground"}])(Volume(array))
    assert data.shape == (1, 8, 8, 10) and data.sum() == array.sum()
    assert ndimage.center_of_mass(data[0]) == (3.5, 3.5, 4.5)
    assert grid.origin == (8.0, 1.0, 0.0)
    empty, _ = Preprocessing([{"step": "crop_or_pad", "size": [4, 4, 4], "center": "foreground"}])(Volume(0 * array))
    assert empty.shape == (1, 4, 4, 4)
    filled, _ = Preprocessing([{"step": "crop_or_pad", "size": [22, 20, 20], "fill": -1}])(Volume(array))
    assert (filled[0, :, :, [0, -1]] == -1).all() and (filled == -1).sum() == 800


def test_values_are_scaled_as_they_say() -> None:
    rng = np.random.default_rng(0)
    array = rng.normal(50, 20, (2, 6, 7, 8)).astype(np.float32)
    array[1] *= 10
    array[:, 0] = 0
    inside = array > 0

    def run(**step: object) -> np.ndarray:
        return Preprocessing([step])(Volume(array))[0]

    scored = run(step="normalize", kind="zscore", region="foreground")
    for channel in range(2):
        part = inside[channel]
        expected = (array[channel][part] - array[channel][part].mean()) / array[channel][part].std()
        np.testing.assert_allclose(scored[channel][part], expected, atol=1e-4)
        assert (scored[channel][~part] == 0).all()
    together = run(step="normalize", kind="zscore", per_channel=False)
    np.testing.assert_allclose(together, (array - array.mean()) / array.std(), atol=1e-4)
    spread = run(step="normalize", kind="minmax")
    assert (spread.min(axis=(1, 2, 3)) == 0).all() and (spread.max(axis=(1, 2, 3)) == 1).all()
    low, high = np.percentile(array[1], [2, 90])
    cut = run(step="normalize", kind="percentile", low=2, high=90)
    np.testing.assert_allclose(cut[1], ((array[1] - low) / (high - low)).clip(0, 1), atol=1e-5)
    windowed = run(step="window", low=20, high=60, out_low=-1, out_high=3)
    np.testing.assert_allclose(windowed, (array.clip(20, 60) - 20) / 10 - 1, atol=1e-5)
    np.testing.assert_allclose(run(step="scale_shift", scale=2, shift=-1), array * 2 - 1, atol=1e-3)
    flat = Preprocessing([{"step": "normalize", "kind": "zscore"}])(Volume(np.full((3, 3, 3), 7)))[0]
    assert (flat == 0).all()


# -- written down ------------------------------------------------------------------------------------------------------


def test_the_form_in_json_is_the_same_again() -> None:
    steps = Preprocessing(SHIPPED)
    assert steps.to_json() == SHIPPED
    assert Preprocessing.from_json(steps.to_json()) == steps and len({steps, Preprocessing(SHIPPED)}) == 1
    assert Preprocessing.from_json('[{"step": "window", "low": -100, "high": 300}]').to_json()[0]["low"] == -100
    assert len(steps) == 4 and [step.name for step in steps] == [step["step"] for step in SHIPPED]
    assert set(step_classes()) >= {"orient", "resample", "resize", "crop_or_pad", "crop_foreground", "window"}


@pytest.mark.parametrize(
    ("steps", "says", "hint"),
    [
        ([{"step": "reslice"}], "no preprocessing step reslice", "resize"),
        ([{"step": "orient"}], "lacks its axes", "step"),
        ([{"step": "orient", "axes": "RLS"}], "cannot be 'RLS'", "three letters"),
        ([{"step": "orient", "axis": "RAS"}], "no field axis", "axes"),
        ([{"step": "resample", "spacing": [1, 2]}], "cannot be", "three positive"),
        ([{"step": "resample", "spacing": [1, 2, 0]}], "cannot be", "three positive"),
        ([{"step": "resample", "spacing": 2}], "cannot be", "three positive"),
        ([{"step": "resample", "spacing": ["a", 1, 1]}], "cannot be", "three positive"),
        ([{"step": "resize", "size": [4, 4, 4.5]}], "cannot be", "whole"),
        ([{"step": "crop_or_pad", "size": [4, 4, 4], "center": "middle"}], "cannot be", "foreground"),
        ([{"step": "crop_foreground", "margin": -1}], "cannot be", "whole number"),
        ([{"step": "normalize", "kind": "z"}], "cannot be", "zscore"),
        ([{"step": "normalize", "kind": "percentile", "low": 60, "high": 40}], "cannot be", "low < high"),
        ([{"step": "window", "low": 3, "high": 3}], "cannot be", "below"),
        ([{"step": "window", "low": "3", "high": 4}], "cannot be", "number"),
        (["orient"], "is no preprocessing step", "step"),
        ({"step": "orient"}, "not a list", "step"),
        ("orient", "not a list", "step"),
    ],
)
def test_wrong_steps_are_refused(steps: list, says: str, hint: str) -> None:
    with pytest.raises(XAIError, match=says) as caught:
        Preprocessing(steps)
    assert hint in caught.value.hint


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(XAIError, match="not JSON"):
        Preprocessing.from_json("[{")
    with pytest.raises(XAIError, match="would make"):
        Preprocessing([{"step": "resample", "spacing": [1e-4] * 3}])(Volume(np.zeros((9, 9, 9))))
    with pytest.raises(XAIError, match="not finite"), np.errstate(over="ignore"):
        Preprocessing([{"step": "scale_shift", "scale": 1e38}])(Volume(np.full((2, 2, 2), 100)))


def test_the_volume_is_not_touched() -> None:
    array = np.random.default_rng(0).random((4, 4, 4)).astype(np.float32)
    volume = Volume(array)
    data, grid = Preprocessing()(volume)
    data[:] = 9
    np.testing.assert_array_equal(volume.array, array)
    assert grid == volume.geometry and data.flags.c_contiguous and data.dtype == np.float32


# -- real volumes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tumour", "colin27", "abdomen_ct"])
def test_real_volumes_go_there_and_back(name: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(name)
    volume = load_volume(path)
    data, grid = Preprocessing(SHIPPED)(volume)
    assert data.shape == (1, 64, 80, 64) and grid.axes == "RAS" and grid.spacing == (2.5, 2.5, 2.5)
    inside = data != 0
    assert abs(data[inside].mean()) < 1e-3 and abs(data[inside].std() - 1) < 1e-2
    i, j, k = volume.geometry.size
    slab = volume.geometry.moved((0, 0, k // 2), (i, j, 3))  # enough, and quick
    truth = places(slab)
    back = resample(places(grid).astype(np.float32), grid, slab)
    index = grid.physical_to_index(np.moveaxis(truth, 0, -1))
    seen = ((index >= 0) & (index <= np.array(grid.size) - 1)).all(-1)
    assert seen.mean() > 0.1
    assert np.abs(back[:, seen] - truth[:, seen]).max() < 1e-3


def test_the_shipped_networks_see_what_they_were_trained_on(tumour: Path) -> None:
    """The training prepares its images by code of its own: both must come to the same numbers."""
    from XAIExplainLib.networks import preparation

    assert preparation.PREPROCESSING == SHIPPED
    expected = preparation.prepare(SimpleITK.ReadImage(str(tumour)))
    np.testing.assert_allclose(Preprocessing(SHIPPED)(load_volume(tumour))[0][0], expected, atol=1e-3)

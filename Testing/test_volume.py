"""Voxels keep their place: reading, writing, and going from grid to grid."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from scipy import ndimage
from scipy.spatial.transform import Rotation

from XAIExplainLib import volume as volume_module
from XAIExplainLib.errors import XAIError
from XAIExplainLib.files import atomic_path
from XAIExplainLib.geometry import Geometry, resample
from XAIExplainLib.volume import WRITABLE, Volume, load_volume, save_volume


def random_geometry(rng: np.random.Generator, smallest: int = 5, largest: int = 12) -> Geometry:
    """An oblique, anisotropic grid, left-handed half of the time."""
    turn = Rotation.random(random_state=int(rng.integers(1 << 30))).as_matrix()
    hand = np.diag([1.0, 1.0, rng.choice([1.0, -1.0])])
    size = tuple(int(n) for n in rng.integers(smallest, largest + 1, 3))
    return Geometry(size, rng.uniform(0.5, 4, 3), rng.normal(0, 80, 3), turn @ hand)


def indices(geometry: Geometry) -> np.ndarray:
    """Index (i, j, k) of every voxel, shape (k, j, i, 3)."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in geometry.shape), indexing="ij")
    return np.stack([i, j, k], axis=-1)


def names(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


# -- geometry ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_geometry_agrees_with_simpleitk(seed: int) -> None:
    rng = np.random.default_rng(seed)
    geometry = random_geometry(rng)
    image = SimpleITK.Image(geometry.size, SimpleITK.sitkFloat32)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction.ravel().tolist())
    for index in rng.integers(0, 5, (10, 3)):
        point = image.TransformIndexToPhysicalPoint([int(n) for n in index])
        np.testing.assert_allclose(geometry.index_to_physical(index), point, atol=1e-9)
        np.testing.assert_allclose(geometry.physical_to_index(point), index, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_ras_agrees_with_nibabel(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    geometry = random_geometry(rng)
    made = Volume.on(geometry, rng.random(geometry.shape))
    save_volume(made, None, tmp_path / "v.nii.gz")
    image = nibabel.load(tmp_path / "v.nii.gz")
    np.testing.assert_allclose(image.affine, geometry.ras_affine, atol=1e-4)
    np.testing.assert_array_equal(image.get_fdata().transpose(2, 1, 0).astype(np.float32), made.array)
    assert Geometry.from_ras_affine(geometry.ras_affine, geometry.size).same_as(geometry, 1e-9)
    assert Geometry.from_json(geometry.to_json()) == geometry


def test_axes_are_named_as_itk_and_nibabel_name_them() -> None:
    for seed in range(50):
        geometry = random_geometry(np.random.default_rng(seed))
        cosines = geometry.direction.ravel().tolist()
        assert geometry.axes == SimpleITK.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(cosines)
        assert geometry.axes == "".join(nibabel.aff2axcodes(geometry.ras_affine))


@pytest.mark.parametrize(
    "arguments",
    [
        {"spacing": (1, 1, 0)}, {"spacing": (1, -1, 1)}, {"spacing": (1, 1)}, {"spacing": (1, 1, np.nan)},
        {"origin": (0, 0, np.inf)}, {"direction": np.zeros((3, 3))}, {"direction": [[1, 0, 0], [1, 0, 0], [0, 0, 1]]},
        {"direction": np.eye(2)}, {"direction": np.full((3, 3), np.nan)},
    ],
)  # fmt: skip
def test_impossible_geometry_is_refused(arguments: dict) -> None:
    with pytest.raises(XAIError) as caught:
        Geometry((2, 2, 2), **arguments)
    assert caught.value.hint


# -- resampling --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("order", [0, 1])
def test_flips_crops_and_pads_are_exact(seed: int, order: int) -> None:
    rng = np.random.default_rng(seed)
    source = random_geometry(rng, 1, 9)
    change = np.zeros((4, 4))
    for column, row in enumerate(rng.permutation(3)):
        change[row, column] = rng.choice([1, -1])
    change[:3, 3] = rng.integers(-6, 10, 3)
    change[3, 3] = 1
    goal = Geometry.from_affine(source.affine @ change, rng.integers(1, 10, 3))
    array = rng.random((2, *source.shape)).astype(np.float32)
    # One voxel after the other, by the physical place alone.
    expected = np.full((2, *goal.shape), -7, np.float32)
    for place in np.ndindex(goal.shape):
        index = np.rint(source.physical_to_index(goal.index_to_physical(place[::-1]))).astype(int)
        if (index >= 0).all() and (index < source.size).all():
            expected[(slice(None), *place)] = array[(slice(None), *index[::-1])]
    moved = resample(array, source, goal, order=order, fill=-7)
    np.testing.assert_array_equal(moved, expected)
    np.testing.assert_array_equal(resample(array[0], source, goal, order=order, fill=-7), expected[0])


@pytest.mark.parametrize("seed", range(6))
def test_interpolation_is_trilinear_with_the_edge_held_for_half_a_voxel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    source = random_geometry(rng)
    turn = Rotation.random(random_state=seed).as_matrix()
    goal = Geometry((9, 8, 7), rng.uniform(0.5, 3, 3), source.index_to_physical([2, 2, 2]), turn)
    array = rng.random(source.shape).astype(np.float32)
    index = source.physical_to_index(goal.index_to_physical(indices(goal)))
    size = np.array(source.size)
    near_border = (np.abs(index + 0.5).min(-1) < 1e-6) | (np.abs(index - size + 0.5).min(-1) < 1e-6)
    inside = ((index >= -0.5) & (index <= size - 0.5)).all(-1)
    held = index.clip(0, size - 1)[..., ::-1].transpose(3, 0, 1, 2)
    expected = np.where(inside, ndimage.map_coordinates(array, held, order=1), -3)
    result = resample(array, source, goal, fill=-3)
    assert 0 < inside.sum() < inside.size
    np.testing.assert_allclose(result[~near_border], expected[~near_border], atol=2e-5)
    nearest = resample((array > 0.5).astype(np.uint8), source, goal, order=0)
    assert nearest.dtype == np.uint8 and set(np.unique(nearest)) <= {0, 1}
    mask = resample(array > 0.5, source, goal, order=0)
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, nearest.astype(bool))


def test_a_grid_of_a_rounded_header_counts_as_the_same() -> None:
    rng = np.random.default_rng(0)
    source = random_geometry(rng)
    rounded = Geometry(
        source.size, source.spacing, np.float32(source.origin).tolist(), np.float32(source.direction).astype(float)
    )
    array = rng.random(source.shape).astype(np.float32)
    assert source.same_as(rounded) and source.difference(rounded) == ""
    np.testing.assert_array_equal(resample(array, source, rounded), array)


# -- reading and writing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", WRITABLE)
@pytest.mark.parametrize("channels", [1, 3])
def test_written_and_read_again_it_is_the_same(tmp_path: Path, ending: str, channels: int) -> None:
    rng = np.random.default_rng(len(ending))
    geometry = random_geometry(rng)
    array = rng.normal(size=(channels, *geometry.shape)).astype(np.float32)
    path = save_volume(array, geometry, tmp_path / f"volume{ending}")
    read = load_volume(path)
    assert read.channels == channels and read.data.shape == array.shape
    np.testing.assert_array_equal(read.data, array)
    assert read.geometry.same_as(geometry)
    assert names(tmp_path) == [path.name]


def test_masks_stay_small(tmp_path: Path) -> None:
    mask = np.zeros((4, 5, 6), bool)
    mask[1, 2, 3] = True
    path = save_volume(mask, Geometry((6, 5, 4)), tmp_path / "mask.nrrd")
    assert SimpleITK.ReadImage(str(path)).GetPixelID() == SimpleITK.sitkUInt8
    np.testing.assert_array_equal(load_volume(path).array, mask)


def test_nrrd_in_ras_is_turned_to_lps(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    for space, sign in (("right-anterior-superior", -1), ("left-posterior-superior", 1)):
        head = (
            f"NRRD0004\ntype: float\ndimension: 3\nspace: {space}\nsizes: 4 3 2\n"
            "space directions: (1,0,0) (0,2,0) (0,0,3)\nkinds: domain domain domain\nendian: little\n"
            "encoding: raw\nspace origin: (10,20,30)\n\n"
        )
        (tmp_path / "v.nrrd").write_bytes(head.encode() + array.tobytes())
        read = load_volume(tmp_path / "v.nrrd")
        np.testing.assert_array_equal(read.array, array)
        np.testing.assert_allclose(read.geometry.index_to_physical([1, 1, 1]), [sign * 11, sign * 22, 33])


def test_channels_from_several_files(tmp_path: Path) -> None:
    geometry = random_geometry(np.random.default_rng(3))
    for n in range(3):
        save_volume(np.full(geometry.shape, n, np.float32), geometry, tmp_path / f"{n}.nii.gz")
    read = load_volume(*(tmp_path / f"{n}.nii.gz" for n in range(3)))
    assert read.channels == 3 and [float(c.mean()) for c in read.data] == [0, 1, 2]
    moved = Geometry(geometry.size, geometry.spacing, np.add(geometry.origin, 2).tolist(), geometry.direction)
    save_volume(np.zeros(geometry.shape), moved, tmp_path / "moved.nii.gz")
    with pytest.raises(XAIError, match="does not lie on the grid of 0.nii.gz: origin") as caught:
        load_volume(tmp_path / "0.nii.gz", tmp_path / "moved.nii.gz")
    assert "Resample" in caught.value.hint


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((0, 4, 4)), "empty"), (np.zeros((4, 4)), "2 axes"), (np.zeros((1, 2, 3, 4, 5)), "5 axes"),
        (np.array([[["a"]]]), "type"), (np.array([[[1, np.nan, np.inf]]]), "2 voxels that are not finite"),
        (np.array([[[1e300]]]), "1 voxels"), (np.zeros((2, 2, 2), complex), "complex"),
    ],
)  # fmt: skip
def test_impossible_voxels_are_refused(array: np.ndarray, says: str) -> None:
    with pytest.raises(XAIError, match=says) as caught:
        Volume(array)
    assert caught.value.hint


def test_a_volume_is_a_copy_in_float32() -> None:
    given = np.arange(24, dtype=np.int16).reshape(2, 3, 4).transpose(2, 1, 0)
    made = Volume(given, (1, 2, 3), (4, 5, 6), name="x")
    given[:] = 0
    assert made.array.dtype == np.float32 and made.array.flags.c_contiguous and made.array.max() == 23
    assert made.shape == (4, 3, 2) and made.geometry.size == (2, 3, 4) and made.channels == 1
    assert made.data.shape == (1, 4, 3, 2) and np.shares_memory(made.data, made.array)
    assert made.spacing == (1, 2, 3) and made.origin == (4, 5, 6) and (made.direction == np.eye(3)).all()


# -- what cannot be read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [*WRITABLE, ".raw.nrrd", ".mhd"])
@pytest.mark.parametrize("kept", [0.5, 0.97])
def test_a_file_that_is_cut_off_is_refused_quietly(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], ending: str, kept: float
) -> None:
    array = np.random.default_rng(0).random((20, 30, 40)).astype(np.float32)
    path = tmp_path / f"v{ending}"
    if ending in WRITABLE:
        save_volume(array, Geometry((40, 30, 20)), path)
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path), useCompression=False)
    cut = path.with_suffix(".raw") if ending == ".mhd" else path
    cut.write_bytes(cut.read_bytes()[: int(cut.stat().st_size * kept)])
    with pytest.raises(XAIError) as caught:
        load_volume(path)
    assert path.name in caught.value.message and caught.value.hint
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["x.txt", "x.nrrd", "x.nii.gz", "x.nii", "x.mha", "x.dcm"])
@pytest.mark.parametrize("content", [b"", b"hello, I am no image at all\n" * 30])
def test_what_is_no_image_is_refused_quietly(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(XAIError, match=name) as caught:
        load_volume(tmp_path / name)
    assert caught.value.hint and "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_wrong_paths(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.nrrd", tmp_path / "a" / "b.nii"):
        with pytest.raises(XAIError, match="no file or folder"):
            load_volume(path)
    (tmp_path / "readme.txt").write_text("no slice")
    with pytest.raises(XAIError, match="holds no DICOM series"):
        load_volume(tmp_path)


def test_four_dimensions_and_shear_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nibabel.save(nibabel.Nifti1Image(rng.random((5, 6, 7, 8)).astype("f4"), np.eye(4)), tmp_path / "film.nii.gz")
    with pytest.raises(XAIError, match="four-dimensional: it holds 8 frames"):
        load_volume(tmp_path / "film.nii.gz")
    nibabel.save(nibabel.Nifti1Image(rng.random((5, 6, 7, 1)).astype("f4"), np.eye(4)), tmp_path / "one.nii.gz")
    assert load_volume(tmp_path / "one.nii.gz").shape == (7, 6, 5)
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    nibabel.save(nibabel.Nifti1Image(rng.random((5, 6, 7)).astype("f4"), sheared), tmp_path / "sheared.nii.gz")
    with pytest.raises(XAIError, match="right angles"):
        load_volume(tmp_path / "sheared.nii.gz")


def test_vector_images_are_channels_and_flat_images_have_one_slice(tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((4, 5, 6, 3)).astype(np.float32)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=True), str(tmp_path / "v.nrrd"))
    np.testing.assert_array_equal(load_volume(tmp_path / "v.nrrd").array, np.moveaxis(array, -1, 0))
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array[0, :, :, 0]), str(tmp_path / "flat.nrrd"))
    assert load_volume(tmp_path / "flat.nrrd").shape == (1, 5, 6)


# -- DICOM -------------------------------------------------------------------------------------------------------------


def write_series(
    folder: Path, array: np.ndarray, number: int = 1, shift: float = 0, skip: tuple[int, ...] = ()
) -> None:
    """A DICOM series of axial slices, 0.5 x 0.5 x 2 mm; `shift` millimetres in y from slice to slice tilt it."""
    folder.mkdir(exist_ok=True)
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for n, part in enumerate(array.astype(np.int16)):
        if n == skip:
            continue
        image = SimpleITK.GetImageFromArray(part[None])
        image.SetSpacing((0.5, 0.5, 2.0))
        tags = {
            "0008|0060": "CT", "0020|000d": "1.2.3", "0020|000e": f"1.2.3.{number}", "0020|0011": str(number),
            "0008|103e": f"series {number}", "0008|0018": f"1.2.3.{number}.{n + 1}", "0020|0013": str(n + 1),
            "0020|0032": f"-10\\{-20 + n * shift}\\{30 + 2 * n}", "0020|0037": "1\\0\\0\\0\\1\\0",
        }  # fmt: skip
        for key, value in tags.items():
            image.SetMetaData(key, value)
        image.SetOrigin((-10.0, -20.0 + n * shift, 30.0 + 2 * n))
        writer.SetFileName(str(folder / f"{number}-{n}.dcm"))
        writer.Execute(image)


def test_dicom_folders(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    array = np.random.default_rng(0).integers(0, 1000, (6, 8, 10))
    write_series(tmp_path / "one", array)
    read = load_volume(tmp_path / "one")
    np.testing.assert_array_equal(read.array, array)
    assert read.spacing == (0.5, 0.5, 2.0) and read.origin == (-10, -20, 30)
    write_series(tmp_path / "one", array[:3] + 1, number=7)
    with pytest.raises(XAIError, match="2 series") as caught:
        load_volume(tmp_path / "one")
    assert "7 series 7 (3 slices)" in caught.value.message
    assert load_volume(tmp_path / "one", series="7").shape == (3, 8, 10)
    assert load_volume(tmp_path / "one", series="1.2.3.1").shape == (6, 8, 10)
    with pytest.raises(XAIError, match="0 series"):
        load_volume(tmp_path / "one", series="9")
    write_series(tmp_path / "gap", array, skip=3)
    with pytest.raises(XAIError, match="not evenly spaced"):
        load_volume(tmp_path / "gap")
    write_series(tmp_path / "tilted", array, shift=0.4)
    with pytest.raises(XAIError, match="right angles"):
        load_volume(tmp_path / "tilted")
    assert capfd.readouterr() == ("", "")


# -- writing that fails ------------------------------------------------------------------------------------------------


def test_nothing_is_left_where_writing_fails(tmp_path: Path) -> None:
    made = Volume(np.zeros((2, 2, 2)))
    (tmp_path / "file").write_text("I am no folder")
    (tmp_path / "folder.nrrd").mkdir()
    for name, says in {
        "file/x.nrrd": "a part of the path", "x.foo": "no ending", "x": "no ending", ".nrrd": "no ending",
        "folder.nrrd": "is a folder",
    }.items():  # fmt: skip
        with pytest.raises(XAIError, match=says) as caught:
            save_volume(made, None, tmp_path / name)
        assert caught.value.hint
    assert names(tmp_path) == ["file", "folder.nrrd"]
    with pytest.raises(XAIError, match="/dev/full"):
        save_volume(made, None, "/dev/full/x.nrrd")


@pytest.mark.parametrize("ending", WRITABLE)
def test_a_full_disk_is_reported(tmp_path: Path, ending: str) -> None:
    """In a process of its own, where a file can have 4,000 bytes only: what a full disk is to a writer."""
    pytest.importorskip("resource", reason="the limit of a file's size is POSIX")
    program = (
        "import resource, signal, sys, numpy\n"
        "from XAIExplainLib.volume import Volume, save_volume\n"
        "from XAIExplainLib.errors import XAIError\n"
        "volume = Volume(numpy.random.default_rng(0).random((20, 20, 20)))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))\n"
        "try:\n    save_volume(volume, None, sys.argv[1])\n"
        "except XAIError as error:\n    sys.exit(0 if 'could not be written' in str(error) else str(error))\n"
        "sys.exit('it was not noticed')\n"
    )
    goal = tmp_path / f"v{ending}"
    goal.write_text("the older file")
    done = subprocess.run(
        [sys.executable, "-c", program, str(goal)], capture_output=True, text=True, cwd=Path(__file__).parent.parent
    )
    assert done.returncode == 0, done.stderr
    assert names(tmp_path) == [goal.name] and goal.read_text() == "the older file"


def test_any_file_is_whole_or_not_there(tmp_path: Path) -> None:
    goal = tmp_path / "new" / "x.json"
    with atomic_path(goal) as beside:
        beside.write_text("{}")
        assert beside.name.endswith("x.json") and not goal.exists()
    assert goal.read_text() == "{}"
    with pytest.raises(KeyError), atomic_path(goal) as beside:
        beside.write_text("half")
        raise KeyError
    with pytest.raises(XAIError, match="no space left"), atomic_path(goal) as beside:
        raise OSError(28, "No space left on device")
    assert goal.read_text() == "{}" and names(goal.parent) == ["x.json"]
    assert stat.S_IMODE(goal.stat().st_mode) & stat.S_IRUSR


# -- real volumes ------------------------------------------------------------------------------------------------------


def test_real_volumes_keep_their_voxels(tmp_path: Path, tumour: Path) -> None:
    read = load_volume(tumour)
    assert read.shape == (25, 256, 256) and read.spacing == pytest.approx((0.78125, 0.78125, 6.5), abs=1e-4)
    label = load_volume(tumour.with_name("brain1_label.nrrd"))
    assert label.geometry.same_as(read.geometry) and int(label.array.sum()) == 4137
    save_volume(read, None, tmp_path / "v.nii.gz")
    again = load_volume(tmp_path / "v.nii.gz")
    np.testing.assert_array_equal(again.array, read.array)
    assert again.geometry.same_as(read.geometry)


def test_real_computed_tomography(abdomen_ct: Path, cranial_ct: Path) -> None:
    body, head = load_volume(abdomen_ct), load_volume(cranial_ct)
    assert body.shape == (112, 101, 122) and body.spacing == pytest.approx((3, 3, 3)) and body.array.min() < -500
    assert head.shape == (108, 256, 256) and head.array.max() > 1000  # bone


def test_the_engine_room_of_a_panel_needs_no_torch() -> None:
    """Slicer imports these modules where torch may be missing."""
    program = (
        "import sys; sys.modules['torch'] = None; sys.modules['monai'] = None\n"
        "import XAIExplainLib.volume, XAIExplainLib.preprocessing, XAIExplainLib.cases"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(volume_module.__file__).parent.parent)

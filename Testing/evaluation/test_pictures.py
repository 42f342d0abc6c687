"""The pictures of the page: what is where, in which colour, in a file that others read."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image

from XAIExplainLib.evaluation.pictures import ACROSS, PLANES, Slices, coloured, contour, picture, png
from XAIExplainLib.geometry import Geometry
from XAIExplainLib.volume import Volume

ROTATION = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])
GRIDS = {
    "along the patient": Geometry((24, 26, 14), (2.0, 1.5, 3.0), (-20.0, 7.0, 40.0)),
    "turned over": Geometry((24, 26, 14), (2.0, 1.5, 3.0), (30.0, -9.0, 40.0), np.diag([-1.0, 1.0, -1.0])),
    "oblique": Geometry((24, 26, 14), (2.0, 1.5, 3.0), (5.0, -3.0, 8.0), ROTATION),
}


@pytest.mark.parametrize("shape", [(7, 5), (6, 9, 4), (1, 1)])
def test_a_png_is_read_as_it_was_written(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    image = Image.open(io.BytesIO(png(pixels)))
    image.load()
    assert image.mode == ("L" if len(shape) == 2 else "RGBA")
    assert (np.asarray(image) == pixels).all()


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("name", PLANES)
def test_a_point_of_the_patient_is_where_the_picture_says(grid, name):
    at = (13, 9, 6)  # i, j, k
    array = np.ones(grid.shape, np.float32)
    array[at[::-1]] = 50
    slices = Slices(Volume.on(grid, array), np.ones(grid.shape, bool))
    point = grid.index_to_physical(at)
    plane = slices.plane(name, point)
    cut = plane.cut(array, grid)
    row, column = np.unravel_index(cut.argmax(), cut.shape)
    x, y = plane.spot(point)
    assert abs((column + 0.5) * plane.pixel - x) <= plane.pixel
    assert abs((row + 0.5) * plane.pixel - y) <= plane.pixel
    assert (cut.shape[1] * plane.pixel, cut.shape[0] * plane.pixel) == pytest.approx(plane.size)


@pytest.mark.parametrize("name", PLANES)
def test_the_patients_right_is_left_and_above_is_up(name):
    grid = GRIDS["oblique"]
    slices = Slices(Volume.on(grid, np.ones(grid.shape)), np.ones(grid.shape, bool))
    point = grid.index_to_physical((12, 12, 7))
    plane = slices.plane(name, point)
    x, y = plane.spot(point)
    across, down = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}[name]
    shift = np.zeros(3)
    shift[across], shift[ACROSS[name]] = 4.0, 1.0
    assert plane.spot(point + shift)[0] == pytest.approx(x + 4)  # to the left, or to the back
    shift = np.zeros(3)
    shift[down] = 4.0
    assert plane.spot(point + shift)[1] == pytest.approx(y + 4 if name == "axial" else y - 4)


def ends_of(path: str) -> np.ndarray:
    """The segments of a path, (n, 2, 2)."""
    return np.array([float(n) for n in re.findall(r"-?[0-9.]+", path)]).reshape(-1, 2, 2)


def test_the_outline_of_a_disc_is_closed_and_as_long_as_a_circle():
    rows, columns = np.mgrid[:41, :41]
    distance = np.hypot(rows - 20, columns - 20)
    ends = ends_of(contour(12 - distance, 0.0, 2.0))
    assert np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1).sum() == pytest.approx(2 * np.pi * 24, rel=0.01)
    assert np.hypot(*(ends.reshape(-1, 2) - 41).T) == pytest.approx(24, abs=0.2)
    _, counts = np.unique(ends.reshape(-1, 2), axis=0, return_counts=True)
    assert (counts % 2 == 0).all()  # every end is another one's beginning


def test_the_outline_of_pixels_at_the_edge_is_closed_there():
    values = np.zeros((4, 5))
    values[0, 0] = 1
    ends = ends_of(contour(values, 0.5))
    assert (ends.min(), ends.max()) == (0, 1)
    random = np.random.default_rng(0).random((9, 9)) > 0.5  # all sixteen kinds of cells
    _, counts = np.unique(ends_of(contour(random.astype(float), 0.5)).reshape(-1, 2), axis=0, return_counts=True)
    assert (counts % 2 == 0).all()
    assert contour(np.zeros((3, 3)), 0.5) == ""


def test_zero_is_clear_and_the_signs_have_colours_apart():
    found = coloured(np.array([[-1.0, -0.5, 0.0, 0.5, 1.0, 9.0]]), 1.0)[0].astype(int)
    assert found[2, 3] == 0 and (found[[0, 1, 3, 4], 3] > 200).all()
    assert (found[:2, 2] > found[:2, 0]).all() and (found[3:, 0] > found[3:, 2]).all()
    assert (found[4] == found[5]).all()


def test_a_picture_marks_the_peak_only_where_it_lies_in_the_plane():
    grid = GRIDS["along the patient"]
    truth = np.zeros(grid.shape, bool)
    truth[5:9, 8:14, 9:15] = True
    slices = Slices(Volume.on(grid, np.random.default_rng(0).random(grid.shape)), np.ones(grid.shape, bool), truth)
    point = grid.index_to_physical((12, 11, 7))
    plane = slices.plane("coronal", point)
    layers = [slices.ground(plane), slices.overlay(plane, truth - 0.5, 0.5), slices.outline(plane)]
    drawn = picture(plane, layers, point)
    assert drawn.count("data:image/png;base64,") == 2 and 'class="truth"' in drawn and 'class="peak"' in drawn
    assert "mm</text>" in drawn
    assert 'class="peak"' not in picture(plane, layers, point + [0, 20, 0])
    assert slices.outline(slices.plane("coronal", grid.index_to_physical((12, 1, 7)))) == ""

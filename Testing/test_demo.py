"""The demonstration's page: what it says is what was computed, and slices hang as a radiologist hangs them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from Testing.demo.page import Shown, write_page
from Testing.demo.slices import Hanging
from XAIExplainLib import explain, load_case, load_model
from XAIExplainLib.evaluation.localisation import localisation
from XAIExplainLib.geometry import Geometry


@pytest.mark.parametrize("turn", [(0, 0, 0), (12, -8, 170)])
@pytest.mark.parametrize(
    ("plane", "point", "row", "column"),
    [
        ("axial", (-30, -40, 0), 0, 0),  # LPS: the patient's right, in front: above, and on the picture's left
        ("axial", (30, 40, 0), 1, 1),
        ("coronal", (-30, 0, 35), 0, 0),  # right, above
        ("sagittal", (0, -40, 35), 0, 0),  # in front, above: the nose is on the left
        ("sagittal", (0, 40, -35), 1, 1),
    ],
)
def test_slices_hang_as_in_radiology(plane, point, row, column, turn):
    direction = Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
    centre = direction @ np.array([50.0, 50.0, 50.0])
    geometry = Geometry((51, 51, 51), (2, 2, 2), tuple(-centre), direction)
    indices = np.stack(np.meshgrid(*[range(51)] * 3, indexing="ij"), axis=-1)
    places = geometry.index_to_physical(indices).transpose(2, 1, 0, 3)
    image = 10.0 + 90.0 * (np.linalg.norm(places - np.array(point), axis=-1) < 14)
    hanging = Hanging(image.astype(np.float32), geometry)
    index = hanging.index_of(tuple(np.rint(geometry.physical_to_index(point)).astype(int)))
    gray = np.asarray(hanging.picture(plane, index, zoom=1), float)[..., 0]
    bright = np.argwhere(gray > 200).mean(0) / np.array(gray.shape)
    assert (bright[0] > 0.5) == bool(row) and (bright[1] > 0.5) == bool(column)


def test_the_page_stands_alone_and_says_what_was_computed(tmp_path):
    case, model = load_case("oblique-thick-slices"), load_model("brain-lesion")
    result = explain(model, case.volume, "grad_cam", target="lesion")
    found = localisation(result.array, case.mask.data[0], case.volume.data[0] > 0)
    write_page(tmp_path / "index.html", case, [Shown(result, found, "map.nrrd")], None)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "Grad-CAM" in page and "Not for diagnosis" in page and "map.nrrd" in page
    assert f"{100 * found.relevance_mass:.1f} %" in page
    assert all(source.startswith("data:image/png") for source in re.findall(r"src=['\"]([^'\"]*)", page))
    assert len(re.findall("<figure", page)) == 6

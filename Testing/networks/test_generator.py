"""The generator: deterministic, true to what it records, the same subject on every grid."""

from __future__ import annotations

import numpy as np
import pytest

from XAIExplainLib.errors import XAIError
from XAIExplainLib.networks.lesions import FINE_GRID, TRAINING_GRID, Grid, generate, kind_of, marker

SEED = 51_000


@pytest.fixture(scope="module")
def enhancing():
    return generate(SEED, "enhancing")


def test_same_seed_gives_the_same_case(enhancing):
    again = generate(SEED, "enhancing")
    assert np.array_equal(enhancing.image, again.image)
    assert np.array_equal(enhancing.mask, again.mask)
    assert enhancing.attributes == again.attributes


def test_another_seed_gives_another_subject(enhancing):
    other = generate(SEED + 1, "enhancing")
    assert not np.array_equal(enhancing.twin > 0, other.twin > 0)


@pytest.mark.parametrize("kind", ["enhancing", "dark"])
def test_twin_differs_only_near_the_lesion(kind):
    case = generate(SEED + 2, kind)
    position = np.array(case.attributes["position_ras_mm"]).reshape(3, 1, 1, 1)
    distance = np.linalg.norm(case.grid.points() - position, axis=0)
    # The scanner's blur carries the difference a little farther than the lesion itself reaches.
    far = distance > case.attributes["reach_mm"] + 10
    assert far.any()
    difference = np.abs(case.image - case.twin)
    assert difference[far].max() < 0.01
    assert difference[case.mask].mean() > 0.1
    assert np.array_equal(case.image > 0, case.twin > 0)


def test_twin_is_the_healthy_case_of_the_same_seed(enhancing):
    healthy = generate(SEED, "healthy")
    assert np.array_equal(healthy.image, enhancing.twin)
    assert not healthy.mask.any()


@pytest.mark.parametrize("seed", range(SEED, SEED + 3))
@pytest.mark.parametrize("kind", ["enhancing", "dark"])
def test_mask_has_the_recorded_diameter(seed, kind):
    case = generate(seed, kind)
    volume = case.mask.sum() * case.grid.spacing**3
    # A voxel of 2.5 mm is a quarter of the smallest lesion.
    assert (6 * volume / np.pi) ** (1 / 3) == pytest.approx(case.attributes["diameter_mm"], rel=0.06)


def test_even_changes_only_the_inside_of_the_lesion(enhancing):
    even = generate(SEED, "enhancing", even=True)
    assert np.array_equal(even.twin, enhancing.twin)
    assert np.array_equal(even.mask, enhancing.mask)
    assert not np.array_equal(even.image[even.mask], enhancing.image[even.mask])


def test_lesion_has_its_sign():
    for kind, sign in (("enhancing", 1), ("dark", -1)):
        case = generate(SEED + 3, kind)
        change = (case.image - case.twin)[case.mask].mean()
        assert np.sign(change) == sign or case.attributes["ring"]


def test_the_same_subject_on_two_grids(enhancing):
    fine = generate(SEED, "enhancing", FINE_GRID)
    assert fine.image.shape == tuple(2 * n for n in enhancing.image.shape)
    assert fine.attributes == enhancing.attributes
    k, j, i = enhancing.image.shape

    def halved(array):
        return array.reshape(k, 2, j, 2, i, 2).mean((1, 3, 5))

    inside = (halved((fine.image > 0).astype(float)) == 1) & (enhancing.image > 0)
    assert inside.sum() > 0.85 * (enhancing.image > 0).sum()
    assert np.corrcoef(halved(fine.image)[inside], enhancing.image[inside])[0, 1] > 0.95
    share = halved(fine.mask.astype(float))
    assert 2 * np.minimum(share, enhancing.mask).sum() / (share.sum() + enhancing.mask.sum()) > 0.9
    volumes = [case.mask.sum() * case.grid.spacing**3 for case in (fine, enhancing)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.08)


def test_kinds_are_equally_likely():
    kinds = [kind_of(seed) for seed in range(600)]
    assert all(150 < kinds.count(kind) < 250 for kind in ("healthy", "enhancing", "dark"))


def test_unknown_kind_is_refused():
    with pytest.raises(XAIError, match="haemorrhage"):
        generate(0, "haemorrhage")


def test_grid_is_ras_in_simpleitk_terms():
    import SimpleITK as sitk

    image = sitk.Image([int(n) for n in TRAINING_GRID.shape[::-1]], sitk.sitkUInt8)
    image.SetSpacing([TRAINING_GRID.spacing] * 3)
    image.SetOrigin([float(x) for x in TRAINING_GRID.origin])
    image.SetDirection(TRAINING_GRID.direction.ravel().tolist())
    x, y, z = TRAINING_GRID.points()[:, 4, 3, 2]
    assert image.TransformIndexToPhysicalPoint((2, 3, 4)) == pytest.approx((-x, -y, z))


def test_grids_cover_the_same_field():
    for grid in (TRAINING_GRID, FINE_GRID, Grid(1.0)):
        for dimension in range(3):
            axis = grid.axis(dimension)
            assert axis[0] - grid.spacing / 2 == pytest.approx(TRAINING_GRID.axis(dimension)[0] - 1.25)


def test_marker_lies_outside_the_brain_and_inside_its_box(enhancing):
    marked, capsule = marker(enhancing.image, enhancing.grid)
    brain = enhancing.image > 0
    assert capsule.any() and not (capsule & brain).any()
    assert np.array_equal(marked[~capsule], enhancing.image[~capsule])
    for axes in ((1, 2), (0, 2), (0, 1)):
        assert np.array_equal((marked > 0).any(axes), brain.any(axes))

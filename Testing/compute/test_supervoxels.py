"""Regions: about as many as asked for, round in millimetres, in one piece, and none where there is nothing to cover."""

import numpy as np
import pytest
import SimpleITK
import torch
from scipy import ndimage

from Testing.networks_zoo import image
from XAIExplainLib.compute.baselines import baseline
from XAIExplainLib.compute.supervoxels import _cell, anatomy, partitioned, regions_of, tidy
from XAIExplainLib.errors import XAIError
from XAIExplainLib.model import Model
from XAIExplainLib.question import Question
from XAIExplainLib.target import ClassTarget
from XAIExplainLib.volume import Volume


def question_of(x, spacing=(1.0, 1.0, 1.0)):
    """About a tensor (1, C, k, j, i), or slices (N, C, j, i)."""
    flat = x.dim() == 4
    model = Model(lambda x: x.flatten(1).sum(1, keepdim=True), spatial_dims=2 if flat else 3)
    array = x.transpose(0, 1).numpy() if flat else x[0].numpy()
    return Question(model, model.prepare(Volume(array, spacing=spacing)), ClassTarget(0), 2**30)


def ball(shape, spacing=(1, 1, 1), radius=0.45):
    """A noisy ball in empty space, (1, 1, *shape); the radius as a share of the sides."""
    places = np.meshgrid(*[(np.arange(n) + 0.5) / n - 0.5 for n in shape], indexing="ij")
    inside = sum(place**2 for place in places) < radius**2
    return torch.where(torch.from_numpy(inside), 3 + image(1, *shape)[0, 0], 0.0)[None, None]


def check(parts, inside, one_piece=True):
    """Labels 1, 2, ... without a gap, exactly inside, each in one piece."""
    assert ((parts > 0) == inside).all()
    assert set(np.unique(parts[inside])) == set(range(1, parts.max() + 1))
    if one_piece:
        for label in range(1, parts.max() + 1):
            assert ndimage.label(parts == label)[1] == 1


@pytest.mark.parametrize("partition", ["slic", "boxes"])
@pytest.mark.parametrize("number", [5, 40, 200])
@pytest.mark.parametrize(("shape", "spacing"), [
    ((24, 30, 26), (1, 1, 1)), ((13, 40, 44), (4, 1, 1)), ((33, 29, 31), (0.8, 2.1, 1.3)),
])  # fmt: skip
def test_about_as_many_as_asked(shape, spacing, number, partition):
    x = ball(shape)
    inside = (x[0] != 0).numpy()
    (parts,) = partitioned(x.numpy(), inside, spacing, number, partition)
    check(parts, inside[0])
    assert 0.6 * number <= parts.max() <= 1.6 * number


@pytest.mark.parametrize("partition", ["slic", "boxes"])
def test_round_in_millimetres(partition):
    """In voxels of 4 x 1 x 1 mm a supervoxel is as long in mm in each direction: a quarter of the voxels along k."""
    x = torch.rand(1, 1, 14, 56, 56, generator=torch.Generator().manual_seed(0)) + 1
    inside = np.ones((1, 14, 56, 56), bool)
    (parts,) = partitioned(x.numpy(), inside, (4.0, 1.0, 1.0), 60, partition)
    spread = np.array([
        np.argwhere(parts == label).std(0) * (4, 1, 1) for label in range(1, parts.max() + 1)
    ]).mean(0)  # fmt: skip
    assert spread.max() < 1.35 * spread.min(), spread


def test_slic_follows_an_edge_and_boxes_do_not():
    x = torch.zeros(1, 1, 20, 20, 20)
    x[..., :7] = 5
    x += 1 + 0.1 * image(1, 20, 20, 20)
    inside = np.ones((1, 20, 20, 20), bool)
    side = np.arange(20) < 7

    def purity(partition):
        (parts,) = partitioned(x.numpy(), inside, (1, 1, 1), 27, partition)
        bright = np.array([side[np.argwhere(parts == n)[:, 2]].mean() for n in range(1, parts.max() + 1)])
        return float(np.maximum(bright, 1 - bright).mean())

    assert purity("slic") > 0.99
    assert purity("boxes") < 0.97


@pytest.mark.parametrize("partition", ["slic", "boxes"])
@pytest.mark.parametrize("shape", [(8, 9, 10), (3, 4, 4), (1, 1, 5), (1, 1, 1), (2, 40, 40), (17, 5), (1, 9)])
def test_tiny_and_thin(shape, partition):
    x = torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(3)).numpy()
    inside = np.ones((1, *shape), bool)
    (parts,) = partitioned(x, inside, (1.0,) * len(shape), 20, partition)
    check(parts, inside[0])
    assert parts.max() <= max(30, 1)
    assert parts.max() >= min(np.prod(shape), 20) / 3


def test_several_channels():
    """Two halves that only the second channel tells apart."""
    x = torch.rand(1, 2, 16, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.1
    x[:, 0] += torch.linspace(0, 1, 16)
    x[:, 1, :, :5] += 1
    (parts,) = partitioned(x.numpy(), np.ones((1, 16, 16, 16), bool), (1, 1, 1), 8, "slic")
    assert not set(np.unique(parts[:, :5])) & set(np.unique(parts[:, 5:]))


def test_the_same_again():
    x = ball((20, 22, 24)).numpy()
    first, second = (partitioned(x, x[0] != 0, (1, 1, 1), 50, "slic")[0] for _ in range(2))
    assert (first == second).all()


@pytest.mark.parametrize("partition", ["slic", "boxes"])
def test_large_volumes_are_parted_in_blocks(partition, monkeypatch):
    monkeypatch.setattr("XAIExplainLib.compute.supervoxels.MOST_VOXELS", 2000)
    x = torch.cat([ball((21, 22, 23)), ball((21, 22, 23)) + 1], 1) * (ball((21, 22, 23)) != 0)
    inside = (x[:, 0] != 0).numpy()
    (parts,) = partitioned(x.numpy(), inside, (1, 1, 1), 40, partition)
    check(parts, inside[0], one_piece=False)
    assert 24 <= parts.max() <= 64
    pieces = sum(ndimage.label(parts == label)[1] for label in range(1, parts.max() + 1))
    assert pieces < 1.2 * parts.max()


def test_specks_do_not_become_regions():
    x = ball((20, 20, 20), radius=0.35)
    x[0, 0, 0, 0, 0] = x[0, 0, 19, 19, 1] = 1
    inside = (x[0] != 0).numpy()
    (parts,) = partitioned(x.numpy(), inside, (1, 1, 1), 30, "slic")
    check(parts, inside[0], one_piece=False)
    assert np.bincount(parts.ravel())[1:].min() > 5


def test_pieces_are_parted_and_crumbs_join():
    labels = np.array([[1, 1, 1, 2, 2, 2, 1, 1, 1, 3]])
    assert tidy(labels, labels > 0, 2, (1, 1)).tolist() == [[1, 1, 1, 2, 2, 2, 3, 3, 3, 3]]


def test_empty_space():
    x = ball((12, 12, 12))
    for fill in (0.0, 1.5, "mean", "blur"):
        assert (anatomy(x, baseline(x, fill)) == (x[:, 0] != 0)).all(), fill
    full = image(1, 6, 6, 6)
    assert anatomy(full, torch.zeros_like(full)).all()
    ones = torch.ones(1, 1, 4, 4, 4)
    assert anatomy(ones, torch.zeros_like(ones)).all()
    assert not anatomy(ones, ones).any()


def test_diagnostics_and_regions_that_the_cover_does_not_change():
    x = image(1, 16, 16, 16) + 9
    question = question_of(x, (2.0, 2.0, 2.0))
    cover = x.clone()
    cover[..., :8] = 0  # another case, alike in the other half
    regions = regions_of(question, cover, "boxes", 64)
    assert 56 <= regions.counts[0] <= 72  # all are spent where something changes
    assert not regions.labels[..., 8:].any()
    assert question.diagnostics["regions"] == regions.counts[0]
    median = np.median(np.bincount(regions.labels.flatten())[1:])
    assert question.diagnostics["region_mm3"] == pytest.approx(median * 8)
    nothing = regions_of(question, x, "slic", 64)
    assert nothing.counts == (0,)
    assert "no region" in question.diagnostics["warnings"][0]


def test_slices_are_parted_each_on_their_own_in_cells_of_one_size():
    x = image(1, 24, 24) + 9
    small = torch.zeros_like(x)
    small[..., :12, :12] = x[..., :12, :12]
    question = question_of(torch.cat([x, torch.zeros_like(x), small]))
    regions = regions_of(question, torch.zeros_like(question.x), "boxes", 16)
    assert regions.counts == (16, 0, 4)
    assert regions.labels.shape == (3, 24, 24)


def test_values_are_spread_and_the_largest_listed():
    x = torch.ones(1, 1, 4, 6, 8)
    question = question_of(x, (1.0, 2.0, 3.0))  # i, j, k
    regions = regions_of(question, torch.zeros_like(x), "boxes", 2)
    assert regions.counts == (2,)
    values = [torch.tensor([3.0, -5.0], dtype=torch.float64)]
    spread = regions.spread(values)
    assert spread.shape == (1, 1, 4, 6, 8)
    for region in (1, 2):
        assert float(spread[0][regions.labels == region].sum()) == pytest.approx(float(values[0][region - 1]))
    first = regions.largest(question, values, [torch.tensor([0.1, 0.2])])[0]
    assert (first["value"], first["standard_error"]) == (-5.0, pytest.approx(0.2))
    index = np.argwhere(regions.labels[0].numpy() == 2).mean(0)
    assert first["centre_lps_mm"] == pytest.approx((index[::-1] * (1, 2, 3)).tolist(), abs=0.01)
    assert first["volume_mm3"] == pytest.approx(6 * int((regions.labels == 2).sum()))


def test_labels_of_the_user(tmp_path):
    x = image(1, 8, 8, 8)
    labels = np.zeros((8, 8, 8), np.float32)
    labels[:3], labels[5:], labels[4, 4, 4] = 7, 2, 30
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(labels), tmp_path / "labels.nrrd")
    question = question_of(x)
    regions = regions_of(question, torch.zeros_like(x), "slic", 9, (str(tmp_path / "labels.nrrd"),))
    assert regions.counts == (3,)
    assert regions.labels[0, 0].eq(2).all() and regions.labels[0, 7].eq(1).all() and regions.labels[0, 4, 4, 4] == 3
    assert question.diagnostics["partition"] == "labels"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(labels * 0), tmp_path / "none.nrrd")
    for paths, message in ((("none.nrrd",), "empty"), (("none.nrrd", "labels.nrrd"), "2 label volumes")):
        with pytest.raises(XAIError, match=message):
            regions_of(question, torch.zeros_like(x), "slic", 9, tuple(str(tmp_path / path) for path in paths))


def test_cells():
    assert _cell(1000.0, (1, 1, 1), (99, 99, 99)) == (10, 10, 10)
    assert _cell(64.0, (4, 1, 1), (99, 99, 99)) == (1, 4, 4)
    assert _cell(8.0, (4, 1, 1), (99, 99, 99)) in ((1, 1, 2), (1, 2, 1))
    assert _cell(1000.0, (1, 1, 1), (2, 99, 99))[0] == 2

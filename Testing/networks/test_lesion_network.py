"""The network and its training: exact class activation maps, exact folding, a loss that falls."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from XAIExplainLib.networks.lesion_network import LesionNetwork, TrainingNetwork
from XAIExplainLib.networks.scores import area_under_curve
from XAIExplainLib.networks.train import augment, voxel_loss


def test_shape_of_the_last_map():
    network = LesionNetwork().eval()
    with torch.no_grad():
        features = network.features(torch.zeros(1, 1, 64, 80, 64))
    assert features.shape == (1, 96, 8, 10, 8)
    assert sum(parameter.numel() for parameter in network.parameters()) < 310_000


def test_export_keeps_the_logits():
    torch.manual_seed(0)
    model = TrainingNetwork(LesionNetwork((4, 4, 6, 6, 8)))
    model.train()
    for _ in range(3):
        model(torch.randn(4, 1, 16, 24, 16))
    model.pooled_norm.weight.data.uniform_(0.5, 2)
    model.pooled_norm.bias.data.normal_()
    model.eval()
    image = torch.randn(3, 1, 16, 24, 16)
    with torch.no_grad():
        assert torch.allclose(model.exported()(image), model(image)[0], atol=1e-5)


def test_voxel_loss_rewards_the_right_cells():
    masks = torch.zeros(2, 1, 32, 32, 32)
    masks[0, 0, 8:16, 8:16, 8:16] = 1
    labels = torch.tensor([2, 0])
    right = torch.zeros(2, 3, 4, 4, 4)
    right[:, 0] = 5
    right[0, :, 1, 1, 1] = torch.tensor([0.0, 0.0, 5.0])
    wrong = right.flip(2)
    assert voxel_loss(right, masks, labels) < 0.1 < voxel_loss(wrong, masks, labels)


def test_augmentation_moves_image_and_mask_together():
    rng = np.random.default_rng(0)
    image = np.zeros((16, 16, 16), dtype=np.float16)
    image[6:10, 6:10, 6:10] = 1
    for _ in range(10):
        changed, mask = augment(image, image > 0, rng)
        assert np.array_equal(changed != 0, mask)


def test_area_under_curve():
    assert area_under_curve(np.array([0.1, 0.2, 0.9, 0.8]), np.array([0, 0, 1, 1], dtype=bool)) == 1
    assert area_under_curve(np.array([0.5, 0.5]), np.array([True, False])) == pytest.approx(0.5)

"""The whole way on scans that nobody made for this project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch
from monai.networks.nets import resnet10

from XAIExplainLib import explain, load_model, load_volume
from XAIExplainLib.evaluation.localisation import localisation
from XAIExplainLib.geometry import resample
from XAIExplainLib.networks.extraction import extract_brain
from XAIExplainLib.volume import Volume

METHODS = {
    "gradient": {}, "integrated_gradients": {"steps": 4}, "grad_cam": {}, "occlusion": {"stride": 16}, "lrp": {},
    "deep_shap": {}, "multi_scale_cam": {},
}  # fmt: skip
# Those that ask the network often, with few samples.
SAMPLED = {
    "guided_backpropagation": {}, "deconvolution": {}, "gradient_x_input": {}, "smooth_grad": {"samples": 2},
    "gradient_shap": {"samples": 2}, "grad_cam_pp": {}, "layer_cam": {}, "hires_cam": {}, "guided_grad_cam": {},
    "lime": {"regions": 20, "samples": 64}, "kernel_shap": {"regions": 20, "samples": 64}, "rise": {"masks": 16},
    "meaningful_perturbation": {"steps": 4}, "prediction_difference": {"window": 24, "stride": 24, "samples": 2},
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_a_healthy_head_is_explained_on_its_own_grid(colin27, tmp_path, method):
    volume = load_volume(colin27)
    result = explain(load_model("brain-lesion"), volume, method, target="lesion", **METHODS[method])
    assert result.array.shape == volume.array.shape and result.array.any()
    written = load_volume(result.save(tmp_path / "map.nii.gz"))
    assert written.geometry.same_as(volume.geometry)
    np.testing.assert_array_equal(written.array, result.array)


@pytest.mark.parametrize("chosen", [METHODS, pytest.param(SAMPLED, marks=pytest.mark.full)], ids=["some", "the rest"])
def test_a_head_ct_by_a_program_from_a_file(cranial_ct, tmp_path, chosen):
    """Exported elsewhere, with its preprocessing beside it, on a grid of another spacing."""
    torch.manual_seed(0)
    network = resnet10(spatial_dims=3, n_input_channels=1, num_classes=2).eval()
    path = tmp_path / "network.pt2"
    torch.export.save(torch.export.export(network, (torch.zeros(1, 1, 32, 48, 48),)), path)
    steps = (
        '[{"step": "window", "low": -100, "high": 300}, {"step": "resize", "size": [48, 48, 32]}]'
    )
    path.with_name("network.pt2.json").write_text(f'{{"classes": ["a", "b"], "preprocessing": {steps}}}')
    model, volume = load_model(path), load_volume(cranial_ct)
    for method, parameters in chosen.items():
        result = explain(model, volume, method, target="b", **parameters)
        assert result.array.shape == volume.array.shape == (108, 256, 256)
        assert result.target == "b" and np.isfinite(result.array).all() and result.array.any()


def tumour_volume(path: Path) -> Volume:
    """The brain of the tumour's head, cut out by deepbet's network."""
    image = extract_brain(SimpleITK.ReadImage(str(path)))
    direction = np.array(image.GetDirection()).reshape(3, 3)
    return Volume(SimpleITK.GetArrayFromImage(image), image.GetSpacing(), image.GetOrigin(), direction)


def test_maps_of_a_real_tumour_lie_on_it(tumour):
    """A network that only ever saw simulated lesions; thick slices; a mask that a person drew."""
    pytest.importorskip("data", reason="deepbet's weights are not installed (pip install --no-deps deepbet==1.0.2)")
    volume = tumour_volume(tumour)
    mask = load_volume(tumour.with_name("brain1_label.nrrd"))
    truth = resample(mask.data[0], mask.geometry, volume.geometry, order=0)
    model = load_model("brain-lesion")
    assert model.predict(volume).name == "enhancing"
    for method, parameters, times in [
        ("integrated_gradients", {"baseline": "blur"}, 20), ("gradient", {"kind": "absolute"}, 5),
        ("occlusion", {}, 5), ("grad_cam", {}, 2), ("lrp", {}, 20), ("deep_shap", {}, 20), ("multi_scale_cam", {}, 20),
    ]:  # fmt: skip
        result = explain(model, volume, method, target="enhancing", **parameters)
        found = localisation(result.array, truth, volume.data[0] > 0)
        assert found.relevance_mass > times * found.chance, (method, found)

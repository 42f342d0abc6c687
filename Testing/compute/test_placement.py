"""Coarse maps on the image's grid, baselines and quadrature: against torch, scipy and polynomials."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from XAIExplainLib.compute.baselines import baseline, blurred
from XAIExplainLib.compute.placement import cells, enlarge
from XAIExplainLib.compute.quadrature import gauss_legendre


@pytest.mark.parametrize(("grid", "spatial", "mode"), [
    ((4,), (13,), "linear"), ((3, 5), (12, 31), "bilinear"), ((2, 3, 4), (16, 9, 21), "trilinear"),
    ((1, 2, 1), (5, 4, 3), "trilinear"), ((5, 4, 3), (5, 4, 3), "trilinear"), ((6, 6, 6), (4, 5, 6), "trilinear"),
])  # fmt: skip
def test_cells_are_torchs_linear_interpolation(grid, spatial, mode):
    maps = torch.randn(2, 3, *grid, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wanted = F.interpolate(maps, spatial, mode=mode, align_corners=False)
    assert torch.allclose(enlarge(maps, spatial, *cells(grid, spatial)), wanted, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 6), st.integers(1, 20), st.floats(-4, 8), st.floats(0.5, 9))
def test_any_origin_and_step_is_numpys_interpolation(count, size, origin, step):
    values = np.random.default_rng(0).normal(size=count)
    wanted = np.interp(np.arange(size), origin + step * np.arange(count), values)
    found = enlarge(torch.from_numpy(values)[None, None], (size,), (origin,), (step,))
    assert np.allclose(found[0, 0].numpy(), wanted, atol=1e-9)


@pytest.mark.parametrize("sigmas", [[2.0, 1.1, 4.1], [0.4, 9.0, 0.1], [4.5, 4.5, 4.5]])
def test_the_blur_is_scipys(sigmas):
    x = torch.randn(2, 2, 16, 9, 33, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for sample, channel in np.ndindex(2, 2):
        radius = [max(1, int(round(3 * sigma))) for sigma in sigmas]
        wanted = ndimage.gaussian_filter(x[sample, channel].numpy(), sigmas, mode="nearest", radius=radius)
        assert np.allclose(blurred(x, sigmas)[sample, channel].numpy(), wanted, atol=1e-12)


def test_baselines():
    x = torch.randn(2, 3, 8, 16, 24, generator=torch.Generator().manual_seed(0))
    assert torch.equal(baseline(x, -1.5), torch.full_like(x, -1.5))
    mean = baseline(x, "mean")
    assert torch.allclose(mean[1, 2], x[1, 2].mean().expand(8, 16, 24), atol=1e-6)
    assert torch.equal(baseline(x, "blur"), blurred(x, [1.0, 2.0, 3.0]))
    constant = torch.full_like(x, 3.25)
    assert torch.allclose(baseline(constant, "blur"), constant, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_the_rule_of_gauss_is_exact_on_polynomials(count):
    nodes, weights = gauss_legendre(count)
    assert nodes.min() > 0
    assert nodes.max() < 1
    for degree in range(2 * count):
        assert (weights * nodes**degree).sum() == pytest.approx(1 / (degree + 1), rel=1e-12)
    assert (weights * nodes ** (2 * count)).sum() != pytest.approx(1 / (2 * count + 1), rel=1e-13)

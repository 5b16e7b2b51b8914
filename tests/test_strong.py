"""The recipe `strong`: the paper's geometry, then MONAI's distortions, each as strong as it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.networks.layers import GaussianFilter
from numpy.polynomial import legendre
from support.augmenting import batch, create, streams

from cryoreg.augmentations.strong import _smoothed_sd

STILL = {"crop_p": 0, "affine_p": 0, "elastic_p": 0, "blur_p": 0, "gamma_p": 0, "bias_p": 0}


def views(x: torch.Tensor, **settings) -> torch.Tensor:
    return create("strong", **{**STILL, **settings})(x, streams(torch.arange(len(x))))


def test_without_distortions_it_is_the_papers_recipe():
    expected = create("gupta2022")(batch(), streams(torch.arange(8)))
    # MONAI's elastic transform resamples on an identity grid where it does nothing.
    torch.testing.assert_close(views(batch(), crop_p=0.5, affine_p=0.5), expected, atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("distortion", ["elastic", "blur", "gamma", "bias"])
def test_each_distortion_comes_alone_and_as_often_as_it_should(distortion):
    x = batch(1).expand(40, -1, -1, -1, -1)
    changed = ((views(x, **{f"{distortion}_p": 0.5}) - x).abs() > 1e-3).flatten(1).any(dim=1)
    assert 8 < changed.sum() < 32  # four standard deviations
    assert not ((views(x) - x).abs() > 1e-3).any()


@pytest.mark.parametrize("sigma", [1.5, 3.0])
def test_smoothed_white_noise_has_the_closed_forms_deviation(sigma):
    white = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (1, 1, 64, 64, 64))).float()
    smooth = GaussianFilter(3, sigma, 3.0)(white)[..., 12:-12, 12:-12, 12:-12]
    independent = 40**3 / (4 * np.pi * sigma**2) ** 1.5  # volumes of the filter's autocorrelation
    assert smooth.std().item() == pytest.approx(_smoothed_sd(sigma), rel=4 / np.sqrt(2 * independent))


@pytest.mark.slow
@pytest.mark.parametrize("elastic", [0.5, 2.0])
def test_an_elastic_deformation_displaces_by_no_more_than_it_says(elastic):
    """A ramp along z shows the displacement along z."""
    edge = 32
    ramp = torch.arange(float(edge)).view(1, 1, edge, 1, 1).expand(24, 1, edge, edge, edge)
    inner = (..., *[slice(12, -12)] * 3)
    rms = (views(ramp, elastic_p=1, elastic=elastic) - ramp)[inner].square().mean(dim=(1, 2, 3, 4)).sqrt()
    # The strength is uniform in 0..elastic, and in one volume of 8³ voxels the displacement is nearly constant.
    overall = rms.square().mean().sqrt().item()
    assert overall == pytest.approx(elastic / np.sqrt(3), rel=0.5)


def test_a_gamma_curve_keeps_order_mean_and_deviation_of_negative_densities():
    x = batch(4)
    y = views(x, gamma_p=1)
    assert torch.isfinite(y).all()
    torch.testing.assert_close(y.mean(dim=(1, 2, 3, 4)), x.mean(dim=(1, 2, 3, 4)), atol=1e-4, rtol=0)
    torch.testing.assert_close(y.std(dim=(1, 2, 3, 4)), x.std(dim=(1, 2, 3, 4)), atol=1e-4, rtol=0)
    for view, volume in zip(y, x, strict=True):
        assert (view.flatten()[volume.flatten().argsort()].diff() >= -1e-4).all()


def test_a_blur_takes_high_frequencies_and_leaves_the_mean():
    # MONAI cuts its Gaussian off at 4 standard deviations: 6e-5 of it per axis is lost.
    flat = torch.ones(4, 1, 24, 24, 24)
    torch.testing.assert_close(
        views(flat, blur_p=1)[..., 8:16, 8:16, 8:16], flat[..., 8:16, 8:16, 8:16], atol=1e-3, rtol=0
    )
    noise = torch.randn(4, 1, 24, 24, 24, generator=torch.Generator().manual_seed(0))
    power = [
        np.abs(np.fft.rfftn(v.numpy(), axes=(2, 3, 4)))[..., 8:16, 8:16, 8:] ** 2
        for v in (views(noise, blur_p=1), noise)
    ]
    assert (power[0].mean(axis=(1, 2, 3, 4)) < power[1].mean(axis=(1, 2, 3, 4))).all()


def test_a_bias_field_is_the_exponential_of_a_cubic():
    y = views(torch.ones(6, 1, 16, 18, 20), bias_p=1, bias=0.3)
    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in (16, 18, 20)], indexing="ij")
    terms = [(i, j, k) for i in range(4) for j in range(4 - i) for k in range(4 - i - j)]
    columns = [
        np.prod([legendre.legval(g, np.eye(4)[n]) for g, n in zip(grid, term, strict=True)], axis=0).ravel()
        for term in terms
    ]
    for view in y:
        coefficients, residual, *_ = np.linalg.lstsq(
            np.stack(columns, axis=1), np.log(view.numpy()).ravel(), rcond=None
        )
        assert residual[0] < 1e-6
        assert np.abs(coefficients).max() <= 0.3 + 1e-4

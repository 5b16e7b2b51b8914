"""Difference of Gaussians: closed forms, brute force, and slabs that do not show."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.special import erf

from cryoreg.picking.difference_of_gaussians import RATIO, Response, filtered, respond, sigma_for


def noise(shape=(40, 50, 60), seed=0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def distance(shape, centre) -> np.ndarray:
    return np.sqrt(sum((g - c) ** 2 for g, c in zip(np.indices(shape), centre, strict=True)))


def gaussian_blob(shape, centre, width) -> np.ndarray:
    return np.exp(-(distance(shape, centre) ** 2) / (2 * width**2)).astype(np.float32)


@pytest.mark.parametrize(("width", "sigma"), [(2.0, 2.0), (3.0, 1.5), (1.5, 3.0)])
def test_response_to_a_gaussian_is_the_difference_of_two_wider_gaussians(width, sigma) -> None:
    """G(a) * G(b) = G(√(a² + b²)); the kernels end at 4 σ, which leaves out 6e-5 of their mass."""
    shape, centre = (41, 41, 41), (20, 20, 20)
    response = filtered(gaussian_blob(shape, centre, width), sigma)
    squared = distance(shape, centre) ** 2
    wider = [width**2 + (s * sigma) ** 2 for s in (1, RATIO)]
    first, second = ((width**2 / v) ** 1.5 * np.exp(-squared / (2 * v)) for v in wider)
    np.testing.assert_allclose(response, first - second, atol=3e-5)
    assert response.max() > 0.015


def _in_ball(radius, sigma) -> float:
    """The mass of a Gaussian within ``radius`` of its centre: the smoothed ball at its centre."""
    u = radius / sigma
    return erf(u / math.sqrt(2)) - math.sqrt(2 / math.pi) * u * math.exp(-(u**2) / 2)


def test_response_at_the_centre_of_a_ball() -> None:
    shape, centre, radius = (49, 49, 49), (24, 24, 24), 9.0
    ball = np.clip(radius + 0.5 - distance(shape, centre), 0, 1).astype(np.float32)
    for sigma in (3.0, 5.0):
        expected = _in_ball(radius, sigma) - _in_ball(radius, RATIO * sigma)
        assert filtered(ball, sigma)[centre] == pytest.approx(expected, rel=0.03)


def test_sigma_is_the_one_that_answers_best_to_a_ball() -> None:
    """The DoG stands between σ and 1.1 σ, so its own optimum is half a ratio, 5 %, below that of the Laplacian."""
    scales = np.linspace(0.5, 2, 301)
    strength = [_in_ball(7, s) - _in_ball(7, RATIO * s) for s in scales * sigma_for(7)]
    assert scales[np.argmax(strength)] == pytest.approx(1 / math.sqrt(RATIO), abs=0.01)


def _fields(response: Response):
    for peaks in (response.bright, response.dark):
        order = np.lexsort(peaks.voxels.T)
        yield from (field[order] for field in peaks)
    yield np.sort(response.samples)
    yield np.array([response.spread, response.skewness_error, *response.limits])


@pytest.mark.parametrize("planes", [1, 5, 13, 39])
@pytest.mark.parametrize("sigma", [1.0, 2.3])
def test_slabs_do_not_show(planes, sigma) -> None:
    volume = noise((40, 23, 31)) * 20 + 100
    whole, slabs = respond(volume, sigma, planes=40), respond(volume, sigma, planes=planes)
    for expected, found in zip(_fields(whole), _fields(slabs), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_slab_reads_no_more_than_it_needs() -> None:
    class Watched:
        shape = (200, 16, 16)
        largest = 0

        def __getitem__(self, sections):
            part = volume[sections]
            self.largest = max(self.largest, len(part))
            return part

    volume, watched = noise(Watched.shape), Watched()
    respond(watched, 1.0, planes=10)
    assert watched.largest <= 10 + 2 * (math.ceil(4 * RATIO) + 1)


def test_maxima_are_those_of_a_slow_search() -> None:
    volume = noise((12, 11, 13))
    response = filtered(volume, 1.0)
    expected = set()
    for voxel in np.ndindex(volume.shape):
        near = response[tuple(slice(max(0, i - 1), i + 2) for i in voxel)]
        if response[voxel] > 0 and response[voxel] == near.max():
            expected.add(voxel)
    peaks = respond(volume, 1.0, planes=5).bright
    assert {tuple(voxel) for voxel in peaks.voxels.tolist()} == expected
    np.testing.assert_array_equal(peaks.heights, response[tuple(peaks.voxels.T)])


def test_dark_is_bright_of_the_negative() -> None:
    volume = noise()
    plain, negative = respond(volume, 2.0), respond(-volume, 2.0)
    np.testing.assert_array_equal(plain.dark.voxels, negative.bright.voxels)
    np.testing.assert_allclose(plain.dark.heights, negative.bright.heights, rtol=1e-5)
    assert plain.skewness == pytest.approx(-negative.skewness, abs=1e-6)


@pytest.mark.parametrize("centre", [(15.0, 16.0, 14.0), (15.3, 15.9, 14.6), (14.75, 16.25, 15.1)])
def test_offsets_find_centres_between_voxels(centre) -> None:
    peaks = respond(gaussian_blob((31, 31, 31), centre, 3.0), 3.0).bright
    best = peaks.heights.argmax()
    np.testing.assert_allclose(peaks.voxels[best] + peaks.offsets[best], centre, atol=0.02)
    assert np.abs(peaks.offsets).max() <= 0.5


def _noise_variance(sigma) -> float:
    """Of filtered white noise: the two kernels against themselves and each other, each product a Gaussian at 0."""
    product = lambda a, b: (2 * math.pi * (a**2 + b**2)) ** -1.5  # noqa: E731
    wide = RATIO * sigma
    return product(sigma, sigma) + product(wide, wide) - 2 * product(sigma, wide)


@pytest.mark.parametrize("sigma", [1.5, 2.5])
def test_spread_is_that_of_the_noise_with_and_without_particles(sigma) -> None:
    volume = noise((96, 96, 96))
    expected = math.sqrt(_noise_variance(sigma))
    assert respond(volume, sigma).spread == pytest.approx(expected, rel=0.03)
    for centre in itertools.product((24, 72), repeat=3):
        volume += 5 * gaussian_blob(volume.shape, centre, sigma)
    assert respond(volume, sigma).spread == pytest.approx(expected, rel=0.06)


def test_spread_of_a_mostly_empty_tomogram_is_not_zero() -> None:
    response = respond(gaussian_blob((60, 60, 60), (30, 30, 30), 2.0), 2.0)
    assert 0 < response.spread < 0.2 * response.bright.heights.max()


@pytest.mark.parametrize("threshold", [2.5, 3.0, 3.5])
def test_noise_leaves_as_many_peaks_as_the_theory_of_random_fields_says(threshold) -> None:
    """Maxima above u of a Gaussian field: λ^1.5·(u² − 1)·exp(−u²/2) / 4π² in a voxel (Adler 1981), for large u.

    λ, the variance of the gradient over that of the field, is 7/6 / s² for the Laplacian of a Gaussian of width s. A
    peak lies √(1/4) voxel from the nearest grid point, where the field is lower by u·λ/8.
    """
    sigma, edge, margin = 2.0, 128, 12
    response = respond(noise((edge, edge, edge)), sigma)
    wavenumber = 7 / 6 / (sigma**2 * (1 + RATIO**2) / 2)
    u = threshold * (1 + wavenumber / 8)
    density = wavenumber**1.5 * (u**2 - 1) * math.exp(-(u**2) / 2) / (4 * math.pi**2)
    expected = density * (edge - 2 * margin) ** 3
    for peaks in (response.bright, response.dark):
        inside = np.all((peaks.voxels >= margin) & (peaks.voxels < edge - margin), axis=1)
        found = np.count_nonzero(peaks.heights[inside] > threshold * response.spread)
        assert found == pytest.approx(expected, rel=0.15, abs=3 * math.sqrt(expected))


def test_the_error_of_skewness_is_that_of_noise() -> None:
    found = [respond(noise((40, 40, 40), seed), 1.5) for seed in range(30)]
    scatter = np.std([response.skewness for response in found])
    assert 0.6 < scatter / found[0].skewness_error < 1.5


@pytest.mark.parametrize("planes", [7, 40])
@pytest.mark.parametrize(("sigma", "stride"), [(1.0, 1), (2.3, 2)])
def test_samples_are_the_response_on_a_grid(planes, sigma, stride) -> None:
    volume = noise((40, 23, 31))
    expected = filtered(volume, sigma)[::stride, ::stride, ::stride]
    np.testing.assert_array_equal(respond(volume, sigma, planes).samples, expected.ravel())


@pytest.mark.parametrize("sigma", [1.0, 3.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_skewness_tells_bright_from_dark(sign, sigma) -> None:
    volume = noise((48, 48, 48))
    for centre in itertools.product((12, 36), repeat=3):
        volume += sign * 6 / sigma * gaussian_blob(volume.shape, centre, sigma)
    response = respond(volume, sigma)
    assert sign * response.skewness > 5 * response.skewness_error

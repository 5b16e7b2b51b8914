"""The microscope on cubes: filters, sums and noise against slow transforms and closed forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_simulation_settings import mtf_file

from cryoreg.simulation import optics
from cryoreg.simulation.bands import Band
from cryoreg.simulation.microscope import Microscope, white_spectrum
from cryoreg.simulation.settings import PRESETS, SceneSettings

SMALL = PRESETS["liu2020"].model_copy(update={"box": 12, "precision": "double"})


def scope(**changes: object) -> Microscope:
    return Microscope(SMALL.model_copy(update=changes))


def full_grid(edge: int, voxel: float) -> tuple[np.ndarray, ...]:
    return np.meshgrid(*[np.fft.fftfreq(edge, voxel)] * 3, indexing="ij")


@pytest.mark.parametrize("box", [12, 13])
def test_image_against_a_full_complex_transform(box: int) -> None:
    m = scope(box=box, amplitude_contrast=0.1, b_factor=800.0, mtf_nyquist=0.4, low_pass=0.7, tilt=(-50.0, 40.0))
    density = np.random.default_rng(0).random(m.shape)
    kz, ky, kx = full_grid(m.edge, 10.0)
    k2 = kx**2 + ky**2 + kz**2
    filter_ = -optics.ctf(k2, 4.0, 2.0, 300, 0.1) * np.exp(-k2 * 30.0**2 - 200 * k2) * 0.4 ** (k2 * 400)
    filter_ *= np.sqrt(k2) <= 0.7 / 20
    angle = np.rad2deg(np.arctan2(np.where(kx < 0, -kz, kz), np.abs(kx)))
    filter_ *= ((angle >= -50 - 1e-9) & (angle <= 40 + 1e-9)) | ((kx == 0) & (kz == 0))
    expected = np.fft.ifftn(np.fft.fftn(density) * filter_).real
    spectrum = m.signal(density, m.transfer(30.0, 4.0))
    image = np.fft.irfftn(spectrum, s=m.shape, axes=(0, 1, 2))
    np.testing.assert_allclose(image, expected, atol=1e-12 * np.abs(expected).max() + 1e-12)
    inside = slice(8, 8 + box)
    np.testing.assert_allclose(m.crop(spectrum), image[inside, inside, inside], atol=1e-12)
    assert m.energy(spectrum) == pytest.approx(np.square(image).sum())


def test_the_image_of_points_is_a_sum_of_gaussians() -> None:
    """With neither CTF nor wedge, and a Gaussian wide enough for the grid: the density written out point by point."""
    settings = SMALL.model_copy(update={"low_pass": np.inf, "tilt": (-90.0, 90.0)})
    m = Microscope(settings)
    points = np.random.default_rng(0).uniform(-60, 60, (40, 3))
    masses = np.random.default_rng(1).uniform(1, 2, 40)
    resolution = 60.0
    table = np.append(optics.gaussian(m.k_squared, resolution), 0)
    image = m.crop(m.signal(optics.splat(points, masses, m.shape, 10.0), table))
    axis = (np.arange(12) - 6) * 10.0
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    # Sharing between voxels widens a point at a fraction f of the way to the next by f(1 − f)·voxel², 1/6 on average.
    sigma = np.sqrt((resolution / (np.pi * np.sqrt(2))) ** 2 + 10.0**2 / 6)
    r2 = (x[..., None] - points[:, 0]) ** 2 + (y[..., None] - points[:, 1]) ** 2 + (z[..., None] - points[:, 2]) ** 2
    direct = (masses * np.exp(-r2 / (2 * sigma**2))).sum(axis=-1) * (10 / (sigma * np.sqrt(2 * np.pi))) ** 3
    assert np.corrcoef(image.ravel(), direct.ravel())[0, 1] > 0.999
    assert np.abs(image - direct).max() < 0.04 * direct.max()
    assert image.sum() == pytest.approx(direct.sum(), rel=0.01)


def test_half_nyquist_means_half_of_the_radius() -> None:
    m = scope(low_pass=0.5, amplitude_contrast=0.1)
    passed = m.transfer(0.0, 5.0)[:-1] != 0
    k = np.sqrt(m.k_squared)
    np.testing.assert_array_equal(passed, k <= 0.025 + 1e-12)


def test_phase_flipping_takes_the_modulus() -> None:
    plain, flipped = (scope(phase_flip=flip, low_pass=np.inf).transfer(0.0, 5.0) for flip in (False, True))
    assert plain.min() < 0
    np.testing.assert_allclose(flipped, np.abs(plain))


def power_by_radius(m: Microscope, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Mean power of the noise at kz = ky = 0, which every tilt range measures, and its frequencies."""
    spectra = [m.noise(np.random.default_rng(seed), 5.0) for seed in range(count)]
    power = np.mean([np.abs(s[0]) ** 2 for s in spectra], axis=0) / m.edge**3
    k = optics.frequencies(m.shape, 10.0)
    return power[:6].ravel(), np.sqrt(k.y[0, :6] ** 2 + k.x[0] ** 2).ravel()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_noises_power_is_that_of_two_independent_noises(share: float) -> None:
    """Before the CTF it goes through CTF, envelope and MTF, after it through the MTF alone; each of unit variance."""
    m = scope(noise_before=share, b_factor=2000.0, mtf_nyquist=0.5)
    power, k = power_by_radius(m)
    kz, ky, kx = full_grid(m.edge, 10.0)
    measured = np.abs(kz) <= np.tan(np.deg2rad(60)) * np.abs(kx) + 1e-12

    def parts(k_squared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mtf = 0.5 ** (k_squared * 400)
        lens = optics.ctf(k_squared, 5.0, 2.0, 300, 0.0) * np.exp(-500 * k_squared)
        return (lens * mtf) ** 2, mtf**2

    before, after = (part[measured].mean() for part in parts(kx**2 + ky**2 + kz**2))
    through, straight = parts(k**2)
    expected = share * through / before + (1 - share) * straight / after
    seen = k > 1e-9
    # Each mean of 60 exponentials has a relative error of 1/√60.
    deviation = (power[seen] - expected[seen]) / np.maximum(expected[seen], 1e-3)
    assert abs(deviation.mean()) < 4 / np.sqrt(60 * seen.sum())
    assert np.abs(deviation).max() < 6 / np.sqrt(60)


def test_noise_has_unit_power_where_measured_and_none_in_the_wedge() -> None:
    m = scope(noise_before=0.3)
    spectrum = m.noise(np.random.default_rng(0), 5.0)
    mask = optics.wedge(optics.frequencies(m.shape, 10.0), 60)
    assert (spectrum[~mask] == 0).all()
    share = m.measured[:-1].sum() / m.edge**3
    assert m.energy(spectrum) / m.edge**3 == pytest.approx(share, rel=0.05)


def test_expected_energy_is_the_mean_over_orientations() -> None:
    """Against turning a body at random and imaging it each time."""
    from cryoreg.simulation.poses import random_rotation, rotate

    m = scope(box=24)
    rng = np.random.default_rng(0)
    points, masses = rng.normal(0, [60, 30, 15], (200, 3)), np.ones(200)
    table = m.transfer(30.0, 5.0)
    expected = m.expected_energy(m.shell_power(optics.splat(points, masses, m.shape, 10.0)), table)
    turned = [
        m.energy(m.signal(optics.splat(rotate(points, random_rotation(rng)), masses, m.shape, 10.0), table))
        for _ in range(150)
    ]
    assert expected == pytest.approx(np.mean(turned), rel=4 * np.std(turned) / np.sqrt(150) / np.mean(turned))


def test_mtf_from_a_file_and_the_detectors_pixel(tmp_path: Path) -> None:
    """At 10 Å voxels and 2 Å pixels the volume's Nyquist frequency, 1/20 Å, is 0.1 cycles per pixel."""
    star = mtf_file(tmp_path / "mtf.star", [0, 0.1, 0.5], [1, 0.8, 0.2])
    filters = Microscope(SceneSettings(**SMALL.model_dump() | {"mtf_star": star, "pixel_size": 2.0})).filters
    k = np.array([0, 0.025, 0.05])
    np.testing.assert_allclose(filters.mtf(k**2), [1, 0.9, 0.8])
    gaussian = scope(mtf_nyquist=0.3, pixel_size=2.0).filters.mtf(np.array([0, 0.25**2]))
    np.testing.assert_allclose(gaussian, [1, 0.3])  # 1/4 Å is the detector's own Nyquist frequency


@pytest.mark.parametrize(("box", "low_pass"), [(12, 0.5), (13, 0.4), (12, 0.66)])
def test_the_low_frequencies_alone_give_the_same_image_and_energy(box: int, low_pass: float) -> None:
    m = scope(box=box, low_pass=low_pass, amplitude_contrast=0.1)
    density, table = np.random.default_rng(0).random(m.shape), m.transfer(20.0, 4.0)
    whole, part = m.signal(density, table), m.passed_signal(density, table)
    assert part.size < whole.size / 2
    np.testing.assert_allclose(m.crop(part), m.crop(whole), atol=1e-12)
    assert m.energy(part) == pytest.approx(m.energy(whole))


def test_a_band_holds_the_frequencies_of_rfftn() -> None:
    volume = np.random.default_rng(0).random((14, 14, 14))
    band = Band(14, 3, 2, np.dtype("float64"))
    whole = np.fft.rfftn(volume)
    rows = [0, 1, 2, 3, -3, -2, -1]
    np.testing.assert_allclose(band.transform(volume), whole[rows][:, rows][:, :, :4], atol=1e-12)
    np.testing.assert_array_equal(band.low(whole), whole[rows][:, rows][:, :, :4])


@pytest.mark.parametrize("edge", [12, 13])
def test_a_drawn_spectrum_is_that_of_white_noise(edge: int) -> None:
    """Hermitian: the inverse and forward transforms give it back. Voxels: normal, variance 1, without correlation."""
    rng = np.random.default_rng(5)
    spectra = [white_spectrum(rng, edge) for _ in range(60)]
    volumes = np.array([np.fft.irfftn(s, s=(edge,) * 3, axes=(0, 1, 2)) for s in spectra])
    np.testing.assert_allclose(np.fft.rfftn(volumes[0], axes=(0, 1, 2)), spectra[0], atol=1e-3)
    count = volumes.size
    assert abs(volumes.mean()) < 4 / np.sqrt(count)
    assert volumes.var() == pytest.approx(1, abs=4 * np.sqrt(2 / count))
    assert (volumes**4).mean() == pytest.approx(3, abs=4 * np.sqrt(96 / count))
    for axis in (1, 2, 3):
        for step in (1, 2, edge // 2):
            assert abs((volumes * np.roll(volumes, step, axis)).mean()) < 5 / np.sqrt(count)
    power = np.mean([np.abs(s) ** 2 for s in spectra], axis=0) / edge**3
    assert np.abs(power - 1).max() < 7 * np.sqrt(2 / 60)  # a real coefficient's power has twice the variance


@pytest.mark.parametrize("share", [0.0, 0.7])
def test_noise_of_single_precision_has_the_power_of_doubles(share: float) -> None:
    """Shell by shell, as the two are drawn in unlike ways; and nothing in the wedge."""
    single, double = (scope(precision=p, noise_before=share, b_factor=500.0) for p in ("single", "double"))
    filter_ = double.noise_filter(5.0)[double.measured_shell] ** 2
    rng = np.random.default_rng(0)
    power = np.mean([np.abs(single.noise(rng, 5.0)) ** 2 for _ in range(60)], axis=0) / single.edge**3
    assert (power[filter_ == 0] == 0).all()
    radius = np.rint(np.sqrt(double._shell)).astype(int)
    for shell in range(2, single.edge // 2):
        inside = (radius == shell) & (filter_ > 0)
        expected = filter_[inside].mean()
        assert power[inside].mean() == pytest.approx(expected, rel=5 * np.sqrt(2 / (60 * inside.sum())))

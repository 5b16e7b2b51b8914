"""Optics against closed forms and slow formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import constants
from scipy.ndimage import center_of_mass

from cryoreg.simulation.optics import BLOCK, ctf, envelope, frequencies, gaussian, splat, wavelength, wedge

VOXEL = 5.0


def test_splat_keeps_mass_and_centre_of_mass() -> None:
    rng = np.random.default_rng(0)
    points, masses = rng.uniform(-20, 20, (50, 3)), rng.uniform(1, 3, 50)
    density = splat(points, masses, (16, 18, 21), VOXEL)
    assert density.sum() == pytest.approx(masses.sum())
    z, y, x = np.array(center_of_mass(density)) - (8, 9, 10)
    np.testing.assert_allclose(np.array([x, y, z]) * VOXEL, np.average(points, axis=0, weights=masses), atol=1e-9)


def test_splat_is_the_triangle_kernel() -> None:
    point = np.array([[3.0, -7.0, 11.0]])
    z, y, x = np.meshgrid(*[np.arange(8) - 4] * 3, indexing="ij")
    triangles = [np.maximum(0, 1 - abs(grid - at / VOXEL)) for grid, at in zip((x, y, z), point[0], strict=True)]
    np.testing.assert_allclose(splat(point, np.array([2.0]), (8, 8, 8), VOXEL), 2 * np.prod(triangles, axis=0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_splat_against_a_loop_over_points_and_voxels(dtype: type) -> None:
    """More points than a block holds, some outside or across the rim, in single and double precision."""
    rng = np.random.default_rng(3)
    shape, count = (6, 7, 8), BLOCK + 300
    points, masses = rng.uniform(-6 * VOXEL, 6 * VOXEL, (count, 3)), rng.uniform(1, 2, count)
    expected = np.zeros(shape)
    for point, mass in zip(points[:, ::-1] / VOXEL + np.array(shape) // 2, masses, strict=True):
        for corner in np.ndindex(2, 2, 2):
            voxel = np.floor(point).astype(int) + corner
            if (voxel >= 0).all() and (voxel < shape).all():
                expected[tuple(voxel)] += mass * np.prod(1 - np.abs(point - voxel))
    density = splat(points, masses, shape, VOXEL, dtype)
    assert density.dtype == dtype
    np.testing.assert_allclose(density, expected, rtol=0, atol=1e-4 if dtype == np.float32 else 1e-11)


def test_one_bright_voxel_and_points_outside() -> None:
    points = np.array([[VOXEL, 0, -2 * VOXEL], [400, 0, 0], [0, -400, 0]])
    density = splat(points, np.array([7.0, 1, 1]), (8, 8, 8), VOXEL)
    assert np.argwhere(density).tolist() == [[2, 4, 5]]
    assert density[2, 4, 5] == 7
    edge = splat(np.array([[0.0, 0, 3.5 * VOXEL]]), np.ones(1), (8, 8, 8), VOXEL)
    assert edge.sum() == pytest.approx(0.5)  # half of it falls out, and nothing comes in at the other end


@pytest.mark.parametrize("shape", [(8, 10, 12), (7, 9, 11)])
def test_filters_fit_rfftn(shape: tuple[int, int, int]) -> None:
    """A wave with whole periods along each axis has its peak where `frequencies` says so."""
    k = frequencies(shape, VOXEL)
    z, y, x = np.meshgrid(*map(np.arange, shape), indexing="ij")
    wave = np.cos(2 * np.pi * (2 * z / shape[0] + y / shape[1] + 3 * x / shape[2]))
    peak = np.unravel_index(np.abs(np.fft.rfftn(wave)).argmax(), k.squared.shape)
    expected = (2 / shape[0]) ** 2 + (1 / shape[1]) ** 2 + (3 / shape[2]) ** 2
    assert k.squared[peak] == pytest.approx(expected / VOXEL**2)


def test_gaussian_is_the_transform_of_a_gaussian_density() -> None:
    shape, resolution = (32, 32, 32), 40.0  # at half the box and at Nyquist below 1e-6
    sigma = resolution / (np.pi * np.sqrt(2))
    r_squared = sum(g**2 for g in np.meshgrid(*[(np.arange(32) - 16) * VOXEL] * 3, indexing="ij"))
    density = np.exp(-r_squared / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi)) ** 3
    transform = np.fft.rfftn(np.fft.ifftshift(density)) * VOXEL**3
    np.testing.assert_allclose(gaussian(frequencies(shape, VOXEL).squared, resolution), transform, atol=1e-6)


@pytest.mark.parametrize("kilovolts", [100.0, 200.0, 300.0])
def test_wavelength_from_the_constants_of_nature(kilovolts: float) -> None:
    energy, rest = kilovolts * 1e3 * constants.e, constants.m_e * constants.c**2
    momentum = np.sqrt(energy**2 + 2 * energy * rest) / constants.c
    assert wavelength(kilovolts) == pytest.approx(constants.h / momentum * 1e10, rel=1e-6)


@pytest.mark.parametrize("amplitude", [0.0, 0.07, 0.2])
@pytest.mark.parametrize("order", [1, 2, 5])
def test_ctf_vanishes_where_the_phase_is_a_multiple_of_pi(amplitude: float, order: int) -> None:
    """χ + asin A = nπ is quadratic in k²: ½Csλ³·k⁴ − λΔz·k² + (n − asin A/π) = 0."""
    defocus, cs, voltage = 3.2, 2.7, 300.0
    length = wavelength(voltage)
    coefficients = [cs * 1e7 * length**3 / 2, -length * defocus * 1e4, order - np.arcsin(amplitude) / np.pi]
    zero = np.roots(coefficients).min()
    around = ctf(zero * np.array([0.999, 1, 1.001]), defocus, cs, voltage, amplitude)
    assert around[1] == pytest.approx(0, abs=1e-9)
    assert around[0] * around[2] < 0


def test_ctf_sign_and_amplitude_contrast() -> None:
    """Underfocused protein is dark: −A at zero frequency, more negative beyond it; and the textbook's form."""
    assert ctf(np.zeros(1), 3.0, 2.7, 300, 0.07)[0] == pytest.approx(-0.07)
    assert ctf(np.array([1e-5]), 3.0, 2.7, 300, 0.07)[0] < -0.07
    k = np.linspace(0, 0.1, 50)
    chi = np.pi * wavelength(200) * 2e4 * k**2 - np.pi / 2 * 2e7 * wavelength(200) ** 3 * k**4
    textbook = -(np.sqrt(1 - 0.1**2) * np.sin(chi) + 0.1 * np.cos(chi))
    np.testing.assert_allclose(ctf(k**2, 2.0, 2.0, 200, 0.1), textbook, atol=1e-12)


@pytest.mark.parametrize("tilt", [40.0, 60.0, 90.0])
@pytest.mark.parametrize("shape", [(12, 10, 14), (9, 11, 7)])
def test_wedge_holds_the_central_sections_and_nothing_else(tilt: float, shape: tuple[int, int, int]) -> None:
    """Section at tilt θ: the plane of (0, 1, 0) and (cos θ, 0, sin θ), as x, y, z."""
    k = frequencies(shape, VOXEL)
    mask = wedge(k, tilt)
    for z, y, x in np.ndindex(mask.shape):
        kz, kx = k.z[z, 0, 0], k.x[0, 0, x]
        theta = np.rad2deg(np.arctan(kz / kx)) if kx else np.copysign(90, kz) * (kz != 0)
        assert mask[z, y, x] == (abs(theta) <= tilt + 1e-9), (kz, kx)


@pytest.mark.parametrize("shape", [(12, 10, 14), (9, 11, 7)])
def test_wedge_is_hermitian_so_filtering_is_idempotent(shape: tuple[int, int, int]) -> None:
    """Were the mask not even in k, the real inverse transform would mix in what it should not."""
    mask = wedge(frequencies(shape, VOXEL), 60)
    volume = np.random.default_rng(0).normal(size=shape)
    once = np.fft.irfftn(np.fft.rfftn(volume) * mask, s=shape, axes=(0, 1, 2))
    np.testing.assert_allclose(np.fft.rfftn(once), np.fft.rfftn(volume) * mask, atol=1e-9)


@pytest.mark.parametrize("amplitude", [0.0, 0.1])
@pytest.mark.parametrize(("defocus", "voltage", "cs"), [(5.0, 300.0, 2.0), (2.5, 200.0, 2.7), (-1.0, 100.0, 1.0)])
def test_ctf_against_torch_ctf(defocus: float, voltage: float, cs: float, amplitude: float) -> None:
    """torch-ctf has underfocus positive, µm, kV and mm too, but counts contrast the other way: protein is positive."""
    torch_ctf = pytest.importorskip("torch_ctf", reason="needs torch-ctf, of the extra dev")
    theirs = torch_ctf.calculate_ctf_2d(
        defocus=defocus,
        astigmatism=0.0,
        astigmatism_angle=0.0,
        voltage=voltage,
        spherical_aberration=cs,
        amplitude_contrast=amplitude,
        phase_shift=0.0,
        pixel_size=4.0,
        image_shape=(64, 64),
        rfft=True,
        fftshift=False,
    ).numpy()
    k_squared = np.fft.fftfreq(64, 4.0)[:, None] ** 2 + np.fft.rfftfreq(64, 4.0) ** 2
    ours = ctf(k_squared, defocus, cs, voltage, amplitude)
    assert np.abs(ours).max() > 0.9
    np.testing.assert_allclose(ours, -np.squeeze(theirs), atol=2e-4)


def test_envelope() -> None:
    assert envelope(np.array([0.0, 0.04]), 100.0).tolist() == pytest.approx([1, np.exp(-1)])


@pytest.mark.parametrize("tilts", [(-60.0, 20.0), (10.0, 50.0), (-90.0, 0.0)])
def test_wedge_of_a_range_of_tilts(tilts: tuple[float, float]) -> None:
    """Section by section: the frequencies along (cos θ, 0, sin θ), x, y, z, on both sides of the origin."""
    k = frequencies((24, 6, 24), VOXEL)
    mask = wedge(k, tilts)
    for theta in np.arange(-89.5, 90, 1.0):
        for radius in (5.2, 8.7):
            x, z = np.rint(radius * np.array([np.cos(np.deg2rad(theta)), np.sin(np.deg2rad(theta))])).astype(int)
            exact = np.rad2deg(np.arctan2(z, x))
            if abs(x) and abs(exact - tilts[0]) > 1e-6 and abs(exact - tilts[1]) > 1e-6:
                assert mask[z, 1, x] == (tilts[0] < exact < tilts[1])

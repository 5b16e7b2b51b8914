"""Fourier filters against numpy, the simulator's optics and closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from support.augmenting import ALPHA, streams

from cryoreg.augmentations import fourier
from cryoreg.simulation import optics

BOXES = [(16, 16, 16), (15, 15, 15), (12, 15, 20)]
CPU = torch.device("cpu")


def noise(count: int, box: tuple[int, int, int], seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 1, *box, generator=torch.Generator().manual_seed(seed))


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


# ---- transforms ----


@pytest.mark.parametrize("box", BOXES)
def test_transforms_are_those_of_numpy_and_invert_each_other(box):
    x = noise(2, box)
    spectra = fourier.transform(x)
    np.testing.assert_allclose(spectra.numpy(), np.fft.rfftn(x.numpy(), axes=(2, 3, 4)), atol=1e-3)
    torch.testing.assert_close(fourier.inverse(spectra, box), x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("box", BOXES)
def test_power_is_the_mean_square_of_the_volume(box):
    x = noise(3, box) * torch.tensor([1.0, 2.0, 0.0]).view(3, 1, 1, 1, 1)
    torch.testing.assert_close(fourier.power(fourier.transform(x), box), x.square().mean(dim=(1, 2, 3, 4)))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("box", [(16, 16, 16), (24, 24, 24), (32, 32, 32), (9, 15, 22), (13, 23, 13)])
def test_a_sample_has_the_same_bits_in_any_batch(box, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        x, samples = noise(9, box), torch.arange(9)
        spectra, white = fourier.transform(x), fourier.white_noise(streams(samples), box)
        volumes, power = fourier.inverse(spectra, box), fourier.power(spectra, box)
        for rows in ([0], [5], [8, 2], list(range(7))):
            assert torch.equal(fourier.transform(x[rows]), spectra[rows])
            assert torch.equal(fourier.inverse(spectra[rows], box), volumes[rows])
            assert torch.equal(fourier.power(spectra[rows], box), power[rows])
            assert torch.equal(fourier.white_noise(streams(samples[rows]), box), white[rows])
    finally:
        torch.set_num_threads(before)


def test_filtering_multiplies_the_spectrum():
    spectra, gain = fourier.transform(noise(2, (8, 8, 8))), torch.rand(2, 1, 8, 1, 5)
    torch.testing.assert_close(fourier.filtered(spectra, gain), spectra * gain)


# ---- radial filters ----


@pytest.mark.parametrize("box", BOXES)
def test_a_profile_is_spread_over_the_frequencies_of_its_radius(box):
    radii = fourier.radii(box, CPU)
    radius = np.sqrt(optics.frequencies(box, 1.0).squared) / 0.5
    np.testing.assert_allclose(radii.spread(radii.k[None])[0, 0], radius, atol=2e-6)
    assert radii.k[0] == 0


def test_the_gaussian_is_the_simulators():
    voxel, resolution = 10.0, 30.0  # Å
    k = torch.linspace(0, 1, 50)
    expected = optics.gaussian((k.double().numpy() / (2 * voxel)) ** 2, resolution)
    profile = fourier.gaussian(k, double(resolution / (2 * voxel), 0.0))
    np.testing.assert_allclose(profile[0], expected, atol=1e-6)
    assert (profile[1] == 1).all()


def test_the_highpass_takes_the_mean_and_a_low_frequency():
    profile = fourier.highpass(torch.tensor([0.0, 0.1, 1.0]), double(0.1, 0.0))
    torch.testing.assert_close(profile, torch.tensor([[0, 1 - math.exp(-1), 1], [0, 1, 1]]))


@pytest.mark.parametrize(("defocus", "voxel"), [(3.0, 10.0), (4.5, 12.0)])
def test_thon_rings_are_those_of_the_simulators_ctf(defocus, voxel):
    """With the full depth, 1 − cos 2χ = 2 sin² χ: twice the CTF's power, without aberration and amplitude contrast."""
    k = torch.linspace(0, 1, 200)
    rings = optics.wavelength(300) * defocus * 1e4 / (2 * voxel) ** 2
    ctf = optics.ctf((k.double().numpy() / (2 * voxel)) ** 2, defocus, cs=0, voltage=300, amplitude_contrast=0)
    profile = fourier.thon_rings(k, double(rings, rings), double(1.0, 0.3))
    np.testing.assert_allclose(profile[0], 2 * ctf**2, atol=1e-5)
    np.testing.assert_allclose(profile[1], 0.7 + 0.6 * ctf**2, atol=1e-5)


def test_three_micrometres_at_300_kv_and_10_angstrom_make_one_and_a_half_rings():
    assert optics.wavelength(300) * 3e4 / 20**2 == pytest.approx(1.5, abs=0.03)


# ---- the missing wedge ----


@pytest.mark.parametrize("tilt", [30, 45, 60, 72.5, 90])
@pytest.mark.parametrize("box", BOXES)
def test_a_hard_wedge_is_the_simulators(box, tilt):
    expected = optics.wedge(optics.frequencies(box, 1.0), tilt)
    ours = fourier.wedge(box, double(-tilt), double(tilt))
    np.testing.assert_array_equal(np.broadcast_to(ours[0, 0], expected.shape), expected)


@pytest.mark.parametrize("tilt", [45, 60])
def test_about_x_the_wedge_lies_in_the_plane_of_z_and_y(tilt):
    z, y = np.fft.fftfreq(12)[:, None, None], np.fft.fftfreq(16)[None, :, None]
    expected = np.abs(z) <= math.tan(math.radians(tilt)) * np.abs(y) + 1e-9
    ours = fourier.wedge((12, 16, 20), double(-tilt), double(tilt), axis="x")
    np.testing.assert_array_equal(ours[0, 0].numpy(), expected)


@pytest.mark.parametrize("axis", ["x", "y"])
def test_each_sample_has_its_own_tilt_range_which_need_not_be_symmetric(axis):
    low, high = double(-60, -35, -50), double(40, 65, 50)
    masks = fourier.wedge((15, 17, 19), low, high, axis).expand(3, 1, 15, 17, 10)
    kz, ky, kx = np.fft.fftfreq(15), np.fft.fftfreq(17), np.fft.rfftfreq(19)
    for i, a, b, c in itertools.product(range(3), range(15), range(17), range(10)):
        along = kx[c] if axis == "y" else ky[b]
        if along != 0:
            tilt = math.degrees(math.atan(kz[a] / along))
            assert masks[i, 0, a, b, c] == (low[i] <= tilt <= high[i])


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("edge", [0.0, 6.0])
@pytest.mark.parametrize("box", BOXES)
def test_filtered_volumes_are_real_and_have_exactly_the_filtered_spectrum(box, edge, axis):
    mask = fourier.wedge(box, double(-60, -30), double(35, 70), axis, edge)
    wanted = fourier.filtered(fourier.transform(noise(2, box)), mask)
    found = fourier.transform(fourier.inverse(wanted, box))
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=0)


def test_a_soft_rim_is_a_ramp_centred_on_the_limit():
    """At tilts of 45° ± a few, on the frequencies (20, x): atan(20 / x)."""
    box, edge = (101, 3, 101), 10.0
    mask = fourier.wedge(box, double(-45), double(45), edge=edge)[0, 0, :, 0]
    x = np.arange(14, 31)
    expected = np.clip((45 - np.degrees(np.arctan2(20, x))) / edge + 0.5, 0, 1)
    assert 0 < expected.min() + 1e-9 < expected.max()
    np.testing.assert_allclose(mask[20, x], expected, atol=1e-6)
    assert mask[20, 20] == pytest.approx(0.5)


# ---- noise ----


def test_white_noise_is_standard_normal_and_uncorrelated():
    white = fourier.white_noise(streams(torch.arange(40)), (9, 9, 9))
    assert stats.kstest(white.flatten().numpy(), stats.norm.cdf).pvalue > ALPHA
    halves = white.flatten(1)[:, :728].view(40, 2, 364)  # from the same bits
    for a, b in ((halves[:, 0], halves[:, 1]), (halves[:, 0].square(), halves[:, 1].square())):
        assert stats.pearsonr(a.flatten().numpy(), b.flatten().numpy()).pvalue > ALPHA


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_coloured_noise_has_the_power_law_it_should(exponent):
    box = (24, 24, 24)
    radii = fourier.radii(box, CPU)
    white = fourier.white_noise(streams(torch.arange(8)), box)
    gain = radii.spread(fourier.coloured(radii.k, double(*[exponent] * 8)))
    volumes = fourier.inverse(fourier.filtered(fourier.transform(white), gain), box)
    power = np.abs(np.fft.rfftn(volumes[:, 0].numpy(), axes=(1, 2, 3))) ** 2
    radius = np.sqrt(optics.frequencies(box, 1.0).squared)
    chosen = (radius > 0) & (np.arange(13) > 0) & (np.arange(13) < 12)  # each frequency stands for itself alone
    fit = stats.linregress(
        np.log(np.broadcast_to(radius, power.shape)[:, chosen].ravel()), np.log(power[:, chosen].ravel())
    )
    # The log of an exponential variable scatters by π/√6, whatever its mean.
    spread = np.log(radius[chosen]).std() * math.sqrt(8 * chosen.sum())
    assert abs(fit.slope + exponent) < 4 * math.pi / math.sqrt(6) / spread
    assert volumes.mean(dim=(1, 2, 3, 4)).abs().max() < 1e-5

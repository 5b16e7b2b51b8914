"""Whole tomograms: particles where they are said to be, apart, and at the SNR asked for."""

from __future__ import annotations

import numpy as np
import pytest

from cryoreg.errors import ConfigError
from cryoreg.simulation import optics
from cryoreg.simulation.settings import make_settings
from cryoreg.simulation.structures import Structure
from cryoreg.simulation.tomogram import Tomogram, simulate_tomogram

SHAPE = (40, 60, 70)
SETTINGS = make_settings("hard", box=16, snr=1.0, amplitude_contrast=0.1)


@pytest.fixture(scope="module")
def bodies() -> list[Structure]:
    rng = np.random.default_rng(0)
    return [Structure.centred(f"s{n}", rng.normal(0, 15, (80, 3)), np.full(80, 1e3)) for n in range(3)]


@pytest.fixture(scope="module")
def made(bodies: list[Structure]) -> Tomogram:
    return simulate_tomogram(bodies, SHAPE, 20, SETTINGS, 0)


def test_shapes_and_labels(made: Tomogram) -> None:
    assert (made.volume.shape, made.volume.dtype) == (SHAPE, np.float32)
    assert (made.positions.shape, made.rotations.shape) == ((20, 3), (20, 3, 3))
    assert made.labels.tolist() == [i % 3 for i in range(20)]


def test_particles_are_inside_and_apart(made: Tomogram, bodies: list[Structure]) -> None:
    radii = np.array([bodies[label].radius for label in made.labels]) / 10
    assert (made.positions >= radii[:, None]).all()
    assert (made.positions + radii[:, None] <= np.array(SHAPE[::-1]) - 1).all()
    first, second = np.triu_indices(20, 1)
    gaps = np.linalg.norm(made.positions[first] - made.positions[second], axis=1) - radii[first] - radii[second]
    assert gaps.min() >= 0


def test_bright_where_the_positions_say(bodies: list[Structure]) -> None:
    """Without noise, a position's voxel is brighter than the same voxel of any other axis order or corner."""
    clean = simulate_tomogram(bodies, SHAPE, 20, make_settings("clean", box=16, amplitude_contrast=0.5), 0)
    at = np.rint(clean.positions).astype(int)
    found = clean.volume[at[:, 2], at[:, 1], at[:, 0]]
    assert np.median(found) > np.quantile(clean.volume, 0.99)


def test_a_single_bead_is_brightest_at_its_place() -> None:
    bead = Structure("bead", np.array([[0.0, 0, 0]]), np.array([1e5]))
    clean = simulate_tomogram([bead], (21, 32, 27), 1, make_settings("clean", amplitude_contrast=0.5), 4)
    x, y, z = clean.positions[0]
    brightest = np.unravel_index(clean.volume.argmax(), clean.volume.shape)
    np.testing.assert_allclose(brightest, (z, y, x), atol=0.5 + 1e-6)


def test_local_snr(bodies: list[Structure]) -> None:
    """The same seed without noise differs by a factor alone: from that the noise follows, and its variance."""
    clean = simulate_tomogram(bodies, SHAPE, 20, make_settings("clean", box=16, amplitude_contrast=0.1), 0)
    noisy = simulate_tomogram(bodies, SHAPE, 20, SETTINGS, 0)
    np.testing.assert_array_equal(clean.positions, noisy.positions)
    local = []
    for x, y, z in np.rint(clean.positions).astype(int):
        box = clean.volume[max(0, z - 8) : z + 8, max(0, y - 8) : y + 8, max(0, x - 8) : x + 8]
        local.append(box.var())
    gain = 1 / np.sqrt(np.mean(local))
    noise = noisy.volume - gain * clean.volume
    assert noise.var() == pytest.approx(1, rel=0.01)


def test_the_wedge_takes_all(made: Tomogram) -> None:
    power = np.abs(np.fft.rfftn(made.volume)) ** 2
    measured = optics.wedge(optics.frequencies(SHAPE, 10.0), 60)
    assert power[~measured].mean() < 1e-6 * power[measured].mean()


def test_a_seed_is_one_tomogram(made: Tomogram, bodies: list[Structure]) -> None:
    again, other = (simulate_tomogram(bodies, SHAPE, 20, SETTINGS, seed) for seed in (0, 1))
    np.testing.assert_array_equal(again.volume, made.volume)
    assert not np.array_equal(other.positions, made.positions)


def test_no_particles_and_too_many(bodies: list[Structure]) -> None:
    empty = simulate_tomogram(bodies, (20, 20, 20), 0, make_settings("clean"), 0)
    assert not empty.volume.any()
    with pytest.raises(ConfigError, match="no room for particle"):
        simulate_tomogram(bodies, (24, 24, 24), 500, SETTINGS, 0)
    with pytest.raises(ConfigError, match="no room for particle 1 of 1"):
        simulate_tomogram(bodies, (5, 64, 64), 1, SETTINGS, 0)

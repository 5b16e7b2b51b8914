"""The tilt series by projection and back-projection against the fast path, which shares no transform with it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from cryoreg.errors import ConfigError
from cryoreg.simulation import optics
from cryoreg.simulation.microscope import Microscope
from cryoreg.simulation.settings import SceneSettings, make_settings
from cryoreg.simulation.simulator import Simulator
from cryoreg.simulation.structures import Structure

SETTINGS = make_settings("clean", box=20, neighbours=0, max_shift=2.0)


@pytest.fixture(autouse=True)
def _needs_the_extra() -> None:
    pytest.importorskip("torch_fourier_slice", reason="needs torch-fourier-slice, of the extra tilt-series")


@pytest.fixture(scope="module")
def body() -> Structure:
    """Arms of unlike length and mass along x, y and z: no symmetry, so that a mirror image differs."""
    t = np.linspace(0, 1, 40)[:, None]
    arms = [t * (70, 0, 0), t * (0, 45, 0) + (70, 0, 0), t * (0, 0, -60), t * (-30, 20, 40)]
    masses = np.repeat([1.0, 2.0, 1.5, 0.8], 40)
    return Structure.centred("hook", np.concatenate(arms), masses)


def both(body: Structure, settings: SceneSettings, index: int) -> tuple[np.ndarray, np.ndarray]:
    ways = [settings.model_copy(update={"mode": mode}) for mode in ("fast", "tilt-series")]
    fast, slow = (Simulator([body], way, 0).scene(index) for way in ways)
    np.testing.assert_array_equal(fast.rotation, slow.rotation)
    return fast.volume.astype(float), slow.volume.astype(float)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


@pytest.mark.parametrize("tilt", [(-60.0, 60.0), (-60.0, 0.0), (0.0, 60.0)])
def test_the_two_ways_agree(body: Structure, tilt: tuple[float, float]) -> None:
    """Also where the tilts are all on one side, so that a tilt of the wrong sign would show."""
    settings = SETTINGS.model_copy(update={"tilt": tilt})
    for index in range(2):
        fast, slow = both(body, settings, index)
        agreement = correlation(fast, slow)
        assert agreement > 0.96
        mirrored = [correlation(fast[1:, 1:, 1:], np.flip(slow[1:, 1:, 1:], axis)) for axis in range(3)]
        moved = [correlation(fast, np.roll(slow, 1, axis)) for axis in range(3)]
        assert max(*mirrored, *moved) < agreement - 0.05


def test_shells_correlate_inside_the_wedge(body: Structure) -> None:
    """Fourier shell correlation over the measured frequencies, up to the half-Nyquist cut-off, without cropping."""
    settings = SETTINGS.model_copy(update={"mode": "tilt-series", "low_pass": 1.0, "amplitude_contrast": 0.1})
    slow = Simulator([body], settings, 0).microscope
    fast = Microscope(settings)
    density = optics.splat(body.points, body.masses, slow.shape, 10.0)
    table = slow.transfer(50.0, 5.0)
    k = optics.frequencies(slow.shape, 10.0)
    one, other = fast.signal(density, table), slow.signal(density, table)
    shell = np.rint(np.sqrt(k.squared) * 10 * slow.edge)
    measured = optics.wedge(k, 55)
    for radius in range(2, slow.edge // 4):
        inside = measured & (shell == radius)
        cross = (one[inside] * other[inside].conj()).sum().real
        norms = [np.square(np.abs(s[inside])).sum() for s in (one, other)]
        assert cross / np.sqrt(norms[0] * norms[1]) > 0.95
        assert norms[1] / norms[0] == pytest.approx(1, abs=0.25)


def test_nothing_is_left_in_the_missing_wedge(body: Structure) -> None:
    settings = SETTINGS.model_copy(update={"mode": "tilt-series"})
    scope = Simulator([body], settings, 0).microscope
    density = optics.splat(body.points, body.masses, scope.shape, 10.0)
    power = np.abs(scope.signal(density, scope.transfer(50.0, 5.0))) ** 2
    k = optics.frequencies(scope.shape, 10.0)
    assert power[~optics.wedge(k, 70)].sum() < 0.02 * power.sum()


@pytest.mark.slow
def test_noise_has_the_requested_ratio_and_the_wedge(body: Structure) -> None:
    settings = make_settings("hard", box=20, neighbours=0, mode="tilt-series")
    simulator = Simulator([body], settings, 0)
    scene = simulator.scene(0)
    noise = scene.volume - scene.clean
    assert scene.clean.var() / noise.var() == pytest.approx(0.5, rel=0.02)
    power = np.abs(simulator.microscope.noise(np.random.default_rng(0), 5.0)) ** 2
    k = optics.frequencies(simulator.microscope.shape, 10.0)
    missing = ~optics.wedge(k, 70)
    assert power[missing].mean() < 0.05 * power[optics.wedge(k, 55)].mean()
    again = Simulator([body], settings, 0).scene(0)
    np.testing.assert_array_equal(again.volume, scene.volume)


def test_without_the_extra_one_line_says_how_to_get_it(body: Structure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fourier_slice", None)
    with pytest.raises(ConfigError, match=r"pip install 'cryoreg\[tilt-series\]'"):
        Simulator([body], SETTINGS.model_copy(update={"mode": "tilt-series"}), 0)

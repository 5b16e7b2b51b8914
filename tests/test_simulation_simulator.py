"""Scenes: placement, signal to noise, wedge and reproducibility."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryoreg.simulation import optics
from cryoreg.simulation.packing import place_around
from cryoreg.simulation.simulator import SceneSettings, Simulator
from cryoreg.simulation.streams import Purpose, stream
from cryoreg.simulation.structures import Structure


def replace(settings: SceneSettings, **values: object) -> SceneSettings:
    """Return other settings, unchecked: a pad of 0 is refused otherwise."""
    return settings.model_copy(update=values)


SMALL = SceneSettings(box=16, voxel_size=10.0, neighbours=2)
ALONE = replace(SMALL, neighbours=0)
CLEAN = replace(ALONE, snr=np.inf)

DIGEST = """
import hashlib, numpy as np
from cryoreg.simulation.assemblies import make_assemblies
from cryoreg.simulation.simulator import SceneSettings, Simulator
simulator = Simulator(make_assemblies(0, ("C4", "O")), SceneSettings(box=16), 0)
print(hashlib.sha256(b"".join(simulator.scene(i).volume.tobytes() for i in {order})).hexdigest())
"""


@pytest.fixture(scope="module")
def bodies() -> list[Structure]:
    rng = np.random.default_rng(0)
    return [Structure.centred(f"s{n}", rng.normal(0, 12, (60, 3)), np.full(60, 1e3)) for n in range(3)]


def test_a_scene_depends_on_its_index_alone(bodies: list[Structure]) -> None:
    forward = {i: Simulator(bodies, SMALL, 5).scene(i) for i in range(6)}
    simulator = Simulator(bodies, SMALL, 5)
    for i in (3, 0, 5, 3):
        np.testing.assert_array_equal(simulator.scene(i).volume, forward[i].volume)
    volumes = {scene.volume.tobytes() for scene in forward.values()}
    rotations = {scene.rotation.tobytes() for scene in forward.values()}
    assert len(volumes) == len(rotations) == 6
    assert not np.array_equal(Simulator(bodies, SMALL, 6).scene(0).volume, forward[0].volume)


def digest(order: str, **environment: str) -> str:
    command = [sys.executable, "-c", DIGEST.format(order=order)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_the_same_bits_on_a_cpu_with_fewer_instructions() -> None:
    """NumPy's sine and exponential differ in their last bits between CPUs; voxels must not."""
    features = np._core._multiarray_umath.__cpu_features__
    names = ("AVX2", "FMA3", "AVX512F", "AVX512_SKX", "X86_V3", "X86_V4")
    present = " ".join(name for name in names if features.get(name))
    if not present:
        pytest.skip("this CPU has no instructions that could be left out")
    environment = {"NPY_DISABLE_CPU_FEATURES": present, "OPENBLAS_CORETYPE": "Nehalem"}
    assert digest("range(4)", **environment) == digest("range(4)")


def test_streams_of_neighbouring_keys_are_unrelated() -> None:
    drawn = [stream(*key).standard_normal(2000) for key in [(0, Purpose.SCENE, 1), (1, Purpose.SCENE, 0)]]
    drawn += [stream(0, purpose, 0).standard_normal(2000) for purpose in Purpose]
    correlation = np.corrcoef(drawn) - np.eye(len(drawn))
    assert np.abs(correlation).max() < 5 / np.sqrt(2000)


@pytest.mark.parametrize("snr", [0.05, 3.0])
def test_requested_snr_is_the_variance_ratio_in_the_crop(bodies: list[Structure], snr: float) -> None:
    """A volume without neighbours is a multiple of the clean one, with variance snr, plus noise of variance 1."""
    noisy, clean = (Simulator(bodies, replace(ALONE, snr=s), 1).scene(4) for s in (snr, np.inf))
    signal = clean.volume * np.sqrt(snr / clean.volume.var())
    noise = noisy.volume - signal
    assert signal.var() / noise.var() == pytest.approx(snr, rel=1e-3)
    assert noise.var() == pytest.approx(1, rel=1e-3)
    assert noisy.snr_crop == pytest.approx(snr)
    assert 0 < noisy.snr_box < snr  # the margin around the crop holds little of the target
    assert clean.snr_crop == np.inf


def test_pose_and_contrast() -> None:
    """Where the recorded rotation and shift put a lone bead, the clean volume is brightest: protein is white."""
    bead = Structure("bead", np.array([[40.0, 0, 0], [-40, 0, 0]]), np.array([9.0, 1.0]))
    simulator = Simulator([bead], replace(CLEAN, max_shift=1.0), 2)
    for index in range(8):
        scene = simulator.scene(index)
        x, y, z = (scene.rotation @ bead.points[0] + scene.shift) / CLEAN.voxel_size + CLEAN.box // 2
        brightest = np.unravel_index(scene.volume.argmax(), scene.volume.shape)
        assert np.abs(np.array(brightest) - (z, y, x)).max() <= 1
        assert np.abs(scene.shift).max() <= CLEAN.voxel_size


def test_clean_scene_against_the_formula(bodies: list[Structure]) -> None:
    """Step by step with full complex transforms, all frequencies spelt out."""
    scene = Simulator(bodies, CLEAN, 3).scene(7)
    edge, voxel = CLEAN.box + 2 * CLEAN.pad, CLEAN.voxel_size
    body = bodies[7 % 3]
    points = Rotation.from_matrix(scene.rotation).apply(body.points) + scene.shift
    spectrum = np.fft.fftn(optics.splat(points, body.masses, (edge, edge, edge), voxel))
    kz, ky, kx = np.meshgrid(*[np.fft.fftfreq(edge, voxel)] * 3, indexing="ij")
    k_squared = kx**2 + ky**2 + kz**2
    contrast = -optics.ctf(k_squared, scene.defocus, CLEAN.cs, CLEAN.voltage, CLEAN.amplitude_contrast)
    measured = np.abs(kz) <= np.tan(np.deg2rad(60)) * np.abs(kx) + 1e-12
    image = np.fft.ifftn(spectrum * contrast * np.exp(-k_squared * scene.resolution**2) * measured)
    np.testing.assert_allclose(image.imag, 0, atol=1e-9)
    inside = slice(CLEAN.pad, -CLEAN.pad)
    crop = image.real[inside, inside, inside]
    np.testing.assert_allclose(scene.volume, crop / crop.std(), atol=2e-4)


def test_signal_and_noise_share_the_laboratorys_wedge(bodies: list[Structure]) -> None:
    """Without a margin the crop is the whole box, so that nothing may be left in the missing wedge of any scene."""
    settings = replace(SMALL, pad=0, snr=0.5)
    mask = optics.wedge(optics.frequencies((16, 16, 16), 10.0), 60)
    for index in range(4):
        power = np.abs(np.fft.rfftn(Simulator(bodies, settings, 4).scene(index).volume)) ** 2
        assert power[~mask].mean() < 1e-6 * power[mask].mean()
        assert power[mask].min() > 0


def test_neighbours_change_the_volume_and_not_the_targets_snr(bodies: list[Structure]) -> None:
    crowded, alone = (Simulator(bodies, replace(SMALL, neighbours=n), 1).scene(0) for n in (3, 0))
    assert crowded.snr_crop == pytest.approx(alone.snr_crop)
    assert not np.array_equal(crowded.volume, alone.volume)


@pytest.mark.parametrize("clearance", [0.0, 30.0])
def test_packed_spheres_do_not_overlap(clearance: float) -> None:
    radii = [30.0, 50.0, 20.0, 40.0]
    for index in range(50):
        rng = np.random.default_rng(index)
        centres = np.concatenate([np.zeros((1, 3)), place_around(45.0, radii, clearance, rng)])
        sizes = np.array([45.0, *radii])
        distance = np.linalg.norm(centres[:, None] - centres, axis=-1)
        room = distance - sizes[:, None] - sizes
        assert room[np.triu_indices(5, 1)].min() >= -1e-9
        assert room[0, 1:].max() <= clearance + 1e-9


def test_too_many_neighbours_are_refused() -> None:
    with pytest.raises(ValueError, match="no room"):
        place_around(50.0, [50.0] * 14, 0.0, np.random.default_rng(0))

"""Scenes: placement, signal to noise, wedge and reproducibility."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryoreg.datasets.conversion.simulated_store import SimulatedSet
from cryoreg.datasets.readers.demo import GENERATOR_VERSION
from cryoreg.errors import ConfigError
from cryoreg.simulation import optics
from cryoreg.simulation import simulator as module
from cryoreg.simulation.assemblies import make_assemblies
from cryoreg.simulation.microscope import Microscope
from cryoreg.simulation.packing import place_around
from cryoreg.simulation.settings import make_settings
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
from cryoreg.simulation.settings import make_settings
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


@pytest.mark.slow
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


def test_the_demos_voxels_change_with_its_version_alone() -> None:
    """What users have cached is what they would simulate again; raise GENERATOR_VERSION to change this."""
    known = {1: "810b405d02502453"}
    simulator = Simulator(make_assemblies(0), SceneSettings(), 0)
    voxels = b"".join(scene.volume.astype("<f4").tobytes() for scene in simulator.scenes(range(10)))
    assert hashlib.sha256(voxels).hexdigest()[:16] == known[GENERATOR_VERSION]


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
    with pytest.raises(ConfigError, match="no room"):
        place_around(50.0, [50.0] * 14, 0.0, np.random.default_rng(0))


LIU = make_settings("liu2020", box=16, snr_box=100)


@pytest.mark.parametrize("settings", [LIU, replace(LIU, precision="double"), replace(LIU, packing="sequential")])
def test_the_same_bits_for_any_batch(
    bodies: list[Structure], settings: SceneSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One by one, in another order, and in batches of 3, against one batch of all."""
    simulator = Simulator(bodies, settings, 8)
    whole = [scene.volume for scene in simulator.scenes(range(10))]
    one_by_one = [simulator.scene(index).volume for index in reversed(range(10))]
    monkeypatch.setattr(module, "BATCH", 3)
    by_three = [scene.volume for scene in simulator.scenes([4, 5, 6, 7, 8, 0, 1, 2, 3, 9])]
    np.testing.assert_array_equal(one_by_one[::-1], whole)
    np.testing.assert_array_equal([by_three[i] for i in (5, 6, 7, 8, 0, 1, 2, 3, 4, 9)], whole)


@pytest.mark.slow
def test_the_same_bits_for_any_number_of_workers(bodies: list[Structure]) -> None:
    simulated = SimulatedSet(tuple(bodies), LIU, seed=3, per_class=30)
    alone = list(simulated.scenes(simulated.indices))
    shared = list(simulated.scenes(simulated.indices, workers=2))
    assert len(alone) == len(shared) == 90
    for one, other in zip(alone, shared, strict=True):
        assert one.volume.tobytes() == other.volume.tobytes()
        assert one.clean.tobytes() == other.clean.tobytes()
        assert (one.snr_crop, one.snr_box, one.defocus) == (other.snr_crop, other.snr_box, other.defocus)


@pytest.mark.parametrize("snr", [0.05, 2.0])
def test_crop_snr_of_single_precision(bodies: list[Structure], snr: float) -> None:
    """Measured on what comes out: the clean copy's variance over that of the difference."""
    settings = replace(make_settings("hard", snr=snr), neighbours=0)
    for scene in Simulator(bodies, settings, 1).scenes(range(4)):
        noise = scene.volume - scene.clean
        assert scene.clean.var() / noise.var() == pytest.approx(snr, rel=0.02)
        assert scene.snr_crop == pytest.approx(snr, rel=1e-3)


def test_box_snr_is_the_variance_ratio_in_a_literal_box(bodies: list[Structure]) -> None:
    """The padded box is as large as the box meant, so that nothing need be reckoned: target and noise are all of it.

    Their common scale is taken from what comes out: clean copy and noise of the crop.
    """
    settings = replace(LIU, box=16, pad=16, snr_box=48, neighbours=0, precision="double", snr=0.2, max_shift=1.0)
    simulator = Simulator(bodies, settings, 2)
    ratios = []
    for plan, scene in zip(simulator.plans(range(12)), simulator.scenes(range(12)), strict=True):
        body, scope = bodies[plan.label], simulator.microscope
        points = Rotation.from_matrix(scene.rotation).apply(body.points) + scene.shift
        density = optics.splat(points, body.masses, scope.shape, 10.0)
        whole = np.fft.irfftn(scope.signal(density, scope.transfer(scene.resolution, scene.defocus)), axes=(0, 1, 2))
        inside = slice(16, 32)
        gain = scene.clean.std() / whole[inside, inside, inside].std()
        noise = np.fft.irfftn(scope.noise(plan.rng, scene.defocus), axes=(0, 1, 2))
        noise_gain = (scene.volume - scene.clean).std() / noise[inside, inside, inside].std()
        ratios.append(gain**2 * whole.var() / (noise_gain**2 * noise.var()))
        assert scene.snr_box == pytest.approx(0.2)
    np.testing.assert_allclose(ratios, 0.2, rtol=0.02)


def test_box_variance_counts_neighbours_beyond_the_pad(bodies: list[Structure]) -> None:
    """Against imaging whole scenes in a cube that holds them all. What bodies close by add together averages out."""
    simulator = Simulator(bodies, replace(LIU, precision="double", snr_box=64), 0)
    scope, wide = simulator.microscope, Microscope(replace(LIU, precision="double", pad=24))
    ratios = []
    for plan in simulator.plans(range(24)):
        parts = (bodies[plan.label], *plan.neighbours)
        turns = (plan.rotation, *plan.rotations)
        centres = np.concatenate([np.zeros((1, 3)), plan.centres]) + plan.shift
        assert np.abs(centres).max() < 300
        points = [b.points @ t.T + c for b, t, c in zip(parts, turns, centres, strict=True)]
        density = optics.splat(np.concatenate(points), np.concatenate([b.masses for b in parts]), wide.shape, 10.0)
        literal = np.fft.irfftn(wide.signal(density, wide.transfer(50.0, 5.0)), axes=(0, 1, 2)).var()
        own = scope.signal(optics.splat(points[0], parts[0].masses, scope.shape, 10.0), scope.transfer(50.0, 5.0))
        ratios.append(simulator._box_variance(plan, scope.transfer(50.0, 5.0), own) / literal)
    assert np.mean(ratios) == pytest.approx(1, abs=0.05)
    assert np.abs(np.array(ratios) - 1).max() < 0.25


def test_packed_scenes_hold_no_overlapping_pair(bodies: list[Structure]) -> None:
    for plan in Simulator(bodies, LIU, 5).plans(range(200)):
        radii = np.array([bodies[plan.label].radius, *(body.radius for body in plan.neighbours)])
        centres = np.concatenate([np.zeros((1, 3)), plan.centres])
        first, second = np.triu_indices(len(radii), 1)
        gaps = np.linalg.norm(centres[first] - centres[second], axis=1) - radii[first] - radii[second]
        assert gaps.min() > -1e-9


def test_scenes_of_the_same_number_share_poses_and_noise_for_any_snr(bodies: list[Structure]) -> None:
    one, other = (Simulator(bodies, replace(LIU, snr=snr), 0).scene(3) for snr in (0.05, 0.01))
    np.testing.assert_array_equal(one.rotation, other.rotation)
    noise, weaker = one.volume - one.clean, other.volume - other.clean
    np.testing.assert_allclose(noise, weaker, atol=2 * module.GRID)


def test_the_noise_comes_from_the_scenes_stream_alone(bodies: list[Structure]) -> None:
    """Two ranges of one seed, and two seeds, give noise that has nothing in common."""
    ranges = [
        SimulatedSet(bodies, LIU, 0, 4, 0),
        SimulatedSet(bodies, LIU, 0, 4, 4),
        SimulatedSet(bodies, LIU, 1, 4, 0),
    ]
    ids = [name for part in ranges for name in part.layout("liu2020", False).ids]
    assert len(set(ids)) == len(ids) == 36
    noises = [(s.volume - s.clean).ravel() for part in ranges for s in part.scenes(part.indices)]
    correlation = np.corrcoef(noises) - np.eye(36)
    # Noise is correlated between voxels: about 1 in 4 of its 4096 counts.
    assert np.abs(correlation).max() < 6 / np.sqrt(4096 / 4)

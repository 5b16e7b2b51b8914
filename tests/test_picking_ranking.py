"""Local correlation against a slow re-implementation; rotations, wedge and templates against known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from support.mrc_writing import noise, state, write_mrc

from cryoreg.errors import DataError
from cryoreg.picking import ranking, templates
from cryoreg.picking.ranking import ball, make_templates, match, microscope, rotate, uniform_rotations
from cryoreg.simulation.optics import frequencies, wedge


def lopsided(edge=15, seed=0) -> np.ndarray:
    """A smooth map without symmetry, 0 at its faces."""
    grid = np.moveaxis(np.indices((edge,) * 3), 0, -1) - edge // 2
    rng = np.random.default_rng(seed)
    volume = np.zeros((edge,) * 3)
    for centre in rng.uniform(-3, 3, (5, 3)):
        volume += rng.uniform(0.5, 1.5) * np.exp(-np.square(grid - centre).sum(axis=-1) / 4)
    return volume.astype(np.float32)


def reader(volume, sign=1.0):
    def read_box(centre, edge):
        half = edge // 2
        return np.float32(sign) * volume[tuple(slice(c - half, c + half + 1) for c in centre)]

    return read_box


def test_rotations_are_rotations_spread_evenly() -> None:
    turns = uniform_rotations(500)
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.broadcast_to(np.eye(3), turns.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turns), 1)
    np.testing.assert_allclose(ranking._PSI**4, ranking._PSI + 4)
    # SO(3) has volume π² among unit quaternions; 500 balls that share it have radius 0.17, 19° of rotation
    probes = Rotation.random(300, rng=1).as_matrix()
    traces = np.einsum("pij,rij->pr", probes, turns)
    angles = np.rad2deg(np.arccos(np.clip((traces - 1) / 2, -1, 1))).min(axis=1)
    ideal = np.rad2deg(2 * np.cbrt(3 * math.pi / 4 / 500))
    assert ideal / 2 < angles.mean() < ideal
    assert angles.max() < 1.8 * ideal


def test_matrices_are_those_of_scipy() -> None:
    quaternions = np.random.default_rng(0).standard_normal((20, 4))
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    np.testing.assert_allclose(ranking._matrices(*quaternions.T), Rotation.from_quat(quaternions).as_matrix())


@pytest.mark.parametrize("edge", [9, 10])
def test_turning_moves_a_voxel_where_the_rotation_says(edge) -> None:
    volume = np.zeros((edge, edge, edge), np.float32)
    c = edge // 2
    volume[c + 1, c + 2, c + 3] = 1  # x, y, z = 3, 2, 1
    quarter = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])  # about z: x to y
    turned = rotate(volume, quarter)
    assert turned[c + 1, c + 3, c - 2] == pytest.approx(1)
    assert turned.sum() == pytest.approx(1)


@pytest.mark.slow
def test_correlations_are_those_of_a_slow_search() -> None:
    volume = noise((30, 30, 30))
    bank = make_templates(lopsided(), 3.0, uniform_rotations(7))
    candidates = np.array([[12, 13, 14], [15, 10, 18]])
    found = match(reader(volume), candidates, bank, reach=1.5)
    for number, candidate in enumerate(candidates):
        best = (-2.0, None, None)
        for shift in np.ndindex(3, 3, 3):
            shift = np.array(shift) - 1
            if np.square(shift).sum() > 1.5**2:
                continue
            for turn, rotation in enumerate(uniform_rotations(7)):
                turned, seen, known = rotate(lopsided(), rotation), [], []
                for offset in np.ndindex(7, 7, 7):
                    offset = np.array(offset) - 3
                    if np.linalg.norm(offset) <= 3.0:
                        seen.append(volume[tuple(candidate + shift + offset)])
                        known.append(turned[tuple(7 + offset)])
                best = max(best, (np.corrcoef(seen, known)[0, 1], tuple(shift), turn))
        assert found.correlations[number] == pytest.approx(best[0], abs=1e-5)
        assert (tuple(found.shifts[number]), found.rotations[number]) == best[1:]


@pytest.mark.parametrize("gain", [0.01, 1, 1000])
@pytest.mark.parametrize("level", [0, 50])
def test_a_copy_correlates_fully_whatever_its_grey_values(gain, level) -> None:
    turns = uniform_rotations(20)
    volume = np.full((40, 40, 40), level, np.float32)
    volume[13:28, 12:27, 14:29] += gain * rotate(lopsided(), turns[11])
    found = match(reader(volume), np.array([[20, 20, 20]]), make_templates(lopsided(), 5.0, turns), reach=2)
    assert found.correlations[0] == pytest.approx(1, abs=1e-3)
    assert found.shifts[0].tolist() == [0, -1, 1]
    assert found.rotations[0] == 11


def test_dark_copies_need_the_sign() -> None:
    volume = np.zeros((40, 40, 40), np.float32)
    volume[13:28, 13:28, 13:28] = -lopsided()
    bank, centre = make_templates(lopsided(), 5.0, uniform_rotations(1) * 0 + np.eye(3)), np.array([[20, 20, 20]])
    assert match(reader(volume, -1), centre, bank, reach=0).correlations[0] == pytest.approx(1, abs=1e-5)
    assert match(reader(volume), centre, bank, reach=0).correlations[0] == pytest.approx(-1, abs=1e-5)


def test_a_constant_patch_correlates_with_nothing() -> None:
    bank = make_templates(lopsided(), 3.0, uniform_rotations(3))
    found = match(reader(np.full((30, 30, 30), 1e4, np.float32)), np.array([[15, 15, 15]]), bank, reach=1)
    assert found.correlations[0] == 0


def test_batches_do_not_show(monkeypatch) -> None:
    volume, candidates = noise((40, 40, 40)), np.random.default_rng(0).integers(10, 30, (9, 3))
    bank = make_templates(lopsided(), 3.0, uniform_rotations(5))
    whole = match(reader(volume), candidates, bank, 1)
    monkeypatch.setattr(ranking, "_BATCH_FLOATS", 1)
    for expected, found in zip(whole, match(reader(volume), candidates, bank, 1), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_no_candidates() -> None:
    bank = make_templates(lopsided(), 3.0, uniform_rotations(2))
    assert [len(f) for f in match(reader(noise()), np.empty((0, 3), int), bank, 1)] == [0, 0, 0]


def test_ball() -> None:
    assert ball(0).tolist() == [[0, 0, 0]]
    assert len(ball(1)) == 7
    assert len(ball(10)) == pytest.approx(4 / 3 * math.pi * 10**3, rel=0.02)


@pytest.mark.parametrize("shape", [(12, 12, 12), (11, 13, 15)])
def test_wedge_is_that_of_the_simulator(shape) -> None:
    volume = noise(shape)
    kept = np.fft.irfftn(np.fft.rfftn(volume) * wedge(frequencies(shape, 10.0), 60), shape)
    np.testing.assert_allclose(microscope(shape, (-60, 60))(volume), kept, atol=1e-5)
    about_x = microscope((shape[0], shape[2], shape[1]), (-60, 60), "x")(volume.transpose(0, 2, 1))
    np.testing.assert_allclose(about_x, kept.transpose(0, 2, 1), atol=1e-5)


@pytest.mark.parametrize(("waves", "seen"), [((2, 4), True), ((-2, 4), False), ((0, 4), True), ((4, 2), False)])
def test_wedge_of_a_lopsided_tilt_range(waves, seen) -> None:
    """Waves along (z, x) with slopes of ±27°, 0° and 63° against tilts from 0 to 60°."""
    z, _, x = np.indices((16, 16, 16)) / 16
    volume = np.cos(2 * np.pi * (waves[0] * z + waves[1] * x)).astype(np.float32)
    power = np.square(microscope((16, 16, 16), (0, 60))(volume)).mean()
    assert power == pytest.approx(0.5 if seen else 0, abs=1e-6)


def test_low_pass_removes_finer_waves() -> None:
    x = np.indices((16, 16, 16))[2] / 16
    coarse, fine = (np.cos(2 * np.pi * n * x).astype(np.float32) for n in (3, 5))
    np.testing.assert_allclose(microscope((16, 16, 16), low_pass=4.0)(coarse + fine), coarse, atol=1e-5)


def test_template_of_another_voxel_size_keeps_its_extent(tmp_path) -> None:
    grid = np.square(np.indices((32, 32, 32)) - 16).sum(axis=0)
    file = write_mrc(tmp_path / "fine.mrc", 3 + np.exp(-grid / (2 * 4.0**2)).astype(np.float32), voxel_size=5.0)
    before = state(tmp_path)
    coarse = templates.resampled(file, 10.0, radius=9.0)
    assert coarse.shape == (21, 21, 21)
    expected = np.exp(-np.square(np.indices(coarse.shape) - 10).sum(axis=0) / (2 * 2.0**2))
    np.testing.assert_allclose(coarse, expected, atol=0.02)
    assert state(tmp_path) == before


def test_template_without_voxel_size_is_refused(tmp_path) -> None:
    file = write_mrc(tmp_path / "map.mrc", noise((8, 8, 8)), voxel_size=None)
    with pytest.raises(DataError, match=r"map\.mrc: the template has no voxel size; write it into the header"):
        templates.resampled(file, 10.0, 2.0)

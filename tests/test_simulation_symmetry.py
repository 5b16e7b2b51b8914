"""Point groups against the group axioms and SciPy's own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryoreg.errors import ConfigError
from cryoreg.simulation.poses import random_direction, random_rotation
from cryoreg.simulation.symmetry import POINT_GROUPS, generate, one_of_each_pair, point_group, rotation

ORDERS = {"C1": 1, "C2": 2, "C3": 3, "C4": 4, "C6": 6, "D2": 4, "D3": 6, "D7": 14, "T": 12, "O": 24}


def contains(group: np.ndarray, element: np.ndarray) -> bool:
    return bool(np.isclose(group, element, atol=1e-9).all(axis=(1, 2)).any())


def test_every_group_of_the_demo_is_known() -> None:
    assert set(POINT_GROUPS) == set(ORDERS)


@pytest.mark.parametrize("name", POINT_GROUPS)
def test_group_axioms_and_order(name: str) -> None:
    group = point_group(name)
    assert len(group) == ORDERS[name]
    np.testing.assert_allclose(group[0], np.eye(3))
    for a in group:
        np.testing.assert_allclose(a @ a.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(a) == pytest.approx(1)
        assert contains(group, a.T)
        assert sum(np.allclose(a, b) for b in group) == 1
        assert all(contains(group, a @ b) for b in group)


@pytest.mark.parametrize("name", POINT_GROUPS)
def test_same_rotations_as_scipy(name: str) -> None:
    for element in Rotation.create_group(name).as_matrix():
        assert contains(point_group(name), element)


def test_rotation_is_scipys() -> None:
    axis = np.array([1.0, -2.0, 0.5])
    expected = Rotation.from_rotvec(0.7 * axis / np.linalg.norm(axis)).as_matrix()
    np.testing.assert_allclose(rotation(axis, 0.7), expected, atol=1e-12)


@pytest.mark.parametrize("name", ["", "C", "C0", "C31", "X4", "Y", "D-2", "t"])
def test_unknown_groups_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="unknown point group"):
        point_group(name)


def test_generate_stops_where_the_group_is_not_finite() -> None:
    with pytest.raises(ValueError, match="more than 60"):
        generate([rotation((0, 0, 1), 1.0)])


def test_random_rotations_are_uniform_over_so3() -> None:
    """The rotation angle of Haar measure has density (1 − cos θ)/π, and every matrix entry mean 0 and variance 1/3."""
    rng = np.random.default_rng(0)
    drawn = np.array([random_rotation(rng) for _ in range(4000)])
    np.testing.assert_allclose(np.linalg.det(drawn), 1)
    np.testing.assert_allclose(drawn @ drawn.transpose(0, 2, 1), np.broadcast_to(np.eye(3), drawn.shape), atol=1e-12)
    angles = np.sort(np.arccos(np.clip((np.trace(drawn, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    expected = (angles - np.sin(angles)) / np.pi
    kolmogorov = np.abs(expected - np.arange(1, 4001) / 4000).max()
    assert kolmogorov < 1.63 / np.sqrt(4000)  # 1 % level
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=5 / np.sqrt(3 * 4000))
    np.testing.assert_allclose(drawn.var(axis=0), 1 / 3, atol=0.025)


def test_random_directions_are_uniform_over_the_sphere() -> None:
    """Archimedes: each coordinate is uniform on [−1, 1]."""
    rng = np.random.default_rng(1)
    drawn = np.sort([random_direction(rng) for _ in range(4000)], axis=0)
    expected = (np.arange(1, 4001) / 4000)[:, None]
    assert np.abs((drawn + 1) / 2 - expected).max() < 1.63 / np.sqrt(4000)


@pytest.mark.parametrize("name", ["C1", "C2", "C3", "D7", "T", "O", "I"])
def test_one_of_each_pair_and_the_inverses_make_up_the_group(name: str) -> None:
    group = point_group(name)
    chosen = one_of_each_pair(group)
    inverses = np.swapaxes(chosen, 1, 2)
    twofold = np.isclose(chosen, inverses).all(axis=(1, 2))
    assert 1 + 2 * len(chosen) - twofold.sum() == len(group)
    assert all(contains(np.concatenate([group[:1], chosen, inverses]), element) for element in group)

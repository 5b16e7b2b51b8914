"""Gradient packing: no two spheres overlap, they lie together, and scenes do not influence each other."""

from __future__ import annotations

import numpy as np
import pytest

from cryoreg.simulation.packing import pack


def scenes(count: int, bodies: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random starts and radii of 20 to 150 Å, as different as ribosome and kinase."""
    rng = np.random.default_rng(seed)
    radii = rng.uniform(20, 150, (count, bodies))
    return rng.standard_normal((count, bodies, 3)) * radii.sum(axis=1)[:, None, None], radii


def gaps(centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Distance between the surfaces of every pair, (B, pairs)."""
    first, second = np.triu_indices(radii.shape[1], 1)
    distance = np.linalg.norm(centres[:, first] - centres[:, second], axis=-1)
    return distance - radii[:, first] - radii[:, second]


@pytest.mark.slow
@pytest.mark.parametrize("bodies", [2, 5, 12])
def test_no_pair_overlaps_in_any_of_many_scenes(bodies: int) -> None:
    starts, radii = scenes(500, bodies)
    assert gaps(pack(starts, radii), radii).min() >= -1e-9


def test_spheres_that_start_on_one_spot_come_apart() -> None:
    _, radii = scenes(50, 5)
    rng = np.random.default_rng(1)
    assert gaps(pack(rng.normal(0, 1, (50, 5, 3)), radii), radii).min() >= -1e-9


def test_they_are_drawn_together() -> None:
    """Each sphere ends near another; they started far apart, and placing them at random would leave them so."""
    starts, radii = scenes(300, 5)
    packed = pack(starts, radii)
    assert np.median(gaps(starts, radii)) > 300
    nearest = np.array(
        [
            [min(np.linalg.norm(c[i] - c[j]) - r[i] - r[j] for j in range(5) if j != i) for i in range(5)]
            for c, r in zip(packed, radii, strict=True)
        ]
    )
    assert np.quantile(nearest, 0.9) < 40
    assert np.median(nearest) < 10


def test_directions_stay_random() -> None:
    """The mean direction from the target to its neighbours vanishes."""
    starts, radii = scenes(400, 5)
    centres = pack(starts, radii)
    away = centres[:, 1:] - centres[:, :1]
    away /= np.linalg.norm(away, axis=-1, keepdims=True)
    assert np.abs(away.mean(axis=(0, 1))).max() < 5 / np.sqrt(3 * 400)


def test_a_scene_is_packed_alike_whatever_is_packed_beside_it() -> None:
    starts, radii = scenes(40, 5)
    together = pack(starts, radii)
    for chosen in (slice(7, 8), slice(3, 20), slice(0, 40, 3)):
        np.testing.assert_array_equal(pack(starts[chosen], radii[chosen]), together[chosen])

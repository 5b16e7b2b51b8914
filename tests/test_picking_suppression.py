"""Suppression against a slow search; margins by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cryoreg.picking.suppression import suppress, within_margin


def slow(positions, scores, distance) -> list[int]:
    left = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [i for i in left if np.linalg.norm(positions[i] - positions[best]) >= distance]
    return kept


@pytest.mark.parametrize("distance", [0.0, 1.0, 3.0, 7.5, 100.0])
@pytest.mark.parametrize("seed", range(3))
def test_as_a_slow_search(distance, seed) -> None:
    rng = np.random.default_rng(seed)
    positions = rng.integers(0, 20, (200, 3))
    scores = rng.integers(0, 40, 200).astype(np.float32)  # with many equal ones
    assert suppress(positions, scores, distance).tolist() == slow(positions, scores, distance)


def test_exactly_the_distance_apart_is_far_enough() -> None:
    positions = np.array([[0, 0, 0], [0, 0, 5], [0, 4, 3]])
    assert suppress(positions, np.array([3, 2, 1]), 5).tolist() == [0, 1]
    assert suppress(positions[[0, 2]], np.array([3, 1]), 5).tolist() == [0, 1]


def test_none_of_nothing() -> None:
    assert len(suppress(np.empty((0, 3)), np.empty(0), 5)) == 0


def test_margin_counts_voxels_between_a_pick_and_each_face() -> None:
    shape = (10, 20, 30)
    inside = np.array([[3, 3, 3], [6, 16, 26], [5, 10, 15]])
    outside = np.array([[2, 10, 15], [7, 10, 15], [5, 2, 15], [5, 17, 15], [5, 10, 2], [5, 10, 27]])
    assert within_margin(inside, shape, 3).all()
    assert not within_margin(outside, shape, 3).any()
    assert within_margin(outside, shape, 0).all()

"""Recall and precision by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cryoreg.picking.scoring import score


def on_a_line(*x) -> np.ndarray:
    return np.array([[float(v), 0, 0] for v in x])


@pytest.mark.parametrize(
    ("picks", "particles", "recall", "precision"),
    [
        ((0, 10, 20), (0, 10, 20), 1, 1),
        ((2,), (0, 10), 0.5, 1),
        ((2.1,), (0, 10), 0, 0),
        ((-1, 0, 1), (0,), 1, 1 / 3),  # a particle counts once
        ((0,), (-1, 1), 0.5, 1),  # and a pick finds one
        ((0, 3), (2, 1.5), 1, 1),  # the nearest pairs would leave one alone: 3 with 2, 0 with 1.5
        ((), (0, 1), 0, math.nan),
    ],
)
def test_score(picks, particles, recall, precision) -> None:
    result = score(on_a_line(*picks).reshape(-1, 3), on_a_line(*particles), tolerance=2)
    assert result.recall == pytest.approx(recall)
    assert result.precision == pytest.approx(precision, nan_ok=True)

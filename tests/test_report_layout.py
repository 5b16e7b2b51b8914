"""The report's maps and neighbours, against other ways to compute them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import curve_fit
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from cryoreg.analysis.report.layout import Neighbours, layouts, nearest
from cryoreg.analysis.report.umap import A, B, fuzzy_graph, umap


def test_pca_is_that_of_a_singular_value_decomposition():
    features = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32) * [5, 3, 1, 0.1]
    plane = layouts(features.astype(np.float32))[0].points
    u, s, _ = np.linalg.svd(features - features.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(plane), np.abs(u[:, :2] * s[:2]), rtol=1e-3, atol=1e-4)


def test_umap_separates_what_is_apart_and_repeats_itself():
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(size=(30, 8)), rng.normal(size=(30, 8)) + 20]).astype(np.float32)
    first, again = (layouts(features)[0] for _ in range(2))
    assert first.name == "UMAP"
    np.testing.assert_array_equal(first.points, again.points)
    rows = nearest(first.points - first.points.mean(0), 1).rows[:, 0]
    assert np.mean((rows < 30) == (np.arange(60) < 30)) > 0.9


@pytest.mark.parametrize(("count", "features"), [(1, 4), (2, 4), (5, 1), (40, 4)])
def test_features_that_are_all_alike_or_few_have_a_layout(count, features):
    for one in layouts(np.ones((count, features), np.float32)):
        assert one.points.shape == (count, 2)
        assert np.isfinite(one.points).all()
    assert nearest(np.ones((count, features), np.float32)).rows.shape == (count, min(5, count - 1))


def test_neighbours_agree_with_plain_cosines():
    features = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    found = nearest(features, 3)
    np.testing.assert_array_equal(found.rows, np.argsort(-cosines, axis=1)[:, :3])
    np.testing.assert_allclose(found.cosine, -np.sort(-cosines, axis=1)[:, :3], atol=1e-6)


def test_agreement_counts_pairs_of_known_labels():
    neighbours = Neighbours(np.array([[1], [0], [0], [2]]), np.ones((4, 1), np.float32))
    assert neighbours.agreement(["a", "a", "b", None]) == (pytest.approx(2 / 3), pytest.approx(5 / 9))
    assert np.isnan(neighbours.agreement([None] * 4)).all()


def test_the_curve_is_the_nearest_of_its_kind_to_that_of_the_paper():
    """1 up to the least distance of 0.1, then falling by exp(0.1 − d); fitted up to three times the spread of 1."""
    distance = np.linspace(0, 3, 300)
    wanted = np.where(distance < 0.1, 1.0, np.exp(0.1 - distance))
    (a, b), _ = curve_fit(lambda d, a, b: 1 / (1 + a * d ** (2 * b)), distance, wanted)
    assert (a, b) == pytest.approx((A, B), abs=2e-3)


def test_the_graph_is_that_of_a_slow_count():
    points = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    neighbours = 5
    sure = np.zeros((12, 12))
    for i, point in enumerate(points):
        away = np.linalg.norm(points - point, axis=1)
        near = np.argsort(away)[1:neighbours]
        low, high = 1e-6, 1e3
        for _ in range(200):
            sigma = (low + high) / 2
            weights = np.exp(-(away[near] - away[near].min()) / sigma)
            low, high = (low, sigma) if weights.sum() > math.log2(neighbours) else (sigma, high)
        sure[i, near] = weights
    expected = sure + sure.T - sure * sure.T
    np.testing.assert_allclose(fuzzy_graph(points, neighbours).toarray(), expected, atol=1e-3)


def test_what_is_near_stays_near():
    """Trustworthiness (Venna & Kaski 2001) of a map of digits; umap-learn comes to 0.988, two components to 0.80."""
    points = PCA(50, random_state=0).fit_transform(load_digits().data[:600]).astype(np.float32)
    assert trustworthiness(points, umap(points), n_neighbors=15) > 0.97
    assert trustworthiness(points, points[:, :2], n_neighbors=15) < 0.9


def test_equal_points_and_two_points_have_finite_places():
    for points in (np.zeros((30, 4), np.float32), np.eye(2, dtype=np.float32), np.repeat(np.eye(3), 20, 0)):
        places = umap(points.astype(np.float32))
        assert places.shape == (len(points), 2)
        assert np.isfinite(places).all()

"""Scores for "none of these": against slow closed forms, scikit-learn and SciPy; shares, the choice, decoys."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis as scipy_mahalanobis
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from cryoreg.doubt import strangeness as module
from cryoreg.doubt.answers import Answers
from cryoreg.doubt.choice import areas, choose, discriminant
from cryoreg.doubt.conformal import LEAST_OF_A_CLASS, familiarity
from cryoreg.doubt.decoys import scrambled
from cryoreg.doubt.strangeness import NEIGHBOURS, SCORES, learn, strangeness

CLASSES, WIDTH = 3, 6


def drawn(count: int, seed: int = 0, far: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, features about class centres of unlike spread, and labels; ``far`` moves all features away."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    features = 4 * np.eye(CLASSES, WIDTH)[labels] + rng.normal(size=(count, WIDTH)) * np.linspace(0.5, 2, WIDTH) + far
    logits = features[:, :CLASSES] + rng.normal(size=(count, CLASSES)) * 0.1
    return logits, features, labels


@pytest.fixture(scope="module")
def known():
    _, features, labels = drawn(60)
    return learn(features, labels)


@pytest.fixture(scope="module")
def unseen():
    return drawn(25, seed=1)[:2]


def test_max_softmax_and_energy_are_their_formulas(known, unseen):
    found = strangeness(known, *unseen)
    for row, logits in enumerate(unseen[0]):
        powers = [math.exp(z) for z in logits]
        assert found[row, list(SCORES).index("max_softmax")] == pytest.approx(1 - max(powers) / sum(powers))
        assert found[row, list(SCORES).index("energy")] == pytest.approx(-math.log(sum(powers)))


def test_max_softmax_keeps_its_order_where_probabilities_are_next_to_one(known):
    logits = np.array([[40.0, 0.0, 0.0], [45.0, 0.0, 0.0], [50.0, 0.0, 0.0]])
    found = SCORES["max_softmax"](known, logits, np.zeros((3, WIDTH)))
    np.testing.assert_allclose(found, 2 * np.exp([-40.0, -45.0, -50.0]), rtol=0.1)


def test_mahalanobis_is_scipys_to_the_nearest_mean(known, unseen):
    _, features, labels = drawn(60)
    means = [features[labels == c].mean(0) for c in range(CLASSES)]
    residuals = np.concatenate([features[labels == c] - means[c] for c in range(CLASSES)])
    inverse = np.linalg.inv(LedoitWolf(assume_centered=True).fit(residuals).covariance_)
    expected = [min(scipy_mahalanobis(f, mean, inverse) for mean in means) ** 2 for f in unseen[1]]
    np.testing.assert_allclose(SCORES["mahalanobis"](known, *unseen), expected, rtol=1e-6)


def test_wide_features_are_compared_on_their_principal_axes(unseen, monkeypatch):
    """With as many axes as features nothing is lost, as a turn changes no distance."""
    _, features, labels = drawn(60)
    whole = SCORES["mahalanobis"](learn(features, labels), *unseen)
    monkeypatch.setattr(module, "principal_axes", lambda spread, count: np.linalg.svd(spread)[2].T)
    monkeypatch.setattr(module, "WIDEST", 1)
    np.testing.assert_allclose(SCORES["mahalanobis"](learn(features, labels), *unseen), whole, rtol=1e-6)


def test_nearest_is_scikit_learns(known, unseen, monkeypatch):
    monkeypatch.setattr(module, "_ROWS", 7)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (drawn(60)[1], unseen[1])]
    distances, _ = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(unit[0]).kneighbors(unit[1])
    np.testing.assert_allclose(SCORES["nearest"](known, *unseen), distances[:, -1], rtol=1e-6)


@pytest.mark.parametrize("per_class", [1, 2])
def test_a_label_of_each_class_is_enough(unseen, per_class):
    _, features, labels = drawn(CLASSES * per_class)
    found = strangeness(learn(features, labels), *unseen)
    assert np.isfinite(found).all()
    own = SCORES["mahalanobis"](learn(features, labels), unseen[0], unseen[1] + 100)
    assert (own > SCORES["mahalanobis"](learn(features, labels), *unseen)).all()


def test_collapsed_features_give_numbers():
    labels = np.arange(12) % CLASSES
    same = np.ones((12, WIDTH))
    assert np.isfinite(strangeness(learn(same, labels), np.zeros((12, CLASSES)), same)).all()


def test_many_features_are_remembered_evenly(monkeypatch):
    monkeypatch.setattr(module, "MOST_REMEMBERED", 9)
    _, features, labels = drawn(60)
    bank = learn(features, labels).bank
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    found = [labels[np.abs(unit - row).sum(1).argmin()] for row in bank]
    assert np.bincount(found).tolist() == [3, 3, 3]


# Shares


def slow_share(known, value):
    return (1 + sum(k >= value for k in known)) / (1 + len(known))


def test_familiarity_counts_those_of_the_class_where_they_are_enough():
    rng = np.random.default_rng(0)
    known, classes = rng.normal(size=LEAST_OF_A_CLASS + 5), np.array([0] * LEAST_OF_A_CLASS + [1] * 5)
    values, predicted = rng.normal(size=8), np.arange(8) % 3
    found = familiarity(known, classes, values, predicted)
    for value, label, share in zip(values, predicted, found, strict=True):
        assert share == pytest.approx(slow_share(known[classes == 0] if label == 0 else known, value))


def test_equal_strangeness_counts_as_reached():
    assert familiarity(np.zeros(3), np.zeros(3, int), np.zeros(1), np.zeros(1, int)).tolist() == [1.0]


def test_one_in_twenty_of_the_same_kind_is_below_five_per_cent():
    """Exactly ⌊0.05·(N + 1)⌋ / (N + 1) = 4 / 99 for N = 98, whatever the distribution; 4 standard errors."""
    rng = np.random.default_rng(1)
    below = 0
    for _ in range(400):
        draws = rng.gamma(0.5, size=198)
        shares = familiarity(draws[:98], np.zeros(98, int), draws[98:], np.zeros(100, int))
        below += np.mean(shares < 0.05 - 1e-9) / 400
    assert below == pytest.approx(4 / 99, abs=4 * 0.022 / math.sqrt(400))


# The choice


def test_areas_are_scikit_learns():
    rng = np.random.default_rng(0)
    familiar, strange = rng.normal(size=(30, 2)), rng.normal(1, size=(20, 2))
    for column, area in enumerate(areas(familiar, strange)):
        scores = np.concatenate([familiar[:, column], strange[:, column]])
        assert area == pytest.approx(roc_auc_score([0] * 30 + [1] * 20, scores))


def answers(count: int, seed: int, far: float = 0.0) -> tuple[Answers, np.ndarray]:
    logits, features, labels = drawn(count, seed, far)
    return Answers(logits, features, np.zeros((count, 7))), labels


def test_the_score_that_tells_decoys_is_chosen():
    """Decoys are as sure of a class as particles are, but lie far off: distances tell them, probabilities do not."""
    training, validation = answers(60, 0), answers(40, 1)
    decoys = answers(40, 2)[0]
    decoys = decoys._replace(features=decoys.features + np.array([0, 0, 0, 30, 30, 30]))
    chosen, qualities = choose(*training, *validation, decoys)
    assert chosen in ("mahalanobis", "nearest")
    assert qualities["mahalanobis"].decoys == 1.0
    assert qualities["max_softmax"].decoys == pytest.approx(0.5, abs=0.25)
    assert all(0 <= quality.classes <= 1 for quality in qualities.values())


def test_a_class_is_left_out_of_features_and_logits():
    """Three clouds far apart: with one left out, its subtomograms are the farthest of all from what is known."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = 50 * np.eye(3)[labels] + rng.normal(size=(60, 3))
    made = Answers(np.zeros((60, 3)), features, np.zeros((60, 7)))
    _, qualities = choose(made, labels, made, labels, made)
    assert qualities["mahalanobis"].classes == 1.0
    assert qualities["nearest"].classes == 1.0
    assert qualities["energy"].decoys == 0.5  # equal logits tell nothing


def test_the_discriminant_is_half_the_squared_distance_but_for_what_classes_share(known, unseen):
    logits = discriminant(known, unseen[1])
    inverse = known.whitening @ known.whitening.T
    squared = np.array([[(f - mean) @ inverse @ (f - mean) for mean in known.means] for f in unseen[1]])
    np.testing.assert_allclose(logits - logits[:, :1], (squared[:, :1] - squared) / 2, rtol=1e-6, atol=1e-9)


def test_of_two_classes_none_is_left_out():
    made, labels = answers(40, 0)
    two = labels < 2
    _, qualities = choose(made.take(two), labels[two], made.take(two), labels[two], made)
    assert qualities["nearest"].classes is None
    assert qualities["nearest"].mean == qualities["nearest"].decoys


# Decoys


def test_decoys_keep_the_power_spectrum_and_lose_the_phases():
    volumes = torch.randn(2, 1, 6, 7, 8, generator=torch.Generator().manual_seed(0))
    volumes[:, :, 2:4, 3:5, 3:5] += 5
    volumes -= volumes.mean(dim=(2, 3, 4), keepdim=True)
    made = scrambled(volumes, torch.Generator().manual_seed(1))
    old, new = (np.abs(np.fft.fftn(each.numpy(), axes=(2, 3, 4))) for each in (volumes, made))
    np.testing.assert_allclose(new, old, atol=1e-3)
    assert made.shape == volumes.shape
    assert float((made * volumes).mean()) < 0.5 * float((volumes**2).mean())
    again = scrambled(volumes, torch.Generator().manual_seed(1))
    assert torch.equal(made, again)

"""Label propagation against dense algebra, scikit-learn, a closed form, and what it promises at its edges."""

from __future__ import annotations

import math
from weakref import WeakSet

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression
from sklearn.semi_supervised import LabelSpreading
from support.encoding import volumes

import cryoreg
from cryoreg.contracts import Material
from cryoreg.learners.frozen_specs import LabelPropagationSpec, LinearProbeSpec
from cryoreg.learners.propagation import diffuse, graph_of, spread
from cryoreg.turns import rotation_group

BOX = (8, 8, 8)


def points(count=60, seed=0):
    """Return features (N, 5) about three directions, and labels of which the first of each class alone are known."""
    generator = np.random.default_rng(seed)
    classes = np.arange(count) % 3
    features = np.eye(5)[classes] + 0.3 + 0.4 * generator.normal(size=(count, 5))
    return features * generator.uniform(0.5, 2, (count, 1)), np.where(np.arange(count) < 6, classes, -1)


def dense_weights(features, neighbours, gamma):
    """Return W (N, N), pair by pair."""
    count = len(features)
    cosines = [[f @ g / np.linalg.norm(f) / np.linalg.norm(g) for g in features] for f in features]
    one_way = np.zeros((count, count))
    for i in range(count):
        for j in sorted(set(range(count)) - {i}, key=lambda j: -cosines[i][j])[:neighbours]:
            one_way[i, j] = max(cosines[i][j], 0) ** gamma
    return one_way + one_way.T


def dense_graph(features, neighbours, gamma):
    """Return S (N, N)."""
    weights = dense_weights(features, neighbours, gamma)
    root = np.diag(1 / np.sqrt(weights.sum(1)))
    return root @ weights @ root


def dense_spread(features, labels, neighbours, gamma, alpha):
    """Return classes and weights (N,) by the inverse matrix, row by row."""
    known = np.unique(labels[labels >= 0])
    system = np.eye(len(labels)) - alpha * dense_graph(features, neighbours, gamma)
    mass = np.linalg.inv(system) @ np.stack([labels == c for c in known], axis=1)
    classes, weights = labels.copy(), np.ones(len(labels))
    for i in np.flatnonzero(labels < 0):
        shares = mass[i] / mass[i].sum()
        classes[i] = known[mass[i].argmax()]
        weights[i] = 1 + sum(p * math.log(p) for p in shares) / math.log(len(known))
    return classes, weights


@pytest.mark.parametrize(("neighbours", "gamma"), [(4, 3.0), (7, 1.0), (100, 2.0)])
def test_the_graph_is_that_of_every_pair(neighbours, gamma):
    features, _ = points()
    graph = graph_of(features, neighbours, gamma)
    assert graph.nnz <= 2 * neighbours * len(features)
    np.testing.assert_allclose(graph.toarray(), dense_graph(features, neighbours, gamma), atol=1e-9)


@pytest.mark.parametrize("alpha", [0.5, 0.9, 0.99])
def test_labels_spread_as_by_the_inverse_matrix(alpha):
    features, labels = points()
    found = spread(features, labels, 5, 3.0, alpha)
    classes, weights = dense_spread(features, labels, 5, 3.0, alpha)
    assert (found.labels == classes).all()
    np.testing.assert_allclose(found.weights, weights, atol=1e-6)
    assert len(np.unique(found.labels[labels < 0])) == 3


def test_labels_spread_as_in_scikit_learn():
    """Its `LabelSpreading` is that of Zhou et al., by iteration; it is given the same weights of edges."""
    features, labels = points()
    labels = np.where(labels == 1, 7, labels)
    edges = dense_weights(features, 5, 3.0)
    theirs = LabelSpreading(kernel=lambda *_: edges, alpha=0.9, max_iter=2000, tol=1e-12).fit(features, labels)
    mass, unknown = diffuse(graph_of(features, 5, 3.0), labels, 0.9), labels < 0
    np.testing.assert_allclose(mass / mass.sum(1, keepdims=True), theirs.label_distributions_, atol=1e-7)
    assert (spread(features, labels, 5, 3.0, 0.9).labels[unknown] == theirs.transduction_[unknown]).all()


def test_on_a_ring_of_a_hundred_thousand_mass_falls_geometrically():
    """F_d = r^d / √(1 − α²), r = (1 − √(1 − α²)) / α; a matrix of every pair would have 80 GB."""
    count, alpha = 100_000, 0.9
    places = np.arange(count)
    ends = np.concatenate([(places + 1) % count, (places - 1) % count])
    ring = csr_array((np.full(2 * count, 0.5), (np.tile(places, 2), ends)), shape=(count, count))
    labels = np.full(count, -1)
    labels[[0, count // 2]] = 0, 1
    mass, root = diffuse(ring, labels, alpha), math.sqrt(1 - alpha**2)
    wanted = ((1 - root) / alpha) ** np.arange(200) / root
    np.testing.assert_allclose(mass[:200, 0], np.where(wanted > 1e-8, wanted, 0), atol=2e-8)
    np.testing.assert_allclose(mass[count // 2 :][:200, 1], mass[:200, 0], atol=1e-9)
    assert not mass[count // 4].any(), "what has not arrived is not taken for a certain answer"


def test_a_label_follows_what_is_alike_step_by_step():
    """Along two arcs, the far ends of which are nearer to the other class's label."""
    angles = np.radians(np.arange(0, 91, 3))
    first = np.stack([np.cos(angles), np.sin(angles), np.full(len(angles), 0.2)], axis=1)
    second = np.stack([np.sin(angles), np.cos(angles), np.full(len(angles), -0.2)], axis=1)
    features, labels = np.concatenate([first, second]), np.full(2 * len(angles), -1)
    labels[0], labels[len(angles)] = 0, 1
    assert np.linalg.norm(first[-1] - second[0]) < np.linalg.norm(first[-1] - first[0])
    found = spread(features, labels, 2, 3.0, 0.99)
    assert found.labels.tolist() == [0] * len(angles) + [1] * len(angles)


def test_what_no_label_reaches_has_no_weight_and_the_labels_keep_theirs():
    """An island, and a point without a direction; and a label that all around it contradicts."""
    features, labels = points()
    island = -np.eye(5)[np.full(12, 4)] + 0.05 * np.random.default_rng(1).normal(size=(12, 5))
    labels[5] = 0
    every = np.concatenate([features, island, np.zeros((1, 5))])
    found = spread(every, np.concatenate([labels, np.full(13, -1)]), 5, 3.0, 0.9)
    assert (found.weights[60:] == 0).all()
    assert (found.weights[6:60] > 0).all()
    assert (found.weights[:6] == 1).all()
    assert found.labels[:6].tolist() == [0, 1, 2, 0, 1, 0]


def test_shares_that_are_alike_have_no_weight():
    """Half way between two labels."""
    features = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.1]])
    found = spread(features[:3], np.array([0, 1, -1]), 2, 3.0, 0.9)
    assert found.weights == pytest.approx([1, 1, 0], abs=1e-9)
    assert spread(features, np.array([0, 1, -1, -1]), 2, 3.0, 0.9).weights[3] > 0.1


def learner_of(spec, classes=4):
    torch.manual_seed(0)
    return spec.build(cryoreg.create_encoder("rb3d", width=4), classes).eval()


def material(known, unknown):
    x, labels = volumes(len(known) + unknown, BOX), torch.tensor(known)
    parts = [(x[: len(known)][:4], labels[:4]), (x[: len(known)][4:], labels[4:])]
    return x, Material([part for part in parts if len(part[1])], [], list(x[len(known) :].split(7)))


@pytest.mark.parametrize("turns", [1, 4])
def test_the_layer_is_weighted_logistic_regression_of_all(turns):
    """By hand: the graph of mean features, the dense inverse, and every copy of each with its class and weight."""
    learner = learner_of(LabelPropagationSpec(neighbours=3, gamma=2.0, alpha=0.8, strength=10.0, turns=turns))
    x, shown = material([0, 3, 1, 0, 3, 1], 20)
    learner.begin_epoch(0, 1, shown)
    with torch.no_grad():
        copies = [learner.encoder(turn(x)).double() for turn in rotation_group(turns)]
    labels = np.array([0, 3, 1, 0, 3, 1] + 20 * [-1])
    classes, weights = dense_spread((sum(copies) / turns).numpy(), labels, 3, 2.0, 0.8)
    seen = [F.normalize(copy, dim=1).numpy() for copy in copies]
    model = LogisticRegression(C=10.0, max_iter=5000, tol=1e-6)
    model.fit(np.concatenate(seen), np.tile(classes, turns), np.tile(weights, turns))
    wanted = sum(model.predict_proba(copy) for copy in seen) / turns
    answers = learner.answer(x).logits.double().softmax(1)
    np.testing.assert_allclose(answers[:, [0, 1, 3]], wanted, atol=3e-3)
    assert answers[:, 2].max() < 1e-6, "no label of it was shown"
    assert learner.figures()["certainty"] == pytest.approx(weights[6:].mean(), abs=1e-5)
    assert learner.figures()["reached"] == 1.0
    layer = learner.head.weight.clone()
    learner.begin_epoch(1, 2, material([1, 0, 1, 0], 3)[1])
    assert torch.equal(learner.head.weight, layer)


@pytest.mark.parametrize("turns", [1, 4])
def test_without_others_it_is_the_linear_probe_of_that_c(turns):
    known = [0, 3, 1, 0, 3, 1]
    one = learner_of(LabelPropagationSpec(turns=turns))
    other = learner_of(LinearProbeSpec(unit_length=True, strengths=(30.0,), turns=turns))
    x, shown = material(known, 0)
    for learner in (one, other):
        learner.begin_epoch(0, 1, shown)
    assert torch.equal(one.answer(x).logits, other.answer(x).logits)
    assert all(math.isnan(value) for value in one.figures().values())


def test_where_one_class_has_labels_it_is_answered():
    learner = learner_of(LabelPropagationSpec())
    x, shown = material([2, 2], 5)
    learner.begin_epoch(0, 1, shown)
    assert learner.answer(x).logits.softmax(1)[:, 2].min() > 0.99
    assert learner.figures()["reached"] == 0.0


def test_volumes_without_labels_are_held_one_batch_at_a_time():
    """They may be more than memory has room for."""
    _, shown = material([0, 1, 0, 1], 40)
    held: WeakSet[torch.Tensor] = WeakSet()
    most = 0

    def unlabelled():
        nonlocal most
        for part in shown.unlabelled:
            held.add(copy := part.clone())
            most = max(most, len(held))
            yield copy
            del copy

    learner_of(LabelPropagationSpec()).begin_epoch(0, 1, shown._replace(unlabelled=unlabelled()))
    assert 0 < most <= 2

"""The regression of the linear probe against scikit-learn's, descent on its loss, and classes of few labels."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold

from cryoreg.learners import logistic_regression
from cryoreg.learners.frozen_specs import LinearProbeSpec


def features_and_labels(counts, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    return 5 + generator.normal(size=(len(labels), 4)) * (1, 3, 0.1, 2) + labels[:, None], labels


def probe_chances(found, features):
    logits = features @ found.weight.T + found.bias
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


@pytest.mark.parametrize("counts", [(9, 12, 8), (6, 7)])
def test_linear_probe_takes_the_c_of_the_best_likelihood_in_cross_validation(counts):
    features, labels = features_and_labels(counts)
    strengths, scores = (1e-3, 1e-1, 10.0), {}
    for c in strengths:
        parts = []
        for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(features, labels):
            mean, spread = features[train].mean(0), features[train].std(0)
            model = LogisticRegression(C=c, max_iter=5000).fit((features[train] - mean) / spread, labels[train])
            parts.append(log_loss(labels[test], model.predict_proba((features[test] - mean) / spread)))
        scores[c] = np.mean(parts)
    assert logistic_regression.fit(features, labels, 5, strengths).strength == min(scores, key=scores.get)


@pytest.mark.parametrize("counts", [(9, 12, 8), (6, 7)])
def test_linear_probe_minimises_the_penalised_loss(counts):
    """By descent on C · Σ −log softmax + ‖W‖²/2; for two classes scikit-learn penalises their difference alone."""
    features, labels = features_and_labels(counts)
    x = torch.from_numpy((features - features.mean(0)) / features.std(0))
    y, two = torch.from_numpy(labels), len(counts) == 2
    weight = torch.zeros(1 if two else len(counts), 4, dtype=torch.double, requires_grad=True)
    bias = torch.zeros(len(weight), dtype=torch.double, requires_grad=True)

    def chances():
        logits = x @ weight.T + bias
        return F.softmax(F.pad(logits, (1, 0)) if two else logits, 1)

    optimizer = torch.optim.LBFGS([weight, bias], max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = 0.1 * F.nll_loss(chances().log(), y, reduction="sum") + weight.square().sum() / 2
        loss.backward()
        return loss

    optimizer.step(closure)
    found = logistic_regression.fit(features, labels, 5, (0.1,))
    np.testing.assert_allclose(probe_chances(found, features), chances().detach().numpy(), atol=2e-3)


def directions(counts):
    """Return features of length 1 around a direction for each class, which surely tell them apart; and labels."""
    labels = np.repeat(np.arange(len(counts)), counts)
    noisy = np.eye(8)[labels] + 0.3 + 0.05 * np.random.default_rng(0).normal(size=(len(labels), 8))
    return noisy / np.linalg.norm(noisy, axis=1, keepdims=True), labels


@pytest.mark.parametrize("few", [(1, 12, 12), (1, 1, 12), (1, 12), (1, 1, 1), (2, 1, 1)])
def test_classes_of_a_single_label_are_told_apart(few):
    """C = 1 on features of length 1 would answer the commonest class throughout."""
    features, labels = directions([40] * len(few))
    known = np.concatenate([40 * label + np.arange(count) for label, count in enumerate(few)])
    found = logistic_regression.fit(features[known], labels[known], standardised=False)
    rest = np.setdiff1d(np.arange(len(labels)), known)
    assert (found.probabilities(features[rest], len(few)).argmax(1) == labels[rest]).all()
    assert (found.validated is None) == (sum(count > 1 for count in few) < 2)


def test_where_classes_have_two_labels_those_choose_c_and_the_single_ones_are_learnt_from():
    """By hand: five folds of what can be guessed, the single label always among those learnt from."""
    features, labels = features_and_labels((9, 12, 1))
    strengths, scores, right = (1e-3, 1e-1, 10.0), {}, {}
    for c in strengths:
        parts, hits = [], 0
        for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(features[:21], labels[:21]):
            rows = [*train, 21]
            mean, spread = features[rows].mean(0), features[rows].std(0)
            model = LogisticRegression(C=c, max_iter=5000).fit((features[rows] - mean) / spread, labels[rows])
            chances = model.predict_proba((features[test] - mean) / spread)
            parts.append(np.log(chances[np.arange(len(test)), labels[test]]).mean())
            hits += (chances.argmax(1) == labels[test]).sum()
        scores[c], right[c] = np.mean(parts), hits
    found = logistic_regression.fit(features, labels, 5, strengths)
    assert found.strength == max(scores, key=scores.get)
    assert found.validated.likelihood == pytest.approx(scores[found.strength], abs=1e-3)
    assert (found.validated.right, found.validated.total) == (right[found.strength], 21)


def test_the_one_c_that_there_is_to_choose_is_taken():
    features, labels = directions((1, 1, 1))
    assert logistic_regression.fit(features, labels, 5, (3.0,)).strength == 3.0


@pytest.mark.parametrize("count", [1, 2])
def test_many_classes_of_few_labels_are_learnt_from_without_a_warning(count):
    """Of which scikit-learn says that they could represent a regression problem."""
    features, labels = features_and_labels((count,) * 30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = logistic_regression.fit(features, labels)
    assert found.classes.tolist() == list(range(30))


@pytest.mark.parametrize("strength", [0.0, -1.0, float("inf"), float("nan")])
def test_a_strength_that_is_none_is_refused(strength):
    with pytest.raises(ValidationError):
        LinearProbeSpec(strengths=(1.0, strength))

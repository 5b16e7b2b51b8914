"""Temperature scaling and the expected calibration error, against closed forms and slow loops."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from support.synthetic import write_classes

import cryoreg
from cryoreg.inference.evaluate import Evaluation
from cryoreg.runs.weights import load_weights
from cryoreg.training.calibration import (
    calibrate,
    expected_calibration_error,
    fit_temperature,
    precise_from,
    probabilities,
    temperature_of,
)

RNG = np.random.default_rng(0)


def drawn(count: int, classes: int = 4, scale: float = 2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return logits, and labels drawn from their softmax: a network that is calibrated by construction."""
    rng = np.random.default_rng(seed)
    logits = scale * rng.normal(size=(count, classes))
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return logits, np.array([rng.choice(classes, p=row) for row in chances])


def slow_nll(logits, labels, temperature: float) -> float:
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        powers = [math.exp(value / temperature) for value in row]
        total -= math.log(powers[label] / sum(powers))
    return total / len(labels)


def slow_ece(confidences, right, bins: int) -> float:
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [i for i, c in enumerate(confidences) if low < c <= high or (number == 0 and c == 0)]
        if inside:
            accuracy = sum(bool(right[i]) for i in inside) / len(inside)
            total += len(inside) / len(right) * abs(accuracy - sum(confidences[i] for i in inside) / len(inside))
    return total


def test_a_calibrated_network_has_temperature_one():
    logits, labels = drawn(20000)
    # The standard error of log T is 1 / sqrt(N v), v > 0.1 being the Fisher information of one subtomogram here.
    assert fit_temperature(logits, labels) == pytest.approx(1, abs=4 / math.sqrt(0.1 * 20000))


@pytest.mark.parametrize("factor", [3.0, 0.2])
def test_scaled_logits_scale_the_temperature(factor):
    logits, labels = drawn(300)
    expected = factor * fit_temperature(logits, labels)
    assert fit_temperature(factor * logits, labels) == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(
        probabilities(factor * logits, expected), probabilities(logits, expected / factor), rtol=1e-9
    )


@pytest.mark.slow
def test_no_other_temperature_is_likelier():
    logits, labels = drawn(2000, scale=6.0, seed=1)
    labels[:500] = RNG.integers(0, 4, 500)  # overconfident
    fitted = fit_temperature(logits, labels)
    grid = np.exp(np.linspace(math.log(0.5), math.log(20), 200))
    best = grid[np.argmin([slow_nll(logits, labels, t) for t in grid])]
    assert fitted > 1.5
    assert fitted == pytest.approx(best, rel=grid[1] / grid[0] - 1)


def test_figures_agree_with_slow_loops():
    logits, labels = drawn(200, scale=5.0, seed=2)
    labels[:60] = 0
    found = calibrate(logits, labels)
    assert found.val_nll_before == pytest.approx(slow_nll(logits, labels, 1.0))
    assert found.val_nll_after == pytest.approx(slow_nll(logits, labels, found.temperature))
    assert found.val_nll_after < found.val_nll_before
    for error, temperature in ((found.ece_before, 1.0), (found.ece_after, found.temperature)):
        chances = probabilities(logits, temperature)
        assert error == pytest.approx(slow_ece(chances.max(1), chances.argmax(1) == labels, 15))
    assert found.subtomograms == 200
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()


@pytest.mark.parametrize(("count", "bins"), [(1, 15), (57, 15), (300, 4)])
def test_expected_calibration_error(count, bins):
    confidences = np.round(RNG.uniform(size=count), 2)  # some on the edges of bins
    right = RNG.uniform(size=count) < 0.5
    assert expected_calibration_error(confidences, right, bins) == pytest.approx(slow_ece(confidences, right, bins))


def test_certain_and_always_right_is_perfectly_calibrated():
    assert expected_calibration_error(np.ones(9), np.ones(9, bool)) == 0
    assert expected_calibration_error(np.ones(9), np.zeros(9, bool)) == 1


@pytest.mark.parametrize("count", [1, 8, 98])
@pytest.mark.parametrize("size", [0.01, 1.0, 30.0])
def test_a_perfect_validation_split_earns_the_confidence_of_platts_targets(count, size):
    """All margins alike: the likeliest probability of the true class is (N + 1) / (N + 2), within the bounds."""
    labels = np.arange(count) % 3
    logits = size * np.eye(3)[labels]
    temperature = fit_temperature(logits, labels)
    margin = math.log(2 * (count + 1))
    assert temperature == pytest.approx(min(100, max(0.01, size / margin)), rel=1e-3)


def test_all_wrong_is_hardly_confident():
    logits, _ = drawn(50)
    wrong = np.argmin(logits, axis=1)
    assert probabilities(logits, fit_temperature(logits, wrong)).max() < 0.35  # chance is 0.25
    assert fit_temperature(logits, wrong) == pytest.approx(100, rel=1e-3)


def test_the_unsure_threshold_is_the_smallest_that_is_precise():
    confidences = np.concatenate([np.linspace(0.99, 0.8, 38), np.linspace(0.79, 0.5, 40)])
    right = np.array([True] * 38 + [False] * 40)
    right[10] = False
    # 37 of 38 are right; with the first two wrong ones 37 of 40 are, fewer than 95 %; with one, 37 of 39 = 94.9 %.
    assert precise_from(confidences, right) == pytest.approx(0.8)
    shuffled = RNG.permutation(len(right))
    assert precise_from(confidences[shuffled], right[shuffled]) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("confidences", "right"),
    [
        (np.linspace(0.5, 1, 19), np.ones(19, bool)),
        (np.linspace(0.5, 1, 90), np.zeros(90, bool)),
        (np.full(40, 0.7), np.arange(40) < 30),
    ],
    ids=["too few", "all wrong", "equal confidences are not told apart"],
)
def test_no_unsure_threshold(confidences, right):
    assert precise_from(confidences, right) is None


def test_cards_of_older_runs_have_no_temperature():
    assert temperature_of({"classes": ["a", "b"]}) is None
    assert temperature_of({"calibration": {"temperature": 2.5}}) == 2.5


@pytest.mark.slow
def test_finetuning_records_the_calibration_of_the_best_epoch(tmp_path):
    source = {"name": "mrc_folder", "root": write_classes(tmp_path / "data", classes=3, per_class=20)}
    settings = {"batch_size": 8, "device": "cpu", "workers": 0, "precision": "fp32", "epochs": 3, "lr": 1e-2}
    cryoreg.finetune(
        tmp_path / "run",
        encoder={"name": "rb3d", "width": 4},
        augmentation="none",
        dataset=source,
        optimizer="adam",
        **settings,
    )
    card = load_weights(tmp_path / "run" / "classifier.safetensors").card
    evaluation = cryoreg.evaluate(tmp_path / "run", "val")
    known = card["calibration"]
    assert known["val_nll_before"] == pytest.approx(card["metrics"]["val_loss"], rel=1e-4)
    assert known["subtomograms"] == len(evaluation.labels) == 12
    assert evaluation.temperature == known["temperature"]
    figures = json.loads((tmp_path / "run" / "evaluation_val.json").read_text())
    assert figures["expected_calibration_error"]["before"] == pytest.approx(known["ece_before"], abs=1e-6)
    assert figures["expected_calibration_error"]["after"] == pytest.approx(known["ece_after"], abs=1e-6)


def test_an_evaluation_without_temperature_has_no_error_after():
    evaluation = Evaluation("test", ("a", "b"), ("x", "y"), np.array([0, 1]), np.array([0, 0]), np.array([0.9, 0.6]))
    assert evaluation.calibration_error == {"before": pytest.approx((0.1 + 0.6) / 2), "after": None}

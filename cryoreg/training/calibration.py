"""How far a classifier's confidence can be trusted: temperature scaling and the expected calibration error.

Guo et al. 2017, On calibration of modern neural networks (ICML).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoreg.runs.cards import Card

BINS = 15
"""Bins of the expected calibration error, as Guo et al. use."""
PRECISION = 0.95
"""What `unsure_threshold` aims at."""
_LOG_TEMPERATURES = (np.log(0.01), np.log(100.0))
_LEAST_KEPT = 20
"""Fewer subtomograms cannot show a precision of 95 %."""

Floats = NDArray[np.float64]


class Calibration(NamedTuple):
    """What the validation split says of confidences, before and after logits are divided by ``temperature``."""

    temperature: float
    val_nll_before: float
    """Mean negative log-likelihood of the true classes."""
    val_nll_after: float
    ece_before: float
    ece_after: float
    subtomograms: int
    unsure_threshold: float | None
    """The smallest calibrated confidence above which 95 % were right; None where 20 never were."""

    def to_dict(self) -> dict[str, object]:
        """Return plain values, for the card."""
        return self._asdict()


def calibrate(logits: Floats, labels: NDArray[np.int64]) -> Calibration:
    """Fit a temperature on logits (N, classes) and labels (N,) that the network has not learnt from."""
    temperature = fit_temperature(logits, labels)
    before, after = (_figures(probabilities(logits, t), labels) for t in (None, temperature))
    calibrated = probabilities(logits, temperature)
    right = calibrated.argmax(1) == labels
    threshold = precise_from(calibrated.max(1), right)
    return Calibration(temperature, before[0], after[0], before[1], after[1], len(labels), threshold)


def fit_temperature(logits: Floats, labels: NDArray[np.int64]) -> float:
    """Return the T within 0.01 to 100 that makes the labels most likely under softmax(logits / T).

    Where all N are classified correctly there is no such T: the smaller the better. Labels are then softened as by
    Platt 1999, as if of N + 2 subtomograms one were wrong, so that a small split earns no full confidence.
    """
    from scipy.optimize import minimize_scalar

    logits = np.asarray(logits, np.float64)
    count, classes = logits.shape
    wrong = 1 / (count + 2) if (logits.argmax(1) == labels).all() else 0.0
    targets = np.full(logits.shape, wrong / (classes - 1))
    targets[np.arange(count), labels] = 1 - wrong

    def loss(log_temperature: float) -> float:
        return float(-(targets * _log_softmax(logits / np.exp(log_temperature))).sum(1).mean())

    return float(np.exp(minimize_scalar(loss, bounds=_LOG_TEMPERATURES, method="bounded", options={"xatol": 1e-6}).x))


def temperature_of(card: Card) -> float | None:
    """Return the temperature that a run's card records; None where it was not calibrated."""
    calibration = card.get("calibration")
    return calibration["temperature"] if calibration else None


def probabilities(logits: NDArray[np.floating], temperature: float | None) -> Floats:
    """Return softmax(logits / T), (N, classes); None: the network was not calibrated, and T is 1."""
    return np.exp(_log_softmax(np.asarray(logits, np.float64) / (temperature or 1.0)))


def expected_calibration_error(confidences: Floats, right: NDArray[np.bool_], bins: int = BINS) -> float:
    """Return Σ n_b / N |accuracy_b − mean confidence_b| over ``bins`` equal bins (low, high] of confidence."""
    which = np.clip(np.ceil(confidences * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(which, right.astype(float) - confidences, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidences))


def precise_from(confidences: Floats, right: NDArray[np.bool_], precision: float = PRECISION) -> float | None:
    """Return the smallest confidence from which on that share of at least 20 is right; None: there is none."""
    order = np.argsort(-confidences, kind="stable")
    ranked = confidences[order]
    kept = np.arange(1, len(ranked) + 1)
    whole = np.append(ranked[1:] < ranked[:-1], True)  # equal confidences are kept together
    reached = np.flatnonzero((np.cumsum(right[order]) >= precision * kept) & (kept >= _LEAST_KEPT) & whole)
    return float(ranked[reached[-1]]) if len(reached) else None


def _figures(chances: Floats, labels: NDArray[np.int64]) -> tuple[float, float]:
    """Return negative log-likelihood and expected calibration error."""
    likelihood = np.maximum(chances[np.arange(len(labels)), labels], np.finfo(float).tiny)
    right = chances.argmax(1) == labels
    return float(-np.log(likelihood).mean()), expected_calibration_error(chances.max(1), right)


def _log_softmax(logits: Floats) -> Floats:
    from scipy.special import log_softmax

    return log_softmax(logits, axis=1)

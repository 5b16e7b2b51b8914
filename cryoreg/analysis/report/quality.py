"""How good a classifier's predictions are: by class, by confidence, and the worst of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoreg.inference.embedding import Embedding
from cryoreg.inference.evaluate import Evaluation
from cryoreg.proportions import Interval, Proportion
from cryoreg.training.calibration import BINS, expected_calibration_error, probabilities, temperature_of

Floats = NDArray[np.float64]


class ClassRow(NamedTuple):
    """One class."""

    name: str
    subtomograms: int
    accuracy: float
    """Share of its subtomograms that were recognised, which is its recall; NaN where there are none."""
    precision: float
    f1: float
    confused_with: str
    """What it is most often taken for, with the share; empty where it never is."""


class Bin(NamedTuple):
    """Predictions of similar confidence."""

    confidence: float
    """Mean."""
    accuracy: float
    interval: Interval
    """Wilson's, of the accuracy."""
    subtomograms: int


class Reliability(NamedTuple):
    """Confidence against accuracy."""

    name: str
    bins: list[Bin]
    """Those that hold any."""
    error: float
    """Expected calibration error over 15 bins."""


def evaluation_of(embedding: Embedding, part: str) -> Evaluation | None:
    """Return how well those that are labelled are classified; None where none is, or nothing classifies."""
    known = {name: index for index, name in enumerate(embedding.classes)}
    rows = np.array([row for row, label in enumerate(embedding.labels) if label in known], np.int64)
    if embedding.logits is None or not len(rows):
        return None
    temperature = temperature_of(embedding.card)
    raw, confidences = (probabilities(embedding.logits[rows], each).max(1) for each in (None, temperature))
    return Evaluation(
        part,
        tuple(embedding.classes),
        tuple(embedding.ids[row] for row in rows),
        np.array([known[str(embedding.labels[row])] for row in rows]),
        embedding.logits[rows].argmax(1),
        confidences,
        temperature=temperature,
        uncalibrated=raw,
    )


def class_rows(evaluation: Evaluation) -> list[ClassRow]:
    """Return the figures of every class."""
    precision, recall, f1, confusion = evaluation.precision, evaluation.recall, evaluation.f1, evaluation.confusion
    counts = confusion.sum(1)
    return [
        ClassRow(name, int(counts[k]), recall[k], precision[k], f1[k], _most_confused(evaluation.classes, confusion, k))
        for k, name in enumerate(evaluation.classes)
    ]


def _most_confused(classes: tuple[str, ...], confusion: NDArray[np.int64], label: int) -> str:
    others = confusion[label].copy()
    others[label] = 0
    if not others.any():
        return ""
    return f"{classes[others.argmax()]} ({100 * others.max() / confusion[label].sum():.0f} %)"


def reliabilities(evaluation: Evaluation) -> list[Reliability]:
    """Return the reliability of plain confidences and, where there is a temperature, of calibrated ones."""
    right = evaluation.labels == evaluation.predictions
    raw = evaluation.confidences if evaluation.uncalibrated is None else evaluation.uncalibrated
    if evaluation.temperature is None:
        return [_reliability("not calibrated", raw, right)]
    calibrated = f"calibrated (T = {evaluation.temperature:.2f})"
    return [
        _reliability("before calibration", raw, right),
        _reliability(calibrated, evaluation.confidences, right),
    ]


def _reliability(name: str, confidences: Floats, right: NDArray[np.bool_]) -> Reliability:
    which = np.clip(np.ceil(confidences * BINS).astype(int) - 1, 0, BINS - 1)
    bins = []
    for number in np.unique(which):
        held = which == number
        counted = Proportion(right[held].sum(), held.sum())
        bins.append(Bin(float(confidences[held].mean()), counted.value, counted.interval, counted.total))
    return Reliability(name, bins, expected_calibration_error(confidences, right))


def confident_mistakes(embedding: Embedding, rows: NDArray[np.int64], count: int = 12) -> list[int]:
    """Return those of ``rows`` that are wrong, the most confident first."""
    predictions, confidences = embedding.predictions, embedding.confidences
    if predictions is None or confidences is None:
        return []
    known = set(embedding.classes)
    wrong = [r for r in rows.tolist() if embedding.labels[r] in known and embedding.labels[r] != predictions[r]]
    return sorted(wrong, key=lambda row: -confidences[row])[:count]

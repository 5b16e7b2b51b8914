"""What a classifier says of subtomograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoreg.contracts import Origin


class Doubts(NamedTuple):
    """What tells against a classifier's word on N subtomograms."""

    drift: tuple[str, ...]
    """(N,): in what its tomogram, or all of the data, differ from those of training: "power spectrum; features"."""
    warnings: tuple[str, ...]
    """A line for each such difference."""
    strangers: Strangers | None
    """What may be none of the classes; None where that was not asked for."""


class Strangers(NamedTuple):
    """How familiar N subtomograms look to a classifier."""

    score: str
    """By which it was measured how strange they are."""
    familiarity: NDArray[np.float64]
    """(N,): the share of validation subtomograms of the class, or of all, that are at least as strange."""
    none_of_these: NDArray[np.bool_]
    """(N,): whether each may be none of the classes; so are about one in twenty that are one."""


class Predictions(NamedTuple):
    """What a classifier says of N subtomograms."""

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: NDArray[np.float64]
    """(N, classes), calibrated where the run has a temperature."""
    predictions: NDArray[np.int64]
    """(N,): index into ``classes``."""
    confidences: NDArray[np.float64]
    """(N,): probability of the prediction."""
    unsure: NDArray[np.bool_]
    """(N,): whether the confidence is below ``threshold``."""
    threshold: float
    temperature: float | None
    """What logits were divided by; None where the run was not calibrated."""
    origins: tuple[Origin, ...]
    groups: tuple[str | None, ...]
    left_out: dict[str, str]
    """Id -> why the subtomogram could not be read; these are none of the N."""
    doubts: Doubts | None = None
    """What tells against them; None where the run does not know."""

    def summary(self) -> list[tuple[int, str, int, float, int]]:
        """Return class number, class, count, mean confidence (NaN where there are none) and unsure, for each class."""
        rows = []
        for index, (number, name) in enumerate(zip(class_numbers(self.classes), self.classes, strict=True)):
            mine = self.predictions == index
            mean = float(self.confidences[mine].mean()) if mine.any() else float("nan")
            rows.append((number, name, int(mine.sum()), mean, int(self.unsure[mine].sum())))
        return rows


def class_numbers(classes: Sequence[str]) -> list[int]:
    """Return the number of each class: its name where all names are different positive numbers, else from 1 on."""
    numbers = [int(name) if name.isdecimal() else 0 for name in classes]
    return numbers if all(numbers) and len(set(numbers)) == len(numbers) else list(range(1, len(classes) + 1))

"""What a classifier says of subtomograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoreg.contracts import Origin
from cryoreg.files import readable


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
    tells: bool
    """Whether validation subtomograms are enough to tell; where they are not, none is marked."""


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
    fitted_elsewhere: str = ""
    """Where the temperature was fitted with other turned copies, which: confidences are then not calibrated."""

    def columns(self) -> dict[str, Any]:
        """Return a table: places, prediction, class number, confidence, unsure, doubts, and all probabilities."""
        numbers, names = class_numbers(self.classes), [readable(name) for name in self.classes]
        places = zip(self.ids, self.origins, strict=True)
        files = [readable(origin.file) if origin != Origin(name) else None for name, origin in places]  # else unknown
        return {
            "id": [readable(name) for name in self.ids],
            "file": files,
            "row": [origin.row for origin in self.origins],
            "tomogram": [readable(group) for group in self.groups],
            "prediction": [names[prediction] for prediction in self.predictions],
            "class_number": [numbers[prediction] for prediction in self.predictions],
            "confidence": self.confidences,
            "unsure": self.unsure.astype(int),
            **self._doubts(),
            **{f"p_{name}": column for name, column in zip(names, self.probabilities.T, strict=True)},
        }

    def _doubts(self) -> dict[str, Any]:
        if self.doubts is None:
            return {}
        drift = {"drift": [readable(kinds) or None for kinds in self.doubts.drift]}
        strangers = self.doubts.strangers
        if strangers is None:
            return drift
        return {"familiarity": strangers.familiarity, "none_of_these": strangers.none_of_these.astype(int), **drift}

    def _repr_html_(self) -> str:
        from cryoreg import notebook

        unsure = f"{int(self.unsure.sum()):,} (confidence below {self.threshold:.3g})"
        strangers = self.doubts.strangers if self.doubts else None
        facts = {
            "subtomograms": f"{len(self.ids):,}",
            "unsure": unsure,
            "none of these": f"{int(strangers.none_of_these.sum()):,}" if strangers and strangers.tells else None,
            "could not be read": len(self.left_out) or None,
        }
        rows = [
            (name, count, f"{confidence:.2f}" if count else "-", unsure)
            for _, name, count, confidence, unsure in self.summary()
        ]
        warnings = notebook.lines(f"warning: {line}" for line in (self.doubts.warnings if self.doubts else ()))
        figures = notebook.table(("class", "subtomograms", "mean confidence", "unsure"), rows)
        return notebook.shown("Predictions", facts, warnings, figures)

    @property
    def calibrated(self) -> bool:
        """Whether probabilities are calibrated by a temperature that was fitted to answers like these."""
        return self.temperature is not None and not self.fitted_elsewhere

    def summary(self) -> list[tuple[int, str, int, float, int]]:
        """Return class number, class, count, mean confidence (NaN where there are none) and unsure, for each class."""
        rows = []
        for index, (number, name) in enumerate(zip(class_numbers(self.classes), self.classes, strict=True)):
            mine = self.predictions == index
            mean = float(self.confidences[mine].mean()) if mine.any() else float("nan")
            rows.append((number, name, int(mine.sum()), mean, int(self.unsure[mine].sum())))
        return rows


def class_numbers(classes: Sequence[str]) -> list[int]:
    """Return the number of each class: its name where all names are different whole numbers, else from 1 on.

    A class 0 gets the number after all others, as 0 stands for not classified.
    """
    numbers = [int(name) for name in classes if name.isdecimal()]
    if len(set(numbers)) < len(classes):
        return list(range(1, len(classes) + 1))
    return [number or max(numbers) + 1 for number in numbers]

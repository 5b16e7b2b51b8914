"""The figures that a report begins with."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoreg.analysis.report.run_facts import Course, last
from cryoreg.inference.evaluate import Evaluation
from cryoreg.proportions import Proportion
from cryoreg.training.cross_validation import CROSS_VALIDATED
from cryoreg.training.probe import LARGEST


class Figure(NamedTuple):
    """A number to begin with."""

    name: str
    value: float
    counted: Proportion | None
    """What was counted, where it is a share."""
    note: str
    percent: bool = True


def figures_of(evaluation: Evaluation) -> list[Figure]:
    """Return what a classifier achieves on labelled subtomograms."""
    places = {"all": "labelled", CROSS_VALIDATED: "out of fold (cross-validation)"}
    where = places.get(evaluation.part, f"{evaluation.part} split")
    largest = evaluation.confusion.sum(1).max() / len(evaluation.labels)
    return [
        Figure(
            "accuracy",
            evaluation.accuracy,
            evaluation.proportion,
            f"{where}, {len(evaluation.labels)} subtomograms",
        ),
        Figure("macro-F1", evaluation.macro_f1, None, "mean over the classes", percent=False),
        Figure("largest class", float(largest), None, "accuracy of always saying it"),
    ]


def probes_of(progress: Course, parts: NDArray[np.object_] | None) -> list[Figure]:
    """Return what the last probes of an encoder achieve."""
    probed = 0 if parts is None else min(LARGEST, int((parts == "val").sum()))
    names = {"linear_accuracy": "linear probe", "knn_accuracy": "kNN probe"}
    found = [Figure(name, last(progress.epochs, key), None, "validation accuracy") for key, name in names.items()]
    return [one._replace(counted=_counted(one.value, probed)) for one in found if not math.isnan(one.value)]


def stability_of(count: int, stability: float) -> Figure:
    """Return how much alike ``count`` clusters are from seed to seed."""
    note = f"{count} of them: the mean adjusted Rand index between seeds"
    return Figure("stability of clusters", stability, None, note, percent=False)


def _counted(share: float, count: int) -> Proportion | None:
    return Proportion(round(share * count), count) if count else None

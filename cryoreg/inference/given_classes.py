"""Classes that no network has said, as labels and clusters are, in the form that writers of lists take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cryoreg.contracts import Subtomograms
from cryoreg.datasets.origins import origins_of
from cryoreg.predictions import Predictions


def as_predictions(
    dataset: Subtomograms,
    rows: Sequence[int],
    classes: Sequence[str],
    numbers: NDArray[np.int64] | Sequence[int],
    confidences: NDArray[np.float64] | None = None,
) -> Predictions:
    """Return the class of each of ``rows``, none of them unsure; ``numbers`` are indices into ``classes``."""
    origins = origins_of(dataset)
    return Predictions(
        ids=tuple(dataset.ids[row] for row in rows),
        classes=tuple(classes),
        probabilities=np.empty((len(rows), 0)),
        predictions=np.asarray(numbers, dtype=np.int64),
        confidences=np.ones(len(rows)) if confidences is None else confidences,
        unsure=np.zeros(len(rows), dtype=bool),
        threshold=0.0,
        temperature=None,
        origins=tuple(origins[row] for row in rows),
        groups=tuple(dataset.groups[row] for row in rows),
        left_out={},
    )

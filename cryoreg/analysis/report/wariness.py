"""What to be wary of in the figures of a report."""

from __future__ import annotations

from itertools import chain

import numpy as np
from numpy.typing import NDArray

from cryoreg.analysis.report.verdict import WIDE
from cryoreg.datasets.divisions import divide
from cryoreg.datasets.duplicates import across_splits
from cryoreg.datasets.splits import Split
from cryoreg.inference.evaluate import Evaluation
from cryoreg.inference.trained import Trained
from cryoreg.training.cross_validation import CROSS_VALIDATED


def of_figures(evaluation: Evaluation | None, part: str) -> list[str]:
    """Return a line where figures are of few."""
    if evaluation is None or evaluation.proportion.interval.width <= WIDE:
        return []
    counted = "out of fold" if part == CROSS_VALIDATED else f"of the {part} subtomograms"
    return [f"they are few: accuracy {counted} {evaluation.proportion.said_of('subtomograms')}"]


def of_data(trained: Trained, parts: NDArray[np.object_] | None, own: bool, limit: int, alone: bool) -> list[str]:
    """Return what makes figures look better than they are; ``own``: the data are those of the run."""
    if parts is None:
        changed = own and not trained.own
        why = "its data or their labels have changed since the run" if changed else "the run did not split these data"
        return [] if alone else [f"{why}, so nobody can tell what the network has seen of them"]
    return [
        *filter(None, [divide(trained.dataset, trained.config.split).warning]),
        *copies_across(trained, parts, limit),
    ]


def of_classes(evaluation: Evaluation | None, learnt_from: bool) -> list[str]:
    """Return a line on figures of what was learnt from, and one on classes that are never said."""
    if evaluation is None:
        return []
    never = [name for k, name in enumerate(evaluation.classes) if not (evaluation.predictions == k).any()]
    learnt = "the figures are not of held-out data: the network has learnt from these, or was chosen by them"
    said = [learnt] if learnt_from else []
    return [*said, *([f"never predicted: {', '.join(never)}"] if never else [])]


def copies_across(trained: Trained, parts: NDArray[np.object_], limit: int) -> list[str]:
    """Return a warning of copies across splits, or that none were sought: it would take more than ``limit`` volumes."""
    dataset = trained.dataset
    if dataset.duplicates is None and len(dataset) > limit:
        return ["copies across the splits were not looked for, the data set being large; `cryoreg inspect --all` does"]
    torn = across_splits(dataset, Split(*(np.flatnonzero(parts == name) for name in Split._fields)))
    if not torn:
        return []
    number = len(set(chain.from_iterable(torn)))
    return [
        f"{number} subtomograms are in more than one split, voxel by voxel (the first: {torn[0][0]}); accuracy looks "
        "better than it is"
    ]

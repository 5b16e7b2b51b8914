"""Which subtomograms the figures of a report are of, and what the network makes of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoreg.analysis.report.doubt import Doubted, doubts_of
from cryoreg.analysis.report.quality import evaluation_of
from cryoreg.errors import CheckpointError, DataError
from cryoreg.inference.embedding import Embedding, Part, embedding_of, parts_of, samples_of
from cryoreg.inference.evaluate import CROSS_VALIDATED, Evaluation
from cryoreg.inference.trained import Trained
from cryoreg.training.cross_validation import HeldOut, cross_validates, held_out


class Measured(NamedTuple):
    """What is measured."""

    part: str
    """train, val, test, cv (out of fold) or all."""
    samples: NDArray[np.int64]
    """Indices into the data set."""
    parts: NDArray[np.object_] | None
    """The part of each subtomogram of the data set; None where the run did not split it."""
    held: HeldOut | None
    """What the folds of a cross-validation say of what they were not shown."""

    def embed(self, trained: Trained, shown: NDArray[np.int64]) -> tuple[Embedding, Embedding]:
        """Embed what is measured and what is shown, once, and return both.

        What models that were not shown them say of some counts for these; the network itself has learnt them. Raises
        `CheckpointError` where features are not finite.
        """
        both = np.union1d(self.samples, shown)
        embedding = embedding_of(trained, both)
        if self.held is not None and embedding.logits is not None:
            rows = np.searchsorted(both, self.held.samples)
            embedding.logits[rows] = self.held.logits
            for row in rows.tolist():
                embedding.parts[row] = "test"
        if not np.isfinite(embedding.features).all():
            raise CheckpointError(
                f"the features by {trained.path} are not finite; train anew with a lower learning rate"
            )
        return embedding.take(np.searchsorted(both, self.samples)), embedding.take(np.searchsorted(both, shown))

    def evaluate(self, judged: Embedding) -> Evaluation | None:
        """Return the figures of what is measured; None without labels or classifier."""
        return evaluation_of(judged, np.arange(len(judged)), self.part)

    def doubts(self, trained: Trained, judged: Embedding) -> Doubted:
        """Return what tells against the classifier's word on it."""
        return Doubted() if self.held else doubts_of(trained, judged)

    @property
    def learnt_from(self) -> bool:
        """Whether the network has learnt from it, or was chosen by it."""
        return self.part in ("train", "val") or (self.part == "all" and self.parts is not None)


def measured_of(trained: Trained, part: Part | None = None) -> Measured:
    """Return what figures are of: ``part``; None: what the run was not shown, or all of other data."""
    parts, held = parts_of(trained), _held_out(trained, part)
    if held is not None:
        return Measured(CROSS_VALIDATED, held.samples, parts, held)
    known: Part = part or ("test" if parts is not None and "test" in parts else "all")
    return Measured(known, samples_of(trained, known), parts, None)


def _held_out(trained: Trained, part: Part | None) -> HeldOut | None:
    """Return what the folds of a cross-validation say of what they were not shown; None where there are none."""
    if part is not None or not (trained.classifies and cross_validates(trained.config)):
        return None
    try:
        return held_out(trained.config, trained.path.parent, trained.dataset)
    except (CheckpointError, DataError):  # other data, or a classifier without its folds: a warning says so
        return None

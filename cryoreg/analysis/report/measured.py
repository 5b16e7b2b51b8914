"""Which subtomograms the figures of a report are of, and what the network makes of them.

What the figures need, scikit-learn and Matplotlib, is not imported here: that goes on while the network works.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoreg.errors import CheckpointError, DataError
from cryoreg.inference.embedding import Embedding, Part, embedding_of, parts_of, samples_of
from cryoreg.inference.trained import Trained
from cryoreg.training.cross_validation import CROSS_VALIDATED, HeldOut, cross_validates, held_out


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
    own: bool
    """Whether the data are those of the run, though their labels may have changed since."""

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

    @property
    def learnt_from(self) -> bool:
        """Whether the network has learnt from it, or was chosen by it."""
        return self.part in ("train", "val") or (self.part == "all" and self.own)


class Seen(NamedTuple):
    """What a report is of, as the network sees it."""

    measured: Measured
    judged: Embedding
    """Of what is measured."""
    samples: NDArray[np.int64]
    """What is shown in the map: indices into the data set."""
    shown: Embedding


def see(trained: Trained, limit: int, part: Part | None = None) -> Seen:
    """Ask the network about what figures are of (see `measured_of`) and what is shown, ``limit`` at most.

    Shown are those that are measured first, then others, drawn with a fixed seed.
    """
    measured = measured_of(trained, part)
    samples = choose_shown(measured.samples, len(trained.dataset), limit)
    judged, shown = measured.embed(trained, samples)
    return Seen(measured, judged, samples, shown)


def choose_shown(measured: NDArray[np.int64], total: int, limit: int, seed: int = 0) -> NDArray[np.int64]:
    """Return up to ``limit`` of ``total`` indices, in order: those in ``measured`` first, else at random."""
    rng = np.random.default_rng(seed)
    others = np.setdiff1d(np.arange(total), measured)
    return np.sort(np.concatenate([rng.permutation(measured), rng.permutation(others)])[:limit])


def measured_of(trained: Trained, part: Part | None = None) -> Measured:
    """Return what figures are of: ``part``; None: what the run was not shown, or all of other data."""
    parts, held = parts_of(trained), _held_out(trained, part)
    if held is not None:
        return Measured(CROSS_VALIDATED, held.samples, parts, held, own=True)
    known: Part = part or ("test" if parts is not None and "test" in parts else "all")
    own = parts is not None or trained.config.to_dict()["dataset"] == trained.card["config"]["dataset"]
    return Measured(known, samples_of(trained, known), parts, None, own)


def _held_out(trained: Trained, part: Part | None) -> HeldOut | None:
    """Return what the folds of a cross-validation say of what they were not shown; None where there are none."""
    if part is not None or not (trained.classifies and cross_validates(trained.config) and trained.own):
        return None
    try:
        return held_out(trained.config, trained.path.parent, trained.dataset)
    except (CheckpointError, DataError):  # other data, or a classifier without its folds: a warning says so
        return None

"""What comes after pretraining: ways of learning classes from labelled subtomograms, and others."""

from __future__ import annotations

from cryoreg.contracts import Encoder, Learner


def build_learner(encoder: Encoder, classes: int) -> Learner:
    """Return the learner of a fine-tuning run around ``encoder``, with fresh weights of its own."""
    from cryoreg.learners.full import FullFineTuning

    return FullFineTuning(encoder, classes)
